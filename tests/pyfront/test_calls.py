"""Calls: a layer that is called again records what it recorded before, unless anything about it changed."""

from __future__ import annotations

import copy
import pickle

import lamina as torch
import numpy as np
import pytest
from lamina.pyfront import recorder
from lamina.pyfront.nn.hooks import register_module_forward_hook
from lamina.pyfront.node import PHRASE
from lamina.pyfront.schedule import Schedule

nn = torch.nn


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def unit(inplace=True):
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU6(inplace=inplace))


def layers():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def is_kept(module):
    return any(call is not None for call in module.__dict__.get("_calls_", {}).values())


def recorded(module, x):
    """The Graph of a call with its lines, and its steps as (place, op, attributes, type, tracked)."""
    for read in (*module.parameters(), *module.buffers()):
        read._read()
    start = recorder.state.order
    root = module(x)._read()
    graph = Schedule([root]).graph
    found, stack = [], [root]
    seen = set()
    while stack:
        node = stack.pop()
        if id(node) not in seen and node.order > start:
            seen.add(id(node))
            if node.op == PHRASE:
                node.attrs[0].write_out(node)
            found.append((node.order, node.op, node.attrs, node.type, node.requires_grad))
            stack += node.inputs
    first = min(step[0] for step in found)
    return graph, graph.origins, sorted([(order - first, *step) for order, *step in found])


MADE = {
    "linear": (layers, (5, 3)),
    "unit": (lambda: unit().eval(), (1, 2, 5, 5)),
    "nested": (lambda: nn.Sequential(unit(), nn.Sequential(unit_of(4), nn.MaxPool2d(2)), nn.AdaptiveAvgPool2d(1)).eval(), (1, 2, 6, 6)),
    "norm": (lambda: nn.Sequential(nn.LayerNorm(3), nn.GELU(), nn.Dropout(0.5), nn.Identity(), nn.Linear(3, 1)).eval(), (2, 3)),
    "flat": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(18, 2)), (2, 1, 5, 5)),
}
VIEWED = {  # parameters are read through views, which are found again
    "spread": (lambda: nn.Sequential(nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1), nn.GroupNorm(2, 4), nn.PReLU()), (2, 2, 3, 3)),
    "turned": (lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.PixelUnshuffle(2), nn.PixelShuffle(2), nn.Unfold(2), nn.RMSNorm(9)), (1, 1, 2, 2)),
    "resized": (lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.InstanceNorm2d(2, affine=True), nn.LocalResponseNorm(2)), (1, 2, 3, 3)),
}


def test_a_size_that_is_asked_for_is_made_each_time():
    spread, x = nn.ConvTranspose1d(1, 1, 3, stride=2), torch.randn(1, 1, 4) * 1.0
    assert [spread(x, *size).shape[-1] for size in ((), ([10],), ([9],), ())] == [9, 10, 9, 9]
    assert spread(x, output_size=[10]).shape[-1] == 10


def unit_of(channels):
    return nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.LeakyReLU(0.1))


@pytest.mark.parametrize("name", [*MADE, *VIEWED])
@pytest.mark.parametrize("grad", [True, False])
def test_the_second_call_records_the_first(name, grad):
    make, shape = {**MADE, **VIEWED}[name]
    module, x = make(), torch.randn(*shape) * 1.0
    plain = copy.deepcopy(module)
    for child in plain.modules():
        child.register_forward_hook(lambda *_: None)
    with torch.set_grad_enabled(grad):
        calls = [recorded(module, x) for _ in range(3)]
        assert any(map(is_kept, module.modules())) and not any(map(is_kept, plain.modules()))
        parts = slice(0, 2) if name in VIEWED else slice(0, 3)
        assert calls[0][parts] == calls[1][parts] == calls[2][parts] == recorded(plain, x)[parts]
        other = torch.randn(*shape) * 1.0
        assert torch.equal(module(other), plain(other))
    if grad and any(p.requires_grad for p in module.parameters()):
        for m in (module, plain):
            m(other).square().sum().backward()
        assert all(torch.equal(p.grad, q.grad) for p, q in zip(module.parameters(), plain.parameters(), strict=True))


def test_grad_fn_and_version_are_those_of_the_first_call():
    module, x = unit(), torch.randn(1, 2, 4, 4) * 1.0
    with torch.no_grad():
        module.eval()
        assert [module(x)._version for _ in range(3)] == [1, 1, 1]
    module = layers()
    assert [type(module(x[0, 0, :3, :3] * 1.0).grad_fn).__name__ for _ in range(3)] == ["AddmmBackward0"] * 3


def _option(m):
    m[0].stride = (2, 2)


def _table(m):
    m._modules["0"] = nn.Conv2d(2, 4, 1)


def _item(m):
    m[2] = nn.Tanh()


def _parameter(m):
    m[0]._parameters["weight"] = nn.Parameter(torch.randn(4, 2, 3, 3))


def _gone(m):
    m[0]._parameters["bias"] = None


def _back(m):
    m[0].bias = nn.Parameter(torch.ones(4))


def _data(m):
    m[0].weight.data = torch.randn(4, 2, 3, 3)


def _in_place(m):
    with torch.no_grad():
        m[0].weight.mul_(2.0)


def _buffer(m):
    m[1].running_mean = torch.ones(4)


def _hook(m):
    m[1].register_forward_hook(lambda module, args, output: output * 3.0)


def _forward(m):
    m[2].forward = lambda x: x + 1.0


def _kind(m):
    class Other(nn.ReLU6):
        def forward(self, x):
            return x - 1.0

    m[2].__class__ = Other


def _append(m):
    m.append(nn.Conv2d(4, 1, 1))


def _double(m):
    m.double()


CHANGES = [
    _option, _table, _item, _parameter, _gone, _back, _data, _in_place, _buffer, _hook, _forward, _kind, _append, _double,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_noticed(change):
    with torch.no_grad():
        torch.manual_seed(1)
        module, fresh = unit().eval(), unit().eval()
        fresh.load_state_dict(module.state_dict())
        x = torch.randn(1, 2, 6, 6) * 1.0
        for _ in range(2):
            module(x)
        assert is_kept(module)
        for m in (module, fresh):
            torch.manual_seed(2)
            change(m)
        x = x.to(next(module.parameters()).dtype) * 1.0
        for _ in range(2):
            assert torch.equal(module(x), fresh(x))


@pytest.mark.parametrize("where", ["forward", "__call__"])
def test_patched_classes_are_noticed(where, monkeypatch):
    module, x, seen = layers(), torch.randn(2, 3) * 1.0, []
    module(x), module(x)
    original = getattr(nn.ReLU, where)

    def patched(self, *args):
        seen.append(type(self).__name__)
        return original(self, *args)

    monkeypatch.setattr(nn.Module if where == "__call__" else nn.ReLU, where, patched, raising=False)
    module(x), module(x)
    assert seen.count("ReLU") == 2


def test_functions_that_programs_replaced_are_called(monkeypatch):
    module, x, seen = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), torch.randn(2, 3) * 1.0, []
    module(x), module(x)
    original = nn.functional.linear
    with monkeypatch.context() as patched:
        patched.setattr(nn.functional, "linear", lambda *args: seen.append(args) or original(*args))
        assert torch.equal(module(x), torch.tanh(original(x, module[0].weight, module[0].bias)))
        module(x)
        assert len(seen) == 2
    module(x), module(x)
    assert len(seen) == 2


def test_hooks_of_all_modules_and_autocast():
    module, x, seen = layers(), torch.randn(2, 3) * 1.0, []
    module(x), module(x)
    handle = register_module_forward_hook(lambda m, *_: seen.append(m))
    module(x)
    handle.remove()
    assert len(seen) == 4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(x).dtype is torch.bfloat16
    assert module(x).dtype is torch.float32


def test_copies_keep_nothing_of_the_original():
    module, x = nn.Conv2d(1, 1, 3), torch.randn(1, 1, 7, 7) * 1.0
    module(x), module(x)
    shallow = copy.copy(module)
    shallow.stride = (2, 2)
    for _ in range(2):
        assert module(x).shape[2] == 5 and shallow(x).shape[2] == 3
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        with torch.no_grad():
            other.weight.zero_()
        for _ in range(2):
            assert torch.equal(other(x), other.bias.expand(1, 1, 5, 5)) and module(x).shape[2] == 5


def test_what_draws_writes_or_gives_its_argument_back_is_not_kept():
    x = torch.ones(4, 8) * 1.0
    drops, average, same = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), nn.BatchNorm1d(8, momentum=None), nn.Sequential(nn.Identity())
    assert not torch.equal(drops(x), drops(x))
    for i in range(3):
        average(x)
        assert average.num_batches_tracked == i + 1
    assert same(x) is x and same(x) is x
    flat = nn.Flatten(0)
    flat(x), flat(x)[0].fill_(5.0)
    assert x[0, 0] == 5.0
    relu = nn.ReLU(inplace=True)
    for _ in range(3):
        y = torch.randn(9) * 1.0
        assert relu(y) is y and y.min() >= 0
    assert not any(map(is_kept, (drops, average, same, flat, relu)))


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm2d(2), lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.GELU())])
@pytest.mark.parametrize("grad", [True, False])
def test_running_statistics_move_in_every_call(make, grad):
    module = make()
    plain = copy.deepcopy(module)
    for m in plain.modules():
        m.register_forward_hook(lambda *_: None)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (module, plain)]
    for step in range(8):
        if step == 3:
            for m in (module, plain):
                m.requires_grad_(False)
        if step == 5:
            for m in (module, plain):
                m.requires_grad_(True)
                m.modules().__next__().train(False)
        if step == 6:
            for m in (module, plain):
                m.train()
                next(b for n, b in m.named_buffers() if n.endswith("mean")).fill_(2.0)
        x = torch.randn(3, 2, 5, 5) * 2.0
        results = []
        for m, optimizer in zip((module, plain), optimizers, strict=True):
            with torch.set_grad_enabled(grad):
                y = m(x)
            results.append(y)
            if y.requires_grad:
                optimizer.zero_grad()
                y.square().mean().backward()
                optimizer.step()
        assert torch.equal(*results) and results[0].requires_grad is results[1].requires_grad
        for one, other in zip(module.state_dict().values(), plain.state_dict().values(), strict=True):
            assert torch.equal(one, other) and not one.requires_grad
    assert is_kept(module) and not is_kept(plain)
    assert not any(b.requires_grad for b in module.buffers())


def test_tied_weights_and_frozen_ones():
    one = nn.Linear(3, 3)
    tied, x = nn.Sequential(one, nn.Tanh(), one), torch.randn(2, 3) * 1.0
    wanted = one(torch.tanh(one(x)))
    assert torch.equal(tied(x), wanted) and torch.equal(tied(x), wanted)
    module = layers()
    assert module(x).requires_grad
    module.requires_grad_(False)
    assert not module(x).requires_grad
    module[2].requires_grad_(True)
    module(x).sum().backward()
    assert module[0].weight.grad is None and module[2].weight.grad is not None


def test_other_layers_of_programs_are_called():
    class Counting(nn.Linear):
        def extra(self):
            return 1

    class Own(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x * 2.0

    seen: list = []
    x = torch.randn(2, 3) * 1.0
    module = nn.Sequential(nn.Linear(3, 3), Own(), Counting(3, 3))
    for _ in range(3):
        module(x)
    assert len(seen) == 3 and is_kept(module[0]) and not is_kept(module) and not is_kept(module[2])


def test_memory_shared_with_numpy_is_seen():
    module, numbers = layers(), np.ones((2, 3), np.float32)
    x = torch.from_numpy(numbers)
    first = [module(x).tolist() for _ in range(3)]
    numbers[:] = 2.0
    assert module(x).tolist() != first[2] == first[0]


def test_many_sizes_are_not_kept_for_ever():
    module = layers()
    for n in range(1, 40):
        assert module(torch.ones(n, 3) * 1.0).shape == (n, 2)
    assert sum(call is not None for call in module._calls_.values()) <= 16


def test_a_model_that_was_called_is_saved_whole(tmp_path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    x = torch.ones(2, 3)
    want = [model(x) for _ in range(3)][-1]
    path = tmp_path / "model.pth"
    torch.save(model, path)
    again = torch.load(path, weights_only=False)
    assert "_calls_" not in vars(again) and torch.equal(again(x), want) and torch.equal(again(x), want)
