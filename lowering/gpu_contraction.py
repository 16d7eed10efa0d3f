"""A contraction as launches: tiles of both operands pass through shared memory, sums stay in registers, epilogues follow.

Each block computes one tile of results. While a tile of the sum is multiplied from shared memory, the next one is on
its way into registers. A long sum with few results is cut into pieces; a second launch adds the pieces in order.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, func, math
from xdsl.dialects.builtin import AnyFloat, FloatAttr, IntegerAttr, StringAttr
from xdsl.ir import Attribute, SSAValue

from .contraction_match import Access, Factor
from .gpu_contraction_plan import DEPTH, SIDE, Tiling
from .gpu_launch import LaunchBuilder
from .gpu_teams import THREADS
from .loop_builder import NO_OVERFLOW
from .memref_layout import element_bytes
from .nest_body import BodyEmitter, Point

PLAIN: dict[str, Attribute] = {"fastmath": arith.FastMathFlagsAttr("none")}
_PAD = 4


def contraction_launches(function: func.FuncOp, name: str, tiling: Tiling) -> list[func.FuncOp]:
    """The launches of a matched contraction: the product, and the sum over its pieces where it is cut."""
    product_launch = ProductLaunch(function, name, tiling).write()
    if tiling.splits == 1:
        return [product_launch]
    return [product_launch, PieceSumLaunch(function, f"{name}_sum", tiling).write()]


class _Launch:
    """What both launches share: addresses from loop digits, and the epilogue at one result."""

    def __init__(self, function: func.FuncOp, name: str, tiling: Tiling) -> None:
        origin = tiling.contraction.origin
        self.launch = LaunchBuilder(function, name, origin.data if isinstance(origin, StringAttr) else "")
        self.b = self.launch.b
        self.t = tiling
        self.c = tiling.contraction
        self.old = list(function.body.block.args)
        self.body = BodyEmitter(self.b, self._no_gather, {})

    @staticmethod
    def _no_gather(buffer: object) -> SSAValue:
        raise AssertionError("an epilogue has no computed places")

    def flat(self, access: Access) -> SSAValue:
        """The accessed argument as a 1-D memref."""
        return self.b.flat(self.launch.args[self.old.index(access.buffer)])

    def place(self, access: Access, dims: Sequence[int], number: SSAValue) -> SSAValue | None:
        """The part of an address that some loops give, from their joint number."""
        used = [d for d in dims if access.strides[d]]
        if not used:
            return None
        if len(dims) > 1 and self._steps_evenly(access, dims):
            return self.b.scaled(number, access.strides[dims[-1]])
        total: SSAValue | None = None
        for d, digit in zip(dims, self.b.digits(number, self.t.sizes(dims)), strict=True):
            if access.strides[d]:
                total = self.b.add(total, self.b.scaled(digit, access.strides[d]))
        return total

    def _steps_evenly(self, access: Access, dims: Sequence[int]) -> bool:
        step = access.strides[dims[-1]]
        for d in reversed(dims):
            if access.strides[d] != step:
                return False
            step *= self.c.sizes[d]
        return True

    def epilogue(self, total: SSAValue, m: SSAValue, n: SSAValue, z: SSAValue | None) -> None:
        """Stores one finished sum, and what the elementwise stages make of it."""

        def at(access: Access) -> SSAValue:
            parts = [self.place(access, self.t.rows, m), self.place(access, self.t.columns, n)]
            if z is not None:
                parts.insert(0, self.place(access, self.t.batch, z))
            whole: SSAValue | None = None
            for part in parts:
                whole = self.b.add(whole, part)
            return self.b.plus(whole, access.offset)

        values: list[SSAValue] = [total]
        stores = [(self.c.result, total)]
        for stage in self.c.stages:
            args = [values[i] if isinstance(i, int) else self.b.read(self.flat(i), at(i)) for i in stage.inputs]
            results = self.body.run(stage.body, [], [*args, *([None] * len(stage.outputs))], Point())
            values += results
            stores += zip(stage.outputs, results, strict=True)
        written = {a.key() for a in self.c.outputs}
        for access, value in stores:
            if access.key() in written:
                self.b.write(value, self.flat(access), at(access))

    def zero(self) -> SSAValue:
        kind = self.c.sum_type
        return self.b.constant(FloatAttr(0.0, kind) if isinstance(kind, AnyFloat) else IntegerAttr(0, kind), kind)

    def added(self, a: SSAValue, b: SSAValue) -> SSAValue:
        if isinstance(a.type, AnyFloat):
            return self.b.emit(arith.AddfOp, (a, b), a.type, PLAIN)
        return self.b.emit(arith.AddiOp, (a, b), a.type, NO_OVERFLOW)


class ProductLaunch(_Launch):
    """Tiles of the product. A block is one tile: neighbouring blocks along the columns, then rows, batch, pieces of the sum."""

    def write(self) -> func.FuncOp:
        """The launch's function."""
        t, b = self.t, self.b
        self.thread = b.thread()
        self.ty, self.tx = b.divided(self.thread, SIDE)
        across, down = -(-t.n // t.tile_columns), -(-t.m // t.tile_rows)
        z, row, column = b.digits(b.block(), [t.z * t.splits, down, across])
        self.first_row = b.scaled(row, t.tile_rows)
        self.first_column = b.scaled(column, t.tile_columns)
        self.piece: SSAValue | None = None
        self.z: SSAValue | None = z if t.z > 1 else None
        if t.splits > 1:
            self.piece, rest = (z, None) if t.z == 1 else b.divided(z, t.z)
            self.z = rest
        kind = self.c.sum_type
        self.sums = b.registers(t.thread_rows * t.thread_columns, kind, "sums")
        with b.loop(0, t.thread_rows * t.thread_columns, unroll=True) as i:
            b.write(self.zero(), self.sums, i)
        self.tiles = [
            _Tile(self, t.left, t.rows, self.first_row, t.m, t.thread_rows, "left"),
            _Tile(self, t.right, t.columns, self.first_column, t.n, t.thread_columns, "right"),
        ]
        self._over_the_sum()
        self._results()
        return self.launch.finish([across * down * t.z * t.splits], THREADS)

    def _over_the_sum(self) -> None:
        b, t = self.b, self.t
        low, high = b.index(0), b.index(t.k)
        if self.piece is not None:
            low = b.scaled(self.piece, t.piece)
            high = b.minimum(b.plus(low, t.piece), b.index(t.k))
        for tile in self.tiles:
            tile.fetch(low, high)
        with b.loop(low, high, DEPTH) as at:
            for tile in self.tiles:
                tile.put()
            b.barrier()
            following = b.plus(at, DEPTH)
            with b.when(b.less(following, high)):
                for tile in self.tiles:
                    tile.fetch(following, high)
            self._multiply()
            b.barrier()

    def _multiply(self) -> None:
        b, t = self.b, self.t
        kind = self.c.sum_type
        left = b.registers(t.thread_rows, kind, "a")
        right = b.registers(t.thread_columns, kind, "b")
        with b.loop(0, DEPTH, unroll=True) as k:
            self.tiles[0].take(k, self.ty, left)
            self.tiles[1].take(k, self.tx, right)
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
        with b.loop(0, t.thread_rows, unroll=True) as i:
            m = b.add(self.first_row, own_place(b, i, self.ty, t.thread_rows))
            with b.loop(0, t.thread_columns, unroll=True) as j:
                n = b.add(self.first_column, own_place(b, j, self.tx, t.thread_columns))
                inside = b.emit(arith.AndIOp, (b.less(m, b.index(t.m)), b.less(n, b.index(t.n))), b.less(m, n).type)
                with b.when(inside):
                    total = b.read(self.sums, b.add(b.scaled(i, t.thread_columns), j))
                    self._finish(total, m, n)

    def _finish(self, total: SSAValue, m: SSAValue, n: SSAValue) -> None:
        if self.piece is None:
            self.epilogue(total, m, n, self.z)
            return
        t, b = self.t, self.b
        kind = self.c.sum_type
        parts = self.launch.scratch(b.index(0), t.splits * t.z * t.m * t.n, kind)
        number = b.add(b.scaled(self.piece, t.z), self.z)
        row = b.add(b.scaled(number, t.m), m)
        b.write(total, parts, b.add(b.scaled(row, t.n), n))


def own_place(b: object, i: SSAValue, thread: SSAValue, count: int) -> SSAValue:
    """Which row (or column) of the tile a thread's i-th one is: groups of up to four neighbours, SIDE groups side by side."""
    width = min(4, count)
    if count == width:
        return b.add(b.scaled(thread, width), i)
    group, within = b.divided(i, width)
    return b.add(b.add(b.scaled(group, SIDE * width), b.scaled(thread, width)), within)


class _Tile:
    """One operand's tile: [DEPTH][extent] in shared memory, and the next one in registers.

    Neighbouring threads fetch along the sum where the operand is contiguous there, else along its rows (columns).
    """

    def __init__(
        self, owner: ProductLaunch, factor: Factor, dims: tuple[int, ...], first: SSAValue, limit: int, count: int, name: str
    ) -> None:
        self.owner, self.b, self.factor, self.dims, self.limit = owner, owner.b, factor, dims, limit
        t, b = owner.t, owner.b
        self.count, self.extent = count, SIDE * count
        self.pitch = self.extent + _PAD
        kind = owner.c.sum_type
        at = owner.launch.take_shared(DEPTH * self.pitch * element_bytes(kind))
        self.shared = b.shared(b.index(at), DEPTH * self.pitch, kind)
        self.next = b.registers(count, factor.access.element, f"next_{name}")
        access = factor.access
        self.along_sum = bool(t.sums) and abs(access.strides[t.sums[-1]]) == 1
        self.base = b.plus(None, access.offset)
        if owner.z is not None and (part := owner.place(access, t.batch, owner.z)) is not None:
            self.base = b.plus(part, access.offset)
        self.first = first

    def _spot(self, i: SSAValue) -> tuple[SSAValue, SSAValue]:
        """Depth and row of the i-th element a thread fetches."""
        b, thread = self.b, self.owner.thread
        if self.along_sum:
            row, depth = b.divided(thread, DEPTH)
            return depth, b.add(b.scaled(i, THREADS // DEPTH), row)
        number = b.add(b.scaled(i, THREADS), thread)
        depth, row = b.divided(number, self.extent)
        return depth, row

    def fetch(self, low: SSAValue, high: SSAValue) -> None:
        """Global memory to registers. Rows past the end repeat the last one (their results are not stored); the sum ends."""
        b, t, access = self.b, self.owner.t, self.factor.access
        memory = self.owner.flat(access)
        with b.loop(0, self.count, unroll=True) as i:
            depth, row = self._spot(i)
            k, m = b.add(low, depth), b.add(self.first, row)
            inside = b.less(k, high) if t.k % DEPTH else None
            if self.limit % self.extent:
                m = b.minimum(m, b.index(self.limit - 1))
            if inside is not None:
                k = b.minimum(k, b.index(t.k - 1))
            at = self.base
            for part in (self.owner.place(access, self.dims, m), self.owner.place(access, t.sums, k)):
                at = b.add(at, part)
            value = b.read(memory, at)
            if inside is not None:
                value = b.emit(arith.SelectOp, (inside, value, self._nothing(access.element)), value.type)
            b.write(value, self.next, i)

    def _nothing(self, element: Attribute) -> SSAValue:
        zero = FloatAttr(0.0, element) if isinstance(element, AnyFloat) else IntegerAttr(0, element)
        return self.b.constant(zero, element)

    def put(self) -> None:
        """Registers to shared memory, as the type that is summed."""
        b = self.b
        with b.loop(0, self.count, unroll=True) as i:
            depth, row = self._spot(i)
            value = b.read(self.next, i)
            for cast in self.factor.casts:
                value = b.emit(type(cast), (value,), cast.results[0].type, cast.properties)
            b.write(value, self.shared, b.add(b.scaled(depth, self.pitch), row))

    def take(self, k: SSAValue, thread: SSAValue, registers: SSAValue) -> None:
        """The thread's rows at one depth, into registers."""
        b = self.b
        width = min(4, self.count)
        while width * element_bytes(self.owner.c.sum_type) > 16:
            width //= 2
        for group in range(0, self.count, width):
            four, rest = divmod(group, min(4, self.count))
            at = b.plus(b.scaled(thread, min(4, self.count)), four * SIDE * min(4, self.count) + rest)
            lanes = b.read_lanes(self.shared, b.add(b.scaled(k, self.pitch), at), width)
            for lane, value in enumerate(lanes):
                b.write(value, registers, b.index(group + lane))


class PieceSumLaunch(_Launch):
    """Adds the pieces of every result in order, then the epilogue: one thread per result."""

    def write(self) -> func.FuncOp:
        """The launch's function."""
        t, b = self.t, self.b
        kind = self.c.sum_type
        total = t.z * t.m * t.n
        number = b.add(b.scaled(b.block(), THREADS), b.thread())
        with b.when(b.less(number, b.index(total))):
            parts = self.launch.scratch(b.index(0), t.splits * total, kind)
            variable, (inner,) = b.open_for(b.index(0), b.index(t.splits), 1, [self.zero()])
            value = b.read(parts, b.add(b.scaled(variable, total), number))
            (result,) = b.close_for([self.added(inner, value)])
            z, m, n = b.digits(number, [t.z, t.m, t.n])
            self.epilogue(result, m, n, z if t.z > 1 else None)
        return self.launch.finish([-(-total // THREADS)], THREADS)


