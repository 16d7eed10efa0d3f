"""Integers that order as values do, for what sorts and selects by comparing integers: signed, of as many bits; NaN is the largest, -0.0 is 0.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, IntegerType, VectorType, i1, i64
from xdsl.ir import Attribute, SSAValue

from .loop_builder import INDEX, NO_OVERFLOW, vector_of

if TYPE_CHECKING:
    from .irregular import _Kernel

_PLAIN: dict[str, Attribute] = {"fastmath": arith.FastMathFlagsAttr("none")}
_UNORDERED = 14


def ordered_key(kernel: _Kernel, values: SSAValue, descending: bool) -> SSAValue:
    """The keys of one float or integer of 32 or 64 bits, or of a vector of them; smaller for larger values where they are to descend."""
    b, like = kernel.b, values.type
    element = like.element_type if isinstance(like, VectorType) else like
    width = element.width.data if isinstance(element, IntegerType) else element.bitwidth
    lanes = like.get_shape()[0] if isinstance(like, VectorType) else 1
    whole, mask = (vector_of(t, lanes) if isinstance(like, VectorType) else t for t in (IntegerType(width), i1))

    def constant(value: Attribute, kind: Attribute) -> SSAValue:
        return b.splat(value, kind) if isinstance(kind, VectorType) else b.constant(value, kind)

    def number(value: int) -> SSAValue:
        return constant(IntegerAttr(value, IntegerType(width)), whole)

    key = values
    if not isinstance(element, IntegerType):
        zero = constant(FloatAttr(0.0, element), like)
        bits = b.emit(arith.BitcastOp, (b.emit(arith.AddfOp, (values, zero), like, _PLAIN),), whole)
        sign = b.emit(arith.ShRSIOp, (bits, number(width - 1)), whole)
        key = b.emit(arith.XOrIOp, (bits, b.emit(arith.AndIOp, (sign, number((1 << width - 1) - 1)), whole)), whole)
        nan = b.emit(arith.CmpfOp, (values, values), mask, {"predicate": IntegerAttr(_UNORDERED, i64), **_PLAIN})
        key = b.emit(arith.SelectOp, (nan, number((1 << width - 1) - 1), key), whole)
    return b.emit(arith.XOrIOp, (key, number(-1)), whole) if descending else key


def word_of(kernel: _Kernel, key: SSAValue, place: SSAValue) -> SSAValue:
    """A key of 32 bits and a place (an index below 2^31) as one i64: words order by the keys, and equal ones by their places."""
    b = kernel.b
    shifted = b.emit(arith.ShLIOp, (b.emit(arith.ExtSIOp, (key,), i64), b.constant(IntegerAttr(32, i64), i64)), i64, NO_OVERFLOW)
    return b.emit(arith.OrIOp, (shifted, b.emit(arith.IndexCastOp, (place,), i64)), i64)


def place_of(kernel: _Kernel, word: SSAValue) -> SSAValue:
    """The place in a word, an i64."""
    return kernel.b.emit(arith.AndIOp, (word, kernel.b.constant(IntegerAttr((1 << 32) - 1, i64), i64)), i64)


def index_of(kernel: _Kernel, value: SSAValue) -> SSAValue:
    """An i64 as an index."""
    return kernel.b.emit(arith.IndexCastOp, (value,), INDEX)
