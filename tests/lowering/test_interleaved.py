"""Elements two or four apart are read as whole vectors and written as whole vectors: any offset, any length, nothing behind the end."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Recorder
from hypothesis import given, settings
from hypothesis import strategies as st
from lamina.backends import driver
from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.lowering.capture import capture
from needs import needs_compiler


def picked(rows: int, columns: int, stride: int, places: list[int]) -> Graph:
    """Sums of every stride-th element from some places on, and each of them times that, put side by side."""
    r = Recorder()
    x = r.input((rows, columns))
    count = min((columns - place + stride - 1) // stride for place in places)
    parts = [r("slice", x, attrs=((0, place), (rows, count), (1, stride))) for place in places]
    total = parts[0]
    for part in parts[1:]:
        total = r("add", total, part)
    sides = [r("reshape", r("mul", part, total), attrs=((rows, count, 1),)) for part in parts]
    return r.graph(total, r("concat", *sides, attrs=(2,)))


def numbers(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, np.float32) for shape, _ in graph.inputs]


def check(graph: Graph, target: str) -> None:
    arrays = numbers(graph)
    for made, want in zip(execute(driver.loops_of(graph, target=target), arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(made, want, rtol=1e-6, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.sampled_from([2, 3, 4]), st.data())
def test_any_places_and_lengths(rows, more, stride, data):
    places = data.draw(st.lists(st.integers(0, stride - 1), min_size=1, max_size=4))
    check(picked(rows, stride + more, stride, places), data.draw(st.sampled_from(["avx512", "avx2", "portable"])))


@needs_compiler
@pytest.mark.parametrize("columns,stride,places", [(66, 2, [0, 1]), (67, 2, [1, 0]), (129, 4, [3, 1, 0, 2]), (64, 2, [1])])
def test_in_compiled_code(columns, stride, places):
    graph = picked(5, columns, stride, places)
    arrays = numbers(graph)
    for made, want in zip(driver.compile_graph(graph)(arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(made, want, rtol=1e-6, atol=1e-6)
