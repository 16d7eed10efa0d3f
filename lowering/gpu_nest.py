"""A group of a kernel's stages as one launch: teams of threads run its shared loops, lanes of a team its leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from xdsl.dialects import arith, func, memref
from xdsl.ir import SSAValue

from ..dialects.target import GpuTarget
from .gpu_fold import TeamFold
from .gpu_held_rows import HeldRows, Shares, shares_of
from .gpu_launch import LaunchBuilder
from .gpu_teams import WARP, Team, is_aligned, make_team, product, stored_leaves
from .memory_plan import aligned
from .nest_body import BodyEmitter, Point, Value
from .nest_plan import Flat, GroupPlan, KernelPlan, LeafPlan, Loop, StagePlan
from .nest_stages import Buffer

Store = tuple[Flat, Point, Value]


@dataclass(slots=True)
class Ran:
    """What a leaf's stages did at one point: new accumulators, values written by the others, stores still to be made."""

    sums: list[Value]
    values: dict[Buffer, Value]
    stores: list[Store]


def rows_in_scratch(group: GroupPlan, target: GpuTarget) -> int:
    """Bytes of scratch the group's row buffers take because they do not fit shared memory."""
    team = make_team(group, target)
    return aligned(team.units * team.row_bytes) if team.in_scratch else 0


class GroupLaunch:
    """Writes the launch of one group."""

    def __init__(
        self, function: func.FuncOp, name: str, plan: KernelPlan, group: GroupPlan, target: GpuTarget, rows_from: int
    ) -> None:
        origins = dict.fromkeys(p.stage.origin for leaf in group.leaves for p in leaf.stages if p.stage.origin)
        self.launch = LaunchBuilder(function, name, ", ".join(list(origins)[:4]))
        self.b = self.launch.b
        self.plan, self.group, self.target, self.rows_from = plan, group, target, rows_from
        self.team: Team = make_team(group, target)
        self.arguments = len(function.body.block.args)
        self.homes: dict[Buffer, SSAValue] = {}
        by_value = {buffer.value: buffer for buffer in reversed(plan.kernel.buffers)}
        self.body = BodyEmitter(self.b, self.memory, by_value)
        self.shared_values: dict[Buffer, dict[int, Value]] = {}
        self.lane: SSAValue | None = None
        self.slot: SSAValue | None = None
        self.unit: SSAValue | None = None
        self.wide: tuple[Loop | None, int] = self.team.vector, self.team.width
        self.held = HeldRows(self.b, group, self.team.size, target.access_bytes)
        self.shares: Shares | None = None
        self.turn: SSAValue | None = None

    def write(self) -> func.FuncOp:
        """The launch's function."""
        b, team = self.b, self.team
        if team.row_bytes and team.size > 1 and not team.in_scratch:
            self.launch.take_shared(team.row_bytes * team.per_block)
        thread, block = b.thread(), b.block()
        if team.size == 1:
            self.unit = b.add(b.scaled(block, team.threads), thread)
        elif team.per_block == 1:
            self.unit, self.lane = block, thread
        else:
            self.slot, self.lane = b.divided(thread, team.size)
            self.unit = b.add(b.scaled(block, team.per_block), self.slot)
        with ExitStack() as stack:
            if team.units % team.per_block:
                stack.enter_context(b.when(b.less(self.unit, b.index(team.units))))
            self._place()
            self._leaves()
        return self.launch.finish([team.grid], team.threads)

    def _place(self) -> None:
        """The shared loops' variables, from the number of the iteration."""
        team = self.team
        sizes = [x.size // (team.width if x is team.vector else 1) for x in team.loops]
        for loop, digit in zip(team.loops, self.b.digits(self.unit, sizes), strict=True):
            self.body.variables[loop] = self.b.scaled(digit, team.width) if loop is team.vector else digit

    # Memory

    def memory(self, buffer: Buffer) -> SSAValue:
        """The buffer as a 1-D memref."""
        home = self.homes.get(buffer)
        if home is None:
            home = self.homes[buffer] = self._home(buffer)
        return home

    def _home(self, buffer: Buffer) -> SSAValue:
        if buffer.index < self.arguments:
            return self.b.flat(self.launch.args[buffer.index])
        if buffer in self.plan.arena:
            return self.launch.scratch(self.b.index(self.plan.arena[buffer]), product(buffer.sizes), buffer.element)
        row = next(r for r in self.group.rows if r.buffer is buffer)
        team, place = self.team, self.team.rows[buffer]
        if team.in_scratch:
            offset = self.b.plus(self.b.scaled(self.unit, team.row_bytes), self.rows_from + place)
            return self.launch.scratch(offset, row.length, buffer.element)
        if team.size == 1:
            return self.b.at(memref.AllocaOp.get(buffer.element, shape=[row.length], alignment=16), self.b.base)
        offset = self.b.index(place)
        if self.slot is not None:
            offset = self.b.add(self.b.scaled(self.slot, team.row_bytes), offset)
        return self.b.shared(offset, row.length, buffer.element)

    def sync(self) -> None:
        """The team's threads wait for each other."""
        if self.team.size > WARP:
            self.b.barrier()
        elif self.team.size > 1:
            self.b.sync_warp()

    # Leaves

    def _leaves(self) -> None:
        leaves = list(stored_leaves(self.group))
        for k, (leaf, stores) in enumerate(leaves):
            self.begin(leaf)
            self._leaf(leaf)
            if stores and k + 1 < len(leaves):
                self.sync()

    def begin(self, leaf: LeafPlan) -> None:
        """What is built now belongs to this leaf."""
        self.body.leaf_number += 1
        self.body.leaf_level = self.b.depth
        self.body.written_here = {f.buffer for p in leaf.stages for f in p.writes if f is not None}

    def _leaf(self, leaf: LeafPlan) -> None:
        if any(x.kind == "a" for x in leaf.own):
            self._by_first(lambda: self._serial(leaf.own, lambda: self._once(leaf)))
            return
        folds = [x for x in leaf.own if x.kind == "r"]
        others = [x for x in leaf.own if x.kind != "r"]
        if not folds:
            self._elementwise(leaf, others)
        elif not others:
            TeamFold(self, leaf, folds, across=self.team.size > 1).emit(shares=True)
        elif product([x.size for x in others]) >= self.team.size:
            self._spread(leaf, others, lambda: TeamFold(self, leaf, folds, across=False).emit(shares=False), whole=False)
        else:
            self._serial(others, lambda: TeamFold(self, leaf, folds, across=True).emit(shares=False))

    def _by_first(self, inside: Callable[[], None]) -> None:
        """Run by the team's first thread."""
        if self.team.size == 1:
            inside()
            return
        with self.b.when(self.b.equal(self.lane, self.b.index(0))):
            inside()

    def _elementwise(self, leaf: LeafPlan, others: Sequence[Loop]) -> None:
        if others:
            self._spread(leaf, others, lambda: self._once(leaf))
            return
        points = self.points()
        ran = self.run(leaf, points, [[]] * len(points))
        for point, done in zip(points, ran, strict=True):
            for buffer, value in done.values.items():
                self.shared_values.setdefault(buffer, {})[point.copy] = value
        if any(done.stores for done in ran):
            self._by_first(lambda: self.store_all([done.stores for done in ran]))

    def _once(self, leaf: LeafPlan) -> None:
        points = self.points()
        self.store_all([done.stores for done in self.run(leaf, points, [[]] * len(points))])

    def points(self) -> list[Point]:
        """Where a thread runs a body: one place, or neighbours along the loop of which it takes several."""
        vector, width = self.wide
        return [Point()] if vector is None else [Point(1, None, {vector: k}, k) for k in range(width)]

    def _serial(self, loops: Sequence[Loop], inside: Callable[[], None]) -> None:
        """Every thread runs all iterations."""
        if not loops:
            inside()
            return
        with self.b.loop(0, loops[0].size) as variable:
            self.body.variables[loops[0]] = variable
            self._serial(loops[1:], inside)

    def _spread(self, leaf: LeafPlan, loops: Sequence[Loop], inside: Callable[[], None], whole: bool = True) -> None:
        """The team's threads share the iterations, neighbours taking neighbouring ones. whole: they are all of the leaf's."""
        if self.team.size == 1:
            self._serial(loops, inside)
            return
        with self.shared_out(leaf, loops, whole, ()):
            inside()

    @contextmanager
    def shared_out(self, leaf: LeafPlan, loops: Sequence[Loop], several: bool, sums: Sequence[SSAValue]) -> Iterator[list[SSAValue]]:
        """The loop of a lane over the iterations it has of those threads share, with sums it carries: what is in the list at the end of an iteration, and behind the loop what has become of them.

        several: a thread may take neighbouring iterations at once; inside, `points` are those.
        """
        b, size = self.b, self.team.size
        shares = shares_of(leaf, loops, size, self.target.access_bytes, several)
        before, self.wide, self.shares = self.wide, (shares.vector, shares.width), shares
        if shares.turns:
            self.turn, inner = b.open_for(b.index(0), b.index(shares.turns), 1, sums)
            number = b.add(b.scaled(self.turn, size), self.lane)
        else:
            number, inner = b.open_for(self.lane, b.index(shares.count), size, sums)
        for loop, digit in zip(shares.loops, b.digits(number, shares.sizes), strict=True):
            self.body.variables[loop] = b.scaled(digit, shares.width) if loop is shares.vector else digit
        results = list(inner)
        yield results
        results[:] = b.close_for(results)
        if shares.turns:
            b.unroll_last()
        self.wide, self.shares, self.turn = before, None, None

    # Stages

    def run(self, leaf: LeafPlan, points: Sequence[Point], sums: Sequence[Sequence[Value] | None]) -> list[Ran]:
        """All stages of a leaf at some points of one thread.

        sums: per point the folding stages' accumulators; an entry of None takes those of the point before.
        """
        loaded: dict[int, list[SSAValue]] = {}
        found = []
        for point, mine in zip(points, sums, strict=True):
            given, done = iter(found[-1].sums if mine is None else mine), Ran([], {}, [])
            for plan in leaf.stages:
                self._stage(plan, point, given, done, loaded)
            found.append(done)
        return found

    def _stage(
        self, plan: StagePlan, point: Point, given: Iterator[Value], done: Ran, loaded: dict[int, list[SSAValue]]
    ) -> None:
        stage = plan.stage
        args: list[Value | None] = [
            None if flat is None else self._read(flat, forwarded, point, done, loaded)
            for flat, forwarded in zip(plan.reads, plan.forwarded, strict=True)
        ]
        if stage.reduces:
            args += [next(given) for _ in stage.writes]
            done.sums += self.body.run(stage.block, plan.loops, args, point)
            return
        args += [self._old(plan, k, point) for k in range(len(stage.writes))]
        results = (
            [self.scalar(stage.fill)]
            if stage.block is None
            else self.body.run(stage.block, plan.loops, args, point)
        )
        for write, flat, value in zip(stage.writes, plan.writes, results, strict=True):
            done.values[write.buffer] = value
            if flat is not None:
                done.stores.append((flat, point, value))

    def _read(self, flat: Flat, forwarded: bool, point: Point, done: Ran, loaded: dict[int, list[SSAValue]]) -> Value:
        if forwarded and flat.buffer in done.values:
            return done.values[flat.buffer]
        if forwarded:
            known = self.shared_values[flat.buffer]
            return known[point.copy] if point.copy in known else known[0]
        vector, width = self.wide
        if vector is None or not is_aligned(flat, vector, width, self.target.access_bytes):
            return self.body.load(flat, point)
        if id(flat) not in loaded:

            def fetch() -> list[SSAValue]:
                first = self.body.address(flat, Point(1, None, {}, 0))
                return self.b.read_lanes(self.memory(flat.buffer), first, width)

            loaded[id(flat)] = self.held.lanes(flat, self.shares, self.turn, fetch) if self.shares is not None else fetch()
        return loaded[id(flat)][point.offsets.get(vector, 0)]

    def _old(self, plan: StagePlan, k: int, point: Point) -> Value | None:
        """What an output held before, where the body asks for it."""
        stage = plan.stage
        if not stage.uses_out[k]:
            return None
        if stage.starts[k] is not None:
            return self.scalar(stage.starts[k])
        return self.body.load(plan.writes[k], point)

    def store_all(self, at_points: Sequence[Sequence[Store]]) -> None:
        """The stores of some points, as many of each, neighbouring elements together where they are aligned."""
        vector, width = self.wide
        for stores in zip(*at_points, strict=True):
            flat = stores[0][0]
            if len(stores) == width > 1 and vector is not None and is_aligned(flat, vector, width, self.target.access_bytes):
                first = self.body.address(flat, Point(1, None, {}, 0))
                self.b.write_lanes([value for _, _, value in stores], self.memory(flat.buffer), first)
                continue
            for flat, point, value in stores:
                self.body.store(flat, point, value)

    def scalar(self, constant: SSAValue) -> SSAValue:
        """A constant of the old body at the top of the new one."""
        op = constant.owner
        assert isinstance(op, arith.ConstantOp)
        return self.b.constant(op.properties["value"], constant.type)
