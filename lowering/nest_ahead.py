"""Which accesses of a nest ask for memory ahead of their turn: long runs of neighbouring elements, read or written.

The prefetchers of a processor stop at every page, and a store to a line that is in no near cache waits for it like a load. Small
operands, and rows that are read again and again, are near anyway.
"""

from __future__ import annotations

from ..dialects.sizes import estimate
from ..dialects.target import Target
from .memref_layout import element_bytes
from .nest_plan import Flat, GroupPlan, KernelPlan, Loop
from .nest_stages import Buffer

LONG_RUNS = 8
"""Times the distance that a run of neighbouring elements must be long."""


def choose_ahead(plan: KernelPlan, target: Target) -> None:
    """Marks accesses of a scheduled kernel: of each group, the first that reads a buffer, and those that write one."""
    for group in plan.groups:
        read: set[Buffer] = set()
        for leaf in group.leaves:
            loop = leaf.vector or group.vector
            if loop is None or group.tile is not None:
                continue
            before = frozenset(read)
            for stage in leaf.stages:
                reads = [f for f, skip in zip(stage.reads, stage.forwarded, strict=True) if f is not None and not skip]
                writes = [f for f in stage.writes if f is not None and not f.streams and not stage.stage.reduces]
                for flat in (*(f for f in reads if f.buffer not in before), *writes):
                    flat.ahead = _ahead(flat, loop, group, target)
                read.update(f.buffer for f in reads)


def _ahead(flat: Flat, loop: Loop, group: GroupPlan, target: Target) -> int:
    if flat.terms.get(loop) != 1 or any(row.buffer is flat.buffer for row in group.rows):
        return 0
    run, reach = 1, 1
    for inner in sorted(flat.terms, key=lambda x: abs(estimate(flat.terms[x]))):
        if estimate(flat.terms[inner]) == run:
            run *= estimate(inner.size)
        reach *= estimate(inner.size)
    item = element_bytes(flat.buffer.element)
    distance = target.ahead_bytes // 2
    if run * item < LONG_RUNS * distance or reach * item <= target.l2_bytes:
        return 0
    return distance // item
