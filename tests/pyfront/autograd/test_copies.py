"""Derivatives by a copy or a view of all of a computed tensor end there, also where the tensor itself is used beside it; and what is written
where autograd does not look stays in the memory it was written to."""

from __future__ import annotations

import lamina as torch
import pytest
from needs import needs_compiler

COPIES = {
    "clone": lambda x: x.clone(), "asked": lambda x: x.clone().requires_grad_(), "to": lambda x: x.to(torch.float32, copy=True), "cat": lambda x: torch.cat([x]),
    "copy_": lambda x: torch.empty(2).copy_(x), "pad": lambda x: torch.nn.functional.pad(x, (0, 0)), "all of it": lambda x: x[:], "expand": lambda x: x.expand(2),
    "broadcast_to": lambda x: torch.broadcast_to(x, (2,)), "t": lambda x: x.t(), "view_as": lambda x: x.view_as(x), "view": lambda x: x.view(2),
}  # fmt: skip


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize("name", COPIES)
def test_derivatives_by_a_copy(name, looked_at):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    x = w * 2
    c = COPIES[name](x)
    y = (c * x).sum()
    if looked_at:
        y.item()
    assert torch.autograd.grad(y, c, retain_graph=True)[0].tolist() == [2.0, 4.0]
    assert torch.autograd.grad(y, x, retain_graph=True)[0].tolist() == [4.0, 8.0]
    c.retain_grad()
    y.backward()
    assert (c.grad.tolist(), w.grad.tolist()) == ([2.0, 4.0], [8.0, 16.0])


def test_a_slope_by_a_copy_is_part_of_what_is_trained():
    """A flow's step: the map is made of the values whose copy it is differentiated by, and the slope's logarithm is trained."""
    w = torch.tensor([0.5, 1.5], requires_grad=True)
    x = w * w
    c = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((c * c * x).sum(), c, create_graph=True)
    slope.log().sum().backward()  # log(2 x^2) = log 2 + 4 log w
    torch.testing.assert_close(w.grad, 4 / w.detach())


@needs_compiler
def test_a_copy_written_unseen_is_not_what_it_is_a_copy_of():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        x = w * 2
        y = x.clone()
        y.detach().fill_(7.0)
        assert (x.tolist(), y.tolist()) == ([2.0, 4.0], [7.0, 7.0])


@needs_compiler
def test_what_was_read_before_an_unseen_write_is_differentiated_as_it_was():
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        x = w * 2
        y = x.clone()
        y.data.copy_(torch.ones(2))
        (x * x * y * y).sum().backward()  # 2 (2 x y y + 2 x x y) = 4 x + 4 x x
        assert w.grad.tolist() == [24.0, 80.0]
        w.grad = None
