"""A contraction's products in tile registers: 16 x 16 sums each, 64 bytes of depths a step.

    amx.tile_config                      shapes of the registers, before tiles of one height
    sums = amx.tile_zero …
    for block: sums += rows[block] * columns[block]
    held = sums                          amx.tile_store, to memory of the thread, or to the result where that is all
    for row: epilogue(held[row])
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.dialects.builtin import ArrayAttr, BFloat16Type
from xdsl.ir import SSAValue

from ..dialects.amx import REGISTERS, ROWS, TileConfigOp, TileLoadOp, TileMulFOp, TileMulIOp, TileStoreOp, TileType, TileZeroOp
from .contraction_match import Contraction, Factor
from .contraction_covers import split
from .contraction_problem import Dim
from .contraction_bounds import Bounds
from .contraction_tile import Finish, Memory, Place, Shape, Tile
from .loop_writer import Address, LoopWriter
from .tile_packing import UNITS
from .tile_kind import TileKind, narrowing

TERMS = {1: ((0, 0),), 2: ((0, 1), (0, 0), (1, 0))}
"""By the number of parts: which of the rows' and of the columns' are multiplied."""

FIRST_RESULT = 2  # number of the access: both factors come before


class RegisterTile(Tile):
    """Writes tiles of one contraction."""

    asks = False

    def __init__(self, writer: LoopWriter, contraction: Contraction, memory: Sequence[Memory], kind: TileKind) -> None:
        super().__init__(writer, contraction, memory)
        self.kind, self.sum_type = kind, kind.total

    def converted(self, value: SSAValue, factor: Factor) -> SSAValue:
        """A factor's element after its casts, as far as they narrow it to what tiles hold."""
        return self.cast(value, narrowing(factor, self.kind.element))

    # -- shapes of the registers -------------------------------------------------------------------

    def begin(self, shapes: Sequence[Shape]) -> None:
        self.most = max(s.vectors for s in shapes)
        self.results = self.writer.buffer(self.sum_type, max(_rows(s) for s in shapes) * self.most * UNITS)
        heights = {_rows(s) for s in shapes}
        self.single = len(heights) == 1
        if self.single:
            self._configure(heights.pop())

    def prepare(self, shape: Shape) -> None:
        if not self.single:
            self._configure(_rows(shape))

    def finished(self, shape: Shape) -> Shape:
        """A row: sums leave the registers through memory, and it gets them from there."""
        return Shape((), shape.vectors, shape.lanes, shape.tail, shape.columns, shape.scalars)

    def _configure(self, rows: int) -> None:
        heights = self._heights(rows)
        tiles = [self._sum(h) for h in heights for _ in range(self.most)]
        factors = [*(self._left(h) for h in heights), *(self._right() for _ in range(self.most))]
        if len(heights) > self.most:  # the side of fewer tiles is kept, the other one's follow each other
            factors = [*factors[len(heights) :], *factors[: len(heights)]]
        while len(tiles) + len(factors) > REGISTERS:  # of those that follow each other, every height has one
            last = next(k for k in reversed(range(len(factors))) if factors[k] in factors[:k])
            del factors[last]
        tiles += factors
        self.writer.add(TileConfigOp(properties={"tiles": ArrayAttr(tiles)}))

    def _heights(self, rows: int) -> list[int]:
        return [t.size for t in split(rows, ROWS) for _ in range(t.count)]

    def _sum(self, height: int) -> TileType:
        return TileType.of(height, UNITS, self.kind.total)

    def _left(self, height: int) -> TileType:
        return TileType.of(height, self.kind.depth, self.kind.element)

    def _right(self) -> TileType:
        return TileType.of(UNITS, self.kind.depth, self.kind.element)

    # -- products ----------------------------------------------------------------------------------

    def product(
        self, place: Place, shape: Shape, reduction: Sequence[Dim], bounds: Sequence[Bounds | None], finish: Finish, partial: int | None,
        fetched: Address | None,
    ) -> None:
        w, heights = self.writer, self._heights(_rows(shape))
        zeros = [w.value(TileZeroOp.create(result_types=(self._sum(h),))) for h in heights for _ in range(shape.vectors)]
        sums = self._reduced(place[shape.scalars], place[shape.columns], shape, heights, list(reduction), list(bounds), zeros)
        whole = self._plain_result(shape) if partial is None else partial
        memory, at, step = self.results, Address(), shape.vectors * UNITS
        if whole is not None:
            buffer = self.memory[whole].buffer
            assert buffer is not None
            memory, at, step = buffer, place[whole], shape.rows[0].strides[whole]
        first = 0
        for i, height in enumerate(heights):
            for j in range(shape.vectors):
                operands = memory, w.at(at + (first * step + j * UNITS)), sums[i * shape.vectors + j], w.index(step)
                w.add(TileStoreOp.create(operands=operands))
            first += height
        if whole is None:
            self._finish_rows(place, shape, finish)

    def _plain_result(self, shape: Shape) -> int | None:
        """The access the sums are written to, where nothing else becomes of them and whole vectors of them are neighbours there."""
        plain = not self.contraction.stages and self.contraction.result.element == self.sum_type
        return FIRST_RESULT if plain and self.memory[FIRST_RESULT].vector_stride == 1 and shape.tail == shape.lanes else None

    def _finish_rows(self, place: Place, shape: Shape, finish: Finish) -> None:
        w = self.writer
        with w.tasks(_rows(shape), False) as number:
            held = w.advance(Address(), number, shape.vectors * UNITS)
            sums = [w.load_vector(self.results, held + j * UNITS, UNITS) for j in range(shape.vectors)]
            finish(sums, [w.advance(a, number, s) for a, s in zip(place, shape.rows[0].strides, strict=True)], self.finished(shape))

    def _reduced(
        self, a: Address, b: Address, shape: Shape, heights: list[int], dims: list[Dim], bounds: list[Bounds | None], sums: list[SSAValue]
    ) -> list[SSAValue]:
        if not dims:
            return self._step(a, b, shape, heights, sums)
        if dims[0].size == 1 and bounds[0] is None:
            return self._reduced(a, b, shape, heights, dims[1:], bounds[1:], sums)
        low, high = bounds[0] or (0, dims[0].size)
        with self.writer.loop(low, high, sums) as loop:
            inner_a = self.writer.advance(a, loop.counter, dims[0].strides[0])
            inner_b = self.writer.advance(b, loop.counter, dims[0].strides[1])
            loop.next = self._reduced(inner_a, inner_b, shape, heights, dims[1:], bounds[1:], loop.inside)
        return loop.results

    def _step(self, a: Address, b: Address, shape: Shape, heights: list[int], sums: list[SSAValue]) -> list[SSAValue]:
        """One block of depths: all products of tiles, of parts that are not both rests.

        Tiles of the side of fewer stay in registers, the others follow each other; where all have room, the next product of parts
        finds those it shares with the one before.
        """
        depth, width, sums = self.kind.depth, shape.vectors * UNITS, list(sums)
        step = depth if shape.scalars else shape.rows[0].strides[0]
        lefts: dict[tuple[int, int], SSAValue] = {}
        rights: dict[tuple[int, int], SSAValue] = {}
        order = [(i, j) for i in range(len(heights)) for j in range(shape.vectors)]
        if len(heights) <= shape.vectors:
            order.sort(key=lambda pair: pair[1])
        stay = len(heights) * shape.vectors + len(heights) + shape.vectors <= REGISTERS
        for left, right in TERMS[self.kind.parts]:
            for i, j in order:
                if (left, i) not in lefts:
                    at = a + (left * _rows(shape) * depth + sum(heights[:i]) * step)
                    lefts[left, i] = self._loaded(shape.scalars, at, step, self._left(heights[i]))
                if (right, j) not in rights:
                    rights[right, j] = self._loaded(shape.columns, b + (right * width + j * UNITS) * depth, depth, self._right())
                k = i * shape.vectors + j
                sums[k] = self._dot(lefts[left, i], rights[right, j], sums[k])
            if not stay:
                lefts.clear()
                rights.clear()
        return sums

    def _loaded(self, access: int, at: Address, step: int, kind: TileType) -> SSAValue:
        w = self.writer
        return w.value(TileLoadOp.create(operands=(self.memory[access].buffer, w.at(at), w.index(step)), result_types=(kind,)))

    def _dot(self, a: SSAValue, b: SSAValue, total: SSAValue) -> SSAValue:
        if isinstance(self.kind.element, BFloat16Type):
            return self.writer.value(TileMulFOp(a, b, total))
        return self.writer.value(TileMulIOp(a, b, total, *self.kind.unsigned))


def _rows(shape: Shape) -> int:
    return prod(d.size for d in shape.rows)
