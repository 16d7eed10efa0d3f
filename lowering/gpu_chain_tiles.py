"""How the threads of a block share a tile of a chain's matrix, and how they multiply: on tensor cores, or each by itself.

Both ways give every thread some rows and some columns of a tile in registers, and rows to few lanes of one warp, so that a
row is folded by shuffles. `elements` and `rows` open the loops over what a thread has; register arrays are indexed alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xdsl.dialects import math
from xdsl.dialects.builtin import FloatAttr, UnitAttr, f32, i32
from xdsl.ir import Attribute, SSAValue

from ..dialects import nv
from .gpu_builder import GpuBuilder
from .gpu_chain_plan import CORE
from .gpu_chain_shape import RUN, SIDE, STAGES, Shape
from .gpu_contraction_launch import PLAIN
from .gpu_teams import WARP

if TYPE_CHECKING:
    from .gpu_chain_operand import Operand

class CoreTiles:
    """Tiles by mma.sync: a warp has 16 * down rows, lane l of it rows l/4 and l/4 + 8 of each 16, two columns of each 8."""

    stages, lanes = STAGES, 2
    masks = (1, 2)
    """Lanes that share a row differ in these bits."""

    def __init__(self, b: GpuBuilder, shape: Shape, kind: Attribute) -> None:
        self.b, self.shape, self.kind = b, shape, kind
        self.row_count = 2 * shape.down
        warp, self.lane = b.divided(b.thread(), WARP)
        self.first_row = b.scaled(warp, CORE * shape.down)
        self.group, pair = b.divided(self.lane, 4)
        self.pair = b.scaled(pair, 2)
        self.is_first = b.equal(pair, b.index(0))

    element = property(lambda self: self.kind)

    @staticmethod
    def pitch(depth: int) -> int:
        return depth + RUN

    def count(self, columns: int) -> int:
        """Elements of a thread in a tile this wide."""
        return self.shape.down * columns // 2

    @contextmanager
    def rows(self) -> Iterator[tuple[SSAValue, SSAValue]]:
        """Over the thread's rows: number, place in the tile."""
        b = self.b
        with b.loop(0, self.shape.down, unroll=True) as i, b.loop(0, 2, unroll=True) as h:
            yield b.add(b.scaled(i, 2), h), self._row(i, h)

    def _row(self, i: SSAValue, h: SSAValue) -> SSAValue:
        b = self.b
        return b.add(b.add(self.first_row, self.group), b.add(b.scaled(i, CORE), b.scaled(h, 8)))

    @contextmanager
    def elements(self, columns: int) -> Iterator[tuple[SSAValue, SSAValue, SSAValue, SSAValue]]:
        """Over the thread's elements: number, number of the row, the row's and the column's place in the tile."""
        b = self.b
        across = columns // 8
        with b.loop(0, self.shape.down, unroll=True) as i, b.loop(0, 2, unroll=True) as h:
            with b.loop(0, across, unroll=True) as j, b.loop(0, 2, unroll=True) as w:
                number = b.add(b.scaled(b.add(b.scaled(i, across), j), 4), b.add(b.scaled(h, 2), w))
                yield number, b.add(b.scaled(i, 2), h), self._row(i, h), b.add(b.add(b.scaled(j, 8), self.pair), w)

    @contextmanager
    def runs(self, columns: int) -> Iterator[tuple[SSAValue, SSAValue, SSAValue, SSAValue]]:
        """Like `elements`, over the first of every `lanes` neighbours."""
        b = self.b
        across = columns // 8
        with b.loop(0, self.shape.down, unroll=True) as i, b.loop(0, 2, unroll=True) as h, b.loop(0, across, unroll=True) as j:
            number = b.add(b.scaled(b.add(b.scaled(i, across), j), 4), b.scaled(h, 2))
            yield number, b.add(b.scaled(i, 2), h), self._row(i, h), b.add(b.scaled(j, 8), self.pair)

    @contextmanager
    def columns(self, columns: int, row: SSAValue) -> Iterator[SSAValue]:
        """Over the elements of one of the thread's rows: their numbers."""
        b = self.b
        across = columns // 8
        i, h = b.divided(row, 2)
        with b.loop(0, across, unroll=True) as j, b.loop(0, 2, unroll=True) as w:
            yield b.add(b.scaled(b.add(b.scaled(i, across), j), 4), b.add(b.scaled(h, 2), w))

    @contextmanager
    def across(self, columns: int) -> Iterator[tuple[SSAValue, SSAValue]]:
        """Over the first of every `lanes` neighbours among the thread's columns: number, place in the tile."""
        b = self.b
        with b.loop(0, columns // 8, unroll=True) as j:
            yield b.scaled(j, 2), b.add(b.scaled(j, 8), self.pair)

    def column_number(self, number: SSAValue, columns: int) -> SSAValue:
        """Which of the thread's columns an element is in."""
        b = self.b
        four, within = b.divided(number, 4)
        return b.add(b.scaled(b.divided(four, columns // 8)[1], 2), b.divided(within, 2)[1])

    def settle(self) -> None:
        """Products are made when they are asked for."""

    def multiply(self, left: Operand, right: Operand, stage: SSAValue, sums: SSAValue) -> None:
        """sums = left[row, depth] * right[column, depth]; right's tile is that of a stage."""
        b, across, down, depth, right_base = self.b, self.shape.other // 8, self.shape.down, left.depth, right.base(stage)
        self._clear(sums, self.count(self.shape.other))
        a, c = b.registers(down * 4, i32, "a"), b.registers(4, i32, "b")
        with b.loop(0, depth, CORE, unroll=True) as k:
            with b.loop(0, down, unroll=True) as i:
                row = b.add(self.first_row, b.scaled(i, CORE))
                self._keep(self._fragment(left.shared, b.index(0), row, k, depth, rows_first=True), a, b.scaled(i, 4))
            with b.loop(0, across // 2, unroll=True) as j:
                self._keep(self._fragment(right.shared, right_base, b.scaled(j, CORE), k, depth, rows_first=False), c, b.index(0))
                self._cores(a, c, sums, j, across)

    def add_product(self, left: SSAValue, right: Operand, stage: SSAValue, sums: SSAValue) -> None:
        """sums[row, depth] += left[row, column] * right[column, depth]; left is a tile in registers."""
        b, depth = self.b, right.depth
        a, c, right_base = b.registers(self.shape.down * 4, i32, "p"), b.registers(4, i32, "b"), right.base(stage)
        with b.loop(0, self.shape.other // CORE, unroll=True) as k:
            with b.loop(0, self.shape.down, unroll=True) as i:
                self._pack(left, i, k, a, b.scaled(i, 4))
            with b.loop(0, depth // CORE, unroll=True) as j:
                self._keep(self._turned(right.shared, right_base, b.scaled(j, CORE), b.scaled(k, CORE), depth), c, b.index(0))
                self._cores(a, c, sums, j, depth // 8)

    def _pack(self, left: SSAValue, i: SSAValue, k: SSAValue, registers: SSAValue, first: SSAValue) -> None:
        """The k-th 16 columns of the i-th 16 rows of a tile, as the left operand of a product."""
        b, across = self.b, self.shape.other // 8
        with b.loop(0, 4, unroll=True) as q:
            side, half = b.divided(q, 2)
            at = b.add(b.scaled(b.add(b.scaled(i, across), b.add(b.scaled(k, 2), side)), 4), b.scaled(half, 2))
            pair = nv.PackOp.create(operands=[b.read(left, at), b.read(left, b.plus(at, 1))], result_types=[i32], properties={"kind": self.kind})
            b.do(pair)
            b.write(pair.results[0], registers, b.add(first, q))

    def _cores(self, a: SSAValue, c: SSAValue, sums: SSAValue, j: SSAValue, across: int) -> None:
        """Every block of rows times 16 columns, the j-th ones."""
        b = self.b
        with b.loop(0, self.shape.down, unroll=True) as i, b.loop(0, 2, unroll=True) as half:
            place = b.scaled(b.add(b.scaled(i, across), b.add(b.scaled(j, 2), half)), 4)
            operands = [b.read(a, b.plus(b.scaled(i, 4), k)) for k in range(4)]
            operands += [b.read(c, b.plus(b.scaled(half, 2), k)) for k in range(2)]
            operands += [b.read(sums, b.plus(place, k)) for k in range(4)]
            op = nv.MmaSyncOp.create(operands=operands, result_types=[f32] * 4, properties={"kind": self.kind})
            b.do(op)
            self._keep(list(op.results), sums, place)

    def _keep(self, values: Sequence[SSAValue], registers: SSAValue, first: SSAValue) -> None:
        for k, value in enumerate(values):
            self.b.write(value, registers, self.b.plus(first, k))

    def _clear(self, sums: SSAValue, count: int) -> None:
        clear(self.b, sums, count)

    def _fragment(self, memory: SSAValue, base: SSAValue, row: SSAValue, k: SSAValue, depth: int, rows_first: bool) -> list[SSAValue]:
        """Four 8x8 matrices of 16 rows and 16 depths. rows_first: the second matrix is below the first, else deeper."""
        b = self.b
        matrix, within = b.divided(self.lane, 8)
        high, low = b.divided(matrix, 2)
        row_block, depth_block = (low, high) if rows_first else (high, low)
        row = b.add(b.add(row, within), b.scaled(row_block, 8))
        place = b.add(b.scaled(row, self.pitch(depth)), b.add(k, b.scaled(depth_block, 8)))
        return self._ldmatrix(memory, b.add(base, place), turned=False)

    def _turned(self, memory: SSAValue, base: SSAValue, column: SSAValue, k: SSAValue, depth: int) -> list[SSAValue]:
        """Four 8x8 matrices of 16 rows from k on and 16 columns, turned."""
        b = self.b
        matrix, within = b.divided(self.lane, 8)
        high, low = b.divided(matrix, 2)
        place = b.scaled(b.add(b.add(k, within), b.scaled(low, 8)), self.pitch(depth))
        return self._ldmatrix(memory, b.add(base, b.add(place, b.add(column, b.scaled(high, 8)))), turned=True)

    def _ldmatrix(self, memory: SSAValue, at: SSAValue, turned: bool) -> list[SSAValue]:
        attributes = {"transposed": UnitAttr()} if turned else {}
        op = nv.LdmatrixOp.create(operands=[memory, at], result_types=[i32] * 4, attributes=attributes)
        self.b.do(op)
        return list(op.results)


class ThreadTiles:
    """Tiles by multiply-adds: thread (y, x) of 16 x 16 has every 16th row from y on, every 16th column from x on."""

    stages, lanes = 1, 1
    masks = (1, 2, 4, 8)
    element = f32

    def __init__(self, b: GpuBuilder, shape: Shape, weights_at: int) -> None:
        self.b, self.shape = b, shape
        self.row_count = shape.down
        self.y, self.x = b.divided(b.thread(), SIDE)
        self.is_first = b.equal(self.x, b.index(0))
        self.weights = b.shared(b.index(weights_at), shape.own * (shape.other + 1), f32)

    @staticmethod
    def pitch(depth: int) -> int:
        return depth + 1

    def count(self, columns: int) -> int:
        """Elements of a thread in a tile this wide."""
        return self.shape.down * columns // SIDE

    @contextmanager
    def rows(self) -> Iterator[tuple[SSAValue, SSAValue]]:
        """Over the thread's rows: number, place in the tile."""
        b = self.b
        with b.loop(0, self.shape.down, unroll=True) as i:
            yield i, b.add(self.y, b.scaled(i, SIDE))

    @contextmanager
    def elements(self, columns: int) -> Iterator[tuple[SSAValue, SSAValue, SSAValue, SSAValue]]:
        """Over the thread's elements: number, number of the row, the row's and the column's place in the tile."""
        b = self.b
        with self.rows() as (i, row), b.loop(0, columns // SIDE, unroll=True) as j:
            yield b.add(b.scaled(i, columns // SIDE), j), i, row, b.add(self.x, b.scaled(j, SIDE))

    runs = elements

    @contextmanager
    def columns(self, columns: int, row: SSAValue) -> Iterator[SSAValue]:
        """Over the elements of one of the thread's rows: their numbers."""
        b = self.b
        with b.loop(0, columns // SIDE, unroll=True) as j:
            yield b.add(b.scaled(row, columns // SIDE), j)

    @contextmanager
    def across(self, columns: int) -> Iterator[tuple[SSAValue, SSAValue]]:
        """Over the thread's columns: number, place in the tile."""
        b = self.b
        with b.loop(0, columns // SIDE, unroll=True) as j:
            yield j, b.add(self.x, b.scaled(j, SIDE))

    def column_number(self, number: SSAValue, columns: int) -> SSAValue:
        """Which of the thread's columns an element is in."""
        return self.b.divided(number, columns // SIDE)[1]

    def settle(self) -> None:
        """Products are made when they are asked for."""

    def multiply(self, left: Operand, right: Operand, stage: SSAValue, sums: SSAValue) -> None:
        """sums = left[row, depth] * right[column, depth]; right's tile is that of a stage."""
        b, down, across, depth, right_base = self.b, self.shape.down, self.shape.other // SIDE, left.depth, right.base(stage)
        clear(b, sums, down * across)
        pitch = self.pitch(depth)
        with b.loop(0, depth) as k:
            xs = b.registers(across, f32, "x")
            with b.loop(0, across, unroll=True) as j:
                column = b.add(self.x, b.scaled(j, SIDE))
                b.write(b.read(right.shared, b.add(right_base, b.add(b.scaled(column, pitch), k))), xs, j)
            with self.rows() as (i, row):
                y = b.read(left.shared, b.add(b.scaled(row, pitch), k))
                with b.loop(0, across, unroll=True) as j:
                    self._add(y, b.read(xs, j), sums, b.add(b.scaled(i, across), j))

    def add_product(self, left: SSAValue, right: Operand, stage: SSAValue, sums: SSAValue) -> None:
        """sums[row, depth] += left[row, column] * right[column, depth]; left is a tile in registers."""
        b, depth, right_base = self.b, right.depth, right.base(stage)
        across, pitch = depth // SIDE, self.shape.other + 1
        b.sync_warp()
        with self.elements(self.shape.other) as (number, _, row, column):
            b.write(b.read(left, number), self.weights, b.add(b.scaled(row, pitch), column))
        b.sync_warp()
        with b.loop(0, self.shape.other) as k:
            xs = b.registers(across, f32, "x")
            with b.loop(0, across, unroll=True) as j:
                place = b.add(b.scaled(k, self.pitch(depth)), b.add(self.x, b.scaled(j, SIDE)))
                b.write(b.read(right.shared, b.add(right_base, place)), xs, j)
            with self.rows() as (i, row):
                y = b.read(self.weights, b.add(b.scaled(row, pitch), k))
                with b.loop(0, across, unroll=True) as j:
                    self._add(y, b.read(xs, j), sums, b.add(b.scaled(i, across), j))

    def _add(self, x: SSAValue, y: SSAValue, sums: SSAValue, at: SSAValue) -> None:
        b = self.b
        b.write(b.emit(math.FmaOp, (x, y, b.read(sums, at)), f32, PLAIN), sums, at)


def clear(b: GpuBuilder, sums: SSAValue, count: int) -> None:
    """Zeros in a register array."""
    zero = b.constant(FloatAttr(0.0, f32), f32)
    with b.loop(0, count, unroll=True) as i:
        b.write(zero, sums, i)
