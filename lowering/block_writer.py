"""The function of a chain that runs block by block: loops over the blocks, memory for one block per task, calls of the parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import IntAttr, IntegerAttr, MemRefType, i8, i64
from xdsl.ir import Block, Region, SSAValue

from ..dialects.attributes import dimensions
from ..dialects.sizes import estimate, largest
from ..dialects.target import Target
from .block_parts import Given, Member, Rows
from .kernel_functions import make_function
from .loop_writer import Address, LoopWriter
from .memory_plan import ALIGNMENT, aligned
from .memref_layout import bytes_of, memref_type, reinterpreted, strides_of
from .storage import Storage

LEAST_BLOCKS = 4


@dataclass(slots=True)
class Chain:
    """places: of its calls. late: places of the calls between that need what it makes. outer: extents of the loops that go on by
    one. rows: the blocks of the loop inside them (none: they are all). inside: the buffers that only the members touch.
    """

    places: list[int]
    late: list[int]
    members: list[Member]
    outer: list[int]
    rows: list[Rows]
    inside: list[Storage]

    @property
    def loops(self) -> int:
        return len(self.outer) + bool(self.rows)


class BlockWriter:
    """The function of loops that calls the parts."""

    def __init__(
        self, target: Target, chain: Chain, members: list[tuple[Member, list[Given]]], fills: list[func.FuncOp | None]
    ) -> None:
        self.target = target
        self.chain = chain
        self.members = members
        self.fills = fills
        self.parts: list[list[func.FuncOp]] = []
        self.room: dict[Storage, int] = {}
        self.part_scratch = 0
        sums = [first for m, _ in members if (first := m.sums_over(chain.loops)) is not None]
        self.shared = min(sums, default=chain.loops)  # block loops whose iterations tasks share

    def add(self, parts: list[func.FuncOp]) -> None:
        """The parts of the members for the next of the chain's rows."""
        self.parts.append(parts)
        for (m, given), part in zip(self.members, parts, strict=True):
            for g, argument in zip(given, part.body.block.args, strict=False):
                if g.what == "home" and (storage := m.homes[g.number][0]) in self.chain.inside:
                    self.room[storage] = max(self.room.get(storage, 0), aligned(largest(bytes_of(argument.type))))
            if len(part.body.block.args) > len(given):
                self.part_scratch = max(self.part_scratch, aligned(largest(bytes_of(part.body.block.args[-1].type))))

    def _layout(self) -> None:
        """Where everything lies in a task's part of the scratch memory."""
        asked = dict.fromkeys(g for _, given in self.members for g in given if g.what == "position")
        places, total = {}, 0
        for item, size in (*self.room.items(), *((g, ALIGNMENT) for g in asked)):
            places[item] = total
            total += size
        self.places: dict[Storage | Given, int] = places
        self.positions = list(asked)
        self.part_place, self.task_bytes = total, total + self.part_scratch

    @property
    def count(self) -> int:
        """What tasks share."""
        outer = prod(self.chain.outer[: self.shared])
        return outer * sum(r.count for r in self.chain.rows) if self.shared > len(self.chain.outer) else outer

    @property
    def tasks(self) -> int:
        most = max(LEAST_BLOCKS, self.target.l3_bytes // max(1, estimate(self.task_bytes)))
        return min(self.target.tasks, largest(self.count), most)

    @property
    def scratch_bytes(self) -> int:
        return self.tasks * self.task_bytes

    def wiring(self) -> Iterable[object]:
        """What arguments of the parts are the same buffer inside, and how the others move from block to block."""
        self._layout()
        yield from (part.sym_name.data for parts in self.parts for part in parts)
        for m, given in self.members:
            for g in given:
                if g.what == "home":
                    s, held = m.homes[g.number]
                    steps = tuple(steps[g.number] for steps in m.steps[: self.chain.loops])
                    yield self.places[s] if s in self.chain.inside else (held, *steps)

    def function(self, name: str, reads: Sequence[tuple[Member, int]], writes: Sequence[tuple[Member, int]]) -> func.FuncOp:
        """``name(what is read, what is written, scratch)``."""
        types = [[m.homes[k][1] for m, k in part] for part in (reads, writes)]
        block = Block(arg_types=[*types[0], *types[1], MemRefType(i8, dimensions([self.scratch_bytes]))])
        block.args[-1].name_hint = "scratch"
        block.add_op(end := func.ReturnOp())
        self.given = {(id(m), k): arg for (m, k), arg in zip((*reads, *writes), block.args, strict=False)}
        self.memory = block.args[-1]
        self.w = w = LoopWriter(end, self.members[0][0].call.origin)
        with w.tasks(self.tasks, threads=True) as task:
            self.scratch = w.times(task, self.task_bytes)
            low = w.divided(w.times(task, self.count), self.tasks)
            high = w.divided(w.times(w.plus(task, 1), self.count), self.tasks)
            with w.loop(low, high) as loop:
                self._shared(loop.counter)
        function = make_function(name, *types, Region(block))
        function.attributes["lamina.scratch"] = IntegerAttr(IntAttr(self.scratch_bytes), i64)
        return function

    def _shared(self, number: SSAValue) -> None:
        """One iteration of what tasks share."""
        w, outer, rows = self.w, self.chain.outer, self.chain.rows
        block, left = None, number
        if self.shared > len(outer):
            blocks = sum(r.count for r in rows)
            block, left = w.remainder(number, blocks), w.divided(number, blocks)
        indices: list[SSAValue] = []
        for extent in reversed(outer[: self.shared]):
            indices.insert(0, w.remainder(left, extent))
            left = w.divided(left, extent)
        for (m, _), fill in zip(self.members, self.fills, strict=True):
            if fill is not None:
                out = len(m.homes) - 1
                w.add(func.CallOp(fill.sym_name.data, [self._outside(m, out, indices, fill.body.block.args[0].type)], []))
        self._inner(indices, block)

    def _inner(self, indices: list[SSAValue], block: SSAValue | None) -> None:
        """The loops inside those that tasks share. block: the number of the block of rows, where tasks share these."""
        w, outer, before = self.w, self.chain.outer, 0
        if len(indices) < len(outer):
            with w.loop(0, outer[len(indices)]) as loop:
                self._inner([*indices, loop.counter], block)
            return
        if not self.chain.rows:
            self._block(indices, self.parts[0])
        for rows, parts in zip(self.chain.rows, self.parts, strict=False):
            if block is None:
                with w.loop(0, rows.count) as loop:
                    self._block([*indices, w.plus(w.times(loop.counter, rows.size), rows.start)], parts)
            elif len(self.chain.rows) == 1:
                self._block([*indices, w.times(block, rows.size)], parts)
            else:
                with w.when(block, before, before + rows.count):
                    inside = w.plus(block, -before)
                    self._block([*indices, w.plus(w.times(inside, rows.size), rows.start)], parts)
            before += rows.count

    def _block(self, indices: list[SSAValue], parts: list[func.FuncOp]) -> None:
        """The calls at the first indices of a block."""
        w = self.w
        for given in self.positions:
            assert given.kind is not None
            number = w.value(arith.IndexCastOp.create(operands=(indices[given.number],), result_types=(given.kind,)))
            w.store(number, self._window(self.places[given], memref_type((1,), given.kind)), Address())
        for (m, given), part in zip(self.members, parts, strict=True):
            arguments: list[SSAValue] = []
            for k, argument in enumerate(part.body.block.args):
                kind = argument.type
                assert isinstance(kind, MemRefType)
                inside = None if k == len(given) else given[k] if given[k].what == "position" else m.homes[given[k].number][0]
                if k == len(given):
                    arguments.append(self._window(self.part_place, kind))
                elif inside in self.places:
                    arguments.append(self._window(self.places[inside], kind))
                else:
                    arguments.append(self._outside(m, given[k].number, indices, kind))
            w.add(func.CallOp(part.sym_name.data, arguments, []))

    def _outside(self, m: Member, number: int, indices: Sequence[SSAValue], kind: object) -> SSAValue:
        """An argument of a member at these first indices of a block."""
        w = self.w
        assert isinstance(kind, MemRefType)
        at = w.index(0)
        for steps, index in zip(m.steps, indices, strict=False):
            if steps[number]:
                at = w.binary(arith.AddiOp, at, w.times(index, steps[number]))
        buffer = self.given[id(m), number]
        return w.value(reinterpreted(buffer, at, kind, strides_of(kind)))

    def _window(self, place: int, kind: MemRefType) -> SSAValue:
        return typed_window(self.w, self.memory, self.w.plus(self.scratch, place), kind)


def typed_window(w: LoopWriter, memory: SSAValue, at: SSAValue, kind: MemRefType) -> SSAValue:
    """Typed memory at a byte offset of the scratch argument."""
    span = bytes_of(kind) // max(1, bytes_of(memref_type((1,), kind.element_type)))
    flat = memref_type((span,), kind.element_type)
    window = w.value(memref.ViewOp.create(operands=(memory, at), result_types=(flat,)))
    if flat == kind:
        return window
    return w.value(reinterpreted(window, 0, kind, strides_of(kind)))
