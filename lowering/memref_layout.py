"""Memref types with static strides: making them, reading their strides, sizes in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from xdsl.dialects.builtin import (
    DYNAMIC_INDEX,
    BFloat16Type,
    Float16Type,
    Float32Type,
    Float64Type,
    IndexType,
    IntegerType,
    MemRefType,
    NoneAttr,
    Signedness,
    StridedLayoutAttr,
    TensorType,
    i8,
)
from xdsl.dialects.memref import ReinterpretCastOp, SubviewOp
from xdsl.ir import Attribute, SSAValue

from ..dialects.attributes import dimensions, integers, segments
from ..dialects.errors import PassError

_FLOAT_BYTES = {Float64Type: 8, Float32Type: 4, Float16Type: 2, BFloat16Type: 2}


@cache
def element_bytes(element: Attribute) -> int:
    """Bytes one element takes in memory; an i1 takes one byte."""
    if isinstance(element, IntegerType):
        return max(1, element.width.data // 8)
    if isinstance(element, IndexType):
        return 8
    if type(element) in _FLOAT_BYTES:
        return _FLOAT_BYTES[type(element)]
    raise PassError(f"no memory layout for elements of type {element}")


@cache
def memory_element(element: Attribute) -> Attribute:
    """The element type used in memrefs: unsigned integers are carried as signless ones."""
    if isinstance(element, IntegerType) and element.signedness.data != Signedness.SIGNLESS:
        return i8 if element.width.data == 8 else IntegerType(element.width.data)
    return element


def row_major(sizes: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense row-major buffer, in elements."""
    strides, step = [], 1
    for size in reversed(sizes):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def strides_in_order(sizes: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense buffer whose dims lie in memory in `order`, outermost first."""
    strides, step = [0] * len(sizes), 1
    for dim in reversed(order):
        strides[dim] = step
        step *= sizes[dim]
    return tuple(strides)


@cache
def memref_type(
    sizes: tuple[int, ...], element: Attribute, strides: tuple[int, ...] | None = None
) -> MemRefType:
    """A memref at offset 0, without a layout attribute when it is row-major (sizes of 1 aside) or empty."""
    plain = row_major(sizes)
    if strides is None or 0 in sizes or all(s == p or n == 1 for s, p, n in zip(strides, plain, sizes, strict=True)):
        return MemRefType(memory_element(element), dimensions(sizes))
    return MemRefType(memory_element(element), dimensions(sizes), StridedLayoutAttr(dimensions(strides)))


def row_major_type(tensor: Attribute) -> MemRefType:
    """The dense row-major buffer of a tensor type. PassError for anything else."""
    if not isinstance(tensor, TensorType):
        raise PassError(f"a program's values are tensors, got {tensor}")
    return memref_type(tensor.get_shape(), tensor.element_type)


@cache
def strides_of(memref: MemRefType) -> tuple[int, ...]:
    """Strides in elements. PassError when they are not static, or the offset is not 0."""
    if isinstance(memref.layout, NoneAttr):
        return row_major(memref.get_shape())
    found = memref.get_strides()
    if found is None or any(s is None for s in found) or memref.layout.get_offset() not in (0, None):
        raise PassError(f"a buffer needs static strides and offset 0, got {memref}")
    return tuple(found)  # type: ignore[arg-type]  # None was just ruled out


@cache
def span_of(memref: MemRefType) -> int:
    """Number of elements from the first to the last one, both counted (0 for an empty buffer)."""
    sizes = memref.get_shape()
    if 0 in sizes:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(sizes, strides_of(memref), strict=True))


@cache
def places_of(memref: MemRefType) -> tuple[object, ...]:
    """Equal for buffers whose elements lie in the same places in the same order: sizes of 1 do not count."""
    moving = [(n, s) for n, s in zip(memref.get_shape(), strides_of(memref), strict=True) if n != 1]
    return memref.element_type, *moving


def reinterpreted(source: SSAValue, offset: int | SSAValue, wanted: MemRefType, strides: Sequence[int]) -> ReinterpretCastOp:
    """The memory of a buffer as another memref, from an offset on."""
    moves = isinstance(offset, SSAValue)
    properties = {
        "static_offsets": integers([DYNAMIC_INDEX if moves else offset]),
        "static_sizes": integers(wanted.get_shape()),
        "static_strides": integers(strides),
        "operandSegmentSizes": segments(1, int(moves), 0, 0),
    }
    operands = (source, offset) if isinstance(offset, SSAValue) else (source,)
    return ReinterpretCastOp.create(operands=operands, result_types=(wanted,), properties=properties)


def box_of(buffer: SSAValue, offsets: Sequence[int], sizes: Sequence[int], steps: Sequence[int]) -> SubviewOp:
    """A box of a buffer; sizes may be known at the call only."""
    held = buffer.type
    assert isinstance(held, MemRefType)
    base = strides_of(held)
    offset = sum(b * o for b, o in zip(base, offsets, strict=True))
    layout = StridedLayoutAttr(dimensions([b * s for b, s in zip(base, steps, strict=True)]), *dimensions([offset]))
    properties = {
        "static_offsets": integers(offsets), "static_sizes": integers(sizes), "static_strides": integers(steps),
        "operandSegmentSizes": segments(1, 0, 0, 0),
    }  # fmt: skip
    result = MemRefType(held.element_type, dimensions(sizes), layout)
    return SubviewOp.create(operands=[buffer], result_types=[result], properties=properties)  # kernels of many boxes have hundreds


def bytes_of(memref: MemRefType) -> int:
    """Bytes the buffer spans."""
    return span_of(memref) * element_bytes(memref.element_type)
