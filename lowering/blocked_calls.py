"""Chains of kernels run block by block: a large buffer between them becomes a small one of each thread.

    S = Q K^T; P = softmax(S); O = P V         z x m x n numbers in S, and in P
    for z, for rows of a block:                 rows x n numbers, in the second-level cache
      s = Q[z, rows] K[z]^T; p = softmax(s); O[z, rows] = p V[z]

Found from index maps: loops that run parallel through every kernel that touches the buffer (block_analysis.py), or over which a
product sums: dV = P^T dO adds up its result from block to block. The kernels stay what they are, with smaller sizes and for one
thread (block_parts.py); a function of loops calls them for every block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import IntegerAttr, MemRefType, i8, i64
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Block, BlockArgument, Region, SSAValue

from ..dialects.sizes import any_symbolic, estimate
from ..dialects.target import Target
from .block_analysis import Cut, cut_function, is_plain
from .block_parts import Given, Member, Rows, arguments_of, fill_function, has_scratch, part_of, split, type_within
from .contraction_match import match_contraction
from .contraction_plan import split as split_evenly
from .kernel_functions import make_function, unplanned
from .loop_writer import Address, LoopWriter
from .memory_plan import ALIGNMENT, aligned
from .memref_layout import bytes_of, memref_type, strides_of
from .storage import Call, Home, Loop, Storage

WINDOW = 12
"""Calls a chain may span."""
LEAST_BLOCKS = 4
LEAST_ROWS = 16
"""Rows of a block below which the register tiles of a product run empty."""

Register = Callable[[object, func.FuncOp], func.FuncOp]


@dataclass(slots=True)
class _Chain:
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


class BlockedCalls:
    """Rewrites the calls of a program. functions, register: the program's, by key; see bufferize."""

    def __init__(self, target: Target, functions: dict[object, func.FuncOp], register: Register) -> None:
        self.target = target
        self.functions = functions
        self.register = register
        self.products: dict[func.FuncOp, bool] = {}  # many calls share a function
        self.touching: dict[int, list[int]] = {}

    def rewrite(self, calls: list[Call | Loop], storages: list[Storage]) -> None:
        """Replaces chains in place: their buffers are dropped from the storages, calls move to the last one's place."""
        position = 0
        self.touching = _places(calls)
        while position < len(calls):
            chain = self._chain_from(calls, position)
            if chain is not None:
                self._replace(calls, storages, chain)
                self.touching = _places(calls)
            position += 1

    # Which calls, which loops

    def _chain_from(self, calls: list[Call | Loop], start: int) -> _Chain | None:
        """The longest chain that begins with this product: as many buffers between its calls as may be cut."""
        first = calls[start]
        if not isinstance(first, Call):
            return None
        if first.function not in self.products:
            self.products[first.function] = is_product(first.function)
        if not self.products[first.function]:
            return None
        found: _Chain | None = None
        waiting = [s for s, _ in first.results]
        while waiting:
            inside = [*(found.inside if found else ()), waiting.pop(0)]
            wider = self._fitting(calls, start, inside)
            if wider is not None:
                found = wider
                members = [call for k in found.places if isinstance(call := calls[k], Call)]
                homes = [home for call in members for home in call.results] + [home for call in members for home in call.operands]
                waiting = list(dict.fromkeys(s for s, _ in homes if s not in inside))
        return found

    def _fitting(self, calls: list[Call | Loop], start: int, inside: list[Storage]) -> _Chain | None:
        """The chain of all calls that touch these buffers, cut where it pays."""
        places: set[int] = set()
        for storage in inside:
            if type(storage) is not Storage or storage.argument is not None or estimate(storage.size) < self.target.l2_bytes // 2:
                return None
            touching = self.touching[id(storage)]
            if touching[0] <= start - WINDOW or touching[-1] >= start + WINDOW or not all(isinstance(calls[k], Call) for k in touching):
                return None
            places.update(touching)
        members = [_member(calls[k]) for k in sorted(places)]  # type: ignore[arg-type]  # calls
        chain = [m for m in members if m is not None]
        if len(chain) < len(members) or not any(folds(m.function) for m in chain):
            return None
        late = self._late(calls, sorted(places))
        if late is None:
            return None
        held = next(t for m in chain for s, t in m.homes if s is inside[0])
        extents = sorted(((step, n) for n, step in zip(held.get_shape(), strides_of(held), strict=True) if n > 1), key=estimate, reverse=True)
        cut = [n for step, n in extents if not any_symbolic((n, step)) and _cut_chain(chain, inside, n, step)]
        blocks = self._blocks(cut, sum(estimate(s.size) for s in inside), len(extents) - len(cut) > 1) if cut else None
        found = None if blocks is None else _Chain(sorted(places), late, chain, *blocks, inside)
        return found if found is not None and self._pays(found) else None

    @staticmethod
    def _late(calls: list[Call | Loop], members: Sequence[int]) -> list[int] | None:
        """The calls between that have to wait when all members are called at the last one's place: they touch what a member
        writes, or overwrite what one reads, or follow such a call. None where a member waits for one of them.
        """
        late: list[int] = []
        written: set[Storage] = set()
        read: set[Storage] = set()
        for k in range(members[0], members[-1] + 1):
            item = calls[k]
            if not isinstance(item, Call):
                return None
            follows = any(touches(item, s) for s in written) or any(_touched(s, read) for s, _ in item.results)
            if k in members:
                if any(_conflict(item, calls[other]) for other in late):  # type: ignore[arg-type]  # calls
                    return None
            elif follows:
                late.append(k)
            else:
                continue
            written.update(s for s, _ in item.results)
            read.update(s for s, _ in item.operands)
        return late

    def _blocks(self, extents: Sequence[int], size: int, matrices: bool) -> tuple[list[int], list[Rows]] | None:
        """Outer loops one by one, the last one in blocks of rows that fit the second-level cache. matrices: what lies inside
        all of them is a matrix still, so that the last one is no row of one.
        """
        if matrices:
            return (list(extents), []) if prod(extents) >= LEAST_BLOCKS else None
        *outer, last = extents
        fitting = self.target.l2_bytes * prod(extents) // size
        most = max(min(LEAST_ROWS, last), min(fitting, last * prod(outer) // LEAST_BLOCKS, last))
        rows = [Rows(t.start, t.count, t.size) for t in split_evenly(last, most)] if most < last else []
        return (outer, rows) if prod(outer) * max(1, sum(r.count for r in rows)) >= LEAST_BLOCKS else None

    def _pays(self, chain: _Chain) -> bool:
        """Every block reads a part of each factor, or a small one: what it reads whole is read again by all."""
        for m in chain.members:
            product = match_contraction(m.function)
            for factor in (product.left, product.right) if product else ():
                if not isinstance(factor.access.buffer, BlockArgument):
                    continue
                number = factor.access.buffer.index
                storage, held = m.homes[number]
                cut = any(steps[number] for steps in m.steps[: chain.loops])
                if storage not in chain.inside and not cut and estimate(bytes_of(held)) > self.target.l2_bytes // 4:
                    return False
        return True

    # The functions

    def _replace(self, calls: list[Call | Loop], storages: list[Storage], chain: _Chain) -> None:
        last = calls[chain.places[-1]]
        assert isinstance(last, Call)
        step, after = last.step, [calls[k] for k in chain.late]
        origin = chain.members[0].call.origin
        members = [self._without_epilogue(m, chain, storages, after, step) for m in chain.members]
        writer = _BlockWriter(self.target, chain, [(m, arguments_of(m, chain.loops)) for m in members], self._fills(members, chain))
        for rows in chain.rows or [None]:
            sizes = [1] * len(chain.outer) + ([] if rows is None else [rows.size])
            writer.add([self._part(m, sizes, chain.inside) for m in members])
        outside = [(m, k) for m in members for k, (s, _) in enumerate(m.homes) if s not in chain.inside]
        reads, writes = ([(m, k) for m, k in outside if (k < m.reads) == early] for early in (True, False))
        key = ("blocked", *writer.wiring(), tuple(chain.outer), tuple(chain.rows))
        function = self.functions.get(key)
        if function is None:
            function = self.register(key, writer.function(f"k{len(self.functions)}", reads, writes))
        homes = [[m.homes[k] for m, k in part] for part in (reads, writes)]
        scratch = Storage(writer.scratch_bytes, step, step)
        replaced = {id(m.call.scratch) for m in members} | {id(s) for s in chain.inside}
        storages[:] = [s for s in storages if id(s) not in replaced] + [scratch]
        for storage, _ in homes[0]:
            storage.keep(step)
        calls[chain.places[-1]] = Call(function, *homes, origin, scratch, step)
        _postpone(after, step)  # type: ignore[arg-type]  # calls
        calls[chain.places[-1] + 1 : chain.places[-1] + 1] = after
        for k in reversed(sorted((*chain.places[:-1], *chain.late))):
            del calls[k]

    def _without_epilogue(
        self, m: Member, chain: _Chain, storages: list[Storage], after: list[Call | Loop], step: int
    ) -> Member:
        """A product that sums over blocks gets a buffer for its sum when it goes on with it: that is one more call behind the chain."""
        if m.sums_over(chain.loops) is None:
            return m
        key = ("after", m.call.function.sym_name.data)
        found = split(m, f"k{len(self.functions)}")
        if found is None:
            return m
        rest, function, held = found
        function = self.functions.get(key) or self.register(key, function)
        total = Storage(bytes_of(held), m.call.step, step)
        storages.append(total)
        rest.homes.append((total, held))
        scratch = Storage(bytes_of(function.body.block.args[-1].type), step, step) if has_scratch(function) else None
        storages += [] if scratch is None else [scratch]
        operands = [*m.call.operands, (total, held)]
        after.insert(0, Call(function, operands, m.call.results, m.call.origin, scratch, step))
        return rest

    def _fills(self, members: Sequence[Member], chain: _Chain) -> list[func.FuncOp | None]:
        """For every member what fills its sums with zeros, where it has some."""
        found: list[func.FuncOp | None] = []
        for m in members:
            first = m.sums_over(chain.loops)
            held = None if first is None else type_within(m, len(m.homes) - 1, [1] * first)
            known = None if held is None else self.functions.get(("fill", held))
            if held is not None and known is None:
                known = self.register(("fill", held), fill_function(f"k{len(self.functions)}", held))
            found.append(known)
        return found

    def _part(self, m: Member, sizes: Sequence[int], inside: Sequence[Storage]) -> func.FuncOp:
        """The function of a member for one block, on one thread."""
        small = tuple(k for k, (s, _) in enumerate(m.homes) if s in inside)
        how = tuple((cut.extent, size, *steps) for cut, size, steps in zip(m.cuts, sizes, m.steps, strict=False))
        key = ("part", m.call.function.sym_name.data, small, how)
        part = self.functions.get(key)
        return part or self.register(key, part_of(m, sizes, small, f"k{len(self.functions)}"))


class _BlockWriter:
    """The function of loops that calls the parts."""

    def __init__(
        self, target: Target, chain: _Chain, members: list[tuple[Member, list[Given]]], fills: list[func.FuncOp | None]
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
                    self.room[storage] = max(self.room.get(storage, 0), aligned(bytes_of(argument.type)))
            if len(part.body.block.args) > len(given):
                self.part_scratch = max(self.part_scratch, aligned(bytes_of(part.body.block.args[-1].type)))

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
        most = max(LEAST_BLOCKS, self.target.l3_bytes // max(1, self.task_bytes))
        return min(self.target.tasks, self.count, most)

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
        block = Block(arg_types=[*types[0], *types[1], MemRefType(i8, [self.scratch_bytes])])
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
        function.attributes["lamina.scratch"] = IntegerAttr(self.scratch_bytes, i64)
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
        return w.value(memref.ReinterpretCastOp.from_dynamic(buffer, [at], kind.get_shape(), strides_of(kind), kind))

    def _window(self, place: int, kind: MemRefType) -> SSAValue:
        return _window(self.w, self.memory, self.w.plus(self.scratch, place), kind)


def _window(w: LoopWriter, memory: SSAValue, at: SSAValue, kind: MemRefType) -> SSAValue:
    """Typed memory at a byte offset of the scratch argument."""
    span = bytes_of(kind) // max(1, bytes_of(memref_type((1,), kind.element_type)))
    flat = memref_type((span,), kind.element_type)
    window = w.value(memref.ViewOp.create(operands=(memory, at), result_types=(flat,)))
    if flat == kind:
        return window
    return w.value(memref.ReinterpretCastOp.from_dynamic(window, [0], kind.get_shape(), strides_of(kind), kind))


# Facts about calls and functions


def touches(item: Call | Loop, storage: Storage) -> bool:
    """Whether a call reads or writes the storage, or a part of it."""
    if isinstance(item, Loop):
        return any(touches(inner, storage) for inner in item.items)
    for homes in (item.operands, item.results):
        for s, _ in homes:
            if s is storage or getattr(s, "base", None) is storage:
                return True
    return False


def _places(calls: Sequence[Call | Loop]) -> dict[int, list[int]]:
    """Where every storage, by its id, is touched: itself or a part of it."""
    found: dict[int, list[int]] = {}

    def visit(item: Call | Loop, place: int) -> None:
        if isinstance(item, Loop):
            for inner in item.items:
                visit(inner, place)
            return
        for s, _ in (*item.operands, *item.results):
            for storage in (s, getattr(s, "base", None)):
                if storage is not None and (places := found.setdefault(id(storage), []))[-1:] != [place]:
                    places.append(place)

    for place, item in enumerate(calls):
        visit(item, place)
    return found


def is_product(function: func.FuncOp) -> bool:
    """Whether the kernel is a contraction."""
    return match_contraction(function) is not None


def folds(function: func.FuncOp) -> bool:
    """Whether the kernel reduces, and is no contraction."""
    stages = [op for op in function.body.block.ops if isinstance(op, GenericOp)]
    return not is_product(function) and any(k.data.value == "reduction" for op in stages for k in op.iterator_types.data)


def _member(call: Call) -> Member | None:
    """The call with an argument of its own for every operand slot of a stage that reads an input."""
    if "lamina.packed" in call.function.attributes or not is_plain(call.function):
        return None
    function = unplanned(call.function)
    block = function.body.block
    homes = [*call.operands, *call.results]
    if len(block.args) > len(homes):
        block.erase_arg(block.args[-1])  # scratch: nobody uses it yet
    made = len(call.operands)
    for k in range(len(call.operands) - 1, -1, -1):
        slots = [use for use in block.args[k].uses if isinstance(use.operation, GenericOp)]
        for use in sorted(slots, key=lambda u: u.index)[1:]:
            extra = block.insert_arg(block.args[k].type, made)
            use.operation.operands[use.index] = extra
            homes.insert(made, homes[k])
            made += 1
    function.attributes["lamina.inputs"] = IntegerAttr(made, i64)
    return Member(call, function, homes, [], [], len(call.results))


def _cut_chain(chain: Sequence[Member], inside: Sequence[Storage], extent: int, step: int) -> bool:
    """Cuts every member along a loop of the first of these buffers; adds the cut to each, or to none."""
    known = {inside[0]: step}
    written = {s for m in chain for s, _ in m.homes[m.reads :]}
    cuts: dict[int, Cut] = {}
    while True:
        todo = [m for m in chain if id(m) not in cuts and any(s in known for s, _ in m.homes)]
        if not todo:
            break
        m = todo[0]
        number = next(k for k, (s, _) in enumerate(m.homes) if s in known)
        argument = m.function.body.block.args[number]
        cut = cut_function(m.function, argument, extent, known[m.homes[number][0]])
        if cut is None:
            return False
        cuts[id(m)] = cut
        for k, (s, _) in enumerate(m.homes):
            found = _step_of(m.function, cut, k)
            if cut.sums is not None and k >= m.reads:
                if any(s is other for n in chain for other, _ in (n.homes if n is not m else n.homes[: n.reads])):
                    return False
            elif s in written and (not found or known.setdefault(s, found) != found):
                return False
    if len(cuts) != len(chain):
        return False
    for m in chain:
        cut = cuts[id(m)]
        m.cuts.append(cut)
        m.steps.append([_step_of(m.function, cut, k) for k in range(len(m.homes))])
    return True


def _step_of(function: func.FuncOp, cut: Cut, number: int) -> int:
    """Elements an argument moves per step of the cut; 0 where it is read whole."""
    argument = function.body.block.args[number]
    if argument in cut.written:
        return cut.written[argument]
    slots = [use for use in argument.uses if isinstance(use.operation, GenericOp)]
    return cut.steps.get((slots[0].operation, slots[0].index), 0) if slots else 0


def _touched(storage: Storage, others: set[Storage]) -> bool:
    """Whether one of these is the storage, or one is a part of the other."""
    base = getattr(storage, "base", None)
    return any(s is storage or s is base or getattr(s, "base", None) is storage for s in others)


def _conflict(a: Call, b: Call) -> bool:
    """Whether two calls may not change places."""
    return any(touches(a, s) for s, _ in b.results) or any(touches(b, s) for s, _ in a.results)


def _postpone(calls: Sequence[Call], step: int) -> None:
    """Calls that happen at a later step than they were planned for."""
    for call in calls:
        call.step = step
        for storage, _ in (*call.operands, *call.results):
            storage.keep(step)
        if call.scratch is not None:
            call.scratch.first = call.scratch.last = step
