"""Bits: memory seen as numbers of another dtype (``x.view(torch.int32)``), as a link of a chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..dialects.types import DType, bool_, int8, int16, int32, int64, part_of, uint8, uint16, uint32
from . import recorder
from .links import NO_GRAD, RENAMED
from .node import Node

if TYPE_CHECKING:
    from .tensor import Tensor

_SIGNED = {1: int8, 2: int16, 4: int32, 8: int64}
_UNSIGNED = {1: uint8, 2: uint16, 4: uint32, 8: int64}  # zeros fill the upper bits of a wider integer made of them
BITS = "bits"  # attrs: the dtype seen, the dtype before


def seen_as(input: Tensor, dtype: DType) -> Tensor:
    """The same memory as numbers of a dtype. Of another size, the last dimension has as many more or fewer of them: RuntimeError where
    they do not lie one behind the other (torch.Tensor.view). The result has no history."""
    own = input.dtype
    if dtype is own:
        return input._through(RENAMED)
    if dtype.itemsize != own.itemsize:
        _check(input, dtype)
    bits = (BITS, (dtype, own))
    return input._through(NO_GRAD, bits) if input.requires_grad else input._through(bits)


def _check(input: Tensor, dtype: DType) -> None:
    from .assignment import title  # reads views, which read this

    what = f"to view {title(input.dtype)} as {title(dtype)} (different element sizes)"
    if not input.dim():
        raise RuntimeError(f"self.dim() cannot be 0 {what}")
    strides = input.stride()
    if dtype.itemsize < input.dtype.itemsize:
        if strides[-1] != 1:
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


def recorded(x: Node, target: DType) -> Node:
    """A value's bits as another dtype, by steps: they are moved by integers of their size."""
    shape, source = x.type
    if source.is_complex:  # by its parts, side by side in the last dimension
        last = () if shape and source.itemsize != target.itemsize else (1,)
        wide = (*shape, 2) if last else (*shape[:-1], 2 * shape[-1])
        parts = recorder.record("reshape", (recorder.record("as_parts", (x,), (part_of(source),)),), (wide,))
        return _shaped(recorded(parts, target), shape if last else None)
    if target.is_complex:
        last = source.itemsize == target.itemsize
        parts = recorded(recorder.record("reshape", (x,), ((*shape, 1),)) if last else x, part_of(target))
        pairs = shape if last else (*shape[:-1], parts.type[0][-1] // 2)
        return recorder.record("from_parts", (_shaped(parts, (*pairs, 2)),), (target,))
    if source.itemsize == target.itemsize:
        return _same_size(x, target)
    return _split(x, target) if source.itemsize > target.itemsize else _joined(x, target)


def _shaped(x: Node, shape: tuple | None) -> Node:
    return x if shape is None or x.type[0] == shape else recorder.record("reshape", (x,), (shape,))


def _same_size(x: Node, target: DType) -> Node:
    if x.type[1] is target:
        return x
    if bool_ in (x.type[1], target):  # IR has a truth value as one bit
        other = x if x.type[1] is bool_ else _same_size(x, uint8)
        return _same_size(recorder.record("cast", (other,), (uint8 if target is not bool_ else bool_,)), target)
    return recorder.record("bitcast", (x,), (target,))


def _shifts(shape: tuple, count: int, size: int, dtype: DType) -> Node:
    """How far the bits of each part are from the lowest, [..., count]: the least significant part comes first."""
    bits = recorder.constant(np.arange(count, dtype=dtype.numpy) * (8 * size), ((count,), dtype))
    aligned = recorder.record("reshape", (bits,), ((*[1] * (len(shape) - 1), count),))
    return recorder.record("expand", (aligned,), (shape,))


def _split(x: Node, target: DType) -> Node:
    shape, whole, part = x.type[0], _SIGNED[x.type[1].itemsize], _SIGNED[target.itemsize]
    count = whole.itemsize // part.itemsize
    wide = (*shape, count)
    bits = recorder.record("reshape", (_same_size(x, whole),), ((*shape, 1),))
    bits = recorder.record("expand", (bits,), (wide,))
    moved = recorder.record("shift_right", (bits, _shifts(wide, count, part.itemsize, whole)))
    parts = recorder.record("cast", (moved,), (part,))
    return _same_size(recorder.record("reshape", (parts,), ((*shape[:-1], shape[-1] * count),)), target)


def _joined(x: Node, target: DType) -> Node:
    shape, part, whole = x.type[0], _UNSIGNED[x.type[1].itemsize], _SIGNED[target.itemsize]
    count = whole.itemsize // part.itemsize
    wide = (*shape[:-1], shape[-1] // count, count)
    bits = recorder.record("cast", (_same_size(x, part),), (whole,))
    bits = recorder.record("reshape", (bits,), (wide,))
    moved = recorder.record("shift_left", (bits, _shifts(wide, count, part.itemsize, whole)))
    summed = recorder.record("sum", (moved,), ((len(wide) - 1,),))  # no two have a bit in common
    return _same_size(recorder.record("reshape", (summed,), (wide[:-1],)), target)
