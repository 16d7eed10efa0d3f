"""Chains of kernels run block by block: a large buffer between them becomes a small one of each thread.

    S = Q K^T; P = softmax(S); O = P V         z x m x n numbers in S, and in P
    for z, for rows of a block:                 rows x n numbers, in the second-level cache
      s = Q[z, rows] K[z]^T; p = softmax(s); O[z, rows] = p V[z]

Found from index maps: loops that run parallel through every kernel that touches the buffer (block_analysis.py). The kernels
stay what they are, with smaller sizes and for one thread; a function of loops calls them for every block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import FunctionType, IntegerAttr, MemRefType, StringAttr, UnitAttr, i8, i64
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Block, BlockArgument, Region, SSAValue
from xdsl.rewriter import Rewriter

from ..dialects.target import Target
from .block_analysis import Cut, cut_function, is_plain, pure_dims
from .contraction_match import match_contraction
from .kernel_functions import make_function
from .loop_writer import LoopWriter
from .memory_plan import aligned
from .memref_layout import bytes_of, memref_type, strides_in_order, strides_of
from .storage import Call, Home, Loop, Storage

WINDOW = 12
"""Calls a chain may span."""
LEAST_BLOCKS = 4
LEAST_ROWS = 16
"""Rows of a block below which the register tiles of a product run empty."""

Register = Callable[[object, func.FuncOp], func.FuncOp]


@dataclass(slots=True)
class _Member:
    """A call of a chain: its function with an argument per operand slot, and the home of each argument."""

    call: Call
    function: func.FuncOp
    homes: list[Home]
    cuts: list[Cut]
    steps: list[list[int]]  # per cut, the elements every argument moves per step; 0: it is read whole

    @property
    def reads(self) -> int:
        """Arguments that are read; then come those that are written."""
        return len(self.homes) - len(self.call.results)


@dataclass(slots=True)
class _Block:
    """One blocked loop: blocks of `size` out of `extent`."""

    extent: int
    size: int

    @property
    def count(self) -> int:
        return self.extent // self.size


@dataclass(slots=True)
class _Chain:
    """places: of its calls. inside: the buffers that only they touch."""

    places: list[int]
    members: list[_Member]
    blocks: list[_Block]
    inside: list[Storage]


class BlockedCalls:
    """Rewrites the calls of a program. functions, register: the program's, by key; see bufferize."""

    def __init__(self, target: Target, functions: dict[object, func.FuncOp], register: Register) -> None:
        self.target = target
        self.functions = functions
        self.register = register

    def rewrite(self, calls: list[Call | Loop], storages: list[Storage]) -> None:
        """Replaces chains in place: their buffers are dropped from the storages, calls move to the last one's place."""
        position = 0
        while position < len(calls):
            chain = self._chain_from(calls, position)
            if chain is not None:
                self._replace(calls, storages, chain)
            position += 1

    # Which calls, which loops

    def _chain_from(self, calls: list[Call | Loop], start: int) -> _Chain | None:
        """The longest chain that begins with this product: as many buffers between its calls as may be cut."""
        first = calls[start]
        if not isinstance(first, Call) or not is_product(first.function):
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
            if type(storage) is not Storage or storage.argument is not None or storage.size < self.target.l2_bytes // 2:
                return None
            touching = [k for k, item in enumerate(calls) if touches(item, storage)]
            if touching[0] <= start - WINDOW or touching[-1] >= start + WINDOW or not all(isinstance(calls[k], Call) for k in touching):
                return None
            places.update(touching)
        members = [_member(calls[k]) for k in sorted(places)]  # type: ignore[arg-type]  # calls
        chain = [m for m in members if m is not None]
        if len(chain) < len(members) or not any(folds(m.function) for m in chain) or not self._may_move(calls, sorted(places)):
            return None
        held = next(t for m in chain for s, t in m.homes if s is inside[0])
        extents = sorted(((step, n) for n, step in zip(held.get_shape(), strides_of(held), strict=True) if n > 1), reverse=True)
        cut = [n for step, n in extents if _cut_chain(chain, inside[0], n, step)]
        blocks = self._blocks(cut, sum(s.size for s in inside), len(extents) - len(cut) > 1) if cut else None
        if blocks is None or not self._pays(chain, len(blocks), inside):
            return None
        return _Chain(sorted(places), chain, blocks, inside)

    @staticmethod
    def _may_move(calls: list[Call | Loop], members: Sequence[int]) -> bool:
        """Whether the calls may all be made where the last one is: what lies between touches nothing they write, and overwrites
        nothing they read.
        """
        written = {s for k in members for s, _ in calls[k].results}  # type: ignore[union-attr]
        read = {s for k in members for s, _ in calls[k].operands}  # type: ignore[union-attr]
        for k in range(members[0], members[-1]):
            if k in members:
                continue
            item = calls[k]
            if not isinstance(item, Call) or any(touches(item, s) for s in written) or any(s in read for s, _ in item.results):
                return False
        return True

    def _blocks(self, extents: Sequence[int], size: int, matrices: bool) -> list[_Block] | None:
        """Outer loops one by one, the last one in blocks of rows that fit the second-level cache. matrices: what lies inside
        all of them is a matrix still, so that the last one is no row of one.
        """
        if matrices:
            return [_Block(n, 1) for n in extents] if prod(extents) >= LEAST_BLOCKS else None
        *outer, last = extents
        blocks = [_Block(n, 1) for n in outer]
        count, limit = prod(outer), self.target.l2_bytes
        rows = last
        while size // count // last * rows > limit or count * (last // rows) < LEAST_BLOCKS:
            fewer = next((n for n in range(rows - 1, LEAST_ROWS - 1, -1) if last % n == 0), None)
            if fewer is None:
                break
            rows = fewer
        if rows < last:
            blocks.append(_Block(last, rows))
            count *= last // rows
        return blocks if count >= LEAST_BLOCKS else None

    def _pays(self, chain: Sequence[_Member], cuts: int, inside: Sequence[Storage]) -> bool:
        """Every block reads a part of each factor, or a small one: what it reads whole is read again by all."""
        for m in chain:
            product = match_contraction(m.function)
            for factor in (product.left, product.right) if product else ():
                if not isinstance(factor.access.buffer, BlockArgument):
                    continue
                number = factor.access.buffer.index
                storage, held = m.homes[number]
                cut = any(steps[number] for steps in m.steps[:cuts])
                if storage not in inside and not cut and bytes_of(held) > self.target.l2_bytes // 4:
                    return False
        return True

    # The functions

    def _replace(self, calls: list[Call | Loop], storages: list[Storage], chain: _Chain) -> None:
        last = calls[chain.places[-1]]
        assert isinstance(last, Call)
        writer = _BlockWriter(self.target, chain.blocks, chain.inside)
        for m in chain.members:
            writer.add(m, self._part(m, chain.blocks, chain.inside))
        outside = [(m, k) for m in chain.members for k, (s, _) in enumerate(m.homes) if s not in chain.inside]
        reads, writes = [(m, k) for m, k in outside if k < m.reads], [(m, k) for m, k in outside if k >= m.reads]
        key = ("blocked", *writer.wiring(), tuple((b.extent, b.size) for b in chain.blocks))
        function = self.functions.get(key)
        if function is None:
            function = self.register(key, writer.function(f"k{len(self.functions)}", reads, writes))
        homes = [[m.homes[k] for m, k in part] for part in (reads, writes)]
        scratch = Storage(writer.scratch_bytes, last.step, last.step)
        replaced = {id(m.call.scratch) for m in chain.members} | {id(s) for s in chain.inside}
        storages[:] = [s for s in storages if id(s) not in replaced] + [scratch]
        for storage, _ in homes[0]:
            storage.keep(last.step)
        calls[chain.places[-1]] = Call(function, *homes, chain.members[0].call.origin, scratch, last.step)
        for k in reversed(chain.places[:-1]):
            del calls[k]

    def _part(self, m: _Member, blocks: Sequence[_Block], inside: Sequence[Storage]) -> func.FuncOp:
        """The function of a member for one block, on one thread."""
        small = tuple(k for k, (s, _) in enumerate(m.homes) if s in inside)
        how = tuple((b.extent, b.size, *steps) for b, steps in zip(blocks, m.steps, strict=False))
        key = ("part", m.call.function.sym_name.data, small, how)
        part = self.functions.get(key)
        return part or self.register(key, _shrunk(m, blocks, small, f"k{len(self.functions)}"))


class _BlockWriter:
    """The function of loops that calls the parts."""

    def __init__(self, target: Target, blocks: Sequence[_Block], inside: Sequence[Storage]) -> None:
        self.target = target
        self.blocks = blocks
        self.inside = inside
        self.members: list[tuple[_Member, func.FuncOp]] = []
        self.places: dict[Storage, int] = {}
        self.inner_bytes = 0
        self.part_scratch = 0

    def add(self, m: _Member, part: func.FuncOp) -> None:
        """One more call per block."""
        self.members.append((m, part))
        for (storage, _), argument in zip(m.homes, part.body.block.args, strict=False):
            if storage in self.inside and storage not in self.places:
                self.places[storage] = self.inner_bytes
                self.inner_bytes += aligned(bytes_of(argument.type))
        if len(part.body.block.args) > len(m.homes):
            self.part_scratch = max(self.part_scratch, bytes_of(part.body.block.args[-1].type))

    @property
    def tasks(self) -> int:
        most = max(LEAST_BLOCKS, self.target.l3_bytes // max(1, self.task_bytes))
        return min(self.target.tasks, prod(b.count for b in self.blocks), most)

    @property
    def task_bytes(self) -> int:
        return self.inner_bytes + aligned(self.part_scratch)

    @property
    def scratch_bytes(self) -> int:
        return self.tasks * self.task_bytes

    def wiring(self) -> Iterable[object]:
        """What arguments of the parts are the same buffer inside, and how the others move from block to block."""
        for m, part in self.members:
            yield part.sym_name.data
            for k, (s, held) in enumerate(m.homes):
                yield self.places[s] if s in self.inside else (held, *(steps[k] for steps in m.steps[: len(self.blocks)]))

    def function(self, name: str, reads: Sequence[tuple[_Member, int]], writes: Sequence[tuple[_Member, int]]) -> func.FuncOp:
        """``name(what is read, what is written, scratch)``."""
        types = [[m.homes[k][1] for m, k in part] for part in (reads, writes)]
        block = Block(arg_types=[*types[0], *types[1], MemRefType(i8, [self.scratch_bytes])])
        block.args[-1].name_hint = "scratch"
        block.add_op(end := func.ReturnOp())
        given = {(id(m), k): arg for (m, k), arg in zip((*reads, *writes), block.args, strict=False)}
        w = LoopWriter(end, self.members[0][0].call.origin)
        count = prod(b.count for b in self.blocks)
        with w.tasks(self.tasks, threads=True) as task:
            scratch = w.times(task, self.task_bytes)
            low = w.divided(w.times(task, count), self.tasks)
            high = w.divided(w.times(w.plus(task, 1), count), self.tasks)
            with w.loop(low, high) as loop:
                digits, left = [], loop.counter
                for b in reversed(self.blocks):
                    digits.insert(0, w.remainder(left, b.count))
                    left = w.divided(left, b.count)
                for m, part in self.members:
                    self._call(w, m, part, digits, given, block.args[-1], scratch)
        function = make_function(name, *types, Region(block))
        function.attributes["lamina.scratch"] = IntegerAttr(self.scratch_bytes, i64)
        return function

    def _call(
        self, w: LoopWriter, m: _Member, part: func.FuncOp, digits: Sequence[SSAValue], given: dict[tuple[int, int], BlockArgument],
        memory: SSAValue, scratch: SSAValue,
    ) -> None:  # fmt: skip
        arguments: list[SSAValue] = []
        for k, argument in enumerate(part.body.block.args):
            kind = argument.type
            assert isinstance(kind, MemRefType)
            if k == len(m.homes):
                arguments.append(_window(w, memory, w.plus(scratch, self.inner_bytes), kind))
            elif m.homes[k][0] in self.inside:
                arguments.append(_window(w, memory, w.plus(scratch, self.places[m.homes[k][0]]), kind))
            else:
                at = w.index(0)
                for b, steps, digit in zip(self.blocks, m.steps, digits, strict=False):
                    if steps[k]:
                        at = w.binary(arith.AddiOp, at, w.times(digit, b.size * steps[k]))
                arguments.append(_moved(w, given[id(m), k], at, kind))
        w.add(func.CallOp(part.sym_name.data, arguments, []))


def _window(w: LoopWriter, memory: SSAValue, at: SSAValue, kind: MemRefType) -> SSAValue:
    """Typed memory at a byte offset of the scratch argument."""
    span = bytes_of(kind) // max(1, bytes_of(memref_type((1,), kind.element_type)))
    flat = memref_type((span,), kind.element_type)
    window = w.value(memref.ViewOp.create(operands=(memory, at), result_types=(flat,)))
    if flat == kind:
        return window
    return w.value(memref.ReinterpretCastOp.from_dynamic(window, [0], kind.get_shape(), strides_of(kind), kind))


def _moved(w: LoopWriter, buffer: SSAValue, at: SSAValue, kind: MemRefType) -> SSAValue:
    return w.value(memref.ReinterpretCastOp.from_dynamic(buffer, [at], kind.get_shape(), strides_of(kind), kind))


# Facts about calls and functions


def touches(item: Call | Loop, storage: Storage) -> bool:
    """Whether a call reads or writes the storage, or a part of it."""
    if isinstance(item, Loop):
        return any(touches(inner, storage) for inner in item.items)
    return any(s is storage or getattr(s, "base", None) is storage for s, _ in (*item.operands, *item.results))


def is_product(function: func.FuncOp) -> bool:
    """Whether the kernel is a contraction."""
    return match_contraction(function) is not None


def folds(function: func.FuncOp) -> bool:
    """Whether the kernel reduces, and is no contraction."""
    stages = [op for op in function.body.block.ops if isinstance(op, GenericOp)]
    return not is_product(function) and any(k.data.value == "reduction" for op in stages for k in op.iterator_types.data)


def _member(call: Call) -> _Member | None:
    """The call with an argument of its own for every operand slot of a stage that reads an input."""
    if "lamina.packed" in call.function.attributes or not is_plain(call.function):
        return None
    function = call.function.clone()
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
    return _Member(call, function, homes, [], [])


def _cut_chain(chain: Sequence[_Member], storage: Storage, extent: int, step: int) -> bool:
    """Cuts every member along a loop of a buffer; adds the cut to each, or to none."""
    known = {storage: step}
    written = {s for m in chain for s, _ in m.homes[-len(m.call.results) :]}
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
            if s in written and (not found or known.setdefault(s, found) != found):
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
    return cut.steps[slots[0].operation, slots[0].index] if slots else 0


def _shrunk(m: _Member, blocks: Sequence[_Block], small: Sequence[int], name: str) -> func.FuncOp:
    """The member's function on buffers of one block; those of the chain itself become dense."""
    sizes: dict[SSAValue, list[int]] = {}
    for b, cut in zip(blocks, m.cuts, strict=False):
        for op, loop in cut.loops.items():
            for k, value in enumerate(op.operands):
                assert isinstance(value.type, MemRefType)
                shape = sizes.setdefault(value, list(value.type.get_shape()))
                for p in pure_dims(op, k, loop):  # type: ignore[arg-type]  # stages are generics
                    shape[p] = b.size
    for value, shape in sizes.items():
        held = value.type
        assert isinstance(held, MemRefType)
        strides = strides_of(held)
        if not isinstance(value, BlockArgument) or value.index in small:
            strides = strides_in_order(shape, sorted(range(len(shape)), key=lambda d: (-strides[d], d)))
        Rewriter.replace_value_with_new_type(value, memref_type(tuple(shape), held.element_type, tuple(strides)))
    function = m.function
    function.sym_name = StringAttr(name)
    function.attributes["lamina.serial"] = UnitAttr()
    function.properties["function_type"] = FunctionType.from_lists([a.type for a in function.body.block.args], [])
    return function
