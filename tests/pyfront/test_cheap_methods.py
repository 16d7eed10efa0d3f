"""Methods that compute nothing: leaves, detached tensors of shared memory, arrays taken over, and comparisons of what the host has."""

from __future__ import annotations

import lamina
import numpy as np
import pytest

from lamina.backends import driver
from lamina.pyfront import views


def test_a_leaf_made_of_what_was_detached() -> None:
    x = lamina.rand(3, requires_grad=True)
    y = x.detach().requires_grad_()
    assert y.is_leaf and y.requires_grad and y.grad_fn is None and x.grad is None
    (y * y).sum().backward()
    assert lamina.equal(y.grad, 2 * x.detach()) and x.grad is None
    with lamina.no_grad():
        x.mul_(2.0)
    assert lamina.equal(y, x) and y._version == x._version
    (y * 3).sum().backward()
    assert y.grad.tolist() == pytest.approx((2 * x / 2 + 3).tolist())


def test_a_leaf_made_of_a_part() -> None:
    x = lamina.rand(3, 4)
    row = x[1].requires_grad_()
    row.sum().backward()
    assert row.grad.tolist() == [1.0] * 4 and not x.requires_grad
    x.zero_()
    assert row.tolist() == [0.0] * 4


def test_marks_are_not_remembered() -> None:
    """What a chain of marks shows is none of the selections that are kept: each mark is another one."""
    x = lamina.rand(3, 4)
    x.detach().requires_grad_()
    before = len(views._selections)
    for _ in range(20):
        x.detach().requires_grad_()
    assert len(views._selections) == before


def test_memory_that_numpy_sees() -> None:
    array = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    x = lamina.from_numpy(array)
    assert x.shape == (2, 3) and x.dtype is lamina.float32 and not x.requires_grad
    array[0, 0] = 7.0
    other = x.detach()
    other[1, 1] = 8.0
    assert x[0, 0].item() == 7.0 and array[1, 1] == 8.0 and other.numpy()[0, 0] == 7.0
    w = lamina.rand(2, requires_grad=True)
    seen = w.detach().numpy()
    assert w.requires_grad and not w.detach().requires_grad
    with lamina.no_grad():
        w.fill_(2.0)
    assert seen.tolist() == [2.0, 2.0]


def test_equal_of_what_the_host_has() -> None:
    x = lamina.tensor([1.0, float("nan")])
    before = driver.stats.oracle_runs + driver.stats.hits
    assert not lamina.equal(x, x) and lamina.equal(x[:1], x[:1]) and not lamina.equal(x, x[:1])
    assert lamina.equal(lamina.tensor([0.0]), lamina.tensor([-0.0])) and lamina.equal(lamina.tensor([3, 4]), lamina.tensor([3, 4]))
    y = lamina.tensor([1, 2])
    assert lamina.equal(y, y) and driver.stats.oracle_runs + driver.stats.hits <= before + 1
    assert lamina.equal(y * 2, y + y)
    half = lamina.tensor([0.0, 1.0], dtype=lamina.bfloat16)
    assert lamina.equal(half, -half * -1) and lamina.equal(half, lamina.tensor([-0.0, 1.0], dtype=lamina.bfloat16))
