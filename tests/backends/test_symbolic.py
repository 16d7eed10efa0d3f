"""Programs for many sizes: when they are made, how many compiles there are, and what happens where there cannot be one."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import lamina as torch
import numpy as np
import pytest
from fresh_programs import forget_programs, fresh_programs  # noqa: F401  # a fixture
from graphs import Recorder
from hypothesis import given, settings
from hypothesis import strategies as st
from needs import needs_compiler
from lamina import nn
from lamina.backends import driver, emission, known_loops, symbolic
from lamina.backends.families import take_apart
from lamina.backends.instances import Instances
from lamina.backends.template_search import template_of
from lamina.backends.oracle_graph import evaluate_graph
from lamina.dialects import flags, target
from lamina.dialects.graph import Graph, Step
from lamina.dialects.sizes import NeedsNumber, Size, substituted
from lamina.dialects.types import float32, int32
from lamina.lowering.block_writer import BlockWriter
from lamina.nn import functional as F
from lamina.passes.roll_writer import Rolled
from lamina.pyfront import recorder

pytestmark = [needs_compiler, pytest.mark.usefixtures("fresh_programs")]


def graph_at(n: int, m: int = 6) -> Graph:
    """relu(x[n, m]) summed over n, and reshaped."""
    shapes = ((n, m), (n, m), (1, m), (n * m,))
    steps = (Step("relu", (), (0,)), Step("sum", ((0,),), (1,)), Step("reshape", ((n * m,),), (1,)))
    types = tuple((shape, float32) for shape in shapes)
    return Graph(types[:1], steps, (2, 3), ("a.py:1", "a.py:2", "a.py:3"), (None,), types)


def run_at(n: int, m: int = 6) -> None:
    x = np.random.default_rng(n).standard_normal((n, m)).astype(np.float32)
    total, flat = driver.run(graph_at(n, m), [x])
    np.testing.assert_allclose(total, np.maximum(x, 0).sum(0, keepdims=True), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(flat, np.maximum(x, 0).reshape(-1))


# Families


def test_relatives_differ_in_sizes_only():
    skeleton, numbers = take_apart(graph_at(8))
    assert take_apart(graph_at(5)) == (skeleton, (5, 6, 30)) and numbers == (8, 6, 48)
    assert take_apart(graph_at(1))[0] != skeleton, "a dimension of size 1 is structure"


def test_a_template_is_what_its_instances_have_in_common():
    numbers = [take_apart(graph_at(n))[1] for n in (8, 5, 20)]
    template = template_of(graph_at(5), numbers[:2])
    assert template.values(numbers[2]) == (20,)
    assert template.values((20, 6, 119)) is None and template.values((20, 7, 140)) is None


def test_numbers_that_follow_no_line_make_no_template():
    first, second = (take_apart(graph_at(n, m))[1] for n, m in ((8, 6), (5, 7)))
    assert template_of(graph_at(5, 7), [first, (5, 7, 37)]) is None, "neither a multiple of n or m, nor of both"
    template = template_of(graph_at(5, 7), [first, second])
    assert template.sources == ((1, 1), (0, 1)) and template.values((9, 4, 36)) == (4, 9)


def test_parts_of_sizes_and_parts_of_these():
    def halved(n: int) -> tuple[int, ...]:
        return n, n // 2, n // 2 + 2, n // 4, 3 * n // 4 - 1

    def graph(n: int) -> Graph:
        """A graph with these numbers in it: an input [n, 3] and a slice of each length."""
        steps = tuple(Step("slice", ((0, 0), (k, 3), (1, 1)), (0,)) for k in halved(n)[1:])
        types = tuple(((k, 3), float32) for k in halved(n))
        return Graph(types[:1], steps, (1, 2, 3, 4), ("a.py:1",) * 4, (None,), types)

    (_, first), (_, second) = take_apart(graph(16)), take_apart(graph(40))
    template = template_of(graph(40), [first, second])
    assert template.values(take_apart(graph(28))[1]) == (28,) and template.values(take_apart(graph(30))[1]) is None


def test_of_several_explanations_the_plainest():
    first, second = ((2, 10, 10), (4, 30, 30))  # 30 is 10 * (4 - 1), but the other dimension itself
    types = (((4, 30), float32), ((4, 30), float32))
    graph = Graph(types[:1], (Step("slice", ((0, 0), (3, 30), (1, 1)), (0,)),), (1,), ("a.py:1",), (None,), types)
    template = template_of(graph, [(*first[:2], 3, 10), (*second[:2], 3, 30)])
    assert template.holes[3] == [[1, template.sources.index((1, 1))]]


@pytest.mark.slow
def test_images_of_other_sizes_are_the_same_program():
    """Layers that halve and double, with sums of both: one program for all images of whole blocks."""
    torch.manual_seed(0)
    down, up, out = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(6, 1, 1)
    parameters = [*down.parameters(), *up.parameters(), *out.parameters()]

    def losses(sizes: list[tuple[int, int]], lone: bool) -> list[float]:
        found = []
        for h, w in sizes:
            x = torch.from_numpy(np.random.default_rng(h * w).standard_normal((2, 2, h, w)).astype(np.float32))
            y = out(torch.cat([x, up(torch.relu(down(F.max_pool2d(x, 2)))).repeat_interleave(2, 2).repeat_interleave(2, 3)], 1))
            loss = (y * y).mean()
            found.append([loss.item(), *(g.sum().item() for g in torch.autograd.grad(loss, parameters))])
            if lone:
                symbolic._families.clear()
        return found

    sizes = [(16, 24), (32, 16), (24, 40), (48, 8), (8, 64), (40, 40)]
    made = losses(sizes, lone=False)
    assert driver.stats.symbolic >= 1 and driver.stats.refused == 0
    compiles = driver.stats.compiles
    losses([(32, 48), (56, 16)], lone=False)
    assert driver.stats.compiles == compiles
    np.testing.assert_allclose(made, losses(sizes, lone=True), rtol=2e-4, atol=1e-4)


def test_the_last_element_of_any_size():
    """An index that is an expression of sizes, alone: x[n - 1]."""

    def graph_of(n: int) -> Graph:
        shapes = ((n,), (1,), (1,))
        steps = (Step("slice", ((n - 1,), (1,), (1,)), (0,)), Step("relu", (), (1,)))
        types = tuple((shape, float32) for shape in shapes)
        return Graph(types[:1], steps, (2,), ("a.py:1", "a.py:2"), (None,), types)

    for n in (8, 5, 20, 3):
        (last,) = driver.run(graph_of(n), [np.arange(1, n + 1, dtype=np.float32)])
        np.testing.assert_array_equal(last, [n])
    assert (driver.stats.compiles, driver.stats.symbolic, driver.stats.refused) == (2, 1, 0)


def test_two_sizes_that_change():
    for n, m in ((8, 6), (5, 7), (9, 4), (6, 6), (31, 16), (7, 30)):
        run_at(n, m)
    assert (driver.stats.compiles, driver.stats.symbolic) == (2, 1)


def test_one_size_changes_and_then_another():
    for n, m in ((8, 6), (5, 6), (9, 6), (9, 4), (7, 21), (8, 8), (12, 12)):
        run_at(n, m)
    assert (driver.stats.compiles, driver.stats.symbolic) == (3, 2)


def template_from(make, *sizes):
    """The template of a function's graphs at these sizes, recorded as it runs on the oracle; and the numbers at others."""

    def numbers(n):
        graphs = []
        with monkeyed(graphs):
            make(*n)
        return graphs[-1], take_apart(graphs[-1])

    graph, _ = numbers(sizes[-1])
    found = template_of(graph, [numbers(n)[1][1] for n in sizes])

    def at(*n):
        other, (skeleton, there) = numbers(n)
        values = None if found is None else found.values(there)
        instances = None if found is None else Instances.of(found)
        if instances is not None and skeleton == take_apart(graph)[0]:
            assert instances.values(other) == values, "told at a glance as by its numbers"
        return values

    return found, at


@contextmanager
def monkeyed(graphs):
    before = recorder.state.run

    def run(graph, arrays, *spare):
        graphs.append(graph)
        with flags.device("numpy"):
            return driver.run(graph, arrays, *spare)

    recorder.flush()
    recorder.state.run = run
    try:
        yield
    finally:
        recorder.state.run = before


def lengths(b, s, t):
    """Two sequences of lengths that have nothing to do with each other, and a batch."""
    x, y = torch.ones(b, s), torch.ones(b, t)
    ((x.unsqueeze(2) * y.unsqueeze(1)).reshape(b, s * t).sum(1) + x[:, 1:].sum(1) + y.sum(1)).tolist()


def test_sizes_that_change_alike_by_chance_are_told_apart():
    """16 and 11, 30 and 25: five less both; 28 and 24."""
    template, at = template_from(lengths, (16, 30, 28), (11, 25, 24))
    assert len(template.sources) == 3
    assert sorted(at(9, 40, 12)) == [9, 12, 40] and sorted(at(5, 6, 7)) == [5, 6, 7]


def test_a_member_more_tells_what_two_do_not():
    template, at = template_from(lengths, (16, 30, 28), (16, 25, 31), (11, 20, 24))
    assert len(template.sources) == 3 and sorted(at(5, 18, 30)) == [5, 18, 30]


def test_one_size_is_a_function_of_another_where_types_say_so():
    def one_longer(b, t):
        x = torch.ones(b, t)
        (torch.cat([x, x[:, :1]], 1) * torch.ones(b, t + 1)).tolist()

    template, at = template_from(one_longer, (8, 20), (7, 30))
    assert len(template.sources) == 2 and at(3, 9) is not None


def test_sizes_that_are_halved_and_rounded():
    x, w = (lambda n: torch.ones(1, 1, n)), torch.ones(1, 1, 3)

    def convolved(n):
        F.conv1d(F.conv1d(x(n), w, stride=2), w, stride=3).tolist()

    template, at = template_from(convolved, (64, ), (83, ))
    assert all(at(n) == (n,) for n in (70, 71, 79, 90, 101)) and "//" in str(template.in_scope(symbolic.scope_of([83])).types)


def test_sizes_that_are_halved_and_doubled_are_counted_in_pairs():
    def hourglass(n):
        x = torch.ones(1, 1, n)
        small = F.max_pool1d(x, 2)
        (torch.stack([small, small], 3).flatten(2) + x).tolist()

    template, at = template_from(hourglass, (64,), (46,))
    assert template.sources == ((0, 2),) and at(90) == (45,)


def test_places_that_follow_from_nothing_are_symbols():
    cache = torch.zeros(40, 3)

    def at_place(k):
        cache[k : k + 2] = torch.ones(2, 3)
        cache[: k + 2].sum().item()

    template, at = template_from(at_place, (12,), (9,))
    assert len(template.sources) == 1 and at(30) is not None and at(31) != at(30)


def test_bodies_of_loops_have_their_sizes_too():
    cell = nn.LSTM(3, 4)

    def ran(t, b):
        with torch.no_grad():
            cell(torch.ones(t, b, 3))[0].tolist()

    template, at = template_from(ran, (9, 5), (12, 7))
    assert sorted(at(20, 3)) == [3, 20]


@given(st.lists(st.tuples(st.integers(2, 40), st.integers(3, 40), st.integers(2, 40)), min_size=2, max_size=4, unique=True))
@settings(max_examples=25, deadline=None)
def test_any_members(sizes):
    """Members are instances of their template, and its numbers at other sizes are those of the graph there, or it says no."""
    template, at = template_from(lengths, *sizes)
    if template is not None:
        assert all(at(*n) is not None for n in sizes)
        graphs = []
        with monkeyed(graphs):
            lengths(*sizes[0])
        values = template.values(take_apart(graphs[-1])[1])
        scope = symbolic.scope_of([max(2, v) for v in values])
        types = template.in_scope(scope).types
        assert [(substituted(shape, values), dtype) for shape, dtype in types] == list(graphs[-1].types)


def test_an_instance_is_equal_in_everything():
    """A graph of the same kin that is no instance, or is one of another template, is not taken for one."""
    template = template_of(graph_at(5), [take_apart(graph_at(n))[1] for n in (8, 5)])
    instances = Instances.of(template)
    assert instances.values(graph_at(20)) == (20,) and instances.values(graph_at(1)) is None and instances.values(graph_at(20, 7)) is None
    graph = graph_at(20)
    for steps in (
        (graph.steps[0], Step("sum", ((1,),), (1,)), graph.steps[2]),
        (*graph.steps[:2], Step("reshape", ((120,),), (0,))),
        (*graph.steps[:2], Step("reshape", ((60, 2),), (1,))),
        (Step("neg", (), (0,)), *graph.steps[1:]),
        graph.steps[:2],
    ):
        assert instances.values(Graph(graph.inputs, steps, graph.outputs, graph.origins, graph.names, graph.types)) is None
    assert instances.values(Graph(graph.inputs, graph.steps, (2,), graph.origins, graph.names, graph.types)) is None


# Compiles


def test_the_second_size_compiles_for_all():
    for n in (64, 40, 33, 57, 12, 100, 2):
        run_at(n)
    assert (driver.stats.compiles, driver.stats.symbolic, driver.stats.refused) == (2, 1, 0)
    run_at(1)  # another program, sums and relu of one row: it may come in passing
    run_at(1)
    assert driver.stats.compiles == 3


@pytest.mark.parametrize("dtype", [float32, int32], ids=str)
def test_rows_of_any_length_are_sorted_and_their_best_found(monkeypatch, dtype):
    """Beams of other widths, lists of other lengths: one program; ties and NaN stay where the oracle has them."""
    monkeypatch.setattr(driver, "ORACLE_WORK", 0)
    for n, k in ((40, 3), (60, 4), (50, 7), (33, 2), (100, 31), (31, 9), (64, 5), (17, 17)):
        r = Recorder()
        x = r.input((3, n), dtype)
        best, rows = r("topk", x, attrs=(k, True)), r("sort", x, attrs=(1, False))
        graph = r.graph(best, best + 1, rows, rows + 1)
        array = np.random.default_rng(n).integers(-20, 20, (3, n)).astype(dtype.numpy)
        if dtype is float32:
            array[1, :: 5] = np.nan
        for got, want in zip(driver.run(graph, [array]), evaluate_graph(graph, [array]), strict=True):
            np.testing.assert_array_equal(got, want)
    assert (driver.stats.compiles, driver.stats.refused) == (1 + driver.stats.symbolic, 0) and driver.stats.symbolic <= 3


def test_more_room_when_a_size_needs_it():
    for n in (8, 5, 16, 31, 32, 40, 200, 300, 500, 900):
        run_at(n)
    assert driver.stats.compiles == 1 + driver.stats.symbolic and 2 <= driver.stats.symbolic <= 4


def test_what_grows_in_each_turn_gets_more_room():
    for n in (*range(10, 70), *range(70, 2000, 37)):
        run_at(n)
    assert (driver.stats.compiles, driver.stats.symbolic) == (3, 2), "for 10, up to 64, up to 2048"


def test_a_size_met_in_passing_gets_no_program(monkeypatch):
    """A graph of lines whose sizes change that is the first of its family runs on the oracle, until it comes again or has relatives."""
    monkeypatch.setattr(driver, "PASSING_WORK", 1 << 20)
    for n in (10, 11, 1):
        run_at(n)
    assert (driver.stats.compiles, driver.stats.oracle_runs) == (2, 1)
    run_at(1)
    assert (driver.stats.compiles, driver.stats.oracle_runs) == (3, 1)


def rows_of_experts(counts: range) -> Graph:
    """As many rows as each expert got, multiplied by a number of the expert."""
    r = Recorder()
    parts = [r.input((n, 4)) for n in counts]
    return r.graph(*[r("mul", part, r.full((n, 4), n, float32), origin="moe.py:2") for part, n in zip(parts, counts, strict=True)])


def test_what_never_comes_back_is_not_compiled_each_time(monkeypatch):
    """Experts that get no row are not in the graph: after a few, graphs of these lines get a program when they come again."""
    monkeypatch.setattr(symbolic, "STRAYS", 1)
    monkeypatch.setattr(driver, "ORACLE_WORK", 4)  # what is on purpose compiled at once is no stray
    for experts in range(1, 6):
        graph = rows_of_experts(counts := range(2, 2 + experts))
        rows = [np.ones((n, 4), np.float32) for n in counts]
        for n, out in zip(counts, driver.run(graph, rows), strict=True):
            np.testing.assert_array_equal(out, np.full((n, 4), n, np.float32))
    assert (driver.stats.compiles, driver.stats.oracle_runs) == (1, 4)
    driver.run(graph, rows)
    assert driver.stats.compiles == 2


def test_several_gradients_cost_as_much_as_each_does():
    r = Recorder()
    a, b = r.input((8,)), r.input((8,))
    loss = r("sum", r("mul", a, b), attrs=((0,),))
    seed = r.full((1,), 1.0)
    forward = driver.work_of(r.graph(loss))
    grads = [r("autodiff.grad", loss, seed, wrt) for wrt in (a, b)]
    assert driver.work_of(r.graph(*grads)) == 5 * forward


def test_a_size_of_its_own_keeps_its_program():
    run_at(64)
    run_at(40)
    run_at(64)
    assert driver._programs[graph_at(64)].sizes == () and driver._programs[graph_at(40)].sizes == (40,)


def test_one_arena_for_all_sizes():
    for n in (64, 40, 33):
        run_at(n)
    assert driver._programs[graph_at(40)]._arena is driver._programs[graph_at(33)]._arena


def test_sizes_met_long_ago_let_go_of_their_arrays(monkeypatch):
    monkeypatch.setattr(symbolic, "SMALL_BYTES", 0)
    for n in range(40, 44 + symbolic.MOST_SIZES):
        run_at(n)
    kept = [p for p in driver._programs.values() if p.sizes]
    assert len(kept) == symbolic.MOST_SIZES
    held = len(kept[0]._pool.held)
    assert held <= 2 * symbolic.MOST_SIZES, "two outputs of each size are held"
    run_at(41)  # comes back
    assert driver.stats.compiles == 2


def test_more_sizes_are_kept_ready_while_their_results_are_small():
    last = 44 + symbolic.MOST_SIZES
    for n in range(40, last):
        run_at(n)
    kept = [p for p in driver._programs.values() if p.sizes]
    assert len(kept) == last - 41, "all but the first size's own"
    (compiled,) = [c for family in symbolic._families.values() for t in family.templates for c in t.programs]
    assert compiled.bytes == sum(p.output_bytes for p in kept)


def test_loops_are_not_looked_for_in_every_size(monkeypatch):
    """A decoder's step is another graph for every token before it: where two sizes had no loop, others have none."""
    searched = []
    monkeypatch.setattr("lamina.passes.roll_graph.rolled", lambda graph: searched.append(graph) or Rolled(graph, (), ()))

    def graph_of(n: int) -> Graph:
        steps = tuple(Step(("relu", "neg")[k % 3 == 1], (), (k,)) for k in range(known_loops.FEW_STEPS))
        types = (((n,), float32),) * (len(steps) + 1)
        return Graph(types[:1], steps, (len(steps),), ("a.py:1",) * len(steps), (None,), types)

    for n in range(5, 12):
        driver.run(graph_of(n), [np.ones(n, np.float32)])
    assert [graph.inputs[0][0] for graph in searched] == [(5,), (6,)]


@pytest.mark.slow
def test_parameters_stay_where_they_are_when_sizes_change():
    torch.manual_seed(0)
    model = nn.Linear(12, 5)
    take = trained(model, lambda n: (torch.randn(n, 12), torch.randint(0, 5, (n,))))
    for n in range(20, 36):
        take(n)
    program = next(p for p in driver._programs.values() if p.sizes == (35,) and len(p.outputs) > 6)
    weights = program._pool.addresses[(5, 12), float32]
    assert len(weights) <= 2 * 15 + 8, "every size holds its gradient, and not a weight and its moments as well"


def test_found_in_the_cache_by_the_next_process():
    run_at(64)
    run_at(40)
    forget_programs()
    for n in (64, 40, 33):
        run_at(n)
    assert (driver.stats.compiles, driver.stats.disk_hits) == (0, 2)


def test_what_needs_the_number_is_compiled_size_by_size(monkeypatch):
    def needs(*_, **__):
        raise NeedsNumber("a pass needs the value of s0")

    with monkeypatch.context() as patched:
        patched.setattr(symbolic.Template, "in_scope", needs)
        for n in (64, 40, 33):
            run_at(n)
    assert (driver.stats.symbolic, driver.stats.refused) == (0, 1)  # asked once
    assert driver._programs[graph_at(33)].sizes == ()


def test_the_flag_turns_it_off():
    with flags.symbolic(False):
        for n in (64, 40, 33):
            run_at(n)
    assert driver.stats.compiles == 3


def test_small_programs_run_on_the_oracle_until_they_come_often(monkeypatch):
    monkeypatch.setattr(driver, "ORACLE_WORK", 1 << 22)
    for n in range(3, 3 + symbolic.OFTEN):
        run_at(n)
    assert driver.stats.compiles == 0 and driver.stats.oracle_runs == symbolic.OFTEN
    for n in range(20, 30):
        run_at(n)
    assert driver.stats.compiles == driver.stats.symbolic == 1


def test_small_programs_of_numbers_that_follow_from_nothing_stay_on_the_oracle(monkeypatch):
    """A batch of rows written to lengths of their own, as data sets pad words: hardly ever the same, and no template has them all."""
    monkeypatch.setattr(driver, "ORACLE_WORK", 1 << 22)
    rng = np.random.default_rng(0)
    for _ in range(40):
        lengths = rng.integers(2, 14, 8).tolist()
        rows = []
        for n in lengths:
            row = torch.zeros(16)
            row[1 : 1 + n] = torch.arange(n).float()
            rows.append(row)
        found = torch.stack(rows)
        assert found.sum(1).tolist() == [n * (n - 1) / 2 for n in lengths]
    assert driver.stats.compiles == driver.stats.symbolic and driver.stats.oracle_runs > 20


# Whole programs: losses are those of programs for one size


def losses(step, sizes) -> list[float]:
    torch.manual_seed(0)
    take = step()
    return [take(n) for n in sizes]


def check(step, sizes, compiles: int) -> None:
    found = losses(step, sizes)
    assert driver.stats.refused == 0 and driver.stats.symbolic == 1
    assert driver.stats.compiles <= compiles, "a size was compiled for itself"
    with flags.symbolic(False), flags.device("numpy"):
        wanted = losses(step, sizes)
    np.testing.assert_allclose(found, wanted, rtol=2e-4)


def trained(model, batch):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def take(n):
        x, y = batch(n)
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss.item()

    return take


def mlp():
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 5))
    return trained(model, lambda n: (torch.randn(n, 12), torch.randint(0, 5, (n,))))


def cnn():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5))
    return trained(model, lambda n: (torch.randn(n, 1, 8, 8), torch.randint(0, 5, (n,))))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.out = nn.LSTM(6, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x):
        return self.out(self.cells(x)[0])


def lstm():
    return trained(Recurrent(), lambda n: (torch.randn(4, n, 6), torch.randint(0, 5, (4, n))))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(9, 16), nn.Embedding(64, 16)
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 9)

    def forward(self, x):
        b, t = x.shape
        h = self.embed(x) + self.place(torch.arange(t))
        q, k, v = (z.view(b, t, 2, 8).transpose(1, 2) for z in self.qkv(self.norm(h)).split(16, 2))
        h = h + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, 16)
        return self.out(h)


def gpt():
    return trained(Attending(), lambda n: (torch.randint(0, 9, (2, n)), torch.randint(0, 9, (2, n))))


@pytest.mark.parametrize("step", [mlp, pytest.param(cnn, marks=pytest.mark.slow), pytest.param(lstm, marks=pytest.mark.slow), pytest.param(gpt, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_training_with_changing_sizes(step):
    """Also sizes equal to those of layers, and odd ones."""
    sizes = (20, 20, 20, 13, 13, 32, 9, 16, 5, 12, 20, 3)
    monkeyed = driver.ORACLE_WORK
    driver.ORACLE_WORK = 4096  # the steps are compiled, drawing their inputs is not
    try:
        check(step, sizes, 4)
    finally:
        driver.ORACLE_WORK = monkeyed


@pytest.mark.slow
def test_sequences_of_any_lengths_packed_and_masked():
    """Lengths of their own in every batch: a packed LSTM, and attention that masks what is padded."""
    torch.manual_seed(0)
    cells, attend, out = nn.LSTM(6, 8, batch_first=True), nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 1)
    parameters = [p for m in (cells, attend, out) for p in m.parameters()]

    def losses(batches):
        for lengths in batches:
            x = torch.tensor(np.random.default_rng(sum(lengths)).standard_normal((4, max(lengths), 6)).astype(np.float32))
            h, _ = nn.utils.rnn.pad_packed_sequence(
                cells(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0], batch_first=True
            )
            hidden = torch.arange(max(lengths))[None, :] >= torch.tensor(lengths)[:, None]
            loss = out(attend(h, h, h, key_padding_mask=hidden)[0].mean(1)).square().mean()
            yield [loss.item(), *(g.abs().sum().item() for g in torch.autograd.grad(loss, parameters))]

    batches = [[9, 5, 7, 3], [11, 4, 6, 8], [6, 14, 10, 5], [12, 7, 3, 9], [5, 8, 13, 4], [15, 9, 6, 7]]
    found = list(losses(batches[:3]))
    compiles = driver.stats.compiles
    found += losses(batches[3:])
    assert driver.stats.refused == 0 and driver.stats.symbolic >= 1 and driver.stats.compiles == compiles
    with flags.symbolic(False), flags.device("numpy"):
        np.testing.assert_allclose(found, list(losses(batches)), rtol=2e-4, atol=1e-5)


@pytest.mark.slow
def test_blocks_of_chains_at_any_batch(monkeypatch):
    """Caches so small that attention runs block by block, forward and backward."""
    monkeypatch.setitem(target.TARGETS, "small", replace(target.AVX2, name="small", l2_bytes=16384, l3_bytes=65536))
    monkeypatch.setattr(emission, "cpu_target", lambda f32: "small")
    written = []
    function = BlockWriter.function
    monkeypatch.setattr(BlockWriter, "function", lambda self, *args: written.append(self.count) or function(self, *args))

    def attended(n):
        q = torch.tensor(np.random.default_rng(n).standard_normal((n, 2, 32, 8)).astype(np.float32)).requires_grad_()
        out = F.scaled_dot_product_attention(q, q * 2, q + 1, is_causal=True)
        out.square().sum().backward()
        return out.detach().numpy(), q.grad.numpy()

    for n in (4, 3, 2, 7, 11):
        found = attended(n)
        with flags.device("numpy"):
            wanted = attended(n)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert driver.stats.refused == 0 and driver.stats.compiles <= 2 * driver.stats.symbolic
    assert any(isinstance(count, Size) for count in written)


def test_compiled_calls_with_changing_sizes():
    model = torch.compile(nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 5)))
    with torch.no_grad():
        for n in (20, 20, 20, 13, 13, 13, 7, 7, 7, 31, 31, 31):
            x = torch.tensor(np.random.default_rng(n).standard_normal((n, 12)).astype(np.float32))
            found = model(x).numpy()
            with flags.device("numpy"):
                wanted = model(x).numpy()
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert driver.stats.symbolic == 1 and driver.stats.refused == 0
    assert sum(p.sizes != () for p in driver._programs.values()) == 3


@pytest.mark.slow
def test_what_is_made_of_weights_does_not_outlive_a_call_at_any_size():
    """A mask that is a part of a buffer, and rows of a table, as many as the text is long: their memory is another one in the next call."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place, self.turned = nn.Embedding(64, 32), nn.Linear(32, 96, bias=False)
            self.register_buffer("tril", torch.tril(torch.ones(64, 64)).view(1, 1, 64, 64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            b, n, c = x.shape
            x = x + self.place(torch.arange(n))
            q, k, v = (t.view(b, n, 4, 8).transpose(1, 2) for t in self.turned(F.layer_norm(x, (32,))).split(32, dim=2))
            weights = (q @ k.transpose(-2, -1)).masked_fill(self.tril[:, :, :n, :n] == 0, float("-inf")).softmax(-1)
            return (weights @ v).transpose(1, 2).reshape(b, n, c)

    torch.manual_seed(0)
    head = Head().eval()
    with torch.no_grad():
        for n in range(3, 24):
            x = torch.randn(4, n, 32)
            got = head(x).numpy()
            np.testing.assert_allclose(got[:, :2], head(x[:, :2]).numpy(), rtol=1e-4, atol=1e-4)
    assert driver.stats.symbolic
