"""Sorting short rows of 32-bit elements by rank: where an element goes is how many come before it. A row of n takes n * n comparisons without
a branch, as many at a time as a vector has lanes of 64 bits: that is less than the branches of a merge cost, which nobody foresees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import Float32Type, IntegerAttr, i1, i32, i64
from xdsl.ir import Attribute, SSAValue

from ..dialects.sizes import Size
from ..dialects.target import Target
from .loop_builder import NO_OVERFLOW, vector_of
from .memory_plan import aligned
from .ordered_keys import index_of, ordered_key, word_of

if TYPE_CHECKING:
    from .irregular import _Kernel

LONGEST = 127
"""Longer rows are sorted by digits, or merged."""
_LESS = 2  # arith.cmpi slt


def sorts_by_rank(element: Attribute, length: int, target: Target) -> bool:
    """Whether rows of this element type and length are sorted this way."""
    return (element == i32 or isinstance(element, Float32Type)) and not isinstance(length, Size) and 0 < length <= LONGEST and target.lanes(8) > 1


class RankSort:
    """Writes the ranks of one row into working memory that begins at ``base``: `scratch_bytes` of it."""

    def __init__(self, kernel: _Kernel, base: SSAValue, length: int, descending: bool) -> None:
        self.kernel, self.b, self.length, self.descending = kernel, kernel.b, length, descending
        self.lanes = kernel.target.lanes(8)
        padded = -(-length // self.lanes) * self.lanes
        self.words = kernel.view(i64, base, padded)
        self._ranks = kernel.view(i64, self.b.plus(base, aligned(8 * padded)), padded)
        self.padded = padded

    @staticmethod
    def scratch_bytes(length: int, target: Target) -> int:
        """Working memory of one row."""
        lanes = target.lanes(8)
        return 2 * aligned(8 * (-(-length // lanes) * lanes))

    def rank(self, start: SSAValue, stride: int) -> None:
        """Of the row of x[0] that begins at start: how many elements of it come before each."""
        kernel, b = self.kernel, self.b
        with kernel.loop(0, self.length) as k:
            value = kernel.load(kernel.x[0], kernel.at((start, 1), (k, stride)))
            kernel.store(word_of(kernel, ordered_key(kernel, value, self.descending), k), self.words, k)
        wide = vector_of(i64, self.lanes)
        zero, one = (b.splat(IntegerAttr(n, i64), wide) for n in (0, 1))
        with kernel.loop(0, self.padded, self.lanes) as k:
            own = kernel.load(self.words, k, self.lanes)
            j, (count,) = b.open_for(b.index(0), b.index(self.length), 1, [zero])
            other = b.broadcast(kernel.load(self.words, j), self.lanes)
            before = b.emit(arith.CmpiOp, (other, own), vector_of(i1, self.lanes), {"predicate": IntegerAttr(_LESS, i64)})
            more = b.emit(arith.SelectOp, (before, one, zero), wide)
            (count,) = b.close_for([b.emit(arith.AddiOp, (count, more), wide, NO_OVERFLOW)])
            kernel.store(count, self._ranks, k, self.lanes)

    def place(self, k: SSAValue) -> SSAValue:
        """Where the row's element k goes, an index."""
        return index_of(self.kernel, self.kernel.load(self._ranks, k))
