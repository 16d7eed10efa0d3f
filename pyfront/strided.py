"""Strided: as_strided's kin: in place, written into a copy, and empty tensors in a memory order of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dialects.types import DType
from . import views
from .creation import empty, of_array
from .definitions import define
from .indexing import index_put
from .shaping import sizes
from .tensor import Tensor
from .writing import as_strided


def as_strided_(self: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """This tensor becomes the strided view."""
    result = as_strided(self, size, stride, storage_offset)
    self._storage, self._chain, self._node, self._seen = result._storage, result._chain, result._node, -1
    return self


@define("as_strided_scatter")
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A copy of ``input`` with ``src`` at strided places of its memory."""
    shape, steps = sizes((size,)), sizes((stride,))
    offset = input.storage_offset() if storage_offset is None else int(storage_offset)
    as_strided(input.detach(), shape, steps, offset)  # refuses what does not fit
    if tuple(src.shape) != shape:
        raise RuntimeError(f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = {list(shape)}")
    flat = input.reshape(-1)
    places = views.places(shape, steps, offset - input.storage_offset())
    return index_put(flat, [of_array(places.reshape(-1), like=input)], src.reshape(-1).to(input.dtype)).reshape(input.shape)


def empty_permuted(size: Any, physical_layout: Sequence[int], *, dtype: DType | None = None, **options: Any) -> Tensor:
    """``empty`` whose dimensions lie in memory in the order of ``physical_layout``."""
    shape = tuple(size)
    if len(shape) != len(physical_layout):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
            f"{len(shape)} is not equal to len(physical_layout) = {len(physical_layout)}"
        )
    for i, d in enumerate(physical_layout):
        if not 0 <= d < len(shape):
            raise RuntimeError(f"Dimension out of range (expected to be between 0 and {len(shape) - 1}, but got {d} at index {i}).")
    if len(set(physical_layout)) < len(shape):
        raise RuntimeError("Duplicate dim not allowed")
    options.pop("layout", None)
    made = empty(tuple([shape[d] for d in physical_layout]), dtype=dtype, **options)
    return made.permute([list(physical_layout).index(d) for d in range(len(shape))]) if shape else made


Tensor.as_strided_ = as_strided_
