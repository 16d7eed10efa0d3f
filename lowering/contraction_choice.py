"""Which plan a contraction gets: register tiles of vectors, tile registers where the target has them, or plain loops."""

from __future__ import annotations

from ..dialects.target import Target
from .contraction_blocking import divided
from .contraction_decision import FREE, Decision
from .contraction_plan import SMALL_WORK, Plan, Problem, make_plan, plain_cost
from .tile_plan import tile_plan


def choice(problem: Problem, target: Target, wanted: Decision = FREE) -> Plan | None:
    """The cheapest plan, divided for caches and threads; None for plain loops. wanted: as far as it was decided, see `like`."""
    vectors = make_plan(problem, target, wanted) if wanted.allows("unit", "vectors") else None
    large = problem.work >= SMALL_WORK or bool(wanted)
    tiles = tile_plan(problem, target, wanted) if large and wanted.allows_tiles else None
    other = plain_cost(problem, target) if vectors is None else vectors.cost
    if tiles is not None and (tiles.cost < other or wanted.unit == "tiles"):
        return tiles
    return None if vectors is None else divided(vectors, problem, target, wanted)


def like(problem: Problem, target: Target, decision: Decision) -> Plan | None:
    """The plan a decision describes; None where there is none like it, or it is plain."""
    plan = choice(problem, target, decision)
    return None if plan is None or decision.missed(plan.decision) else plan
