"""Sorting rows of 32- and 64-bit elements by digits of an ordered key, from the lowest; each pass keeps the order of equal digits.

What is moved is the key and its place in the row: one 64-bit word where the key has 32 bits, else two arrays. A digit that all elements
share moves nothing: its pass is left out, which is most of them where 64-bit integers are small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import Float32Type, Float64Type, IntegerAttr, IntegerType, i32, i64
from xdsl.ir import Attribute, SSAValue

from .loop_builder import INDEX, NO_OVERFLOW
from .memory_plan import aligned
from .ordered_keys import ordered_key

if TYPE_CHECKING:
    from .irregular import _Kernel

DIGIT_BITS = 8
BUCKETS = 1 << DIGIT_BITS
SHORTEST = 128
"""Shorter rows are merged: the counts of the digits would cost more than the row."""
KEYS: dict[Attribute, IntegerType] = {Float32Type(): i32, i32: i32, Float64Type(): i64, i64: i64}
"""The element types sorted by digits, and the integers of their keys."""


def sorts_by_digits(element: Attribute, length: int) -> bool:
    """Whether rows of this element type and length are sorted this way."""
    return element in KEYS and SHORTEST <= length < 1 << 31


def scratch_bytes(element: Attribute, length: int) -> int:
    """Working memory of one row: two rows of words, two of places if those are not in the words, and the counts of every digit."""
    width = KEYS[element].width.data
    places = aligned(2 * length * 4) if width == 64 else 0
    return aligned(2 * length * 8) + places + aligned(width // DIGIT_BITS * BUCKETS * 8)


class RadixSort:
    """Writes the sorting of one row; ``base`` is where its working memory begins in the scratch argument."""

    def __init__(self, kernel: _Kernel, base: SSAValue, length: int) -> None:
        self.kernel, self.b, self.length = kernel, kernel.b, length
        self.key_type = KEYS[kernel.element(0)]
        self.width = self.key_type.width.data
        self.digits = self.width // DIGIT_BITS
        self.words = kernel.view(i64, base, 2 * length)
        end = aligned(2 * length * 8)
        self.places: SSAValue | None = None
        if self.width == 64:
            self.places = kernel.view(i32, self.b.plus(base, end), 2 * length)
            end += aligned(2 * length * 4)
        self.counts = kernel.view(i64, self.b.plus(base, end), self.digits * BUCKETS)

    def write(self, start: SSAValue, stride: int) -> None:
        """Sorts the row of x[0] that begins at start into y[0], its order into y[1]."""
        kernel, b = self.kernel, self.b
        with kernel.loop(0, self.digits * BUCKETS) as k:
            kernel.store(self._number(0, i64), self.counts, k)
        with kernel.loop(0, self.length) as k:
            word = self._word(self._key(kernel.load(kernel.x[0], kernel.at((start, 1), (k, stride)))), k)
            kernel.store(word, self.words, k)
            for digit in range(self.digits):
                self._next_place(word, digit)
        source = b.index(0)
        for digit in range(self.digits):
            source = self._pass(digit, source)
        with kernel.loop(0, self.length) as k:
            at = b.add(source, k)
            if self.places is None:
                low = self._bits(arith.AndIOp, kernel.load(self.words, at), self._number((1 << 32) - 1, i64))
            else:
                low = self._wide(kernel.load(self.places, at))
            place = b.emit(arith.IndexCastOp, (low,), INDEX)
            to = kernel.at((start, 1), (k, stride))
            kernel.store(kernel.load(kernel.x[0], kernel.at((start, 1), (place, stride))), kernel.y[0], to)
            kernel.store(low, kernel.y[1], to)

    def _word(self, key: SSAValue, k: SSAValue) -> SSAValue:
        """What is moved for the element k; its place is kept beside it where the word has no room."""
        b = self.b
        if self.places is not None:
            self.kernel.store(b.emit(arith.IndexCastOp, (k,), i32), self.places, k)
            return key
        high = self._bits(arith.ShLIOp, self._wide(key), self._number(32, i64))
        return self._bits(arith.OrIOp, high, b.emit(arith.IndexCastOp, (k,), i64))

    def _pass(self, digit: int, source: SSAValue) -> SSAValue:
        """Counts become first places, then every word goes to the next place of its digit. Returns where the words begin."""
        kernel, b = self.kernel, self.b
        zero = self._number(0, i64)
        k, (place, most) = b.open_for(b.index(0), b.index(BUCKETS), 1, [zero, zero])
        at = b.plus(k, digit * BUCKETS)
        count = kernel.load(self.counts, at)
        kernel.store(place, self.counts, at)
        ended = b.close_for([b.emit(arith.AddiOp, (place, count), i64, NO_OVERFLOW), self._bits(arith.MaxSIOp, most, count)])
        differ = kernel.compare("less", ended[1], self._number(self.length, i64))
        times = b.emit(arith.SelectOp, (differ, b.index(1), b.index(0)), INDEX)
        target = b.emit(arith.SubiOp, (b.index(self.length), source), INDEX)
        with kernel.loop(0, times), kernel.loop(0, self.length) as k:
            from_ = b.add(source, k)
            word = kernel.load(self.words, from_)
            to = b.add(target, b.emit(arith.IndexCastOp, (self._next_place(word, digit),), INDEX))
            kernel.store(word, self.words, to)
            if self.places is not None:
                kernel.store(kernel.load(self.places, from_), self.places, to)
        return b.emit(arith.SelectOp, (differ, target, source), INDEX)

    def _next_place(self, word: SSAValue, digit: int) -> SSAValue:
        """What the count of the word's digit was, before it is one more."""
        kernel, b = self.kernel, self.b
        shifted = self._bits(arith.ShRUIOp, word, self._number(64 - self.width + digit * DIGIT_BITS, i64))
        bucket = self._bits(arith.AndIOp, shifted, self._number(BUCKETS - 1, i64))
        at = b.plus(b.emit(arith.IndexCastOp, (bucket,), INDEX), digit * BUCKETS)
        count = kernel.load(self.counts, at)
        more = b.emit(arith.AddiOp, (count, self._number(1, i64)), i64, NO_OVERFLOW)
        kernel.store(more, self.counts, at)
        return count

    def _key(self, value: SSAValue) -> SSAValue:
        """An integer that orders, read without sign, as the values do; NaN is the largest, and -0.0 is 0.0."""
        top = self._number(-(1 << self.width - 1), self.key_type)
        return self._bits(arith.XOrIOp, ordered_key(self.kernel, value, self.kernel.flag("descending")), top)

    def _bits(self, op: type, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.b.emit(op, (a, b), a.type)

    def _wide(self, key: SSAValue) -> SSAValue:
        return self.b.emit(arith.ExtUIOp, (key,), i64)

    def _number(self, value: int, kind: Attribute) -> SSAValue:
        return self.b.constant(IntegerAttr(value, kind), kind)
