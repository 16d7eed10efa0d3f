"""A sweep of a chain on warpgroups (sm_90a): the copy engine brings tiles, wgmma multiplies them, rows stay in registers.

A block has one warpgroup that copies and one or two that multiply, 64 rows each. What the block keeps comes once, what passes by
through a ring of stages. Tiles of a matrix lie in registers as mma.sync has them, so that what becomes of them (maxima, exponentials,
masks) is written as for warps; packed, they are the left operand of the next product.
"""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.dialects.builtin import DenseArrayBase, IndexType, IntegerAttr, MemRefType, StringAttr, UnitAttr, f32, i32, i64
from xdsl.ir import Attribute, SSAValue

from ..dialects import nv_hopper as nv
from .gpu_barriers import Barriers
from .gpu_builder import GpuBuilder
from .gpu_chain_operand import Operand
from .gpu_chain_plan import CORE, Factor
from .gpu_chain_shape import BLOCK, STAGES, WARPS, Shape, factors_of, in_blocks
from .gpu_chain_sweep import SweepLaunch
from .gpu_chain_tiles import CoreTiles
from .gpu_teams import WARP
from .loop_builder import NO_OVERFLOW

GROUP = WARPS * WARP
PRODUCER_REGISTERS, CONSUMER_REGISTERS = 40, 232
"""Where two warpgroups multiply: of 65,536 for 384 threads, in eights. Where one does, there are enough."""


class GroupOperand(Operand):
    """A factor's tiles as the copy engine brings them: blocks of 64 elements of the depth, in the 128-byte swizzle; beyond the depth they are
    zero, and nobody reads them.
    """

    def __init__(self, owner: GroupSweepLaunch, factor: Factor, rows: int, stages: int, number: int) -> None:
        self.owner, self.b, self.factor, self.rows, self.stages, self.number = owner, owner.b, factor, rows, stages, number
        self.depth = owner.plan.depths[factor.depth]
        self.length = rows * in_blocks(self.depth)
        kind = owner.plan.kind
        assert kind is not None and factor.place is not None
        at = owner.launch.take_shared(2 * self.length * stages, 1024)
        self.shared = self.b.shared(self.b.index(at), self.length * stages, kind)
        place = factor.place
        held = [role for role, step in place.steps if step and role != factor.depth]
        self.roles = sorted(held, key=place.step)  # dimensions with the smaller stride first, as the copy engine's documents have it
        argument = owner.launch.args[owner.old.index(place.buffer)]
        assert isinstance(argument.type, MemRefType)
        op = nv.TensorMapOp.create(
            operands=[argument], result_types=[nv.TensorMapType()],
            properties={
                "sizes": DenseArrayBase.from_list(i64, [owner.sizes[factor.depth], *(owner.sizes[r] for r in self.roles)]),
                "strides": DenseArrayBase.from_list(i64, [place.step(r) for r in self.roles]),
                "box": DenseArrayBase.from_list(i64, [BLOCK, *(rows if r == factor.role else 1 for r in self.roles)]),
                "offset": IntegerAttr(place.offset, i64),
            },
        )  # fmt: skip
        self.map = self.b.at(op, 0)

    def bring(self, first: SSAValue, stage: SSAValue, barriers: Barriers, barrier: SSAValue) -> None:
        """The copies of one tile, from a row on; what lies beyond the last row is zero."""
        b = self.b
        barriers.expect(barrier, 2 * self.length)
        for block in range(0, self.depth, BLOCK):
            target = b.plus(self.base(stage), block * self.rows)
            places = [b.index(block), *(first if r == self.factor.role else self.owner.batch[r] for r in self.roles)]
            b.do(nv.TmaLoadOp.create(operands=[self.map, *places, self.shared, target, barriers.memory, barrier]))

    def along(self, stage: SSAValue, depth: int, row: SSAValue | None = None) -> SSAValue:
        """The matrix of one wgmma whose sum goes along the depth, 16 from `depth` on; its rows from `row` on (None: all)."""
        block, within = divmod(depth, BLOCK)
        at = self.base(stage)
        return self.b.matrix(self.shared, at if row is None else self.b.add(at, self.b.scaled(row, BLOCK)), block * BLOCK * self.rows + within, 16)

    def turned(self, stage: SSAValue, row: int) -> SSAValue:
        """The matrix of one wgmma whose sum goes along the rows, 16 from `row` on."""
        return self.b.matrix(self.shared, self.base(stage), row * BLOCK, 2 * BLOCK * self.rows)


class GroupTiles(CoreTiles):
    """Tiles by wgmma: a warpgroup has 64 rows, its warps 16 each."""

    def __init__(self, b: GpuBuilder, shape: Shape, kind: Attribute, group: SSAValue, thread: SSAValue) -> None:
        self.b, self.shape, self.kind = b, shape, kind
        self.row_count = 2
        warp, self.lane = b.divided(thread, WARP)
        self.group_row = b.scaled(group, nv.WGMMA_ROWS)
        self.first_row = b.add(self.group_row, b.scaled(warp, CORE))
        self.group, pair = b.divided(self.lane, 4)
        self.pair = b.scaled(pair, 2)
        self.is_first = b.equal(pair, b.index(0))

    def settle(self, *held: SSAValue, pending: int = 0) -> None:
        """Waits for the products that are under way but the last `pending` ones. held: registers of those that began elsewhere."""
        self.b.do(nv.WgmmaWaitOp.create(operands=list(held), properties={"pending": IntegerAttr(pending, i32)}))

    def multiply(self, left: GroupOperand, right: GroupOperand, stage: SSAValue, sums: SSAValue) -> None:
        """sums = left[row, depth] * right[column, depth], under way; right's tile is that of a stage."""
        b = self.b
        kind = StringAttr(self.kind.name)
        b.do(nv.WgmmaFenceOp.create())
        for depth in range(0, left.depth, CORE):
            a, c = left.along(b.index(0), depth, self.group_row), right.along(stage, depth)
            properties: dict[str, Attribute] = {"left": kind, "right": kind} | ({} if depth else {"fresh": UnitAttr()})
            b.do(nv.WgmmaOp.create(operands=[sums, a, c], properties=properties))
        b.do(nv.WgmmaCommitOp.create())

    def add_product(self, left: SSAValue, right: GroupOperand, stage: SSAValue, sums: SSAValue) -> None:
        """sums[row, depth] += left[row, column] * right[column, depth], under way; left is a tile in registers."""
        packed = self.packed()
        self.pack(left, packed)
        self.add_packed(packed, right, stage, sums)

    def packed(self) -> SSAValue:
        """Registers for a tile as the left operand of a product."""
        return self.b.registers(self.shape.other // 4, i32, "p")

    def pack(self, left: SSAValue, packed: SSAValue) -> None:
        """A tile in registers as the left operand of a product."""
        b = self.b
        with b.loop(0, self.shape.other // CORE, unroll=True) as k:
            self._pack(left, b.index(0), k, packed, b.scaled(k, 4))

    def add_packed(self, packed: SSAValue, right: GroupOperand, stage: SSAValue, sums: SSAValue) -> None:
        """sums[row, depth] += packed[row, column] * right[column, depth], under way."""
        b = self.b
        b.do(nv.WgmmaFenceOp.create())
        properties: dict[str, Attribute] = {"kind": StringAttr(self.kind.name), "b_turned": UnitAttr()}
        for k in range(self.shape.other // CORE):
            operands = [sums, packed, b.index(4 * k), right.turned(stage, k * CORE)]
            b.do(nv.WgmmaRegistersOp.create(operands=operands, properties=properties))
        b.do(nv.WgmmaCommitOp.create())


class GroupSweepLaunch(SweepLaunch):
    """One sweep on warpgroups. Barriers: what is kept is there; per operand that passes by, a stage is full; a stage is free, of all
    operands at once or, where the next tile's products are ahead, of each.
    """

    def _place_operands(self) -> None:
        b = self.b
        kept, passing = factors_of(self.plan, self.sweep)
        self.operands = {}
        for factors, rows, stages in ((kept, self.shape.own, 1), (passing, self.shape.other, STAGES)):
            for f in factors:
                self.operands[f] = GroupOperand(self, f, rows, stages, 1 + STAGES * (len(self.operands) - len(kept)))
        self.kept, self.passing = kept, passing
        together = 1 if not self.shape.ahead else len(passing)
        free = 1 + STAGES * len(passing)
        self.free = {f: free + STAGES * (k if self.shape.ahead else 0) for k, f in enumerate(passing)}
        arrivals = [len(kept)] + [1] * (STAGES * len(passing)) + [self.shape.groups] * (STAGES * together)
        self.barriers = Barriers(self.launch, arrivals)
        self.barriers.start(b.thread())

    def _work(self) -> None:
        b = self.b
        group, thread = b.divided(b.thread(), GROUP)
        with b.when(b.equal(group, b.index(0))):
            self._set_registers(PRODUCER_REGISTERS, more=False)
            with b.when(b.equal(thread, b.index(0))):
                self._bring()
        with b.otherwise():
            self._set_registers(CONSUMER_REGISTERS, more=True)
            assert self.plan.kind is not None
            self.leads = b.equal(thread, b.index(0))
            self.tiles: GroupTiles = GroupTiles(b, self.shape, self.plan.kind, b.plus(group, -1), thread)
            super()._work()

    def _set_registers(self, count: int, more: bool) -> None:
        if self.shape.groups > 1:
            properties: dict[str, Attribute] = {"count": IntegerAttr(count, i32)} | ({"more": UnitAttr()} if more else {})
            self.b.do(nv.SetRegistersOp.create(properties=properties))

    def _ring(self, number: SSAValue) -> tuple[SSAValue, SSAValue]:
        """The stage of the sweep's n-th tile, and the parity of its turn."""
        turn, stage = self.b.divided(number, STAGES)
        return stage, self.b.divided(turn, 2)[1]

    def _bring(self) -> None:
        """One thread: what is kept, then every tile as soon as its stage is free. The first round waits for nothing."""
        b = self.b
        for f in self.kept:
            self.operands[f].bring(self.first, b.index(0), self.barriers, b.index(0))
        first, last = self._limits()
        with b.loop(first, last) as tile:
            stage, parity = self._ring(self._number(tile, first))
            before = b.emit(arith.SubiOp, (b.index(1), parity), IndexType(), NO_OVERFLOW)
            awaited: set[int] = set()
            for f in self.passing:
                operand = self.operands[f]
                if self.free[f] not in awaited:
                    self.barriers.wait(b.plus(stage, self.free[f]), before)
                    awaited.add(self.free[f])
                operand.bring(b.scaled(tile, self.shape.other), stage, self.barriers, b.plus(stage, operand.number))

    def _number(self, tile: SSAValue, first: SSAValue) -> SSAValue:
        return self.b.emit(arith.SubiOp, (tile, first), IndexType(), NO_OVERFLOW)

    def _walk(self) -> None:
        b = self.b
        self.barriers.wait(b.index(0), b.index(0))
        first, last = self._limits()
        if self.shape.ahead:
            with b.when(b.less(first, last)):
                self._walk_ahead(first, last)
            return
        with b.loop(first, last) as tile:
            self._turn_to(tile, first)
            self._one_tile()
            self._give_back(self.passing)

    def _turn_to(self, tile: SSAValue, first: SSAValue) -> None:
        """Operands are those of this tile from here on."""
        self.stage, self.parity = self._ring(self._number(tile, first))
        self.start = self.b.scaled(tile, self.shape.other)
        self.here_already: set[int] = set()

    def _give_back(self, factors: list[Factor]) -> None:
        """Stages of the tile that may be filled again."""
        b = self.b
        with b.when(self.leads):
            for number in sorted({self.free[f] for f in factors}):
                self.barriers.arrive(b.plus(self.stage, number))

    def _walk_ahead(self, first: SSAValue, last: SSAValue) -> None:
        """At least one tile. While its elements are computed, the sums over the one before are under way; the matrices of the next one are begun as soon
        as their registers are free, before the sums over this one.
        """
        b = self.b
        summed = [s for s in self.sweep.sums if s.right is not None]
        sums, packed = [self.partial[s] for s in summed], [self.tiles.packed() for _ in summed]
        right = list(dict.fromkeys(s.right for s in summed if s.right is not None))
        made = [f for f in self.passing if f not in right]
        self.products = self._registers_of_tiles()
        products = list(self.products.values())
        self.growth = b.registers(self.tiles.row_count, f32, "growth")
        self._turn_to(first, first)
        self._multiply()
        self.tiles.settle(*products)
        self._give_back(made)
        with b.loop(first, last) as tile:
            following = b.plus(tile, 1)
            self._turn_to(tile, first)
            weights = self._weights()
            for registers in weights.values():
                b.do(nv.HoldOp.create(operands=[registers]))
            self._await(*(self.operands[f] for f in right))  # here, for its loop: ptxas would move the next wait in front of the elements
            self.tiles.settle(*sums, *packed)
            with b.when(b.less(first, tile)):
                self._turn_to(b.plus(tile, -1), first)
                self._give_back(right)
            if self.sweep.maximum is not None:
                with self.tiles.rows() as (number, _):
                    self._scale(summed, number, b.read(self.growth, number))
            for s, registers in zip(summed, packed, strict=True):
                self.tiles.pack(weights[s], registers)
            with b.when(b.less(following, last)):
                self._turn_to(following, first)
                self._multiply()
            self._turn_to(tile, first)
            for s, registers in zip(summed, packed, strict=True):
                self.tiles.add_packed(registers, self.operands[s.right], self.stage, self.partial[s])
            self.tiles.settle(*products, pending=len(summed))
            with b.when(b.less(following, last)):
                self._turn_to(following, first)
                self._give_back(made)
        self.tiles.settle(*sums)

    def _grown(self, row: SSAValue, factor: SSAValue) -> None:
        """Sums that are under way are scaled later."""
        if not self.shape.ahead:
            super()._grown(row, factor)
            return
        self._scale([s for s in self.partial if s.right is None], row, factor)
        self.b.write(factor, self.growth, row)

    def _await(self, *operands: Operand) -> None:
        for operand in operands:
            assert isinstance(operand, GroupOperand)
            if operand.stages > 1 and operand.number not in self.here_already:
                self.here_already.add(operand.number)
                self.barriers.wait(self.b.plus(self.stage, operand.number), self.parity)
