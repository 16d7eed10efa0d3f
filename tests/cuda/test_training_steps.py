"""Whole training steps on the GPU path: small ones on emulated threads against the CPU, all compiled for sm_90a without spills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from needs import needs_emulation, needs_nvrtc

from graphs import graphs_of

import lamina as torch
from lamina.backends.cuda.program import build
from lamina.dialects import flags
from lamina.dialects.graph import Graph
from lamina.pyfront import recorder

nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.slow


class Block(nn.Module):
    """A causal transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        n, t, width = x.shape
        q, k, v = (p.reshape(n, t, self.heads, -1).transpose(1, 2) for p in self.qkv(self.first(x)).split(width, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, t, width))
        return x + self.mlp(self.second(x))


class Gpt(nn.Module):
    """Token and position embeddings, blocks, and the head tied to the embedding."""

    def __init__(self, layers: int, width: int, heads: int, time: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(time, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        x = self.tokens(x) + self.places(torch.arange(x.shape[1], device=x.device))
        return self.norm(self.blocks(x)) @ self.tokens.weight.T


class Residual(nn.Module):
    """A residual network of two blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.first = self._block(width, width, 1)
        self.second, self.shortcut = self._block(width, 2 * width, 2), nn.Conv2d(width, 2 * width, 1, 2, bias=False)
        self.head = nn.Linear(2 * width, 5)

    @staticmethod
    def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.first(x))
        x = F.relu(self.shortcut(x) + self.second(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Recurrent(nn.Module):
    """Two layers of LSTM, and what the last step says."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(features, width, 2, batch_first=True), nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def cnn(width: int) -> nn.Module:
    """The guides' network, narrower."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * width * 49, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def tokens(n: int, time: int, vocabulary: int) -> tuple[Any, Any]:
    x = torch.randint(0, vocabulary, (n, time + 1))
    return x[:, :-1].contiguous(), x[:, 1:].contiguous()


STEPS: dict[str, tuple[Callable[[], Any], Callable[[], tuple[Any, Any]]]] = {
    "cnn": (lambda: cnn(4), lambda: (torch.randn(3, 1, 28, 28), torch.randint(0, 10, (3,)))),
    "gpt": (lambda: Gpt(2, 32, 2, 12, 20), lambda: tokens(2, 12, 20)),
    "gpt whose attention is a chain": (lambda: Gpt(2, 32, 2, 24, 20), lambda: tokens(2, 24, 20)),
    "gpt under autocast": (lambda: Gpt(2, 32, 2, 24, 21), lambda: tokens(2, 24, 21)),
    "lstm": (lambda: Recurrent(6, 8), lambda: (torch.randn(3, 5, 6), torch.randint(0, 4, (3,)))),
    "resnet": (lambda: Residual(8), lambda: (torch.randn(2, 3, 12, 12), torch.randint(0, 5, (2,)))),
}


def losses(name: str, device: str, steps: int = 3) -> list[float]:
    """The losses of a few steps of SGD with momentum."""
    torch.manual_seed(1)
    make, data = STEPS[name]
    net, (x, y) = make().to(device), data()
    x, y = x.to(device), y.to(device)
    optimizer, found = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9), []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=name.endswith("autocast")):
            out = net(x)
            loss = F.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1))
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@needs_emulation
@pytest.mark.parametrize("name", STEPS)
def test_losses_are_the_cpus(name: str) -> None:
    want = losses(name, "cpu")
    with flags.cuda("emulated"):
        try:
            got = losses(name, "cuda")
        finally:
            recorder.flush()
            recorder.state.placement = None
    np.testing.assert_allclose(got, want, rtol=5e-3 if name.endswith("autocast") else 2e-5)


@needs_nvrtc
@pytest.mark.parametrize("name", STEPS)
def test_compiles_for_sm_90a_without_spills(name: str) -> None:
    found: list[Graph] = []
    with graphs_of(found):
        losses(name, "cpu", 1)
    compiled = build(max(found, key=lambda g: len(g.steps)), "sm_90a").compiled
    assert len(compiled.usage) > 10
    assert not [u for u in compiled.usage if u.spill_loads or u.spill_stores]
