"""Writes through ``.data`` between forward and backward: derivatives read what memory holds by then, as PyTorch's do."""

from __future__ import annotations

import gc
import weakref

import lamina
import pytest

from ..witness import agree


def leaf(t, *values):
    return t.tensor(values or (0.5, -1.0, 2.0), dtype=t.float64, requires_grad=True)


def factor(t):
    w, x = leaf(t), leaf(t, 3.0, 4.0, 5.0)
    y = w * x
    w.data.mul_(10)
    y.sum().backward()
    return w.grad, x.grad


def data_of_an_untracked_operand(t):
    w, x = leaf(t), t.tensor([3.0, 4.0, 5.0], dtype=t.float64)
    y = w * x
    x.data.zero_()
    y.sum().backward()
    return w.grad


def what_a_derivative_reads_of_its_result(t):
    w = leaf(t)
    y = t.tanh(w)
    y.data.fill_(0.5)
    y.sum().backward()
    return w.grad


def a_result_stays(t):
    w = leaf(t)
    y = w.exp()
    w.data.zero_()
    (y * y).sum().backward()
    return w.grad


def a_part(t):
    w = leaf(t)
    y = (w * w).sum() + w[:2].exp().sum() + w[1:].pow(3).sum()
    w.data[1] = 7.0
    y.backward()
    return w.grad


def clipped_weights(t):
    t.manual_seed(0)
    inner, outer = t.nn.Linear(3, 3, dtype=t.float64), t.nn.Linear(3, 1, dtype=t.float64)
    x = t.linspace(-1, 1, 6, dtype=t.float64).reshape(2, 3).requires_grad_()
    loss = outer(t.tanh(inner(x))).sum()
    for p in [*inner.parameters(), *outer.parameters()]:
        p.data.clamp_(-0.01, 0.01)
    loss.backward()
    return x.grad, inner.weight.grad, outer.weight.grad


def broadcast(t):
    w, x = leaf(t), t.ones(2, 3, dtype=t.float64, requires_grad=True)
    y = (w * x * w.expand(2, 3)).sum()
    w.data.mul_(10)
    y.backward()
    return w.grad, x.grad


def new_memory(t):
    w = leaf(t)
    y = w * w
    w.data = t.full((3,), 5.0, dtype=t.float64)
    y.sum().backward()
    return w.grad


def twice(t):
    w = leaf(t)
    y = (w * w).sum()
    w.data.mul_(10)
    y.backward(retain_graph=True)
    w.data.mul_(10)
    y.backward()
    return w.grad


def twice_differentiated(t):
    w, x = leaf(t, 2.0), t.ones(3, dtype=t.float64, requires_grad=True)
    y = w * x
    w.data.mul_(5)
    (g,) = t.autograd.grad(y.sum(), x, create_graph=True)
    w.data.mul_(3)
    (g * g).sum().backward()
    return g, w.grad


def computed_memory(t):
    w = leaf(t)
    y = w * 2
    z = y * y
    y.data.mul_(10)
    (g,) = t.autograd.grad(z.sum(), y, retain_graph=True)
    z.sum().backward()
    return g, w.grad


PROGRAMS = [
    factor, data_of_an_untracked_operand, what_a_derivative_reads_of_its_result, a_result_stays, a_part, clipped_weights, broadcast,
    new_memory, twice, twice_differentiated, computed_memory,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_derivatives_read_what_is_there(program):
    agree(program)


@pytest.mark.parametrize("write", ["detach", "no_grad after data"])
def test_writes_that_count_are_refused(write):
    w = lamina.tensor([1.0, 2.0], requires_grad=True)
    loss = (w * w).sum()
    if write == "detach":
        w.detach().mul_(10)
    else:
        w.data.mul_(10)
        with lamina.no_grad():
            w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.slow
def test_what_was_rewritten_goes_with_its_graph():
    w = lamina.tensor([1.0, 2.0], requires_grad=True)
    loss = (w * w).sum()
    read = weakref.ref(w._read())
    w.data.mul_(10)
    loss.backward()
    w.grad.tolist(), w.tolist()
    assert read() is not None
    del loss, w
    gc.collect()
    assert read() is None
