"""Which groups of a nest run several rows at a time: short ones, whose ends are most of their work.

The lanes of a row's sums are combined in a few steps that wait for each other, and what is computed once per row is a scalar. Rows
side by side share both: their lanes are combined in the same shuffles, and the scalars of all rows are one vector.
"""

from __future__ import annotations

from ..dialects.sizes import estimate, largest
from .memref_layout import element_bytes
from .nest_plan import ALLOCA_BYTES, GroupPlan, LeafPlan

ROWS = 4
"""Rows side by side: as many as hide the latency of an add."""
SHORT = 16
"""Vectors a row has at most: of a longer one its end is a small part."""
LINE = 64


def choose_beside(group: GroupPlan) -> None:
    """Decides it for a group whose vectors are chosen; its folds need fewer vectors side by side then."""
    folds = [leaf for leaf in group.leaves if any(x.kind == "r" for x in leaf.own)]
    if group.vector is not None or not folds or not group.shared or estimate(group.shared[-1].size) < 2 * ROWS:
        return
    if not all(_short(leaf) for leaf in group.leaves if leaf.own):
        return
    if sum(ROWS * _stride(largest(row.length), element_bytes(row.buffer.element)) for row in group.rows) > ALLOCA_BYTES:
        return
    group.beside = ROWS
    for leaf in group.leaves:
        leaf.copies = min(leaf.copies, 2)


def widen_rows(group: GroupPlan) -> None:
    """Row buffers hold a row for each of those side by side."""
    for row in group.rows:
        item = element_bytes(row.buffer.element)
        step = _stride(row.length, item) // item
        row.length = step * group.beside
        for flat in group.flats:
            if flat.buffer is row.buffer:
                flat.beside = step


def _short(leaf: LeafPlan) -> bool:
    """Whether the leaf is one loop, in not many vectors."""
    size = leaf.own[0].size
    return len(leaf.own) == 1 and leaf.vector is leaf.own[0] and estimate(size) <= SHORT * leaf.width


def _stride(length: int, item: int) -> int:
    """Bytes from one row's buffer to the next: whole lines."""
    return -(-length * item // LINE) * LINE
