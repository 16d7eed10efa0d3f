"""Writing: methods that only exist in place (copy_, fill_, zero_, fill_diagonal_, set_, resize_)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialects.errors import UnsupportedError
from ..dialects.types import size_of
from . import recorder, views
from .assignment import check_in_place, check_leaf, check_overlap, store
from .creation import of_array
from .definitions import define
from .indexing import fitted, getitem
from .promote import filled, full, operand, untouched
from .shaping import sizes
from .storage import Storage
from .tensor import Tensor, _fill, from_storage, wrap
from .views import Detached


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """The values of ``src``, converted and broadcast, in this tensor's memory."""
    check_in_place(self)
    check_overlap(self, src)
    if isinstance(src, Tensor) and src.dim() > self.dim():
        shape = [*src.shape[: src.dim() - self.dim()], *self.shape]
        raise RuntimeError(f"output with shape {list(self.shape)} doesn't match the broadcast shape {shape}")
    start = recorder.state.order
    node, before = fitted(src, self), self._read()
    if before.requires_grad and recorder.state.grad:
        node = untouched(node, before)
    store(self, node, start, strict=False)
    return self


@define("fill", in_place=True)
def fill(input: Tensor, value: Any) -> Tensor:
    """All ``value``, a number or a tensor without dimensions."""
    if isinstance(value, Tensor) and value.dim():
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.dim()} dimensions.")
    node, before = fitted(value, input) if isinstance(value, Tensor) else operand(value, *input._node.type), input._read()
    if not node.requires_grad and recorder.state.grad:
        node = untouched(node, before)
    return wrap(node if recorder.state.placement is None else recorder.state.placement.settled(before, node))


@define("zero", in_place=True)
def zero(input: Tensor) -> Tensor:
    """All zero."""
    node, before = filled(0, *input._node.type), input._read()
    node = untouched(node, before) if recorder.state.grad else node
    return wrap(node if recorder.state.placement is None else recorder.state.placement.settled(before, node))


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """The places where all indices are equal set to a number.

    wrap: in a tall matrix the diagonal starts again below the square. RuntimeError with less than two dimensions, or
    with more of different sizes.
    """
    shape, strides, offset = views.layout(self._storage, self._chain)
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    check_in_place(self)
    count, step = min(shape), sum(strides)
    as_strided(self, (count,), (step,), offset).fill_(fill_value)
    if wrap and len(shape) == 2 and shape[0] > shape[1] + 1:
        below = -(-self.numel() // (shape[1] + 1)) - count
        as_strided(self, (below,), (step,), offset + strides[0] * (shape[1] + 1)).fill_(fill_value)
    return self


def set_(self: Tensor, source: Tensor) -> Tensor:
    """The memory of ``source``. RuntimeError for another dtype, and for a leaf that requires grad."""
    if source.dtype is not self.dtype:
        raise RuntimeError(f"could not set a tensor of {self.dtype} to memory that holds {source.dtype}")
    check_leaf(self)
    chain = source._chain if source.requires_grad else (*source._chain, Detached(counted=False))
    _fill(self, source._storage, chain)
    return self


def resize_(self: Tensor, *size: Any) -> Tensor:
    """Another shape over the same memory, row by row; memory of its own when that is too small."""
    shape = sizes(size)
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if shape == self._node.type[0]:
        return self
    offset, memory = self.storage_offset(), size_of(self._storage.type[0])
    if offset + size_of(shape) <= memory:
        result = as_strided(self, shape, views.contiguous_strides(shape), offset)
        self._owns = self._owns or not self._chain
        self._storage.touch()
        self._chain, self._node, self._seen = result._chain, result._node, -1
        return self
    n = wrap(full(0, shape, self.dtype)).numel()
    flat = self.reshape(-1)
    if n > flat.numel():
        from .joining import cat

        flat = cat([flat, wrap(full(0, (n - flat.numel(),), self.dtype))])
    _fill(self, Storage(flat[:n].reshape(shape).clone()._read()), ())
    return self


def resize_as_(self: Tensor, other: Tensor) -> Tensor:
    """``resize_(other.shape)``."""
    return resize_(self, tuple(other.shape))


def as_strided(self: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """Any elements of the storage, as a view. RuntimeError for places outside of it."""
    shape, strides = sizes((tuple(size),)), sizes((tuple(stride),))
    offset = self.storage_offset() if storage_offset is None else int(storage_offset)
    if len(shape) != len(strides):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(shape)} and {list(strides)}")
    if any(s < 0 for s in strides) or any(n < 0 for n in shape) or offset < 0:
        raise RuntimeError("as_strided: sizes, strides and the offset must not be negative")
    reach = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1 if 0 not in shape else 0
    memory = views.extent(self._storage)
    if reach > memory:
        raise RuntimeError(
            f"as_strided: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}: {reach} elements are "
            f"out of bounds for storage of size {memory}"
        )
    head = views.whole_memory(self._storage, self._chain)
    if head is not None:
        return from_storage(self._storage, head)._through(("strided", (shape, strides, offset)))
    return _picked(self, views.places(shape, strides, offset))


def _picked(leaf: Tensor, wanted: np.ndarray) -> Tensor:
    """Places of memory as a copy, for a leaf that is a part of it: only its own have a gradient."""
    own = views.places(*views.layout(leaf._storage, leaf._chain)).reshape(-1)
    found = np.full(size_of(leaf._storage.type[0]), -1, np.int64)
    found[own] = np.arange(own.size)
    index = np.asarray(found[wanted])
    if (index < 0).any():
        raise UnsupportedError("as_strided of a leaf that is part of a larger tensor reaches beyond the leaf")
    return getitem(leaf.reshape(-1), of_array(index, like=leaf))


def _flat_storage(self: Tensor) -> Tensor:
    """All elements of the storage in a row."""
    whole = from_storage(self._storage, views.whole_memory(self._storage, self._chain) or ())
    return whole.reshape(whole.numel())


for _function in (
    copy_,
    fill_diagonal_,
    set_,
    resize_,
    resize_as_,
    as_strided,
    _flat_storage,
):
    setattr(Tensor, _function.__name__, _function)

define("as_strided", method=False)(as_strided)
define("resize_as_", method=False)(resize_as_)


def apply_(self: Tensor, function: Any) -> Tensor:
    """Every element replaced by ``function(element)``, in Python."""
    array = np.vectorize(function, otypes=[self.dtype.numpy])(self._value())
    return copy_(self, of_array(np.asarray(array, order="C")))


Tensor.apply_ = apply_
