"""Backward of a number that leads to leaves only takes a short way, and gradients are no Tensors until somebody asks: nobody can tell."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lamina as torch
from lamina.dialects import flags
from lamina.pyfront import leaves, recorder
from lamina.pyfront.node import Node

backward = importlib.import_module("lamina.pyfront.autograd.backward")


class Program:
    """Leaves, the loss of the last step, and what was seen so far."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.leaves = [torch.randn(2, 3, requires_grad=True), torch.randn(3, requires_grad=True), torch.randn(1, requires_grad=True)]
        self.x = torch.randn(4, 2)
        self.seen: list[Any] = []
        self.loss: Any = None
        self.inner: Any = None

    def forward(self) -> None:
        w, b, s = self.leaves
        self.inner = (self.x @ w + b).tanh()
        self.loss = ((self.inner * s) ** 2).sum()

    def note(self, value: Any) -> None:
        self.seen.append(None if value is None else np.array(value.tolist()))


def refused(p: Program, call: Callable[[], Any]) -> None:
    try:
        call()
    except RuntimeError as error:
        p.seen.append(str(error).split("\n")[0].split(", made at")[0])


def without_grad(change: Callable[[Any], Any]) -> Callable[[Program], None]:
    def event(p: Program) -> None:
        with torch.no_grad():
            change(p)

    return event


def hooked(p: Program) -> None:
    p.leaves[0].register_hook(lambda g: g * 2)


def hooked_after(p: Program) -> None:
    p.leaves[1].register_post_accumulate_grad_hook(lambda leaf: p.note(leaf.grad))


def hooked_inside(p: Program) -> None:
    if p.inner is not None and p.inner.requires_grad:
        p.inner.register_hook(lambda g: g + 1)


def retains(p: Program) -> None:
    if p.inner is not None and p.inner.requires_grad:
        p.inner.retain_grad()


def frozen(p: Program) -> None:
    p.leaves[2].requires_grad_(not p.leaves[2].requires_grad)


def zeroed(p: Program) -> None:
    for leaf in p.leaves:
        if leaf.grad is not None:
            leaf.grad.zero_()


def scaled(p: Program) -> None:
    if p.leaves[0].grad is not None:
        p.leaves[0].grad.mul_(0.5)


def dropped(p: Program) -> None:
    for leaf in p.leaves:
        leaf.grad = None


def kept(p: Program) -> None:
    p.held = p.leaves[1].grad
    p.note(p.held)


def read_kept(p: Program) -> None:
    held = getattr(p, "held", None)
    p.note(held)
    p.seen.append(held is not None and held is p.leaves[1].grad)


def replaced(p: Program) -> None:
    p.leaves[1].grad = torch.ones(3)


def stepped(p: Program) -> None:
    for leaf in p.leaves:
        if leaf.grad is not None:
            leaf.add_(leaf.grad, alpha=-0.1)


EVENTS: dict[str, Callable[[Program], Any]] = {
    "forward": Program.forward,
    "backward": lambda p: refused(p, lambda: p.loss is None or p.loss.backward()),
    "backward, kept": lambda p: refused(p, lambda: p.loss is None or p.loss.backward(retain_graph=True)),
    "backward, again differentiable": lambda p: refused(p, lambda: p.loss is None or p.loss.backward(create_graph=True)),
    "backward of some": lambda p: refused(p, lambda: p.loss is None or p.loss.backward(inputs=[p.leaves[0]])),
    "item": lambda p: p.loss is None or p.seen.append(p.loss.item()),
    "compute": lambda p: torch.synchronize(),
    "read": lambda p: [p.note(leaf.grad) for leaf in p.leaves],
    "write a leaf": without_grad(lambda p: p.leaves[0].mul_(0.9)),
    "step": without_grad(stepped),
    "zero": without_grad(zeroed),
    "scale": without_grad(scaled),
    "hook": hooked, "hook after": hooked_after, "hook inside": hooked_inside, "retain": retains, "freeze": frozen, "drop": dropped,
    "keep": kept, "read kept": read_kept, "replace": replaced,
}  # fmt: skip


def run(events: list[str]) -> list[Any]:
    p = Program()
    for event in ["forward", *events]:
        EVENTS[event](p)
    EVENTS["read"](p)
    return p.seen


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=12))
@example(["backward", "compute", "read", "backward"])
@example(["backward", "forward", "backward", "scale", "read"])
@example(["backward", "keep", "forward", "backward", "read kept"])
@example(["retain", "backward", "hook", "forward", "backward"])
@example(["backward, kept", "write a leaf", "backward"])
@settings(max_examples=60, deadline=None)
def test_nobody_can_tell(events: list[str]) -> None:
    with flags.device("numpy"):
        short = run(events)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backward, "_plainly", lambda *_: False)
            patch.setattr(leaves.Accumulation, "__call__", lambda self, gradient: leaves.accumulate(self.owner(), gradient))
            long = run(events)
    assert len(short) == len(long)
    for a, b in zip(short, long, strict=True):
        np.testing.assert_equal(a, b)


def test_a_gradient_nobody_asks_for_is_no_tensor_and_computed_all_the_same() -> None:
    w = torch.ones(3, requires_grad=True)
    (w * 2).sum().backward()
    assert type(w._grad) is Node and w._grad.value is None
    torch.synchronize()
    assert w._grad.value.tolist() == [2.0, 2.0, 2.0]
    assert w.grad is w.grad and w.grad.tolist() == [2.0, 2.0, 2.0]


def test_a_gradient_that_was_dropped_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = recorder.state.run or recorder.driver()
    monkeypatch.setattr(recorder.state, "run", lambda graph, *rest: (sizes.append(len(graph.outputs)), run(graph, *rest))[1])
    w = torch.ones(3, requires_grad=True)
    loss = (w * 2).sum()
    loss.backward()
    w.grad = None
    assert loss.item() == 6.0
    assert sizes == [1]
