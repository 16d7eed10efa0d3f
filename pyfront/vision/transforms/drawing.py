"""The random numbers of transforms, drawn from torch's default generator as torchvision draws them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import draws, random


def _engine() -> Any:
    return random.default_generator.engine


def unit() -> float:
    """``torch.rand(1)``."""
    return float(draws.singles(_engine(), 1)[0])


def happens(p: float) -> bool:
    """``torch.rand(1) < p``."""
    return bool(draws.singles(_engine(), 1)[0] < np.float32(p))


def between(low: float, high: float) -> float:
    """``torch.empty(1).uniform_(low, high).item()``."""
    return float(draws.uniform(_engine(), 1, np.dtype(np.float32), float(low), float(high))[0])


def below(n: int) -> int:
    """``torch.randint(n, (1,))``."""
    return whole(0, n)


def whole(low: int, high: int) -> int:
    """``torch.randint(low, high, (1,))``."""
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    return int(draws.integers(_engine(), 1, low, high)[0])


def ratio(low: float, high: float) -> float:
    """A ratio whose logarithm is uniform, in float32 as torchvision computes it."""
    logs = [float(np.float32(math.log(np.float32(bound)))) for bound in (low, high)]
    return float(np.float32(math.exp(between(*logs))))


def order(n: int) -> list[int]:
    """``torch.randperm(n)``."""
    return [int(i) for i in draws.permutation(_engine(), n)]


def choice(weights: list[float]) -> int:
    """``torch.multinomial(weights, 1)``."""
    return int(draws.multinomial(_engine(), np.asarray([weights], np.float32), 1, False)[0, 0])
