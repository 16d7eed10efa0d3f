"""Chooses, by estimated cost, what a nest vectorises, the order of its loops, and what threads share."""

from __future__ import annotations

from math import prod

from xdsl.dialects.builtin import IndexType, IntegerType, i1
from xdsl.ir import Attribute

from ..dialects.sizes import Size, estimate, largest
from ..dialects.target import Target
from .memory_plan import aligned
from .memref_layout import element_bytes
from .nest_ahead import choose_ahead
from .nest_behind import choose_behind
from .nest_beside import choose_beside, widen_rows
from .nest_interleaved import cost, reads_whole, whole_writes
from .nest_masks import choose_cuts, ends_in_mask
from .nest_plan import ALLOCA_BYTES, Flat, GroupPlan, KernelPlan, LeafPlan, Loop, flats_of
from .nest_stages import Stage
from .nest_streams import choose_streams
from .nest_windows import choose_windows
from .nest_work import leaf_operations

UNROLLED_WINDOW = 25
"""Folds over at most this many elements are unrolled."""


def schedule(plan: KernelPlan, target: Target) -> KernelPlan:
    """Fills in vector loops, widths, copies, loop orders, tasks and the homes of row buffers."""
    for group in plan.groups:
        _choose_vectors(group, target)
        _order(group, target)
        _choose_copies(group)
        group.tile = _best_tile(group)
        choose_beside(group, target)
        choose_cuts(group, target)
        choose_windows(group, target, [leaf for leaf in group.leaves if is_window(leaf)])
        _choose_tasks(group, target)
        choose_behind(group, target)
        _home_rows(group)
    for group in plan.groups:
        group.row_base = plan.scratch_bytes
        plan.scratch_bytes += group.row_bytes * group.tasks
    choose_streams(plan, target)
    choose_ahead(plan, target)
    return plan


# Vector loops


def _choose_vectors(group: GroupPlan, target: Target) -> None:
    lanes = min(_lanes(leaf, target) for leaf in group.leaves)
    own = [_best_own(leaf, group, target) for leaf in group.leaves]
    best, best_cost = None, sum(cost for _, cost in own)
    for loop in group.shared:
        width = _width(estimate(loop.size), lanes)
        if width == 1 or not all(_vectorisable(leaf, loop) for leaf in group.leaves):
            continue
        cost = sum(_cost(leaf, group, loop, width, target) for leaf in group.leaves)
        if cost <= best_cost:
            best, best_cost = loop, cost
    if best is not None:
        group.vector, group.width = best, _width(estimate(best.size), lanes)
        return
    for leaf, (loop, _) in zip(group.leaves, own, strict=True):
        if loop is not None:
            leaf.vector, leaf.width = loop, _width(estimate(loop.size), _lanes(leaf, target))


def _best_own(leaf: LeafPlan, group: GroupPlan, target: Target) -> tuple[Loop | None, float]:
    lanes = _lanes(leaf, target)
    best: Loop | None = None
    best_cost = _cost(leaf, group, None, 1, target)
    for loop in leaf.own:
        width = _width(estimate(loop.size), lanes)
        if width == 1 or not _vectorisable(leaf, loop):
            continue
        cost = _cost(leaf, group, loop, width, target)
        if cost < best_cost:
            best, best_cost = loop, cost
    return best, best_cost


def _width(size: int, lanes: int) -> int:
    """The vector length for a loop of this size: all lanes, or the largest power of two that fits."""
    while lanes > size:
        lanes //= 2
    return lanes if lanes >= 2 else 1


def _vectorisable(leaf: LeafPlan, loop: Loop) -> bool:
    for plan in leaf.stages:
        if loop.kind == "r" and loop in plan.loops and plan.stage.reduces and None in plan.stage.combiners:
            return False
        if loop.kind == "a" and any(f is None or f.terms.get(loop, 0) == 0 for f in plan.writes):
            return False
    return True


def _lanes(leaf: LeafPlan, target: Target) -> int:
    return target.lanes(max((widest_bytes(p.stage) for p in leaf.stages), default=8))


def widest_bytes(stage: Stage) -> int:
    """Bytes of the widest element the stage's body computes with (index values and truth values aside)."""
    if stage.block is None:
        return max(element_bytes(w.buffer.element) for w in stage.writes)
    types = [a.type for a in stage.block.args] + [r.type for op in stage.block.ops for r in op.results]
    return max((_bytes(t) for t in types), default=1)


def _bytes(element: Attribute) -> int:
    if isinstance(element, IndexType) or (isinstance(element, IntegerType) and element.width.data == 1):
        return 1
    return element_bytes(element)


def _work(leaf: LeafPlan, group: GroupPlan) -> int:
    n = 1
    for loop in (*leaf.own, *group.shared):
        n *= estimate(loop.size)
    return n


def _cost(leaf: LeafPlan, group: GroupPlan, loop: Loop | None, width: int, target: Target) -> float:
    """Estimated cycles of a leaf when this loop is vectorised (None: scalar code)."""
    flats = list(flats_of(leaf))
    ops = leaf_operations(leaf)
    work = _work(leaf, group)
    scalar = len(flats) + ops / 2
    if loop is None:
        return work * scalar
    writes = [f for plan in leaf.stages for f in plan.writes if f is not None]
    whole = {id(writes[k]) for members in whole_writes(writes, loop) for k in members}
    vector = ops / 2 + sum(
        cost(f.terms[loop]) if id(f) in whole or reads_whole(f, loop) else _access_cost(f, loop, width, group) for f in flats
    )
    full, rest = divmod(estimate(loop.size), width)
    extra = 8.0 if loop.kind == "r" else 0.0
    last = vector if rest and ends_in_mask([leaf], loop, width, target) else rest * scalar
    return work / estimate(loop.size) * (full * vector + last + extra)


def _access_cost(flat: Flat, loop: Loop, width: int, group: GroupPlan) -> float:
    stride = abs(estimate(flat.terms.get(loop, flat.lane or 0)))
    if stride <= 1:
        return 1.0 if stride else 0.2
    elementwise = not flat.buffer.written and not any(leaf.own for leaf in group.leaves)
    if elementwise and any(_transposable(flat, x, loop, width) for x in group.shared):
        return 0.5 * width
    return 1.5 * width


def _transposable(flat: Flat, along: Loop, vector: Loop, width: int) -> bool:
    """Whether the access is contiguous along another loop, far enough to load squares and turn them."""
    if along is vector or estimate(along.size) < width or flat.terms.get(along) != 1 or flat.buffer.element == i1:
        return False
    return abs(estimate(flat.terms.get(vector, 0))) > 1


def _best_tile(group: GroupPlan) -> Loop | None:
    """The loop along which most strided operands of an elementwise group are contiguous."""
    if group.vector is None or group.copies > 1 or group.width < 4 or any(leaf.own for leaf in group.leaves):
        return None
    best, best_count = None, 0
    for loop in group.shared:
        count = sum(
            not f.buffer.written and _transposable(f, loop, group.vector, group.width) for f in group.flats
        )
        if count > best_count:
            best, best_count = loop, count
    return best


# Loop order, register copies


def _order(group: GroupPlan, target: Target) -> None:
    """Largest strides outermost; inside, however, the loops of folds whose every turn reads a large operand again.

    A leaf's folds run inside its parallel loops, its vector loop innermost of its kind.
    """
    again = {x for x in group.shared if _read_again(group, x) > target.l2_bytes // 2}
    group.shared.sort(key=lambda x: (x is group.vector, x in again, -_stride(x, group)))
    for leaf in group.leaves:
        if any(x.kind == "a" for x in leaf.own):
            parallel = sorted((x for x in leaf.own if x.kind == "p"), key=lambda x: -_stride(x, group))
            leaf.own = parallel + [x for x in leaf.own if x.kind != "p"]
            continue
        leaf.own.sort(key=lambda x: (x.kind == "r", x is leaf.vector, -_stride(x, group)))


def _read_again(group: GroupPlan, loop: Loop) -> int:
    """Bytes of the largest operand of a fold that does not move with this loop."""
    return max(
        (
            element_bytes(f.buffer.element) * prod(estimate(x.size) for x, step in f.terms.items() if estimate(step))
            for leaf in group.leaves if any(x.kind == "r" for x in leaf.own)
            for f in flats_of(leaf) if not estimate(f.terms.get(loop, 0))
        ),
        default=0,
    )  # fmt: skip


def _stride(loop: Loop, group: GroupPlan) -> int:
    return max((abs(estimate(f.terms.get(loop, 0))) for f in group.flats), default=0)


def is_window(leaf: LeafPlan) -> bool:
    """Whether the leaf's folds are so small that they are unrolled (the vector loop is never a fold then)."""
    n, ops = 1, leaf_operations(leaf)
    for loop in leaf.own:
        if loop.kind == "r":
            n *= loop.size
    if isinstance(n, Size):
        return False
    return (
        n <= UNROLLED_WINDOW and n * ops <= 256 and not (leaf.vector is not None and leaf.vector.kind == "r")
    )


def _choose_copies(group: GroupPlan) -> None:
    """How many vectors a fold carries side by side: enough accumulators to hide the latency of an add."""
    folds = [leaf for leaf in group.leaves if any(x.kind == "r" for x in leaf.own) and not is_window(leaf)]
    if group.vector is not None and folds:
        group.copies = _copies(estimate(group.vector.size) // group.width)
    for leaf in folds:
        if leaf.vector is not None:
            leaf.copies = _copies(estimate(leaf.vector.size) // leaf.width)


def _copies(blocks: int) -> int:
    for copies in (4, 2):
        if blocks >= copies:
            return copies
    return 1


# Threads


def _choose_tasks(group: GroupPlan, target: Target) -> None:
    work = sum(
        _work(leaf, group) * (1 + leaf_operations(leaf) // 4)
        for leaf in group.leaves
    )
    if work < target.parallel_work:
        return
    wanted = min(target.tasks, max(2, work // (target.parallel_work // 2)))
    prefix, outer = [], 1
    for loop in group.shared:
        kept = group.apart > 1 and loop is group.shared[-1] and prefix  # runs side by side stay with one task
        if loop not in (group.vector, group.tile, group.slid) and outer < wanted and not kept:
            prefix.append(loop)
            outer *= estimate(loop.size)
    blocks = 0 if group.vector is None else estimate(group.vector.size) // (group.width * group.copies)
    if group.slid is not None and outer == 1 and blocks < 2:
        prefix, outer = [group.slid], estimate(group.slid.size)
        group.slid, group.windows = None, 1  # threads share it
    if outer >= min(wanted, 4) or blocks <= outer:
        if prefix != group.shared[-1:] and group.shared[-1] in prefix:
            group.beside = group.apart = 1  # a task takes iterations of several loops as they come
        _split(group, prefix, prod(loop.size for loop in prefix), wanted, group.beside * group.apart)
    else:
        _split(group, [group.vector], group.vector.size, wanted, group.width * group.copies)


def _split(group: GroupPlan, loops: list[Loop], iterations: int, wanted: int, unit: int) -> None:
    """Cuts the iterations of these loops into at most `wanted` chunks of whole units."""
    units = -(-iterations // unit)
    group.chunk = -(-units // wanted) * unit
    group.split = loops
    if isinstance(group.chunk, Size):
        group.tasks = wanted  # the last ones may find nothing left
        return
    group.tasks = -(-iterations // group.chunk) if iterations else 1


# Row buffers


def _home_rows(group: GroupPlan) -> None:
    """Lane-interleaved when the group itself is vectorised.

    Small rows on the stack, others in scratch, one per task.
    """
    lanes = group.width * group.copies
    if group.beside > 1:
        widen_rows(group)
    for row in group.rows:
        if group.vector is not None:
            row.length *= lanes
        size = largest(row.length) * element_bytes(row.buffer.element)
        if size > ALLOCA_BYTES and group.behind is None:
            row.at = group.row_bytes
            group.row_bytes += aligned(size)
    if group.vector is not None:
        buffers = {row.buffer for row in group.rows}
        for flat in group.flats:
            if flat.buffer in buffers:
                flat.terms = {loop: c * lanes for loop, c in flat.terms.items()}
                flat.offset *= lanes
                flat.lane = 1
