"""Stretches of a reduction: all tiles of a panel go over a part of it that the first cache holds before they go on to the next.

    for panel: for stretch: for tile: sums = out[tile]; sums += rows[tile, stretch] * panel[stretch]; out[tile] = sums

A panel longer than the first cache is read from the second one by every tile, and copied first so that it is read front to back.
A stretch of it is read from there once, where it lies. The sums are where the results will be, so nothing is added in another order.

Where the rows' side lies step by step, too (a weight's gradient), all panels go over a stretch together, and loops of rows and columns are
inside: what a stretch reads of either side is dense, and comes from afar once.

    for stretch: for panel: for tile: …

The same order serves few rows beside a large matrix that is read once, where it lies, line by line of it: what a stretch reads is a
few whole lines, where a panel alone would take a little of every one, each on another page. Where a processor follows several runs of
memory at once, a stretch is as many lines as that, twice, and panels are narrow: all lines of it advance together.
"""

from __future__ import annotations

from dataclasses import replace

from ..dialects.sizes import any_symbolic, estimate
from ..dialects.target import Target
from .contraction_decision import Decision
from .contraction_cost import DIRECT_ROW_BYTES, NARROW_VECTORS, may_stretch, steps_apart
from .contraction_covers import panels_of
from .contraction_problem import Plan, Problem, iterations

LEAST_TILES = 8  # of a panel: fewer read it too rarely
STREAMED_STEPS = 32  # of a stretch that few tiles read: whole lines of a matrix


def stretched(plan: Plan, problem: Problem, target: Target, wanted: Decision) -> Plan:
    """The plan with as many stretches as the first cache asks for, its panels not copied."""
    streams = _streams(plan, problem, target)
    many = (_streamed_count(plan, target) if streams else _count(plan, problem, target)) if wanted.stretches is None else wanted.stretches
    side = 0 if plan.swapped else 1
    copied = (problem.converts[side] and not streams) or problem.ahead[side] or wanted.packs("columns")
    if many == 1 or copied or not (streams or may_stretch(plan, problem, target)) or many > estimate(plan.reduction[0].size):
        return plan
    narrow = streams and target.streams > 1 and wanted.vectors is None
    panels = panels_of(plan.vector.size, min(NARROW_VECTORS, plan.panels[0].vectors), plan.lanes) if narrow else plan.panels
    panels = tuple(p._replace(packed=False) for p in panels)
    return replace(plan, stretches=many, together=streams or steps_apart(plan, problem), panels=panels)


def _streams(plan: Plan, problem: Problem, target: Target) -> bool:
    """Whether few tiles read a matrix from afar, where it lies, of whose lines a panel has a part."""
    vector, loops = plan.vector, plan.reduction
    if not problem.holds or len(loops) != 1 or steps_apart(plan, problem):
        return False
    if any_symbolic((loops[0].size, vector.size, plan.tiled.size, *loops[0].strides, *vector.strides)):
        return False
    whole = vector.strides[1] == vector.strides[problem.holds] == 1 and vector.size % plan.lanes == 0
    tiles = iterations(plan.outer) * sum(t.count for t in plan.tiles)
    far = iterations((*plan.beside, *loops)) * vector.size * problem.item_bytes > target.l2_bytes // 2
    apart = abs(loops[0].strides[1]) * problem.item_bytes >= DIRECT_ROW_BYTES and sum(p.count for p in plan.panels) > 1
    return whole and far and apart and tiles < LEAST_TILES and not any(p.packed for p in plan.panels)


def _streamed_count(plan: Plan, target: Target) -> int:
    return -(-estimate(plan.reduction[0].size) // (STREAMED_STEPS if target.streams == 1 else 2 * target.streams))


def _count(plan: Plan, problem: Problem, target: Target) -> int:
    """Stretches of a panel that fill the first cache; half of it where each line of the rows' side that a tile reads takes room, too."""
    panel = estimate(plan.steps) * plan.panels[0].vectors * plan.lanes * problem.item_bytes
    tiles = iterations(plan.outer) * sum(estimate(t.count) for t in plan.tiles)
    if tiles < LEAST_TILES:
        return 1
    count = -(-panel // target.l1_bytes)
    most = estimate(plan.reduction[0].size)
    return count if count > most or not steps_apart(plan, problem) else min(2 * count, most)
