"""Calls of kernels that are alike become one call of a GPU: an optimizer's updates of all parameters are one launch.

A call moves down to a later one that does the same to other arrays where nobody between them minds: none reads what it makes,
writes what it reads, or touches its results' memory. Arguments that differ between the parts stand side by side in the new
kernel, one per part; what all parts share is passed once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from xdsl.dialects import func
from xdsl.ir import SSAValue

from .alike_kernels import Part, joined, read_part
from .blocked_calls import Register
from .call_values import Item, last_step, operands_of, results_of, whole_of
from .storage import ALWAYS, Call, Home, Storage

MOST_POINTERS = 4000
"""Arguments of one launch: a kernel takes 32764 bytes of parameters (sm_70 and later, CUDA 12.1)."""
KEPT_BYTES = 1 << 20
"""Working memory a call may add by moving down, beyond the most the program has in use at any time."""

Memory = Storage | SSAValue


@dataclass(slots=True)
class _Touched:
    """Memory that some calls read and write."""

    reads: set[Memory] = field(default_factory=set)
    writes: set[Memory] = field(default_factory=set)

    def add(self, other: _Touched) -> None:
        self.reads |= other.reads
        self.writes |= other.writes

    def minds(self, other: _Touched) -> bool:
        """Whether the order of the two matters."""
        return not (
            self.writes.isdisjoint(other.reads) and self.writes.isdisjoint(other.writes) and self.reads.isdisjoint(other.writes)
        )


class _InUse:
    """Bytes of working memory in use at every step."""

    def __init__(self, storages: Sequence[Storage]) -> None:
        mine = [s for s in storages if s.last < ALWAYS]
        self.bytes = [0] * (1 + max((s.last for s in mine), default=0))
        for storage in mine:
            self._add(storage.size, storage.first, storage.last)
        self.most = max(self.bytes) + KEPT_BYTES

    def _add(self, size: int, first: int, last: int) -> None:
        for step in range(first, last + 1):
            self.bytes[step] += size

    def can_keep(self, storages: Collection[Storage], until: int) -> bool:
        """Whether these can be kept until a step; then they are."""
        ending = [s for s in storages if s.argument is None and s.last < until]
        self.bytes += [0] * (until + 1 - len(self.bytes))
        for step in range(min((s.last + 1 for s in ending), default=until), until + 1):
            if self.bytes[step] + sum(s.size for s in ending if s.last < step) > self.most:
                return False
        for storage in ending:
            self._add(storage.size, storage.last + 1, until)
            storage.keep(until)
        return True


class GatheredCalls:
    """Rewrites the calls of a program for a GPU.

    shared: arguments of @main that may be one array (an output made in the place of an input).
    """

    def __init__(self, functions: dict[object, func.FuncOp], register: Register, shared: Sequence[tuple[SSAValue, SSAValue]]) -> None:
        self.functions, self.register = functions, register
        self.parts: dict[func.FuncOp, Part | None] = {}
        self.same: dict[SSAValue, SSAValue] = {}
        for a, b in shared:
            self.same[self._argument(a)] = self._argument(b)

    def _argument(self, argument: SSAValue) -> SSAValue:
        """The one that stands for all arguments that may be the same array."""
        while argument in self.same and self.same[argument] is not argument:
            argument = self.same[argument]
        return argument

    def rewrite(self, calls: list[Item], storages: Sequence[Storage]) -> None:
        """Replaces alike calls in place. storages: the working memory of the program."""
        self.in_use = _InUse(storages)
        self.until = list(accumulate((last_step(item) for item in calls), max))
        touched = [self._touched(item) for item in calls]
        waiting: dict[object, int] = {}
        for item in calls:
            part = self._part(item)
            if part is not None:
                waiting[part.body] = waiting.get(part.body, 0) + 1
        taken: set[int] = set()
        for last in range(len(calls) - 1, -1, -1):
            part = self._part(calls[last])
            if last in taken or part is None:
                continue
            waiting[part.body] -= 1
            members = self._gather(calls, touched, last, taken, waiting) if waiting[part.body] else [last]
            if len(members) > 1:
                calls[last] = self._joined([calls[k] for k in members], self.until[last])  # type: ignore[misc]  # calls
                for k in members:
                    touched[last].add(touched[k])
                taken.update(members[:-1])
        calls[:] = [item for k, item in enumerate(calls) if k not in taken]

    def _gather(self, calls: list[Item], touched: list[_Touched], last: int, taken: set[int], waiting: dict[object, int]) -> list[int]:
        """The calls that can join one, in order, and it."""
        first = self._part(calls[last])
        assert first is not None
        members, between = [last], _Touched()
        pointers, steps = len(first.roles), first.steps
        for k in range(last - 1, -1, -1):
            if k in taken:
                continue
            part = self._part(calls[k])
            alike = part is not None and part.body == first.body and (None in (part.steps, steps) or part.steps == steps)
            fits = alike and pointers + len(first.roles) <= MOST_POINTERS and not touched[k].minds(between)
            if fits and part is not None and not any(touched[k].minds(touched[m]) for m in members) and self._waits(calls[k], last):
                members.append(k)
                pointers += len(first.roles)
                steps = steps or part.steps
                waiting[part.body] -= 1
                if not waiting[part.body]:
                    break
            else:
                between.add(touched[k])
        return members[::-1]

    def _waits(self, item: Item, last: int) -> bool:
        """Whether what the call reads can be kept until the last one."""
        return self.in_use.can_keep({whole_of(s) for s, _ in operands_of(item)}, self.until[last])

    def _part(self, item: Item) -> Part | None:
        if not isinstance(item, Call) or item.scratch is not None:
            return None
        if item.function not in self.parts:
            self.parts[item.function] = read_part(item.function)
        return self.parts[item.function]

    def _touched(self, item: Item) -> _Touched:
        return _Touched({self._memory(s) for s, _ in operands_of(item)}, {self._memory(s) for s, _ in results_of(item)})

    def _memory(self, storage: Storage) -> Memory:
        whole = whole_of(storage)
        return whole if whole.argument is None else self._argument(whole.argument)

    def _joined(self, members: Sequence[Call], until: int) -> Call:
        """The call of all members' kernel. until: the step that everything in front of it is done by."""
        last = members[-1]
        parts = [self.parts[call.function] for call in members]
        homes = [[*call.operands, *call.results] for call in members]
        roles = len(parts[0].roles)  # type: ignore[union-attr]  # parts
        inputs: list[Home] = []
        outputs: list[Home] = []
        places: list[list[int]] = [[-1] * len(given) for given in homes]
        for written in (False, True):
            into = outputs if written else inputs
            for role in range(roles):
                mine = [part.roles[role] for part in parts]  # type: ignore[union-attr]
                if (mine[0] in parts[0].results) is not written:  # type: ignore[union-attr]
                    continue
                given = [home[k] for home, k in zip(homes, mine, strict=True)]
                at = len(inputs) + len(outputs)
                one = not written and all(home == given[0] for home in given)
                into += given[:1] if one else given
                for number, k in enumerate(mine):
                    places[number][k] = at if one else at + number
        function = self._function([call.function for call in members], places, [*inputs, *outputs], len(inputs))
        for storage, _ in (*inputs, *outputs):
            whole_of(storage).keep(until)
        return Call(function, inputs, outputs, last.origin, None, last.step)

    def _function(self, functions: Sequence[func.FuncOp], places: Sequence[Sequence[int]], homes: Sequence[Home], inputs: int) -> func.FuncOp:
        key = ("alike", *(f.sym_name.data for f in functions), *map(tuple, places))
        found = self.functions.get(key)
        if found is None:
            types = [held for _, held in homes]
            found = self.register(key, joined(f"k{len(self.functions)}", functions, places, types, inputs))
        return found
