"""Random programs mean the same at the primitive, fused and linalg levels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from graphs import inputs_for

sys.path.insert(0, str(Path(__file__).parent))

from random_programs import Program  # noqa: E402  # beside this file

from lamina.backends import oracle  # noqa: E402
from lamina.dialects.text import verify  # noqa: E402
from lamina.lowering.capture import capture  # noqa: E402
from lamina.lowering.kernel_to_linalg import KernelToLinalg  # noqa: E402
from lamina.passes.fuse import Fuse  # noqa: E402
from lamina.passes.layout import ChooseLayout  # noqa: E402

SEEDS = [*range(60), *(pytest.param(s, marks=pytest.mark.slow) for s in range(60, 600))]


@pytest.mark.parametrize("seed", SEEDS)
def test_levels_agree(seed: int) -> None:
    graph = Program(seed).graph()
    arrays = [a % 1 if a.dtype.kind == "i" else a for a in inputs_for(graph, seed)]
    module = capture(graph)
    expected = oracle.evaluate(module, arrays)
    Fuse().run(module)
    ChooseLayout().run(module)
    verify(module)
    for a, b in zip(expected, oracle.evaluate(module, arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    KernelToLinalg().run(module)
    verify(module)
    for a, b in zip(expected, oracle.evaluate(module, arrays), strict=True):
        largest = float(np.abs(a[np.isfinite(a)]).max(initial=1.0))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * largest)
