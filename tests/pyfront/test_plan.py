"""Plans: a flush that reuses what an earlier one did hands the driver the very Graph, arrays and results that a
flush from scratch would."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from needs import needs_compiler

import lamina as torch
from lamina.backends import driver
from lamina.dialects import flags
from lamina.dialects.graph import Graph
from lamina.pyfront import plan, quick, recorder, track
from lamina.pyfront.node import Node
from lamina.pyfront.plan import Plan
from lamina.pyfront.schedule import Schedule
from lamina.pyfront.walk import Walk


class Checked:
    """Stands in for ``plan_of``: every plan is compared with a Schedule built anew from the same Nodes."""

    def __init__(self) -> None:
        self.reused = 0
        self.made = 0
        self.tracked = 0
        self.real = plan.plan_of

    def __call__(self, roots: list[Node]) -> tuple[list[Node], Plan, Graph]:
        known = {id(p) for alike in plan._plans.values() for p in alike}
        nodes, found, graph = self.real(roots)
        again = Walk(roots)
        assert again.signature == found.signature
        assert all(a is b for a, b in zip(again.nodes, nodes, strict=True))
        assert [id(n) for n in again.grads] == [id(nodes[i]) for i in found.grads] or again.goes_deep
        met = found.track(roots) if found.track is not None else None
        if met is not None:
            self.tracked += 1
            assert met[1] == again.contents and all(a is b for a, b in zip(met[0], nodes, strict=True))
        self.reused += id(found) in known
        self.made += id(found) not in known
        fresh = Schedule(roots)
        assert graph == fresh.graph and graph.types == fresh.graph.types
        assert all(a is b for a, b in zip(found.arrays(nodes), fresh.arrays, strict=True))
        results = {fresh.outputs[k]: nodes[i] for i, k in found.results}
        assert all(node.id == number for number, node in results.items())
        return nodes, found, graph


def oracle(graph: Graph, arrays: list[np.ndarray], spare: object = None) -> list[np.ndarray]:
    with flags.device("numpy"):
        return driver.run(graph, arrays)


@pytest.fixture(params=["python", pytest.param("c", marks=needs_compiler)])
def checked(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Checked]:
    """request.param: whether steps go through C, and tracks are C's."""
    recorder.flush()
    counter = Checked()
    monkeypatch.setattr(recorder, "plan_of", counter)
    monkeypatch.setattr(recorder.state, "run", oracle)
    monkeypatch.setattr(plan, "_plans", type(plan._plans)())
    monkeypatch.setattr(plan, "_tracks", {})
    monkeypatch.setattr(plan, "_WARM", 1)
    monkeypatch.setattr(recorder.state, "quick", True)
    quick.slow()
    if request.param == "c":
        quick.quicken(*driver.recording_libraries())
        assert track.Native.track is not None and type(vars(Plan)["run"]).__name__ == "method_descriptor"
    yield counter
    quick.slow()


def train(steps: int, width: int = 3) -> list[float]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for i in range(steps):
        x = torch.tensor(np.random.default_rng(i).standard_normal((5, 4), dtype=np.float32))
        loss = torch.nn.functional.cross_entropy(model(x), torch.tensor([0, 1, 0, 1, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_training_loop_is_planned_once(checked: Checked) -> None:
    losses = train(8)
    assert checked.made <= 3 and checked.reused >= 6  # the third when the optimizer's state is gathered
    assert checked.tracked >= 4
    plan._plans.clear()
    assert train(8) == losses


def test_two_programs_take_turns(checked: Checked) -> None:
    x = torch.tensor([1.0, 2.0])
    for i in range(6):
        y = (x + x).exp() if i % 2 else (x * x).exp()
        assert y.tolist() == pytest.approx(np.exp([2.0, 4.0] if i % 2 else [1.0, 4.0]).tolist())
    assert (checked.made, checked.reused) == (2, 4)


def test_what_grows_is_planned_once(checked: Checked) -> None:
    """A text that is longer in every turn: the Graph of each length is what a Schedule makes, without one. Layers are phrases there."""
    torch.manual_seed(0)
    layer, table = torch.nn.LayerNorm(6), torch.nn.Embedding(9, 6)
    text = torch.zeros(2, 2, dtype=torch.long)
    with torch.no_grad():
        for _ in range(6):
            x = torch.nn.functional.gelu(layer(table(text)))
            scores = torch.softmax(x @ x.transpose(1, 2), dim=-1) @ x
            best, at = scores[:, -1].topk(2)
            text = torch.cat((text, at[:, :1]), 1)
            assert best.shape == (2, 2) and text[:, -1].tolist()
    assert (checked.made, checked.reused) == (1, 5)


def test_what_moves_on_is_planned_once_with_parameters_made_of_values(checked: Checked) -> None:
    """A parameter that is another name of what made it (`nn.Parameter(torch.randn(...) / 4)`) is a leaf without a step of its own."""
    torch.manual_seed(0)
    weight, state, x = torch.nn.Parameter(torch.randn(6, 6) / 6), torch.zeros(2, 6), torch.randn(2, 9, 6)
    weight.sum().item()
    checked.made = checked.reused = 0
    with torch.no_grad():
        for i in range(1, 7):
            place = torch.arange(i, i + 1, dtype=torch.float32)
            state = state * 0.5 + (x[:, i] @ weight) * torch.sin(place)
            assert state.abs().sum().item() > 0
    assert (checked.made, checked.reused) == (1, 5)


def test_more_parts_are_another_program(checked: Checked) -> None:
    """Where sizes say how many results a step has, positions say nothing."""
    for n in (4, 6, 8, 4):
        x = torch.arange(float(n))
        parts = [p.exp() for p in x.split(2)]
        assert sum(p.sum().item() for p in parts) == pytest.approx(float(np.exp(np.arange(n)).sum()), rel=1e-5)


def test_shared_buffers_are_part_of_a_program(checked: Checked) -> None:
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    assert (x - y).tolist() == [-2.0, -2.0]
    assert (x - x).tolist() == [0.0, 0.0]
    assert (y - x).tolist() == [2.0, 2.0]
    assert (checked.made, checked.reused) == (2, 1)
    z = torch.tensor([1.0, 2.0], requires_grad=True)
    u = torch.tensor([5.0, 7.0], requires_grad=True)
    assert (z - u.detach()).tolist() == [-4.0, -5.0]
    assert (z - z.detach()).tolist() == [0.0, 0.0]  # two Nodes, one buffer
    assert (u - z.detach()).tolist() == [4.0, 5.0]


def test_what_is_tracked_is_part_of_a_program(checked: Checked) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    def chain() -> torch.Tensor:
        return ((x + x).sum() * 2).exp()

    for tracked in (True, False, True, False):
        with torch.set_grad_enabled(tracked):
            y = chain()
        y.detach().item()
        if tracked:
            y.backward()
            assert x.grad.tolist() == pytest.approx([4 * np.exp(12.0)] * 2)
        x.grad = None
    assert (checked.made, checked.reused) == (3, 3)


def test_the_order_of_recording_is_part_of_a_program(checked: Checked) -> None:
    x = torch.tensor([1.0, 2.0])

    def one() -> torch.Tensor:
        a, b = x.exp(), x.sin()
        return a + b

    def other() -> torch.Tensor:
        b, a = x.sin(), x.exp()
        return a + b

    assert one().tolist() == other().tolist()
    assert checked.made == 2


@pytest.mark.parametrize(
    "other",
    [
        lambda x, y: (x + y) * (y + x),
        lambda x, y: (x + y) * (x - y),
        lambda x, y: (x + x) * (x + y),
        lambda x, y: (x + y.detach()) * (x + y),
        lambda x, y: (x + y) * (x + y).clone(),
        lambda x, y: (x + y) * (x + y.clone()),
        lambda x, y: (lambda b: (x + y) * b)(x + y),
    ],
)
@pytest.mark.parametrize("tracked", [False, True])
def test_a_track_is_left_where_programs_part(checked: Checked, other: object, tracked: bool) -> None:
    """Other operands, ops, identities, histories and orders; `Checked` compares."""
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0], requires_grad=tracked)
    def looked_at(function: object) -> float:
        return function(x, y).sum().item()  # one line: a track is looked for by it

    first = [looked_at(lambda x, y: (x + y) * (x + y)) for _ in range(4)]
    before = checked.tracked
    assert before >= 2
    x0, y0 = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    wanted = (x0 + y0) ** 2, (x0 + y0) * (x0 - y0), 2 * x0 * (x0 + y0)
    assert looked_at(other) in [each.sum() for each in wanted]
    assert looked_at(lambda x, y: (x + y) * (x + y)) == first[0]
    assert checked.tracked > before


def test_two_arrays_in_place_of_one_are_another_program(checked: Checked) -> None:
    x = torch.tensor([1.0, 2.0])
    seen = x.detach()

    def product(other: torch.Tensor) -> list[float]:
        return (x * other).tolist()

    assert [product(seen) for _ in range(6)] == [[1.0, 4.0]] * 6
    made, tracked = checked.made, checked.tracked
    assert product(torch.tensor([3.0, 4.0])) == [3.0, 8.0]
    assert checked.made == made + 1 and checked.tracked == tracked >= 2


def test_many_sizes_that_come_again_are_known_again(checked: Checked) -> None:
    """As the parts of a clustering do: each has its Graph, however many came in between."""
    def some(n: int) -> float:
        return (torch.arange(n).float() * 2 + 1).sum().item()

    first = [some(n) for n in range(2, 42)]
    (alike,) = [found for found in plan._plans.values() if any(len(p.graphs) > 20 for p in found)]
    known = {id(graph) for p in alike for graph in p.graphs.values()}
    assert [some(n) for n in range(2, 42)] == first
    assert {id(graph) for p in alike for graph in p.graphs.values()} == known


def test_a_new_optimizer_records_the_program_of_the_last_one(checked: Checked) -> None:
    losses = [train(4) for _ in range(3)]
    made = checked.made
    assert train(4) == losses[0] and checked.made == made


def test_a_second_backward_after_a_flush(checked: Checked) -> None:
    for _ in range(3):
        x = torch.tensor([[1.0, 2.0], [3.0, 5.0], [4.0, 1.0]], requires_grad=True)
        w, b = torch.ones(2), torch.zeros(2)
        y = (torch.nn.functional.batch_norm(x, None, None, w, b, True) ** 3).sum()
        value = y.item()
        y.backward(retain_graph=True)
        first = x.grad.flatten().tolist()
        x.grad = None
        y.backward()
        assert x.grad.flatten().tolist() == pytest.approx(first) and y.item() == value
    assert checked.reused >= 4


def program(choices: list[int], values: list[torch.Tensor], leaf: torch.Tensor) -> list[list[float]]:
    """Ops, writes, flushes and backwards picked by the choices; everything that can be seen at the end."""
    kept = list(values)
    for choice in choices:
        kind, i, j = choice % 11, choice // 11 % len(kept), choice // 77 % len(kept)
        a, b = kept[i], kept[j]
        if kind < 3:
            kept.append([lambda: a + b, lambda: a * b, lambda: (a - b).tanh()][kind]())
        elif kind == 3:
            with torch.no_grad():
                kept.append(a * b + 1)
        elif kind == 4:
            kept.append(a.detach().clone())
            kept[-1].mul_(0.5)
        elif kind == 5:
            kept.append(a.view(2, 2).t().reshape(4))
        elif kind == 6:
            a.sum().item()
        elif kind == 7 and a.requires_grad and not a.is_leaf:
            a.sum().backward(retain_graph=bool(choice & 1024))
        elif kind == 8:
            leaf.grad = None
        elif kind == 9 and len(kept) > 3:
            kept.pop()
        elif kind == 10:
            kept.append(a if choice & 2048 else a.sin() + leaf)
    recorder.flush()
    return [t.detach().tolist() for t in kept] + ([leaf.grad.tolist()] if leaf.grad is not None else [])


def attempt(choices: list[int]) -> object:
    leaf = torch.tensor([0.5, -1.0, 0.25, 2.0], requires_grad=True)
    values = [torch.tensor([1.0, 0.5, -0.5, 0.0]), leaf * 2]
    try:
        return program(choices, values, leaf)
    except RuntimeError as error:  # a second backward, an overwritten value: the same refusal each time
        return str(error).split("[")[0]


@pytest.mark.parametrize("in_c", [False, pytest.param(True, marks=needs_compiler)])
@given(st.lists(st.integers(0, 4095), max_size=14), st.integers(0, 13), st.integers(0, 4095))
@example([16, 677, 758, 16], 0, 0)  # computed values, made of views that wait or of others
@example([0, 0, 104, 49, 215, 1517, 16], 0, 0)
@settings(max_examples=120, deadline=None)
def test_random_programs_and_their_neighbours_are_never_confused(in_c: bool, choices: list[int], at: int, other: int) -> None:
    before = (recorder.plan_of, recorder.state.run, plan._WARM)
    recorder.flush()
    quick.slow()
    if in_c:
        quick.quicken(*driver.recording_libraries())
    recorder.state.quick = True
    recorder.plan_of, recorder.state.run, plan._WARM = Checked(), oracle, 1
    recorder.plan_of.real = plan.plan_of
    try:
        changed = [other if i == at else c for i, c in enumerate(choices)]
        results = [attempt(c) for c in (choices, changed, choices, changed)]
        np.testing.assert_equal(results[2], results[0])
        np.testing.assert_equal(results[3], results[1])
    finally:
        recorder.flush()
        quick.slow()
        recorder.plan_of, recorder.state.run, plan._WARM = before
        recorder.state.quick = False
