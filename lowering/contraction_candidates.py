"""The best few plans of a contraction: what measuring tries beside the cost model's choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from ..dialects.target import Target
from .contraction_blocking import divided
from .contraction_choice import GROUPED, choice, like
from .contraction_decision import FREE, PACKS, PLAIN, Decision
from .contraction_cost import plain_cost
from .contraction_plan import tilings
from .contraction_problem import Plan, Problem

ALIKE = 2  # register tiles of one width and order of loops among the candidates
WORTH = 2.0  # times the least estimated cost: beyond that nothing is tried
LEAST_CHUNK = 64
WIDTHS = range(1, 5)  # of a panel that groups of depths are tried with


def candidates(problem: Problem, target: Target, count: int, wanted: Decision = FREE) -> list[Decision]:
    """At most so many plans with the least estimated cost, each whole: the cost model's own first, then other register tiles.

    wanted: words that all of them have. Empty where there is none.
    """
    chosen = choice(problem, target, wanted)
    ranked = sorted(tilings(problem, target, wanted), key=lambda tiling: tiling.cost)
    plain = plain_cost(problem, target)
    if not ranked:
        return []
    least = min(plain, ranked[0].cost)
    found = [PLAIN if chosen is None else chosen.decision]
    found += _by_groups(problem, target, wanted)
    alike: Counter[tuple[object, ...]] = Counter()
    for tiling in ranked:
        shape = tiling.shape
        kind = shape.swapped, shape.loop, shape.lanes, len(shape.inner), shape.apart, tiling.panels[0].vectors
        if len(found) >= count or tiling.cost > WORTH * least:
            break
        if alike[kind] < ALIKE:
            alike[kind] += 1
            found.append(divided(tiling.plan, problem, target, wanted).decision)
    if plain <= WORTH * least and not wanted and len(found) < count:
        found.append(PLAIN)
    return list(dict.fromkeys(found))


def _by_groups(problem: Problem, target: Target, wanted: Decision) -> list[Decision]:
    """One plan for each width of a panel and each unit that multiplies groups of depths, where the target has one."""
    widths = [width for width in WIDTHS if wanted.allows("vectors", width)]
    units = [unit for unit in GROUPED if wanted.allows_groups(unit)]
    plans = (GROUPED[unit](problem, target, replace(wanted, unit=unit, vectors=width)) for unit in units for width in widths)
    return [plan.decision for plan in plans if plan is not None]


def neighbours(problem: Problem, target: Target, decision: Decision) -> list[Decision]:
    """The plans that decide one word about memory otherwise: what is packed, chunks, stretches, blocks of rows, what is fetched ahead."""
    plan = like(problem, target, decision)
    if plan is None:
        return []
    found = [like(problem, target, replace(decision, **turn)) for turn in _turns(plan, target, problem.item_bytes)]
    return list(dict.fromkeys(p.decision for p in found if p is not None and p.decision != decision))


def _turns(plan: Plan, target: Target, item_bytes: int) -> Iterator[dict[str, object]]:
    """Words to change. Whether a sum is made in stretches depends on what is packed and on chunks: that is decided anew with them."""
    decision, outside = plan.decision, len(plan.outer)
    vectors = plan.blocks is None
    anew: dict[str, object] = {"stretches": None} if vectors else {}
    yield from ({"pack": pack, **anew} for pack in PACKS if vectors)
    yield from ({"chunks": n, **anew} for n in (1, 2 * plan.chunks, plan.chunks // 2) if 0 < n <= max(1, plan.steps // LEAST_CHUNK))
    yield from ({"stretches": n} for n in (1, 2 * plan.stretches, plan.stretches // 2) if n and vectors)
    shares = decision.block[1] if decision.block else 1
    yield from ({"block": (outside, n)} for n in (1, 2 * shares, shares // 2, 4 * shares) if n)
    yield from ({"block": (n, 1)} for n in (outside + 1, outside - 1) if n >= 0)
    ahead = target.ahead_bytes // item_bytes
    yield from ({"ahead": n, "runs": None} for n in (0, ahead, ahead // 2) if any(p.packed for p in plan.panels))
