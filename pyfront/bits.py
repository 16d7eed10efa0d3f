"""Bits: memory seen as numbers of another dtype (``x.view(torch.int32)``), as a link of a chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..dialects.types import DType
from . import recorder
from .node import Node

if TYPE_CHECKING:
    from .tensor import Tensor

BITS = "bits"  # attrs: the dtype seen, the dtype before


def seen_as(input: Tensor, dtype: DType) -> Tensor:
    """The same memory as numbers of a dtype. Of another size, the last dimension has as many more or fewer of them: RuntimeError where
    they do not lie one behind the other (torch.Tensor.view)."""
    own = input.dtype
    if dtype is own:
        return input._through((BITS, (dtype, own)))
    if dtype.itemsize != own.itemsize:
        _check(input, dtype)
    return input._through((BITS, (dtype, own)))


def _check(input: Tensor, dtype: DType) -> None:
    from .assignment import title  # reads views, which read this

    what = f"to view {title(input.dtype)} as {title(dtype)} (different element sizes)"
    if not input.dim():
        raise RuntimeError(f"self.dim() cannot be 0 {what}")
    strides = input.stride()
    if dtype.itemsize < input.dtype.itemsize:
        if strides[-1] != 1 and input.shape[-1] != 1:
            raise RuntimeError(f"self.stride(-1) must be 1 {what}, but got {strides[-1]}")
        return
    times = dtype.itemsize // input.dtype.itemsize
    if input.shape[-1] % times:
        raise RuntimeError(f"self.size(-1) must be divisible by {times} {what}, but got {input.shape[-1]}")
    if input.storage_offset() % times:
        raise RuntimeError(f"self.storage_offset() must be divisible by {times} {what}, but got {input.storage_offset()}")
    if strides[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {what}, but got {strides[-1]}")
    for d, stride in enumerate(strides[:-1]):
        if stride % times:
            raise RuntimeError(f"self.stride({d}) must be divisible by {times} {what}, but got {stride}")


def shape_of(shape: tuple[int, ...], dtype: DType, before: DType) -> tuple[int, ...]:
    """The shape of memory that had another dtype before."""
    if dtype.itemsize == before.itemsize:
        return shape
    return (*shape[:-1], shape[-1] * before.itemsize // dtype.itemsize)


def recorded(source: Node, dtype: DType) -> Node:
    """A value's bits as another dtype. They are looked at: the book's ops are about numbers."""
    state = recorder.state
    if state.watch is not None:
        state.watch.looked = True
    shape = shape_of(source.type[0], dtype, source.type[1])
    where = None if state.placement is None else state.placement.device_of(source)
    if where is not None and where.type == "meta":
        return state.placement.meta_leaf((shape, dtype))
    array = np.ascontiguousarray(recorder.value(source)).view(dtype.numpy).reshape(shape)
    node = recorder.leaf(array, (shape, dtype), source.origin)
    if where is None or where.type == "cpu":
        return node
    from .tensor import wrap  # reads views, which read this

    return state.placement.moved(wrap(node), where)._read()
