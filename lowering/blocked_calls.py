"""Chains of kernels run block by block: a large buffer between them becomes a small one of each thread.

    S = Q K^T; P = softmax(S); O = P V         z x m x n numbers in S, and in P
    for z, for rows of a block:                 rows x n numbers, in the second-level cache
      s = Q[z, rows] K[z]^T; p = softmax(s); O[z, rows] = p V[z]

Found from index maps: loops that run parallel through every kernel that touches the buffer (block_analysis.py), or over which a
product sums: dV = P^T dO adds up its result from block to block. The kernels stay what they are, with smaller sizes and for one
thread (block_parts.py); a function of loops calls them for every block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from xdsl.dialects import func
from xdsl.dialects.builtin import IntegerAttr, i64
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import BlockArgument

from ..dialects.sizes import Size, any_symbolic, estimate, same
from ..dialects.target import Target
from .block_analysis import Cut, cut_function, is_plain
from .block_limits import Direction, asks_positions, columns_that_matter
from .block_parts import Member, Rows, arguments_of, fill_function, has_scratch, part_of, split, type_within
from .block_writer import LEAST_BLOCKS, BlockWriter, Chain
from .contraction_body import product_of
from .contraction_match import Contraction, match_contraction
from .contraction_covers import split as split_evenly
from .kernel_functions import unplanned
from .memref_layout import bytes_of, strides_of
from .prepacking import without_copy
from .storage import Call, Loop, Storage
from .zero_margins import MARGINS

WINDOW = 16
"""Calls a chain may span."""
LEAST_ROWS = 16
"""Rows of a block below which the register tiles of a product run empty."""
MOST_LIMITS, LEAST_LIMITED = 4, 32
"""How many numbers of columns the blocks of a matrix may have, and rows for each: every number is another set of kernels."""

Register = Callable[[object, func.FuncOp], func.FuncOp]


class BlockedCalls:
    """Rewrites the calls of a program. functions, register: the program's, by key; see bufferize."""

    def __init__(self, target: Target, functions: dict[object, func.FuncOp], register: Register) -> None:
        self.target = target
        self.functions = functions
        self.register = register
        self.products: dict[func.FuncOp, bool] = {}  # many calls share a function
        self.members: dict[int, tuple[Call, Member | None]] = {}  # by the call's id
        self.folding: dict[func.FuncOp, bool] = {}  # of members
        self.cuts: dict[tuple[func.FuncOp, int, int, int], Cut | None] = {}  # of members, as `cut_function` is asked
        self.touching: dict[int, list[int]] = {}

    def rewrite(self, calls: list[Call | Loop], storages: list[Storage]) -> None:
        """Replaces chains in place: their buffers are dropped from the storages, calls move to the last one's place."""
        position = 0
        self.touching = places_of_calls(calls)
        while position < len(calls):
            chain = self._chain_from(calls, position)
            if chain is not None:
                self._replace(calls, storages, chain)
                self.touching = places_of_calls(calls)
            position += 1

    # Which calls, which loops

    def _chain_from(self, calls: list[Call | Loop], start: int) -> Chain | None:
        """The longest chain that begins with this product: as many buffers between its calls as may be cut. Rows of a number that is known at
        the call only are divided where their blocks have columns that do not matter; the matrices of other such chains stay whole.
        """
        first = calls[start]
        if not isinstance(first, Call):
            return None
        if first.function not in self.products:
            self.products[first.function] = is_product(first.function)
        if not self.products[first.function]:
            return None
        found = self._longest(calls, start, open_rows=True)
        if found is None or not any_symbolic(r.count for r in found.rows):
            return found
        return found if any(not same(r.limit, 0) for r in found.rows) else self._longest(calls, start, open_rows=False)

    def _longest(self, calls: list[Call | Loop], start: int, open_rows: bool) -> Chain | None:
        """The longest chain from here. open_rows: whether rows of a number that is known at the call only may be cut."""
        first = calls[start]
        assert isinstance(first, Call)
        found: Chain | None = None
        waiting = [s for s, _ in first.results]
        while waiting:
            inside = [*(found.inside if found else ()), waiting.pop(0)]
            wider = self._fitting(calls, start, inside, open_rows)
            if wider is not None and not (found is not None and self._loses_rows(found, wider)):
                found = wider
                members = [call for k in found.places if isinstance(call := calls[k], Call)]
                homes = [home for call in members for home in call.results] + [home for call in members for home in call.operands]
                waiting = list(dict.fromkeys(s for s, _ in homes if s not in inside))
        return None if found is None else self._limited(found)

    @staticmethod
    def _loses_rows(found: Chain, wider: Chain) -> bool:
        """Whether a chain that may have masked columns can no longer be cut along its rows: what follows on a sum over all of them
        (a gradient in another order) is no reason for that.
        """
        return len(wider.members[0].cuts) < len(found.members[0].cuts) and any(asks_positions(m) for m in found.members)

    def _fitting(self, calls: list[Call | Loop], start: int, inside: list[Storage], open_rows: bool) -> Chain | None:
        """The chain of all calls that touch these buffers, cut where it pays."""
        places: set[int] = set()
        for storage in inside:
            if type(storage) is not Storage or storage.argument is not None or estimate(storage.size) < least_size(self.target):
                return None
            touching = self.touching[id(storage)]
            if touching[0] <= start - WINDOW or touching[-1] >= start + WINDOW or not all(isinstance(calls[k], Call) for k in touching):
                return None
            places.update(touching)
        members = [self._member(calls[k]) for k in sorted(places)]  # type: ignore[arg-type]  # calls
        chain = [m for m in members if m is not None]
        if len(chain) < len(members) or not any(map(self._folds, chain)):
            return None
        late = self._late(calls, sorted(places))
        if late is None:
            return None
        held = next(t for m in chain for s, t in m.homes if s is inside[0])
        extents = sorted(((step, n) for n, step in zip(held.get_shape(), strides_of(held), strict=True) if n > 1), key=estimate, reverse=True)
        cut = [
            n
            for k, (step, n) in enumerate(extents)
            if (k + 2 < len(extents) or not any_symbolic((n, step)) or (open_rows and may_divide(n))) and self._cut_chain(chain, inside, n, step)
        ]
        blocks = self._blocks(cut, sum(estimate(s.size) for s in inside), len(extents) - len(cut) > 1) if cut else None
        found = None if blocks is None else Chain(sorted(places), late, chain, *blocks, inside)
        return found if found is not None and self._pays(found) else None

    def _member(self, call: Call) -> Member | None:
        """The call as a member that is not cut yet: the chains that are tried share the copy of its function."""
        if id(call) not in self.members:
            self.members[id(call)] = call, member_of(call)  # the call is kept, its id is nobody else's
        made = self.members[id(call)][1]
        return None if made is None else replace(made, homes=[*made.homes], cuts=[], steps=[])

    def _folds(self, member: Member) -> bool:
        if member.function not in self.folding:
            self.folding[member.function] = folds(member.function)
        return self.folding[member.function]

    def _cut_chain(self, chain: Sequence[Member], inside: Sequence[Storage], extent: int, step: int) -> bool:
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
            cut = self._cut(m.function, number, extent, known[m.homes[number][0]])
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

    def _cut(self, function: func.FuncOp, number: int, extent: int, step: int) -> Cut | None:
        """The cut of a member's function through this argument: chains that are tried one after the other ask again and again."""
        asked = (function, number, extent, step)
        if asked not in self.cuts:
            self.cuts[asked] = cut_function(function, function.body.block.args[number], extent, step)
        return self.cuts[asked]

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
        about = [estimate(n) for n in extents]
        if matrices:
            return (list(extents), []) if prod(about) >= LEAST_BLOCKS else None
        *outer, last = about
        fitting = self.target.l2_bytes * prod(about) // size
        most = max(min(LEAST_ROWS, last), min(fitting, last * prod(outer) // LEAST_BLOCKS, last))
        if isinstance(extents[-1], Size):
            rows = _blocks_at_the_call(extents[-1])
        else:
            rows = [Rows(t.start, t.count, t.size) for t in split_evenly(last, most)] if most < last else []
        return (list(extents[:-1]), rows) if prod(outer) * max(1, sum(estimate(r.count) for r in rows)) >= LEAST_BLOCKS else None

    def _limited(self, chain: Chain) -> Chain:
        """The chain with blocks of rows that have no more columns than a mask of indices leaves over in them, where there is one."""
        cut, members = len(chain.outer), chain.members
        if any(len(m.cuts) != cut + 1 for m in members) or not any(asks_positions(m) for m in members):
            return chain
        rows, across = self._directions(chain)
        found = columns_that_matter(members, rows, across)
        if found is None or found[0] < 0:  # below 0, the first row has no column at all
            return chain
        high, columns = found
        rows = self._limited_rows(chain, members[0].cuts[cut].extent, columns[0].extent, high)
        if rows:
            chain.rows = rows
            for m, along in zip(members, columns, strict=True):
                m.cuts.append(along)
                m.steps.append([0] * len(m.homes))
        return chain

    @staticmethod
    def _directions(chain: Chain) -> tuple[list[Direction], list[Direction]]:
        """The direction of rows in each of the chain's buffers, and what could be columns: what is not cut."""
        rows: dict[Direction, None] = {}
        across: dict[Direction, None] = {}
        for m in chain.members:
            for k, (storage, held) in enumerate(m.homes):
                if storage in chain.inside and m.steps[-1][k]:
                    rows[storage, m.steps[-1][k]] = None
                    steps = zip(held.get_shape(), strides_of(held), strict=True)
                    across.update(((storage, step), None) for n, step in steps if n > 1 and all(step != s[k] for s in m.steps))
        return list(rows), list(across)

    def _limited_rows(self, chain: Chain, extent: int, columns: int, high: int) -> list[Rows]:
        """Blocks of rows with numbers of columns; none where all need all."""
        if isinstance(extent, Size) or isinstance(columns, Size):
            return _limits_at_the_call(extent, high) if same(extent, columns) and high <= LEAST_ROWS else []
        numbers = min(MOST_LIMITS, extent // LEAST_LIMITED)
        if numbers < 2:
            return []
        most, lanes = max((r.size for r in chain.rows), default=extent), self.target.lanes(4)
        found: list[Rows] = []
        for part in split_evenly(extent, -(-extent // numbers)):
            for first in range(part.start, part.start + part.count * part.size, part.size):
                needed = max(1, first + part.size + high)
                limit = min(columns, -(-needed // lanes) * lanes)
                found += [Rows(first + t.start, t.count, t.size, limit) for t in split_evenly(part.size, most)]
        return found if any(r.limit < columns for r in found) else []

    def _pays(self, chain: Chain) -> bool:
        """Every block reads a part of each factor, or a small one: what it reads whole is read again by all. A factor that would have a
        packed copy, as it comes from the caller, is cut by each block. Products stay such as fill register tiles.
        """
        for m in chain.members:
            if m.unpacked is not None and not any(steps[m.unpacked] for steps in m.steps[: chain.loops]):
                return False  # the copy is worth more
            product = match_contraction(m.function)
            if product is not None and not _keeps_tiles(m, product, chain):
                return False
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

    def _replace(self, calls: list[Call | Loop], storages: list[Storage], chain: Chain) -> None:
        last = calls[chain.places[-1]]
        assert isinstance(last, Call)
        step, after = last.step, [calls[k] for k in chain.late]
        origin = chain.members[0].call.origin
        members = [self._without_epilogue(m, chain, storages, after, step) for m in chain.members]
        writer = BlockWriter(self.target, chain, [(m, arguments_of(m, chain.loops)) for m in members], self._fills(members, chain))
        for rows in chain.rows or [None]:
            sizes = [1] * len(chain.outer) + ([] if rows is None else [rows.size, *(() if same(rows.limit, 0) else (rows.limit,))])
            writer.add([self._part(m, sizes, chain) for m in members])
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
        self, m: Member, chain: Chain, storages: list[Storage], after: list[Call | Loop], step: int
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

    def _fills(self, members: Sequence[Member], chain: Chain) -> list[func.FuncOp | None]:
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

    def _part(self, m: Member, sizes: Sequence[int], chain: Chain) -> func.FuncOp:
        """The function of a member for one block, on one thread."""
        small = tuple(k for k, (s, _) in enumerate(m.homes) if s in chain.inside)
        stages = [op for op in m.function.body.block.ops if isinstance(op, GenericOp)]
        how = tuple((size, *steps, *map(cut.loops.get, stages)) for cut, size, steps in zip(m.cuts, sizes, m.steps, strict=False))
        key = ("part", m.call.function.sym_name.data, small, how)
        part = self.functions.get(key)
        return part or self.register(key, part_of(m, sizes, chain.loops, small, f"k{len(self.functions)}"))


# Rows of a number that is known at the call only


def may_divide(extent: int | Size) -> bool:
    """Whether so many rows, as far as is known, are worth blocks with limits; their least number is relied on then."""
    return isinstance(extent, Size) and estimate(extent) >= MOST_LIMITS * LEAST_LIMITED and extent >= MOST_LIMITS * LEAST_ROWS


def _blocks_at_the_call(extent: Size) -> list[Rows]:
    """Blocks of LEAST_ROWS rows, and a last one of as many and those left over: none is ever empty, or one row."""
    whole = extent // LEAST_ROWS - 1
    return [Rows(0, whole, LEAST_ROWS), Rows(whole * LEAST_ROWS, 1, extent % LEAST_ROWS + LEAST_ROWS)]


def _limits_at_the_call(extent: Size, high: int) -> list[Rows]:
    """These blocks in MOST_LIMITS runs, each with the columns that its last one needs; the last run with all."""
    whole, last = _blocks_at_the_call(extent)
    each = extent // LEAST_ROWS // MOST_LIMITS
    runs = [Rows(k * each * LEAST_ROWS, each, LEAST_ROWS, (k + 1) * each * LEAST_ROWS + high) for k in range(MOST_LIMITS - 1)]
    done = (MOST_LIMITS - 1) * each
    return [*runs, Rows(done * LEAST_ROWS, whole.count - done, LEAST_ROWS, extent), last._replace(limit=extent)]


# Facts about calls and functions


def least_size(target: Target) -> int:
    """Bytes of a buffer that is worth cutting."""
    return target.l2_bytes // 2


def touches(item: Call | Loop, storage: Storage) -> bool:
    """Whether a call reads or writes the storage, or a part of it, or what it is a part of."""
    if isinstance(item, Loop):
        return any(touches(inner, storage) for inner in item.items)
    whole = getattr(storage, "base", None)
    for homes in (item.operands, item.results):
        for s, _ in homes:
            if s is storage or s is whole or getattr(s, "base", None) is storage:
                return True
    return False


def places_of_calls(calls: Sequence[Call | Loop]) -> dict[int, list[int]]:
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


def member_of(call: Call) -> Member | None:
    """The call with an argument of its own for every operand slot of a stage that reads an input, and without packed copies of one."""
    if not is_plain(call.function):
        return None
    call, unpacked = without_copy(call)
    function = unplanned(call.function)
    function.attributes.pop(MARGINS, None)  # of whole operands, not of a block's parts
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
    return Member(call, function, homes, [], [], len(call.results), unpacked)


def _keeps_tiles(m: Member, product: Contraction, chain: Chain) -> bool:
    """Whether the outer loops leave a product as many rows and columns as register tiles take, or as the whole has."""
    stage = next(op for op in m.function.body.block.ops if isinstance(op, GenericOp) and product_of(op) is not None)
    for number, factor in enumerate(stage.inputs[:2]):
        mine, other = (product.left, product.right) if product.left.access.buffer is factor else (product.right, product.left)
        before = after = prod(estimate(product.sizes[d]) for d in product.parallel if mine.access.strides[d] and not other.access.strides[d])
        for cut in m.cuts[: len(chain.outer)]:
            if cut.steps[stage, number] and not cut.steps[stage, 1 - number]:
                after //= estimate(cut.extent)
        if after < min(before, LEAST_ROWS):
            return False
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
