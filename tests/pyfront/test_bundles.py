"""Bundles: parameters that are read as one, call after call, are what they are when they are read: whatever writes to them or takes their place. So are those of calls that are replayed."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import lamina as torch
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from needs import needs_compiler

from lamina.backends import driver, executable
from lamina.pyfront import quick, recorder
from lamina.pyfront.flop_counter import FlopCounterMode
from lamina.pyfront.nn import calls
from lamina.pyfront.node import Bundle
from lamina.pyfront.plan import Plan
from lamina.pyfront.products import steps_of

pytestmark = needs_compiler
nn = torch.nn


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 6), nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.register_buffer("scale", torch.full((6,), 1.5) + torch.zeros(6))

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x)))) * self.scale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Part(), Part()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.second(self.first(x)))


class Words(nn.Module):
    """Several results, tied weights, indices that are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.part, self.head = nn.Embedding(9, 6), Part(), nn.Linear(6, 9)
        self.head.weight = self.table.weight

    def forward(self, index):
        x = self.part(self.table(index))
        y = x.view(2, -1)
        return self.head(x), x, torch.relu(y), (x * 3.0).t()


class Around(nn.Module):
    """Keeps calls of a module whose calls are kept."""

    def __init__(self, inner: Words) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, index):
        x, y, *_ = self.inner(index)
        return x.sum(1) + self.inner(index)[1].mean(), y


@pytest.fixture
def in_c(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that records in C."""
    monkeypatch.setattr(recorder.state, "quick", True)
    quick.quicken(*driver.recording_libraries())
    yield
    quick.slow()


class World:
    """A program: its modules, and what it has seen of them. replays: it has `torch.compile`, too."""

    def __init__(self, replays: bool) -> None:
        torch.manual_seed(0)
        self.net = Net().eval()
        self.other = copy.deepcopy(self.net)
        self.replayed = torch.compile(self.net) if replays else self.net
        self.x, self.longer = torch.randn(3, 6), torch.randn(5, 6)
        self.words, self.index = Words().eval(), torch.tensor([1, 0, 8, 3])
        self.around = Around(self.words)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.003)
        self.waiting: list[Any] = []
        self.seen: list[Any] = []

    def see(self, *tensors: Any) -> None:
        self.seen += [t.detach().numpy().copy() for t in tensors]


ACTIONS: list[Callable[[World], Any]] = []


def action(function: Callable[[World], Any]) -> Callable[[World], Any]:
    ACTIONS.append(function)
    return function


@action
@torch.no_grad()
def call(w: World) -> None:
    for _ in range(3):
        w.see(w.net(w.x))


@action
@torch.no_grad()
def call_replayed(w: World) -> None:
    for _ in range(3):
        w.see(w.replayed(w.x))


@action
@torch.no_grad()
def call_at_two_sizes(w: World) -> None:
    w.see(w.net(w.x), w.net(w.longer))
    w.see(w.net(w.longer))


@action
@torch.no_grad()
def call_and_look_later(w: World) -> None:
    w.waiting += [w.net(w.x), w.net(w.net(w.x))]


@action
def call_with_history(w: World) -> None:
    w.see(w.net(w.x))


@action
@torch.no_grad()
def call_beside_a_weight(w: World) -> None:
    for _ in range(2):
        w.see(w.net(w.x) @ w.net.first.up.weight + w.net.second.norm.bias)


def beside(w: World, weight: Any) -> None:
    """One line, which is where a flush begins: what is one array with what is all that may differ."""
    w.see(w.net(w.x) @ weight)


@action
@torch.no_grad()
def call_beside_weights_in_turn(w: World) -> None:
    for weight in (w.net.first.up.weight, w.other.first.down.weight, w.net.first.up.weight, w.net.first.down.weight, w.other.first.down.weight):
        for _ in range(6):
            beside(w, weight)


@action
@torch.no_grad()
def call_beside_another_in_turn(w: World) -> None:
    for weight in (w.other.first.down.weight, w.net.first.up.weight, w.net.first.down.weight):
        for _ in range(6):
            beside(w, weight)
    for net in (w.net, w.other, w.net):
        w.see(*[w.net(w.x) - net(w.longer)[:3] for _ in range(6)])


@action
@torch.no_grad()
def call_two(w: World) -> None:
    for _ in range(2):
        w.see(w.net(w.x) - w.other(w.x))


@action
@torch.no_grad()
def call_parts(w: World) -> None:
    for _ in range(2):
        w.see(w.net.first(w.net(w.x)) + w.net.first(w.x))


@action
@torch.no_grad()
def call_for_several(w: World) -> None:
    for _ in range(3):
        w.see(*w.words(w.index))


@action
@torch.no_grad()
def call_for_some(w: World) -> None:
    for _ in range(2):
        w.see(w.words(w.index)[1])
    for _ in range(2):
        logits, *_, last = w.words(w.index)
        w.see(logits, last * 2.0)


@action
@torch.no_grad()
def call_for_several_and_look_later(w: World) -> None:
    first, second = w.words(w.index), w.words(w.index.flip(0))
    w.waiting += [first[0], second[3], first[1] + second[1]]
    w.see(first[2])
    w.waiting.append(second[2])


@action
@torch.no_grad()
def call_around(w: World) -> None:
    for _ in range(3):
        w.see(*w.around(w.index))


@action
def write_what_is_tied(w: World) -> None:
    w.words.table.weight.data.mul_(0.75)


@action
def untie(w: World) -> None:
    w.words.head.weight = nn.Parameter(w.words.head.weight.detach() + 1.0)


@action
def lie_otherwise(w: World) -> None:
    p = w.words.part.up.weight
    p.data = p.data.t()


@action
def index_otherwise(w: World) -> None:
    w.index = (w.index + 1) % 9


@action
def index_outside(w: World) -> None:
    with torch.no_grad(), pytest.raises(IndexError):
        w.words(torch.tensor([9, 0, 1, 2]))


@action
def teach(w: World) -> None:
    for _ in range(2):
        with torch.no_grad():
            target = w.net(w.x)
        loss = ((w.other(w.x) - target) ** 2).sum() + w.net.first.down.weight.sum()
        loss.backward()
        w.see(loss, w.other.first.up.weight.grad)
        w.other.zero_grad()
        w.net.zero_grad()


@action
def step(w: World) -> None:
    w.net(w.x).sum().backward()
    w.optimizer.step()
    w.optimizer.zero_grad()


@action
def train_or_not(w: World) -> None:
    w.net.train(not w.net.training)


@action
@torch.no_grad()
def write(w: World) -> None:
    w.net.first.up.weight.mul_(0.5)


@action
def write_unheard(w: World) -> None:
    w.net.second.down.weight.data[1:3] = 0.25


@action
def write_a_buffer(w: World) -> None:
    w.net.first.scale.add_(0.5)


@action
def new_data(w: World) -> None:
    w.net.first.down.weight.data = torch.full((6, 6), 0.125) + torch.zeros(6)


@action
def new_parameter(w: World) -> None:
    w.net.second.up.weight = nn.Parameter(w.net.second.up.weight.detach() * 0.75)


@action
def new_in_the_table(w: World) -> None:
    w.net.second.up._parameters["bias"] = nn.Parameter(torch.ones(6))


@action
def new_buffer(w: World) -> None:
    w.net.second._buffers.update(scale=torch.full((6,), 0.5) + torch.zeros(6))


@action
def tie(w: World) -> None:
    w.net.second.down.weight = w.net.first.down.weight


@action
def share_memory(w: World) -> None:
    w.net.second.down.weight.data = w.net.first.down.weight.data


@action
def freeze_or_not(w: World) -> None:
    p = w.net.first.norm.weight
    p.requires_grad_(not p.requires_grad)


@action
def load(w: World) -> None:
    w.net.load_state_dict({k: v * 0.5 for k, v in w.net.state_dict().items()})


@action
def write_as_numpy(w: World) -> None:
    w.net.first.up.bias.detach().numpy()[2] = 3.0


@action
def write_as_numpy_later(w: World) -> None:
    memory = w.net.first.norm.bias.detach().numpy()
    with torch.no_grad():
        for k in range(3):
            memory[k] = k
            w.see(w.net(w.x))


@action
def swap_a_child(w: World) -> None:
    w.net.first, w.net.second = w.net.second, w.net.first


@action
def swap_tables(w: World) -> None:
    a, b = w.net.first._modules, w.net.second._modules
    a["up"], b["up"] = b["up"], a["up"]


@action
@torch.no_grad()
def call_functionally(w: World) -> None:
    other = {name: p * 2.0 for name, p in w.net.named_parameters()}
    w.see(torch.func.functional_call(w.net, other, (w.x,)), w.net(w.x))


@action
@torch.no_grad()
def call_a_copy(w: World) -> None:
    w.see(copy.deepcopy(w.net)(w.x), copy.copy(w.net)(w.x))


@action
@torch.no_grad()
def overwrite_the_argument(w: World) -> None:
    for _ in range(2):
        w.see(w.net(w.x))
        w.x.mul_(0.5)


def run(actions: list[Callable[[World], Any]], replays: bool = False) -> list[np.ndarray]:
    world = World(replays)
    for act in [call, call_replayed, call_for_several, *actions, call, call_replayed, call_for_several]:
        act(world)
    world.see(*world.waiting)
    return world.seen


def check(actions: list[Callable[[World], Any]], many: int) -> None:
    patch = pytest.MonkeyPatch()
    with patch.context() as p:
        p.setattr(calls, "_MANY", 1 << 30)
        expected = run(actions)
    with patch.context() as p:
        p.setattr(calls, "_MANY", many)
        p.setattr(calls, "_PAUSE", 1)
        p.setattr(calls, "_LONGEST", 1)
        found = run(actions, replays=True)
    assert len(found) == len(expected)
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=f"look {k}")


def test_the_actions_read_as_one(in_c: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests below would compare nothing."""
    served = []
    original = calls.Call._again_with_bundle
    monkeypatch.setattr(calls.Call, "_again_with_bundle", lambda self, nodes: served.append(found := original(self, nodes)) or found)
    check([call, call_two, call_parts], 8)
    assert len([s for s in served if s is not None]) > 8 and any([type(s) is tuple for s in served])


@pytest.mark.slow
@pytest.mark.parametrize("act", ACTIONS, ids=lambda act: act.__name__)
def test_each(act: Callable[[World], Any], in_c: None) -> None:
    check([act, call_and_look_later, act], 8)


@pytest.mark.slow
@pytest.mark.parametrize("small", [True, False])
def test_in_any_order(small: bool, in_c: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """small: programs are called in C, which looks at every array."""
    if not small:
        monkeypatch.setattr(executable.Quick, "library", None)

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=10), st.sampled_from([2, 8]))
    def each(actions: list[Callable[[World], Any]], many: int) -> None:
        check(actions, many)

    each()


def _calls(module: nn.Module) -> list[Any]:
    return [c for c in module.__dict__["_calls_"].values() if c is not None]


def test_they_are_read_as_one(in_c: None) -> None:
    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(3, 6)
    with torch.no_grad():
        for _ in range(10):
            net(x).numpy()
        result = net(x)
        (kept,) = _calls(net)
        assert kept.served >= 4 and type(result._node.inputs[-1]) is Bundle and len(result._node.inputs) == 2
        expected = plainly(net, x)
        assert torch.equal(result, expected)


def plainly(net: Net, x: Any) -> Any:
    """What the modules compute, called one by one, none of them kept."""
    part = lambda p, x: x + p.down.forward(torch.relu(p.up.forward(p.norm.forward(x)))) * p.scale  # noqa: E731
    return part(net.second, part(net.first, x))


@pytest.mark.parametrize(
    "make, look",
    [(Net, lambda r: r.numpy()), (Words, lambda r: r[0].numpy()), (Words, lambda r: r[1:2][0].numpy()), (Words, lambda r: [r[3].numpy(), r[0].numpy()])],
    ids=["one", "several", "the second", "the last first"],
)
def test_the_program_is_the_same(make: Any, look: Any, in_c: None) -> None:
    """Reading as one is no other program, has the names of the parameters, and no Schedule once it is known. Results that nobody has are no
    part of it."""
    torch.manual_seed(0)
    net = make().eval()
    x = torch.randn(3, 6) if make is Net else torch.tensor([1, 0, 8, 3])
    torch.synchronize()
    graphs = []
    run, recorder.state.run = recorder.state.run or recorder.driver(), lambda graph, *rest: (graphs.append(graph), run(graph, *rest))[1]
    try:
        with torch.no_grad():
            for _ in range(12):
                look(net(x))
    finally:
        recorder.state.run = run
    assert len(set(graphs)) == 1 and all([any([n and n.endswith("up.weight") for n in g.names]) for g in graphs])
    assert any([c.served > 4 for c in _calls(net)])
    assert len({id(g) for g in graphs[6:]}) == 1


def test_products_of_what_is_read_as_one_are_counted(in_c: None) -> None:
    """Also those of an optimizer's step, whose state is one Node."""
    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(3, 6)
    with torch.no_grad():
        for _ in range(6):
            net(x).numpy()
        waiting = net(x)
        assert type(waiting._node.inputs[-1]) is Bundle
        assert [op for op, *_ in steps_of(waiting._node)].count("linear") == 4
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(8):
        with FlopCounterMode(display=False) as counter:
            net(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert counter.get_total_flops() == 3 * 4 * 2 * 3 * 6 * 6


@pytest.mark.slow
def test_training_goes_on_in_place(in_c: None) -> None:
    """What was read for an evaluation is let go of before the next step."""
    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(3, 6)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        for _ in range(4):
            net(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            for _ in range(24):
                net(x).numpy()
        assert any([c.bundle is not None for c in _calls(net)])
        bundles = [weakref.ref(c.bundle) for c in _calls(net) if c.bundle is not None]
        net(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        gc.collect()
        assert not any([c.bundle for c in _calls(net)]) and not any([b() for b in bundles])


@pytest.mark.parametrize("act", [lambda net: net.double(), lambda net: net.load_state_dict(net.state_dict()), lambda net: net.train()], ids=["to", "load", "train"])
def test_old_parameters_are_not_held(act: Any, in_c: None) -> None:
    net, x = Net().eval(), torch.randn(3, 6)
    with torch.no_grad():
        for _ in range(6):
            net(x).numpy()
    held = [weakref.ref(c.bundle) for c in _calls(net)]
    assert all([bundle() is not None for bundle in held])
    act(net)
    gc.collect()
    assert not any([bundle() for bundle in held])


def test_copies_of_what_was_called_are_called(in_c: None) -> None:
    """Graphs that a copied module refers to are copied without the programs of this process."""
    torch.manual_seed(0)
    net, x = torch.compile(nn.Sequential(*[nn.Linear(6, 6) for _ in range(4)])), torch.randn(3, 6)
    with torch.no_grad():
        expected = [net(x).numpy() for _ in range(8)][-1]
        copied = copy.deepcopy(net)
        assert all([np.array_equal(copied(x).numpy(), expected) for _ in range(4)])
        copied._orig_mod[0].weight.mul_(2.0)
        assert not np.array_equal(copied(x).numpy(), expected) and np.array_equal(net(x).numpy(), expected)
    exported = torch.export.export(nn.Linear(6, 6), (x,))
    exported.module()(x).detach().numpy()
    copy.deepcopy(exported)


def test_inputs_are_put_together_once(in_c: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(3, 6)
    bases = []
    original = Plan._taken_from

    def noted(self: Plan, bases_of: dict, nodes: list) -> Any:
        arrays = original(self, bases_of, nodes)
        bases.append(arrays.base)
        return arrays

    monkeypatch.setattr(Plan, "_taken_from", noted)
    with torch.no_grad():
        for _ in range(10):
            net(x).numpy()
    assert len(bases) > 4 and all([base is bases[0] for base in bases]) and all([base[i] is None for base in bases for i in (0,)])
