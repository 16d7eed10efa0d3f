"""Products of 16-bit floats on warpgroups (sm_90a): one warp has the copy engine bring tiles, two warpgroups multiply them.

A block has three warpgroups. The first brings tiles of both operands into a ring of stages and waits for a stage to be free;
the others wait for a stage to be full, multiply their 64 rows by all columns of the tile with wgmma, and give the stage before
it back. Operands may lie along the sum or along their rows: the 128-byte swizzle serves both.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import DenseArrayBase, IntegerAttr, MemRefType, UnitAttr, i32, i64
from xdsl.ir import Operation, SSAValue

from ..dialects import nv_hopper as nv
from .contraction_match import Factor
from .gpu_contraction_launch import ProductLaunch
from .gpu_contraction_plan import WGMMA_DEPTH as DEPTH
from .gpu_contraction_plan import box_of

STAGES = 4
GROUP = 128
"""Threads of a warpgroup."""
BLOCK = 64
"""Elements of 128 bytes: how wide a box is."""
ROWS = nv.WGMMA_ROWS
STEP = nv.WGMMA_DEPTH
BARRIER_BYTES = 8
PRODUCER_REGISTERS, CONSUMER_REGISTERS = 40, 232
"""Of 65,536 for 384 threads, in eights: 128 * (40 + 2 * 232) = 64,512."""


def _i32(n: int) -> IntegerAttr:
    return IntegerAttr(n, i32)


class WgmmaLaunch(ProductLaunch):
    """Tiles of the product by wgmma, summed in f32."""

    threads = 3 * GROUP

    def product(self) -> None:
        """All of one tile."""
        t, b = self.t, self.b
        self.left = _Operand(self, t.left, t.rows, self.first_row, t.m, t.tile_rows)
        self.right = _Operand(self, t.right, t.columns, self.first_column, t.n, t.tile_columns)
        at = self.launch.take_shared(2 * STAGES * BARRIER_BYTES)
        self.barriers = b.shared(b.index(at), 2 * STAGES, i64)  # full, then free
        self.tiles = -(-t.piece // DEPTH)
        self.low = b.index(0) if self.piece is None else b.scaled(self.piece, t.piece)
        group, self.lane = b.divided(self.thread, GROUP)
        self._start_barriers()
        with b.when(b.equal(group, b.index(0))):
            b.do(nv.SetRegistersOp.create(properties={"count": _i32(PRODUCER_REGISTERS)}))
            with b.when(b.equal(self.thread, b.index(0))):
                self._bring()
        with b.otherwise():
            more = {"count": _i32(CONSUMER_REGISTERS), "more": UnitAttr()}
            b.do(nv.SetRegistersOp.create(properties=more))
            self._multiply(b.plus(group, -1))

    def _on(self, op: type[Operation], number: SSAValue, *operands: SSAValue, **properties: IntegerAttr) -> None:
        self.b.do(op.create(operands=[self.barriers, number, *operands], properties=properties))

    def _start_barriers(self) -> None:
        b = self.b
        with b.when(b.equal(self.thread, b.index(0))):
            with b.loop(0, STAGES) as stage:
                self._on(nv.MbarrierInitOp, stage, count=_i32(1))
                self._on(nv.MbarrierInitOp, b.plus(stage, STAGES), count=_i32(2))
            b.do(nv.FenceBarrierInitOp.create())
        b.barrier()

    def _bring(self) -> None:
        """One thread: every tile of the sum, as soon as its stage is free. The first round waits for nothing."""
        b = self.b
        with b.loop(0, self.tiles) as tile:
            turn, stage = b.divided(tile, STAGES)
            before = b.divided(b.plus(turn, 1), 2)[1]
            self._on(nv.MbarrierWaitOp, b.plus(stage, STAGES), before)
            size = self.left.stage_bytes + self.right.stage_bytes
            self._on(nv.MbarrierExpectOp, stage, bytes=_i32(size))
            first = b.add(self.low, b.scaled(tile, DEPTH))
            self.left.bring(first, stage, self.barriers)
            self.right.bring(first, stage, self.barriers)

    def _multiply(self, group: SSAValue) -> None:
        """A warpgroup: its 64 rows of every tile. A stage is given back when the products after it are under way."""
        b, t = self.b, self.t
        self.start_sums(t.tile_columns // 2)
        own = b.scaled(group, ROWS)
        leader = b.equal(self.lane, b.index(0))
        with b.loop(0, self.tiles) as tile:
            turn, stage = b.divided(tile, STAGES)
            self._on(nv.MbarrierWaitOp, stage, b.divided(turn, 2)[1])
            b.do(nv.WgmmaFenceOp.create())
            for depth in range(0, DEPTH, STEP):
                self._step(stage, own, depth)
            b.do(nv.WgmmaCommitOp.create())
            b.do(nv.WgmmaWaitOp.create(properties={"pending": _i32(1)}))
            with b.when(leader), b.when(b.less(b.index(0), tile)):
                self._on(nv.MbarrierArriveOp, b.plus(b.divided(b.plus(tile, -1), STAGES)[1], STAGES))
        b.do(nv.WgmmaWaitOp.create(properties={"pending": _i32(0)}))
        self._results(own)

    def _step(self, stage: SSAValue, own: SSAValue, depth: int) -> None:
        properties = {"kind": self.t.left.access.element}
        if self.left.turned:
            properties["a_turned"] = UnitAttr()
        if self.right.turned:
            properties["b_turned"] = UnitAttr()
        a = self.left.descriptor(stage, own, depth)
        c = self.right.descriptor(stage, None, depth)
        self.b.do(nv.WgmmaOp.create(operands=[self.sums, a, c], properties=properties))

    def _results(self, own: SSAValue) -> None:
        """Thread 32w + l of a warpgroup has rows 16w + l/4 and that + 8, columns 8j + 2*(l%4) and the next."""
        b, t = self.b, self.t
        warp, lane = b.divided(self.lane, 32)
        quarter, pair = b.divided(lane, 4)
        row = b.add(b.add(self.first_row, own), b.add(b.scaled(warp, 16), quarter))
        column = b.add(self.first_column, b.scaled(pair, 2))
        with b.loop(0, t.tile_columns // 8, unroll=True) as j, b.loop(0, 4, unroll=True) as e:
            lower, right = b.divided(e, 2)
            m = b.add(row, b.scaled(lower, 8))
            n = b.add(b.add(column, b.scaled(j, 8)), right)
            self.result(b.add(b.scaled(j, 4), e), m, n)


class _Operand:
    """One operand's stages in shared memory. turned: it lies along its rows, 64 of them to a block of boxes.

    Not turned, a box is 64 elements of the sum for every row of the tile; turned, it is 64 rows for every element of the sum.
    """

    def __init__(
        self, owner: WgmmaLaunch, factor: Factor, dims: Sequence[int], first: SSAValue, limit: int, extent: int
    ) -> None:
        self.owner, self.b, self.first, self.extent = owner, owner.b, first, extent
        b, t = owner.b, owner.t
        box = box_of(owner.c, factor, dims, t.batch, t.sums)
        assert box is not None  # the plan asked
        self.turned = box.turned
        kind = factor.access.element
        self.stage_length = extent * DEPTH
        self.stage_bytes = 2 * self.stage_length
        at = owner.launch.take_shared(STAGES * self.stage_bytes, 1024)
        self.shared = b.shared(b.index(at), STAGES * self.stage_length, kind)
        inner, outer = (limit, t.k) if self.turned else (t.k, limit)
        sizes, strides, extents = [inner, outer], [box.step], [BLOCK, DEPTH if self.turned else extent]
        self.batched = box.batch_step > 0
        if self.batched:
            sizes, strides, extents = [*sizes, t.z], [*strides, box.batch_step], [*extents, 1]
        argument = owner.launch.args[owner.old.index(factor.access.buffer)]
        assert isinstance(argument.type, MemRefType)
        op = nv.TensorMapOp.create(
            operands=[argument], result_types=[nv.TensorMapType()],
            properties={
                "sizes": DenseArrayBase.from_list(i64, sizes), "strides": DenseArrayBase.from_list(i64, strides),
                "box": DenseArrayBase.from_list(i64, extents), "offset": IntegerAttr(factor.access.offset, i64),
            },
        )  # fmt: skip
        self.map = b.at(op, 0)

    def bring(self, depth: SSAValue, stage: SSAValue, barriers: SSAValue) -> None:
        """The copies of one tile."""
        b = self.b
        base = b.scaled(stage, self.stage_length)
        for block in range(0, self.extent, BLOCK) if self.turned else (0,):
            row = b.plus(self.first, block)
            places = [row, depth] if self.turned else [depth, row]
            if self.batched:
                places.append(self.owner.z if self.owner.z is not None else b.index(0))
            target = b.plus(base, block * DEPTH)
            op = nv.TmaLoadOp.create(operands=[self.map, *places, self.shared, target, barriers, stage])
            b.do(op)

    def descriptor(self, stage: SSAValue, rows: SSAValue | None, depth: int) -> SSAValue:
        """The matrix 16 deep from `depth` on, from some of the tile's rows on (None: from the first)."""
        b = self.b
        place = b.scaled(stage, self.stage_length)
        if rows is not None:
            place = b.add(place, b.scaled(rows, DEPTH))  # 64 rows are one block either way
        place = b.plus(place, depth * BLOCK if self.turned else depth)
        op = nv.MatrixDescriptorOp.create(
            operands=[self.shared, place], result_types=[i64],
            properties={"leading": _i32(2 * BLOCK * DEPTH if self.turned else 16)},
        )  # fmt: skip
        b.do(op)
        return op.results[0]
