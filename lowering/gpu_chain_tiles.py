"""How the threads of a block share a tile of a chain's matrix, and how they multiply: on tensor cores, or each by itself.

Both ways give every thread some rows and some columns of a tile in registers, and rows to few lanes of one warp, so that a
row is folded by shuffles. `elements` and `rows` open the loops over what a thread has; register arrays are indexed alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from xdsl.dialects import math
from xdsl.dialects.builtin import FloatAttr, UnitAttr, f32, i32
from xdsl.ir import Attribute, SSAValue

from ..dialects import nv
from ..dialects.target import GpuTarget
from .gpu_builder import GpuBuilder
from .gpu_chain_plan import CORE, MOST_SUMS, ChainPlan, Factor, Sweep
from .gpu_contraction_launch import PLAIN
from .gpu_teams import WARP

RUN = 8
"""Elements of one asynchronous copy."""
SIDE = 16
WARPS = 4
STAGES = 2


@dataclass(frozen=True)
class Shape:
    """own, other: rows and columns of a block's tile; down: blocks of 16 (SIDE) rows per warp (thread)."""

    own: int
    other: int
    down: int
    threads: int
    shared_bytes: int


def factors_of(plan: ChainPlan, sweep: Sweep) -> tuple[list[Factor], list[Factor]]:
    """The factors a block keeps, and those that pass by."""
    used = [plan.factors[e] for t in sweep.tiles for e in (t.left, t.right)] + [s.right for s in sweep.sums if s.right is not None]
    every = list(dict.fromkeys(used))
    return [f for f in every if f.role == sweep.own], [f for f in every if f.role != sweep.own]


def choose_shape(plan: ChainPlan, sweep: Sweep, target: GpuTarget) -> Shape | None:
    """The largest tile whose sums fit a thread's registers and whose operands fit shared memory; None when none does."""
    sizes = plan.chain.sizes
    kept, passing = factors_of(plan, sweep)
    depths = sum(plan.depths[s.right.depth] for s in sweep.sums if s.right is not None)
    for down, other in ((2, 64), (1, 64), (2, 32), (1, 32), (1, 16)) if plan.kind is not None else ((4, 64), (4, 32), (2, 32), (2, 16), (1, 16)):
        if plan.kind is not None:
            own = WARPS * CORE * down
            registers = down * (len(sweep.tiles) * other // 2 + depths // 2)
            rows = STAGES * other
            shared = sum(2 * n * (plan.depths[f.depth] + RUN) for fs, n in ((kept, own), (passing, rows)) for f in fs)
            if down == 2 and -(-sizes[sweep.own] // own) * plan.problems < target.processors:
                continue
        else:
            own = SIDE * down
            registers = down * (len(sweep.tiles) * other + depths) // SIDE
            shared = sum(4 * n * (plan.depths[f.depth] + 1) for fs, n in ((kept, own), (passing, other)) for f in fs)
            shared += 4 * own * (other + 1)
        if registers <= MOST_SUMS and shared + 1024 <= target.shared_bytes:
            return Shape(own, other, down, WARPS * WARP if plan.kind is not None else SIDE * SIDE, shared)
    return None


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

    def multiply(self, left: SSAValue, right: SSAValue, right_base: SSAValue, depth: int, sums: SSAValue) -> None:
        """sums = left[row, depth] * right[column, depth]; both lie in shared memory, right from an element on."""
        b, across, down = self.b, self.shape.other // 8, self.shape.down
        self._clear(sums, self.count(self.shape.other))
        a, c = b.registers(down * 4, i32, "a"), b.registers(4, i32, "b")
        with b.loop(0, depth, CORE, unroll=True) as k:
            with b.loop(0, down, unroll=True) as i:
                row = b.add(self.first_row, b.scaled(i, CORE))
                self._keep(self._fragment(left, b.index(0), row, k, depth, rows_first=True), a, b.scaled(i, 4))
            with b.loop(0, across // 2, unroll=True) as j:
                self._keep(self._fragment(right, right_base, b.scaled(j, CORE), k, depth, rows_first=False), c, b.index(0))
                self._cores(a, c, sums, j, across)

    def add_product(self, left: SSAValue, right: SSAValue, right_base: SSAValue, depth: int, sums: SSAValue) -> None:
        """sums[row, depth] += left[row, column] * right[column, depth]; left is a tile in registers."""
        b, down, across = self.b, self.shape.down, self.shape.other // 8
        a, c = b.registers(down * 4, i32, "p"), b.registers(4, i32, "b")
        with b.loop(0, across // 2, unroll=True) as k:
            with b.loop(0, down, unroll=True) as i, b.loop(0, 4, unroll=True) as q:
                side, half = b.divided(q, 2)
                at = b.add(b.scaled(b.add(b.scaled(i, across), b.add(b.scaled(k, 2), side)), 4), b.scaled(half, 2))
                pair = nv.PackOp.create(operands=[b.read(left, at), b.read(left, b.plus(at, 1))], result_types=[i32], properties={"kind": self.kind})
                b.do(pair)
                b.write(pair.results[0], a, b.add(b.scaled(i, 4), q))
            with b.loop(0, depth // CORE, unroll=True) as j:
                self._keep(self._turned(right, right_base, b.scaled(j, CORE), b.scaled(k, CORE), depth), c, b.index(0))
                self._cores(a, c, sums, j, depth // 8)

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

    def multiply(self, left: SSAValue, right: SSAValue, right_base: SSAValue, depth: int, sums: SSAValue) -> None:
        """sums = left[row, depth] * right[column, depth]; both lie in shared memory, right from an element on."""
        b, down, across = self.b, self.shape.down, self.shape.other // SIDE
        clear(b, sums, down * across)
        pitch = self.pitch(depth)
        with b.loop(0, depth) as k:
            xs = b.registers(across, f32, "x")
            with b.loop(0, across, unroll=True) as j:
                column = b.add(self.x, b.scaled(j, SIDE))
                b.write(b.read(right, b.add(right_base, b.add(b.scaled(column, pitch), k))), xs, j)
            with self.rows() as (i, row):
                y = b.read(left, b.add(b.scaled(row, pitch), k))
                with b.loop(0, across, unroll=True) as j:
                    self._add(y, b.read(xs, j), sums, b.add(b.scaled(i, across), j))

    def add_product(self, left: SSAValue, right: SSAValue, right_base: SSAValue, depth: int, sums: SSAValue) -> None:
        """sums[row, depth] += left[row, column] * right[column, depth]; left is a tile in registers."""
        b, across, pitch = self.b, depth // SIDE, self.shape.other + 1
        b.sync_warp()
        with self.elements(self.shape.other) as (number, _, row, column):
            b.write(b.read(left, number), self.weights, b.add(b.scaled(row, pitch), column))
        b.sync_warp()
        with b.loop(0, self.shape.other) as k:
            xs = b.registers(across, f32, "x")
            with b.loop(0, across, unroll=True) as j:
                place = b.add(b.scaled(k, self.pitch(depth)), b.add(self.x, b.scaled(j, SIDE)))
                b.write(b.read(right, b.add(right_base, place)), xs, j)
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
