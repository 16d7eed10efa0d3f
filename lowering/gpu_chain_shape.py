"""The shape of a sweep's tiles: what registers and shared memory hold, and whether warpgroups can make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dialects.nv_hopper import WGMMA_ROWS
from ..dialects.target import GpuTarget
from .gpu_chain_plan import CORE, MOST_SUMS, ChainPlan, Factor, Sweep
from .gpu_teams import WARP

RUN = 8
"""Elements of one asynchronous copy."""
SIDE = 16
WARPS = 4
STAGES = 2
BLOCK = 64
"""16-bit elements of 128 bytes: how wide the copy engine's boxes are."""
MOST_DIMENSIONS = 5
"""Of the copy engine's view of an array."""


@dataclass(frozen=True)
class Shape:
    """own, other: rows and columns of a block's tile; down: blocks of 16 (SIDE) rows per warp (thread).

    groups: of warps with 64 rows each, next to one that copies; 0: all threads do both.
    ahead: the next tile's matrices and the sums over this one are under way while elements are computed.
    """

    own: int
    other: int
    down: int
    threads: int
    shared_bytes: int
    groups: int = 0
    ahead: bool = False


def factors_of(plan: ChainPlan, sweep: Sweep) -> tuple[list[Factor], list[Factor]]:
    """The factors a block keeps, and those that pass by."""
    used = [plan.factors[e] for t in sweep.tiles for e in (t.left, t.right)] + [s.right for s in sweep.sums if s.right is not None]
    every = list(dict.fromkeys(used))
    return [f for f in every if f.role == sweep.own], [f for f in every if f.role != sweep.own]


def in_blocks(depth: int) -> int:
    """Elements of the blocks a depth lies in."""
    return -(-depth // BLOCK) * BLOCK


def choose_shape(plan: ChainPlan, sweep: Sweep, target: GpuTarget) -> Shape | None:
    """The largest tile whose sums fit a thread's registers and whose operands fit shared memory; None when none does."""
    sizes = plan.chain.sizes
    kept, passing = factors_of(plan, sweep)
    grouped = _group_shape(plan, sweep, target, kept, passing)
    if grouped is not None:
        return grouped
    depths = sum(plan.depths[s.right.depth] for s in sweep.sums if s.right is not None)
    for down, other in ((2, 64), (1, 64), (2, 32), (1, 32), (1, 16)) if plan.kind is not None else ((4, 64), (4, 32), (2, 32), (2, 16), (1, 16)):
        if plan.kind is not None:
            own = WARPS * CORE * down
            registers = down * (len(sweep.tiles) * other // 2 + depths // 2)
            rows = STAGES * other
            shared = sum(2 * n * (plan.depths[f.depth] + RUN) for fs, n in ((kept, own), (passing, rows)) for f in fs)
            if down == 2 and -(-sizes[sweep.own] // own) * plan.problems < target.processors:
                continue
        else:
            own = SIDE * down
            registers = down * (len(sweep.tiles) * other + depths) // SIDE
            shared = sum(4 * n * (plan.depths[f.depth] + 1) for fs, n in ((kept, own), (passing, other)) for f in fs)
            shared += 4 * own * (other + 1)
        if registers <= MOST_SUMS and shared + 1024 <= target.shared_bytes:
            return Shape(own, other, down, WARPS * WARP if plan.kind is not None else SIDE * SIDE, shared)
    return None


def _group_shape(plan: ChainPlan, sweep: Sweep, target: GpuTarget, kept: Sequence[Factor], passing: Sequence[Factor]) -> Shape | None:
    """Two warpgroups (one where there are few rows) of 64 rows each; None where wgmma and the copy engine do not take the factors."""
    sizes = plan.chain.sizes
    if not target.wgmma or plan.kind is None or not all(_fits_boxes(plan, f) for f in (*kept, *passing)):
        return None
    if sizes[sweep.own] < WGMMA_ROWS or sizes[sweep.other] < BLOCK:
        return None
    depths = sum(plan.depths[s.right.depth] for s in sweep.sums if s.right is not None)
    blocks = -(-sizes[sweep.own] // (2 * WGMMA_ROWS)) * plan.problems
    groups = 2 if sizes[sweep.own] > WGMMA_ROWS and blocks >= target.processors else 1
    for other in (128, 64, 32):
        registers = (len(sweep.tiles) * other + depths) // 2
        rows = [(f, groups * WGMMA_ROWS) for f in kept] + [(f, STAGES * other) for f in passing]
        shared = sum(2 * n * in_blocks(plan.depths[f.depth]) for f, n in rows)
        if other < 2 * sizes[sweep.other] and registers <= MOST_SUMS and shared + 2048 <= target.shared_bytes:
            packed = sum(other // 4 for s in sweep.sums if s.right is not None)
            ahead = _passes_apart(plan, sweep) and registers + packed <= MOST_SUMS
            return Shape(groups * WGMMA_ROWS, other, 1, (groups + 1) * WARPS * WARP, shared, groups, ahead)
    return None


def _passes_apart(plan: ChainPlan, sweep: Sweep) -> bool:
    """Whether what passes by is either of the matrices' products or of the sums over them: then a tile of the one can be there before
    the other's is free.
    """
    made = {plan.factors[e] for t in sweep.tiles for e in (t.left, t.right)}
    summed = {s.right for s in sweep.sums if s.right is not None}
    return bool(summed) and not made & summed


def _fits_boxes(plan: ChainPlan, factor: Factor) -> bool:
    """Whether the copy engine can bring a factor and wgmma multiply it: depth by depth in rows of 128 bytes, aligned, evenly apart."""
    place = factor.place
    if place is None or place.step(factor.depth) != 1:
        return False
    others = [step for role, step in place.steps if role != factor.depth]
    return not any(n % RUN or n < 0 for n in (*others, place.offset)) and len(others) < MOST_DIMENSIONS and place.step(factor.role) > 0
