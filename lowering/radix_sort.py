"""Sorting rows of 32-bit elements by digits: every element becomes a 64-bit word of an ordered key and its place in the row.

Words are moved by one digit of the key after the other, from the lowest; each pass keeps the order of equal digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import Float32Type, FloatAttr, IntegerAttr, i32, i64
from xdsl.ir import Attribute, SSAValue

from .loop_builder import INDEX, NO_OVERFLOW
from .memory_plan import aligned

if TYPE_CHECKING:
    from .irregular import _Kernel

DIGIT_BITS = 8
DIGITS = 32 // DIGIT_BITS
BUCKETS = 1 << DIGIT_BITS
SHORTEST = 128
"""Shorter rows are merged: the counts of the digits would cost more than the row."""


def sorts_by_digits(element: Attribute, length: int) -> bool:
    """Whether rows of this element type and length are sorted this way."""
    return element in (Float32Type(), i32) and SHORTEST <= length < 1 << 31


def scratch_bytes(length: int) -> int:
    """Working memory of one row: two rows of words, and the counts of every digit."""
    return aligned(2 * length * 8) + aligned(DIGITS * BUCKETS * 8)


class RadixSort:
    """Writes the sorting of one row; ``base`` is where its working memory begins in the scratch argument."""

    def __init__(self, kernel: _Kernel, base: SSAValue, length: int) -> None:
        self.kernel, self.b, self.length = kernel, kernel.b, length
        self.words = kernel.view(i64, base, 2 * length)
        self.counts = kernel.view(i64, self.b.plus(base, aligned(2 * length * 8)), DIGITS * BUCKETS)

    def write(self, start: SSAValue, stride: int) -> None:
        """Sorts the row of x[0] that begins at start into y[0], its order into y[1]."""
        kernel, b = self.kernel, self.b
        with kernel.loop(0, DIGITS * BUCKETS) as k:
            kernel.store(self._number(0, i64), self.counts, k)
        with kernel.loop(0, self.length) as k:
            key = self._key(kernel.load(kernel.x[0], kernel.at((start, 1), (k, stride))))
            high = self._bits(arith.ShLIOp, self._wide(key), self._number(32, i64))
            word = self._bits(arith.OrIOp, high, b.emit(arith.IndexCastOp, (k,), i64))
            kernel.store(word, self.words, k)
            for digit in range(DIGITS):
                self._next_place(word, digit)
        for digit in range(DIGITS):
            self._pass(digit)
        with kernel.loop(0, self.length) as k:
            low = self._bits(arith.AndIOp, kernel.load(self.words, k), self._number((1 << 32) - 1, i64))
            place = b.emit(arith.IndexCastOp, (low,), INDEX)
            to = kernel.at((start, 1), (k, stride))
            kernel.store(kernel.load(kernel.x[0], kernel.at((start, 1), (place, stride))), kernel.y[0], to)
            kernel.store(low, kernel.y[1], to)

    def _pass(self, digit: int) -> None:
        """Counts become first places, then every word goes to the next place of its digit."""
        kernel, b = self.kernel, self.b
        k, (place,) = b.open_for(b.index(0), b.index(BUCKETS), 1, [self._number(0, i64)])
        at = b.plus(k, digit * BUCKETS)
        count = kernel.load(self.counts, at)
        kernel.store(place, self.counts, at)
        b.close_for([b.emit(arith.AddiOp, (place, count), i64, NO_OVERFLOW)])
        source, target = (0, self.length) if digit % 2 == 0 else (self.length, 0)
        with kernel.loop(0, self.length) as k:
            word = kernel.load(self.words, b.plus(k, source))
            to = b.emit(arith.IndexCastOp, (self._next_place(word, digit),), INDEX)
            kernel.store(word, self.words, b.plus(to, target))

    def _next_place(self, word: SSAValue, digit: int) -> SSAValue:
        """What the count of the word's digit was, before it is one more."""
        kernel, b = self.kernel, self.b
        shifted = self._bits(arith.ShRUIOp, word, self._number(32 + digit * DIGIT_BITS, i64))
        bucket = self._bits(arith.AndIOp, shifted, self._number(BUCKETS - 1, i64))
        at = b.plus(b.emit(arith.IndexCastOp, (bucket,), INDEX), digit * BUCKETS)
        count = kernel.load(self.counts, at)
        more = b.emit(arith.AddiOp, (count, self._number(1, i64)), i64, NO_OVERFLOW)
        kernel.store(more, self.counts, at)
        return count

    def _key(self, value: SSAValue) -> SSAValue:
        """An i32 that orders, read without sign, as the values do; NaN is the largest, and -0.0 is 0.0."""
        kernel, b = self.kernel, self.b
        top = self._number(-(1 << 31), i32)
        if value.type == i32:
            key = self._bits(arith.XOrIOp, value, top)
        else:
            zero = b.constant(FloatAttr(0.0, value.type), value.type)
            bits = b.emit(arith.BitcastOp, (kernel.combine(value, zero),), i32)
            sign = self._bits(arith.ShRSIOp, bits, self._number(31, i32))
            key = self._bits(arith.XOrIOp, bits, self._bits(arith.OrIOp, sign, top))
            key = kernel.select(kernel.compare("nan", value, value), self._number(-1, i32), key)
        return self._bits(arith.XOrIOp, key, self._number(-1, i32)) if kernel.flag("descending") else key

    def _bits(self, op: type, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.b.emit(op, (a, b), a.type)

    def _wide(self, key: SSAValue) -> SSAValue:
        return self.b.emit(arith.ExtUIOp, (key,), i64)

    def _number(self, value: int, kind: Attribute) -> SSAValue:
        return self.b.constant(IntegerAttr(value, kind), kind)
