"""Where rows and columns are largest and smallest, by vectors: ties, NaN, infinities and zeros as in the book's numpy line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from lamina.backends.driver import compile_graph, loops_of
from lamina.backends.executor import execute
from lamina.dialects.book import OPS
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import dtype_of
from needs import needs_compiler

SHAPES = [((3, 16), 1), ((2, 17), 1), ((2, 150), 1), ((4, 64), 0), ((2, 5, 19), 1), ((1, 700), 1), ((3, 130), 0)]


def graph(arrays: list[np.ndarray], axes: list[int], op: str = "argmax") -> Graph:
    """One search in each of some arrays like these."""
    inputs = [(x.shape, dtype_of(x)) for x in arrays]
    steps = [Step(op, (axis,), (i,)) for i, axis in enumerate(axes)]
    results = [OPS[op].infer((t,), (axis,))[0] for t, axis in zip(inputs, axes, strict=True)]
    n = len(inputs)
    return Graph(tuple(inputs), tuple(steps), tuple(range(n, 2 * n)), ("model.py:1",) * n, (None,) * n, (*inputs, *results))


def difficult(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Many ties, and what is special."""
    rng = np.random.default_rng(sum(shape))
    x = rng.integers(-3, 4, shape).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        flat = x.reshape(-1)
        flat[rng.permutation(flat.size)[: flat.size // 8]] = np.resize([np.nan, np.inf, -0.0, -np.inf, 0.0], flat.size // 8)
    return x


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_the_first_of_the_best(op, dtype):
    arrays, axes = [difficult(shape, dtype) for shape, _ in SHAPES], [axis for _, axis in SHAPES]
    for x, axis, found in zip(arrays, axes, compile_graph(graph(arrays, axes, op))(arrays), strict=True):
        np.testing.assert_array_equal(found, OPS[op].evaluate([x], (axis,))[0], err_msg=str(x.shape))


PROGRAMS = {target: loops_of(graph([np.zeros((2, 21), np.float32)], [1]), target=target) for target in ("avx512", "avx2", "portable")}


@settings(max_examples=40, deadline=None)
@given(arrays_of.arrays(np.float32, (2, 21), elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan, np.inf, -np.inf])))
@pytest.mark.slow
def test_vectors_of_any_width_find_the_same(x):
    for program in PROGRAMS.values():
        np.testing.assert_array_equal(execute(program, [x])[0], OPS["argmax"].evaluate([x], (1,))[0])
