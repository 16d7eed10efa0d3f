"""The last vector of a panel where it is filled in part: it moves as one or two shorter vectors, cut out of it or put into it."""

from __future__ import annotations

from xdsl.dialects import vector
from xdsl.dialects.builtin import DenseArrayBase, Float32Type, Float64Type, IntegerType, i64
from xdsl.ir import Attribute, SSAValue

from .contraction_covers import tail_pieces
from .loop_writer import Address, LoopWriter


def moves_in_pieces(element: Attribute, valid: int) -> bool:
    """Whether so many lanes of a type are moved as shorter vectors."""
    wide = isinstance(element, (Float32Type, Float64Type)) or (isinstance(element, IntegerType) and element.width.data >= 32)
    return wide and bool(tail_pieces(valid))


def store_tail(w: LoopWriter, value: SSAValue, buffer: SSAValue, at: Address, valid: int) -> None:
    """Writes the first ``valid`` lanes."""
    start = 0
    for size in tail_pieces(valid):
        w.store_vector(_shuffled(w, value, value, range(start, start + size)), buffer, at + start)
        start += size


def load_tail(w: LoopWriter, buffer: SSAValue, at: Address, valid: int, lanes: int) -> SSAValue:
    """A vector whose first ``valid`` lanes are those in memory; the others repeat the first."""
    first, *second = tail_pieces(valid)
    whole = _widened(w, w.load_vector(buffer, at, first), first, lanes)
    for size in second:
        rest = _widened(w, w.load_vector(buffer, at + first, size), size, lanes)
        whole = _shuffled(w, whole, rest, [k if k < first else lanes + k - first if k < valid else 0 for k in range(lanes)])
    return whole


def _widened(w: LoopWriter, part: SSAValue, size: int, lanes: int) -> SSAValue:
    return _shuffled(w, part, part, [k if k < size else 0 for k in range(lanes)])


def _shuffled(w: LoopWriter, a: SSAValue, b: SSAValue, places: range | list[int]) -> SSAValue:
    kind = w.vector_type(a.type.element_type, len(places))  # type: ignore[union-attr]  # a vector
    mask = {"mask": DenseArrayBase.from_list(i64, list(places))}
    return w.value(vector.ShuffleOp.create(operands=(a, b), result_types=(kind,), properties=mask))
