"""From linalg to loops nothing changes: random programs, and every op in every dtype."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from graphs import Recorder, inputs_for

sys.path.insert(0, str(Path(__file__).parent))

from random_programs import Program  # noqa: E402  # beside this file
from test_every_op import TOLERANCE, cases, marked, operands, wide  # noqa: E402  # beside this file

from lamina.backends import oracle  # noqa: E402
from lamina.backends.executor import execute  # noqa: E402
from lamina.dialects import target  # noqa: E402
from lamina.dialects.book import OPS  # noqa: E402
from lamina.dialects.graph import Graph  # noqa: E402
from lamina.dialects.text import verify  # noqa: E402
from lamina.dialects.types import DType, dtype_of  # noqa: E402
from lamina.lowering.bufferize import Bufferize  # noqa: E402
from lamina.lowering.capture import capture  # noqa: E402
from lamina.lowering.kernel_to_linalg import KernelToLinalg  # noqa: E402
from lamina.lowering.linalg_to_loops import LinalgToLoops  # noqa: E402
from lamina.passes.fuse import Fuse  # noqa: E402
from lamina.passes.layout import ChooseLayout  # noqa: E402
from lamina.passes.open_composites import OpenComposites  # noqa: E402

# What only pays on large programs happens on small ones: threads, chunked folds, packing, row buffers.
SMALL = target.Target("small", 16, 16, 1 << 10, 2 << 10, 4 << 10, tasks=3, parallel_work=64)


class Larger(Program):
    """Programs over sizes that fill vectors and leave remainders."""

    def _shape(self) -> tuple[int, ...]:
        return tuple(self.random.choice((1, 2, 3, 5, 8, 18)) for _ in range(self.random.randint(1, 3)))


@pytest.fixture(autouse=True)
def _small_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(target.TARGETS, "small", SMALL)


def loops_give(graph: Graph, arrays: list[np.ndarray], name: str) -> list[np.ndarray]:
    module = capture(graph)
    for step in (
        OpenComposites(),
        Fuse(),
        ChooseLayout(),
        KernelToLinalg(),
        Bufferize(name),
        LinalgToLoops(name),
    ):
        step.run(module)
    verify(module)
    return execute(module, [a.copy() for a in arrays])


@pytest.mark.parametrize("name", ["small", "avx512"])
@pytest.mark.parametrize(
    "seed", [*range(40), *(pytest.param(s, marks=pytest.mark.slow) for s in range(40, 400))]
)
def test_random_program(seed: int, name: str) -> None:
    graph = (Larger if seed % 2 else Program)(seed).graph()
    arrays = [a % 1 if a.dtype.kind == "i" else a for a in inputs_for(graph, seed)]
    expected = oracle.evaluate(capture(graph), [a.copy() for a in arrays])
    for want, got in zip(expected, loops_give(graph, arrays, name), strict=True):
        np.testing.assert_allclose(
            got, want, rtol=1e-4, atol=1e-5 * max(1.0, float(np.nanmax(np.abs(want), initial=0)))
        )


@pytest.mark.parametrize(("op", "dtype"), [marked(*case) for case in cases()])
def test_op(op: str, dtype: DType) -> None:
    for given, attrs in operands(op, dtype):
        types = tuple((a.shape, dtype_of(a)) for a in given)
        recorder = Recorder()
        inputs = [recorder.input(*t) for t in types]
        first = recorder(op, *inputs, attrs=attrs)
        graph = recorder.graph(*range(first, first + len(OPS[op].infer(types, attrs))))
        expected = oracle.evaluate(capture(graph), [a.copy() for a in given])
        tolerance = TOLERANCE.get(dtype.name, 1e-12)
        for want, got in zip(expected, loops_give(graph, given, "small"), strict=True):
            assert got.shape == want.shape
            assert got.dtype == want.dtype
            np.testing.assert_allclose(wide(got), wide(want), rtol=tolerance, atol=tolerance)
