"""Heads of queries that share keys and values, as one chain: no matrix and no copy of a key in memory, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_emulation

from graphs import Recorder

from lamina.backends.cuda.check_programs import arrays_for
from lamina.backends.cuda.program import cuda_source, gpu_module
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.dialects.types import DType, bfloat16, float16, float32, int32, int64
from lamina.lowering.capture import capture


def repeated(r: Recorder, x: int, times: int, heads_outside: bool) -> int:
    """Every head `times` times, next to each other (or all heads, again and again)."""
    batch, heads, n, depth = r.types[x][0]
    split, wide = ((batch, 1, heads, n, depth), (batch, times, heads, n, depth)) if heads_outside else ((batch, heads, 1, n, depth), (batch, heads, times, n, depth))
    return r("reshape", r("expand", r("reshape", x, attrs=(split,)), attrs=(wide,)), attrs=((batch, heads * times, n, depth),))


def grouped(
    dtype: DType, heads: int, kept: int, rows: int, columns: int, depth: int, early: bool = False, outside: bool = False, slopes: bool = False, backward: bool = True
) -> Graph:
    """Causal attention of `heads` heads of queries to `kept` heads of keys, and its gradients. early: keys are repeated before they are
    widened. slopes: a bias that follows from the head and the distance.
    """
    batch, shape = 2, (2, heads, rows, columns)
    r = Recorder()
    q, k, v = (r.input((batch, h, n, depth), dtype) for h, n in ((heads, rows), (kept, columns), (kept, columns)))
    w, seed = r.input((heads * depth, 24), dtype), r.input((batch * rows, 24))
    wide = [q, k, v] if dtype is float32 else [r("cast", i, attrs=(float32,)) if i == q or not early else i for i in (q, k, v)]
    wide = [wide[0], *(repeated(r, i, heads // kept, outside) for i in wide[1:])]
    wide = [i if r.types[i][1] is float32 else r("cast", i, attrs=(float32,)) for i in wide]
    scores = r("matmul", r("mul", wide[0], r.full((batch, heads, rows, depth), depth**-0.5)), r("permute", wide[1], attrs=((0, 1, 3, 2),)))
    row, column = (r("iota", attrs=((rows, columns), axis, int64)) for axis in (0, 1))
    if slopes:
        number = r("cast", r("iota", attrs=((1, heads, 1, 1), 1, int32)), attrs=(float32,))
        slope = r("mul", number, r.full((1, heads, 1, 1), 1 / 16))
        away = r("reshape", r("cast", r("sub", column, row), attrs=(float32,)), attrs=((1, 1, rows, columns),))
        full = (1, heads, rows, columns)
        bias = r("mul", r("expand", slope, attrs=(full,)), r("expand", away, attrs=(full,)))
        bias = r("cast", r("cast", bias, attrs=(bfloat16,)), attrs=(float32,))
        scores = r("add", scores, r("expand", bias, attrs=(shape,)))
    seen = r("expand", r("reshape", r("less_equal", column, row), attrs=((1, 1, rows, columns),)), attrs=(shape,))
    scores = r("select", seen, scores, r.full(shape, -np.inf))
    y = r("matmul", r("softmax", scores, attrs=((3,),)), wide[2])
    y = y if dtype is float32 else r("cast", y, attrs=(dtype,))
    if not backward:
        return r.graph(y)
    y = r("matmul", r("reshape", r("permute", y, attrs=((0, 2, 1, 3),)), attrs=((batch * rows, heads * depth),)), w)
    y = y if dtype is float32 else r("cast", y, attrs=(float32,))
    loss = r("reshape", r("sum", r("mul", r("mul", y, y), seed), attrs=((0, 1),)), attrs=((),))
    first = r("autodiff.grad", loss, r.full((), 1.0), q, k, v)
    return r.graph(first, first + 1, first + 2)


def near(graph: Graph, arch: str) -> None:
    """Results are those of the oracle, up to the dtype's rounding beside each one's largest number."""
    arrays = arrays_for(graph)
    exact = {float32: 2e-5, float16: 6e-3, bfloat16: 4e-2}[graph.types[0][1]]
    for got, want in zip(emulate.Emulation(cuda_source(graph, arch))(arrays), evaluate(capture(graph), arrays), strict=True):
        got, want = got.astype(np.float32), want.astype(np.float32)
        assert np.abs(got - want).max() <= exact * np.abs(want).max()


# arch, dtype, heads, heads of keys, rows, columns, depth, options
QUICK = [
    ("sm_90a", float32, 4, 2, 33, 50, 16, {}),
    ("sm_80", bfloat16, 4, 2, 40, 40, 32, {"early": True}),
]
SLOW = [
    ("sm_90a", float32, 4, 1, 33, 50, 16, {}),
    ("sm_90a", float32, 6, 2, 40, 40, 16, {"outside": True}),
    ("sm_90a_wgmma", bfloat16, 4, 2, 80, 80, 64, {}),
    ("sm_90a_wgmma", float16, 6, 3, 70, 130, 64, {"early": True}),
    ("sm_100a", bfloat16, 4, 2, 64, 64, 32, {"slopes": True}),
    ("sm_90a", float32, 4, 2, 33, 50, 16, {"slopes": True}),
    ("sm_80", float16, 8, 1, 40, 40, 16, {"early": True}),
]  # fmt: skip


@needs_emulation
@pytest.mark.parametrize("case", [*QUICK, *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW)], ids=str)
@pytest.mark.slow
def test_gradients(case) -> None:
    arch, dtype, heads, kept, rows, columns, depth, options = case
    near(grouped(dtype, heads, kept, rows, columns, depth, **options), arch)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("options", [{}, {"outside": True}, {"slopes": True}], ids=str)
def test_forward_is_one_launch_and_needs_no_memory(early: bool, options: dict[str, bool]) -> None:
    graph = grouped(bfloat16, 8, 2, 256, 256, 64, early=early, backward=False, **options)
    table = cuda_source(graph, "sm_90a_wgmma").table
    assert len(table.launches) == 1 and table.arena_bytes <= 256
    assert "nv.wgmma" in str(gpu_module(graph, "sm_90a_wgmma"))


def test_heads_of_queries_may_be_all_there_are() -> None:
    """One key for all of them, and no batch."""
    r = Recorder()
    q, k, v = r.input((6, 48, 32)), r.input((48, 32)), r.input((48, 32))
    many = [r("expand", r("reshape", i, attrs=((1, 48, 32),)), attrs=((6, 48, 32),)) for i in (k, v)]
    weights = r("softmax", r("matmul", q, r("permute", many[0], attrs=((0, 2, 1),))), attrs=((2,),))
    assert len(cuda_source(r.graph(r("matmul", weights, many[1])), "sm_90a").table.launches) == 1
