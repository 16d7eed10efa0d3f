"""Windows side by side: results that are neighbours read much of the same memory, and all of them the same weights.

    y[h, w, c] = sum x[h + i, w + j, c] * k[i, j, c]     3 x 3: 18 loads for nine products
    y[h, w .. w + 6, c] in registers at once              27 loads of x, nine of k: five for nine products

Found from index maps: a loop that a folded operand does not move along, or moves along as it does along a loop of its window.

Elements that are looked up at computed places share these: images of several channels, sampled at the same points.
"""

from __future__ import annotations

from xdsl.dialects import memref

from ..dialects.sizes import Size, estimate, same
from ..dialects.target import Target
from .nest_interleaved import reads_whole
from .nest_plan import Flat, GroupPlan, LeafPlan, Loop

MOST_UNROLLED = 16
"""Elements of a row that are unrolled."""
LEAST_SHARED = 8
"""One load in so many that neighbours share is worth it: where each of their vectors is put together lane by lane, all of that is unrolled
for the sake of a weight."""
LEAST = 4
"""Results worth it where vectors side by side would do instead."""
MOST = 8
"""Results at a time: with more of them little is read less often."""
LOOKED_UP = 4
"""Results at a time that look up elements at the same places: each is put together lane by lane."""


def choose_windows(group: GroupPlan, target: Target, windows: list[LeafPlan]) -> None:
    """Decides it for a group whose vectors are chosen. windows: its leaves whose folds are unrolled; of larger windows a row is."""
    folds = [leaf for leaf in group.leaves if any(x.kind == "r" for x in leaf.own)]
    inner = [x for x in group.shared if x is not group.vector]
    if group.vector is None or group.tile is not None or group.rows or not inner:
        return
    if not folds:
        if all(_looks_up_alike(leaf, inner[-1]) for leaf in group.leaves):
            group.slid, group.windows = inner[-1], _count(inner[-1].size, LOOKED_UP)
        return
    large = [leaf for leaf in folds if leaf not in windows]
    if not all(_has_rows(leaf) for leaf in large) or (large and estimate(inner[-1].size) < LEAST):
        return
    if any(x.kind != "r" for leaf in group.leaves for x in leaf.own):
        return
    loop = inner[-1]
    most = _most(folds, target)
    if most > 1 and any(_saves(leaf, loop, group, leaf in large) for leaf in folds):
        group.slid, group.windows = loop, _count(loop.size, most)
        for leaf in large:
            leaf.by_rows, group.copies = _overlaps(leaf, loop), 1


def _looks_up_alike(leaf: LeafPlan, loop: Loop) -> bool:
    """Whether iterations of this loop look up elements at the same places: nothing else that the leaf reads moves along it."""
    reads = [f for p in leaf.stages for f, skip in zip(p.reads, p.forwarded, strict=True) if f is not None and not skip]
    bodies = [p.stage.block for p in leaf.stages if p.stage.block is not None]
    looks_up = any(isinstance(op, memref.LoadOp) for block in bodies for op in block.ops)
    return looks_up and not leaf.own and bool(reads) and all(same(f.terms.get(loop, 0), 0) for f in reads)


def _has_rows(leaf: LeafPlan) -> bool:
    """Whether the leaf's folds are two loops or more, the innermost of them short."""
    folds = [x for x in leaf.own if x.kind == "r"]
    return len(folds) > 1 and leaf.vector is None and not isinstance(folds[-1].size, Size) and folds[-1].size <= MOST_UNROLLED


def _folded(leaf: LeafPlan) -> list[Flat]:
    """What the leaf's folds read from memory."""
    return [f for p in leaf.stages if p.stage.reduces for f, skip in zip(p.reads, p.forwarded, strict=True) if f is not None and not skip]


def _saves(leaf: LeafPlan, loop: Loop, group: GroupPlan, by_rows: bool) -> bool:
    """Whether what neighbours along the loop share is a part of what the leaf's folds read that counts. by_rows: only a row is unrolled."""
    reads = [(flat, _loads(flat, group)) for flat in _folded(leaf)]
    unrolled = [x for x in leaf.own if x.kind == "r"][-1 if by_rows else 0 :]
    return LEAST_SHARED * sum(n for flat, n in reads if _shares(flat, unrolled, loop)) >= sum(n for _, n in reads) > 0


def _overlaps(leaf: LeafPlan, loop: Loop) -> bool:
    """Whether neighbours along the loop read elements at different places of a row: who reads them once has to see all of it. What they read
    at the same place of it they share in a loop over it, too.
    """
    row = [x for x in leaf.own if x.kind == "r"][-1:]
    return any(estimate(flat.terms.get(loop, 0)) and _shares(flat, row, loop) for flat in _folded(leaf))


def _loads(flat: Flat, group: GroupPlan) -> int:
    """Loads it takes to read one vector: as many as it has lanes where these lie apart."""
    vector = group.vector
    step = abs(estimate(flat.terms.get(vector, flat.lane or 0))) if vector is not None else 0
    return 1 if vector is None or step <= 1 or reads_whole(flat, vector) else group.width


def _shares(flat: Flat, unrolled: list[Loop], loop: Loop) -> bool:
    """Whether what neighbours along the loop read of this operand at a time has elements in common."""
    step = flat.terms.get(loop, 0)
    inside = [(flat.terms.get(x, 0), x.size) for x in unrolled]
    return not step or any(c and not step % c and abs(step // c) < size for c, size in inside)


def _most(folds: list[LeafPlan], target: Target) -> int:
    """As many as registers hold the sums of, with a row of what they read and a weight."""
    reach = max((x.size for leaf in folds for x in leaf.own), default=1)
    sums = sum(len(p.stage.writes) for leaf in folds for p in leaf.stages if p.stage.reduces)
    return min(MOST, (target.vector_registers - reach) // (sums + 1))


def _count(size: int, most: int) -> int:
    """How many at a time: as many as fit, all runs about equally long."""
    return most if isinstance(size, Size) else -(-size // -(-size // most))
