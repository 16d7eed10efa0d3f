"""Short rows of 32-bit elements are sorted by rank: the same order, ties, NaN and zeros as the book's numpy lines."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_compiler
from xdsl.dialects.builtin import f16, f32, i32, i64

from lamina.backends.driver import compile_graph
from lamina.dialects.book import OPS
from lamina.dialects.graph import Graph, Step
from lamina.dialects.target import AVX2
from lamina.dialects.types import dtype_of
from lamina.lowering.rank_sort import sorts_by_rank


def graph(op: str, x: np.ndarray, attrs: tuple) -> Graph:
    """One op with two results on an array like x."""
    given = (x.shape, dtype_of(x))
    results = OPS[op].infer((given,), attrs)
    return Graph((given,), (Step(op, attrs, (0,)),), (1, 2), ("model.py:1",), (None,), (given, *results))


def rows(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Numbers with ties among them, and such that are none."""
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal(shape) * 3).astype(dtype)
    flat = x.reshape(-1)
    if np.dtype(dtype).kind == "f":
        flat[rng.permutation(flat.size)[: flat.size // 4]] += np.float32(0.25)
        specials = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(dtype).tiny / 8, np.finfo(dtype).max], dtype)
        flat[rng.permutation(flat.size)[: 8 * (flat.size // 32)]] = np.tile(specials, flat.size // 32)
    else:
        flat[:2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    return x


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("shape,axis", [((40, 1), 1), ((60, 2), 1), ((300, 8), 1), ((19, 17), 1), ((16, 33, 3), 1), ((31, 127), 1)])
def test_rows_are_sorted_as_numpy_does(shape, axis, dtype):
    x = rows(shape, dtype)
    for descending in (False, True):
        want = OPS["sort"].evaluate([x], (axis, descending))
        values, index = compile_graph(graph("sort", x, (axis, descending)))([x])
        np.testing.assert_array_equal(index, want[1])
        np.testing.assert_array_equal(values, want[0])
        np.testing.assert_array_equal(np.signbit(values), np.signbit(np.take_along_axis(x, index, axis)))


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("n,k", [(1, 1), (8, 2), (8, 8), (13, 5), (64, 8)])
def test_the_best_few_of_short_rows_are_the_first_of_them(n, k, dtype):
    x = rows((50, n), dtype)
    for largest in (False, True):
        want = OPS["topk"].evaluate([x], (k, largest))
        for found, wanted in zip(compile_graph(graph("topk", x, (k, largest)))([x]), want, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_what_is_sorted_by_rank():
    assert all(sorts_by_rank(kind, 127, AVX2) for kind in (f32, i32))
    assert not any(sorts_by_rank(kind, n, AVX2) for kind, n in ((f32, 128), (f16, 8), (i64, 8)))


def test_every_stage_agrees():
    x = rows((3, 9), np.float32)
    compile_graph(graph("sort", x, (1, True)), check=2)
    compile_graph(graph("topk", x, (4, False)), check=2)
