"""Folds of a leaf by one thread or by a whole team: lanes fold their share, shuffles and shared memory combine them.

The order of the combination depends on sizes alone, so results are the same in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.ir import Attribute, Operation, SSAValue

from .gpu_teams import SHORT_FOLD, WARP, product
from .memref_layout import element_bytes
from .nest_body import Point
from .nest_fold import identity
from .nest_plan import Flat, LeafPlan, Loop
from .nest_stages import Buffer

if TYPE_CHECKING:
    from .gpu_nest import GroupLaunch


@dataclass(slots=True)
class Output:
    """One output of a folding stage. combine: the combining op of the body, or None where order must be kept."""

    buffer: Buffer
    element: Attribute
    flat: Flat | None
    start: SSAValue | None
    combine: Operation | None
    neutral: bool

    @property
    def starts_neutral(self) -> bool:
        """Whether the fold starts from the value that changes nothing."""
        if self.neutral:
            return True
        start = self.start.owner if self.start is not None else None
        return isinstance(start, arith.ConstantOp) and start.properties["value"] == identity(
            self.combine.name, self.element
        )


class TeamFold:
    """Emits the folding loops of a leaf. across: the team's lanes share them (else every thread folds on its own)."""

    def __init__(self, group: GroupLaunch, leaf: LeafPlan, folds: Sequence[Loop], across: bool) -> None:
        self.group, self.b, self.leaf, self.folds = group, group.b, leaf, list(folds)
        self.outputs = [
            Output(
                write.buffer, write.buffer.element, plan.writes[k], plan.stage.starts[k],
                plan.stage.block.last_op.operands[k].owner if plan.stage.combiners[k] is not None else None,
                plan.stage.neutral,
            )
            for plan in leaf.stages if plan.stage.reduces for k, write in enumerate(plan.stage.writes)
        ]  # fmt: skip
        self.across = across and all(o.combine is not None for o in self.outputs)
        self.apart = across or not self.group.team.size > 1
        self.points = self.group.points() if self.group.team.size == 1 else [Point()]
        """Each has a fold of its own."""
        self.pairs = [(point, output) for point in self.points for output in self.outputs]

    def emit(self, shares: bool) -> None:
        """The fold and the stores of its results. shares: the results are values of the team's iteration."""
        first = [self._first(point, output) for point, output in self.pairs]
        sums = self._across_lanes(first) if self.across else self._alone(self.folds, first)
        totals = []
        waits = False
        for (point, output), total in zip(self.pairs, sums, strict=True):
            if self.across:
                total = self._combined(output, total, in_loop=not shares)
            if output.combine is not None and not output.starts_neutral:
                waits |= output.start is None
                total = self._join(output, self._start(point, output), total)
            totals.append(total)
        if waits and self.apart:
            self.group.sync()
        for (point, output), total in zip(self.pairs, totals, strict=True):
            if shares:
                self.group.shared_values.setdefault(output.buffer, {})[point.copy] = total
        self._store(totals)

    def _store(self, totals: Sequence[SSAValue]) -> None:
        stores = [(o.flat, point, total) for (point, o), total in zip(self.pairs, totals, strict=True) if o.flat is not None]
        count = len(stores) // len(self.points)
        if not stores:
            return
        at_points = [stores[i * count : (i + 1) * count] for i in range(len(self.points))]
        if self.apart and self.group.team.size > 1:
            with self.b.when(self.b.equal(self.group.lane, self.b.index(0))):
                self.group.store_all(at_points)
        else:
            self.group.store_all(at_points)

    def _first(self, point: Point, output: Output) -> SSAValue:
        if output.combine is None:
            return self._start(point, output)
        return self.b.constant(identity(output.combine.name, output.element), output.element)

    def _start(self, point: Point, output: Output) -> SSAValue:
        """What the fold starts from: a constant, or what the output held."""
        if output.start is not None:
            return self.group.scalar(output.start)
        return self.group.body.load(output.flat, point)

    # Loops

    def _step(self, points: Sequence[Point], sums: Sequence[Sequence[SSAValue] | None]) -> list[list[SSAValue]]:
        """One iteration at some points, on the sums of each (None: those of the point before)."""
        ran = self.group.run(self.leaf, points, sums)
        if any(done.stores for done in ran):
            self.group.store_all([done.stores for done in ran])
        return [done.sums for done in ran]

    def _alone(self, loops: Sequence[Loop], sums: Sequence[SSAValue]) -> list[SSAValue]:
        if not loops:
            count = len(self.outputs)
            own = [sums[i * count : (i + 1) * count] for i in range(len(self.points))]
            return [total for found in self._step(self.points, own) for total in found]
        variable, inner = self.b.open_for(self.b.index(0), self.b.index(loops[0].size), 1, sums)
        self.group.body.variables[loops[0]] = variable
        result = self.b.close_for(self._alone(loops[1:], inner))
        if product([x.size for x in self.folds]) <= SHORT_FOLD:
            self.b.unroll_last()
        return result

    def _across_lanes(self, first: Sequence[SSAValue]) -> list[SSAValue]:
        """Every lane folds its share, the neighbouring iterations it takes at once in order."""
        group = self.group
        with group.shared_out(self.leaf, self.folds, True, first) as sums:
            points = group.points()
            sums[:] = self._step(points, [list(sums), *([None] * (len(points) - 1))])[-1]
        return sums

    # Lanes together

    def _join(self, output: Output, a: SSAValue, b: SSAValue) -> SSAValue:
        op = output.combine
        return self.b.emit(type(op), (a, b), a.type, op.properties)

    def _combined(self, output: Output, value: SSAValue, in_loop: bool) -> SSAValue:
        """The fold of all lanes' values, the same in every lane."""
        mask = WARP // 2
        while mask:
            value = self._join(output, value, self.b.shuffled_xor(value, mask))
            mask //= 2
        warps = self.group.team.size // WARP
        if warps == 1:
            return value
        at = self.group.launch.take_shared(warps * element_bytes(output.element))
        memory = self.b.shared(self.b.index(at), warps, output.element)
        warp, lane = self.b.divided(self.group.lane, WARP)
        with self.b.when(self.b.equal(lane, self.b.index(0))):
            self.b.write(value, memory, warp)
        self.b.barrier()
        total = self.b.read(memory, self.b.index(0))
        for k in range(1, warps):
            total = self._join(output, total, self.b.read(memory, self.b.index(k)))
        if in_loop:
            self.b.barrier()
        return total
