"""Comparisons of a clamped value with its bound ask what was clamped, special values included."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

from backend_graphs import Recorder  # noqa: E402

from lamina.backends import driver  # noqa: E402
from lamina.backends.executor import execute  # noqa: E402
from lamina.backends.oracle import evaluate  # noqa: E402
from lamina.lowering.capture import capture  # noqa: E402

SPECIAL = np.array([np.nan, -np.inf, np.inf, -1.0, 0.0, -0.0, 1.0], np.float32)


@pytest.mark.parametrize("compare", ["greater", "less", "greater_equal", "equal"])
@pytest.mark.parametrize("clamp", ["maximum", "minimum"])
def test_masks_of_clamped_values(clamp: str, compare: str) -> None:
    x, bound = (np.ascontiguousarray(a) for a in np.meshgrid(SPECIAL, SPECIAL))
    r = Recorder()
    a, b = r.input(*x.shape), r.input(*x.shape)
    clamped, turned = r.op(clamp, a, b), r.op(clamp, b, a)
    graph = r.done(r.op(compare, clamped, b), r.op(compare, turned, b), r.op(compare, clamped, a), clamped)
    module = driver.loops_of(graph, target="avx2")
    for found, wanted in zip(execute(module, [x, bound]), evaluate(capture(graph), [x, bound]), strict=True):
        np.testing.assert_array_equal(found, wanted)
