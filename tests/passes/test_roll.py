"""Rolling: programs with loops in them mean the same as scans, whatever their turns carry, share, read and leave behind."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Recorder
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from lamina.backends.oracle import evaluate
from lamina.backends.rolled_program import RolledProgram, stacked
from lamina.dialects.graph import Graph
from lamina.dialects.types import float32
from lamina.lowering.capture import capture
from lamina.passes import roll_loop
from lamina.passes.roll_graph import rolled
from lamina.passes.roll_writes import joined_writes

B, H = 2, 3
UNARY, BINARY = ("tanh", "neg", "sin"), ("add", "mul", "sub", "maximum")


@pytest.fixture(autouse=True)
def small_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of few steps are worth it here."""
    monkeypatch.setattr("lamina.passes.roll_graph.LEAST_SAVED", 12)
    monkeypatch.setattr(roll_loop, "LONG_BODY", 1)


def scans(graph: Graph) -> list[int]:
    """The numbers of steps of a graph's scans, outermost first."""
    found = []
    for op, attrs, _ in graph.steps:
        if op == "scan":
            found += [attrs[3], *scans(attrs[0])]
    return found


def arrays_of(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(len(graph.steps))
    return [np.asarray(rng.standard_normal(shape) * 0.4, dtype.numpy) for shape, dtype in graph.inputs]


def agree(graph: Graph, rows: bool = True) -> Graph:
    """The rolled graph, after it computed what the graph computes."""
    found = rolled(graph, rows)
    assert graph.outputs and len(found.outputs) == len(graph.outputs)
    program = RolledProgram(lambda given, _: evaluate(capture(found.graph), given), found)
    arrays = arrays_of(graph)
    for got, want in zip(program(arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(got, want, 2e-5, 2e-5)
    return found.graph


def transposed(r: Recorder, w: int) -> int:
    return r("permute", w, attrs=((1, 0),))


def row(r: Recorder, x: int, t: int) -> int:
    """x[:, t] of [B, T, H]."""
    return r("reshape", r("slice", x, attrs=((0, t, 0), (B, 1, H), (1, 1, 1))), attrs=((B, H),))


def rnn(turns: int, grad: bool = True, back: bool = False) -> Graph:
    """A network over x[:, t] by hand, its states side by side, and the gradients of their squares."""
    r = Recorder()
    x, w, u, h, b = r.input((B, turns, H)), r.input((H, H)), r.input((H, H)), r.input((B, H)), r.input((H,))
    states, start = [], h
    for t in reversed(range(turns)) if back else range(turns):
        s = r("add", r("matmul", row(r, x, t), transposed(r, w)), r("matmul", h, transposed(r, u)))
        h = r("tanh", r("add", s, r("expand", r("reshape", b, attrs=((1, H),)), attrs=((B, H),))))
        states.append(r("reshape", h, attrs=((B, 1, H),)))
    y = r("concat", *(reversed(states) if back else states), attrs=(1,))
    loss = r("reshape", r("sum", r("mul", y, y), attrs=((0, 1, 2),)), attrs=((),))
    if not grad:
        return r.graph(loss, y, h)
    first = r("autodiff.grad", loss, r.full((), 1.0), w, u, x, start, b)
    return r.graph(loss, y, *range(first, first + 5))


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_a_network_by_hand_is_one_scan(grad: bool, back: bool) -> None:
    graph = agree(rnn(9, grad, back))
    assert scans(graph) == [9]
    assert [s.op for s in graph.steps].count("matmul") == 0


def test_the_graph_does_not_grow_with_the_turns() -> None:
    assert len(rolled(rnn(20)).graph.steps) == len(rolled(rnn(300)).graph.steps)


def test_what_differs_from_turn_to_turn_is_stacked_at_the_call() -> None:
    """Inputs of single turns, outputs of single turns."""
    r = Recorder()
    noise = [r.input((B, H)) for _ in range(8)]
    w, h = r.input((H, H)), r.input((B, H))
    outputs = []
    for n in noise:
        h = r("add", r("tanh", r("matmul", h, w)), n)
        outputs.append(r("sin", h))
    graph = r.graph(*outputs, h)
    found = rolled(graph)
    assert scans(agree(graph)) == [8]
    assert found.inputs == (8, 9, tuple(range(8)))
    assert found.outputs[:8] == tuple((0, t) for t in range(8))


def test_rows_of_another_program_are_not_copied() -> None:
    base = np.arange(24.0).reshape(4, 2, 3).copy()
    assert stacked(list(base)) is base
    for others in (list(base[::-1]), [base[0], base[0], base[2], base[3]], list(base[:3]), [*base[:3], base[3].copy()]):
        assert stacked(others) is not base
        np.testing.assert_array_equal(stacked(others), np.stack(others))


def test_contents_kept_by_an_earlier_run() -> None:
    """The products of every turn are there already: the derivative goes through the turns, their contents are read."""
    r = Recorder()
    turns = 6
    kept = [r.input((B, H)) for _ in range(turns)]
    w, h = r.input((H, H)), r.input((B, H))
    start = h
    for contents in kept:
        h = r("sin", r("autodiff.saved", r("matmul", h, w), contents))
    loss = r("reshape", r("sum", h, attrs=((0, 1),)), attrs=((),))
    first = r("autodiff.grad", loss, r.full((), 1.0), w, start)
    graph = agree(r.graph(loss, first, first + 1))
    assert scans(graph) == [turns]


def test_turns_with_nothing_in_common_but_their_weights() -> None:
    """An episode: the value of every step was computed when it came, the derivative goes through all of them at once. What somebody
    still holds of a turn in another shape is a row, too.
    """
    r = Recorder()
    turns = 8
    xs, kept = [r.input((1, H)) for _ in range(turns)], [r.input((1, H)) for _ in range(turns)]
    w, target = r.input((H, H)), r.input((1, 1))
    losses, shown = [], []
    for x, contents in zip(xs, kept, strict=True):
        value = r("sum", r("sin", r("autodiff.saved", r("matmul", x, w), contents)), attrs=((1,),))
        losses.append(r("mul", r("sub", value, target), r("sub", value, target)))
        shown.append(r("reshape", losses[-1], attrs=((),)))
    stacked = r("concat", *[r("reshape", x, attrs=((1,),)) for x in shown], attrs=(0,))
    loss = r("reshape", r("sum", stacked, attrs=((0,),)), attrs=((),))
    first = r("autodiff.grad", loss, r.full((), 1.0), w)
    for outputs in ((loss, first), (loss, first, *shown), (loss, first, shown[-1])):
        graph = agree(r.graph(*outputs))
        assert scans(graph) == [turns] and len(graph.outputs) <= 3
        assert len(agree(r.graph(*outputs), rows=False).outputs) == len(outputs)


def test_loops_around_loops() -> None:
    """Each turn has turns of its own, over slices of its slice."""
    r = Recorder()
    outer, inner = 5, 6
    x, w, v, h = r.input((outer * inner, B, H)), r.input((H, H)), r.input((H, H)), r.input((B, H))
    for t in range(outer):
        for k in range(inner):
            part = r("slice", x, attrs=((t * inner + k, 0, 0), (1, B, H), (1, 1, 1)))
            h = r("tanh", r("add", r("matmul", h, w), r("reshape", part, attrs=((B, H),))))
        h = r("sin", r("matmul", h, v))
    assert sorted(scans(agree(r.graph(h)))) in ([5, 6], [6, 6, 6, 6, 6], [5])


def test_layers_that_take_turns_are_one_turn() -> None:
    """Two layers of one shape, each with its own weight: the period is both."""
    r = Recorder()
    ws, h = [r.input((H, H)) for _ in range(2)], r.input((B, H))
    for _ in range(7):
        for w in ws:
            h = r("tanh", r("matmul", h, w))
    assert scans(agree(r.graph(h))) == [7]


def test_a_value_of_the_turn_before_the_last() -> None:
    """Two steps back (a multistep integrator), the first turns starting from inputs."""
    r = Recorder()
    w, a, b = r.input((H, H)), r.input((B, H)), r.input((B, H))
    for _ in range(9):
        a, b = b, r("sub", r("matmul", b, w), r("tanh", a))
    assert scans(agree(r.graph(a, b))) in ([9], [8])


def test_values_of_more_turns_ago_than_the_loop_has() -> None:
    """A second loop of the same length per turn reads what the turns of a first one made."""
    r = Recorder()
    v, w, h = r.input((H, H)), r.input((H, H)), r.input((B, H))
    made = []
    for _ in range(9):
        h = r("sin", r("neg", r("tanh", r("matmul", h, w))))
        made.append(h)
    ends = [r("neg", r("tanh", r("sin", r("matmul", h, v)))) for h in made[1:6]]
    assert scans(agree(r.graph(*ends))) == [9, 5]


def test_windows_of_several_elements() -> None:
    r = Recorder()
    x, h = r.input((B, 5 * H)), r.input((B, H))
    w = r.input((H, H))
    for t in range(5):
        h = r("tanh", r("add", r("matmul", h, w), r("slice", x, attrs=((0, t * H), (B, H), (1, 1)))))
    assert scans(agree(r.graph(h))) == [5]


def test_overlapping_windows_stay() -> None:
    r = Recorder()
    x, h, w = r.input((B, 8 + H)), r.input((B, H)), r.input((H, H))
    for t in range(8):
        h = r("tanh", r("add", r("matmul", h, w), r("slice", x, attrs=((0, t), (B, H), (1, 1)))))
    graph = r.graph(h)
    assert rolled(graph).graph is graph


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_a_buffer_filled_part_by_part(grad: bool, back: bool) -> None:
    """out[:, t] = h: the buffer is no value that turns hand on, what is written is a stack."""
    r = Recorder()
    turns = 7
    out, w, h = r.input((B, turns + 2, H)), r.input((H, H)), r.input((B, H))
    given = out
    for t in reversed(range(turns)) if back else range(turns):
        h = r("tanh", r("sin", r("matmul", h, w)))
        out = r("update", out, r("reshape", h, attrs=((B, 1, H),)), attrs=((0, t + 1, 0), (1, 1, 1)))
    outputs = [out, h]
    if grad:
        loss = r("reshape", r("sum", r("mul", out, out), attrs=((0, 1, 2),)), attrs=((),))
        first = r("autodiff.grad", loss, r.full((), 1.0), w, given)
        outputs = [loss, first, first + 1]
    graph = agree(r.graph(*outputs))
    assert scans(graph) == [turns]
    assert [s.op for s in graph.steps].count("update") == 1
    (body,) = [s.attrs[0] for s in graph.steps if s.op == "scan"]
    assert "update" not in [s.op for s in body.steps]


def test_a_buffer_that_is_read_between_writes_is_written_part_by_part() -> None:
    r = Recorder()
    out, w = r.input((8, H)), r.input((H, H))
    for t in range(8):
        row = r("slice", out, attrs=((0, 0), (1, H), (1, 1)))
        out = r("update", out, r("tanh", r("matmul", row, w)), attrs=((t, 0), (1, 1)))
    graph = r.graph(out)
    assert joined_writes(graph) is graph


def test_what_is_no_loop_stays() -> None:
    """Other weights in every layer, values a derivative is taken by, parameters updated one by one."""
    r = Recorder()
    ws, h = [r.input((300, 300)) for _ in range(8)], r.input((B, 300))
    for w in ws:
        h = r("tanh", r("matmul", h, w))
    layers = r.graph(h)
    r = Recorder()
    w, h = r.input((H, H)), r.input((B, H))
    states = [h := r("tanh", r("matmul", h, w)) for _ in range(8)]
    loss = r("reshape", r("sum", h, attrs=((0, 1),)), attrs=((),))
    first = r("autodiff.grad", loss, r.full((), 1.0), *states)
    watched = r.graph(*range(first, first + 8))
    r = Recorder()
    ps = [(r.input((40,)), r.input((40,))) for _ in range(12)]
    updates = r.graph(*(r("sub", p, r("mul", g, g)) for p, g in ps))
    for graph in (layers, watched, updates):
        assert rolled(graph).graph is graph


def test_inputs_and_outputs_may_have_to_stay() -> None:
    """Ahead of time the signature is the program's: outputs of single turns are read from a stack inside."""
    r = Recorder()
    w, h = r.input((H, H)), r.input((B, H))
    states = [h := r("tanh", r("matmul", h, w)) for _ in range(8)]
    graph = agree(r.graph(*states), rows=False)
    assert scans(graph) == [8] and len(graph.outputs) == 8


@st.composite
def loops(draw: st.DrawFn) -> Graph:
    """A few steps, a loop with a body drawn at random, some of its values read behind it, sometimes gradients."""
    turns, count = draw(st.integers(4, 6)), draw(st.integers(1, 3))
    r = Recorder()
    carried = [r.input((B, H)) for _ in range(count)]
    shared = [r.input((B, H)) for _ in range(2)]
    x, w = r.input((turns, B, H)), r.input((H, H))
    noise = [r.input((B, H)) for _ in range(turns)] if draw(st.booleans()) else []
    wrt = [*carried, *shared, x, w]
    shared.append(r("tanh", shared[0]))
    kinds = [draw(st.sampled_from(("unary", "binary", "product", "constant", "fold", "slice"))) for _ in range(draw(st.integers(3, 7)))]
    size = count + len(shared) + 1 + bool(noise)
    picks = [(draw(st.integers(0, size + n - 1)), draw(st.integers(0, size + n - 1))) for n in range(len(kinds))]
    names = [(draw(st.sampled_from(UNARY)), draw(st.sampled_from(BINARY))) for _ in kinds]
    hands = [draw(st.integers(0, size + len(kinds) - 1)) for _ in range(count)]
    leaves = draw(st.lists(st.integers(0, len(kinds) - 1), max_size=2))
    left: list[int] = []
    for t in range(turns):
        part = r("slice", x, attrs=((t, 0, 0), (1, B, H), (1, 1, 1)))
        values = [*carried, *shared, r("reshape", part, attrs=((B, H),)), *noise[t : t + 1]]
        for kind, (a, b), (unary, binary) in zip(kinds, picks, names, strict=True):
            if kind == "unary":
                made = r(unary, values[a])
            elif kind == "binary":
                made = r(binary, values[a], values[b])
            elif kind == "product":
                made = r("matmul", values[a], transposed(r, w))
            elif kind == "constant":
                made = r("mul", values[a], r.full((B, H), 0.5))
            elif kind == "fold":
                made = r("expand", r("sum", values[a], attrs=((1,),)), attrs=((B, H),))
            else:
                made = r("concat", r("slice", values[a], attrs=((0, 1), (B, H - 1), (1, 1))), r("slice", values[b], attrs=((0, 0), (B, 1), (1, 1))), attrs=(1,))
            values.append(r("sin", made))
        carried = [values[i] for i in hands]
        left += [values[size + i] for i in leaves]
    ends = [*carried, *left]
    total = r("concat", *ends, attrs=(0,))
    loss = r("reshape", r("sum", r("tanh", total), attrs=((0, 1),)), attrs=((),))
    outputs = [loss, total] + (left[:3] if draw(st.booleans()) else []) + (left[-1:] if draw(st.booleans()) else [])
    if draw(st.booleans()):
        outputs += [r("reshape", v, attrs=((B * H,),)) for v in left]
    if draw(st.booleans()):
        first = r("autodiff.grad", loss, r.full((), 1.0), *wrt)
        outputs += range(first, first + len(wrt))
    return r.graph(*dict.fromkeys(v for v in outputs if v >= len(r.inputs)))


@seed(6)
@settings(max_examples=25, deadline=None, database=None)
@given(loops(), st.booleans())
def test_random_loops(graph: Graph, rows: bool) -> None:
    agree(graph, rows)


@pytest.mark.slow
@seed(7)
@settings(max_examples=400, deadline=None, database=None)
@given(loops(), st.booleans())
def test_many_random_loops(graph: Graph, rows: bool) -> None:
    agree(graph, rows)


def test_types_are_those_of_the_values() -> None:
    graph = rolled(rnn(9)).graph
    assert len(graph.types) == len(graph.inputs) + sum(len(s.attrs[0].outputs) if s.op == "scan" else 5 if s.op == "autodiff.grad" else 1 for s in graph.steps)
    assert graph.types[graph.outputs[1]] == ((B, 9, H), float32)
