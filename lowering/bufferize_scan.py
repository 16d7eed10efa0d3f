"""Buffers of a scan: slices of operands and stacks are parts of their buffers, nothing is copied that can be made in place.

A carried value that is stacked too, before or after its step, lives in one buffer of steps + 1 rows: every step reads one
row and makes the next, and the stacks are that buffer without its last or its first row. Any other carried value has one
place; the next one is made there when the last read of the old one is over, else it is copied at the end of the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType
from xdsl.ir import Operation, SSAValue

from ..dialects.kernel import FusedOp
from ..dialects.ops import BookOp, ScanOp
from ..dialects.types import size_of
from .in_place import may_overwrite
from .memref_layout import bytes_of, row_major_type
from .storage import Call, Home, Loop, Storage, row

if TYPE_CHECKING:
    from .bufferize import _Program


@dataclass(eq=False, slots=True)
class Goal:
    """Where a value of a body should be made. replaces: the carried argument whose place that is; None: nobody's."""

    program: _Program
    storage: Storage
    replaces: SSAValue | None = None
    taken: bool = False

    def takes(self, step: int, op: Operation, function: func.FuncOp, k: int, held: MemRefType) -> bool:
        """Whether result k of an op can be made here: in row-major order, and when nobody needs the old contents."""
        self.taken = held == row_major_type(op.results[k].type) and (self.replaces is None or self._is_free(step, op, function, k, held))
        return self.taken

    def _is_free(self, step: int, op: Operation, function: func.FuncOp, k: int, held: MemRefType) -> bool:
        last = self.program.uses.get(self.replaces, -1)
        if last != step:
            return last < step
        reads = [i for i, v in enumerate(op.operands) if self.program.home[v][0] is self.storage]
        return len(reads) == 1 and self.program.home[op.operands[reads[0]]][1] == held and may_overwrite(function, reads[0], k)


class ScanBuffers:
    """Homes, calls and copies of one scan."""

    def __init__(self, program: _Program, op: ScanOp) -> None:
        self.program, self.op, self.counts = program, op, op.counts
        self.begin, self.end = program.begins[op], program.ends[op]
        self.loop = Loop(op.counts.steps, op.counts.reverse)
        last = op.body.last_op
        assert last is not None
        self.yielded = list(last.operands)
        self.goals: list[Goal] = []
        self.copies: dict[tuple[Storage, func.FuncOp], Home] = {}
        self.types = [row_major_type(v.type) for v in self.yielded]

    def write(self) -> None:
        """The whole scan, as items of the program."""
        program = self.program
        self.outer = program.calls
        self._read_operands()
        for i in range(self.counts.carried):
            self._carry(i)
        for k in range(self.counts.carried, len(self.yielded)):
            if self.op.results[k] not in program.home:
                self._stack(k)
        self._aim()
        outer = self.outer
        program.calls = self.loop.items
        for inner in self.op.body.ops:
            if inner is not self.op.body.last_op:
                program.op(inner)
        self._copy_rest()
        program.calls = outer
        program.calls.append(self.loop)

    def packed(self, maker: func.FuncOp, source: Home) -> Home:
        """A packed copy of what every step reads whole, made in front of the loop."""
        key = (source[0], maker)
        if key not in self.copies:
            held = maker.body.block.args[1].type
            assert isinstance(held, MemRefType)
            copy = self.copies[key] = Storage(bytes_of(held), self.begin, self.end), held
            self.program.storages.append(copy[0])
            self.outer.append(Call(maker, [source], [copy], None))
        return self.copies[key]

    def _read_operands(self) -> None:
        program, counts = self.program, self.counts
        for i in range(counts.carried, len(self.op.operands)):
            storage, held = program.home[self.op.operands[i]]
            arg = self.op.body.args[i]
            if i < counts.carried + counts.scanned:
                held = row_major_type(arg.type)
                storage = row(storage, self.loop, _elements(held), 0)
            else:
                program.invariant[arg] = self
            program.home[arg] = storage, held

    def _carry(self, i: int) -> None:
        """The place, or the rows, of a carried value; it starts as a copy of the operand."""
        arg, held, stacks = self.op.body.args[i], self.types[i], range(self.counts.carried, len(self.yielded))
        homes = self.program.home
        before = [k for k in stacks if self.yielded[k] is arg]
        after = [k for k in stacks if self.yielded[k] is self.yielded[i] and self.op.results[k] not in homes]
        if not before and not after:
            place = self._result_storage(i, bytes_of(held))
            homes[arg] = homes[self.op.results[i]] = place, held
            self.goals.append(Goal(self.program, place, arg))
            self.program.copy(self.begin, homes[self.op.operands[i]], (place, held))
            return
        step, count = _elements(held), self.counts.steps
        low, high = (step, 0) if self.counts.reverse else (0, step)
        rows = self._storage(bytes_of(held) * (count + 1), [i, *before, *after])
        homes[arg] = row(rows, self.loop, step, low), held
        self.goals.append(Goal(self.program, row(rows, self.loop, step, high)))
        first, final = (count * step, 0) if self.counts.reverse else (0, count * step)
        self.program.copy(self.begin, homes[self.op.operands[i]], (row(rows, None, 0, first), held))
        homes[self.op.results[i]] = row(rows, None, 0, final), held
        for group, shift in ((before, low), (after, high)):
            for k in group:
                homes[self.op.results[k]] = row(rows, None, 0, shift), row_major_type(self.op.results[k].type)

    def _stack(self, k: int) -> None:
        stack = row_major_type(self.op.results[k].type)
        place = self._result_storage(k, bytes_of(stack))
        self.program.home[self.op.results[k]] = place, stack
        self.goals.append(Goal(self.program, row(place, self.loop, _elements(self.types[k]), 0)))

    def _result_storage(self, k: int, size: int) -> Storage:
        """The memory of a whole result: that of the output it is, or a piece of the arena."""
        program, result = self.program, self.op.results[k]
        output = program.direct.get(result)
        if output is None:
            return self._storage(size, [k])
        program.donated.pop(output, None)
        return Storage(size, self.begin, self.end, program.block.args[len(program.main.body.block.args) + output])

    def _storage(self, size: int, results: Sequence[int]) -> Storage:
        """A piece of the arena that holds these results as long as anybody reads them."""
        program = self.program
        made = Storage(size, self.begin, self.end)
        for k in results:
            made.keep(program.uses.get(self.op.results[k], self.end))
            program.donated.pop(program.direct.pop(self.op.results[k], -1), None)
        program.storages.append(made)
        return made

    def _aim(self) -> None:
        """Let what makes a yielded value make it in its place."""
        self.left: list[tuple[Goal, SSAValue]] = []
        stacked = (k for k in range(self.counts.carried, len(self.yielded)))
        goals = iter(self.goals)
        values = [self.yielded[i] for i in range(self.counts.carried)]
        values += [self.yielded[k] for k in stacked if k in self._own_stacks()]
        for value, goal in zip(values, goals, strict=True):
            self.left.append((goal, value))
        self.left.sort(key=lambda pair: pair[0].replaces is not None)  # rows first: they can always be written
        for goal, value in self.left:
            made = self.program.root.get(value, value)
            maker = made.owner
            inside = isinstance(maker, FusedOp | BookOp) and not isinstance(maker, ScanOp) and maker.parent is self.op.body
            if inside and made not in self.program.targets:
                self.program.targets[made] = goal

    def _own_stacks(self) -> set[int]:
        """Stacks that are not rows of a carried value."""
        homes = self.program.home
        return {k for k in range(self.counts.carried, len(self.yielded)) if type(homes[self.op.results[k]][0]) is Storage}

    def _copy_rest(self) -> None:
        """What could not be made in place: rows first, then carried values, those that others still need by way of a copy."""
        program, step = self.program, self.program.begins[self.op.body.last_op]  # type: ignore[index]  # there is one
        pending: list[tuple[Home, Home]] = []
        for goal, value in self.left:
            made = program.root.get(value, value)
            if goal.taken and program.targets.get(made) is goal:
                continue
            source, held = program.home[value]
            wanted = row_major_type(value.type)
            if goal.replaces is None:
                program.copy(step, (source, held), (goal.storage, wanted))
            elif source is not goal.storage:
                if any(source is other.storage for other in self.goals):
                    spare = Storage(bytes_of(wanted), self.begin, self.end)
                    program.storages.append(spare)
                    program.copy(step, (source, held), (spare, wanted))
                    source, held = spare, wanted
                pending.append(((source, held), (goal.storage, wanted)))
        for origin, target in pending:
            program.copy(step, origin, target)


def _elements(held: MemRefType) -> int:
    return size_of(tuple(held.get_shape()))
