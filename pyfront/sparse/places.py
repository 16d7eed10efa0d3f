"""Places: indices of the elements that are kept, looked at on the host: in which order, which are equal, which rows they make."""

from __future__ import annotations

import math

import numpy as np

from .. import recorder
from ...dialects.types import int64
from ..tensor import Tensor, wrap


def on_host(indices: Tensor) -> np.ndarray:
    """Indices as int64."""
    return np.asarray(indices.detach()._value(), np.int64)


def as_tensor(array: np.ndarray) -> Tensor:
    """Indices that were found, as a tensor: on whichever device the values are."""
    array = np.ascontiguousarray(array, np.int64)
    return wrap(recorder.constant(array, (array.shape, int64)))


def in_row(indices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Places [count] in row-major order of indices [dims, count]; all 0 without dims."""
    place = np.zeros(indices.shape[1], np.int64)
    for row, n in zip(indices, shape, strict=True):
        place = place * n + row
    return place


def apart(place: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The opposite: indices [dims, count]."""
    found = np.zeros((len(shape), len(place)), np.int64)
    for d in range(len(shape) - 1, -1, -1):
        place, found[d] = np.divmod(place, shape[d] or 1)
    return found


def checked(indices: np.ndarray, shape: tuple[int, ...]) -> None:
    """RuntimeError, as PyTorch words it, for an index outside."""
    for d, (row, n) in enumerate(zip(indices, shape, strict=True)):
        if row.size and row.min() < 0:
            raise RuntimeError(f"found negative index {row.min()} for dim {d}")
        if row.size and row.max() >= n:
            raise RuntimeError(f"size is inconsistent with indices: for dim {d}, size is {n} but found index {row.max()}")


def summed(values: Tensor, which: np.ndarray, count: int) -> Tensor:
    """[count, ...]: the values [n, ...] that go to each place, added up in their order."""
    return values.new_zeros((count, *values.shape[1:])).index_add(0, as_tensor(which), values)


def count_of(shape: tuple[int, ...]) -> int:
    """Number of places."""
    return math.prod(shape)
