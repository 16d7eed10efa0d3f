"""Stretches of a reduction: all tiles of a panel go over a part of it that the first cache holds before they go on to the next.

    for panel: for stretch: for tile: sums = out[tile]; sums += rows[tile, stretch] * panel[stretch]; out[tile] = sums

A panel longer than the first cache is read from the second one by every tile, and copied first so that it is read front to back.
A stretch of it is read from there once, where it lies. The sums are where the results will be, so nothing is added in another order.

Where the rows' side lies step by step, too (a weight's gradient), all panels go over a stretch together, and loops of rows and columns are
inside: what a stretch reads of either side is dense, and comes from afar once.

    for stretch: for panel: for tile: …
"""

from __future__ import annotations

from dataclasses import replace

from ..dialects.sizes import estimate
from ..dialects.target import Target
from .contraction_decision import Decision
from .contraction_plan import Plan, Problem, iterations, may_stretch, steps_apart

LEAST_TILES = 8  # of a panel: fewer read it too rarely


def stretched(plan: Plan, problem: Problem, target: Target, wanted: Decision) -> Plan:
    """The plan with as many stretches as the first cache asks for, its panels not copied."""
    count = _count(plan, problem, target) if wanted.stretches is None else wanted.stretches
    side = 0 if plan.swapped else 1
    copied = problem.converts[side] or problem.ahead[side] or wanted.packs("columns")
    if count == 1 or copied or not may_stretch(plan, problem, target) or count > estimate(plan.reduction[0].size):
        return plan
    panels = tuple(p._replace(packed=False) for p in plan.panels)
    return replace(plan, stretches=count, together=steps_apart(plan, problem), panels=panels)


def _count(plan: Plan, problem: Problem, target: Target) -> int:
    """Stretches of a panel that fill the first cache; half of it where each line of the rows' side that a tile reads takes room, too."""
    panel = estimate(plan.steps) * plan.panels[0].vectors * plan.lanes * problem.item_bytes
    tiles = iterations(plan.outer) * sum(estimate(t.count) for t in plan.tiles)
    if tiles < LEAST_TILES:
        return 1
    count = -(-panel // target.l1_bytes)
    most = estimate(plan.reduction[0].size)
    return count if count > most or not steps_apart(plan, problem) else min(2 * count, most)
