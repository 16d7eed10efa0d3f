"""Running sums and products along rows, and along columns by vectors: numpy's numbers, whatever is left over behind whole vectors."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.backends.driver import compile_graph, loops_of
from lamina.backends.executor import execute
from lamina.dialects.book import OPS
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import dtype_of
from needs import needs_compiler

CASES = [((5, 16), 0), ((4, 70), 0), ((2, 3, 33), 1), ((3, 9), 1), ((7, 5), 0)]


def graph(op: str, arrays: list[np.ndarray]) -> Graph:
    """The op on each array along the axis of its case."""
    types, n = tuple([(x.shape, dtype_of(x)) for x in arrays]), len(arrays)
    steps = tuple([Step(op, (axis,), (i,)) for i, (_, axis) in enumerate(CASES)])
    return Graph(types, steps, tuple(range(n, 2 * n)), ("model.py:1",) * n, (None,) * n, (*types, *types))


def numbers(dtype: type) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(-3, 4, shape).astype(dtype) for shape, _ in CASES]  # so small that sums and products are exact


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("op", ["cumsum", "cumprod"])
def test_as_numpy_does(op, dtype):
    arrays = numbers(dtype)
    for x, (_, axis), found in zip(arrays, CASES, compile_graph(graph(op, arrays))(arrays), strict=True):
        np.testing.assert_array_equal(found, OPS[op].evaluate([x], (axis,))[0])


@pytest.mark.parametrize("target", ["avx512", "avx2", "portable"])
def test_vectors_of_any_width(target):
    arrays = numbers(np.float32)
    for x, (_, axis), found in zip(arrays, CASES, execute(loops_of(graph("cumsum", arrays), target=target), arrays), strict=True):
        np.testing.assert_array_equal(found, np.cumsum(x, axis))
