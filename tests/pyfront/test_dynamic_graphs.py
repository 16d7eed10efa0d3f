"""Programs whose graph is another one each step: right, bounded in memory, and no slower than the oracle while new."""

from __future__ import annotations

import gc
import random
import resource
import time
import tracemalloc

import lamina
import pytest
from lamina.backends import driver, known_loops
from lamina.dialects import flags
from lamina.pyfront import plan

from .witness import agree


def tree(t):
    """A recursive network over a nested list."""
    w = t.linspace(-1, 1, 8, dtype=t.float64).reshape(4, 2).requires_grad_()

    def value(node):
        if isinstance(node, (int, float)):
            return t.full((2,), float(node), dtype=t.float64)
        left, right = map(value, node)
        return t.tanh(t.cat([left, right]) @ w)

    y = value([[1, [2, 3]], [[4, 5], [6, [7, [8, 0.5]]]]]).sum()
    y.backward()
    return y, w.grad


def branches(t):
    """Control flow on values, a loop whose length the data decide, shapes that come from the data."""
    x = t.tensor([0.3, -1.2, 2.5], dtype=t.float64, requires_grad=True)
    y, steps = x, 0
    while y.abs().max() > 0.1 and steps < 50:
        y = y * 0.5 if y.sum() > 0 else y.sin() * 0.7
        steps += 1
    kept = y[y > 0]
    (kept.sum() + (y.nonzero().sum() * y).sum()).backward()
    return steps, kept, x.grad


@pytest.mark.torch
@pytest.mark.parametrize("program", [tree, branches])
def test_against_pytorch(program):
    agree(program)


def steps(count: int, seed: int):
    """Training steps, each through another random chain of layers."""
    rng = random.Random(seed)
    lamina.manual_seed(seed)
    weights = [lamina.randn(16, 16, requires_grad=True) for _ in range(4)]
    optimizer = lamina.optim.SGD(weights, lr=1e-3)
    layers = [lamina.tanh, lamina.relu, lamina.sigmoid, lambda h: h * h, lambda h: h.softmax(1), lambda h: h - h.mean(1, keepdim=True)]
    for _ in range(count):
        h = lamina.randn(8, 16)
        for _ in range(rng.randint(3, 9)):
            h = rng.choice(layers)(h @ weights[rng.randrange(4)] * 0.3)
        loss = h.pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss


def recurrent(t, lengths):
    """Losses and the gradients' sum of a recurrent network written out by hand, over texts of these lengths."""
    hidden, out = t.linspace(-1, 1, 90).reshape(9, 10).requires_grad_(), t.linspace(1, -1, 18).reshape(9, 2).requires_grad_()
    losses = []
    for n in lengths:
        h = t.zeros(1, 5)
        letters = t.linspace(0, 1, 4 * n).reshape(n, 1, 4)
        for letter in letters:
            both = t.cat((letter, h), 1)
            h, y = (both @ hidden)[:, :5].tanh(), both @ out
        loss = (y - 0.5).pow(2).sum()
        loss.backward()
        losses.append(loss.item())
    return t.tensor(losses), hidden.grad, out.grad


LENGTHS = [5, 9, 6, 11, 8, 5, 7, 12, 10, 6, 13, 9, 14, 8, 4, 15, 11, 16, 5]


@pytest.mark.torch
def test_loops_of_few_turns_are_right_at_any_length():
    agree(lambda t: recurrent(t, LENGTHS), rtol=1e-5)


@pytest.mark.slow
def test_loops_of_few_turns_become_one_program():
    known_loops.forget()
    before = driver.stats.compiles + driver.stats.disk_hits
    recurrent(lamina, LENGTHS * 2)
    assert driver.stats.compiles + driver.stats.disk_hits - before <= known_loops.OFTEN + 2, "there are 13 lengths"


@pytest.mark.slow
def test_what_is_kept_of_graphs_is_bounded(monkeypatch):
    monkeypatch.setattr(plan, "_KEPT", 4)
    monkeypatch.setattr(driver, "_SEEN_LIMIT", 32)
    plan._plans.clear()
    driver._seen.clear()
    with flags.device("numpy"):
        list(steps(150, 0))
        gc.collect()
        tracemalloc.start()
        list(steps(150, 1))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert len(plan._plans) <= 4 and len(driver._seen) <= 32
    assert grown < 4e6, f"{grown / 1e6:.1f} MB are left of 150 graphs"


@pytest.mark.slow
def test_new_graphs_cost_what_the_oracle_costs():
    list(steps(30, 0))
    ratios = []
    for seed in range(1, 6):
        spent = []
        for device in ("auto", "numpy"):
            start = time.process_time()
            if device == "numpy":
                with flags.device("numpy"):
                    list(steps(40, seed))
            else:
                list(steps(40, seed + 100))
            spent.append(time.process_time() - start)
        ratios.append(spent[0] / spent[1])
    assert sorted(ratios)[2] < 1.5, ratios


def grown(step, count: int) -> float:
    """MB that the second half of the iterations adds to the most memory the process ever had."""
    for i in range(count):
        if i == count // 2:
            half = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - half) / 1024


@pytest.mark.slow
def test_ten_thousand_steps_without_synchronisation():
    state = {"x": lamina.ones(1000)}

    def step():
        state["x"] = state["x"] * 0.999 + 0.5

    assert grown(step, 10_000) < 40
    w, total = lamina.zeros(100, requires_grad=True), lamina.zeros(())

    def train():
        loss = ((w - 1) ** 2).sum()
        (g,) = lamina.autograd.grad(loss, w)
        with lamina.no_grad():
            w.sub_(0.01 * g)
            total.add_(loss.detach())

    assert grown(train, 10_000) < 40
    assert total.item() == pytest.approx(2525.25, rel=1e-3)


@pytest.mark.slow
def test_a_tape_of_twenty_thousand_steps():
    """Deep and thin: its backward is not worth a compiler run, and is not given one."""
    h = lamina.zeros(50, requires_grad=True)
    s = h
    for _ in range(10_000):
        s = s * 0.99 + h
    s.sum().backward()
    assert h.grad.tolist() == pytest.approx([100.0] * 50, rel=1e-4)
