"""Which accesses of a nest ask for memory ahead of their turn: long runs of neighbouring elements, read or written.

The prefetchers of a processor stop at every page, and a store to a line that is in no near cache waits for it like a load. Small
operands, and rows that are read again and again, are near anyway. Memory and arithmetic take place at the same time only where
both are: a row's leaf that computes for long asks for what the others read and write. Where none does, the first leaf asks for what the last
one writes and the last one for the next row, so that memory is busy in both.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..dialects.sizes import estimate
from ..dialects.target import Target
from .memref_layout import element_bytes
from .nest_plan import Flat, GroupPlan, KernelPlan, LeafPlan, Loop, alike
from .nest_stages import Buffer
from .nest_work import HEAVY, leaf_operations

LONG_RUNS = 8
"""Times the distance that a run of neighbouring elements must be long."""
ROW_BYTES = 1 << 10, 16 << 10
"""Bytes of rows that are fetched as a whole: their time is longer than the way from memory, and the first cache holds two of them."""


def choose_ahead(plan: KernelPlan, target: Target) -> None:
    """Marks accesses of a scheduled kernel: of each group, the last that reads a buffer, and those that write one.

    What several leaves read is fetched a row ahead, while the last of them goes through this one, or one that computes for longer
    than the way from memory: the first ones have it then. Such a leaf asks for what later ones write in its row, too; without one the
    first does.
    """
    distance = target.ahead_bytes // 2
    for group in plan.groups:
        if group.tile is not None or group.apart > 1:  # a processor follows runs side by side by itself
            continue
        readers: dict[Buffer, set[int]] = {}
        for k, leaf in enumerate(group.leaves):
            for flat in _reads(leaf):
                readers.setdefault(flat.buffer, set()).add(k)
        for k, leaf in enumerate(group.leaves):
            loop = leaf.vector or group.vector
            if loop is None:
                continue
            for flat in _reads(leaf):
                row = _row(flat, group) if len(readers[flat.buffer]) > 1 else 0
                if k == _asking(readers[flat.buffer], group, row) and _is_far(flat, loop, group, target):
                    flat.ahead = row or _ahead(flat, loop, leaf, group, distance // element_bytes(flat.buffer.element))
            for flat in _writes(leaf):
                if _is_far(flat, loop, group, target):
                    busy = group.leaves[_asking_for_result(k, flat, group, target)]
                    if busy is not leaf:
                        busy.asked.append(Flat(flat.buffer, flat.offset, {busy.vector if x is loop else x: c for x, c in flat.terms.items()}))
                    else:
                        flat.ahead = distance // element_bytes(flat.buffer.element)


def _ahead(flat: Flat, loop: Loop, leaf: LeafPlan, group: GroupPlan, elements: int) -> int:
    """How far ahead so many elements are: further along the vectors, or some steps of a fold that runs inside of them (sums of columns)."""
    fold = leaf.own[-1] if leaf.own else loop
    step = estimate(flat.terms.get(fold, 0))
    if fold is loop or not step:
        return elements
    lanes = leaf.width * leaf.copies if leaf.vector is loop else group.width * group.copies
    return max(1, elements // lanes) * step


def _asking(leaves: Iterable[int], group: GroupPlan, row: int) -> int:
    """Which of these leaves asks for memory: of a row the one that computes longest, if any does for long; else the last."""
    last = max(leaves)
    work = {k: leaf_operations(group.leaves[k]) for k in leaves}
    busiest = max(work, key=lambda k: (work[k], k))
    return busiest if row and group.vector is None and work[busiest] > HEAVY else last


def _asking_for_result(k: int, flat: Flat, group: GroupPlan, target: Target) -> int:
    """Which leaf asks for what leaf `k` writes in a row: of those that go through it, one that computes for long; else the first, where the
    first cache holds what is written and read of the row and of the next one.
    """
    row = _row(flat, group)
    through = [n for n, leaf in enumerate(group.leaves[: k + 1]) if leaf.vector is not None and alike(leaf, group.leaves[k])]
    if not row or not through:
        return k
    busy = _asking(through, group, row)
    fits = 4 * row * element_bytes(flat.buffer.element) <= target.l1_bytes
    return through[0] if busy == k and fits and group.vector is None else busy


def _reads(leaf: LeafPlan) -> list[Flat]:
    return [f for stage in leaf.stages for f, skip in zip(stage.reads, stage.forwarded, strict=True) if f is not None and not skip]


def _writes(leaf: LeafPlan) -> list[Flat]:
    return [f for stage in leaf.stages if not stage.stage.reduces for f in stage.writes if f is not None and not f.streams]


def _is_far(flat: Flat, loop: Loop, group: GroupPlan, target: Target) -> bool:
    """Whether the access goes through a long run of memory that the second-level cache cannot hold, element by element."""
    if flat.terms.get(loop) != 1 or any(row.buffer is flat.buffer for row in group.rows):
        return False
    item = element_bytes(flat.buffer.element)
    run, count, span = item, item, item
    for inner in sorted(flat.terms, key=lambda x: abs(estimate(flat.terms[x]))):
        size = estimate(inner.size)
        run *= size if estimate(flat.terms[inner]) * item == run else 1
        count *= size
        span += (size - 1) * abs(estimate(flat.terms[inner])) * item
    return run >= LONG_RUNS * target.ahead_bytes // 2 and min(count, span) > target.l2_bytes  # windows overlap


def _row(flat: Flat, group: GroupPlan) -> int:
    """Elements from one iteration of the group's loops to the next (several rows, if they run side by side), where they are a few KiB; else 0."""
    inner = [x for x in group.shared if x is not group.vector]
    step = group.beside * estimate(flat.terms.get(inner[-1], 0)) if inner else 0
    return step if ROW_BYTES[0] <= step * element_bytes(flat.buffer.element) <= ROW_BYTES[1] else 0
