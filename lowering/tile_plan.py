"""Plans a contraction for tile registers: a product of tiles takes 16 x 16 sums 64 bytes of depths further."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..dialects.sizes import Size, estimate
from ..dialects.target import Target
from .contraction_decision import FREE, Decision
from .contraction_covers import Panel, Tiles, panels_of, split
from .contraction_problem import Plan, Problem, iterations
from .grouped_plan import grouped_plan
from .tile_kind import TileKind
from .tile_packing import UNITS

SHAPES = ((2, 2), (1, 4), (4, 1))
"""Tiles of rows and of columns that the registers hold the sums of, with what is multiplied."""

DOT_COST, LOAD_COST, TURN_COST = 2.0, 16.0, 80.0  # of a row of a product of tiles; of a tile; of what is around a reduction
RESULT_COST = 8.0  # of a vector of results


def tile_plan(problem: Problem, target: Target, wanted: Decision = FREE) -> Plan | None:
    """The cheapest plan; see `grouped_plan`."""
    return grouped_plan(problem, target, wanted, lambda side: None if side.tiles is None else _TileUnit(side.tiles))


@dataclass(frozen=True)
class _TileUnit:
    kind: TileKind
    lanes: int = UNITS
    speedup: int = 8
    cache_bytes: int = 2 << 20
    any_size: bool = False

    def shapes(self, rows: int | Size, columns: int | Size) -> Iterator[tuple[tuple[Tiles, ...], tuple[Panel, ...]]]:
        for heights, vectors in SHAPES:
            yield split(rows, UNITS * heights), panels_of(columns, vectors, UNITS)

    def cost(self, plan: Plan, problem: Problem) -> float:
        kind, cost = self.kind, 0.0
        passes, steps = iterations((*plan.batch, *plan.outer, *plan.beside)), iterations(plan.reduction)
        terms = 1 if kind.parts == 1 else 3
        for t in plan.tiles:
            for p in plan.panels:
                heights = -(-t.size // UNITS)
                step = max(terms * DOT_COST * t.size * p.vectors, kind.parts * LOAD_COST * (heights + p.vectors))
                results = RESULT_COST * t.size * p.vectors * _result_weight(plan, problem)
                cost += passes * estimate(t.count) * estimate(p.count) * (steps * step + results + TURN_COST)
        return cost


def _result_weight(plan: Plan, problem: Problem) -> float:
    """How much more a vector of results costs than one that is written as it is."""
    return UNITS if any(plan.vector.strides[k] not in (0, 1) for k in problem.outputs) else 1.0
