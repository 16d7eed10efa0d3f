"""Where rows or columns are largest or smallest, a vector of them at a time.

Every lane keeps the best value it has seen and where that was. Along a row the lanes are compared with each other behind it: of equal
values the first wins, a NaN over everything, as in the scalar loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import Float32Type, Float64Type, IntegerAttr, IntegerType, i1, i32, i64
from xdsl.ir import SSAValue

from .loop_builder import vector_of
from .memref_layout import element_bytes

if TYPE_CHECKING:
    from .irregular import _Kernel

PLAIN = {"fastmath": arith.FastMathFlagsAttr("none")}
EQUAL, GREATER, LESS, ORDERED, GREATER_OR_NAN, LESS_OR_NAN, NAN = 1, 2, 4, 7, 9, 11, 14
INTEGER_EQUAL, INTEGER_LESS, INTEGER_GREATER = 0, 2, 4
CHAINS = 4
"""Vectors side by side, whose compares do not wait for each other."""

State = tuple[SSAValue, SSAValue]
"""The best values, and where they are."""


def first_extreme(kernel: _Kernel, outer: int, length: int, inner: int, largest: bool) -> bool:
    """Writes the kernel of argmax or argmin; False where vectors do not fit: narrow elements, short rows."""
    element = kernel.element(0)
    lanes = kernel.target.lanes(element_bytes(element))
    if lanes == 1 or not isinstance(element, Float32Type | Float64Type) and element not in (i32, i64):
        return False
    if (length if inner == 1 else inner) < lanes or length >= 1 << 31:
        return False
    writer = _Extremes(kernel, length, inner, lanes, largest)
    if inner == 1:
        with kernel.rows(outer, length) as row:
            writer.row(row)
        return True
    width = lanes * min(CHAINS, inner // lanes)
    blocks = -(-inner // width)
    with kernel.rows(outer * blocks, length * width) as task:
        o, block = kernel.b.divided(task, blocks) if blocks > 1 else (task, kernel.b.index(0))
        writer.columns(o, kernel.b.minimum(kernel.b.scaled(block, width), kernel.b.index(inner - width)), width // lanes)
    return True


class _Extremes:
    def __init__(self, kernel: _Kernel, length: int, inner: int, lanes: int, largest: bool) -> None:
        self.kernel, self.b = kernel, kernel.b
        self.length, self.inner, self.lanes, self.largest = length, inner, lanes, largest
        self.element = kernel.element(0)
        self.place = IntegerType(8 * element_bytes(self.element))
        self.mask = vector_of(i1, lanes)

    def row(self, row: SSAValue) -> None:
        """Lanes along the row, several vectors at a time, then one by one; the last one is moved back so that it fits."""
        b, lanes = self.b, self.lanes
        start = b.scaled(row, self.length)
        chains = min(CHAINS, self.length // lanes)
        step = chains * lanes
        state = [self._at(start, b.index(c * lanes)) for c in range(chains)]
        k, carried = b.open_for(b.index(step), b.index(self.length - self.length % step), step, [v for s in state for v in s])
        after = [self._better(s, self._at(start, b.plus(k, c * lanes))) for c, s in enumerate(_pairs(carried))]
        state = _pairs(b.close_for([v for s in after for v in s]))
        k, carried = b.open_for(b.index(self.length - self.length % step), b.index(self.length), lanes, state[0])
        last = self._at(start, b.minimum(k, b.index(self.length - lanes)))
        best = tuple(b.close_for(self._better(tuple(carried), last)))
        for other in state[1:]:
            best = self._first(best, other)
        while (half := best[0].type.get_shape()[0] // 2) >= 1:
            low, high = ((b.shuffled(best[0], m), b.shuffled(best[1], m)) for m in (range(half), range(half, 2 * half)))
            best = self._first(low, high)
        self._store(b.extract(best[1], 0), row, 1)

    def columns(self, o: SSAValue, column: SSAValue, vectors: int) -> None:
        """Lanes along columns that lie side by side."""
        b, lanes = self.b, self.lanes
        start = b.add(b.scaled(o, self.length * self.inner), column)

        def here(k: SSAValue, c: int) -> State:
            at = b.plus(b.add(start, b.scaled(k, self.inner)), c * lanes)
            return self.kernel.load(self.kernel.x[0], at, lanes), b.broadcast(self._number(k), lanes)

        state = [v for c in range(vectors) for v in here(b.index(0), c)]
        k, carried = b.open_for(b.index(1), b.index(self.length), 1, state)
        after = [self._better(s, here(k, c)) for c, s in enumerate(_pairs(carried))]
        state = b.close_for([v for s in after for v in s])
        for c, (_, where) in enumerate(_pairs(state)):
            self._store(where, b.plus(b.add(b.scaled(o, self.inner), column), c * lanes), lanes)

    def _at(self, start: SSAValue, k: SSAValue) -> State:
        where = self.b.integer_add(self.b.broadcast(self._number(k), self.lanes), self.b.counting_vector(self.place, self.lanes))
        return self.kernel.load(self.kernel.x[0], self.b.add(start, k), self.lanes), where

    def _number(self, k: SSAValue) -> SSAValue:
        return self.b.emit(arith.IndexCastOp, (k,), self.place)

    def _store(self, where: SSAValue, at: SSAValue, width: int) -> None:
        """Writes places as i64, at most as many at a time as a register holds."""
        b = self.b
        if self.place == i64:
            self.kernel.store(where, self.kernel.y[0], at, width)
        elif width == 1:
            self.kernel.store(b.emit(arith.ExtSIOp, (where,), i64), self.kernel.y[0], at)
        else:
            half = width // 2
            for first in (0, half):
                part = b.shuffled(where, range(first, first + half)) if half > 1 else b.extract(where, first)
                part = b.emit(arith.ExtSIOp, (part,), i64 if half == 1 else vector_of(i64, half))
                self.kernel.store(part, self.kernel.y[0], b.plus(at, first), half)

    # Comparisons

    def _better(self, best: State, new: State) -> State:
        """What was found later only where it is strictly better."""
        takes = self._float(GREATER_OR_NAN if self.largest else LESS_OR_NAN, new[0], best[0]) if self._floats() else self._strictly(new[0], best[0])
        if self._floats():
            takes = self._and(takes, self._float(ORDERED, best[0], best[0]))
        return self._selected(takes, new, best)

    def _first(self, a: State, c: State) -> State:
        """The better one of each lane; of equal ones, that which comes first."""
        better, equal = self._strictly(c[0], a[0]), self._equal(a[0], c[0])
        earlier = self._integer(INTEGER_LESS, c[1], a[1])
        return self._selected(self._or(better, self._and(equal, earlier)), c, a)

    def _strictly(self, a: SSAValue, c: SSAValue) -> SSAValue:
        """Whether a beats c."""
        if not self._floats():
            return self._integer(INTEGER_GREATER if self.largest else INTEGER_LESS, a, c)
        real = self._float(GREATER if self.largest else LESS, a, c)
        return self._or(real, self._and(self._float(NAN, a, a), self._float(ORDERED, c, c)))

    def _equal(self, a: SSAValue, c: SSAValue) -> SSAValue:
        if not self._floats():
            return self._integer(INTEGER_EQUAL, a, c)
        return self._or(self._float(EQUAL, a, c), self._and(self._float(NAN, a, a), self._float(NAN, c, c)))

    def _floats(self) -> bool:
        return not isinstance(self.element, IntegerType)

    def _mask(self, a: SSAValue) -> object:
        return vector_of(i1, a.type.get_shape()[0])

    def _float(self, predicate: int, a: SSAValue, c: SSAValue) -> SSAValue:
        return self.b.emit(arith.CmpfOp, (a, c), self._mask(a), {"predicate": IntegerAttr(predicate, i64), **PLAIN})

    def _integer(self, predicate: int, a: SSAValue, c: SSAValue) -> SSAValue:
        return self.b.emit(arith.CmpiOp, (a, c), self._mask(a), {"predicate": IntegerAttr(predicate, i64)})

    def _and(self, a: SSAValue, c: SSAValue) -> SSAValue:
        return self.b.emit(arith.AndIOp, (a, c), a.type)

    def _or(self, a: SSAValue, c: SSAValue) -> SSAValue:
        return self.b.emit(arith.OrIOp, (a, c), a.type)

    def _selected(self, takes: SSAValue, a: State, c: State) -> State:
        return tuple(self.b.emit(arith.SelectOp, (takes, x, y), x.type) for x, y in zip(a, c, strict=True))


def _pairs(values: list[SSAValue]) -> list[State]:
    return list(zip(values[::2], values[1::2], strict=True))
