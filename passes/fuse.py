"""Fusion: the ops of @main become kernels, by families and index maps only."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import ClassVar

from xdsl.dialects.builtin import ModuleOp, StringAttr, UnitAttr
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.kernel import FusedOp, YieldOp, fused_block
from .access import ALIAS, CONTRACT, FOLD, INLINE, OPAQUE, PLACE
from .base import Pass
from .grouping import Group, Grouping
from .materialise import Program
from .program import program_blocks

_UNIT = UnitAttr()
_ANCHORS = (CONTRACT, FOLD, PLACE)  # the op a kernel is named after: the first of these, else its last


@dataclass(frozen=True)
class Fuse(Pass):
    """Group prim ops into kernels: each is one pass over memory, a list of stages, everything else inline.

    before  %1 = prim.mul %a, %b : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
            %2 = prim.relu %1 : (tensor<4x8xf32>) -> tensor<4x8xf32>
    after   %2 = kernel.fused(%a, %b) : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32> {
            ^bb0(%c: tensor<4x8xf32>, %d: tensor<4x8xf32>):
              %3 = prim.mul %c, %d : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
              %4 = prim.relu %3 : (tensor<4x8xf32>) -> tensor<4x8xf32>
              kernel.yield %4 : tensor<4x8xf32>
            }

    An inlined op that several stages of a kernel read from memory carries the unit attribute `kernel.stage`.
    """

    name: ClassVar[str] = "fuse"
    takes: ClassVar[str] = "primitive"
    gives: ClassVar[str] = "fused"

    def run(self, module: ModuleOp) -> int:
        return sum(_fuse_block(block) for block in program_blocks(module))


def _fuse_block(block: Block) -> int:
    last = block.last_op
    assert last is not None
    ops = [op for op in block.ops if op is not last]
    program = Program(ops, set(last.operands))
    grouping = Grouping(program)
    writer = _Writer(grouping, block, last)
    order = _in_order(grouping)
    for group in order:
        writer.write(group)
    writer.finish()
    return sum(1 for g in order if program.roles[g.stages[0]] not in (ALIAS, OPAQUE))


def _in_order(grouping: Grouping) -> list[Group]:
    """Groups so that producers come first; of those that could be next, the one whose last stage came first."""
    groups = grouping.groups()
    waiting: dict[Group, int] = {}
    readers: dict[Group, list[Group]] = {}
    for group in groups:
        needs = dict.fromkeys(grouping.group[p] for i in group.stages for p in grouping.producers[i])
        needs.pop(group, None)
        waiting[group] = len(needs)
        for other in needs:
            readers.setdefault(other, []).append(group)
    ready = [(g.stages[-1], g) for g in groups if not waiting[g]]
    heap = [place for place, _ in ready]
    by_place = {g.stages[-1]: g for g in groups}
    heapq.heapify(heap)
    order = []
    while heap:
        group = by_place[heapq.heappop(heap)]
        order.append(group)
        for reader in readers.get(group, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(heap, reader.stages[-1])
    assert len(order) == len(groups), "kernels form a cycle"
    return order


class _Writer:
    """Writes kernels in front of the old ops, which move into them; what several kernels compute is copied."""

    def __init__(self, grouping: Grouping, block: Block, last: Operation) -> None:
        self.program = grouping.program
        self.group = grouping.group
        self.block = block
        self.last = last
        self.new: dict[SSAValue, SSAValue] = {}
        self.readers = self._outside_readers()

    def _outside_readers(self) -> dict[int, set[int]]:
        """For each op, the stages that compute with it, as places (-1: the terminator)."""
        program = self.program
        readers: dict[int, set[int]] = {i: set() for i in range(len(program.ops))}
        for value in self.last.operands:
            place = program.place_of(value)
            if place is not None:
                readers[place].add(-1)
        for i in reversed(range(len(program.ops))):
            owners = {i} if program.material[i] else readers[i]
            for _, place in program.sources[i]:
                if place is not None:
                    readers[place] |= owners
        return readers

    def write(self, group: Group) -> None:
        """One kernel, or the op itself where it stays outside."""
        first = group.stages[0]
        if self.program.roles[first] in (ALIAS, OPAQUE):
            self._keep(self.program.ops[first])
            return
        places = self._needed(group)
        inputs = self._inputs(places)
        region, body = fused_block([v.type for v in inputs])
        inside: dict[SSAValue, SSAValue] = dict(zip(inputs, body.args, strict=True))
        for i in places:
            body.add_op(self._moved(i, inside, group) if self._is_alone(i) else self._copy(i, inside, group))
        outputs = [i for i in group.stages if any(r not in group.stages for r in self.readers[i])]
        if not outputs:
            return  # nobody reads it
        results = [self.program.ops[i].results[0] for i in outputs]
        body.add_op(YieldOp.create(operands=[inside[r] for r in results]))
        operands = [self.new.get(v, v) for v in inputs]
        kernel = FusedOp.make(operands, [r.type for r in results], region, origin=self._origin(group))
        self.block.insert_op_before(kernel, self.last)
        self.new.update(zip(results, kernel.results, strict=True))

    def _keep(self, op: Operation) -> None:
        op.detach()
        for k, operand in enumerate(op.operands):
            if operand in self.new:
                op.operands[k] = self.new[operand]
        self.block.insert_op_before(op, self.last)

    def _needed(self, group: Group) -> list[int]:
        """Places of all ops computed in the kernel: its stages and what these inline."""
        program = self.program
        needed: set[int] = set(group.stages)
        todo = list(group.stages)
        while todo:
            for _, place in program.sources[todo.pop()]:
                if place is not None and not program.material[place] and place not in needed:
                    needed.add(place)
                    todo.append(place)
        return sorted(needed)

    def _inputs(self, places: list[int]) -> list[SSAValue]:
        inside = set(places)
        found: dict[SSAValue, None] = {}
        for i in places:
            for operand, place in self.program.sources[i]:
                if place not in inside:
                    found[operand] = None
        return list(found)

    def _is_alone(self, i: int) -> bool:
        """Whether one kernel alone computes an op."""
        readers = self.readers[i]
        return self.program.material[i] or len(readers) == 1 or len({id(self.group[r]) for r in readers}) == 1

    def _marks(self, i: int, group: Group) -> bool:
        return i in group.stages and self.program.roles[i] in INLINE

    def _moved(self, i: int, inside: dict[SSAValue, SSAValue], group: Group) -> Operation:
        """The op itself, taken out of the block."""
        op = self.program.ops[i]
        op.detach()
        for k, operand in enumerate(op.operands):
            if inside[operand] is not operand:
                op.operands[k] = inside[operand]
        if self._marks(i, group):
            op.attributes["kernel.stage"] = _UNIT
        for result in op.results:
            inside[result] = result
        return op

    def _copy(self, i: int, inside: dict[SSAValue, SSAValue], group: Group) -> Operation:
        op = self.program.ops[i]
        attributes = dict(op.attributes)
        if self._marks(i, group):
            attributes["kernel.stage"] = _UNIT
        copy = type(op).create(
            operands=[inside[v] for v in op.operands],
            result_types=[r.type for r in op.results],
            attributes=attributes,
            properties=dict(op.properties),
        )
        inside[op.results[0]] = copy.results[0]
        return copy

    def _origin(self, group: Group) -> str | None:
        roles = self.program.roles
        anchors = [i for role in _ANCHORS for i in group.stages if roles[i] == role]
        origin = self.program.ops[(anchors or group.stages[-1:])[0]].attributes.get("origin")
        return origin.data if isinstance(origin, StringAttr) else None

    def finish(self) -> None:
        """Point the terminator at the kernels and drop the old ops that are in none."""
        for k, operand in enumerate(self.last.operands):
            if operand in self.new:
                self.last.operands[k] = self.new[operand]
        for i in reversed(range(len(self.program.ops))):
            op = self.program.ops[i]
            if op.parent is self.block and (self.program.roles[i] not in (ALIAS, OPAQUE) or not self._is_used(op)):
                op.detach()
                op.erase()

    def _is_used(self, op: Operation) -> bool:
        return not op.results or any(r.uses for r in op.results)
