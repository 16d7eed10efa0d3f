"""Long rows of 32-bit elements are sorted by digits: the same order, ties, NaN and zeros as the book's numpy line."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_compiler

from lamina.backends.driver import compile_graph
from lamina.dialects.book import OPS
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import dtype_of



def graph(x: np.ndarray, axis: int, descending: bool) -> Graph:
    """One sort of an array like x."""
    given = (x.shape, dtype_of(x))
    results = OPS["sort"].infer((given,), (axis, descending))
    step = Step("sort", (axis, descending), (0,))
    return Graph((given,), (step,), (1, 2), ("model.py:1",), (None,), (given, *results))


@needs_compiler
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("shape,axis", [((3, 700), 1), ((200, 5), 0), ((40, 129), 1)])
def test_rows_are_sorted_as_numpy_does(shape, axis, dtype, descending):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 100).astype(dtype)
    x[: shape[0] // 2] = np.round(x[: shape[0] // 2] / 10)  # ties
    if dtype == np.float32:
        flat = x.reshape(-1)
        specials = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4e38], np.float32)
        flat[rng.permutation(flat.size)[:90]] = np.tile(specials, 10)
    else:
        x.reshape(-1)[:2] = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    want = OPS["sort"].evaluate([x], (axis, descending))
    values, index = compile_graph(graph(x, axis, descending))([x])
    np.testing.assert_array_equal(index, want[1])
    np.testing.assert_array_equal(values, want[0])
    np.testing.assert_array_equal(np.signbit(values), np.signbit(np.take_along_axis(x, index, axis)))


def test_every_stage_agrees():
    x = np.random.default_rng(1).standard_normal((2, 130)).astype(np.float32)
    compile_graph(graph(x, 1, False), check=2)
