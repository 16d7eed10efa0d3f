"""Loops of @main whose steps work row by row: threads share the rows, and each goes through all steps with its own.

    for t:          g = h[t] @ w + x[t];             h[t + 1] = f(g)           a row of h is made from the same row of h before
    for rows p, apart from each other:
        for t:      g[p] = h[t][p] @ w + x[t][p];    h[t + 1][p] = f(g[p])

A step is too short to be shared by itself: threads would wait for each other, and hand over what they made, at every step of it, here once
for all of them. Found from index maps (stripe_parts.py); the parts depend on sizes alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import gcd, prod

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import IntegerAttr, MemRefType, i8, i64
from xdsl.ir import Block, Region, SSAValue

from ..dialects.kernel import RunOp
from ..dialects.sizes import any_symbolic
from ..dialects.target import Target
from .block_parts import has_scratch
from .block_writer import typed_window
from .blocked_calls import is_product
from .kernel_functions import make_function
from .loop_writer import LoopWriter
from .memory_plan import aligned
from .memref_layout import bytes_of, element_bytes, memref_type, strides_of
from .storage import Call, Home, Loop, Row, Storage
from .stripe_parts import Parts, Reads, RowCut, cut_rows, rows_of

LEAST_ROWS = 16  # of a part where there are products: register tiles of fewer run empty
LEAST_PART_BYTES = 1024  # of what a part makes in a step: caches move whole lines
AGAIN = 0.25  # of a part's work in a step that may be reading what all parts read
LONG_STEP, MANY_PARTS = 1 << 23, 8  # multiply-adds that are worth being shared themselves, unless there are so many parts

Register = Callable[[object, func.FuncOp], func.FuncOp]


@dataclass(slots=True)
class _Step:
    """A call of the loop, cut along its rows. reads: of every operand; None: all of it is read by every part. part: its function for one."""

    call: Call
    cut: RowCut
    reads: list[Reads | None]
    part: func.FuncOp | None = None


@dataclass(slots=True)
class _Memory:
    """What the loop's calls know about one storage. whole: elements of what one step sees of it, which parts divide; 0: it is only read, and
    not by rows alone.
    """

    element: object
    whole: int = 0
    written: bool = False


@dataclass(slots=True)
class _Shared:
    """A loop whose parts are apart. memories: of every storage its calls touch, in the order they do. parts: how many."""

    loop: Loop
    steps: list[_Step]
    memories: dict[Storage, _Memory] = field(default_factory=dict)
    parts: int = 1

    def of(self, written: bool) -> list[Storage]:
        return [s for s, m in self.memories.items() if m.written == written]


class SharedLoops:
    """Rewrites the loops of a program. functions, register: the program's, by key; see bufferize."""

    def __init__(self, target: Target, functions: dict[object, func.FuncOp], register: Register) -> None:
        self.target, self.functions, self.register = target, functions, register
        self.parts = Parts(target, functions, register)

    def rewrite(self, calls: list[Call | Loop], storages: list[Storage]) -> None:
        """Makes a loop that may be shared one call."""
        for place, item in enumerate(calls):
            if isinstance(item, Loop) and (shared := self._found(item)) is not None:
                calls[place] = self._call(shared, storages)

    # Whether

    def _found(self, loop: Loop) -> _Shared | None:
        steps: list[_Step] = []
        for item in loop.items:
            step = _cut(item) if isinstance(item, Call) else None
            if step is None:
                return None
            steps.append(step)
        shared = _Shared(loop, steps)
        if not steps or not _are_apart(shared):
            return None
        shared.parts = self._parts(shared)
        rows = [step.cut.extent // shared.parts for step in steps]
        can_be = shared.parts > 1 and all(self.parts.can_be_had(step.cut, n, _types(step, shared.parts)) for step, n in zip(steps, rows, strict=True))
        return shared if can_be else None

    def _parts(self, shared: _Shared) -> int:
        """How many parts pay: 1 where none do."""
        extents = [step.cut.extent for step in shared.steps]
        least = min(extents) // max(1, LEAST_ROWS if any(is_product(s.call.function) for s in shared.steps) else 1)
        made = min(bytes_of(kind) for step in shared.steps for _, kind in step.call.results)
        most = min(self.target.tasks, least, made // LEAST_PART_BYTES)
        common = gcd(*extents)
        parts = next((n for n in range(most, 1, -1) if common % n == 0), 1)
        work = sum(step.cut.work for step in shared.steps)
        again = sum(
            bytes_of(kind)
            for step in shared.steps
            for (_, kind), reads in zip(step.call.operands, step.reads, strict=True)
            if reads is None
        )
        if work * shared.loop.steps < self.target.parallel_work or (work > LONG_STEP and parts < MANY_PARTS):
            return 1
        if again * self.target.read_cost(again) > AGAIN * work / parts / self.target.lanes(4):
            return 1
        return parts

    # The call

    def _call(self, shared: _Shared, storages: list[Storage]) -> Call:
        for step in shared.steps:
            step.part = self.parts.of(step.cut, step.cut.extent // shared.parts, _types(step, shared.parts))
        writer = _Writer(shared)
        key = ("shared", *writer.wiring())
        function = self.functions.get(key) or self.register(key, writer.function(f"k{len(self.functions)}"))
        first = min(step.call.step for step in shared.steps)
        last = max(step.call.step for step in shared.steps)
        for storage in shared.memories:  # while one thread needs it another one may be anywhere in the loop
            storage.first = min(storage.first, first)
            storage.keep(last)
        gone = {id(step.call.scratch) for step in shared.steps}
        storages[:] = [s for s in storages if id(s) not in gone]
        scratch = None
        if writer.scratch_bytes:
            storages.append(scratch := Storage(writer.scratch_bytes, first, last))
        operands, results = ([(s, _flat(s, shared.memories[s])) for s in shared.of(written)] for written in (False, True))
        origin = next((step.call.origin for step in shared.steps if step.call.origin is not None), None)
        return Call(function, operands, results, origin, scratch, last)


def _cut(call: Call) -> _Step | None:
    """A call that makes its results row by row, each row in one run of memory."""
    if not call.results or any(any_symbolic(kind.get_shape()) for _, kind in (*call.operands, *call.results)):
        return None
    dims = [_outermost(kind) for _, kind in call.results]
    if None in dims:
        return None
    cut = cut_rows(call.function, dims[0])  # type: ignore[arg-type]  # none is None
    if cut is None or cut.border is not None or cut.dims != dims:
        return None
    return _Step(call, cut, [cut.reads.get(k) for k in range(len(call.operands))])


def _outermost(kind: MemRefType) -> int | None:
    """The dim along which rows lie one behind the other, without anything between."""
    shape, strides = kind.get_shape(), strides_of(kind)
    long = [d for d, n in enumerate(shape) if n > 1]
    if not long:
        return None
    dim = max(long, key=lambda d: strides[d])
    return dim if strides[dim] * shape[dim] == prod(shape) else None


def _are_apart(shared: _Shared) -> bool:
    """Whether no part touches what another one writes. Fills in the memories."""
    memories = shared.memories
    for step in shared.steps:
        for (storage, kind), reads in zip(step.call.operands, step.reads, strict=True):
            if not _note(shared, storage, kind, False, _is_by_rows(step, kind, reads)):
                return False
        for storage, kind in step.call.results:
            if not _note(shared, storage, kind, True, True):
                return False
    for step in shared.steps:
        for (storage, kind), reads in zip(step.call.operands, step.reads, strict=True):
            memory = memories[_base(storage)]
            if memory.written and not (_is_by_rows(step, kind, reads) and _fits(shared, storage, kind)):
                return False
        if not all(_fits(shared, storage, kind) for storage, kind in step.call.results):
            return False
    return True


def _note(shared: _Shared, storage: Storage, kind: MemRefType, written: bool, by_rows: bool) -> bool:
    base = _base(storage)
    memory = shared.memories.setdefault(base, _Memory(kind.element_type))
    memory.written |= written
    if by_rows and not memory.whole:
        memory.whole = prod(kind.get_shape())
    loops = {id(part.loop) for part in _chain(storage) if part.loop is not None}
    return memory.element == kind.element_type and loops <= {id(shared.loop)} and not any_symbolic([base.size])


def _is_by_rows(step: _Step, kind: MemRefType, reads: Reads | None) -> bool:
    """Whether a part of a call reads the same share of an operand, and nothing beside it."""
    if reads is None or reads.dim != _outermost(kind) or reads.reach != reads.step - 1:
        return False
    return kind.get_shape()[reads.dim] == step.cut.extent * reads.step


def _fits(shared: _Shared, storage: Storage, kind: MemRefType) -> bool:
    """Whether shares of what is seen here are shares of what all others see of the storage: it begins where theirs begin, and is as long."""
    whole = shared.memories[_base(storage)].whole
    return prod(kind.get_shape()) == whole and all(part.shift % whole == 0 and part.span % whole == 0 for part in _chain(storage))


def _chain(storage: Storage) -> Iterator[Row]:
    """A part of a storage, and what it is a part of."""
    while isinstance(storage, Row):
        yield storage
        storage = storage.base


def _base(storage: Storage) -> Storage:
    while isinstance(storage, Row):
        storage = storage.base
    return storage


def _flat(storage: Storage, memory: _Memory) -> MemRefType:
    """A storage as so many elements."""
    element = memory.element
    return memref_type((storage.size // element_bytes(element),), element)  # type: ignore[arg-type]  # an element


def _types(step: _Step, parts: int) -> list[MemRefType]:
    """The types of a call's arguments in one part."""
    rows = step.cut.extent // parts
    operands = zip(step.call.operands, step.reads, strict=True)
    found = [kind if reads is None else rows_of(kind, reads.dim, reads.count(rows)) for (_, kind), reads in operands]
    return found + [rows_of(kind, dim, rows) for (_, kind), dim in zip(step.call.results, step.cut.dims, strict=True)]


class _Writer:
    """The function of the parts: every one goes through the loop."""

    def __init__(self, shared: _Shared) -> None:
        self.shared = shared
        self.parts = [step.part for step in shared.steps if step.part is not None]
        self.task_bytes = max((aligned(bytes_of(p.body.block.args[-1].type)) for p in self.parts if has_scratch(p)), default=0)  # type: ignore[arg-type]  # a memref

    @property
    def scratch_bytes(self) -> int:
        return self.shared.parts * self.task_bytes

    def wiring(self) -> tuple[object, ...]:
        """All that the function follows from: equal loops have one."""
        shared = self.shared
        numbers = {s: k for k, s in enumerate((*shared.of(False), *shared.of(True)))}
        homes = [
            (numbers[_base(s)], kind, *((row.shift, row.span, row.loop is None) for row in _chain(s)))
            for step in shared.steps
            for s, kind in (*step.call.operands, *step.call.results)
        ]
        return (shared.parts, shared.loop.steps, shared.loop.reverse, *self.parts, *(_flat(s, shared.memories[s]) for s in numbers), *homes)

    def function(self, name: str) -> func.FuncOp:
        """``name(what is only read, what is written, scratch)``."""
        shared = self.shared
        reads, writes = ([_flat(s, shared.memories[s]) for s in shared.of(written)] for written in (False, True))
        scratch = [MemRefType(i8, [self.scratch_bytes])] if self.scratch_bytes else []
        block = Block(arg_types=[*reads, *writes, *scratch])
        block.add_op(end := func.ReturnOp())
        self.w = w = LoopWriter(end, shared.steps[0].call.origin)
        self.memory = dict(zip([*shared.of(False), *shared.of(True)], block.args, strict=False))
        with w.tasks(shared.parts, threads=True) as task:
            if scratch:
                own = w.value(RunOp.create(operands=(task,), result_types=(task.type,)))
                block.args[-1].name_hint = "scratch"
                self.scratch = typed_window(w, block.args[-1], w.times(own, self.task_bytes), MemRefType(i8, [self.task_bytes]))
            with w.loop(0, shared.loop.steps) as loop:
                index = loop.counter
                if shared.loop.reverse:
                    index = w.binary(arith.SubiOp, w.index(shared.loop.steps - 1), index)
                for step, part in zip(shared.steps, self.parts, strict=True):
                    self._step(step, part, task, index)
        function = make_function(name, reads, writes, Region(block))
        function.attributes["lamina.scratch"] = IntegerAttr(self.scratch_bytes, i64)
        return function

    def _step(self, step: _Step, part: func.FuncOp, task: SSAValue, index: SSAValue) -> None:
        w, rows = self.w, step.cut.extent // self.shared.parts
        kinds = [a.type for a in part.body.block.args]
        moves = [0 if r is None else rows * r.step * strides_of(kind)[r.dim] for (_, kind), r in zip(step.call.operands, step.reads, strict=True)]
        moves += [rows * strides_of(kind)[dim] for (_, kind), dim in zip(step.call.results, step.cut.dims, strict=True)]
        homes = (*step.call.operands, *step.call.results)
        arguments = [self._share(home, kind, w.times(task, move), index) for home, kind, move in zip(homes, kinds, moves, strict=False)]
        if has_scratch(part):
            arguments.append(typed_window(w, self.scratch, w.index(0), kinds[-1]))  # type: ignore[arg-type]  # a memref
        w.add(func.CallOp(part.sym_name.data, arguments, []))

    def _share(self, home: Home, kind: object, at: SSAValue, index: SSAValue) -> SSAValue:
        """What a part sees of a call's argument. at: elements in front of its share."""
        assert isinstance(kind, MemRefType)
        w, storage = self.w, home[0]
        for row in _chain(storage):
            at = w.plus(at, row.shift)
            if row.loop is not None and row.span:
                at = w.binary(arith.AddiOp, at, w.times(index, row.span))
        return w.value(memref.ReinterpretCastOp.from_dynamic(self.memory[_base(storage)], [at], kind.get_shape(), strides_of(kind), kind))

