"""Rows that a team's leaves read several times: every lane keeps its elements in registers from the first time on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from .gpu_builder import GpuBuilder
from .gpu_teams import by_stride, is_aligned, product, wide
from .memref_layout import element_bytes
from .nest_plan import Flat, GroupPlan, LeafPlan, Loop, flats_of

MOST_TURNS = 8
"""Turns of a team over a leaf's iterations that are written one after the other."""
MOST_HELD = 64
"""Registers of a thread for what it keeps."""


@dataclass(frozen=True)
class Shares:
    """How lanes share a leaf's iterations. loops: outermost first; of `vector` a lane takes `width` neighbours at once.

    count: iterations, with several at once as one; turns: of the team over them, 0 where they are many or not the same for all lanes.
    """

    loops: tuple[Loop, ...]
    vector: Loop | None
    width: int
    count: int
    turns: int

    @property
    def sizes(self) -> list[int]:
        """Iterations of each loop, with several at once as one."""
        return [x.size // (self.width if x is self.vector else 1) for x in self.loops]


def shares_of(leaf: LeafPlan, loops: Sequence[Loop], threads: int, access_bytes: int, several: bool) -> Shares:
    """several: a lane may take neighbouring iterations at once."""
    flats = list(flats_of(leaf))
    ordered = by_stride(loops, flats)
    vector, width = wide(ordered, flats, access_bytes, threads) if several else (None, 1)
    count = product([x.size for x in ordered]) // width
    turns = count // threads if several and count % threads == 0 and count <= MOST_TURNS * threads else 0
    return Shares(tuple(ordered), vector, width, count, turns)


def spread_loops(leaf: LeafPlan) -> list[Loop]:
    """The loops of a leaf that lanes share, where they share all of them: folds, or others; none where there are both."""
    folds = [x for x in leaf.own if x.kind == "r"]
    others = [x for x in leaf.own if x.kind == "p"]
    return [] if len(folds) < len(leaf.own) and len(others) < len(leaf.own) else list(leaf.own)


class HeldRows:
    """What lanes keep. A row is held where it is read again by lanes that share it alike, and nobody of the group writes it."""

    def __init__(self, b: GpuBuilder, group: GroupPlan, threads: int, access_bytes: int) -> None:
        self.b, self._most = b, access_bytes
        self._kept: dict[tuple[object, ...], SSAValue] = {}
        self._taken = 0
        written = {f.buffer for leaf in group.leaves for plan in leaf.stages for f in plan.writes if f is not None}
        self._reads: Counter[tuple[object, ...]] = Counter()
        for leaf in group.leaves:
            loops = spread_loops(leaf)
            shares = shares_of(leaf, loops, threads, access_bytes, several=True) if loops and threads > 1 else None
            if shares is None or not shares.turns:
                continue
            reads = [f for plan in leaf.stages for f, known in zip(plan.reads, plan.forwarded, strict=True) if f is not None and not known]
            self._reads.update(self._key(f, shares) for f in reads if f.buffer not in written)

    def _key(self, flat: Flat, shares: Shares) -> tuple[object, ...]:
        """Equal for equal elements of the same lane and turn."""
        own = {loop: k for k, loop in enumerate(shares.loops)}
        terms = sorted((own[x], c) for x, c in flat.terms.items() if x in own)
        outer = frozenset((x, c) for x, c in flat.terms.items() if x not in own)
        return flat.buffer, flat.offset, tuple(terms), outer, tuple(shares.sizes), shares.width

    def lanes(self, flat: Flat, shares: Shares, turn: SSAValue | None, fetch: Callable[[], list[SSAValue]]) -> list[SSAValue]:
        """The elements a lane reads at once in a turn (None: turns are not told apart): from memory, or kept from an earlier time."""
        b = self.b
        key = self._key(flat, shares)
        if turn is None or self._reads[key] < 2 or not is_aligned(flat, shares.loops[-1], shares.width, self._most):
            return fetch()
        at = b.scaled(turn, shares.width)
        if key in self._kept:
            return [b.read(self._kept[key], b.plus(at, k)) for k in range(shares.width)]
        length = shares.turns * shares.width
        registers = -(-length * element_bytes(flat.buffer.element) // 4)
        if self._taken + registers > MOST_HELD:
            return fetch()
        self._taken += registers
        memory = self._kept[key] = b.registers(length, flat.buffer.element, "row")
        found = fetch()
        for k, value in enumerate(found):
            b.write(value, memory, b.plus(at, k))
        return found
