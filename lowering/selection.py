"""The best few of every row: a short sorted list, and a walk along the row that stops only where something may enter it.

What enters goes down the list, each step keeping the better element and carrying the other on; of equal ones the first wins. Of float32
the list holds words, an ordered key and a place; smaller ones are better. There a vector of keys is compared with the last word as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, VectorType, f32, i1, i32, i64
from xdsl.ir import Attribute, Operation, SSAValue

from .loop_builder import INDEX, NO_OVERFLOW
from .memory_plan import aligned
from .ordered_keys import index_of, ordered_key, place_of, word_of
from .rank_sort import RankSort, sorts_by_rank

if TYPE_CHECKING:
    from .irregular import _Kernel

PLAIN: dict[str, Attribute] = {"fastmath": arith.FastMathFlagsAttr("none")}
SHORT = 64
"""Rows of at most so many elements are sorted as a whole."""
LAST = (1 << 63) - 1
"""The word of a place in the list that is still free."""


def top(kernel: _Kernel) -> None:
    """The kernel of `topk`."""
    *outer, length = kernel.inputs[0].get_shape()
    rows = 1
    for size in outer:
        rows *= size
    count, b = kernel.outputs[0].get_shape()[-1], kernel.b
    if sorts_by_rank(kernel.element(0), length, kernel.target) and length <= SHORT:
        _by_rank(kernel, rows, count, length)
        return
    held = aligned(8 * count)
    of_words = kernel.element(0) == f32
    kernel.claim((1 if of_words else 2) * held * kernel.target.tasks)
    with kernel.rows(rows, 2 * length) as row:
        base = b.index(0) if kernel.task is None else b.scaled(kernel.task, (1 if of_words else 2) * held)
        places = kernel.view(i64, base, count)
        if of_words:
            _Words(kernel, places, count, length).write(row)
        else:
            _elements(kernel, places, kernel.view(kernel.element(0), b.plus(base, held), count), length, row)


def _by_rank(kernel: _Kernel, rows: int, count: int, length: int) -> None:
    """Short rows are sorted as a whole; the first of them are the result."""
    b, ranked = kernel.b, RankSort.scratch_bytes(length, kernel.target)
    row_bytes = ranked + aligned(8 * length)
    kernel.claim(row_bytes * kernel.target.tasks)
    with kernel.rows(rows, length * length // 4) as row:
        base = b.index(0) if kernel.task is None else b.scaled(kernel.task, row_bytes)
        start, ranks = b.scaled(row, length), RankSort(kernel, base, length, kernel.flag("largest"))
        order = kernel.view(i64, b.plus(base, ranked), length)
        ranks.rank(start, 1)
        with kernel.loop(0, length) as k:
            kernel.store(b.emit(arith.IndexCastOp, (k,), i64), order, ranks.place(k))
        with kernel.loop(0, count) as k:
            place, to = kernel.load(order, k), b.add(b.scaled(row, count), k)
            kernel.store(kernel.load(kernel.x[0], b.add(start, index_of(kernel, place))), kernel.y[0], to)
            kernel.store(place, kernel.y[1], to)


def _elements(kernel: _Kernel, places: SSAValue, values: SSAValue, length: int, row: SSAValue) -> None:
    """Any element type, one element after the other; a negative place in the list is free."""
    b, start, count = kernel.b, kernel.b.scaled(row, length), values.type.get_shape()[0]
    largest, unsigned = kernel.flag("largest"), kernel.is_unsigned(0)
    zero, free = (b.constant(IntegerAttr(k, i64), i64) for k in (0, -1))

    def enters(value: SSAValue, at: SSAValue) -> SSAValue:
        better = kernel.before(value, kernel.load(values, at), largest, unsigned)
        return kernel.either(better, kernel.compare("less", kernel.load(places, at), zero))

    with kernel.loop(0, count) as k:
        kernel.store(free, places, k)
        kernel.store(kernel.load(kernel.x[0], start), values, k)
    with kernel.loop(0, length) as k:
        value = kernel.load(kernel.x[0], b.add(start, k))
        once = b.emit(arith.SelectOp, (enters(value, b.index(count - 1)), b.index(1), b.index(0)), INDEX)
        with kernel.loop(0, once):
            no = b.constant(IntegerAttr(0, i1), i1)
            j, (*carried, entered) = b.open_for(b.index(0), b.index(count), 1, [value, b.emit(arith.IndexCastOp, (k,), i64), no])
            takes = kernel.either(entered, enters(carried[0], j))
            held = [kernel.load(values, j), kernel.load(places, j)]
            for new, old, memory in zip(carried, held, (values, places), strict=True):
                kernel.store(kernel.select(takes, new, old), memory, j)
            b.close_for([*[kernel.select(takes, old, new) for new, old in zip(carried, held, strict=True)], takes])
    with kernel.loop(0, count) as k:
        to = b.add(b.scaled(row, count), k)
        kernel.store(kernel.load(values, k), kernel.y[0], to)
        kernel.store(kernel.load(places, k), kernel.y[1], to)


class _Words:
    def __init__(self, kernel: _Kernel, words: SSAValue, count: int, length: int) -> None:
        self.kernel, self.b, self.words, self.count, self.length = kernel, kernel.b, words, count, length
        self.largest = kernel.flag("largest")
        self.lanes = kernel.target.lanes(4)

    def write(self, row: SSAValue) -> None:
        """Fills the list, then reads values and places from it."""
        kernel, b = self.kernel, self.b
        start = b.scaled(row, self.length)
        with kernel.loop(0, self.count) as k:
            kernel.store(self._number(LAST, i64), self.words, k)
        whole = self.length - self.length % self.lanes
        if self.lanes > 1:
            with kernel.loop(0, whole, self.lanes) as k:
                enters = self._may_enter(kernel.load(kernel.x[0], b.add(start, k), self.lanes))
                with kernel.loop(0, self._times(enters)):
                    self._walk(start, k, b.plus(k, self.lanes))
        self._walk(start, b.index(whole if self.lanes > 1 else 0), b.index(self.length))
        with kernel.loop(0, self.count) as k:
            place = place_of(kernel, kernel.load(self.words, k))
            value = kernel.load(kernel.x[0], b.add(start, index_of(kernel, place)))
            to = b.add(b.scaled(row, self.count), k)
            kernel.store(value, kernel.y[0], to)
            kernel.store(place, kernel.y[1], to)

    def _last(self) -> SSAValue:
        return self.kernel.load(self.words, self.b.index(self.count - 1))

    def _may_enter(self, values: SSAValue) -> SSAValue:
        """Whether the best of some values beats the list's last one, or there is room."""
        best, last = ordered_key(self.kernel, values, self.largest), self._last()
        while (half := best.type.get_shape()[0] // 2) >= 1:
            low, high = (self.b.shuffled(best, range(k, k + half)) for k in (0, half))
            best = self.b.emit(arith.MinSIOp, (low, high), low.type)
        best = self.b.extract(best, 0)
        worst = self.b.emit(arith.TruncIOp, (self._emit(arith.ShRSIOp, last, self._number(32, i64)),), i32)
        return self.kernel.either(self._less(best, worst), self._compare(0, last, self._number(LAST, i64)))

    def _walk(self, start: SSAValue, low: SSAValue, high: SSAValue) -> None:
        """One element after the other."""
        kernel, b = self.kernel, self.b
        with kernel.loop(low, high) as k:
            word = word_of(kernel, ordered_key(kernel, kernel.load(kernel.x[0], b.add(start, k)), self.largest), k)
            with kernel.loop(0, self._times(self._less(word, self._last()))):
                j, (carried,) = b.open_for(b.index(0), b.index(self.count), 1, [word])
                held = kernel.load(self.words, j)
                kernel.store(self._emit(arith.MinSIOp, held, carried), self.words, j)
                b.close_for([self._emit(arith.MaxSIOp, held, carried)])

    def _times(self, condition: SSAValue) -> SSAValue:
        """1 or 0: how often a loop runs whose body is a branch."""
        return self.b.emit(arith.SelectOp, (condition, self.b.index(1), self.b.index(0)), INDEX)

    def _less(self, a: SSAValue, c: SSAValue) -> SSAValue:
        return self._compare(2, a, c)

    def _compare(self, predicate: int, a: SSAValue, c: SSAValue) -> SSAValue:
        return self.b.emit(arith.CmpiOp, (a, c), i1, {"predicate": IntegerAttr(predicate, i64)})

    def _emit(self, op: type[Operation], a: SSAValue, c: SSAValue) -> SSAValue:
        return self.b.emit(op, (a, c), a.type, NO_OVERFLOW if op is arith.ShLIOp else None)

    def _number(self, value: int, kind: Attribute) -> SSAValue:
        element = kind.element_type if isinstance(kind, VectorType) else kind
        return self._constant(IntegerAttr(value, element), kind)

    def _constant(self, value: Attribute, kind: Attribute) -> SSAValue:
        return self.b.splat(value, kind) if isinstance(kind, VectorType) else self.b.constant(value, kind)
