"""The best few of rows: the first of a stable sort, whatever ties, NaN and zeros there are, and whatever order values come in."""

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
from lamina.dialects.types import DType, dtype_of, float16, float32, float64, int32, uint8
from needs import needs_compiler


def graph(cases: list[tuple[tuple[int, ...], int, bool]], dtype: DType = float32) -> Graph:
    """One search for each (shape, k, largest)."""
    inputs = [(shape, dtype) for shape, _, _ in cases]
    types, steps = list(inputs), []
    for i, (_, k, largest) in enumerate(cases):
        steps.append(Step("topk", (k, largest), (i,)))
        types += OPS["topk"].infer((inputs[i],), (k, largest))
    outputs = tuple(range(len(inputs), len(types)))
    return Graph(tuple(inputs), tuple(steps), outputs, ("model.py:1",) * len(steps), (None,) * len(inputs), tuple(types))


def agree(found: list[np.ndarray], arrays: list[np.ndarray], cases: list[tuple[tuple[int, ...], int, bool]]) -> None:
    wanted = [y for x, (_, k, largest) in zip(arrays, cases, strict=True) for y in OPS["topk"].evaluate([x], (k, largest))]
    for made, want in zip(found, wanted, strict=True):
        assert dtype_of(made) is dtype_of(want)
        np.testing.assert_array_equal(made, want)


@needs_compiler
@pytest.mark.parametrize("dtype", [float32, float64, float16, int32, uint8], ids=str)
def test_as_the_sort_has_it(dtype):
    cases = [(s, k, largest) for s, k in (((3, 700), 5), ((2, 33), 33), ((1, 16), 1), ((2, 3, 9), 2)) for largest in (True, False)]
    rng = np.random.default_rng(0)
    arrays = [np.round(rng.standard_normal(s) * 20).astype(dtype.numpy) for s, _, _ in cases]
    for x in arrays[:4] if dtype.is_floating_point else ():
        flat = x.reshape(-1)
        flat[rng.permutation(flat.size)[: flat.size // 4]] = np.resize(np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 6e-8], dtype.numpy), flat.size // 4)
    arrays[4][:] = np.nan if dtype.is_floating_point else 7
    arrays[6] = np.sort(arrays[6])
    agree(compile_graph(graph(cases, dtype))(arrays), arrays, cases)


NARROW = [((2, 21), 3, True), ((2, 21), 3, False)]
PROGRAMS = [loops_of(graph(NARROW), target=target) for target in ("avx512", "avx2", "portable")]


@settings(max_examples=30, deadline=None)
@given(arrays_of.arrays(np.float32, (2, 21), elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, np.nan, np.inf, -np.inf])))
@pytest.mark.parametrize("program", PROGRAMS, ids=["avx512", "avx2", "portable"])
def test_vectors_of_any_width_find_the_same(program, x):
    agree(execute(program, [x, x]), [x, x], NARROW)
