"""Which groups of a nest keep their last leaf a row behind, inside the leaf that computes longest.

Leaves of a row follow each other: while one computes, memory waits, and the next, which only moves what was computed, leaves
arithmetic idle. The ends of a row's folds, a handful of steps that wait for each other, are between them. A leaf that only
scales and stores a row (the last one of a softmax) is done while the next row is computed, element by element in the same
loop: it takes hardly any time there. What it reads of a row exists twice, for this row and the one before.
"""

from __future__ import annotations

from ..dialects.sizes import Size
from ..dialects.target import Target
from .memory_plan import aligned
from .memref_layout import element_bytes
from .nest_plan import Behind, GroupPlan, LeafPlan, Loop, Row, alike, flats_of
from .nest_work import HEAVY, leaf_operations

LEAST_ROWS = 4
"""Rows in a run, of which the first and the last have code of their own."""
PAGE = 4096
"""Bytes; a load waits for the data of a store that is as far into its page, and what a row stores waits for its exponentials."""
LIGHT = 4
"""Operations per element of a leaf that waits for memory."""


def choose_behind(group: GroupPlan, target: Target) -> None:
    """Decides it for a group whose vectors and tasks are chosen."""
    if group.vector is not None or group.beside > 1 or not group.shared or len(group.leaves) < 2:
        return
    row, last = group.shared[-1], group.leaves[-1]
    busy = max(group.leaves[:-1], key=leaf_operations)
    if _run(group, row) < LEAST_ROWS or leaf_operations(busy) <= HEAVY or leaf_operations(last) > LIGHT:
        return
    if not (_is_one_vector_loop(busy) and _is_one_vector_loop(last) and alike(busy, last)) or last.own[0].kind != "p":
        return
    if not _stands_alone(group, last):
        return
    taken = {f.buffer for f in flats_of(last)}
    rows = [held for held in group.rows if held.buffer in taken]
    if sum(2 * held.length * element_bytes(held.buffer.element) + PAGE for held in rows) > target.l1_bytes - 2 * PAGE:
        return
    group.behind = Behind(busy, Loop(2, "p"), Loop(2, "p"))
    for held in rows:
        _double(group, held)


def _run(group: GroupPlan, row: Loop) -> int:
    """Rows that one task goes through one after the other; 0 where that is known at the call only, or they are not in one loop."""
    if isinstance(row.size, Size) or isinstance(group.chunk, Size) or (row in group.split and group.split != [row]):
        return 0
    return group.chunk if group.split == [row] else row.size


def _is_one_vector_loop(leaf: LeafPlan) -> bool:
    """Whether the leaf is one loop of vectors, of a known length."""
    return len(leaf.own) == 1 and leaf.vector is leaf.own[0] and not isinstance(leaf.own[0].size, Size) and not leaf.by_rows


def _stands_alone(group: GroupPlan, last: LeafPlan) -> bool:
    """Whether the leaf reads only what nobody in the group writes, or rows, and nobody else touches what it writes."""
    rows = {held.buffer for held in group.rows}
    others = [flat for leaf in group.leaves[:-1] for flat in flats_of(leaf)]
    written = {f.buffer for leaf in group.leaves for p in leaf.stages for f in p.writes if f is not None}
    mine = {f.buffer for p in last.stages for f in p.writes if f is not None}
    if mine & (rows | {flat.buffer for flat in others}):
        return False
    return all(f.buffer in rows or f.buffer not in written for f in flats_of(last) if f.buffer not in mine)


def _double(group: GroupPlan, held: Row) -> None:
    """A buffer of rows holds two, which are not whole pages apart: each leaf's accesses say which."""
    item = element_bytes(held.buffer.element)
    size = aligned(held.length * item)
    step = (size + PAGE // 2 if min(size % PAGE, -size % PAGE) < PAGE // 4 else size) // item
    for leaf in group.leaves:
        turn = group.behind.before if leaf is group.leaves[-1] else group.behind.this
        for flat in flats_of(leaf):
            if flat.buffer is held.buffer:
                flat.terms = {turn: step, **flat.terms}
    held.length += step
