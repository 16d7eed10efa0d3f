"""Decides how threads share a group of a kernel: one thread, one warp or one block per iteration of its outer loops.

A team runs one iteration of the group's shared loops. Teams of one thread suit elementwise work and short folds whose
neighbouring iterations lie next to each other in memory; warps and blocks suit rows: their lanes share a leaf's own
loops, folds end in shuffles (and shared memory), and row buffers live in shared memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..dialects.target import GpuTarget, Target
from .memory_plan import aligned
from .memref_layout import element_bytes
from .nest_plan import Flat, GroupPlan, LeafPlan, Loop
from .nest_rewrites import FEWEST_CHUNKS, Cuts, foldable_dims, one_cut
from .nest_stages import Buffer, Stage

WARP = 32
THREADS = 256
LARGEST_ROW = 8192
"""Elements of work per shared iteration beyond which leaves get launches of their own."""
SHORT_FOLD = 16
LONG_FOLD = 512
COLUMNS = 4
"""Columns whose folds a thread makes at once, at most."""
FOLD_BYTES = 4096
"""Shared memory kept for folds across warps."""
SERIAL_ROW_BYTES = 128
WARP_ROW = 1024


@dataclass(eq=False, slots=True)
class Team:
    """size threads run one of `units` iterations of `loops` (outermost first); per_block teams share a block.

    vector: the loop of which a thread takes `width` neighbouring iterations at once (teams of one thread).
    row_bytes: shared memory of one team's row buffers, at byte offsets `rows`; in_scratch: they are too large for it.
    """

    size: int
    per_block: int
    loops: list[Loop]
    units: int
    vector: Loop | None
    width: int
    rows: dict[Buffer, int]
    row_bytes: int
    in_scratch: bool

    @property
    def grid(self) -> int:
        """Blocks."""
        return -(-self.units // self.per_block)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.size * self.per_block


def product(sizes: Sequence[int]) -> int:
    """The product of some sizes; 1 for none."""
    n = 1
    for size in sizes:
        n *= size
    return n


def make_team(group: GroupPlan, target: GpuTarget) -> Team:
    """The team for a group, from sizes, strides and row buffers alone."""
    units = product([x.size for x in group.shared])
    length = max(product([x.size for x in leaf.own]) for leaf in group.leaves)
    rows, row_bytes = _row_places(group)
    loops = by_stride(group.shared, list(group.flats))
    if length == 1 or _runs_alone(group, units, length, row_bytes):
        whole = not group.rows and all(x.kind == "r" for leaf in group.leaves for x in leaf.own)
        vector, width = wide(loops, list(group.flats), target.access_bytes, _busy(target) if length > 1 else 1) if whole else (None, 1)
        return Team(1, THREADS, loops, units // width, vector, width, rows, row_bytes, False)
    size = _team_size(units, length, target)
    per_block = max(1, THREADS // size)
    while per_block > 1 and row_bytes * per_block > target.shared_bytes // 2:
        per_block //= 2
    in_scratch = row_bytes + FOLD_BYTES > target.shared_bytes
    return Team(size, per_block, loops, units, None, 1, rows, row_bytes, in_scratch)


def fold_cuts(stage: Stage, target: Target) -> Cuts:
    """How a fold is better cut into parts: rows too long for a block each, or columns too few for a thread each that brings 16 bytes at once."""
    assert isinstance(target, GpuTarget)
    results = product([n for n, kind in zip(stage.sizes, stage.kinds, strict=True) if kind == "p"])
    length = product([n for n, kind in zip(stage.sizes, stage.kinds, strict=True) if kind == "r"])
    folds = {d for d, kind in enumerate(stage.kinds) if kind == "r"}
    along = any(abs(c) == 1 and d in folds for read in stage.reads if read is not None for d, c in read.linear()[1])
    if along:
        return one_cut(stage, target) if length > LARGEST_ROW and results < 2 * target.processors else ()
    if length < LONG_FOLD or results >= _busy(target):
        return ()
    wanted, cuts = -(-COLUMNS * _busy(target) // results), []
    for d in foldable_dims(stage):
        several = [n for n in range(1, stage.sizes[d] + 1) if stage.sizes[d] % n == 0 and length // n >= SHORT_FOLD]
        chunks = next((n for n in several if n >= wanted), several[-1] if several else 1)
        if chunks > 1:
            cuts.append((d, chunks))
            wanted, length = -(-wanted // chunks), length // chunks
    return cuts if product([n for _, n in cuts]) >= FEWEST_CHUNKS else ()


def _busy(target: GpuTarget) -> int:
    """Threads that keep the processors busy with memory."""
    return target.processors * THREADS // 2


def _team_size(units: int, length: int, target: GpuTarget) -> int:
    if length <= WARP or length <= WARP_ROW and units >= 2 * target.processors:
        return WARP
    size = THREADS
    while size < 1024 and length >= 8 * size and units <= target.processors:
        size *= 2
    return size


def _runs_alone(group: GroupPlan, units: int, length: int, row_bytes: int) -> bool:
    """Whether one thread per iteration is best: short folds, or long ones that neighbouring threads read side by side."""
    if len(group.leaves) == 1 and any(x.kind == "a" for x in group.leaves[0].own):
        return True
    if row_bytes > SERIAL_ROW_BYTES:
        return False
    if length <= SHORT_FOLD:
        return True
    shared, own = _contiguous(group)
    return shared > own and units >= 1024


def _contiguous(group: GroupPlan) -> tuple[int, int]:
    """How many accesses have neighbouring elements along a shared loop, and along a leaf's own loop."""
    shared, counts = set(group.shared), [0, 0]
    for flat in group.flats:
        for loop, coefficient in flat.terms.items():
            if abs(coefficient) == 1:
                counts[loop not in shared] += 1
    return counts[0], counts[1]


def by_stride(loops: Sequence[Loop], flats: Sequence[Flat]) -> list[Loop]:
    """Loops so that the last one, which neighbouring threads differ in, is the most contiguous."""
    weight: dict[Loop, tuple[int, int, int]] = {}
    for at, loop in enumerate(loops):
        strides = [abs(flat.terms[loop]) for flat in flats if loop in flat.terms]
        ones = sum(s == 1 for s in strides)
        weight[loop] = (ones, -min(strides, default=1 << 62) if not ones else 0, at)
    return sorted(loops, key=weight.__getitem__)


def wide(loops: Sequence[Loop], flats: Sequence[Flat], most: int, threads: int = 1) -> tuple[Loop | None, int]:
    """The innermost loop and how many neighbouring iterations a thread takes: as many as fit an access of `most` bytes.

    threads: how many there are to be kept busy.
    """
    touched = [f for f in flats if loops and abs(f.terms.get(loops[-1], 0)) == 1]
    if not touched:
        return None, 1
    loop, total = loops[-1], product([x.size for x in loops])
    width = most // max(element_bytes(f.buffer.element) for f in touched)
    while width > 1 and (
        loop.size % width or total // width < threads or not any(is_aligned(f, loop, width, most) for f in touched)
    ):
        width //= 2
    return (loop, width) if width > 1 else (None, 1)


def is_aligned(flat: Flat, loop: Loop, width: int, most: int) -> bool:
    """Whether `width` iterations of the loop, starting at a multiple, are neighbours at a multiple of the width."""
    if flat.terms.get(loop, 0) != 1 or flat.offset % width:
        return False
    if width * element_bytes(flat.buffer.element) > most:
        return False
    return all(c % width == 0 for x, c in flat.terms.items() if x is not loop)


def _row_places(group: GroupPlan) -> tuple[dict[Buffer, int], int]:
    places: dict[Buffer, int] = {}
    at = 0
    for row in group.rows:
        places[row.buffer] = at
        at += aligned(row.length * element_bytes(row.buffer.element))
    return places, at


def stored_leaves(group: GroupPlan) -> Iterator[tuple[LeafPlan, bool]]:
    """Every leaf, and whether it writes memory that the team must wait for before the next leaf runs."""
    for leaf in group.leaves:
        yield leaf, any(w is not None for plan in leaf.stages for w in plan.writes)
