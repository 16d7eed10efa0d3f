"""One sweep of a chain as a launch. Matrices exist as tiles in registers; rows' values pass through scratch memory."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from math import inf

from xdsl.dialects import arith, func, math
from xdsl.dialects.builtin import FloatAttr, IndexType, IntegerAttr, StringAttr, f32, i1, i32, i64
from xdsl.ir import SSAValue

from ..dialects import nv
from .chain_bounds import inside
from .chain_expressions import ROW, Apply, Expression, Index, Number, Place, Read, Sum, leaves
from .gpu_chain_operand import Operand
from .gpu_chain_plan import ChainPlan, Factor, RunningSum, Sweep
from .gpu_chain_powers import Powers
from .gpu_chain_shape import Shape, factors_of
from .gpu_chain_tiles import CoreTiles, ThreadTiles, clear
from .gpu_contraction_launch import PLAIN
from .gpu_launch import LaunchBuilder
from .loop_builder import NO_OVERFLOW

Env = dict[Expression, SSAValue]
PASSING_REGISTERS = 32
"""For what memory says of the rows that pass by; where that is more, elements read it."""


class SweepLaunch:
    """One sweep: a block has `shape.own` rows (or columns) of one problem and walks along the others."""

    def __init__(self, function: func.FuncOp, name: str, plan: ChainPlan, sweep: Sweep, shape: Shape) -> None:
        origin = plan.chain.origin
        self.launch = LaunchBuilder(function, name, origin.data if isinstance(origin, StringAttr) else "")
        self.old = list(function.body.block.args)
        self.b, self.plan, self.sweep, self.shape = self.launch.b, plan, sweep, shape
        self.sizes = plan.chain.sizes
        self.own_size, self.other_size = self.sizes[sweep.own], self.sizes[sweep.other]
        self.powers = Powers(self.b, plan.factors, fast=plan.kind is not None)
        self.unit = self.powers.scale(sweep.maximum.value) if sweep.maximum is not None else 1.0
        self.raw: dict[Sum, SSAValue] = {}
        self.passing_here: dict[Expression, SSAValue] = {}

    def write(self) -> func.FuncOp:
        """The launch's function."""
        b, count = self.b, -(-self.own_size // self.shape.own)
        self.problem, tile = b.divided(b.block(), count)
        if self.sweep.own == ROW and self.sweep.bounds.high is not None:  # the last rows have the most to do
            tile = b.emit(arith.SubiOp, (b.index(count - 1), tile), IndexType(), NO_OVERFLOW)
        self.first = b.scaled(tile, self.shape.own)
        roles = self.plan.chain.batch
        self.batch = dict(zip(roles, b.digits(self.problem, [self.sizes[r] for r in roles]), strict=True))
        self._place_operands()
        self._work()
        return self.launch.finish([count * self.plan.problems], self.shape.threads)

    def _work(self) -> None:
        """What the block's threads do."""
        self._start()
        self._walk()
        self._finish()

    def _place_operands(self) -> None:
        """Shared memory for what the block keeps and for what passes by, and the tiles' arithmetic."""
        kept, passing = factors_of(self.plan, self.sweep)
        if self.plan.kind is None:
            self.tiles: CoreTiles | ThreadTiles = ThreadTiles(self.b, self.shape, self.launch.take_shared(4 * self.shape.own * (self.shape.other + 1)))
        else:
            self.tiles = CoreTiles(self.b, self.shape, self.plan.kind)
        self.operands: dict[Factor, Operand] = {}
        for factors, rows, stages in ((kept, self.shape.own, 1), (passing, self.shape.other, self.tiles.stages)):
            for f in factors:
                self.operands[f] = Operand(self, f, rows, stages)
        self.passing = passing
        for f in kept:
            self.operands[f].fetch(self.first, self.b.index(0))

    # Registers

    def _start(self) -> None:
        b = self.b
        rows = self.tiles.row_count
        self.partial: dict[RunningSum, SSAValue] = {}
        for s in self.sweep.sums:
            count = rows if s.right is None else self.tiles.count(self.plan.depths[s.right.depth])
            self.partial[s] = b.registers(count, f32, "total" if s.right is None else "sums")
            clear(b, self.partial[s], count)
        if self.sweep.maximum is not None:
            self.largest, self.shift = b.registers(rows, f32, "largest"), b.registers(rows, f32, "shift")
            with b.loop(0, rows, unroll=True) as i:
                b.write(self.number(-inf), self.largest, i)
        self.rows_here: dict[Expression, SSAValue] = {}
        for e in self.sweep.read:
            self.rows_here[e] = b.registers(rows, f32, "row")
            with self.tiles.rows() as (number, row):
                b.write(self.value(e, self.indices({self.sweep.own: self._inside_own(row)})), self.rows_here[e], number)
        if self.sweep.own == ROW:
            for k, e in enumerate(self.sweep.loaded):
                self.rows_here[e] = b.registers(rows, f32, "row")
                with self.tiles.rows() as (number, row):
                    b.write(self._load_kept(e, self._inside_own(row)), self.rows_here[e], number)

    def _inside_own(self, row: SSAValue) -> SSAValue:
        """The place of an own row; beyond the end, the last one."""
        at = self.b.add(self.first, row)
        return self.b.minimum(at, self.b.index(self.own_size - 1)) if self.own_size % self.shape.own else at

    def _kept_place(self, e: Expression, row: SSAValue) -> tuple[SSAValue, SSAValue]:
        b, kept, rows = self.b, self.plan.kept, self.sizes[ROW]
        memory = self.launch.scratch(b.index(0), len(kept) * self.plan.problems * rows, f32)
        problem = b.plus(self.problem, kept.index(e) * self.plan.problems)
        return memory, b.add(b.scaled(problem, rows), row)

    def _load_kept(self, e: Expression, row: SSAValue) -> SSAValue:
        return self.b.read(*self._kept_place(e, row))

    def number(self, value: float) -> SSAValue:
        return self.b.constant(FloatAttr(value, f32), f32)

    # The walk

    def _bounds(self) -> tuple[int | None, int | None]:
        """The least and the most that a place along the other direction may be further than an own one, to matter."""
        low, high = self.sweep.bounds.low, self.sweep.bounds.high
        return (low, high) if self.sweep.own == ROW else (None if high is None else -high, None if low is None else -low)

    def _limits(self) -> tuple[SSAValue, SSAValue]:
        """The first tile along the other direction that matters, and the one behind the last."""
        b, size = self.b, self.shape.other
        low, high = self._bounds()
        first, last = b.index(0), b.index(-(-self.other_size // size))
        if low is not None:
            first = b.divided(b.maximum(b.plus(self.first, low), b.index(0)), size)[0]
        if high is not None:
            end = b.maximum(b.plus(self.first, self.shape.own + high + size - 1), b.index(0))
            last = b.minimum(last, b.divided(end, size)[0])
        return first, last

    def _walk(self) -> None:
        b, two = self.b, self.tiles.stages > 1
        first, last = self._limits()
        if two:
            self._fetch(first)
        with b.loop(first, last) as tile:
            if two:
                b.do(nv.CpAsyncWaitOp.create(properties={"pending": IntegerAttr(0, i32)}))
                b.barrier()
                following = b.plus(tile, 1)
                with b.when(b.less(following, last)):
                    self._fetch(following)
            else:
                b.barrier()
                self._fetch(tile)
                b.barrier()
            self.stage = b.divided(tile, self.tiles.stages)[1] if two else b.index(0)
            self.start = b.scaled(tile, self.shape.other)
            self._one_tile()

    def _fetch(self, tile: SSAValue) -> None:
        b, stages = self.b, self.tiles.stages
        stage = b.divided(tile, stages)[1] if stages > 1 else b.index(0)
        for f in self.passing:
            self.operands[f].fetch(b.scaled(tile, self.shape.other), stage)
        if stages > 1:
            b.do(nv.CpAsyncCommitOp.create())

    def _one_tile(self) -> None:
        self.products = self._registers_of_tiles()
        self._multiply()
        self._read_passing()
        self.tiles.settle()
        for s, values in self._weights().items():
            assert s.right is not None
            self._await(self.operands[s.right])
            self.tiles.add_product(values, self.operands[s.right], self.stage, self.partial[s])
        self.tiles.settle()

    def _read_passing(self) -> None:
        """What memory says of the tile's other rows (columns), read while products are under way; where a maximum grows, elements read it."""
        b, width, other = self.b, self.shape.other, self.sweep.other
        if self.sweep.maximum is not None:
            return
        asked = list(dict.fromkeys(e for s in self.sweep.sums if s.term.inner is not None for e in leaves(s.term.inner)))
        reads: list[Expression] = [e for e in asked if isinstance(e, Read) and other in e.place.roles and self.sweep.own not in e.place.roles]
        kept = [e for e in self.sweep.loaded if self.sweep.own != ROW]
        each = self.tiles.count(width) // self.tiles.row_count
        if not 0 < each * len(reads + kept) <= PASSING_REGISTERS:
            return
        self.passing_here = {e: b.registers(each, e.type, "passing") for e in (*reads, *kept)}
        with self.tiles.across(width) as (number, column):
            places = [self._inside_other(b.plus(column, k)) for k in range(self.tiles.lanes)]
            for e, registers in self.passing_here.items():
                for k, value in enumerate(self._read_neighbours(e, places)):
                    b.write(value, registers, b.plus(number, k))

    def _read_neighbours(self, e: Expression, places: list[SSAValue]) -> list[SSAValue]:
        """A row's value at neighbouring places along the other direction, in one access where they are neighbours in memory."""
        lanes, other = len(places), self.sweep.other
        if isinstance(e, Read):
            steps = [step for role, step in e.place.steps if role != other]
            is_run = e.place.step(other) == 1 and not any(n % lanes for n in (*steps, e.place.offset))
            spots = [(self.memory(e.place), self.address(e.place, {other: place})) for place in places]
        else:
            is_run = self.other_size % lanes == 0
            spots = [self._kept_place(e, place) for place in places]
        if lanes > 1 and is_run and self.plan.kind is not None and self.other_size % self.shape.other == 0:
            return self.b.read_lanes(*spots[0], lanes)
        return [self.b.read(*spot) for spot in spots]

    def _inside_other(self, column: SSAValue) -> SSAValue:
        """The place of something that passes by; beyond the end, the last one."""
        at = self.b.add(self.start, column)
        return self.b.minimum(at, self.b.index(self.other_size - 1)) if self.other_size % self.shape.other else at

    def _registers_of_tiles(self) -> dict[Sum, SSAValue]:
        count = self.tiles.count(self.shape.other)
        return {t: self.b.registers(count, f32, "products") for t in self.sweep.tiles}

    def _multiply(self) -> None:
        """The tile's matrices, as products of what is kept and what passes by."""
        for t in self.sweep.tiles:
            left, right = self.plan.factors[t.left], self.plan.factors[t.right]
            if left.role != self.sweep.own:
                left, right = right, left
            own, other = self.operands[left], self.operands[right]
            self._await(own, other)
            self.tiles.multiply(own, other, self.stage, self.products[t])

    def _weights(self) -> dict[RunningSum, SSAValue]:
        """What the tile's elements weigh in each sum of products; other sums have them added."""
        b, width = self.b, self.shape.other
        count = self.tiles.count(width)
        if self.sweep.maximum is not None:
            self._grow()
        weights = {s: b.registers(count, f32, "weights") for s in self.sweep.sums if s.right is not None}
        terms = {s: s.term.inner for s in self.sweep.sums}
        whole = {s: inside(self.plan.chain.made, e, self.sweep.bounds) if e is not None else None for s, e in terms.items()}
        outside = self._reaches_outside() if self.sweep.maximum is None else None
        if outside is None:
            self._add_elements(weights, terms, True)
            return weights
        with b.when(outside):
            self._add_elements(weights, terms, True)
        with b.otherwise():
            self._add_elements(weights, whole, False)
        return weights

    def _add_elements(self, weights: dict[RunningSum, SSAValue], terms: dict[RunningSum, Expression | None], is_cut: bool) -> None:
        """The tile's elements, as terms of the sums. is_cut: some may lie beyond the end of the other direction."""
        with self.tiles.elements(self.shape.other) as (number, row_number, row, column):
            self._add_element(weights, terms, is_cut, number, row_number, row, column)

    def _await(self, *operands: Operand) -> None:
        """Before a tile of these is read: here all of them are there."""

    def _grow(self) -> None:
        """The rows' maxima so far (of what `unit` scales); what was summed is scaled to the new ones."""
        b, width, maximum = self.b, self.shape.other, self.sweep.maximum
        assert maximum is not None
        whole = inside(self.plan.chain.made, maximum.value, self.sweep.bounds)
        if isinstance(whole, Sum) and self._is_only_compared(whole):  # its registers become the references, masked where something is
            self.references = self.products[whole]
            outside = self._reaches_outside()
            if outside is not None:
                with b.when(outside):
                    self._refer_to(maximum.value)
        else:
            self.references = b.registers(self.tiles.count(width), f32, "x")
            self._refer_to(maximum.value)
        with self.tiles.rows() as (number, _):
            old = b.read(self.largest, number)
            b.write(old, self.shift, number)
            with self.tiles.columns(width, number) as element:
                b.write(self._larger(b.read(self.shift, number), b.read(self.references, element)), self.shift, number)
            new = b.read(self.shift, number)
            for mask in self.tiles.masks:
                new = self._larger(new, b.shuffled_xor(new, mask))
            b.write(new, self.largest, number)
            nothing = b.emit(arith.CmpfOp, (new, self.number(-inf)), i1, {"predicate": IntegerAttr(1, i64), **PLAIN})
            shift = self.powers.taken(b.emit(arith.SelectOp, (nothing, self.number(0.0), new), f32), self.unit)
            b.write(shift, self.shift, number)
            self._grown(number, self.powers.distance(old, shift, self.unit))

    def _refer_to(self, e: Expression) -> None:
        """The tile's elements of what the maximum is taken of."""
        with self.tiles.elements(self.shape.other) as (number, row_number, row, column):
            env = self._element_env(number, row_number, row, column)
            value = self.powers.unscaled(e, lambda part: self.value(part, env), self.raw)
            self.b.write(self._or_outside(value, column, -inf), self.references, number)

    def _is_only_compared(self, tile: Sum) -> bool:
        """Whether the maximum is the only one to read a tile, in the unit it is kept in."""
        others = [s.term.inner for s in self.sweep.sums if s.term.inner is not None]
        return self.powers.scale(tile) == self.unit and not any(tile in leaves(e) for e in others)

    def _reaches_outside(self) -> SSAValue | None:
        """Whether the tile has elements beyond the bounds or the matrix's end; None where no tile has."""
        b, end = self.b, self.shape.other
        low, high = self._bounds()
        found: list[SSAValue] = []
        if high is not None:
            found.append(b.less(self.first, b.plus(self.start, end - 1 - high)))
        if low is not None:
            found.append(b.less(self.start, b.plus(self.first, self.shape.own - 1 + low)))
        if self.other_size % self.shape.other:
            found.append(b.less(b.index(self.other_size), b.plus(self.start, end)))
        whole = found.pop() if found else None
        for one in found:
            whole = b.emit(arith.OrIOp, (one, whole), i1)
        return whole

    def _grown(self, row: SSAValue, factor: SSAValue) -> None:
        """A row's maximum has grown: what was summed counts `factor` times."""
        self._scale(self.partial, row, factor)

    def _scale(self, sums: Iterable[RunningSum], row: SSAValue, factor: SSAValue) -> None:
        b = self.b
        for s in sums:
            memory = self.partial[s]
            if not s.term.power:
                continue
            if s.right is None:
                b.write(self._times(b.read(memory, row), factor), memory, row)
                continue
            with self.tiles.columns(self.plan.depths[s.right.depth], row) as element:
                b.write(self._times(b.read(memory, element), factor), memory, element)

    def _add_element(
        self, weights: dict[RunningSum, SSAValue], terms: dict[RunningSum, Expression | None], is_cut: bool,
        number: SSAValue, row_number: SSAValue, row: SSAValue, column: SSAValue,
    ) -> None:  # fmt: skip
        b = self.b
        env = self._element_env(number, row_number, row, column)
        power: SSAValue | None = None
        if self.sweep.maximum is not None:
            reference = b.read(self.references, number)
            if self.unit == 1.0:
                env[self.sweep.maximum.value] = reference
            power = self.powers.distance(reference, b.read(self.shift, row_number), self.unit)
        for s in self.sweep.sums:
            term = terms[s]
            value = self.value(term, env) if term is not None else None
            if s.term.power:
                assert power is not None
                value = power if value is None else self._times(power, value)
            value = value if value is not None else self.number(1.0)
            value = self._or_outside(value, column, 0.0) if is_cut else value
            if s.right is not None:
                b.write(value, weights[s], number)
            else:
                memory = self.partial[s]
                b.write(self._plus(b.read(memory, row_number), value), memory, row_number)

    def _or_outside(self, value: SSAValue, column: SSAValue, outside: float) -> SSAValue:
        """The value, or a number that changes nothing where the other direction has ended."""
        b = self.b
        if self.other_size % self.shape.other == 0:
            return value
        inside = b.less(b.add(self.start, column), b.index(self.other_size))
        return b.emit(arith.SelectOp, (inside, value, self.number(outside)), value.type)

    # The end

    def _finish(self) -> None:
        b = self.b
        folded: dict[Expression, SSAValue] = {}
        for s in self.sweep.sums:
            if s.right is None:
                with self.tiles.rows() as (number, _):
                    total = b.read(self.partial[s], number)
                    for mask in self.tiles.masks:
                        total = self._plus(total, b.shuffled_xor(total, mask))
                    b.write(total, self.partial[s], number)
                folded[s.whole] = self.partial[s]
        self.folded = folded
        per_row = [(place, value) for place, value in self.sweep.outputs if not self._sums_of(value)]
        if per_row or self.sweep.saved:
            with self.tiles.rows() as (number, row), b.when(self._stores(row, self.tiles.is_first)):
                env = self._row_env(number, b.add(self.first, row))
                for e in self.sweep.saved:
                    b.write(self.value(e, env), *self._kept_place(e, b.add(self.first, row)))
                for place, value in per_row:
                    self._store(place, self.value(value, env), {self.sweep.own: b.add(self.first, row)})
        for s in self.sweep.sums:
            outputs = [(place, value) for place, value in self.sweep.outputs if s.whole in self._sums_of(value)]
            if s.right is not None and outputs:
                self._store_sums(s, outputs)

    def _sums_of(self, e: Expression) -> list[Expression]:
        return [s.whole for s in self.sweep.sums if s.right is not None and s.whole in leaves(e)]

    def _store_sums(self, s: RunningSum, outputs: list[tuple[Place, Expression]]) -> None:
        b = self.b
        assert s.right is not None
        padded, end = self.plan.depths[s.right.depth], self.sizes[s.right.depth]
        with self.tiles.runs(padded) as (number, row_number, row, column):
            with b.when(self._stores(row, b.less(column, b.index(end)) if end < padded else None)):
                at = b.add(self.first, row)
                whole = self._row_env(row_number, at)
                factor = self.value(s.term.factor, whole) if s.term.factor is not None else None
                places = [b.plus(column, k) for k in range(self.tiles.lanes)]
                there = [b.less(place, b.index(end)) if k and end % self.tiles.lanes else None for k, place in enumerate(places)]
                places = [place if known is None else b.minimum(place, b.index(end - 1)) for place, known in zip(places, there, strict=True)]
                indices = [{self.sweep.own: at, s.right.depth: place} for place in places]
                envs = []
                for k, known in enumerate(indices):
                    total = b.read(self.partial[s], b.plus(number, k))
                    if self.plan.kind is not None and s.right.scale != 1.0:
                        total = self._times(total, self.number(s.right.scale))
                    total = total if factor is None else self._times(total, factor)
                    envs.append({**whole, **self.indices(known), s.whole: total})
                for place, value in outputs:
                    self._store_run(place, s.right.depth, [self.value(value, env) for env in envs], indices, there)

    def _store_run(
        self, place: Place, depth: str, values: list[SSAValue], indices: list[dict[str, SSAValue]], there: list[SSAValue | None]
    ) -> None:
        """Stores neighbours along the depth, in one access where they are neighbours in memory. there: whether there is such a place; None: there is."""
        b, lanes = self.b, len(values)
        others = [step for role, step in place.steps if role != depth]
        if lanes > 1 and place.step(depth) == 1 and not any(n % lanes for n in (*others, place.offset)) and self.plan.kind is not None:
            b.write_lanes(values, self.memory(place), self.address(place, indices[0]))
            return
        for value, known, is_there in zip(values, indices, there, strict=True):
            with b.when(is_there) if is_there is not None else nullcontext():
                self._store(place, value, known)

    def _stores(self, row: SSAValue, also: SSAValue | None) -> SSAValue:
        b = self.b
        inside = b.less(b.add(self.first, row), b.index(self.own_size))
        return inside if also is None else b.emit(arith.AndIOp, (inside, also), i1)

    def _store(self, place: Place, value: SSAValue, indices: dict[str, SSAValue]) -> None:
        self.b.write(value, self.memory(place), self.address(place, indices))

    # Values

    def _row_env(self, number: SSAValue, at: SSAValue) -> Env:
        """What is known of a row once all is summed."""
        b, env = self.b, {}
        for e, memory in self.rows_here.items():
            env[e] = b.read(memory, number)
        if self.sweep.own == ROW:
            if self.sweep.maximum is not None:
                env[self.sweep.maximum] = self.powers.scaled(b.read(self.largest, number), self.unit)
            for s in self.sweep.sums:
                if s.right is None:
                    total = b.read(self.folded[s.whole], number)
                    env[s.whole] = self._times(total, self.value(s.term.factor, env)) if s.term.factor is not None else total
        env.update(self.indices({self.sweep.own: at}))
        return env

    def _element_env(self, number: SSAValue, row_number: SSAValue, row: SSAValue, column: SSAValue) -> Env:
        b, env = self.b, {}
        own, other = self._inside_own(row), self._inside_other(column)
        self.raw = {t: b.read(memory, number) for t, memory in self.products.items()}
        for e in self.sweep.read:
            env[e] = b.read(self.rows_here[e], row_number)
        for e, memory in self.passing_here.items():
            env[e] = b.read(memory, self.tiles.column_number(number, self.shape.other))
        for e in self.sweep.loaded:
            if e not in self.passing_here:
                env[e] = b.read(self.rows_here[e], row_number) if self.sweep.own == ROW else self._load_kept(e, other)
        self.here = {self.sweep.own: own, self.sweep.other: other}
        env.update(self.indices(self.here))
        return env

    def indices(self, known: dict[str, SSAValue]) -> Env:
        made = self.plan.chain.made
        return {made.index(role, IndexType()): value for role, value in {**self.batch, **known}.items()}

    def value(self, e: Expression, env: Env) -> SSAValue:
        """The expression's value here."""
        found = env.get(e)
        if found is not None:
            return found
        if isinstance(e, Number):
            return self.b.constant(e.value, e.type)
        if isinstance(e, Read):
            env[e] = self.b.read(self.memory(e.place), self.address(e.place, self._known(env)))
            return env[e]
        if isinstance(e, Sum) and e in self.raw:
            env[e] = self.powers.scaled(self.raw[e], self.powers.tile_scale(e))
            return env[e]
        assert isinstance(e, Apply), f"{e} has no value here"
        if e.op is math.ExpOp and e.type == f32:
            env[e] = self.powers.exp(e, lambda part: self.value(part, env), self.raw)
        else:
            env[e] = self.b.emit(e.op, [self.value(o, env) for o in e.operands], e.type, dict(e.properties))
        return env[e]

    @staticmethod
    def _known(env: Env) -> dict[str, SSAValue]:
        return {e.role: value for e, value in env.items() if isinstance(e, Index)}

    def memory(self, place: Place) -> SSAValue:
        return self.b.flat(self.launch.args[self.old.index(place.buffer)])

    def address(self, place: Place, indices: dict[str, SSAValue]) -> SSAValue:
        b, total = self.b, None
        for role, step in place.steps:
            total = b.add(total, b.scaled(indices[role] if role in indices else self.batch[role], step))
        return b.plus(total, place.offset)

    def _times(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.emit(arith.MulfOp, (x, y), f32, PLAIN)

    def _plus(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.emit(arith.AddfOp, (x, y), f32, PLAIN)

    def _larger(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.emit(arith.MaximumfOp, (x, y), f32, PLAIN)
