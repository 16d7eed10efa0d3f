"""One loop of a spine: which turns belong to it, and what each operand of a turn is to the loop.

The turn in the middle says what an operand is: made in the turn, carried from an earlier one, the same for all, a row of something
that is read further along in every turn, or another input in each. The loop is as many turns around it as agree. What the first turns
carry may come from anywhere: that is where the loop starts from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..dialects.book import OPS
from ..dialects.types import Type, size_of
from .roll_spine import CONSTANT, INPUT, STEP, Chain, Spine

Link = tuple[int, int, int]  # kind, at, chain: see Spine
Views = tuple[tuple[str, tuple], ...]

LEAST_TURNS = 4
LONG_BODY = 48
"""Steps of an elementwise turn worth a pass through memory: of shorter ones, several become one."""

LARGE_INPUT = 1 << 16
"""Bytes up to which inputs that differ from turn to turn are put side by side at the call; contents that an earlier run kept may be
larger, they lie so already."""


class Slot(NamedTuple):
    """A carried value. start: before the first turn; None: not read, zeros will do. value: (place in the turn, chain) of what the
    turn hands on, or the number of another slot."""

    start: Link | None
    value: tuple[int, int] | int


class Row(NamedTuple):
    """What is read further along in every turn: a root, the views up to the slice, the first slice, its moving dim and by how much."""

    kind: int
    at: int
    result: int
    views: Views
    slice: tuple
    dim: int
    by: int


class Use(NamedTuple):
    """An operand in the body: what it reads ("own", "slot", "row", "input", "whole", "constant"), its number or place, and the views."""

    kind: str
    at: int
    result: int
    views: Views


@dataclass(eq=False)
class Loop:
    """Turns of `period` steps from `first` on. uses: per place in the turn, its operands. slots, rows, inputs, wholes: operands of
    the scan; inputs: one per turn."""

    spine: Spine
    first: int
    period: int
    turns: int
    uses: list[list[Use]] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    wholes: list[tuple[int, int, int]] = field(default_factory=list)  # kind, at, result

    @property
    def end(self) -> int:
        """The first position behind the loop."""
        return self.first + self.period * self.turns

    def place(self, position: int) -> tuple[int, int]:
        """(turn, place in the turn) of a position of the loop."""
        return divmod(position - self.first, self.period)

    def last(self, place: int, chain: int) -> int:
        """The slot whose value after the last turn is this value of it."""
        for number, slot in enumerate(self.slots):
            if slot.value == (place, chain):
                return number
        return _numbered(self.slots, Slot(None, (place, chain)))


def loop_in(spine: Spine, first: int, end: int, period: int, floor: int, free: np.ndarray, least: int) -> Loop | None:
    """The loop in a stretch; None where there is none that pays. floor: the position it may start from. free: see `stretches`.
    least: steps it must save."""
    if _is_elementwise(spine, first, period):
        period *= -(-LONG_BODY // period)
    if end - first < (LEAST_TURNS - 1) * period:
        return None
    first += _cut(spine, first, end, period, floor)
    try:
        found = _Reader(spine, first, end, period, floor, free).read()
    except _NoLoop:
        return None
    return found if _pays(found, least) else None


class _NoLoop(Exception):
    """The stretch is no loop."""


def _is_elementwise(spine: Spine, first: int, period: int) -> bool:
    families = (OPS.get(spine.graph.steps[spine.steps[i]].op) for i in range(first, first + period))
    return all(stanza is not None and stanza.family == "each" for stanza in families)


def _cut(spine: Spine, first: int, end: int, period: int, floor: int) -> int:
    """How many steps after the start of the stretch a turn begins: where the fewest bytes pass from one turn to the next, and then
    where there is one turn more before, which only starts from something else."""
    types, crossing = spine.graph.types, [0] * (2 * period + 1)
    middle = first + (end - first) // period // 2 * period
    reach: dict[tuple[int, int], int] = {}
    for i in range(middle, min(middle + period, end)):
        for k in np.flatnonzero(spine.kind[i] == STEP):
            at = int(spine.at[i, k])
            if i - at <= period and i >= period and spine.at[i - period, k] == at - period:
                key = (at, spine.views(int(spine.chain[i, k]))[0])
                reach[key] = max(reach.get(key, 0), i - at)
    for (at, result), steps in reach.items():
        shape, dtype = types[spine.firsts[at] + result]
        start = (at + 1 - first) % period
        crossing[start] += size_of(shape) * dtype.itemsize
        crossing[start + steps] -= size_of(shape) * dtype.itemsize
    sums = np.cumsum(crossing[: 2 * period])
    cost = (sums[:period] + sums[period:])[: (end - first) % period + 1]
    cuts = np.flatnonzero(cost == cost.min()).tolist()
    tokens = spine.tokens

    def is_behind_another(cut: int) -> bool:
        at = first + cut
        return at - period >= floor and np.array_equal(tokens[at - period : at], tokens[at : at + period])

    return next((cut for cut in cuts if is_behind_another(cut)), cuts[0])


def _pays(loop: Loop, least: int) -> bool:
    """Whether there is enough to win, and what is put side by side at every call is little of what a turn works on."""
    if loop.turns < LEAST_TURNS or (loop.turns - 1) * loop.period < least:
        return False
    if not loop.inputs:
        return True
    types, spine = loop.spine.graph.types, loop.spine
    contents = {use.at for uses, i in zip(loop.uses, range(loop.first, loop.end), strict=False) for use in _contents(spine, i, uses)}
    if not (loop.slots or loop.rows or contents):  # turns that have nothing in common: updates of parameters of one shape
        return False
    moved = [_bytes(types[group[0]]) for number, group in enumerate(loop.inputs) if number not in contents]
    return max(moved, default=0) <= LARGE_INPUT and 8 * sum(moved) <= sum(_work(spine, i) for i in range(loop.first, loop.first + loop.period))


def _contents(spine: Spine, position: int, uses: list[Use]) -> list[Use]:
    """The operand of a step that is contents kept by an earlier run."""
    is_saved = spine.graph.steps[spine.steps[position]].op == "autodiff.saved"
    return [uses[1]] if is_saved and uses[1].kind == "input" and not uses[1].views else []


def _bytes(type: Type) -> int:
    return size_of(type[0]) * type[1].itemsize


def _work(spine: Spine, position: int) -> int:
    """Bytes a step reads and makes, a contraction's once per product."""
    graph, number = spine.graph, spine.steps[position]
    step, types = graph.steps[number], graph.types
    stanza, operands = OPS.get(step.op), [types[i] for i in step.operands]
    if stanza is not None and stanza.family == "contract":
        return 4 * size_of(tuple(stanza.contraction(tuple(operands), step.attrs).sizes.values()))
    return sum(map(_bytes, operands)) + _bytes(types[spine.firsts[position]])


class _Reader:
    """Reads a stretch as a loop."""

    def __init__(self, spine: Spine, first: int, end: int, period: int, floor: int, free: np.ndarray) -> None:
        self.spine, self.period, self.free = spine, period, free
        before = (first - floor) // period  # turns there may be before the stretch
        self.origin = first - before * period
        self.turns = (end - self.origin) // period
        self.middle = before + (end - first) // period // 2
        if self.middle + 1 >= self.turns:
            raise _NoLoop
        shape = (self.turns, period, spine.width)
        part = slice(self.origin, self.origin + self.turns * period)
        self.tokens = spine.tokens[part].reshape(shape[:2])
        self.kind, self.at, self.chain, self.mask = (t[part].reshape(shape) for t in (spine.kind, spine.at, spine.chain, spine.mask))
        self.starts = self.origin + period * np.arange(self.turns)

    def read(self) -> Loop:
        valid = (self.tokens == self.tokens[self.middle]).all(axis=1)
        self.regular = np.ones(self.turns, bool)
        self.after = -1  # every root all turns share lies before the loop
        self.classes: dict[tuple[int, int], str] = {}
        self.moves: dict[tuple[int, int], tuple[Row, Views]] = {}
        carried: list[tuple[int, int]] = []
        for j in range(self.period):
            for k in range(self.spine.width):
                name, agrees = self._class(j, k)
                self.classes[j, k] = name
                if name == "carried":
                    carried.append((j, k))
                    self.regular &= agrees
                else:
                    valid &= agrees
        low = high = self.middle
        while low > 0 and valid[low - 1] and self.regular[low - 1] and self.starts[low - 1] > self.after:
            low -= 1
        while high < self.turns and valid[high] and self.regular[high]:
            high += 1
        if not self.starts[low] > self.after or high - low < 2:
            raise _NoLoop
        if low > 0 and valid[low - 1] and self._starts(low - 1, carried):
            low -= 1
        return self._loop(low, high)

    def _class(self, j: int, k: int) -> tuple[str, np.ndarray]:
        """What operand k of place j is, and the turns that agree."""
        m = self.middle
        kind, at, chain = self.kind[:, j, k], self.at[:, j, k], self.chain[:, j, k]
        same = (kind == kind[m]) & (chain == chain[m])
        if kind[m] == STEP and at[m + 1] - at[m] == self.period:
            name = "own" if at[m] >= self.starts[m] else "carried"
            return name, same & (at - self.starts == at[m] - self.starts[m])
        if kind[m] == INPUT and at[m + 1] != at[m]:
            return "input", same & self.free[np.where(kind == INPUT, at, 0)]
        if kind[m] == STEP:
            self.after = max(self.after, int(at[m]))
        agrees = (kind == kind[m]) & (at == at[m])
        if chain[m + 1] == chain[m]:
            return {0: "absent", CONSTANT: "constant"}.get(int(kind[m]), "whole"), agrees & same
        agrees &= self.mask[:, j, k] == self.mask[m, j, k]
        return "row", self._slides(j, k, agrees)

    def _slides(self, j: int, k: int, agrees: np.ndarray) -> np.ndarray:
        """The turns whose slice starts as far behind that of the turn before as in the middle."""
        m, chains = self.middle, self.chain[:, j, k]
        result, views = self.spine.views(int(chains[m]))
        _, following = self.spine.views(int(chains[m + 1]))
        moved = [i for i, (a, b) in enumerate(zip(views, following, strict=True)) if a != b]
        starts = [(views[i][1][0], following[i][1][0]) for i in moved]
        dims = [d for a, b in starts for d in range(len(a)) if a[d] != b[d]]
        if len(moved) != 1 or len(dims) != 1:
            raise _NoLoop
        (i,), (dim,), ((start, then),) = moved, dims, starts
        by = then[dim] - start[dim]
        for turn in np.flatnonzero(agrees).tolist():
            want = (*start[:dim], start[dim] + by * (turn - m), *start[dim + 1 :])
            found = self.spine.views(int(chains[turn]))[1]
            agrees[turn] = found[i][1][0] == want and all(a == b for n, (a, b) in enumerate(zip(found, views, strict=True)) if n != i)
        attrs = views[i][1]
        row = Row(int(self.kind[m, j, k]), int(self.at[m, j, k]), result, tuple(views[:i]), attrs, dim, by)
        self.moves[j, k] = row, tuple(views[i + 1 :])
        return agrees

    def _starts(self, turn: int, carried: list[tuple[int, int]]) -> bool:
        """Whether the loop may start with a turn that reads its carried values from anywhere before it."""
        first = self.starts[turn]
        outside = [(self.kind[turn, j, k] != STEP) | (self.at[turn, j, k] < first) for j, k in carried]
        return bool(first > self.after and all(outside))

    def _loop(self, low: int, high: int) -> Loop:
        spine, m = self.spine, self.middle
        loop = Loop(spine, int(self.starts[low]), self.period, high - low)
        slots: dict[tuple, int] = {}
        for j in range(self.period):
            count = len(spine.operands(loop.first + j))
            loop.uses.append([self._use(loop, slots, low, high, j, k) for k in range(count)])
        assert m >= low
        return loop

    def _use(self, loop: Loop, slots: dict[tuple, int], low: int, high: int, j: int, k: int) -> Use:
        name, m = self.classes[j, k], self.middle
        kind, at, chain = (int(t[m, j, k]) for t in (self.kind, self.at, self.chain))
        result, views = self.spine.views(chain)
        if name == "own":
            return Use(name, int(at - self.starts[m]), result, tuple(views))
        if name == "carried":
            return self._carried(loop, slots, low, high, j, k)
        if name == "input":
            return Use(name, _numbered(loop.inputs, tuple(self.at[low:high, j, k].tolist())), 0, tuple(views))
        if name == "row":
            row, rest = self.moves[j, k]
            start = list(row.slice[0])
            start[row.dim] += row.by * (low - m)
            row = row._replace(slice=(tuple(start), *row.slice[1:]))
            if window(row, self._shape(row), high - low) is None:
                raise _NoLoop
            return Use(name, _numbered(loop.rows, row), 0, rest)
        if name == "constant":
            return Use(name, at, 0, tuple(views))
        return Use(name, _numbered(loop.wholes, (kind, at, result)), 0, tuple(views))

    def _shape(self, row: Row) -> tuple:
        types = self.spine.graph.types
        type = types[row.at] if row.kind == INPUT else types[self.spine.firsts[row.at] + row.result]
        for op, attrs in row.views:
            (type,) = OPS[op].infer((type,), attrs)
        return type[0]

    def _carried(self, loop: Loop, slots: dict[tuple, int], low: int, high: int, j: int, k: int) -> Use:
        """A value of an earlier turn: a chain of slots as long as the number of turns between."""
        spine, m = self.spine, self.middle
        chain = int(self.chain[m, j, k])
        result, views = spine.views(chain)
        back, place = divmod(int(self.at[m, j, k] - self.starts[m]), self.period)
        if -back > high - low:  # no turn makes what another one reads: values of a loop before this one
            raise _NoLoop
        root = spine.chain_id(Chain(-1, "", (result,)))
        links = [tuple(int(t[low + turn, j, k]) for t in (self.kind, self.at, self.chain)) for turn in range(-back)]
        starts = [self._root(link) for link in links]
        wanted = spine.graph.types[spine.firsts[loop.first + place] + result]
        if any(spine.views(link[2])[1] != views for link in links) or any(type != wanted for _, type in starts):
            root, views, given = chain, [], links  # handed on as it is read
        else:
            given = [start for start, _ in starts]
        key = (place, root, *given)
        if key not in slots:
            slots[key] = len(loop.slots)
            for turn, start in enumerate(reversed(given)):
                loop.slots.append(Slot(start, (place, root) if turn == 0 else len(loop.slots) - 1))
        return Use("slot", slots[key] - back - 1, 0, tuple(views))

    def _root(self, link: Link) -> tuple[Link, Type]:
        kind, at, chain = link
        spine, (result, _) = self.spine, self.spine.views(chain)
        if kind == CONSTANT:
            shape, _, dtype = spine.constants[at]
            return (kind, at, 0), (shape, dtype)
        type = spine.graph.types[at if kind == INPUT else spine.firsts[at] + result]
        return (kind, at, spine.chain_id(Chain(-1, "", (result,)))), type


def _numbered(known: list, item: object) -> int:
    if item not in known:
        known.append(item)
    return known.index(item)


class Window(NamedTuple):
    """How rows become the slices of a scan: from `start`, `turns` windows of `width` along the dim, of which a turn reads from `skip`."""

    start: int
    width: int
    skip: int


def window(row: Row, shape: tuple, turns: int) -> Window | None:
    """None where the slices of two turns overlap or would have to reach beyond the tensor."""
    start, size, step = (part[row.dim] for part in row.slice)
    low, by = min(start, start + row.by * (turns - 1)), abs(row.by)
    if size == 1:
        return Window(low, 1, 0)
    length = (size - 1) * step + 1
    skip = max(0, low + turns * by - shape[row.dim])
    return Window(low - skip, by, skip) if skip <= low and skip + length <= by else None
