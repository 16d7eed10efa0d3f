"""Products on warpgroups (sm_90a): one warp has the copy engine bring tiles, two warpgroups multiply them.

There are as many blocks as run at once; they take tiles in turn, in an order that has neighbours share what they read. A block has
three warpgroups. The first brings tiles of both operands into a ring of stages and waits for a stage to be free;
the others wait for a stage to be full, multiply their 64 rows by all columns of the tile with wgmma, and give the stage before
it back. While they store results, the first brings the next tile's operands. Where two neighbours are a cluster (`Tiling.pair`), each brings
half of the tile both read to both of them, and a stage is free when both have multiplied it. Operands lie along the sum, those of 16 bits also along their rows: the 128-byte swizzle serves both. f32 is rounded to
TF32 by the copy engine; where it lies along its rows, the left operand is read into registers, and the right one turned by the other warps of the
first warpgroup (`gpu_turned_tiles.py`). Two TF32 numbers per factor (3xTF32) are made there, too: of the left operand in registers, of the right one by
those warps, what rounding leaves over beside it. Bytes are summed in 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import prod

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import IntegerAttr, StringAttr, UnitAttr, f32, i8, i32
from xdsl.ir import Attribute, SSAValue

from ..dialects import nv_hopper as nv
from .contraction_match import Access, Factor
from .gpu_barriers import Barriers
from .gpu_boxes import SLOT, Cut, Dimension, Loop, OperandBoxes
from .gpu_contraction_launch import ProductLaunch
from .gpu_fragments import Fragments
from .gpu_teams import WARP
from .gpu_turned_tiles import TURNER_REGISTERS, TURNERS, TileTurner
from .gpu_wgmma_store import BoxedOutput, boxed_output, meet, tensor_map
from .loop_builder import INDEX, NO_OVERFLOW
from .memref_layout import element_bytes

Places = Mapping[Loop, SSAValue]
"""Where something is, along some loops."""
_Within = tuple[Cut, Places, SSAValue]

STAGES = 4
PAIR = 2
"""Blocks of a cluster."""
GROUP = 128
"""Threads of a warpgroup."""
ROWS = nv.WGMMA_ROWS
BLOCK_REGISTERS, PRODUCER_REGISTERS = 504, 40
"""Of three threads, one of each warpgroup: 65,536 for 384 threads, in eights. And of the one that copies."""


def _i32(n: int) -> IntegerAttr:
    return IntegerAttr(n, i32)


class WgmmaLaunch(ProductLaunch):
    """Tiles of the product by wgmma. depth: elements of the sum in a tile, as many as 128 bytes have; step: in one wgmma."""

    threads = 3 * GROUP

    def write(self) -> func.FuncOp:
        """The launch's function."""
        t, b = self.t, self.b
        self.thread = b.thread()
        assert t.boxes is not None  # the plan made them
        self.boxes, self.depth = t.boxes, t.boxes.depth
        self.step = self.depth * nv.WGMMA_BYTES // nv.SWIZZLE_BYTES
        self.rank: SSAValue | None = b.divided(b.block(), PAIR)[1] if t.pair else None
        self.launch.cluster = PAIR if t.pair else 1
        self.left = _Operand(self, t.left, t.boxes.left, t.tile_rows, t.pair == "left")
        self.right = _Operand(self, t.right, t.boxes.right, t.tile_columns, t.pair == "right", keeps_rest=t.doubled)
        self.fragments = Fragments(self, self.left, t.doubled) if t.doubled or self.left.is_turned_here else None
        turned = [self.right] if t.doubled or self.right.is_turned_here else []
        readers = 2 if self.fragments is None else 2 * GROUP // WARP
        self.barriers = Barriers(self.launch, [1] * STAGES + [readers * self.launch.cluster] * STAGES + [TURNERS] * (STAGES if turned else 0))  # full, free, turned
        self.ready = 2 * STAGES if turned else 0
        """The first of the barriers that products wait for."""
        boxed = boxed_output(t)
        self.boxed = BoxedOutput(self, *boxed) if boxed is not None else None
        self.clips = boxed is not None and len(self.c.outputs) == 1 and all(isinstance(i, int) for s in self.c.stages for i in s.inputs)
        self.steps = -(-t.piece // self.depth)
        self.resident = min(t.tiles, t.resident)
        group, self.lane = b.divided(self.thread, GROUP)
        self.barriers.start(self.thread, in_cluster=bool(t.pair))
        fewer = TURNER_REGISTERS if turned else PRODUCER_REGISTERS
        with b.when(b.equal(group, b.index(0))):
            b.do(nv.SetRegistersOp.create(properties={"count": _i32(fewer)}))
            with b.when(b.equal(self.thread, b.index(0))), self._tiles() as turn:
                self._bring(turn)
            if turned:
                with b.when(b.less(b.index(31), self.thread)):
                    self._turn(turned)
        with b.otherwise():
            more = {"count": _i32((BLOCK_REGISTERS - fewer) // 2 // 8 * 8), "more": UnitAttr()}
            b.do(nv.SetRegistersOp.create(properties=more))
            group = b.plus(group, -1)
            if self.boxed is not None:
                self.boxed.start(group, self.lane)
            with self._tiles() as turn:
                self._multiply(turn, group)
            if self.boxed is not None:
                self.boxed.finish()
        if t.pair:  # the other block has arrived at barriers of this one, which have to be there
            b.do(nv.ClusterBarrierOp.create())
        return self.launch.finish([self.resident], self.threads)

    @contextmanager
    def _tiles(self, taken: bool = True) -> Iterator[SSAValue]:
        """Over the block's tiles: how many it had before. taken: whether it matters which ones."""
        b, t = self.b, self.t
        if t.tiles == self.resident:
            if taken:
                self._take(b.block())
            yield b.index(0)
            return
        with b.loop(b.block(), t.tiles, self.resident) as tile:
            if taken:
                self._take(tile)
            yield b.divided(tile, self.resident)[0]

    def _take(self, tile: SSAValue) -> None:
        """A tile by its number: columns of `band` tiles, side by side, so that those at work at once read few rows and few columns."""
        b, t = self.b, self.t
        across, down, band = t.tiles_across, t.tiles_down, t.band
        if t.pair == "right":
            down, band = down // PAIR, max(1, band // PAIR)
        elif t.pair:
            across //= PAIR
        if self.rank is not None:
            tile = b.divided(tile, PAIR)[0]
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
        if t.pair == "right":
            row = b.add(b.scaled(row, PAIR), self.rank)
        elif t.pair:
            column = b.add(b.scaled(column, PAIR), self.rank)
        self.take_tile(z, row, column)
        self.row_box = b.scaled(row, t.tile_rows // SLOT)
        self.column_box = b.scaled(column, t.tile_columns // SLOT)
        self.low = b.index(0) if self.piece is None else b.scaled(self.piece, self.steps)

    def starts(self, cut: Cut, number: SSAValue) -> Places:
        """Where the n-th box of a list begins, along each of its loops."""
        b = self.b
        return {loop: b.scaled(digit, n) for loop, digit, n in zip(cut.loops, b.digits(number, cut.counts), cut.box, strict=True)}

    def batch_places(self) -> Places:
        """Which batch it is, along each of its loops."""
        loops = self.boxes.batch
        numbers = self.b.digits(self.z, [loop.size for loop in loops]) if self.z is not None else []
        return dict(zip(loops, numbers, strict=True))

    def _stage(self, number: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Where the n-th step of the block lies in the ring, and which turn of it that is."""
        turn, stage = self.b.divided(number, STAGES)
        return stage, turn

    def _bring(self, turn: SSAValue) -> None:
        """One thread: every step of the sum, as soon as its stage is free. The first round waits for nothing."""
        b = self.b
        with b.loop(0, self.steps, unroll=False) as step:
            stage, turn_of_ring = self._stage(b.add(b.scaled(turn, self.steps), step))
            self.barriers.wait(b.plus(stage, STAGES), b.divided(b.plus(turn_of_ring, 1), 2)[1], in_cluster=self.rank is not None)
            self.barriers.expect(stage, self.left.brought_bytes + self.right.brought_bytes)
            places = {**self.starts(self.boxes.sums, b.add(self.low, step)), **self.batch_places()}
            self.left.bring(self.row_box, places, stage, self.barriers.memory)
            self.right.bring(self.column_box, places, stage, self.barriers.memory)

    def _turn(self, operands: Sequence[_Operand]) -> None:
        """The other warps of the first warpgroup: every step as soon as it is there, in the places where it was brought."""
        b = self.b
        turner = TileTurner(self.launch, self.lane)
        with self._tiles(taken=False) as turn, b.loop(0, self.steps, unroll=False) as step:
            stage, turn_of_ring = self._stage(b.add(b.scaled(turn, self.steps), step))
            self.barriers.wait(stage, b.divided(turn_of_ring, 2)[1])
            for operand in operands:
                turner.turn(stage, operand.at, operand.stage_length, operand.is_turned_here, operand.rest_at)
            turner.show()
            with b.when(turner.is_leader):
                self.barriers.arrive(b.plus(stage, self.ready))

    def _multiply(self, turn: SSAValue, group: SSAValue) -> None:
        """A warpgroup: its 64 rows of a tile. A stage is given back when the products after it are under way, the last one by the next tile.

        Not in front of the results: ptxas takes sums that are read behind such a branch for read too early.
        """
        b, t = self.b, self.t
        self.start_sums(t.tile_columns // 2)
        own = b.scaled(group, ROWS)
        if self.fragments is not None:
            self._multiply_fragments(turn, own)
            self._results(group)
            return
        leader = b.equal(self.lane, b.index(0))
        with b.loop(0, self.steps, unroll=False) as step:
            number = b.add(b.scaled(turn, self.steps), step)
            stage, turn_of_ring = self._stage(number)
            self.barriers.wait(b.plus(stage, self.ready), b.divided(turn_of_ring, 2)[1])
            b.do(nv.WgmmaFenceOp.create())
            for depth in range(0, self.depth, self.step):
                self._step(stage, own, depth)
            b.do(nv.WgmmaCommitOp.create())
            b.do(nv.WgmmaWaitOp.create(properties={"pending": _i32(1)}))
            with b.when(leader), b.when(b.less(b.index(0), number)):
                self._give_back(b.plus(number, -1))
        b.do(nv.WgmmaWaitOp.create(properties={"pending": _i32(0)}))
        self._results(group)

    def _multiply_fragments(self, turn: SSAValue, own: SSAValue) -> None:
        """The same with the left operand from registers: they are free for the next step when the products before it have ended, while the other
        warpgroup's are under way. Every warp gives a stage back by itself.
        """
        b, fragments = self.b, self.fragments
        assert fragments is not None
        fragments.start(own, self.lane)
        leader = b.equal(b.divided(self.lane, WARP)[1], b.index(0))
        with b.loop(0, self.steps, unroll=False) as step:
            number = b.add(b.scaled(turn, self.steps), step)
            stage, turn_of_ring = self._stage(number)
            parity = b.divided(turn_of_ring, 2)[1]
            for first in sorted({0, self.ready}):
                self.barriers.wait(b.plus(stage, first), parity)
            b.do(nv.WgmmaWaitOp.create(operands=[self.sums, *fragments.registers], properties={"pending": _i32(0)}))
            b.sync_warp()
            with b.when(leader), b.when(b.less(b.index(0), number)):
                self._give_back(b.plus(number, -1))
            fragments.read(stage)
            b.do(nv.WgmmaFenceOp.create())
            for depth in range(0, self.depth, self.step):
                for part, is_rest in fragments.terms:
                    right = self.right.descriptor(stage, None, depth, is_rest)
                    operands = [self.sums, part, b.index(depth // self.step * 4), right]
                    b.do(nv.WgmmaRegistersOp.create(operands=operands, properties={"kind": StringAttr("tf32")}))
            b.do(nv.WgmmaCommitOp.create())
        b.do(nv.WgmmaWaitOp.create(properties={"pending": _i32(0)}))

    def _give_back(self, number: SSAValue) -> None:
        barrier = self.b.plus(self._stage(number)[0], STAGES)
        self.barriers.arrive(barrier)
        if self.rank is not None:
            other = self.b.emit(arith.SubiOp, (self.b.index(1), self.rank), INDEX, NO_OVERFLOW)
            self.barriers.arrive_at(barrier, other)

    def _step(self, stage: SSAValue, own: SSAValue, depth: int) -> None:
        properties: dict[str, Attribute] = {"left": _kind(self.t.left), "right": _kind(self.t.right)}
        if self.left.turned:
            properties["a_turned"] = UnitAttr()
        if self.right.turned:
            properties["b_turned"] = UnitAttr()
        a = self.left.descriptor(stage, own, depth)
        c = self.right.descriptor(stage, None, depth)
        self.b.do(nv.WgmmaOp.create(operands=[self.sums, a, c], properties=properties))

    def _results(self, group: SSAValue) -> None:
        """Thread 32w + l of a warpgroup has row l/4 of eight of its warp's, and of the eight behind them, columns 8j + 2*(l%4) and the next."""
        b, t = self.b, self.t
        rows, columns = self.boxes.left.own, self.boxes.right.own
        warp, lane = b.divided(self.lane, 32)
        quarter, pair = b.divided(lane, 4)
        row = self.row_of(warp, quarter)
        first = self.starts(rows, b.add(self.row_box, group))
        width = self.boxed.columns if self.boxed is not None else SLOT
        for block in range(t.tile_columns // width):
            box, within = divmod(block * width, SLOT)
            left = self.starts(columns, b.plus(self.column_box, box))
            if self.boxed is not None:
                self.boxed.open()
            else:
                meet(b, group)
            with b.loop(0, width // 8, unroll=True) as j, b.loop(0, 4, unroll=True) as e:
                lower, right = b.divided(e, 2)
                self.number = b.add(b.scaled(j, 4), e)
                column = b.plus(b.add(b.add(b.scaled(pair, 2), b.scaled(j, 8)), right), within)
                self._result(b.plus(self.number, block * width // 2), (rows, first, b.add(row, b.scaled(lower, 8))), (columns, left, column))
            if self.boxed is not None:
                self.boxed.send(block, first, b.plus(left[columns.loops[0]], within))

    def row_of(self, warp: SSAValue, eighth: SSAValue) -> SSAValue:
        """Which of the warpgroup's rows is one of the first eight of a warp; the others are 8 further."""
        if self.fragments is not None:
            return self.fragments.row_of(warp, eighth)
        return self.b.add(self.b.scaled(warp, 16), eighth)

    def _result(self, place: SSAValue, row: _Within, column: _Within) -> None:
        """Hands on a sum. row, column: of which box, where that begins, and the place in it."""
        self.limits = [limit for side in (row, column) for limit in self._limits(*side)]
        self.known = {**self._places(*row), **self._places(*column)}
        self.result(place, self._number(*row), self._number(*column))

    def place(self, access: Access, dims: Sequence[int], number: SSAValue) -> SSAValue | None:
        """The part of an address that some loops give, from where the boxes are along those that step evenly."""
        loops = [loop for loop in self.known if loop.dims[0] in dims and any(access.strides[d] for d in loop.dims)]
        if not all(loop.is_even(self.c, access) for loop in loops) or not set(dims) <= {d for loop in self.known for d in loop.dims}:
            return super().place(access, dims, number)
        total: SSAValue | None = None
        for loop in loops:
            total = self.b.add(total, self.b.scaled(self.known[loop], loop.step(access)))
        return total

    def _places(self, cut: Cut, first: Places, within: SSAValue) -> Places:
        b = self.b
        return {loop: b.add(first[loop], digit) for loop, digit in zip(cut.loops, b.digits(within, cut.box), strict=True)}

    def _number(self, cut: Cut, first: Places, within: SSAValue) -> SSAValue:
        """The joint number of all loops of a list at a place of a box."""
        total: SSAValue | None = None
        for loop, place in self._places(cut, first, within).items():
            total = place if total is None else self.b.add(self.b.scaled(total, loop.size), place)
        assert total is not None
        return total

    def _limits(self, cut: Cut, first: Places, within: SSAValue) -> list[tuple[SSAValue, int]]:
        """What has to be below what for a place of a box to be one of the list's: loops end, and a box may be smaller than its slot."""
        places = self._places(cut, first, within)
        slots = -(-cut.count // self.slots(cut)) * self.slots(cut)
        ends = [(places[loop], loop.size) for loop in cut.loops if loop in cut.cut or loop == cut.loops[0] and slots > cut.count]
        return [*ends, (within, prod(cut.box))] if len(cut.loops) > 1 and prod(cut.box) < SLOT else ends

    def slots(self, cut: Cut) -> int:
        """Boxes of a list in a tile."""
        return (self.t.tile_rows if cut is self.boxes.left.own else self.t.tile_columns) // SLOT

    def _inside(self, m: SSAValue, n: SSAValue) -> AbstractContextManager[None]:
        """Where a place is one of the result's; everywhere, if boxes are never cut."""
        b = self.b
        cut = [b.less(place, b.index(size)) for place, size in self.limits]
        if self.clips or not cut:
            return nullcontext()
        condition = cut[0]
        for more in cut[1:]:
            condition = b.emit(arith.AndIOp, (condition, more), condition.type)
        return b.when(condition)

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
    """One operand's stages in shared memory, a slot of 64 rows after the other.

    Not turned, a row of a box is 128 bytes of the sum, and one box may bring all slots; turned, it is 64 rows of 16 bits. 32 rows of 32 bits
    are turned in shared memory or on the way to registers. keeps_rest: there is room for what rounding to TF32 leaves over.
    """

    def __init__(self, owner: WgmmaLaunch, factor: Factor, boxes: OperandBoxes, extent: int, is_shared: bool, keeps_rest: bool = False) -> None:
        self.owner, self.b, self.boxes = owner, owner.b, boxes
        kind = factor.access.element
        self.is_turned_here = boxes.turned and element_bytes(kind) > 2
        self.turned = boxes.turned and not self.is_turned_here
        self.depth = owner.depth
        self.stage_length = extent * self.depth
        self.at = owner.launch.take_shared(STAGES * element_bytes(kind) * self.stage_length, 1024)
        self.shared = owner.b.shared(owner.b.index(self.at), STAGES * self.stage_length, kind)
        self.rest_at: int | None = None
        self.rest: SSAValue | None = None
        if keeps_rest:
            self.rest_at = owner.launch.take_shared(STAGES * element_bytes(kind) * self.stage_length, 1024)
            self.rest = owner.b.shared(owner.b.index(self.rest_at), STAGES * self.stage_length, kind)
        self.slots = extent // SLOT
        self.is_shared = is_shared
        self.own_slots = self.slots // PAIR if is_shared else self.slots
        lengths = [d.box for d in boxes.dimensions]
        whole = next((i for i, d in enumerate(boxes.dimensions) if any(loop == boxes.own.loops[0] for loop, _ in d.loops)), 0)
        self.at_once = self.own_slots if boxes.is_whole and lengths[whole] * self.own_slots * boxes.dimensions[whole].every <= nv.LARGEST_BOX else 1
        lengths[whole] *= self.at_once
        self.row = lengths[0]
        self.brought_bytes = self.slots // self.at_once * boxes.beside * prod(lengths) * element_bytes(kind)
        self.map = tensor_map(owner, factor.access.buffer, boxes.offset, boxes.dimensions, lengths, is_rounded=kind == f32 and not owner.t.doubled)

    def bring(self, first: SSAValue, places: Places, stage: SSAValue, barriers: SSAValue) -> None:
        """The copies of one step: the tile's boxes of rows, from the first on; places: where the sum is, and the batch."""
        b = self.b
        base = b.scaled(stage, self.stage_length)
        properties: dict[str, Attribute] = {}
        if self.is_shared:
            half = b.scaled(self.owner.rank, self.own_slots)
            first, base = b.add(first, half), b.add(base, b.scaled(half, SLOT * self.depth))
            properties["cluster"] = _i32((1 << PAIR) - 1)
        for slot in range(0, self.own_slots, self.at_once):
            known = {**places, **self.owner.starts(self.boxes.own, b.plus(first, slot))}
            target = b.plus(base, slot * SLOT * self.depth)
            at = [self._place(d, known) for d in self.boxes.dimensions]
            for k in range(self.boxes.beside):
                beside = [b.plus(at[0], k * self.row), *at[1:]]
                b.do(nv.TmaLoadOp.create(operands=[self.map, *beside, self.shared, b.plus(target, k * self.row * self.depth), barriers, stage], properties=properties))

    def _place(self, dimension: Dimension, known: Places) -> SSAValue:
        """Where a box begins along a dimension: what its loops do together."""
        b = self.b
        total: SSAValue | None = None
        for loop, many in dimension.loops:
            at = known[loop]
            if many < 0:  # from its end on
                at = b.emit(arith.SubiOp, (b.index(loop.size - 1), at), INDEX, NO_OVERFLOW)
            total = b.add(total, b.scaled(at, abs(many)))
        assert total is not None
        return total

    def descriptor(self, stage: SSAValue, rows: SSAValue | None, depth: int, is_rest: bool = False) -> SSAValue:
        """The matrix of one wgmma from `depth` on, from some of the tile's rows on (None: from the first). is_rest: of what rounding left over."""
        b = self.b
        place = b.scaled(stage, self.stage_length)
        if rows is not None:
            place = b.add(place, b.scaled(rows, self.depth))  # of 16 bits, 64 rows are one block either way
        leading = nv.SWIZZLE_BYTES * self.depth if self.turned else 16
        return b.matrix(self.rest if is_rest else self.shared, place, depth * self.depth if self.turned else depth, leading)
