"""Which groups of a nest run several rows at a time: those whose ends are much of their work, and those that come from afar.

The lanes of a row's sums are combined in a few steps that wait for each other, and what is computed once per row is a scalar. Rows
side by side share both: their lanes are combined in the same shuffles, and the scalars of all rows are one vector. What all rows
read (weights along a row) is loaded once for them. Longer rows of little arithmetic go in pairs, unless they are whole pages apart:
accesses that differ in nothing but the page wait for each other, and share a set of the first cache.

A matrix that is read once, row by row, arrives faster as several runs of memory side by side, each some rows long, where a processor
follows them all.
"""

from __future__ import annotations

from math import prod

from ..dialects.sizes import estimate, largest, same
from ..dialects.target import Target
from .memref_layout import element_bytes
from .nest_plan import ALLOCA_BYTES, Flat, GroupPlan, LeafPlan, Loop, flats_of
from .nest_work import HEAVY, leaf_operations

ROWS = 4
"""Rows side by side: as many as hide the latency of an add."""
SHORT = 16
"""Vectors a row has at most, of which so many go side by side."""
LONG = 64
"""Vectors a row has at most that goes beside another: of a longer one its end is a small part."""
LINE = 64
SHARE = 8
"""Second caches that a program's share of the last one is, about."""
PAGE = 4096
NEAR = 256
"""Bytes from whole pages within which two rows get in each other's way."""
RUN = 16
"""Rows of one run."""
LIGHT = 8
"""Operations per element of a fold that memory keeps waiting."""


def choose_beside(group: GroupPlan, target: Target) -> None:
    """Decides it for a group whose vectors are chosen; its folds need fewer vectors side by side then."""
    folds = [leaf for leaf in group.leaves if any(x.kind == "r" for x in leaf.own)]
    if group.vector is not None or not folds or not group.shared or estimate(group.shared[-1].size) < 2 * ROWS:
        return
    if not all(_short(leaf, SHORT) for leaf in group.leaves if leaf.own):
        if not _in_pairs(group, target):
            _follow(group, folds, target)
            return
        group.beside = 2
    elif sum(ROWS * _stride(largest(row.length), element_bytes(row.buffer.element)) for row in group.rows) > ALLOCA_BYTES:
        return
    else:
        group.beside = ROWS
    for leaf in group.leaves:
        leaf.copies = min(leaf.copies, 2)


def _follow(group: GroupPlan, folds: list[LeafPlan], target: Target) -> None:
    """As many long rows side by side as the processor follows, where one fold takes little time over each element."""
    row = group.shared[-1]
    if len(folds) != 1 or group.rows or any(leaf.own for leaf in group.leaves if leaf is not folds[0]):
        return
    fold = folds[0]
    if len(fold.own) != 1 or fold.vector is not fold.own[0] or leaf_operations(fold) > LIGHT:
        return
    sums = sum(len(p.stage.writes) for p in fold.stages if p.stage.reduces)
    far = sum(_streams(flat, row, fold.vector, target) for flat in flats_of(fold))
    rows = target.streams // max(1, far)
    if far and sums == 1 and rows > 1 and estimate(row.size) >= 2 * rows * RUN:
        group.beside, group.apart, fold.copies = rows, RUN, min(fold.copies, 2)


def _streams(flat: Flat, row: Loop, along: Loop, target: Target) -> bool:
    """Whether an access goes through rows that the second cache does not hold, each once."""
    held = element_bytes(flat.buffer.element) * prod(estimate(x.size) for x in flat.terms)
    return same(flat.terms.get(along, 0), 1) and not same(flat.terms.get(row, 0), 0) and held > target.l2_bytes // 2


def widen_rows(group: GroupPlan) -> None:
    """Row buffers hold a row for each of those side by side."""
    for row in group.rows:
        item = element_bytes(row.buffer.element)
        step = _stride(row.length, item) // item
        row.length = step * group.beside
        for flat in group.flats:
            if flat.buffer is row.buffer:
                flat.beside = step


def _short(leaf: LeafPlan, vectors: int) -> bool:
    """Whether the leaf is one loop, in at most so many vectors."""
    size = leaf.own[0].size
    return len(leaf.own) == 1 and leaf.vector is leaf.own[0] and estimate(size) <= vectors * leaf.width


def _in_pairs(group: GroupPlan, target: Target) -> bool:
    """Whether two rows go side by side: several folds of light leaves (arithmetic that fills the processor hides a row's end) without memory
    of their own, in arrays that are hardly in memory: from there one run of rows arrives faster than two."""
    row = group.shared[-1]
    sizes = {f.buffer: element_bytes(f.buffer.element) * prod(estimate(x.size) for x in f.terms) for f in group.flats if f.terms.get(row)}
    if sum(sizes.values()) > SHARE * target.l2_bytes:
        return False
    if sum(any(x.kind == "r" for x in leaf.own) for leaf in group.leaves) == 1 or group.rows or any(leaf_operations(leaf) > HEAVY for leaf in group.leaves if leaf.own):
        return False
    return all(_short(leaf, LONG) for leaf in group.leaves if leaf.own) and not _in_the_way(group)


def _in_the_way(group: GroupPlan) -> bool:
    """Whether neighbouring rows of a buffer are about whole pages apart."""
    steps = (estimate(f.terms.get(group.shared[-1], 0)) * element_bytes(f.buffer.element) % PAGE for f in group.flats if f.terms.get(group.shared[-1]))
    return any(min(step, PAGE - step) < NEAR for step in steps)


def _stride(length: int, item: int) -> int:
    """Bytes from one row's buffer to the next: whole lines."""
    return -(-length * item // LINE) * LINE
