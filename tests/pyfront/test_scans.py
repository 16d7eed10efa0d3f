"""Scans as functions: associative ones and ones with a carry, against a loop; gradients go through."""

from __future__ import annotations

import numpy as np
import pytest

import lamina
from lamina.pyfront.control_flow import associative_scan, scan


def recurrence(left, right):
    return left[0] * right[0], right[0] * left[1] + right[1]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_an_associative_scan_is_the_loop(steps: int, reverse: bool) -> None:
    lamina.manual_seed(steps)
    a, b = lamina.rand(2, steps, 3, requires_grad=True), lamina.rand(2, steps, 3, requires_grad=True)
    _, found = associative_scan(recurrence, (a, b), dim=1, reverse=reverse, combine_mode="generic")
    state, states = lamina.zeros(2, 3), []
    for t in reversed(range(steps)) if reverse else range(steps):
        state = a[:, t] * state + b[:, t]
        states.append(state)
    wanted = lamina.stack(states[::-1] if reverse else states, 1)
    np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), rtol=1e-5)
    for ours, theirs in zip(lamina.autograd.grad(found.square().sum(), (a, b), allow_unused=True), lamina.autograd.grad(wanted.square().sum(), (a, b), allow_unused=True), strict=True):
        if steps > 1:
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_a_scan_carries() -> None:
    carry, ys = scan(lambda c, x: (c + x, c * x), lamina.zeros(3), lamina.arange(6.0).view(2, 3))
    assert carry.tolist() == [3, 5, 7] and ys.tolist() == [[0, 0, 0], [0, 4, 10]]
    carry, ys = scan(lambda c, x: (c + x, c + x), lamina.zeros(()), lamina.arange(3.0), reverse=True)
    assert carry.item() == 3 and ys.tolist() == [3, 3, 2]


def test_what_a_scan_refuses() -> None:
    with pytest.raises(ValueError, match="all input tensors need to be on CUDA"):
        associative_scan(recurrence, lamina.ones(3), 0)
    with pytest.raises(ValueError, match="Expected at least 1 xs leaf"):
        associative_scan(recurrence, [], 0)
    with pytest.raises(RuntimeError, match=r"tensor a \(4\) must match the size of tensor b \(3\) at non-singleton dimension 2"):
        lamina.ones(8, 5, 4) + lamina.ones(6, 3)
