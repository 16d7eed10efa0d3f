"""Finding elements: places, different values and most frequent ones of large and odd inputs, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import lamina
from lamina.pyfront.finding import COMPILED
from lamina.pyfront.true_places import places

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

R = np.random.default_rng(0)
ARRAYS: dict[str, np.ndarray] = {
    "integers": R.integers(-9, 9, 200), "NaN": np.array([np.nan, 1, np.nan, 2, 2, -0.0, 0.0]), "nothing": np.zeros(0), "rank 0": np.array(3.0),
    "flags": R.random(9) > 0.5, "bytes": R.integers(0, 9, (4, 5)).astype(np.uint8), "rank 3": R.integers(0, 2, (3, 4, 5)).astype(np.float32),
    "large": R.integers(-COMPILED, COMPILED, (2, COMPILED)), "large floats": np.round(R.standard_normal(COMPILED) * 50), "f16": R.integers(0, 9, 40).astype(np.float16),
}  # fmt: skip
CALLS = {
    "unique": lambda t, x: t.unique(x),
    "unique counts": lambda t, x: t.unique(x, return_counts=True),
    "unique inverse": lambda t, x: t.unique(x, return_inverse=True),
    "unique all": lambda t, x: t.unique(x, return_inverse=True, return_counts=True),
    "unique_consecutive": lambda t, x: t.unique_consecutive(x, return_counts=True),
    "nonzero": lambda t, x: t.nonzero(x),
    "nonzero tuple": lambda t, x: t.nonzero(x, as_tuple=True),
    "repeat_interleave": lambda t, x: x.repeat_interleave(3),
    "repeat_interleave never": lambda t, x: x.repeat_interleave(0),
    "repeat_interleave by one": lambda t, x: x.repeat_interleave(t.tensor([2])),
    "mode": lambda t, x: x.mode().values if x.dim() and x.numel() and x.dtype != t.bool else x,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_same_as_pytorch(name, call):
    found, wanted = (CALLS[call](t, t.from_numpy(ARRAYS[name].copy())) for t in (lamina, torch))
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    for mine, theirs in pairs:
        assert mine.numpy().dtype == theirs.numpy().dtype
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_repeats_of_every_entry_have_a_gradient():
    for t in (lamina, torch):
        x = t.arange(6.0).reshape(2, 3).requires_grad_()
        (x.repeat_interleave(2, dim=1) * t.arange(12.0).reshape(2, 6)).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), [[1, 5, 9], [13, 17, 21]])
    with pytest.raises(RuntimeError, match="repeats can not be negative"):
        lamina.ones(2).repeat_interleave(-1)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (2, 0, 3), (1, 1, 1, 6)])
def test_places_are_those_of_numpy(shape):
    mask = R.random(shape) > 0.4
    for mine, wanted in zip(places(mask), np.nonzero(mask), strict=True):
        assert mine.flags.c_contiguous
        np.testing.assert_array_equal(mine, wanted)
