"""Plain Python loops against PyTorch: they are scans of the program, and mean what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from needs import needs_compiler

import lamina
from lamina.backends import driver

torch = pytest.importorskip("torch")
pytestmark = needs_compiler


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many steps each scan has of the graphs that get a program; all of them run on the oracle."""
    found: list[int] = []

    def small(graph: Any, before: int) -> bool:
        found.extend(attrs[3] for op, attrs, _ in graph.steps if op == "scan")
        return True

    monkeypatch.setattr(driver, "_is_small", small)
    return found


def cells(lib: Any, turns: int, look: bool) -> list[Any]:
    """Two cells called step by step, dropout between them; the loss is looked at before its derivative or not."""
    lib.manual_seed(0)
    first, second, last = lib.nn.LSTMCell(1, 5), lib.nn.GRUCell(5, 4), lib.nn.Linear(4, 1)
    x = lib.sin(lib.arange(3 * turns).view(3, turns) * 0.1).double().float()
    h, c, g = lib.zeros(3, 5), lib.zeros(3, 5), lib.zeros(3, 4)
    outputs = []
    for part in x.split(1, dim=1):
        h, c = first(part, (h, c))
        g = second(lib.nn.functional.dropout(h, 0.25), g)
        outputs += [last(g)]
    y = lib.cat(outputs, dim=1)
    loss = ((y - x) ** 2).mean()
    if look:
        assert loss.item() > 0
    loss.backward()
    return [loss.detach(), y.detach(), *(p.grad for m in (first, second, last) for p in m.parameters())]


def characters(lib: Any) -> list[Any]:
    """A network over one-hot rows by hand, its losses added up, gradient descent on the parameters."""
    lib.manual_seed(1)
    i2h, h2o = lib.nn.Linear(7 + 6, 6), lib.nn.Linear(6, 7)
    line = lib.eye(7)[lib.arange(20) * 3 % 7].unsqueeze(1)
    target = lib.arange(20) * 5 % 7
    hidden, loss = lib.zeros(1, 6), 0
    for i in range(line.size(0)):
        hidden = lib.tanh(i2h(lib.cat((line[i], hidden), 1)))
        loss = loss + lib.nn.functional.nll_loss(lib.log_softmax(h2o(hidden), 1), target[i : i + 1])
    loss.backward()
    with lib.no_grad():
        for p in (*i2h.parameters(), *h2o.parameters()):
            p.add_(p.grad, alpha=-0.05)
    return [loss.detach(), *(p.detach() for m in (i2h, h2o) for p in m.parameters())]


def integrator(lib: Any) -> list[Any]:
    """Four slopes per step of a small field, noise in each step, the whole path."""
    lib.manual_seed(2)
    w, y, path = lib.randn(3, 3) * 0.5, lib.randn(4, 3), []

    def slope(y: Any) -> Any:
        return lib.tanh(y @ w) - 0.1 * y

    with lib.no_grad():
        for _ in range(24):
            a = slope(y)
            b = slope(y + 0.05 * a)
            y = y + 0.1 * (a + b) / 2 + 0.01 * lib.randn(4, 3)
            path.append(y)
    return [*path[-2:], lib.stack(path)]


def descent(lib: Any) -> list[Any]:
    """Gradient descent unrolled, and the derivative by its step size."""
    a, b = lib.sin(lib.arange(12.0)).view(4, 3), lib.cos(lib.arange(4.0))
    rate = lib.tensor(0.1, requires_grad=True)
    w = lib.zeros(3)
    for _ in range(30):
        w = w - rate * (a.T @ (a @ w - b))
    loss = ((a @ w - b) ** 2).sum()
    loss.backward()
    return [loss.detach(), w.detach(), rate.grad]


@pytest.mark.parametrize(
    "program, steps",
    [
        (lambda lib: cells(lib, 12, False), {12}),
        (lambda lib: cells(lib, 12, True), {12}),
        (characters, {20}),
        (integrator, {24}),
        (descent, {30}),
    ],
    ids=["cells", "cells, loss looked at", "characters", "integrator", "descent"],
)
def test_as_in_pytorch(program: Callable[[Any], list[Any]], steps: set[int], scans: list[int]) -> None:
    for got, want in zip(program(lamina), program(torch), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), 2e-5, 2e-5)
    assert steps & {*scans, *(n + 1 for n in scans), *(n + 2 for n in scans)}, f"scans of {scans} steps"


@pytest.mark.slow
def test_compiled_and_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of later calls are the first one's; rows of its outputs are found where they lie."""
    monkeypatch.setattr(driver, "_is_small", lambda graph, before: False)
    found = []
    for _ in range(3):
        found.append([t.numpy().copy() for t in cells(lamina, 12, True)])
    for got in found[1:]:
        for a, b in zip(found[0], got, strict=True):
            np.testing.assert_allclose(a, b, 1e-5, 1e-6)
    for got, want in zip(found[0], cells(torch, 12, True), strict=True):
        np.testing.assert_allclose(got, want.numpy(), 2e-5, 2e-5)
