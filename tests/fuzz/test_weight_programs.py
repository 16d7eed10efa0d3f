"""Random functions of parameters in front of products, called again and again without gradients: what is kept of them, and what only passes
on the way to it, is what PyTorch computes, with other inputs and with other parameters."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from needs import needs_compiler

import lamina

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def step(torch: ModuleType, choose: random.Random, values: list[Any]) -> Any:
    """One more value of those there are."""

    def pick() -> Any:
        return choose.choice(values[-5:] if choose.random() < 0.7 else values)

    a = pick()
    dim = choose.randrange(a.dim())
    kind = choose.randrange(12)
    if kind in (0, 8, 10):
        b = pick()
        if kind == 0 and a.shape == b.shape:
            return a * b
        if kind == 8 and a.dim() == b.dim() == 2 and a.shape[1] == b.shape[0]:
            return a @ b / a.shape[1]
        return a + b.mean()
    return [
        lambda: a / (a.abs().sum(dim, keepdim=True) + 1),
        lambda: a - a.mean(dim, keepdim=True),
        lambda: torch.cat([a.sin(), a.cos()], dim=-1)[..., ::2],
        lambda: a.transpose(0, -1),
        lambda: a.softmax(-1),
        lambda: a * torch.rsqrt(a.pow(2).mean(dim, keepdim=True) + 1e-3),
        lambda: a[..., -1:].tanh() * a,
        lambda: a.cumsum(-1) * 0.1,
        lambda: torch.where(a > 0, a, a * 0.1).flip(0),
    ][kind % 9]()


def results(torch: ModuleType, seed: int, arrays: list[np.ndarray], inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What a module with these parameters gives for each input; the last two calls follow changes of a parameter."""

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.from_numpy(a.copy())) for a in arrays])

        def forward(self, x: Any) -> list[Any]:
            choose, values = random.Random(seed), list(self.weights)
            for _ in range(choose.randrange(3, 10)):
                values.append(step(torch, choose, values))
            made = []
            for w in values[-3:]:
                if w.dim() == 2 and w.shape[0] == x.shape[1]:
                    made.append(x @ w)
                elif w.dim() == 2 and w.shape[1] == x.shape[1]:
                    made.append(torch.nn.functional.linear(x, w))
                else:
                    made.append(x.sum(1, keepdim=True) * w.flatten()[:16])
            return made

    module, found = Module().eval(), []
    with torch.no_grad():
        for k, x in enumerate(inputs):
            if k + 2 >= len(inputs):
                module.weights[k % len(arrays)].mul_(0.5)
            found += [y.numpy().copy() for y in module(torch.from_numpy(x))]
    return found


def check(seed: int) -> None:
    numbers, choose = np.random.default_rng(seed), random.Random(-1 - seed)
    n = choose.choice((16, 48, 64))
    arrays = [numbers.standard_normal(shape, np.float32) for shape in ((n, n), (n, n), (n,), (n, 2 * n))[: choose.randrange(2, 5)]]
    inputs = [numbers.standard_normal((rows, n), np.float32) for rows in (8, 8, 8, 33)]
    for got, wanted in zip(results(lamina, seed, arrays, inputs), results(torch, seed, arrays, inputs), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3 * float(np.abs(wanted).max()))


@pytest.mark.slow
@needs_compiler
def test_what_is_made_of_parameters() -> None:
    for seed in (3, 4, 9, 22):
        check(seed)


@pytest.mark.slow
@needs_compiler
def test_much_of_what_is_made_of_parameters() -> None:
    for seed in range(100, 240):
        check(seed)
