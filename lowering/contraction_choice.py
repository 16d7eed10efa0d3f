"""Which plan a contraction gets: register tiles of vectors, by multiply-adds or by sums of several products, tile registers, or plain loops."""

from __future__ import annotations

from functools import lru_cache

from ..dialects.target import Target
from .contraction_blocking import divided
from .contraction_decision import FREE, Decision
from .contraction_cost import plain_cost
from .contraction_plan import SMALL_WORK, make_plan
from .contraction_problem import Plan, Problem
from .dot_plan import dot_plan
from .tile_plan import tile_plan

GROUPED = {"tiles": tile_plan, "dots": dot_plan}
"""Plans by groups of depths, by the unit that multiplies."""


def choice(problem: Problem, target: Target, wanted: Decision = FREE) -> Plan | None:
    """The cheapest plan, divided for caches and threads; None for plain loops. wanted: as far as it was decided, see `like`."""
    if problem.is_static:  # else what the choice relies on is noted each time
        return _known_choice(problem, target, wanted)
    return _choice(problem, target, wanted)


def _choice(problem: Problem, target: Target, wanted: Decision) -> Plan | None:
    vectors = make_plan(problem, target, wanted) if wanted.allows("unit", "vectors") else None
    large = problem.work >= SMALL_WORK or bool(wanted)
    plans = [plan(problem, target, wanted) for unit, plan in GROUPED.items() if large and wanted.allows_groups(unit)]
    grouped = min((plan for plan in plans if plan is not None), key=lambda plan: plan.cost, default=None)
    other = plain_cost(problem, target) if vectors is None else vectors.cost
    if grouped is not None and (grouped.cost < other or wanted.unit in GROUPED):
        return grouped
    return None if vectors is None else divided(vectors, problem, target, wanted)


@lru_cache(maxsize=1 << 10)
def _known_choice(problem: Problem, target: Target, wanted: Decision) -> Plan | None:
    """Equal layers are equal problems, and each is asked for several times on its way to loops."""
    return _choice(problem, target, wanted)


def like(problem: Problem, target: Target, decision: Decision) -> Plan | None:
    """The plan a decision describes; None where there is none like it, or it is plain."""
    plan = choice(problem, target, decision)
    return None if plan is None or decision.missed(plan.decision) else plan
