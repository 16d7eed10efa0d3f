"""The calls of a GPU program's @main in the order they happen, its loops gone through, and where their arguments lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import DYNAMIC_INDEX
from xdsl.ir import Block, BlockArgument, SSAValue

from ..dialects.errors import BackendError
from .memref_layout import element_bytes

_INDEX = {arith.AddiOp: int.__add__, arith.SubiOp: int.__sub__, arith.MuliOp: int.__mul__}


@dataclass(frozen=True)
class Place:
    """Where an argument lies: buffer number in the table of inputs, outputs and (last) the arena, and a byte offset."""

    buffer: int
    offset: int


@dataclass(frozen=True)
class Called:
    """One call: what is called, and the place of every argument."""

    op: func.CallOp
    places: tuple[Place, ...]


def calls_of(main: func.FuncOp, steps: int | None = None) -> Iterator[Called]:
    """Every call, once per step of the loops around it. steps: go through so many steps of a loop only."""
    yield from _calls(main.body.block, {}, steps)


def _calls(block: Block, known: dict[SSAValue, int], steps: int | None) -> Iterator[Called]:
    for op in block.ops:
        if isinstance(op, func.CallOp):
            yield Called(op, tuple(_place(a, known) for a in op.arguments))
        elif isinstance(op, scf.ForOp):
            numbers = range(_number(op.lb, known), _number(op.ub, known), _number(op.step, known))
            for i in numbers[:steps]:
                yield from _calls(op.body.block, {**known, op.body.block.args[0]: i}, steps)


def alignments(main: func.FuncOp) -> dict[str, int]:
    """Per function the largest power of two, at most 16, that every argument's place is a multiple of, in bytes.

    Arrays start at multiples of 64; a slice of a loop's step may start anywhere. Places are linear in the steps: two tell.
    """
    found: dict[str, int] = {}
    for call in calls_of(main, 2):
        name = call.op.callee.string_value()
        found[name] = gcd(found.get(name, 16), *(place.offset for place in call.places))
    return {name: n & -n for name, n in found.items()}


def _number(value: SSAValue, known: dict[SSAValue, int]) -> int:
    if value in known:
        return known[value]
    op = value.owner
    if isinstance(op, arith.ConstantOp):
        return op.value.value.data  # type: ignore[union-attr]  # an index
    operation = _INDEX.get(type(op))
    if operation is None:
        raise BackendError(f"@main computes a place with {getattr(op, 'name', op)}")
    return operation(*(_number(v, known) for v in op.operands))


def _place(value: SSAValue, known: dict[SSAValue, int]) -> Place:
    """The argument of @main a memref points into, and how far."""
    offset = 0
    while not isinstance(value, BlockArgument):
        op = value.owner
        if isinstance(op, memref.ViewOp):
            offset += _number(op.byte_shift, known)
            value = op.source
        elif isinstance(op, memref.ReinterpretCastOp):
            offset += _elements(op, known) * element_bytes(value.type.element_type)
            value = op.source
        elif isinstance(op, memref.CastOp):
            value = op.source
        else:
            raise BackendError(f"@main has {op.name} between its arguments and a launch")
    return Place(value.index, offset)


def _elements(op: memref.ReinterpretCastOp, known: dict[SSAValue, int]) -> int:
    (static,) = op.static_offsets.get_values()
    return _number(op.offsets[0], known) if static == DYNAMIC_INDEX else static
