"""Printing: random tensors under random options print the same text under lamina and under PyTorch."""

from __future__ import annotations

import random
from math import inf, nan
from typing import Any

import lamina
import numpy as np
import pytest
from lamina.dialects import flags

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
NUMBERS = [0.0, -0.0, 1, -1, 1e-5, 1e5, 123456.789, 1e8, 1e9, 1e-8, inf, -inf, nan, 0.1, 2.5, 1e30, 3.0, 1000.0, 99999.0]
OPTIONS: dict[str, list] = {
    "precision": [0, 1, 2, 6, 10], "threshold": [0, 5, 100, inf], "edgeitems": [0, 1, 2, 5], "linewidth": [20, 40, 120],
    "sci_mode": [True, False], "profile": ["short", "full"],
}  # fmt: skip


def sample(rng: random.Random) -> tuple[np.ndarray, str, dict[str, Any], int]:
    """Values, dtype, options, and whether gradients are collected (1) or there is a history (2)."""
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    rank = rng.choice([0, 1, 1, 2, 2, 3, 4])
    shape = [rng.choice([0, 1, 2, 3, 5, 8, 12] if rank > 1 else [0, 1, 3, 7, 30, 1100]) for _ in range(rank)]
    dtype = rng.choice(["float32"] * 4 + ["float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool", "int8"])
    if dtype == "bool":
        values = numbers.random(shape) > 0.5
    elif "float" in dtype:
        kinds = (
            lambda: numbers.choice(NUMBERS, shape), lambda: numbers.normal(size=shape) * 10.0 ** rng.randint(-6, 8),
            lambda: np.round(numbers.normal(size=shape) * 100),
        )  # fmt: skip
        values = rng.choice(kinds)()
        values = np.clip(values, -60000, 60000) if dtype == "float16" else values
    else:
        values = numbers.integers(0 if dtype == "uint8" else -100, 100, shape)
    options = {k: rng.choice(v) for k, v in OPTIONS.items() if rng.random() < 0.15}
    return values, dtype, options, rng.choice([0, 0, 1, 2])


def text(module: Any, values: np.ndarray, dtype: str, options: dict[str, Any], tracked: int) -> str:
    made = module.tensor(values.tolist(), dtype=getattr(module, dtype)).reshape(values.shape)
    if tracked and "float" in dtype:
        made = made.requires_grad_() if tracked == 1 else made.requires_grad_() * 1
    module.set_printoptions(profile="default")
    module.set_printoptions(**options)
    try:
        return repr(made)
    finally:
        module.set_printoptions(profile="default")


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_prints_what_pytorch_prints(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  # test data
    for _ in range(2000 if seed else 120):
        case = sample(rng)
        if case[0].size > 4000:
            continue
        with flags.device("numpy"):
            assert text(lamina, *case) == text(torch, *case), case[1:]
