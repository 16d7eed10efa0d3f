"""A contraction's products by vectors that add those of a whole word of depths to each sum at once.

    for word: sums += dot(broadcast(row[word]), panel[word])

Bytes are multiplied with and without sign. Where both sides have one, or neither, 128 is added to the rows' bytes (taken away) as they are
copied, and what that adds to a column's sums is summed beside them: 128 times the panel.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import i8, i16, i32
from xdsl.ir import SSAValue

from ..dialects.kernel import DotOp, LoadWordsOp
from .contraction_match import Contraction, Factor
from .contraction_problem import Dim
from .contraction_bounds import Bounds
from .contraction_tile import Memory, Place, Shape, Tile
from .loop_writer import Address, LoopWriter, number_attr
from .tile_kind import TileKind, narrowing

BIAS = -0x7F7F7F80
"""128 in each byte of a word."""


class DotTile(Tile):
    """Writes tiles of one contraction."""

    def __init__(self, writer: LoopWriter, contraction: Contraction, memory: Sequence[Memory], kind: TileKind) -> None:
        super().__init__(writer, contraction, memory)
        self.kind, self.sum_type = kind, kind.total

    def converted(self, value: SSAValue, factor: Factor) -> SSAValue:
        """A factor's element after its casts, as far as they narrow it to what is multiplied; bytes that are multiplied as integers of
        16 bits are widened."""
        if self.kind.element == i16:
            widened = arith.ExtUIOp if factor.casts and isinstance(factor.casts[0], arith.ExtUIOp) else arith.ExtSIOp
            return self.writer.value(widened.create(operands=(value,), result_types=(self._like(value, i16),)))
        return self.cast(value, narrowing(factor, self.kind.element))

    def zeros(self, shape: Shape) -> list[SSAValue]:
        """The accumulators of nothing, and behind them those of what a bias adds to each column."""
        zeros = super().zeros(shape)
        return zeros + zeros[:1] * (shape.vectors if self.kind.biased else 0)

    def sums(
        self, place: Place, shape: Shape, reduction: Sequence[Dim], bounds: Sequence[Bounds | None], fetched: Address | None,
        before: Sequence[SSAValue] = (),
    ) -> list[SSAValue]:
        found = super().sums(place, shape, reduction, bounds, fetched, before)
        if not self.kind.biased:
            return found
        sums, added = found[: -shape.vectors], found[-shape.vectors :]
        return [self.writer.binary(arith.SubiOp, total, added[k % shape.vectors]) for k, total in enumerate(sums)]

    def _step(self, a: Address, b: Address, shape: Shape, rows: list[int], sums: list[SSAValue]) -> list[SSAValue]:
        """A word of every row times every vector of the panel."""
        w, lanes = self.writer, shape.lanes
        places = shape.places or range(0, shape.vectors * lanes, lanes)
        panel = [self._words(shape.columns, b + place * self.kind.group, lanes) for place in places]
        out: list[SSAValue] = []
        for offset in (*rows, *([None] if self.kind.biased else [])):
            row = w.splat(number_attr(BIAS, i32), lanes) if offset is None else w.broadcast(self._words(shape.scalars, a + offset), lanes)
            out += [self._dot(row, column, sums[len(out) + j]) for j, column in enumerate(panel)]
        return out

    def _words(self, access: int, at: Address, lanes: int = 0) -> SSAValue:
        held = self.writer.vector_type(i32, lanes) if lanes else i32
        return self.writer.value(LoadWordsOp.create(operands=(self.memory[access].buffer, self.writer.at(at)), result_types=(held,)))

    def _dot(self, row: SSAValue, column: SSAValue, total: SSAValue) -> SSAValue:
        if self.kind.element != i8:
            return self.writer.value(DotOp.of(str(self.kind.element), row, column, total))
        unsigned = self.kind.unsigned[0] != self.kind.biased  # a bias turns the rows' signs
        return self.writer.value(DotOp.of("u8s8", *((row, column) if unsigned else (column, row)), total))
