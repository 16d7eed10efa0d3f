"""A contraction as launches: tiles of both operands pass through shared memory, sums stay in registers, epilogues follow.

Each block computes one tile of results. While a tile of the sum is multiplied from one half of shared memory, the next one is on
its way into registers and then the other half. A long sum with few results is cut into pieces; a second launch adds the pieces in order.
"""

from __future__ import annotations

from xdsl.dialects import arith, func, math
from xdsl.dialects.builtin import AnyFloat, FloatAttr, IntegerAttr
from xdsl.ir import Attribute, SSAValue

from .contraction_match import Factor
from .gpu_boxes import RUN_BYTES
from .gpu_bytes import BytesLaunch
from .gpu_contraction_launch import PLAIN, PieceSumLaunch, ProductLaunch
from .gpu_contraction_plan import DEPTH, SIDE, Tiling, Way, in_runs
from .gpu_teams import THREADS, WARP
from .gpu_tensor_core import TensorCoreLaunch
from .gpu_tf32 import Tf32Launch, Tf32x3Launch
from .gpu_wgmma import WgmmaLaunch
from .loop_builder import NO_OVERFLOW
from .memref_layout import element_bytes

_PAD = 4
STAGES = 2
FEW_BEHIND = 8
"""Operations of an epilogue (a bias, a residual, an activation) that leave registers enough for two blocks on a processor; an optimizer's
step, or the derivative of an activation, has more."""


def contraction_launches(function: func.FuncOp, name: str, tiling: Tiling) -> list[func.FuncOp]:
    """The launches of a matched contraction: the product, and the sum over its pieces where it is cut."""
    product_launch = LAUNCHES[tiling.way](function, name, tiling).write()
    if tiling.splits == 1:
        return [product_launch]
    return [product_launch, PieceSumLaunch(function, f"{name}_sum", tiling).write()]


class SimtLaunch(ProductLaunch):
    """Tiles of the product by multiply-adds of single threads, in the type that is summed."""

    def product(self) -> None:
        """All of one tile."""
        t = self.t
        self.ty, self.tx = self._place_in_tile()
        if t.splits > 1 or self._is_plain():
            self.launch.together = 2  # one block multiplies while the other one waits
        self.start_sums(t.thread_rows * t.thread_columns)
        self.tiles = [
            _Tile(self, t.left, t.rows, self.first_row, t.m, t.thread_rows),
            _Tile(self, t.right, t.columns, self.first_column, t.n, t.thread_columns),
        ]
        self._over_the_sum()
        self._results()

    def _is_plain(self) -> bool:
        """Whether little is computed behind the sum: neighbours are computed side by side, and functions of them take registers."""
        return sum(len(stage.body.ops) for stage in self.c.stages) <= FEW_BEHIND

    def _place_in_tile(self) -> tuple[SSAValue, SSAValue]:
        """Which thread it is along the rows and the columns. A warp is 4 by 8 of them, so that it reads few different elements; eight threads that
        shared memory serves at once are 2 by 4."""
        b = self.b
        warp, lane = b.divided(self.thread, WARP)
        down, across = b.divided(warp, 2)
        quarters, within = b.divided(lane, 2)
        half, place = b.divided(quarters, 8)
        return b.add(b.scaled(down, 4), b.add(b.scaled(half, 2), within)), b.add(b.scaled(across, 8), place)

    def _over_the_sum(self) -> None:
        """A tile is multiplied while the next one comes to registers, and put beside it behind that."""
        b, t = self.b, self.t
        low, high = b.index(0), b.index(t.k)
        if self.piece is not None:
            low = b.scaled(self.piece, t.piece)
            high = b.minimum(b.plus(low, t.piece), b.index(t.k))
        for tile in self.tiles:
            tile.fetch(low, high)
            tile.put(self._stage(low))
        b.barrier()
        with b.loop(low, high, DEPTH) as at:
            following = b.plus(at, DEPTH)
            is_followed = b.less(following, high)
            with b.when(is_followed):
                for tile in self.tiles:
                    tile.fetch(following, high)
            self._multiply(self._stage(at))
            with b.when(is_followed):
                for tile in self.tiles:
                    tile.put(self._stage(following))
            b.barrier()

    def _stage(self, at: SSAValue) -> SSAValue:
        """Which of both stages the tile that begins there is in."""
        return self.b.divided(self.b.divided(at, DEPTH)[0], 2)[1]

    def _multiply(self, stage: SSAValue) -> None:
        b, t = self.b, self.t
        kind = self.c.sum_type
        left = b.registers(t.thread_rows, kind, "a")
        right = b.registers(t.thread_columns, kind, "b")
        with b.loop(0, DEPTH, unroll=True) as k:
            self.tiles[0].take(stage, k, self.ty, left)
            self.tiles[1].take(stage, k, self.tx, right)
            with b.loop(0, t.thread_rows, unroll=True) as i, b.loop(0, t.thread_columns, unroll=True) as j:
                place = b.add(b.scaled(i, t.thread_columns), j)
                total = self._product(b.read(left, i), b.read(right, j), b.read(self.sums, place))
                b.write(total, self.sums, place)

    def _product(self, x: SSAValue, y: SSAValue, total: SSAValue) -> SSAValue:
        if isinstance(total.type, AnyFloat):
            return self.b.emit(math.FmaOp, (x, y, total), total.type, PLAIN)
        return self.added(total, self.b.emit(arith.MuliOp, (x, y), total.type, NO_OVERFLOW))

    def _results(self) -> None:
        b, t = self.b, self.t
        lanes = self.neighbours(min(4, t.thread_columns))
        with b.loop(0, t.thread_rows, unroll=True) as i:
            m = b.add(self.first_row, own_place(b, i, self.ty, t.thread_rows))
            with b.loop(0, t.thread_columns, lanes, unroll=True) as j:
                n = b.add(self.first_column, own_place(b, j, self.tx, t.thread_columns))
                self.result(b.add(b.scaled(i, t.thread_columns), j), m, n, lanes)


LAUNCHES: dict[Way, type[ProductLaunch]] = {
    Way.FMA: SimtLaunch, Way.MMA: TensorCoreLaunch, Way.WGMMA: WgmmaLaunch, Way.TF32: Tf32Launch, Way.TF32X3: Tf32x3Launch,
    Way.BYTES: BytesLaunch,
}  # fmt: skip


def own_place(b: object, i: SSAValue, thread: SSAValue, count: int) -> SSAValue:
    """Which row (or column) of the tile a thread's i-th one is: groups of up to four neighbours, SIDE groups side by side."""
    width = min(4, count)
    if count == width:
        return b.add(b.scaled(thread, width), i)
    group, within = b.divided(i, width)
    return b.add(b.add(b.scaled(group, SIDE * width), b.scaled(thread, width)), within)


class _Tile:
    """One operand's tiles: two of [DEPTH][extent] in shared memory, and the next one in registers.

    Neighbouring threads fetch along the sum where the operand is contiguous there, else along its rows (columns), as many
    elements each as one access has.
    """

    def __init__(self, owner: SimtLaunch, factor: Factor, dims: tuple[int, ...], first: SSAValue, limit: int, count: int) -> None:
        self.owner, self.b, self.factor, self.dims, self.limit = owner, owner.b, factor, dims, limit
        t, b = owner.t, owner.b
        self.count, self.extent = count, SIDE * count
        self.pitch = self.extent + _PAD
        kind = owner.c.sum_type
        at = owner.launch.take_shared(STAGES * DEPTH * self.pitch * element_bytes(kind))
        self.shared = b.shared(b.index(at), STAGES * DEPTH * self.pitch, kind)
        self.next = b.registers(count, factor.access.element, "next")
        access = factor.access
        self.along_sum = bool(t.sums) and abs(access.strides[t.sums[-1]]) == 1
        self.width = 1
        if t.sums and t.is_aligned and in_runs(owner.c, factor, dims, t.sums) and access.strides[t.sums[-1]] != -1:
            self.width = min(RUN_BYTES // element_bytes(access.element), count)
        self.base = b.plus(None, access.offset)
        if owner.z is not None and (part := owner.place(access, t.batch, owner.z)) is not None:
            self.base = b.plus(part, access.offset)
        self.first = first

    def _spot(self, i: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Depth and row of the i-th group of elements a thread fetches."""
        b, thread, width = self.b, self.owner.thread, self.width
        if self.along_sum:
            row, depth = b.divided(thread, DEPTH // width)
            return b.scaled(depth, width), b.add(b.scaled(i, THREADS * width // DEPTH), row)
        number = b.add(b.scaled(i, THREADS), thread)
        depth, row = b.divided(number, self.extent // width)
        return depth, b.scaled(row, width)

    def fetch(self, low: SSAValue, high: SSAValue) -> None:
        """Global memory to registers. Rows past the end repeat the last ones (their results are not stored); the sum ends."""
        b, t, access, width = self.b, self.owner.t, self.factor.access, self.width
        memory = self.owner.flat(access)
        by_depth, by_row = (width, 1) if self.along_sum else (1, width)
        with b.loop(0, self.count // width, unroll=True) as i:
            depth, row = self._spot(i)
            k, m = b.add(low, depth), b.add(self.first, row)
            inside = b.less(k, high) if t.k % DEPTH else None
            if self.limit % self.extent:
                m = b.minimum(m, b.index(self.limit - by_row))
            if inside is not None:
                k = b.minimum(k, b.index(t.k - by_depth))
            at = self.base
            for part in (self.owner.place(access, self.dims, m), self.owner.place(access, t.sums, k)):
                at = b.add(at, part)
            for lane, value in enumerate(b.read_lanes(memory, at, width)):
                if inside is not None:
                    value = b.emit(arith.SelectOp, (inside, value, self._nothing(access.element)), value.type)
                b.write(value, self.next, b.plus(b.scaled(i, width), lane))

    def _nothing(self, element: Attribute) -> SSAValue:
        zero = FloatAttr(0.0, element) if isinstance(element, AnyFloat) else IntegerAttr(0, element)
        return self.b.constant(zero, element)

    def put(self, stage: SSAValue) -> None:
        """Registers to a stage, as the type that is summed."""
        b, width = self.b, self.width
        wide = 1 if self.along_sum else min(width, RUN_BYTES // element_bytes(self.owner.c.sum_type))
        base = b.scaled(stage, DEPTH * self.pitch)
        with b.loop(0, self.count // width, unroll=True) as i:
            depth, row = self._spot(i)
            values = [self._widened(b.read(self.next, b.plus(b.scaled(i, width), lane))) for lane in range(width)]
            at = b.add(base, b.add(b.scaled(depth, self.pitch), row))
            for lane in range(0, width, wide):
                place = b.plus(at, lane * (self.pitch if self.along_sum else 1))
                if wide > 1:
                    b.write_lanes(values[lane : lane + wide], self.shared, place)
                else:
                    b.write(values[lane], self.shared, place)

    def _widened(self, value: SSAValue) -> SSAValue:
        for cast in self.factor.casts:
            value = self.b.emit(type(cast), (value,), cast.results[0].type, cast.properties)
        return value

    def take(self, stage: SSAValue, k: SSAValue, thread: SSAValue, registers: SSAValue) -> None:
        """The thread's rows at one depth of a stage, into registers. What is known when loops are unrolled is added last: it is a part of the instruction."""
        b = self.b
        base = b.add(b.scaled(stage, DEPTH * self.pitch), b.scaled(thread, min(4, self.count)))
        width = min(4, self.count)
        while width * element_bytes(self.owner.c.sum_type) > RUN_BYTES:
            width //= 2
        for group in range(0, self.count, width):
            four, rest = divmod(group, min(4, self.count))
            at = b.plus(b.scaled(k, self.pitch), four * SIDE * min(4, self.count) + rest)
            lanes = b.read_lanes(self.shared, b.add(base, at), width)
            for lane, value in enumerate(lanes):
                b.write(value, registers, b.index(group + lane))
