"""torch.compile: a replay gives what the function gives, and whatever it depends on is noticed."""

from __future__ import annotations

import numpy as np
import pytest

import lamina as torch
from lamina.pyfront.nn.module import register_module_forward_hook

nn = torch.nn
CALLS = 5


class Calls:
    """A counter no guard looks into: it has no dictionary."""

    __slots__ = ("count",)

    def __init__(self):
        self.count = 0

    def __len__(self):
        return self.count


def counted(function):
    """A compiled function, the calls of its Python, and the object that knows about replays."""
    calls = Calls()

    def body(*args):
        calls.count += 1
        return function(*args)

    compiled = torch.compile(body)
    return compiled, calls, compiled.compiled


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def test_a_function_recorded_twice_runs_no_more_python() -> None:
    compiled, calls, known = counted(lambda a, b: torch.tanh(a @ b) + 1)
    for seed in range(CALLS):
        a, b = torch.randn(3, 4), torch.randn(4, 2)
        assert torch.equal(compiled(a, b), torch.tanh(a @ b) + 1), seed
    assert len(calls) == 2 and known.replays == CALLS - 2


@pytest.mark.slow
def test_other_shapes_dtypes_numbers_and_sharing_are_other_programs() -> None:
    compiled, calls, _ = counted(lambda a, b, k: a * b + k)
    x, y = torch.randn(3), torch.randn(3)
    for args in ((x, y, 1), (x, y, 2.5), (x, x, 1), (x[:2], y[:2], 1), (x.double(), y.double(), 1), (y, x, 1)):
        for _ in range(CALLS):
            expected = args[0] * args[1] + args[2]
            got = compiled(*args)
            assert got.dtype is expected.dtype and got.tolist() == expected.tolist()
    assert len(calls) == 2 * 5  # the last line shares a program with the first


def test_weights_may_change_between_calls() -> None:
    plain = model().eval()
    compiled = torch.compile(plain)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    x = torch.randn(5, 4)
    for _ in range(CALLS):
        with torch.no_grad():
            assert torch.equal(compiled(x), plain(x))
        plain(x).sum().backward()
        optimizer.step()
    with torch.no_grad():
        plain[0].weight.data = torch.zeros(8, 4)
        assert torch.equal(compiled(x), plain(x))
        plain[0].weight.fill_(0.25)
        assert torch.equal(compiled(x), plain(x))
        plain[0].weight.detach().numpy()[:] = 2.0
        assert torch.equal(compiled(x), plain(x))
    assert compiled._compiled.replays


@pytest.mark.slow
def test_modes_attributes_and_hooks_of_modules_are_guarded() -> None:
    plain = model().eval()
    compiled, x = torch.compile(plain), torch.randn(5, 4)

    def agree() -> None:
        state = {k: v.clone() for k, v in plain.state_dict().items()}
        with torch.no_grad():
            for _ in range(3):
                got = compiled(x)
                after = {k: v.clone() for k, v in plain.state_dict().items()}
                plain.load_state_dict(state)
                assert torch.equal(got, plain(x))
                assert all(torch.equal(after[k], v) for k, v in plain.state_dict().items())
                state = after

    agree()
    plain.train()
    agree()
    plain[1].eps = 0.5
    agree()
    handle = plain[2].register_forward_hook(lambda module, args, result: result * 3)
    agree()
    handle.remove()
    agree()
    handle = register_module_forward_hook(lambda module, args, result: result + 1)
    agree()
    handle.remove()
    agree()
    plain[2] = nn.Tanh()
    agree()
    plain.eval()
    agree()


def test_running_statistics_are_written_by_replays() -> None:
    plain, other = model(), model()
    compiled = torch.compile(plain)
    with torch.no_grad():
        for seed in range(CALLS):
            torch.manual_seed(seed)
            x = torch.randn(6, 4)
            assert torch.equal(compiled(x), other(x))
    assert compiled._compiled.replays == CALLS - 2
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), other.state_dict().values(), strict=True))
    assert plain[1].num_batches_tracked.item() == CALLS


SCALE = 2.0


def test_closures_globals_and_containers_are_guarded() -> None:
    global SCALE
    shift, table = 1.0, {"k": [3.0, 4.0]}

    def body(x):
        return x * SCALE + shift + table["k"][-1]

    compiled, x = torch.compile(body), torch.ones(3)
    for change in range(4):
        for _ in range(4):
            assert compiled(x).tolist() == body(x).tolist()
        if change == 0:
            SCALE = 3.0
        elif change == 1:
            shift = 5.0
        elif change == 2:
            table["k"].append(9.0)
    SCALE = 2.0
    assert compiled.compiled.replays >= 8


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x * 2 if x.sum().item() > 0 else x * 3, "reads values"),
        (lambda x: nn.functional.dropout(x, 0.5), "random"),
        (lambda x: x, "was given"),
        (lambda x: x.view(-1), "was given"),
        (lambda x: (x * 2).tolist(), "reads values"),
    ],
)
def test_what_cannot_be_replayed_is_recorded_every_time(function, reason: str) -> None:
    compiled, calls, known = counted(function)
    for k in range(1, CALLS + 1):
        torch.manual_seed(k)
        x = torch.full((4,), float(k) if k % 2 else -1.0)
        torch.manual_seed(k)
        got = compiled(x)
        torch.manual_seed(k)
        expected = function(x)
        assert (got if isinstance(got, list) else got.tolist()) == (expected if isinstance(expected, list) else expected.tolist())
    assert len(calls) == CALLS and known.replays == 0 and reason in known.reason


def test_a_loss_that_looks_at_its_targets_sees_each_of_them() -> None:
    compiled = torch.compile(nn.functional.cross_entropy)
    for classes in ([0, 1], [1, 1], [0, 0], [-100, 1], [1, 0]):
        x, y = torch.randn(2, 3), torch.tensor(classes)
        assert compiled(x, y).item() == pytest.approx(nn.functional.cross_entropy(x, y).item(), rel=1e-6)


def test_views_joins_and_indices_of_arguments_are_recorded_not_captured() -> None:
    compiled, _, known = counted(lambda x, y, i: torch.cat([x.view(-1) * 2, y.reshape(-1)[i], torch.stack([x, y]).sum(0).view(-1)]))
    x, y, i = torch.ones(2, 2), torch.zeros(2, 2), torch.tensor([0, 3])
    for k in range(2 * CALLS):
        if k >= CALLS:
            x, y, i = torch.randn(2, 2), torch.randn(2, 2), torch.tensor([k % 4, 1])
        expected = torch.cat([x.view(-1) * 2, y.reshape(-1)[i], torch.stack([x, y]).sum(0).view(-1)])
        assert compiled(x, y, i).tolist() == expected.tolist()
    assert known.replays


def test_values_that_change_from_call_to_call_are_not_constants() -> None:
    numbers = iter(range(100))
    compiled, calls, _ = counted(lambda x: x + torch.tensor([float(next(numbers))]))
    assert [compiled(torch.zeros(1)).item() for _ in range(CALLS)] == [float(k) for k in range(CALLS)]


def test_gradients_flow_as_without_compile() -> None:
    plain = model()
    compiled, x = torch.compile(plain), torch.randn(5, 4)
    for _ in range(3):
        plain.zero_grad()
        compiled(x).sum().backward()
        got = [p.grad.clone() for p in plain.parameters()]
        plain.zero_grad()
        state = {k: v.clone() for k, v in plain.state_dict().items()}
        plain(x).sum().backward()
        plain.load_state_dict(state)
        assert all(torch.equal(a, p.grad) for a, p in zip(got, plain.parameters(), strict=True))


def test_arguments_are_written_and_results_are_nested() -> None:
    def body(x, n):
        x.add_(1)
        y = x * n
        return {"y": y, "parts": [y.sum(), y[0], n], "none": None}

    compiled, calls, _ = counted(body)
    ours, theirs = torch.zeros(3), torch.zeros(3)
    for _ in range(CALLS):
        a, b = compiled(ours, 2), body(theirs, 2)
        assert a["y"].tolist() == b["y"].tolist() and a["parts"][1].tolist() == b["parts"][1].tolist() and a["parts"][2] == 2
        assert a["parts"][0].item() == b["parts"][0].item() and a["none"] is None
        a["y"].zero_()
        assert a["parts"][1].tolist() == 0.0  # a view of y, as in the function itself
        assert ours.tolist() == theirs.tolist()
    assert len(calls) == 2


def test_compiled_functions_inside_compiled_functions() -> None:
    inner = torch.compile(lambda x: torch.sin(x))
    outer, calls, _ = counted(lambda x: inner(x) * 2)
    for k in range(CALLS):
        x = torch.full((3,), float(k))
        assert torch.equal(outer(x), torch.sin(x) * 2)
        assert torch.equal(inner(x), torch.sin(x))
    assert len(calls) == 2


def test_numpy_memory_is_read_anew_each_time() -> None:
    array = np.zeros(3, np.float32)
    x = torch.from_numpy(array)
    compiled = torch.compile(lambda y: y + x)
    for k in range(CALLS):
        array[:] = k
        assert compiled(torch.ones(3)).tolist() == [k + 1.0] * 3
        assert torch.compile(torch.exp)(x).tolist() == torch.exp(x).tolist()


def test_a_compiled_module_is_the_module_besides() -> None:
    plain = model()
    compiled = torch.compile(plain)
    assert isinstance(compiled, nn.Module) and compiled.forward is not plain.forward
    assert set(compiled.state_dict()) == {f"_orig_mod.{k}" for k in plain.state_dict()}
    assert compiled.eval() is compiled and not plain.training
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in plain.parameters()]
    with pytest.raises(RuntimeError, match="Either mode or options"):
        torch.compile(plain, mode="default", options={})

    @torch.compile
    def decorated(x):
        """Twice x."""
        return 2 * x

    assert decorated.__doc__ == "Twice x." and decorated(torch.ones(1)).item() == 2.0
    assert torch.compile(dynamic=False)(decorated.__wrapped__)(torch.ones(1)).item() == 2.0
