"""torch.utils.checkpoint: gradients and errors as PyTorch's, and values inside that really are not kept."""

from __future__ import annotations

import tracemalloc

import lamina
import pytest
from lamina.dialects import flags

from ..witness import agree


def leaf(t):
    return t.tensor([0.5, -1.0, 2.0], dtype=t.float64, requires_grad=True)


def run(t, *args, **options):
    return t.utils.checkpoint.checkpoint(*args, **options)


def calls(t, x, reentrant):
    seen = []

    def part(a):
        seen.append(t.is_grad_enabled())
        return (a * 2).sin()

    y = run(t, part, x, use_reentrant=reentrant)
    y.sum().backward()
    return seen, x.grad, y


def captured(t, x):
    w = t.ones(3, dtype=t.float64, requires_grad=True)
    run(t, lambda a: a * w, x.detach(), use_reentrant=False).sum().backward()
    return w.grad


def several(t, x):
    a, n, b = run(t, lambda x, k: (x * 2, k, (x * k).sin()), x, 3, use_reentrant=False)
    (a * b).sum().backward()
    return a, n, b, x.grad


def dropout(t, x, reentrant):
    t.manual_seed(0)
    y = run(t, lambda a: t.nn.functional.dropout(a, 0.5), x, use_reentrant=reentrant)
    y.sum().backward()
    return y, x.grad, t.rand(1)


def twice(t, x):
    y = run(t, lambda a: a.exp(), x, use_reentrant=False).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


def derivatives(t, x):
    y = run(t, lambda a: a.exp(), x, use_reentrant=False).sum()
    g = t.autograd.grad(y, x, create_graph=True)[0]
    return g, t.autograd.grad(g.sum(), x)


def chain(t, x):
    t.manual_seed(1)
    net = t.nn.Sequential(*[t.nn.Linear(3, 3) for _ in range(5)]).double()
    y = t.utils.checkpoint.checkpoint_sequential(net, 2, x, use_reentrant=False)
    y.sum().backward()
    return y, x.grad, [p.grad for p in net.parameters()]


PROGRAMS = {
    "reentrant": lambda t: calls(t, leaf(t), True),
    "not reentrant": lambda t: calls(t, leaf(t), False),
    "captured": lambda t: captured(t, leaf(t)),
    "several": lambda t: several(t, leaf(t)),
    "dropout": lambda t: dropout(t, leaf(t), False),
    "reentrant dropout": lambda t: dropout(t, leaf(t), True),
    "kept graph": lambda t: twice(t, leaf(t)),
    "derivatives": lambda t: derivatives(t, leaf(t)),
    "chain": lambda t: chain(t, leaf(t)),
    "no grad": lambda t: run(t, lambda a: a * 2, leaf(t).detach(), use_reentrant=False),
    "no grad, reentrant": lambda t: run(t, lambda a: a * 2, leaf(t).detach(), use_reentrant=True),
    "default": lambda t: calls(t, leaf(t), None),
    "reentrant grad": lambda t: t.autograd.grad(run(t, lambda a: a.sin(), x := leaf(t), use_reentrant=True).sum(), x),
    "reentrant keywords": lambda t: run(t, lambda a, k: a, leaf(t), k=1, use_reentrant=True),
    "freed": lambda t: (y := run(t, lambda a: a.sin(), leaf(t), use_reentrant=False).sum(), y.backward(), y.backward()),
    "input written since": lambda t: (
        y := leaf(t) * 1, z := run(t, lambda a: a.sin(), y, use_reentrant=False), y.add_(1), z.sum().backward(),
    ),
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_against_pytorch(name):
    agree(PROGRAMS[name])


def test_another_result_the_second_time():
    count = []

    def part(a):
        count.append(1)
        return a.sin() if len(count) == 1 else a.sin()[:2]

    y = run(lamina, part, leaf(lamina), use_reentrant=False)
    with pytest.raises(lamina.utils.checkpoint.CheckpointError, match="different metadata"):
        y.sum().backward()


def peak(checkpoints: bool) -> int:
    """Bytes at the top of a backward through a deep net whose forward was computed before."""
    lamina.manual_seed(0)
    parts = [
        lamina.nn.Sequential(*[m for _ in range(5) for m in (lamina.nn.Linear(64, 64), lamina.nn.Tanh())]) for _ in range(6)
    ]
    x = lamina.randn(256, 64)
    tracemalloc.start()
    h = x.requires_grad_()
    for part in parts:
        h = run(lamina, part, h, use_reentrant=False) if checkpoints else part(h)
    loss = h.pow(2).mean()
    loss.item()
    kept = tracemalloc.get_traced_memory()[0]
    loss.backward()
    lamina.stack([p.grad.sum() for part in parts for p in part.parameters()]).sum().item()
    tracemalloc.stop()
    return kept


@pytest.mark.slow
def test_values_inside_are_not_kept():
    with flags.device("numpy"):
        plain, saved = peak(False), peak(True)
    assert saved < plain / 2, f"{saved} bytes are kept with checkpoints, {plain} without"
