"""A second backward through a graph that was freed: refused where PyTorch saved something, and only there."""

from __future__ import annotations

from collections.abc import Callable

import lamina as torch
import pytest


def test_sums_of_what_is_still_to_come_are_gone_through_again():
    """An iterated attack: gradients by an input several times through one sum, whose leaf is made of the gradients before."""
    layer = torch.nn.Linear(3, 2)
    x = torch.ones(1, 3)
    leaf, momentum = x.clone(), torch.zeros_like(x)
    for _ in range(4):
        leaf.requires_grad = True
        ahead, total = leaf + 0.01 * momentum, torch.zeros_like(x)
        for _ in range(5):
            total += torch.autograd.grad(layer(ahead * 1).sum(), leaf)[0]
        momentum = total / total.abs().mean(1, keepdim=True)
        leaf = (leaf.detach() + 0.01 * momentum.sign()).detach()
    torch.testing.assert_close(total, 5 * layer.weight.detach().sum(0, keepdim=True))


@pytest.mark.parametrize("step", [torch.exp, torch.relu, torch.square, lambda x: x / torch.tensor(2.0)], ids=["exp", "relu", "square", "quotient"])
def test_a_freed_step_is_named_when_its_gradient_is_asked_for_again(step: Callable[[torch.Tensor], torch.Tensor]):
    x = torch.ones(3, requires_grad=True)
    y = step(x)
    print(torch.autograd.grad((y * y).sum(), x)[0])  # computed, and what only the first derivative needed is let go of
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad((y * y * 2).sum(), x)
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        torch.autograd.grad((y * 2).detach().requires_grad_().sum(), x)
