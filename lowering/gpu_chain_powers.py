"""Exponentials of a sweep: what scales their argument and what is taken from it are one multiply-add in front of one instruction.

`exp(scale * x - y)` is 2 to the power of `x * (scale * log2(e)) + y * -log2(e)`. Numbers that scale a whole expression are found
in it, so that products of tiles are never scaled one by one; a row's maximum grows in the unscaled expression, too. Next to
operands of 16 bits one instruction's accuracy is enough; elsewhere e to the power of x is what `math.exp` is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isfinite, log

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import FloatAttr, f32
from xdsl.ir import SSAValue

from ..dialects import nv
from .chain_expressions import Apply, Expression, Sum, number_in
from .gpu_builder import GpuBuilder
from .gpu_chain_plan import Factor
from .gpu_contraction_launch import PLAIN

Value = Callable[[Expression], SSAValue]
LOG2_E = 1 / log(2)
_NEUTRAL = (0.0, inf, -inf)
"""Numbers that are the same when they are scaled."""


class Powers:
    """Writes exponentials. fast: by nv.exp2. factors: of products, whose numbers scale them (`Factor.scale`)."""

    def __init__(self, b: GpuBuilder, factors: Mapping[Expression, Factor], fast: bool) -> None:
        self.b, self.factors, self.fast = b, factors, fast

    def scale(self, e: Expression) -> float:
        """The positive number `e` is a multiple of: `e == scale * unscaled`. 1 where none is found, and where exponentials are exact."""
        found = self._scale(e) if self.fast else 1.0
        return found if isfinite(found) and found > 0 else 1.0

    def _scale(self, e: Expression) -> float:
        if isinstance(e, Sum):
            return self.tile_scale(e)
        if not isinstance(e, Apply):
            return 1.0
        if e.op is arith.SelectOp:
            scales = {self._scale(way) for way in e.operands[1:] if number_in(way) not in _NEUTRAL}
            return scales.pop() if len(scales) == 1 else 1.0
        number, other = _times_number(e)
        return number * self._scale(other) if other is not None else 1.0

    def tile_scale(self, tile: Sum) -> float:
        """What a product of tiles as memory has them is to be multiplied with."""
        left, right = self.factors.get(tile.left), self.factors.get(tile.right)
        return left.scale * right.scale if self.fast and left is not None and right is not None else 1.0

    def unscaled(self, e: Expression, value: Value, raw: Mapping[Sum, SSAValue]) -> SSAValue:
        """`e / scale(e)`. raw: products of tiles as they are; value: of what is not scaled."""
        return value(e) if self.scale(e) == 1.0 else self._unscaled(e, value, raw)

    def _unscaled(self, e: Expression, value: Value, raw: Mapping[Sum, SSAValue]) -> SSAValue:
        if isinstance(e, Sum):
            return raw[e]
        if isinstance(e, Apply) and e.op is arith.SelectOp and self._scale(e) != 1.0:
            ways = [value(way) if number_in(way) in _NEUTRAL else self._unscaled(way, value, raw) for way in e.operands[1:]]
            return self.b.emit(arith.SelectOp, (value(e.operands[0]), *ways), f32)
        _, other = _times_number(e)
        return self._unscaled(other, value, raw) if other is not None else value(e)

    def exp(self, e: Apply, value: Value, raw: Mapping[Sum, SSAValue]) -> SSAValue:
        """The value of `e`, an exponential of f32."""
        (argument,) = e.operands
        if not self.fast:
            return self.b.emit(e.op, (value(argument),), e.type, dict(e.properties))
        if isinstance(argument, Apply) and argument.op is arith.SubfOp:
            x, y = argument.operands
            return self.distance(self.unscaled(x, value, raw), self.taken(value(y), 1.0), self.scale(x))
        x = self.unscaled(argument, value, raw)
        return self._exp2(self._times(x, self.scale(argument) * LOG2_E))

    def taken(self, y: SSAValue, scale: float) -> SSAValue:
        """`scale * y` as `distance` wants it: what is the same for many is made once."""
        return self._times(y, -scale * LOG2_E) if self.fast else y

    def distance(self, x: SSAValue, taken: SSAValue, scale: float) -> SSAValue:
        """exp(scale * x - y), `taken` being y's."""
        if self.fast:
            return self._exp2(self.b.emit(math.FmaOp, (x, self._number(scale * LOG2_E), taken), f32, PLAIN))
        return self.b.emit(math.ExpOp, (self.b.emit(arith.SubfOp, (x, taken), f32, PLAIN),), f32, PLAIN)

    def scaled(self, x: SSAValue, scale: float) -> SSAValue:
        """`scale * x`."""
        return x if scale == 1.0 else self._times(x, scale)

    def _exp2(self, x: SSAValue) -> SSAValue:
        return self.b.emit(nv.Exp2Op, (x,), f32)

    def _times(self, x: SSAValue, number: float) -> SSAValue:
        return self.b.emit(arith.MulfOp, (x, self._number(number)), f32, PLAIN)

    def _number(self, number: float) -> SSAValue:
        return self.b.constant(FloatAttr(number, f32), f32)


def _times_number(e: Expression) -> tuple[float, Expression | None]:
    """The expression as a number times another one; none where it is no such thing."""
    if isinstance(e, Apply) and e.op in (arith.MulfOp, arith.DivfOp):
        for a, b in (e.operands, e.operands[::-1])[: 2 if e.op is arith.MulfOp else 1]:
            number = number_in(b)
            if number is not None and number:
                return float(number) if e.op is arith.MulfOp else 1 / number, a
    return 1.0, None
