"""Random networks: without gradients, through three steps of training, at other sizes and with other weights, and as C ahead of time, they are what
PyTorch computes."""

from __future__ import annotations

import random
from pathlib import Path
from types import ModuleType
from typing import Any

import lamina
import numpy as np
import pytest
from c_library import Library
from needs import needs_compiler

torch = pytest.importorskip("torch")
from fuzz.networks import MODULES, Network, network  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow, needs_compiler]


def made(torch: ModuleType, net: Network) -> Any:
    names = {"torch": torch}
    exec(MODULES, names)
    torch.manual_seed(0)
    return eval(net.text, names)


def inputs(net: Network, choose: random.Random, count: int, length: int) -> np.ndarray:
    """count: of images or sequences. length: of sequences, the last places of which are padding."""
    draw = np.random.RandomState(choose.randrange(1 << 30))
    if isinstance(net.inputs, tuple):
        return draw.standard_normal((count, *net.inputs)).astype(np.float32)
    words = draw.randint(1, net.inputs, (count, length))
    words[-1, (length + 1) // 2 :] = 0
    return words


def outcome(torch: ModuleType, net: Network, seed: int) -> dict[str, np.ndarray]:
    choose, model, found = random.Random(seed), made(torch, net).eval(), {}

    def at_two_sizes(when: str) -> None:
        model.eval()
        with torch.no_grad():
            for count, length in ((2, 9), (2, 9), (3, choose.randint(1, 20))):
                found[f"{when}, {len(found)}"] = model(torch.from_numpy(inputs(net, choose, count, length))).numpy().copy()

    at_two_sizes("fresh")
    optimizer = torch.optim.SGD(model.train().parameters(), 0.01, momentum=choose.choice((0, 0.9)))
    for step in range(3):
        z = model(torch.from_numpy(inputs(net, choose, 4, 9 if step < 2 else 5)))
        z = z.flatten(2).mT.flatten(0, 1) if isinstance(net.inputs, tuple) and net.dense else z.flatten(0, -2)
        loss = torch.nn.functional.cross_entropy(z, torch.arange(len(z)) % z.shape[1])
        optimizer.zero_grad()
        loss.backward()
        found[f"loss {step}"] = loss.detach().numpy().copy()
        if step == 0:
            found["gradients"] = np.concatenate([p.grad.numpy().ravel() for p in model.parameters() if p.grad is not None])
        optimizer.step()
    at_two_sizes("trained")
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.9)
    at_two_sizes("changed")
    return found


def agree(got: np.ndarray, want: np.ndarray, what: str) -> None:
    assert got.shape == want.shape, what
    np.testing.assert_allclose(got, want, 1e-3, 1e-3 * np.abs(want).max() + 1e-6, err_msg=what)


@pytest.mark.parametrize("seed", range(9))
def test_runs_and_training(seed: int) -> None:
    net = network(seed)
    got, want = outcome(lamina, net, seed), outcome(torch, net, seed)
    for name, value in want.items():
        agree(got[name], value, f"{name}: {net}")


@pytest.mark.parametrize("seed", range(100, 106))
def test_ahead_of_time(seed: int, tmp_path: Path) -> None:
    net = network(seed)
    x, model = inputs(net, random.Random(seed), 2, 9), made(lamina, net).eval()
    with torch.no_grad():
        want = np.ascontiguousarray(made(torch, net).eval()(torch.from_numpy(x)).numpy())
    lamina.export.export(model, (lamina.from_numpy(x),)).to_c(tmp_path, shared=False)
    call = Library(tmp_path)
    for _ in range(2):
        (got,) = call(x, (want.shape, want.dtype))
        agree(got, want, str(net))
