"""Long rows of 32- and 64-bit elements are sorted by digits: the same order, ties, NaN and zeros as the book's numpy line."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_compiler
from xdsl.dialects.builtin import f16, f32, f64, i32, i64

from lamina.backends.driver import compile_graph
from lamina.dialects.book import OPS
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import dtype_of
from lamina.lowering.radix_sort import sorts_by_digits


def graph(x: np.ndarray, axis: int, descending: bool) -> Graph:
    """One sort of an array like x."""
    given = (x.shape, dtype_of(x))
    results = OPS["sort"].infer((given,), (axis, descending))
    step = Step("sort", (axis, descending), (0,))
    return Graph((given,), (step,), (1, 2), ("model.py:1",), (None,), (given, *results))


@needs_compiler
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float64, np.int64])
@pytest.mark.parametrize("shape,axis", [((3, 700), 1), ((200, 5), 0), ((40, 129), 1)])
def test_rows_are_sorted_as_numpy_does(shape, axis, dtype, descending):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 100).astype(dtype)
    x[: shape[0] // 2] = np.round(x[: shape[0] // 2] / 10)  # ties
    if np.dtype(dtype).kind == "f":
        flat = x.reshape(-1)
        specials = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(dtype).tiny / 8, -np.finfo(dtype).tiny / 8, np.finfo(dtype).max], dtype)
        flat[rng.permutation(flat.size)[:90]] = np.tile(specials, 10)
    else:
        x.reshape(-1)[:2] = np.iinfo(dtype).min, np.iinfo(dtype).max
    want = OPS["sort"].evaluate([x], (axis, descending))
    values, index = compile_graph(graph(x, axis, descending))([x])
    np.testing.assert_array_equal(index, want[1])
    np.testing.assert_array_equal(values, want[0])
    np.testing.assert_array_equal(np.signbit(values), np.signbit(np.take_along_axis(x, index, axis)))


@needs_compiler
@pytest.mark.parametrize("digits", [(), (0,), (3,), (7,), (1, 6), (0, 2, 4)])
def test_digits_that_all_share_are_left_out(digits):
    """Any number of passes, odd or even, leaves the words where they are read."""
    rng = np.random.default_rng(2)
    x = sum((rng.integers(0, 256, (2, 300)) << (8 * d) for d in digits), np.full((2, 300), 0x0101010101010101))
    want = OPS["sort"].evaluate([x], (1, False))
    values, index = compile_graph(graph(x, 1, False))([x])
    np.testing.assert_array_equal(index, want[1])
    np.testing.assert_array_equal(values, want[0])


def test_what_is_sorted_by_digits():
    assert all(sorts_by_digits(kind, 700) for kind in (f32, f64, i32, i64))
    assert not sorts_by_digits(f16, 700) and not sorts_by_digits(i64, 20)


def test_every_stage_agrees():
    x = np.random.default_rng(1).standard_normal((2, 130)).astype(np.float32)
    compile_graph(graph(x, 1, False), check=2)
