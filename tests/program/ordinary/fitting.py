"""What several of these programs begin or end with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def classifier(torch: Any, seed: int) -> tuple:
    """nn, F, a small network, 16 inputs, 16 labels."""
    torch.manual_seed(seed)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    return nn, nn.functional, model, torch.randn(16, 6), torch.randint(0, 3, (16,))


def fit(torch: Any, parameters: Iterable, loss: Callable[[], Any], steps: int = 3) -> list:
    """The losses of a few steps of Adam."""
    optimizer, losses = torch.optim.Adam(parameters, 0.01), []
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses
