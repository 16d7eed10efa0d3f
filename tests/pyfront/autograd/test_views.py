"""Gradients by views: every view a gradient may be taken by is a value of its own, whatever views of it follow."""

from __future__ import annotations

import lamina as ours
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lamina.pyfront.links import LONGEST_RUN

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

VIEWS = {
    "view": lambda x: x.view(-1) if x.dim() > 1 and x.is_contiguous() else x.reshape(2, -1) if x.numel() % 2 == 0 else x.reshape(-1, 1),
    "t": lambda x: x.transpose(0, -1),
    "part": lambda x: x[1:] if x.shape[0] > 1 else x[:],
    "row": lambda x: x[0] if x.dim() > 1 else x[:],
    "unsqueeze": lambda x: x.unsqueeze(1),
    "flip": lambda x: x.flip(0) * 2,
}


@given(st.lists(st.sampled_from(sorted(VIEWS)), min_size=2, max_size=5), st.booleans())
@settings(max_examples=40, deadline=None)
@pytest.mark.slow
def test_gradients_by_every_view_of_a_chain(names: list[str], keeps: bool) -> None:
    said = []
    for module in (ours, torch):
        x = module.arange(24.0).view(2, 3, 4).requires_grad_()
        seen = [module.sin(x)]
        for name in names:
            seen.append(VIEWS[name](seen[-1]))
            if keeps:
                seen[-1].retain_grad()
        out = (seen[-1] ** 2).sum()
        if keeps:
            out.backward()
            said.append([v.grad for v in (x, *seen[1:])])
        else:
            said.append(module.autograd.grad(out, seen))
    for got, want in zip(*said, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), 1e-5, 1e-5)


def test_views_without_end_do_not_grow() -> None:
    """Recording one more view costs the same, however many were taken before."""
    x = ours.arange(12.0).requires_grad_()
    y = x * 2
    for _ in range(50):
        y = y.view(3, 4).view(12)
    assert len(y._chain) <= LONGEST_RUN
    (y * ours.arange(12.0)).sum().backward()
    assert x.grad.tolist() == (2 * ours.arange(12.0)).tolist()


def test_a_picture_that_is_flattened_again() -> None:
    """A critic's penalty: the gradient by pictures that were made of rows and are flattened by who judges them."""
    rows = ours.arange(12.0).requires_grad_().view(2, 6) * 1.0
    pictures = rows.view(2, 2, 3)
    (found,) = ours.autograd.grad((pictures.view(2, -1) ** 2).sum(), pictures)
    assert found.tolist() == (2 * pictures).tolist()


EQUAL = {
    "view": lambda x: x.view(2, -1),
    "t": lambda x: x.view(2, 3).t(),
    "row": lambda x: x[0],
    "part": lambda x: x[1:3],
    "unsqueeze": lambda x: x.unsqueeze(0),
}


@pytest.mark.parametrize("name", sorted(EQUAL))
@pytest.mark.parametrize("of", ["leaf", "computed"])
@pytest.mark.parametrize("how", ["grad", "retain", "hook", "unused", "dead", "written"])
def test_equal_views_are_told_apart(name: str, of: str, how: str) -> None:
    said = []
    for module in (ours, torch):
        x = module.arange(6.0).requires_grad_()
        whole = x if of == "leaf" else x * 1.5
        a, b = EQUAL[name](whole), EQUAL[name](whole)
        found: list = []
        if how == "retain":
            a.retain_grad()
            b.retain_grad()
        elif how == "hook":
            a.register_hook(lambda g, found=found: found.append(g * 1))
        if how == "written" and of == "computed":
            a.mul_(2)
            found += module.autograd.grad((whole * whole).sum() + (b * 3).sum(), [x])
        elif how == "grad":
            found += module.autograd.grad((a * 2).sum() + (b * b * 5).sum() + (whole * 7).sum(), [a, b, x])
        elif how == "unused":
            (g,) = module.autograd.grad((a * 2).sum(), [b], allow_unused=True)
            found += [module.zeros(1) if g is None else g]
        elif how == "dead" and of == "computed":
            loss = (EQUAL[name](whole) * 3).sum()
            c = EQUAL[name](whole)
            found += module.autograd.grad(loss + (c * 2).sum(), [c, x])
        else:
            ((a * 2).sum() + (b * 5).sum()).backward()
            found += [x.grad, *([a.grad, b.grad] if how == "retain" else [])]
        said.append(found)
    assert len(said[0]) == len(said[1])
    for got, want in zip(*said, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), 1e-5, 1e-5)


def test_equal_views_taken_again_and_again() -> None:
    """A loop's own views cost nothing that grows, and steps of training are one program still."""
    from lamina.backends import driver

    w, x = ours.nn.Parameter(ours.ones(3, 3)), ours.ones(2, 3)
    for step in range(6):
        h = x
        for _ in range(5):
            kept = h.view(3, 2)
            h = ours.tanh(h @ w.t()) + 0.0 * h.view(3, 2).view(2, 3) + 0.0 * kept.view(2, 3)
        h.sum().backward()
        ours.synchronize()
        if step == 2:
            before = driver.stats.compiles
    after = driver.stats.compiles
    assert after == before


def test_gradients_are_zeroed_where_they_are_time_and_again() -> None:
    found = []
    for t in (ours, torch):
        layer = t.nn.Linear(2, 2)
        optimizer = t.optim.SGD(layer.parameters(), lr=0.1)
        layer(t.ones(3, 2)).sum().backward()
        before = layer.weight.grad
        for _ in range(1200):  # what is detached is no longer for it
            optimizer.zero_grad(set_to_none=False)
        assert layer.weight.grad is before
        before.requires_grad_()
        layer.zero_grad(set_to_none=False)
        x = t.ones(3)
        for _ in range(1200):
            x = x.detach()
        below = x.detach()
        x += t.ones(3, requires_grad=True) * 2
        part = t.ones(4, requires_grad=True) * 3
        part[1:].detach()[1:].detach().zero_()
        found.append((before.tolist(), before.requires_grad, x.requires_grad, below.requires_grad, below.tolist(), part.tolist(), part._version))
    assert found[0] == found[1]
