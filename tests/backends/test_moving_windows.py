"""Moving windows: what random crops compute is what slices compute, and how many programs they need."""

from __future__ import annotations

import lamina as torch
import numpy as np
import pytest
from fresh_programs import fresh_programs  # noqa: F401  # a fixture
from graphs import Recorder
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from lamina.backends import driver, moving_windows
from lamina.backends.moving_windows import windows_of
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.lowering.capture import capture
from needs import needs_compiler

pytestmark = pytest.mark.usefixtures("fresh_programs")


def crop(i: int, j: int, by: int = 1) -> Graph:
    """The gradient and the sum of the squares of x[:, i : i + 4 : by, j : j + 5] / 2, and its first column."""
    r = Recorder()
    x, w = r.input((3, 9, 8)), r.input((3, 4, 5))
    y = r("mul", r("slice", x, attrs=((0, i, j), (3, 4, 5), (1, by, 1))), w)
    loss = r("reshape", r("sum", r("mul", y, y), attrs=((0, 1, 2),)), attrs=((),))
    first = r("autodiff.grad", loss, r.full((), 1.0), w, x)
    return r.graph(loss, first, first + 1, r("slice", y, attrs=((0, 0, 0), (3, 4, 1), (1, 1, 1))))


def arrays_of(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype.numpy) for shape, dtype in graph.inputs]


def test_the_first_place_is_a_slice():
    found = [windows_of(crop(i, j)) for i, j in ((0, 1), (0, 1), (2, 1), (1, 1), (4, 1), (0, 1), (3, 2), (5, 0))]
    assert [w is None for w in found] == [True, True, False, False, False, True, False, False]
    assert [[p.tolist() for p in w.places] for w in found[3:] if w is not None] == [
        [[1, 2, 3, 4]], [[4, 5, 6, 7]], [[3, 4, 5, 6], [2, 3, 4, 5, 6]], [[5, 6, 7, 8], [0, 1, 2, 3, 4]],
    ]  # fmt: skip
    assert found[3].graph == found[4].graph and found[6].graph == found[7].graph
    counts = [[[s.op for s in found[k].graph.steps].count(op) for op in ("take", "slice")] for k in (3, 6)]
    assert counts == [[1, 2], [2, 1]], "what stays is sliced, and other slices as before"


@seed(3)
@settings(max_examples=20, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 2)), min_size=3, max_size=8))
def test_windows_mean_slices(places):
    moving_windows.forget()
    for place in places:
        graph = crop(*place)
        found = windows_of(graph)
        if found is not None:
            arrays = arrays_of(graph)
            for got, want in zip(evaluate(capture(found.graph), [*arrays, *found.places]), evaluate(capture(graph), arrays), strict=True):
                np.testing.assert_allclose(got, want, 1e-6, 1e-6)


def table(i: int, j: int) -> Graph:
    """The gradients of what is left of a table whose row i gets a value at j, and whose rows i and i + 1 are read before."""
    r = Recorder()
    q, y = r.input((6, 4)), r.input((1, 1))
    best = r("max", r("slice", q, attrs=((i, 0), (2, 4), (1, 1))), attrs=((0, 1),))
    written = r("update", r("mul", q, q), r("mul", y, best), attrs=((i, j), (1, 1)))
    rows = r("update", written, r("slice", q, attrs=((0, 0), (2, 4), (1, 1))), attrs=((i % 3, 0), (2, 1)))
    loss = r("reshape", r("sum", r("mul", rows, rows), attrs=((0, 1),)), attrs=((),))
    first = r("autodiff.grad", loss, r.full((), 1.0), y, q)
    return r.graph(rows, first, first + 1)


@seed(4)
@settings(max_examples=20, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=8))
def test_moving_updates_mean_updates(places):
    moving_windows.forget()
    for place in places:
        graph = table(*place)
        found = windows_of(graph)
        if found is not None:
            arrays = arrays_of(graph)
            for got, want in zip(evaluate(capture(found.graph), [*arrays, *found.places]), evaluate(capture(graph), arrays), strict=True):
                np.testing.assert_allclose(got, want, 1e-6, 1e-6)


@needs_compiler
def test_one_program_for_all_entries_of_a_table():
    moving_windows.forget()
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 3), (3, 1), (4, 0), (2, 1)):
        graph = table(i, j)
        arrays = arrays_of(graph)
        for got, want in zip(driver.run(graph, arrays), evaluate(capture(graph), arrays), strict=True):
            np.testing.assert_allclose(got, want, 1e-5, 1e-5)
    assert driver.stats.compiles == 2


@needs_compiler
def test_one_program_for_all_places():
    moving_windows.forget()
    for i, j in ((0, 0), (1, 0), (2, 1), (3, 3), (4, 2), (5, 1), (2, 3), (0, 0), (4, 2)):
        graph = crop(i, j)
        arrays = arrays_of(graph)
        for got, want in zip(driver.run(graph, arrays), evaluate(capture(graph), arrays), strict=True):
            np.testing.assert_allclose(got, want, 1e-5, 1e-5)
    assert driver.stats.compiles == 3, "one that only slices, one that moves along a dimension, one along both"


@needs_compiler
def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(driver, "_WINDOWED_LIMIT", 3)
    for i in range(6):
        for j in range(4):
            driver.run(crop(i, j), arrays_of(crop(i, j)))
    assert len(driver._programs) <= 3 + 3


@needs_compiler
@pytest.mark.slow
def test_training_on_random_crops():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images = torch.rand(4, 1, 10, 10) * 1.0
    for _ in range(12):
        i, j = torch.randint(0, 3, (2,)).tolist()
        x = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")[..., i : i + 8, j : j + 8]
        loss = model(x * 0.5 + 0.1).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert driver.stats.compiles <= 6 and np.isfinite(loss.item())


def shifted(i: int, j: int, n: int = 12) -> Graph:
    """A square put into zeros, shifted: the farther, the less of it is left."""
    r = Recorder()
    x = r.input((n, n))
    size = (n - abs(i), n - abs(j))
    part = r("slice", r("mul", x, x), attrs=((max(0, -i), max(0, -j)), size, (1, 1)))
    return r.graph(r("update", r.full((n, n), 0.0), part, attrs=((max(0, i), max(0, j)), (1, 1))))


def test_what_moved_at_some_sizes_moves_at_others():
    moving_windows.forget()
    assert [windows_of(shifted(*by)) is None for by in ((1, 1), (2, 2), (1, 1), (2, 2))] == [True] * 4, "starts that follow from sizes"
    found = windows_of(shifted(-1, 1))  # along the first dimension
    assert [step.op for step in found.graph.steps] == ["mul", "take", "slice", "full", "take", "update", "put"] and len(found.places) == 2
    assert windows_of(shifted(1, 1)) is None and windows_of(shifted(2, 2)) is None, "they have programs"
    for by in ((3, 3), (-3, 2), (3, 2), (3, 3)):  # sizes that were not met before
        found = windows_of(shifted(*by))
        assert len(found.places) == 2
        arrays = arrays_of(shifted(*by))
        np.testing.assert_allclose(evaluate(capture(found.graph), [*arrays, *found.places])[0], evaluate(capture(shifted(*by)), arrays)[0])
    assert len(windows_of(shifted(3, -2)).places) == 4


@needs_compiler
def test_one_program_for_all_shifts(monkeypatch):
    """Of all sizes, once boxes were seen to move along both dimensions."""
    moving_windows.forget()
    monkeypatch.setattr(driver, "ORACLE_WORK", 0)
    warm = [(2, 2), (-2, 2), (2, -2), (3, 4), (4, 3)]
    for i, j in [*warm, (3, -4), (-4, -3), (4, 5), (-5, 3), (2, -5), (-3, -3)]:
        graph = shifted(i, j)
        arrays = arrays_of(graph)
        np.testing.assert_allclose(driver.run(graph, arrays)[0], evaluate(capture(graph), arrays)[0])
        if (i, j) == warm[-1]:
            before = driver.stats.compiles
    assert driver.stats.compiles == before
