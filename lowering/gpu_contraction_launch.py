"""What the launches of a contraction share: addresses from loop digits, the grid of tiles, epilogues, sums over pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import AnyFloat, FloatAttr, IntegerAttr, StringAttr
from xdsl.ir import Attribute, SSAValue

from .contraction_match import Access, asked_positions
from .gpu_boxes import RUN_BYTES
from .gpu_contraction_plan import Tiling
from .gpu_launch import LaunchBuilder
from .gpu_teams import THREADS
from .loop_builder import NO_OVERFLOW
from .memref_layout import element_bytes
from .nest_body import BodyEmitter, Point

PLAIN: dict[str, Attribute] = {"fastmath": arith.FastMathFlagsAttr("none")}


class ContractionLaunch:
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

    def epilogue(self, totals: Sequence[SSAValue], m: SSAValue, n: SSAValue, z: SSAValue | None) -> None:
        """Stores finished sums of a row, neighbours from column n on, and what the elementwise stages make of them."""
        lanes = range(len(totals))

        def at(access: Access, lane: int = 0) -> SSAValue:
            column = self.b.plus(n, lane) if lane else n
            parts = [self.place(access, self.t.rows, m), self.place(access, self.t.columns, column)]
            if z is not None:
                parts.insert(0, self.place(access, self.t.batch, z))
            whole: SSAValue | None = None
            for part in parts:
                whole = self.b.add(whole, part)
            return self.b.plus(whole, access.offset)

        values: list[Sequence[SSAValue]] = [totals]
        stores: list[tuple[Access, Sequence[SSAValue]]] = [(self.c.result, totals)]
        for stage in self.c.stages:
            given = [values[i] if isinstance(i, int) else self._read(i, len(totals), at) for i in stage.inputs]
            found = []
            for lane in lanes:
                places = [at(p, lane) for p in stage.positions] if asked_positions(stage) else []
                args = [*(values[lane] for values in given), *([None] * len(stage.outputs))]
                found.append(self.body.run(stage.body, places, args, Point()))
            results = [list(one) for one in zip(*found, strict=True)]
            values += results
            stores += zip(stage.outputs, results, strict=True)
        written = {a.key() for a in self.c.outputs}
        for access, results in stores:
            if access.key() in written and self._is_wide(access, len(results)):
                self.b.write_lanes(results, self.flat(access), at(access))
            elif access.key() in written:
                for lane in lanes:
                    self.store(results[lane], access, partial(at, lane=lane))

    def _read(self, access: Access, lanes: int, at: Callable[..., SSAValue]) -> Sequence[SSAValue]:
        """What an operand of the epilogue has for neighbouring columns."""
        memory = self.flat(access)
        if self._is_wide(access, lanes):
            return self.b.read_lanes(memory, at(access), lanes)
        if not any(access.strides[d] for d in self.t.columns):
            return [self.b.read(memory, at(access))] * lanes
        return [self.b.read(memory, at(access, lane)) for lane in range(lanes)]

    def _is_wide(self, access: Access, lanes: int) -> bool:
        """Whether neighbouring columns, from a multiple of `lanes` on, are one aligned access."""
        t = self.t
        if lanes == 1 or not t.is_aligned or lanes * element_bytes(access.element) > RUN_BYTES:
            return False
        inner = t.columns[-1]
        others = [s for d, s in enumerate(access.strides) if d != inner]
        return access.strides[inner] == 1 and self.c.sizes[inner] % lanes == 0 and not any(s % lanes for s in (*others, access.offset))

    def store(self, value: SSAValue, access: Access, at: Callable[[Access], SSAValue]) -> None:
        """Stores an element of an output. at: gives its place."""
        self.b.write(value, self.flat(access), at(access))

    def zero(self) -> SSAValue:
        kind = self.c.sum_type
        return self.b.constant(FloatAttr(0.0, kind) if isinstance(kind, AnyFloat) else IntegerAttr(0, kind), kind)

    def added(self, a: SSAValue, b: SSAValue) -> SSAValue:
        if isinstance(a.type, AnyFloat):
            return self.b.emit(arith.AddfOp, (a, b), a.type, PLAIN)
        return self.b.emit(arith.AddiOp, (a, b), a.type, NO_OVERFLOW)


class ProductLaunch(ContractionLaunch):
    """Tiles of the product. A block is one tile: neighbouring blocks along the columns, then rows, batch, pieces of the sum."""

    threads = THREADS

    def write(self) -> func.FuncOp:
        """The launch's function."""
        t, b = self.t, self.b
        self.thread = b.thread()
        z, row, column = b.digits(b.block(), [t.z * t.splits, t.tiles_down, t.tiles_across])
        self.take_tile(z, row, column)
        self.product()
        return self.launch.finish([t.tiles], self.threads)

    def take_tile(self, z: SSAValue, row: SSAValue, column: SSAValue) -> None:
        """What is computed from here on. z: the piece of the sum and the batch, as one number."""
        t, b = self.t, self.b
        self.first_row = b.scaled(row, t.tile_rows)
        self.first_column = b.scaled(column, t.tile_columns)
        self.piece: SSAValue | None = None
        self.z: SSAValue | None = z if t.z > 1 else None
        if t.splits > 1:
            self.piece, self.z = (z, None) if t.z == 1 else b.divided(z, t.z)

    def product(self) -> None:
        """All of one tile: its sums, then `result` for each."""
        raise NotImplementedError

    def start_sums(self, count: int) -> None:
        """The thread's sums in registers, zero."""
        self.sums = self.b.registers(count, self.c.sum_type, "sums")
        with self.b.loop(0, count, unroll=True) as i:
            self.b.write(self.zero(), self.sums, i)

    def neighbours(self, held: int) -> int:
        """How many columns side by side are handed on at once, of those a thread holds side by side: whole groups of the result's."""
        return next(n for n in (held, held // 2, held // 4, 1) if n and self.t.n % n == 0)

    def result(self, place: SSAValue, m: SSAValue, n: SSAValue, lanes: int = 1) -> None:
        """Hands on sums from a place of `sums` on, neighbours along the columns, if they are the product's: to the epilogue, or as a piece's part."""
        b, t = self.b, self.t
        with self._inside(m, n):
            totals = [b.read(self.sums, b.plus(place, lane) if lane else place) for lane in range(lanes)]
            if self.piece is None:
                self.epilogue(totals, m, n, self.z)
                return
            parts = self.launch.scratch(b.index(0), t.splits * t.z * t.m * t.n, self.c.sum_type)
            row = b.add(b.scaled(b.add(b.scaled(self.piece, t.z), self.z), t.m), m)
            at = b.add(b.scaled(row, t.n), n)
            if lanes > 1 and lanes * element_bytes(self.c.sum_type) <= RUN_BYTES:
                b.write_lanes(totals, parts, at)
                return
            for lane, total in enumerate(totals):
                b.write(total, parts, b.plus(at, lane) if lane else at)

    clips = False
    """Whether what lies outside the result is harmless: read from no memory, and not stored."""

    def _inside(self, m: SSAValue, n: SSAValue) -> AbstractContextManager[None]:
        """Where a place is one of the result's; everywhere, if tiles are never cut."""
        b, t = self.b, self.t
        cut = [b.less(at, b.index(size)) for at, size, tile in ((m, t.m, t.tile_rows), (n, t.n, t.tile_columns)) if size % tile]
        if self.clips or not cut:
            return nullcontext()
        return b.when(cut[0] if len(cut) == 1 else b.emit(arith.AndIOp, cut, cut[0].type))


class PieceSumLaunch(ContractionLaunch):
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
            self.epilogue([result], m, n, z if t.z > 1 else None)
        return self.launch.finish([-(-total // THREADS)], THREADS)


