"""Buckets: gradients of one dtype side by side in one array, which goes round at once."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getrefcount

import numpy as np

from ...dialects.types import DType, dtype_of
from .. import recorder
from ..node import Node
from ..tensor import Tensor, wrap
from .tensors import flat, put

_ALIGNMENT = 64
MEGABYTE = 1 << 20


class Bucket:
    """Places for the gradients of some parameters. number: which of `count`. places: first element, elements, shape of each."""

    def __init__(self, number: int, params: Sequence[Tensor], dtype: DType) -> None:
        self.number, self.params, self.dtype, self.is_last = number, list(params), dtype, False
        self.places: list[tuple[int, int, tuple[int, ...]]] = []
        step, at = max(1, _ALIGNMENT // dtype.itemsize), 0
        for p in params:
            self.places.append((at, p.numel(), tuple(p.shape)))
            at += -(-p.numel() // step) * step
        self.size = at
        self._memory: list[tuple[np.ndarray, np.ndarray]] = []

    def array(self) -> np.ndarray:
        """Memory that no gradient is in any more: what is seen of an array refers to the one that owns the memory."""
        for number in range(len(self._memory)):
            if getrefcount(self._memory[number][0]) == _UNSEEN:
                return self._memory[number][1]
        self._memory = [*self._memory[-2:], _aligned(self.size, self.dtype.numpy)]
        return self._memory[-1][1]

    def part(self, array: np.ndarray, number: int) -> np.ndarray:
        """Where the gradient of a parameter is."""
        at, count, shape = self.places[number]
        return array[at : at + count].reshape(shape)

    def fill(self, array: np.ndarray, gradients: Sequence[np.ndarray | None], factor: float) -> None:
        """Put gradients (None: zeros), times a factor, into their places."""
        by = np.asarray(factor, self.dtype.numpy)
        for number, gradient in enumerate(gradients):
            part = self.part(array, number)
            if gradient is None:
                part[...] = 0
            elif factor == 1.0:
                np.copyto(part, gradient)
            else:
                np.multiply(gradient, by, out=part)


def _aligned(size: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Bytes, and so many elements at the start of a cache line in them."""
    owner = np.zeros(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -owner.ctypes.data % _ALIGNMENT
    return owner, owner[start : start + size * dtype.itemsize].view(dtype)


def _unseen() -> int:
    """The reference count, as `Bucket.array` sees it, of memory that only its own entry refers to."""
    held = [_aligned(1, np.dtype(np.float32))]
    number = 0
    return getrefcount(held[number][0])


_UNSEEN = _unseen()


def buckets_of(params: Sequence[Tensor], capacity: int) -> list[Bucket]:
    """All parameters, last first, in buckets of up to `capacity` bytes and one dtype each."""
    made: list[Bucket] = []
    open_ones: dict[DType, list[Tensor]] = {}

    def close(dtype: DType) -> None:
        made.append(Bucket(len(made), open_ones.pop(dtype), dtype))

    for p in reversed(params):
        row = open_ones.setdefault(p.dtype, [])
        row.append(p)
        if sum(one.nbytes for one in row) >= capacity:
            close(p.dtype)
    for dtype in list(open_ones):
        close(dtype)
    made[-1].is_last = True
    return made


def gradient_array(param: Tensor) -> np.ndarray:
    """The gradient of a parameter that has one, on the host."""
    gradient = param._grad
    if type(gradient) is Node and isinstance(gradient.value, np.ndarray):
        return gradient.value
    return flat(wrap(gradient) if type(gradient) is Node else gradient).reshape(tuple(param.shape))


def set_gradient(param: Tensor, values: np.ndarray) -> None:
    """Let a parameter's gradient have these values: the tensor it is, if somebody looked at it, goes on being it."""
    gradient = param._grad
    if isinstance(gradient, Tensor) or gradient is not None and not isinstance(gradient.value, np.ndarray):
        put(param.grad, values)
    elif param.is_cuda:
        param._grad = wrap(recorder.leaf(values, (tuple(param.shape), param.dtype))).to(param.device)
    else:
        param._grad = recorder.leaf(values, (tuple(param.shape), dtype_of(values)), "")


class GradBucket:
    """A bucket as a communication hook sees it."""

    def __init__(self, bucket: Bucket, array: np.ndarray) -> None:
        self._bucket, self._array = bucket, array
        self._buffer = wrap(recorder.leaf(array, (array.shape, dtype_of(array))))

    def index(self) -> int:
        """Which of the buckets it is."""
        return self._bucket.number

    def buffer(self) -> Tensor:
        """All its gradients, flat, not yet divided by the number of ranks."""
        return self._buffer

    def set_buffer(self, buffer: Tensor) -> None:
        """Let it have other contents."""
        self._buffer = buffer

    def gradients(self) -> list[Tensor]:
        """Its gradients, one for each parameter."""
        return [self._buffer[at : at + count].view(shape) for at, count, shape in self._bucket.places]

    def parameters(self) -> list[Tensor]:
        """The parameters they are of."""
        return list(self._bucket.params)

    def is_last(self) -> bool:
        """Whether it is the last of a backward."""
        return self._bucket.is_last
