"""Which columns matter to a row of a chain, and which rows to a column: what a mask of indices leaves over.

A comparison of the row's index with the column's is assumed to come out one way; if every sum then adds nothing (its terms
are 0, or the exponential of minus infinity), the tiles where it surely comes out that way are not visited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, i1

from .chain_expressions import COLUMN, ROW, Apply, Expression, Expressions, Fold, Index, is_truth, number_in, parts, rewritten

if TYPE_CHECKING:
    from .gpu_chain_plan import Term

_CASTS = (arith.IndexCastOp, arith.ExtSIOp, arith.TruncIOp)
_LESS, _LESS_EQUAL, _GREATER, _GREATER_EQUAL = 2, 3, 4, 5


@dataclass(frozen=True)
class Bounds:
    """Only where low <= column - row <= high does the matrix matter; None: there is no such limit."""

    low: int | None = None
    high: int | None = None


Nothing = Callable[[Callable[[Expression], Expression]], bool]


def bounds_of(made: Expressions, maximum: Fold | None, terms: Sequence[Term]) -> Bounds:
    """The bounds of one sweep. maximum: the fold that grows in it; terms: of what it sums."""
    values = [t.inner for t in terms if t.inner is not None] + ([maximum.value] if maximum is not None else [])

    def adds_nothing(there: Callable[[Expression], Expression]) -> bool:
        if maximum is None:
            return bool(terms) and all(t.inner is not None and number_in(there(t.inner)) == 0 for t in terms)
        if number_in(there(maximum.value)) != -inf:
            return False
        return all(t.power != 0 or t.inner is not None and number_in(there(t.inner)) == 0 for t in terms)

    return bounds_where(made, values, adds_nothing)


def bounds_where(made: Expressions, values: Sequence[Expression], adds_nothing: Nothing) -> Bounds:
    """What the comparisons in these values leave over. adds_nothing: whether all sums do without some elements, given what an
    expression is there.
    """
    distances = {d for v in values for e in parts(v) if (d := _distance(e)) is not None}

    def without(low: float, high: float) -> bool:
        known: dict[Expression, Expression] = {}
        return adds_nothing(lambda e: rewritten(e, made, lambda part: _simplified(part, made, low, high), known))

    highs = sorted(d for d in distances if without(d + 1, inf))
    lows = sorted(d for d in distances if without(-inf, d - 1))
    return Bounds(lows[-1] if lows else None, highs[0] if highs else None)


def inside(made: Expressions, e: Expression, bounds: Bounds) -> Expression:
    """What an expression is wherever the matrix matters: comparisons that always come out one way there are not made."""
    low, high = (-inf if bounds.low is None else bounds.low), (inf if bounds.high is None else bounds.high)
    return rewritten(e, made, lambda part: _simplified(part, made, low, high), {})


def _linear(e: Expression) -> tuple[str, int] | None:
    """The expression as an index plus a number."""
    if isinstance(e, Index):
        return e.role, 0
    if isinstance(e, Apply) and e.op in _CASTS:
        return _linear(e.operands[0])
    if isinstance(e, Apply) and e.op in (arith.AddiOp, arith.SubiOp):
        for a, b in (e.operands, e.operands[::-1])[: 2 if e.op is arith.AddiOp else 1]:
            found, number = _linear(a), number_in(b)
            if found is not None and isinstance(number, int):
                return found[0], found[1] + (number if e.op is arith.AddiOp else -number)
    return None


def _compared(e: Expression) -> tuple[int, int] | None:
    """The comparison as ``column - row <predicate> number``."""
    if not isinstance(e, Apply) or e.op is not arith.CmpiOp:
        return None
    predicate = dict(e.properties)["predicate"]
    assert isinstance(predicate, IntegerAttr)
    a, b = (_linear(o) for o in e.operands)
    if a is None or b is None or {a[0], b[0]} != {ROW, COLUMN}:
        return None
    code = predicate.value.data
    if a[0] == ROW:
        a, b = b, a
        code = {_LESS: _GREATER, _LESS_EQUAL: _GREATER_EQUAL, _GREATER: _LESS, _GREATER_EQUAL: _LESS_EQUAL}.get(code, code)
    return code, b[1] - a[1]


def _distance(e: Expression) -> int | None:
    """The last ``column - row`` on this side of a comparison."""
    found = _compared(e)
    if found is None:
        return None
    code, number = found
    return {_LESS: number - 1, _LESS_EQUAL: number, _GREATER: number + 1, _GREATER_EQUAL: number}.get(code)


def _simplified(e: Expression, made: Expressions, low: float, high: float) -> Expression | None:
    """What is known of an expression where low <= column - row <= high."""
    if not isinstance(e, Apply):
        return None
    compared = _compared(e)
    if compared is not None:
        code, number = compared
        truth = {
            _LESS: (high < number, low >= number), _LESS_EQUAL: (high <= number, low > number),
            _GREATER: (low > number, high <= number), _GREATER_EQUAL: (low >= number, high < number),
        }.get(code, (False, False))  # fmt: skip
        return made.truth(truth[0]) if any(truth) else None
    if e.type == i1:
        return _simplified_truth(e, made)
    if e.op is arith.SelectOp:
        for value, way in ((True, e.operands[1]), (False, e.operands[2])):
            if is_truth(e.operands[0], value):
                return way
    numbers = [number_in(o) for o in e.operands]
    if e.op is arith.MulfOp and 0 in numbers:
        return made.number(FloatAttr(0.0, e.type), e.type)
    if e.op in (arith.AddfOp, arith.SubfOp) and numbers[0] == -inf:
        return e.operands[0]
    if e.op is arith.AddfOp and numbers[1] == -inf:
        return e.operands[1]
    if e.op is math.ExpOp and numbers[0] == -inf:
        return made.number(FloatAttr(0.0, e.type), e.type)
    return None


def _simplified_truth(e: Apply, made: Expressions) -> Expression | None:
    a, *rest = e.operands
    if e.op is arith.SelectOp:
        return next((w for value, w in ((True, rest[0]), (False, rest[1])) if is_truth(a, value)), None)
    if len(rest) != 1:
        return None
    pairs = ((a, rest[0]), (rest[0], a))
    if e.op is arith.AndIOp:
        return next((x if is_truth(x, False) else y for x, y in pairs if is_truth(x, False) or is_truth(x, True)), None)
    if e.op is arith.OrIOp:
        return next((x if is_truth(x, True) else y for x, y in pairs if is_truth(x, False) or is_truth(x, True)), None)
    if e.op is arith.XOrIOp and number_in(a) is not None and number_in(rest[0]) is not None:
        return made.truth(bool(number_in(a)) != bool(number_in(rest[0])))
    return None
