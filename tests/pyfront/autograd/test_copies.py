"""Derivatives by a copy of a computed tensor end at the copy, also where the tensor itself is used beside it."""

from __future__ import annotations

import lamina as torch
import pytest


@pytest.mark.parametrize("copied", [lambda x: x.clone(), lambda x: x.clone().requires_grad_(), lambda x: x.to(torch.float32, copy=True)], ids=["clone", "asked", "to"])
def test_derivatives_by_a_copy(copied):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    x = w * 2
    c = copied(x)
    y = (c * x).sum()
    assert torch.autograd.grad(y, c, retain_graph=True)[0].tolist() == [2.0, 4.0]
    assert torch.autograd.grad(y, x, retain_graph=True)[0].tolist() == [4.0, 8.0]
    assert torch.autograd.grad(y, w)[0].tolist() == [8.0, 16.0]


def test_a_slope_by_a_copy_is_part_of_what_is_trained():
    """A flow's step: the map is made of the values whose copy it is differentiated by, and the slope's logarithm is trained."""
    w = torch.tensor([0.5, 1.5], requires_grad=True)
    x = w * w
    c = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((c * c * x).sum(), c, create_graph=True)
    slope.log().sum().backward()  # log(2 x^2) = log 2 + 4 log w
    torch.testing.assert_close(w.grad, 4 / w.detach())
