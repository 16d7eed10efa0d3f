"""Chains of kernels run stripe by stripe: of a large array between two of them a few rows exist at a time, in the second-level cache.

    P = relu6(x * w); y = relu6(depthwise 3 x 3 of P); z = y * v       P and y: millions of numbers, written and read once
    for rows i .. i + 7 of z:                                          rows 2 i - 1 .. 2 i + 15 of P, the same as of y

Found from index maps: every kernel makes its result row by row, from one row of the array before or from a few neighbours
(stripe_parts.py). Rows that two stripes read are made twice, and operands without rows read again by each; taken where that costs
less than the way to the third cache and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType

from ..dialects.sizes import any_symbolic
from ..dialects.target import Target
from .block_writer import LEAST_BLOCKS
from .blocked_calls import WINDOW, places_of_calls, touches
from .halo import slabs_around
from .memref_layout import bytes_of, strides_of
from .storage import Call, Loop, Row, Storage
from .stripe_parts import Parts, Reads, RowCut, border_function, cut_rows
from .stripe_writer import Stripe, StripeWriter, fit, link_of, types_within
from .task_shares import unevenness

LEAST_RUN_BYTES = 256  # of neighbours, where those are what stripes are cut from
SHARED = 0.5  # of the time threads lose to uneven stripes that may be paid for even ones by all

Register = Callable[[object, func.FuncOp], func.FuncOp]


class StripedCalls:
    """Rewrites the calls of a program. functions, register: the program's, by key; see bufferize. shared: arguments of @main whose memory
    may be another array's once they were read for the last time.
    """

    def __init__(self, target: Target, functions: dict[object, func.FuncOp], register: Register, shared: frozenset[object]) -> None:
        self.target, self.functions, self.register, self.shared = target, functions, register, shared
        self.parts = Parts(target, functions, register)
        self.cuts: dict[tuple[func.FuncOp, int], RowCut | None] = {}
        self.touching: dict[int, list[int]] = {}

    def rewrite(self, calls: list[Call | Loop], storages: list[Storage]) -> None:
        """Replaces chains in place: what is between their kernels is dropped from the storages, one call stands at the last one's place."""
        self.touching = places_of_calls(calls)
        position = 0
        while position < len(calls):
            found = self._chain_from(calls, position)
            if found is not None:
                self._replace(calls, storages, *found)
                self.touching = places_of_calls(calls)
            position += 1

    # Which calls

    def _chain_from(self, calls: Sequence[Call | Loop], start: int) -> tuple[list[int], list[Stripe]] | None:
        """The chain that begins here and saves most; None where it saves more to begin further on."""
        places, found, best = [start], None, 0.0
        while (after := self._reader(calls, places[-1])) is not None:
            places = [*places, after]
            chain, saved = self._planned(calls, places)
            if chain is not None and saved > best:
                found, best = (places, chain), saved
        if found is None or any(self._planned(calls, found[0][k:])[1] > best for k in range(1, len(found[0]) - 1)):
            return None
        return found

    def _reader(self, calls: Sequence[Call | Loop], place: int) -> int | None:
        """The place of the only call that touches what this one makes, if that is large."""
        call = calls[place]
        if not isinstance(call, Call) or len(call.results) != 1:
            return None
        storage, held = call.results[0]
        if type(storage) is not Storage or storage.argument is not None or any_symbolic(held.get_shape()) or storage.size < self.target.l2_bytes:
            return None
        touching = self.touching[id(storage)]
        if len(touching) != 2 or touching[0] != place or touching[1] > place + WINDOW:
            return None
        reader = calls[touching[1]]
        if not isinstance(reader, Call):
            return None
        homes = [home for home in (*reader.operands, *reader.results) if _same(home[0], storage)]
        return touching[1] if len(homes) == 1 and homes[0][0] is storage and homes[0] in reader.operands else None

    def _planned(self, calls: Sequence[Call | Loop], places: Sequence[int]) -> tuple[list[Stripe] | None, float]:
        """These calls as a chain of stripes, where they may be one and it pays, and what it saves."""
        members = [call for k in places if isinstance(call := calls[k], Call)]
        if not self._may_move(calls, places):
            return None, 0.0
        shape, strides = members[-1].results[0][1].get_shape(), strides_of(members[-1].results[0][1])
        for dim in sorted(range(len(shape)), key=lambda d: -strides[d]):
            chain = self._cut(members, dim) if not any_symbolic(shape) and shape[dim] >= LEAST_BLOCKS else None
            saved = self._saved(chain) if chain is not None and self._fits(chain) else 0.0
            if chain is not None and saved > 0.0 and self._makes_parts(chain):
                return chain, saved
        return None, 0.0

    def _cut(self, members: Sequence[Call], dim: int) -> list[Stripe] | None:
        """The members cut along a dim of the last one's result."""
        chain: list[Stripe] = []
        for before, call in reversed([*zip([None, *members], members, strict=False)]):
            key = call.function, dim
            if key not in self.cuts:
                self.cuts[key] = cut_rows(call.function, dim)
            cut = self.cuts[key]
            if cut is None:
                return None
            if before is None:
                chain.insert(0, Stripe(call, cut, None))
                return chain
            made, kind = before.results[0]
            given = next(k for k, (s, _) in enumerate(call.operands) if s is made)
            reads = cut.reads.get(given)
            found = None if reads is None or reads.step < 1 else link_of(reads, kind, call.operands[given][1])
            if found is None:
                return None
            dim, link = found
            chain.insert(0, Stripe(call, cut, given, link))
        return None

    def _may_move(self, calls: Sequence[Call | Loop], places: Sequence[int]) -> bool:
        """Whether all of them may run where the last one does: nobody in between writes what they read, nor may the caller's memory
        be written before it was read by all stripes.
        """
        for k in range(places[0], places[-1]):
            item = calls[k]
            if not isinstance(item, Call):
                return False
            before = [calls[p] for p in places if p < k]
            if k not in places and any(touches(m, s) for m in before for s, _ in item.results):
                return False
        members = [call for k in places if isinstance(call := calls[k], Call)]
        results = [s for s, _ in members[-1].results]
        read = [s for m in members for s, _ in m.operands]
        if any(s.argument in self.shared for s in read if s.argument is not None) and _gives_back(calls[places[0] : places[-1] + 1]):
            return False
        if not any(_same(s, result) for m in members[:-1] for s, _ in m.operands for result in results):
            return True
        result = results[0]
        return len(results) == 1 and type(result) is Storage and result.argument is None and not self._has_parts(calls, result)

    @staticmethod
    def _has_parts(calls: Sequence[Call | Loop], storage: Storage) -> bool:
        """Whether somebody touches a part of a storage, or touches it in a loop."""
        if any(isinstance(item, Loop) and touches(item, storage) for item in calls):
            return True
        homes = [home for item in calls if isinstance(item, Call) for home in (*item.operands, *item.results)]
        return any(isinstance(s, Row) and s.base is storage for s, _ in homes)

    # How many rows

    def _fits(self, chain: list[Stripe]) -> bool:
        """Settles the rows of a stripe: as many as the second-level cache holds, or fewer where threads share these better and they cost
        hardly more; whether there are such.
        """
        extent, best, least = chain[-1].cut.extent, 0, 0.0
        for rows in range(extent // LEAST_BLOCKS, 0, -1):
            if extent % rows or self._is_thin(chain[-1], rows):
                continue
            if fit(chain, rows) and sum(bytes_of(m.small) for m in chain[:-1]) <= self.target.l2_bytes:
                count = extent // rows
                tasks = min(self.target.tasks, count)
                uneven = unevenness([count * (k + 1) // tasks - count * k // tasks for k in range(tasks)])
                cost = self._costs(chain)[1] * (1 + SHARED * (uneven - 1))
                if not best or cost < least:
                    best, least = rows, cost
        return bool(best) and fit(chain, best)

    @staticmethod
    def _is_thin(m: Stripe, rows: int) -> bool:
        """Whether so many rows of a result are a few neighbours each: stripes would share its lines, and vectors be filled in part."""
        step = strides_of(m.kind)[m.cut.dim]
        return step == 1 and rows * bytes_of(m.kind) // prod(m.kind.get_shape()) < LEAST_RUN_BYTES

    def _saved(self, chain: Sequence[Stripe]) -> float:
        """What stripes cost less than whole arrays."""
        whole, striped = self._costs(chain)
        return whole - striped

    def _costs(self, chain: Sequence[Stripe]) -> tuple[float, float]:
        """Of whole arrays and of stripes, in vector multiply-adds: the way to a farther cache and back, against what is made twice and read
        again. What a kernel reads and writes is on its way while it multiplies; rows in many places of an operand are not, they come in
        pieces that nobody foresees.
        """
        stripes = chain[-1].cut.extent // chain[-1].rows
        near = self.target.byte_costs[0]
        whole = striped = 0.0
        for m in chain:
            given = [k for k in m.others() if m.cut.reads.get(k) is not None]
            passed = sum(self._way(m.call.operands[k][1]) for k in given)
            between = [kind for k, (_, kind) in enumerate(m.call.operands) if k == m.given]
            made = [kind for _, kind in m.call.results]
            inside = [*between, *(made if m.held else ())]
            passed += 0.0 if m.held else sum(map(self._way, made))
            work = m.cut.work / self.target.lanes(4)
            again = sum(bytes_of(m.call.operands[k][1]) for k in m.others() if m.cut.reads.get(k) is None)
            whole += max(work, passed + sum(map(self._way, inside)))
            striped += max(work * stripes * m.rows / m.cut.extent, passed + near * sum(map(bytes_of, inside)))
            striped += (stripes - 1) * again * self.target.read_cost(again)
            striped += sum(self._way(kind) for k in given if _in_pieces(kind := m.call.operands[k][1], m.cut.reads[k]))
        return whole, striped

    def _way(self, kind: MemRefType) -> float:
        """The cost of going through a whole array once."""
        return bytes_of(kind) * self.target.read_cost(bytes_of(kind))

    # The functions

    def _replace(self, calls: list[Call | Loop], storages: list[Storage], places: Sequence[int], chain: Sequence[Stripe]) -> None:
        last = chain[-1].call
        step, results = last.step, list(last.results)
        for before, m in zip([None, *chain], chain, strict=False):
            m.part = self.parts.of(m.cut, m.rows, types_within(m, before))
        writer = StripeWriter(self.target, chain, [self._border(m) for m in chain])
        wiring = [(m.call.function, m.rows, m.asked, m.lead, m.held, m.given) for m in chain]
        key = ("striped", *wiring)
        function = self.functions.get(key) or self.register(key, writer.function(f"k{len(self.functions)}"))
        operands = [m.call.operands[k] for m in chain for k in m.others()]
        result, kind = results[0]
        if any(_same(s, result) for m in chain[:-1] for s, _ in m.call.operands):
            fresh = Storage(result.size, step, result.last)
            storages.append(fresh)
            _renamed(calls[places[-1] + 1 :], result, fresh)
            result.last, results = step, [(fresh, kind)]
        scratch = Storage(writer.scratch_bytes, step, step)
        gone = {id(m.call.scratch) for m in chain} | {id(m.call.results[0][0]) for m in chain[:-1]}
        storages[:] = [s for s in storages if id(s) not in gone] + [scratch]
        for storage, _ in operands:
            storage.keep(step)
        around = self._border_of_result(chain[-1])
        calls[places[-1]] = Call(function, operands, results, chain[0].call.origin, scratch, step)
        if around is not None:
            calls.insert(places[-1], Call(around, [], results, last.origin, None, step))
        for k in reversed(places[:-1]):
            del calls[k]

    def _makes_parts(self, chain: Sequence[Stripe]) -> bool:
        """Whether all members' functions for one stripe can be had."""
        members = zip([None, *chain], chain, strict=False)
        return all(self.parts.can_be_had(m.cut, m.rows, types_within(m, before)) for before, m in members)

    def _border(self, m: Stripe) -> func.FuncOp | None:
        """What fills the border around a stripe of a member's result."""
        if not m.border:
            return None
        key = ("border", m.small, m.cut.border, *map(tuple, m.border))
        return self.functions.get(key) or self.register(
            key, border_function(f"k{len(self.functions)}", m.small, m.border, m.cut.border)
        )

    def _border_of_result(self, m: Stripe) -> func.FuncOp | None:
        """What fills the border around the chain's result."""
        if m.cut.border is None:
            return None
        slabs = [*slabs_around(m.kind.get_shape(), [(low, low + count) for low, count in m.cut.box])]
        key = ("border", m.kind, m.cut.border, *map(tuple, slabs))
        return self.functions.get(key) or self.register(key, border_function(f"k{len(self.functions)}", m.kind, slabs, m.cut.border))


def _same(a: Storage, b: Storage) -> bool:
    """Whether they may be the same memory."""
    return a is b or getattr(a, "base", None) is b or getattr(b, "base", None) is a


def _in_pieces(kind: MemRefType, reads: Reads | None) -> bool:
    """Whether rows of an array lie in several places of it."""
    strides = strides_of(kind)
    return reads is not None and any(n > 1 and step > strides[reads.dim] for n, step in zip(kind.get_shape(), strides, strict=True))


def _gives_back(calls: Sequence[Call | Loop]) -> bool:
    """Whether one writes memory of the caller's, which an argument may share."""
    homes = [home for call in calls if isinstance(call, Call) for home in call.results]
    return any(getattr(s, "base", s).argument is not None for s, _ in homes)


def _renamed(calls: Sequence[Call | Loop], old: Storage, new: Storage) -> None:
    """What lies in one storage lies in another from here on."""
    for call in calls:
        assert isinstance(call, Call) or not touches(call, old)
        if isinstance(call, Call):
            call.operands[:] = [(new if s is old else s, held) for s, held in call.operands]
            call.results[:] = [(new if s is old else s, held) for s, held in call.results]
