"""Products on warpgroups (sm_90a): one warp has the copy engine bring tiles, two warpgroups multiply them.

There are as many blocks as run at once; they take tiles in turn, in an order that has neighbours share what they read. A block has
three warpgroups. The first brings tiles of both operands into a ring of stages and waits for a stage to be free;
the others wait for a stage to be full, multiply their 64 rows by all columns of the tile with wgmma, and give the stage before
it back. While they store results, the first brings the next tile's operands. Operands lie along the sum, those of 16 bits also along their rows: the 128-byte swizzle serves both. f32 is rounded to
TF32 by the copy engine; bytes are summed in 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import DenseArrayBase, IntegerAttr, MemRefType, StringAttr, UnitAttr, f32, i8, i32, i64
from xdsl.ir import Attribute, SSAValue

from ..dialects import nv_hopper as nv
from .contraction_match import Access, Factor
from .gpu_barriers import Barriers
from .gpu_contraction_launch import ProductLaunch
from .gpu_contraction_plan import box_of, group_depth
from .gpu_wgmma_store import BoxedOutput, boxed_output
from .loop_builder import INDEX
from .memref_layout import element_bytes

STAGES = 4
GROUP = 128
"""Threads of a warpgroup."""
ROWS = nv.WGMMA_ROWS
PRODUCER_REGISTERS, CONSUMER_REGISTERS = 40, 232
"""Of 65,536 for 384 threads, in eights: 128 * (40 + 2 * 232) = 64,512."""


def _i32(n: int) -> IntegerAttr:
    return IntegerAttr(n, i32)


class WgmmaLaunch(ProductLaunch):
    """Tiles of the product by wgmma. depth: elements of the sum in a tile, as many as 128 bytes have; step: in one wgmma."""

    threads = 3 * GROUP

    def write(self) -> func.FuncOp:
        """The launch's function."""
        t, b = self.t, self.b
        self.thread = b.thread()
        self.depth = group_depth(self.c)
        self.step = self.depth * nv.WGMMA_BYTES // nv.SWIZZLE_BYTES
        self.left = _Operand(self, t.left, t.rows, t.m, t.tile_rows)
        self.right = _Operand(self, t.right, t.columns, t.n, t.tile_columns)
        self.barriers = Barriers(self.launch, [1] * STAGES + [2] * STAGES)  # full, then free
        boxed = boxed_output(t)
        self.boxed = BoxedOutput(self, *boxed) if boxed is not None else None
        self.clips = boxed is not None and len(self.c.outputs) == 1 and all(isinstance(i, int) for s in self.c.stages for i in s.inputs)
        self.steps = -(-t.piece // self.depth)
        self.blocks = min(t.tiles, t.resident)
        group, self.lane = b.divided(self.thread, GROUP)
        self.barriers.start(self.thread)
        with b.when(b.equal(group, b.index(0))):
            b.do(nv.SetRegistersOp.create(properties={"count": _i32(PRODUCER_REGISTERS)}))
            with b.when(b.equal(self.thread, b.index(0))), self._tiles() as turn:
                self._bring(turn)
        with b.otherwise():
            more = {"count": _i32(CONSUMER_REGISTERS), "more": UnitAttr()}
            b.do(nv.SetRegistersOp.create(properties=more))
            group = b.plus(group, -1)
            if self.boxed is not None:
                self.boxed.start(group, self.lane)
            with self._tiles() as turn:
                self._multiply(turn, group)
            if self.boxed is not None:
                self.boxed.finish()
        return self.launch.finish([self.blocks], self.threads)

    @contextmanager
    def _tiles(self) -> Iterator[SSAValue]:
        """Over the block's tiles: how many it had before."""
        b, t = self.b, self.t
        if t.tiles == self.blocks:
            self._take(b.block())
            yield b.index(0)
            return
        with b.loop(b.block(), t.tiles, self.blocks) as tile:
            self._take(tile)
            yield b.divided(tile, self.blocks)[0]

    def _take(self, tile: SSAValue) -> None:
        """A tile by its number: columns of `band` tiles, side by side, so that those at work at once read few rows and few columns."""
        b, t = self.b, self.t
        across, down, band = t.tiles_across, t.tiles_down, t.band
        z, tile = b.digits(tile, [t.z * t.splits, across * down])
        number, within = b.divided(tile, band * across)
        column, row = b.divided(within, band)
        row = b.add(row, b.scaled(number, band))
        if rest := down % band:  # the last band is lower
            first = (down - rest) * across
            last_column, last_row = b.divided(b.maximum(b.plus(tile, -first), b.index(0)), rest)
            is_last = b.less(b.index(first - 1), tile)
            row = b.emit(arith.SelectOp, (is_last, b.plus(last_row, down - rest), row), INDEX)
            column = b.emit(arith.SelectOp, (is_last, last_column, column), INDEX)
        self.take_tile(z, row, column)
        self.low = b.index(0) if self.piece is None else b.scaled(self.piece, t.piece)

    def _stage(self, number: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Where the n-th step of the block lies in the ring, and which turn of it that is."""
        turn, stage = self.b.divided(number, STAGES)
        return stage, turn

    def _bring(self, turn: SSAValue) -> None:
        """One thread: every step of the sum, as soon as its stage is free. The first round waits for nothing."""
        b = self.b
        with b.loop(0, self.steps) as step:
            stage, turn_of_ring = self._stage(b.add(b.scaled(turn, self.steps), step))
            self.barriers.wait(b.plus(stage, STAGES), b.divided(b.plus(turn_of_ring, 1), 2)[1])
            self.barriers.expect(stage, self.left.stage_bytes + self.right.stage_bytes)
            first = b.add(self.low, b.scaled(step, self.depth))
            self.left.bring(self.first_row, first, stage, self.barriers.memory)
            self.right.bring(self.first_column, first, stage, self.barriers.memory)

    def _multiply(self, turn: SSAValue, group: SSAValue) -> None:
        """A warpgroup: its 64 rows of a tile. A stage is given back when the products after it are under way."""
        b, t = self.b, self.t
        self.start_sums(t.tile_columns // 2)
        own = b.scaled(group, ROWS)
        leader = b.equal(self.lane, b.index(0))
        with b.loop(0, self.steps) as step:
            number = b.add(b.scaled(turn, self.steps), step)
            stage, turn_of_ring = self._stage(number)
            self.barriers.wait(stage, b.divided(turn_of_ring, 2)[1])
            b.do(nv.WgmmaFenceOp.create())
            for depth in range(0, self.depth, self.step):
                self._step(stage, own, depth)
            b.do(nv.WgmmaCommitOp.create())
            b.do(nv.WgmmaWaitOp.create(properties={"pending": _i32(1)}))
            with b.when(leader), b.when(b.less(b.index(0), step)):
                self._give_back(b.plus(number, -1))
        b.do(nv.WgmmaWaitOp.create(properties={"pending": _i32(0)}))
        if t.tiles > self.blocks:
            with b.when(leader):
                self._give_back(b.plus(b.scaled(turn, self.steps), self.steps - 1))
        self._results(own)

    def _give_back(self, number: SSAValue) -> None:
        self.barriers.arrive(self.b.plus(self._stage(number)[0], STAGES))

    def _step(self, stage: SSAValue, own: SSAValue, depth: int) -> None:
        properties: dict[str, Attribute] = {"left": _kind(self.t.left), "right": _kind(self.t.right)}
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
        first = b.add(self.first_row, own)
        row = b.add(first, b.add(b.scaled(warp, 16), quarter))
        width = self.boxed.columns if self.boxed is not None else t.tile_columns
        for block in range(t.tile_columns // width):
            left = b.plus(self.first_column, block * width)
            if self.boxed is not None:
                self.boxed.open()
            with b.loop(0, width // 8, unroll=True) as j, b.loop(0, 4, unroll=True) as e:
                lower, right = b.divided(e, 2)
                m = b.add(row, b.scaled(lower, 8))
                n = b.add(b.add(b.add(left, b.scaled(pair, 2)), b.scaled(j, 8)), right)
                self.number = b.add(b.scaled(j, 4), e)
                self.result(b.plus(self.number, block * width // 2), m, n)
            if self.boxed is not None:
                self.boxed.send(block, first, left)

    def store(self, value: SSAValue, access: Access, at: Callable[[Access], SSAValue]) -> None:
        """Stores an element, or keeps it until its block of columns is sent."""
        if self.boxed is not None and access.key() == self.boxed.access.key():
            self.boxed.keep(value, self.number)
        else:
            super().store(value, access, at)


def _kind(factor: Factor) -> StringAttr:
    """What wgmma calls an operand's elements."""
    element = factor.access.element
    if element == i8:
        return StringAttr("s8" if isinstance(factor.casts[0], arith.ExtSIOp) else "u8")
    return StringAttr("tf32" if element == f32 else element.name)


class _Operand:
    """One operand's stages in shared memory. turned: it lies along its rows, 64 of them to a block of boxes.

    Not turned, a box is 128 bytes of the sum for every row of the tile; turned, it is 64 rows for every element of the sum.
    """

    def __init__(
        self, owner: WgmmaLaunch, factor: Factor, dims: Sequence[int], limit: int, extent: int
    ) -> None:
        self.owner, self.b, self.extent = owner, owner.b, extent
        b, t = owner.b, owner.t
        box = box_of(owner.c, factor, dims, t.batch, t.sums)
        assert box is not None  # the plan asked
        self.turned = box.turned
        kind = factor.access.element
        self.depth = owner.depth
        self.stage_length = extent * self.depth
        self.stage_bytes = element_bytes(kind) * self.stage_length
        at = owner.launch.take_shared(STAGES * self.stage_bytes, 1024)
        self.shared = b.shared(b.index(at), STAGES * self.stage_length, kind)
        inner, outer = (limit, t.k) if self.turned else (t.k, limit)
        sizes, strides, extents = [inner, outer], [box.step], [self.depth, self.depth if self.turned else extent]
        self.batched = box.batch_step > 0
        if self.batched:
            sizes, strides, extents = [*sizes, t.z], [*strides, box.batch_step], [*extents, 1]
        argument = owner.launch.args[owner.old.index(factor.access.buffer)]
        assert isinstance(argument.type, MemRefType)
        properties: dict[str, Attribute] = {
            "sizes": DenseArrayBase.from_list(i64, sizes), "strides": DenseArrayBase.from_list(i64, strides),
            "box": DenseArrayBase.from_list(i64, extents), "offset": IntegerAttr(factor.access.offset, i64),
        }  # fmt: skip
        if kind == f32:
            properties["tf32"] = UnitAttr()
        op = nv.TensorMapOp.create(operands=[argument], result_types=[nv.TensorMapType()], properties=properties)
        self.map = b.at(op, 0)

    def bring(self, first: SSAValue, depth: SSAValue, stage: SSAValue, barriers: SSAValue) -> None:
        """The copies of one step: rows from `first` on, the sum from `depth` on."""
        b = self.b
        base = b.scaled(stage, self.stage_length)
        for block in range(0, self.extent, self.depth) if self.turned else (0,):
            row = b.plus(first, block)
            places = [row, depth] if self.turned else [depth, row]
            if self.batched:
                places.append(self.owner.z if self.owner.z is not None else b.index(0))
            target = b.plus(base, block * self.depth)
            op = nv.TmaLoadOp.create(operands=[self.map, *places, self.shared, target, barriers, stage])
            b.do(op)

    def descriptor(self, stage: SSAValue, rows: SSAValue | None, depth: int) -> SSAValue:
        """The matrix of one wgmma from `depth` on, from some of the tile's rows on (None: from the first)."""
        b = self.b
        place = b.scaled(stage, self.stage_length)
        if rows is not None:
            place = b.add(place, b.scaled(rows, self.depth))  # of 16 bits, 64 rows are one block either way
        place = b.plus(place, depth * self.depth if self.turned else depth)
        op = nv.MatrixDescriptorOp.create(
            operands=[self.shared, place], result_types=[i64],
            properties={"leading": _i32(nv.SWIZZLE_BYTES * self.depth if self.turned else 16)},
        )  # fmt: skip
        b.do(op)
        return op.results[0]
