"""Products of 16-bit floats on tensor cores: cp.async into three stages of shared memory, ldmatrix, mma.sync.

Four warps, two along the rows and two along the columns, share a block's tile; a tile is kept in shared memory as it
lies in global memory (along the sum, or along its rows) and ldmatrix turns it where needed. Operands whose elements do
not come in aligned runs of eight are copied one by one.
"""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, MemRefType, NoneAttr, UnitAttr, i16, i32
from xdsl.ir import Attribute, SSAValue

from ..dialects import kernel, nv
from .contraction_match import Factor
from .gpu_contraction_launch import ProductLaunch
from .gpu_contraction_plan import CORE_DEPTH, in_runs
from .gpu_teams import WARP
from .loop_builder import NO_OVERFLOW
from .memref_layout import element_bytes

STAGES = 3
COPY_BYTES = 16
"""One asynchronous copy."""
MATRIX = 8
"""Rows of one of ldmatrix's matrices; a row has 16 bytes."""
WARPS_DOWN, WARPS_ACROSS = 2, 2
"""Of a block: a warp of the largest tile has 64 rows and 64 columns, since tensor cores are faster than shared memory brings them smaller ones."""
CORE = 16
"""Rows of one mma.sync; it has half as many columns."""


class TensorCoreLaunch(ProductLaunch):
    """Tiles of the product by mma.sync, summed in f32.

    depth: of a tile; core_depth: of one mma.sync; bits: an element as an integer.
    """

    threads = WARPS_DOWN * WARPS_ACROSS * WARP
    depth, core_depth, bits = CORE_DEPTH, 16, i16

    def product(self) -> None:
        """All of one tile."""
        t, b = self.t, self.b
        self.down = t.tile_rows // WARPS_DOWN // CORE
        self.across = t.tile_columns // WARPS_ACROSS // (CORE // 2)
        warp, self.lane = b.divided(self.thread, WARP)
        warp_row, warp_column = b.divided(warp, WARPS_ACROSS)
        self.warp_row = b.scaled(warp_row, t.tile_rows // WARPS_DOWN)
        self.warp_column = b.scaled(warp_column, t.tile_columns // WARPS_ACROSS)
        self.start_sums(self.down * self.across * 4)
        self.left = _Tile(self, t.left, t.rows, self.first_row, t.m, t.tile_rows)
        self.right = _Tile(self, t.right, t.columns, self.first_column, t.n, t.tile_columns)
        self._over_the_sum()
        self._results()

    def _over_the_sum(self) -> None:
        b, t = self.b, self.t
        tiles = -(-t.piece // self.depth)
        self.low = b.index(0) if self.piece is None else b.scaled(self.piece, t.piece)
        for stage in range(STAGES - 1):
            self._fetch(b.index(stage), b.index(stage))
        with b.loop(0, tiles) as tile:
            b.do(nv.CpAsyncWaitOp.create(properties={"pending": IntegerAttr(STAGES - 2, i32)}))
            b.barrier()
            following = b.plus(tile, STAGES - 1)
            self._fetch(following, b.divided(following, STAGES)[1])
            self._multiply(b.divided(tile, STAGES)[1])

    def _fetch(self, tile: SSAValue, stage: SSAValue) -> None:
        """Starts the copies of a tile into a stage; past the end of the sum zeros are written."""
        first = self.b.add(self.low, self.b.scaled(tile, self.depth))
        self.left.fetch(first, stage)
        self.right.fetch(first, stage)
        self.b.do(nv.CpAsyncCommitOp.create())

    def _multiply(self, stage: SSAValue) -> None:
        b = self.b
        a, c = self.factor_registers(self.down * 4, "a"), self.factor_registers(self.across * 2, "b")
        with b.loop(0, self.depth, self.core_depth, unroll=True) as k:
            with b.loop(0, self.down, unroll=True) as i:
                row = b.add(self.warp_row, b.scaled(i, CORE))
                self.keep_factor(self.left.fragment(stage, row, k, self.lane, rows_first=True), a, b.scaled(i, 4))
            with b.loop(0, self.across // 2, unroll=True) as j:
                column = b.add(self.warp_column, b.scaled(j, CORE))
                self.keep_factor(self.right.fragment(stage, column, k, self.lane, rows_first=False), c, b.scaled(j, 4))
            with b.loop(0, self.down, unroll=True) as i, b.loop(0, self.across, unroll=True) as j:
                self.core(a, c, i, j)

    def factor_registers(self, count: int, hint: str) -> list[SSAValue]:
        """Where a warp's part of a factor is kept."""
        return [self.b.registers(count, i32, hint)]

    def keep_factor(self, values: list[SSAValue], registers: list[SSAValue], first: SSAValue) -> None:
        """Keeps what a lane holds of a fragment."""
        self.keep(values, registers[0], first)

    def keep(self, values: list[SSAValue], registers: SSAValue, first: SSAValue) -> None:
        for k, value in enumerate(values):
            self.b.write(value, registers, self.b.plus(first, k))

    def operands(self, a: SSAValue, c: SSAValue, i: SSAValue, j: SSAValue) -> tuple[list[SSAValue], SSAValue]:
        """What an mma.sync of the piece at (i, j) takes, and the place of its sums."""
        b = self.b
        place = b.scaled(b.add(b.scaled(i, self.across), j), 4)
        found = [b.read(a, b.plus(b.scaled(i, 4), k)) for k in range(4)]
        found += [b.read(c, b.plus(b.scaled(j, 2), k)) for k in range(2)]
        return found + [b.read(self.sums, b.plus(place, k)) for k in range(4)], place

    def core(self, a: list[SSAValue], c: list[SSAValue], i: SSAValue, j: SSAValue) -> None:
        """Adds one product of fragments to its sums."""
        operands, place = self.operands(a[0], c[0], i, j)
        kind = self.t.left.access.element
        op = nv.MmaSyncOp.create(
            operands=operands, result_types=[self.c.sum_type] * 4, properties={"kind": kind}
        )
        self.b.do(op)
        self.keep(list(op.results), self.sums, place)

    def _results(self) -> None:
        """Lane l of a warp has row l/4 and columns 2*(l%4) and the next of each 16x8 piece, and those of row l/4 + 8."""
        b = self.b
        group, pair = b.divided(self.lane, 4)
        row = b.add(b.add(self.first_row, self.warp_row), group)
        column = b.add(b.add(self.first_column, self.warp_column), b.scaled(pair, 2))
        lanes = self.neighbours(2)
        with b.loop(0, self.down, unroll=True) as i, b.loop(0, self.across, unroll=True) as j:
            with b.loop(0, 4, lanes, unroll=True) as e:
                below, right = b.divided(e, 2)
                m = b.add(b.add(row, b.scaled(i, CORE)), b.scaled(below, MATRIX))
                n = b.add(b.add(column, b.scaled(j, CORE // 2)), right)
                self.result(b.add(b.scaled(b.add(b.scaled(i, self.across), j), 4), e), m, n, lanes)


class _Tile:
    """One operand's tiles: STAGES of them in shared memory, [row][depth] or [depth][row] as the operand lies in memory."""

    def __init__(
        self, owner: TensorCoreLaunch, factor: Factor, dims: tuple[int, ...], first: SSAValue, limit: int, extent: int
    ) -> None:
        self.owner, self.b, self.access, self.dims = owner, owner.b, factor.access, dims
        self.first, self.limit, self.extent = first, limit, extent
        t, strides = owner.t, factor.access.strides
        self.along_sum = strides[t.sums[-1]] == 1
        size = element_bytes(self.access.element)
        self.run, self.depth = COPY_BYTES // size, owner.depth
        self.pitch = self.depth + self.run if self.along_sum else extent + max(self.run, MATRIX)  # no two rows, or depths, in the same banks
        self.stage_length = (extent if self.along_sum else self.depth) * self.pitch
        at = owner.launch.take_shared(size * STAGES * self.stage_length)
        self.shared = self.b.shared(self.b.index(at), STAGES * self.stage_length, self.access.element)
        self.base = self.b.plus(None, self.access.offset)
        if owner.z is not None and (part := owner.place(self.access, t.batch, owner.z)) is not None:
            self.base = self.b.plus(part, self.access.offset)
        self.in_runs = t.is_aligned and in_runs(owner.c, factor, dims, t.sums)

    def fetch(self, first: SSAValue, stage: SSAValue) -> None:
        """Starts copying the tile that begins at depth `first` into a stage."""
        b = self.b
        width = self.run if self.in_runs else 1
        inner = (self.depth if self.along_sum else self.extent) // width
        base = b.scaled(stage, self.stage_length)
        threads = self.owner.threads
        count = self.extent * self.depth // width // threads
        with b.loop(0, count, unroll=True) as i:
            number = b.add(b.scaled(i, threads), self.owner.thread)
            outer, place = b.divided(number, inner)
            place = b.scaled(place, width)
            row, depth = (outer, place) if self.along_sum else (place, outer)
            target = b.add(base, b.add(b.scaled(outer, self.pitch), place))
            self._copy(b.add(self.first, row), b.add(first, depth), target)

    def _copy(self, m: SSAValue, k: SSAValue, target: SSAValue) -> None:
        """Rows past the end repeat the last ones (their results are not stored); past the end of the sum are zeros."""
        b, t = self.b, self.owner.t
        by_row = self.run if self.in_runs and not self.along_sum else 1
        by_depth = self.run if self.in_runs and self.along_sum else 1
        inside = b.less(k, b.index(t.k))
        k = b.minimum(k, b.index(t.k - by_depth))
        if self.limit % self.extent:
            m = b.minimum(m, b.index(self.limit - by_row))
        at = self.base
        for part in (self.owner.place(self.access, self.dims, m), self.owner.place(self.access, t.sums, k)):
            at = b.add(at, part)
        memory = self.owner.flat(self.access)
        if self.in_runs:
            b.do(nv.CpAsyncOp.create(operands=[memory, at, self.shared, target, inside]))
            return
        value = b.read(self._bits(memory), at)
        bits = self.owner.bits
        zero = b.constant(IntegerAttr(0, bits), bits)
        b.write(b.emit(arith.SelectOp, (inside, value, zero), bits), self._bits(self.shared), target)

    def _bits(self, memory: SSAValue) -> SSAValue:
        held = memory.type
        assert isinstance(held, MemRefType)
        return self.b.emit(kernel.BitsOp, (memory,), MemRefType(self.owner.bits, held.get_shape(), NoneAttr(), held.memory_space))

    def fragment(
        self, stage: SSAValue, row: SSAValue, k: SSAValue, lane: SSAValue, rows_first: bool
    ) -> list[SSAValue]:
        """Four matrices of 16 rows and twice 16 bytes of depths. rows_first: the second matrix is below the first, else deeper."""
        b = self.b
        if not self.along_sum and self.run != MATRIX:
            return self._gathered(stage, row, k, lane, rows_first)
        matrix, within = b.divided(lane, MATRIX)
        high, low = b.divided(matrix, 2)
        row_block, depth_block = (low, high) if rows_first else (high, low)
        row, depth = b.add(row, b.scaled(row_block, MATRIX)), b.add(k, b.scaled(depth_block, self.run))
        if self.along_sum:
            place = b.add(b.scaled(b.add(row, within), self.pitch), depth)
        else:
            place = b.add(b.scaled(b.add(depth, within), self.pitch), row)
        attributes: dict[str, Attribute] = {} if self.along_sum else {"transposed": UnitAttr()}
        op = nv.LdmatrixOp.create(
            operands=[self.shared, b.add(b.scaled(stage, self.stage_length), place)],
            result_types=[i32] * 4, attributes=attributes,
        )  # fmt: skip
        b.do(op)
        return list(op.results)

    def _gathered(self, stage: SSAValue, row: SSAValue, k: SSAValue, lane: SSAValue, rows_first: bool) -> list[SSAValue]:
        """The same where ldmatrix would have to turn elements that are not of 16 bits: it cannot, so lanes read them one by one."""
        b = self.b
        group, within = b.divided(lane, 4)
        several = self.run // 4  # elements of 32 bits, one behind the other along the sum
        base = b.add(b.scaled(stage, self.stage_length), b.scaled(b.add(k, b.scaled(within, several)), self.pitch))
        at = b.add(base, b.add(row, group))
        found = []
        for matrix in range(4):
            high, low = divmod(matrix, 2)
            row_block, depth_block = (low, high) if rows_first else (high, low)
            first = row_block * MATRIX + depth_block * self.run * self.pitch
            places = [b.plus(at, first + e * self.pitch) for e in range(several)]
            found.append(self._joined([b.read(self._bits(self.shared), place) for place in places]))
        return found

    def _joined(self, elements: list[SSAValue]) -> SSAValue:
        """Elements as one i32, the first in the lowest bits."""
        if len(elements) == 1:
            return elements[0]
        b = self.b
        size = 32 // len(elements)
        total: SSAValue | None = None
        for e, value in enumerate(elements):
            wide = b.emit(arith.ExtUIOp, (value,), i32)
            if e:
                shift = b.constant(IntegerAttr(e * size, i32), i32)
                wide = b.emit(arith.ShLIOp, (wide, shift), i32, NO_OVERFLOW)
            total = wide if total is None else b.emit(arith.OrIOp, (total, wide), i32)
        assert total is not None
        return total
