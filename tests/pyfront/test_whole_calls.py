"""Whole calls: a module the program wrote records what it recorded before, without running its Python, where that cannot be told apart."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import lamina as torch
import lamina.nn.functional as F
import pytest
from lamina.pyfront.nn import calls, plain as reading

nn = torch.nn
SCALE = 2.0
COUNTS: list = []


@pytest.fixture(autouse=True)
def afresh():
    """Classes as they are before the first call: that a name stood for something else in another test is not remembered."""
    torch.manual_seed(0)
    reading._facts.clear()
    for kind in (Net, Block):
        kind._whole_ = calls.whole


def is_kept(module):
    return any(hasattr(call, "phrase") for call in module.__dict__.get("_calls_", {}).values())


def gate(x, share=0.5):
    return x * torch.sigmoid(x) * share


class Block(nn.Module):
    def __init__(self, width, config):
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.shortcut = None
        self.act = F.gelu

    def mixed(self, x):
        return x + x.mean(dim=1, keepdim=True) / math.sqrt(self.config.width)

    def forward(self, x):
        h = self.norm(self.mixed(x))
        h = self.down(self.act(self.up(h)))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return x + h * self.config.scale


class Net(nn.Module):
    bias = 1.0

    def __init__(self, width=8):
        super().__init__()
        self.config = SimpleNamespace(scale=0.5, width=width)
        self.table = nn.Embedding(5, width)
        self.position = nn.Embedding(6, width)
        self.blocks = nn.ModuleList([Block(width, self.config) for _ in range(2)])
        self.head = nn.Linear(width, 5, bias=False)
        self.head.weight = self.table.weight

    def forward(self, index, targets=None):
        b, t = index.shape
        if t > 6:
            raise AssertionError(f"at most 6, not {t}")
        x = self.table(index) + self.position(torch.arange(t))
        for block in self.blocks:
            x = block(x)
        logits = self.head(gate(x)) * SCALE * self.bias
        if targets is None:
            loss = None
        else:
            loss = F.cross_entropy(logits.view(-1, 5), targets.view(-1))
        return logits if loss is None else (logits, loss)


class Drops(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.drop, self.norm, self.last = nn.Linear(6, 8), nn.Dropout(0.4), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.norm(self.drop(F.relu(self.first(x))))
        return self.last(F.dropout(h, 0.3, self.training)), h.transpose(0, 1)


class Noise(nn.Module):
    def __init__(self):
        super().__init__()
        self.both = nn.Linear(4, 4)

    def forward(self, x):
        mean, spread = self.both(x).chunk(2, dim=-1)
        return mean + torch.randn_like(spread) * torch.exp(0.5 * spread), mean.square().sum()


def plainly(module):
    """The same module with its Python run in every call."""
    other = copy.deepcopy(module)
    for m in other.modules():
        m.register_forward_hook(lambda *_: None)
    return other


def indices(*shape):
    return torch.randint(0, 5, shape)


@pytest.mark.slow
def test_a_language_model_with_tied_weights_trains_the_same():
    module = Net()
    plain = plainly(module)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=0.01) for m in (module, plain)]
    for _ in range(6):
        index, targets = indices(2, 4), indices(2, 4)
        losses = []
        for m, optimizer in zip((module, plain), optimizers, strict=True):
            logits, loss = m(index, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            assert type(loss.grad_fn).__name__ == "NllLossBackward0"
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert is_kept(module) and not is_kept(plain)
    with torch.no_grad():
        for _ in range(4):
            assert torch.allclose(module(index), plain(index), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_calls_are_kept_by_the_regions_of_autocast():
    """Those of no region, of bf16 and of f16 beside each other; what is computed, and the gradients, are those of calls in full but for rounding."""
    net, index = Net(), indices(2, 6)
    full, given = plainly(net), {}
    for _ in range(3):
        for dtype, allowed in ((None, 1e-5), (torch.bfloat16, 4e-2), (torch.float16, 5e-3)):
            results = []
            for module in (net, full):
                module.zero_grad()
                with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
                    logits = module(index)
                logits.float().square().sum().backward()
                results.append((logits.dtype, logits.detach().float().numpy().copy(), module.blocks[1].up.weight.grad.numpy().copy()))
            (kind, *values), (wanted, *others) = results
            assert kind is wanted is (dtype or torch.float32)
            for a, b in zip(values, others, strict=True):
                assert abs(a - b).max() <= allowed * abs(b).max()
            given[dtype] = values[0]
    assert (given[None] != given[torch.bfloat16]).any() and (given[torch.float16] != given[torch.bfloat16]).any()
    assert sum(hasattr(call, "phrase") for call in net.__dict__["_calls_"].values()) == 3


def test_indices_are_looked_at_in_every_call():
    module, index = Net(), indices(2, 4)
    with torch.no_grad():
        for _ in range(3):
            module(index)
        assert is_kept(module)
        with pytest.raises(IndexError, match="out of range"):
            module(index + 5)
            torch.synchronize()
        wrong = torch.tensor([[0, 1, 2, 9]])
        for _ in range(3):
            with pytest.raises(IndexError, match="out of range"):
                module(wrong)
        with pytest.raises(AssertionError, match="at most 6"):
            module(indices(1, 7))
        targets = torch.tensor([[1, 2, 3, -100]])
        for _ in range(3):
            assert torch.allclose(module(index[:1], targets)[1], plainly(module)(index[:1], targets)[1])


@pytest.mark.parametrize("make, shape", [(Drops, (5, 6)), (Noise, (3, 4))])
@pytest.mark.parametrize("grad", [True, False])
def test_random_numbers_are_drawn_anew(make, shape, grad):
    module = make()
    plain = plainly(module)
    seen = []
    for step in range(6):
        x = torch.randn(*shape) * 1.0
        if step == 4:
            for m in (module, plain):
                m.eval()
        both = []
        for m in (module, plain):
            torch.manual_seed(step)
            with torch.set_grad_enabled(grad):
                results = m(x)
            both.append([*[r.tolist() for r in results], torch.rand(1).item()])
            if grad:
                m.zero_grad()
                (results[0].square().sum() + results[1].sum()).backward()
        assert both[0] == both[1]
        seen.append(both[0])
        for one, other in zip(module.state_dict().values(), plain.state_dict().values(), strict=True):
            assert torch.equal(one, other)
        if grad:
            assert all(torch.equal(p.grad, q.grad) for p, q in zip(module.parameters(), plain.parameters(), strict=True))
    assert is_kept(module) and not is_kept(plain) and seen[2] != seen[3]


def test_views_are_given_of_fresh_memory():
    module = Drops().eval()
    with torch.no_grad():
        for _ in range(4):
            x = torch.randn(5, 6) * 1.0
            turned = module(x)[1]
            assert turned.stride() == (1, 8) and turned.shape == (8, 5) and not turned.is_contiguous()
            turned[0] = 3.0
            assert torch.equal(module(x)[1][1:], turned[1:])
    assert is_kept(module)


def _configuration(m, patch):
    m.config.scale = 0.25


def _class(m, patch):
    patch.setattr(Net, "bias", 3.0)


def _global(m, patch):
    patch.setitem(globals(), "SCALE", 5.0)


def _helper(m, patch):
    patch.setitem(globals(), "gate", lambda x: x + 1.0)


def _method(m, patch):
    patch.setattr(Block, "mixed", lambda self, x: x * 3.0)


def _function(m, patch):
    original = F.cross_entropy
    patch.setattr(F, "cross_entropy", lambda *args: original(*args) * 7.0)


def _inner(m, patch):
    patch.setattr(Block, "forward", lambda self, x: x - 1.0)


def _own(m, patch):
    m.blocks[1].forward = lambda x: x - 2.0


def _act(m, patch):
    m.blocks[0].act = torch.tanh


def _shortcut(m, patch):
    m.blocks[0].shortcut = nn.Linear(8, 8)


def _layers(m, patch):
    m.blocks.append(Block(8, m.config))


def _untied(m, patch):
    m.head.weight = nn.Parameter(torch.ones(5, 8))


def _raw(m, patch):
    m.head._parameters["weight"] = nn.Parameter(torch.ones(5, 8))


def _part(m, patch):
    with torch.no_grad():
        m.table.weight[0] = 4.0


def _loaded(m, patch):
    m.load_state_dict({k: v * 0.5 for k, v in m.state_dict().items()})


def _swapped(m, patch):
    m.position.weight.data = torch.ones(6, 8)


def _hooked(m, patch):
    m.blocks[1].norm.register_forward_hook(lambda module, args, output: output * 2.0)


CHANGES = [
    _configuration, _class, _global, _helper, _method, _function, _inner, _own, _act, _shortcut, _layers, _untied, _raw, _part, _loaded, _swapped,
    _hooked,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("grad", [True, False])
def test_changes_are_noticed(change, grad, monkeypatch):
    module, fresh = Net(), Net()
    fresh.load_state_dict(module.state_dict())
    index, targets = indices(2, 4), indices(2, 4)
    with torch.set_grad_enabled(grad):
        before = [module(index, targets)[1].item() for _ in range(3)]
        assert is_kept(module)
        for m in (module, fresh):
            torch.manual_seed(2)
            change(m, monkeypatch)
        plain = plainly(fresh) if change not in (_own, _hooked) else fresh
        for _ in range(4):
            loss = module(index, targets)[1].item()
            assert loss == pytest.approx(plain(index, targets)[1].item(), rel=1e-5) and abs(loss - before[0]) > 1e-4


class Counts(nn.Module):
    def forward(self, x):
        COUNTS.append(x)
        return x * 2.0


class Remembers(nn.Module):
    def forward(self, x):
        self.last = x
        return x * 2.0


class Prints(nn.Module):
    def forward(self, x):
        print("called")
        return x * 2.0


class Hooks(nn.Module):
    def forward(self, x):
        y = x * 2.0
        if y.requires_grad:
            y.register_hook(COUNTS.append)
        return y * 3.0


class Looks(nn.Module):
    def forward(self, x):
        return x * 2.0 if x.sum().item() > 0 else x * 3.0


class Decides(nn.Module):
    def forward(self, x):
        return x * 2.0 if x.sum() > 0 else x * 3.0


class Dice(nn.Module):
    def forward(self, x):
        import random

        return x * random.random()


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = [1.0, 2.0]

    def forward(self, x):
        for scale in self.scales:
            x = x * scale
        return x


class Property(nn.Module):
    @property
    def scale(self):
        COUNTS.append(self)
        return 2.0

    def forward(self, x):
        return x * self.scale


class Items(nn.Sequential):
    def __getitem__(self, index):
        COUNTS.append(index)
        return super().__getitem__(index)

    def forward(self, x):
        return self[0](x)


class Scale:
    def __call__(self, x):
        COUNTS.append(x)
        return x * 2.0


class Called(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = Scale()

    def forward(self, x):
        return self.scale(x)


class Found:
    def __getattr__(self, name):
        COUNTS.append(name)
        return 2.0


class Configured(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = Found()

    def forward(self, x):
        return x * self.config.scale


class Nested(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + 1.0


class InPlace(nn.Module):
    def forward(self, x):
        x += 1.0
        return x * 2.0


class Same(nn.Module):
    def forward(self, x):
        return x


class Stored(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, x):
        self.seen[0] += 1.0
        return x * self.seen


def _items():
    torch.manual_seed(0)
    return Items(nn.Linear(3, 3))


@pytest.mark.parametrize("make", [Counts, Remembers, Prints, Hooks, Looks, Decides, Dice, Listed, Property, InPlace, Same, Stored, Called, Configured, _items])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_what_does_more_is_always_called(make, nested, grad, capsys):
    module, plain = (Nested(make()), Nested(make())) if nested else (make(), make())
    for m in plain.modules():
        m.register_forward_hook(lambda *_: None)
    COUNTS.clear()
    counts = [0, 0]
    for step in range(5):
        results = []
        for i, m in enumerate((module, plain)):
            x = torch.full((3,), 1.5 - step, requires_grad=grad) * 1.0
            before = len(COUNTS)
            y = m(x)
            if grad:
                y.sum().backward()
            counts[i] += len(COUNTS) - before
            results.append((y.tolist(), x.tolist()))
        if make is not Dice:
            for mine, theirs in zip(*results, strict=True):
                assert mine == pytest.approx(theirs, rel=1e-6)
    assert counts[0] == counts[1]
    assert capsys.readouterr().out.count("called") == (10 if make is Prints else 0)
    assert not is_kept(module.inner if nested else module)
    if make is Listed:
        (module.inner if nested else module).scales.append(5.0)
        assert module(torch.ones(3)).tolist() != results[0][0]


def test_numbers_among_the_arguments_are_no_programs_of_their_own():
    class Steps(nn.Module):
        def forward(self, x, t):
            return x * t

    module = Steps()
    for t in range(8):
        assert module(torch.ones(2), float(t)).tolist() == module(torch.ones(2), t).tolist() == [t, t]
    assert not is_kept(module)


def test_lines_are_those_of_the_forward():
    from lamina.pyfront.schedule import Schedule

    module, x = Drops().eval(), torch.randn(5, 6) * 1.0
    with torch.no_grad():
        lines = [set(Schedule([module(x)[0]._read()]).graph.origins) for _ in range(4)]
    assert is_kept(module) and lines[0] == lines[3] and len(lines[0]) > 1


def test_a_source_that_was_edited_is_not_read(tmp_path):
    import importlib.util
    import linecache

    text = "import lamina as torch\nclass M(torch.nn.Module):\n    def forward(self, x):\n        {}\n        return x * 2.0\n"
    path = tmp_path / "edited.py"
    path.write_text(text.format("print('called')"))
    spec = importlib.util.spec_from_file_location("edited", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    path.write_text(text.format("x = x + 0.0"))
    linecache.checkcache(str(path))
    module = loaded.M()
    for _ in range(4):
        module(torch.ones(2))
    assert not is_kept(module)


def test_arguments_that_are_the_same_or_views():
    class Pair(nn.Module):
        def forward(self, a, b):
            return a * 2.0 + b

    module, x = Pair(), torch.arange(6.0).reshape(2, 3) * 1.0
    y = x.t().contiguous() * 1.0
    for _ in range(3):
        assert torch.equal(module(x, x), x * 3.0)
        assert torch.equal(module(x, x * 1.0), x * 3.0)
        assert torch.equal(module(x[:, 0], x[:, 1]), x[:, 0] * 2.0 + x[:, 1])
        assert torch.equal(module(a=x, b=y.t()), x * 2.0 + x)
    with torch.no_grad():
        shared = torch.ones(3)
        outside = shared.numpy()
        for n in range(4):
            outside[:] = n
            assert module(shared, shared).tolist() == [3.0 * n] * 3


def test_training_and_evaluation_in_turn():
    module = Drops()
    plain = plainly(module)
    for step in range(40):
        for m in (module, plain):
            m.train(step % 2 == 0)
        x, results = torch.randn(5, 6) * 1.0, []
        for m in (module, plain):
            torch.manual_seed(step)
            results.append(m(x)[0])
        assert torch.equal(*results)
    kept = [list(module._calls_.values()), list(module._calls_.modes[True][0].values())]
    assert all(len(calls) == 1 and not calls[0].is_new for calls in kept)
    module.norm.eval()
    plain.norm.eval()
    for _ in range(3):
        module.drop.eval(), plain.drop.eval()
        assert torch.equal(module(x)[0], plain(x)[0])


def test_what_is_detached_stays_so():
    class Straight(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 3)

        def forward(self, x):
            y = self.lin(x)
            return y + (torch.round(y) - y).detach()

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(4, 3, padding_idx=1)

        def forward(self, index):
            return self.table(index)

    for make, x in ((Straight, torch.randn(2, 3) * 3.0), (Padded, torch.tensor([0, 1, 2, 1]))):
        module = make()
        plain = plainly(module)
        for step in range(8):
            for m in (module, plain):
                m.requires_grad_(step not in (0, 1, 5))
                y = m(x)
                assert y.requires_grad is (step not in (0, 1, 5))
                if y.requires_grad:
                    m.zero_grad()
                    y.square().sum().backward()
            assert all(torch.equal(p.grad, q.grad) for p, q in zip(module.parameters(), plain.parameters(), strict=True) if q.grad is not None)
        assert is_kept(module)


def test_values_written_over_are_refused_in_backward_as_before():
    class Wrong(nn.Module):
        def forward(self, x):
            y = torch.exp(x)
            z = y * 2.0
            y += 1.0
            return z + y

    class Right(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True))

        def forward(self, x):
            return torch.relu_(self.net(x) + x)

    x = torch.randn(4, 3, requires_grad=True)
    module = Wrong()
    for _ in range(4):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            module(x * 1.0).sum().backward()
    assert is_kept(module)
    module = Right()
    plain = plainly(module)
    for _ in range(4):
        for m in (module, plain):
            m.zero_grad()
            m(x * 1.0).square().sum().backward()
        assert all(torch.allclose(p.grad, q.grad) for p, q in zip(module.parameters(), plain.parameters(), strict=True))
    assert is_kept(module)


def test_results_that_were_drawn_and_options_that_came_back():
    class Draws(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 3)

        def forward(self, x):
            noise = torch.randn_like(x)
            return self.lin(x) + noise * SCALE, noise

    module, x = Draws(), torch.ones(2, 3)
    plain = plainly(module)
    for step in range(6):
        both = []
        globals()["SCALE"] = 2.0 if step != 3 else 4.0
        for m in (module, plain):
            torch.manual_seed(step)
            both.append([r.tolist() for r in m(x)])
        assert both[0] == both[1]
    assert is_kept(module)
    with torch.no_grad():
        module.lin.weight.zero_()
        module(x)
    assert Draws()(x)[0].shape == (2, 3)


def test_many_sizes_are_not_kept_for_ever():
    module = Drops().eval()
    with torch.no_grad():
        for n in range(1, 60):
            assert module(torch.ones(n, 6) * 1.0)[0].shape == (n, 3)
            assert module(torch.ones(n, 6) * 1.0)[1].shape == (8, n)
    assert is_kept(module) and len(module._calls_) <= 32
    listed = Nested(Listed())
    for n in range(1, 20):
        listed(torch.ones(n))
    assert not listed._calls_ and not listed.inner._calls_ and listed._calls_.left == -1


def test_default_dtypes_modes_and_classes_of_tensors():
    from lamina.overrides import TorchFunctionMode

    class Ones(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x + torch.ones(2) * self.weight.sum()

    class Seen(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            COUNTS.append(function)
            return function(*args, **(kwargs or {}))

    module, x = Ones(), torch.zeros(2, dtype=torch.int64)
    module.weight.requires_grad_(False)
    assert [module(x).dtype for _ in range(3)] == [torch.float32] * 3 and is_kept(module)
    torch.set_default_dtype(torch.float64)
    try:
        assert [module(x).dtype for _ in range(3)] == [torch.float64] * 3
    finally:
        torch.set_default_dtype(torch.float32)
    assert module(x).dtype is torch.float32
    COUNTS.clear()
    with Seen():
        module(x)
    assert COUNTS

    class Loud(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            COUNTS.append(function)
            return super().__torch_function__(function, types, args, kwargs or {})

    module = Ones()
    del module.weight
    module.weight = torch.ones(2).as_subclass(Loud)
    for _ in range(3):
        COUNTS.clear()
        module(x)
        assert COUNTS


def test_objects_that_helpers_further_down_compute_with():
    class Number:
        def __init__(self):
            self.scale, self.hidden = 2.0, 3.0

        def __float__(self):
            return self.hidden

    class Inner(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.config = config

        def helped(self, x):
            return x * float(self.config)

        def forward(self, x):
            return x

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = Number()
            self.inner = Inner(self.config)

        def forward(self, x):
            return self.inner.helped(x) + self.config.scale

    module, x = Outer(), torch.ones(2)
    for hidden in (3.0, 3.0, 3.0, 5.0, 7.0):
        module.config.hidden = hidden
        assert module(x).tolist() == [hidden + 2.0] * 2
    assert not is_kept(module)


def test_names_that_are_deleted():
    def made():
        factor = 2.0

        class Times(nn.Module):
            def forward(self, x):
                return x * factor

        def delete():
            nonlocal factor
            del factor

        return Times(), delete

    module, delete = made()
    for _ in range(3):
        assert module(torch.ones(2)).tolist() == [2.0, 2.0]
    assert is_kept(module)
    delete()
    with pytest.raises(NameError):
        module(torch.ones(2))
