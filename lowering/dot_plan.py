"""Plans a contraction for vectors that add several products to each sum at once: a register tile as of multiply-adds, whose steps are words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..dialects.sizes import Size, estimate
from ..dialects.target import Target
from .contraction_decision import FREE, Decision
from .contraction_cost import MOST_VECTORS, step_cost, store_cost
from .contraction_covers import Panel, Tiles, panels_of, split
from .contraction_problem import Plan, Problem, iterations
from .grouped_plan import grouped_plan
from .tile_kind import WORD_BYTES, TileKind

DOT_COSTS = {"bf16": 1.0, "i8": 1.0, "i16": 2.0}
"""Of a vector of words, in vector multiply-adds. Products of i16 are an instruction of their own, their sum another one."""

TURN_COST = 20.0  # of what is around a reduction
LEAST_LANES = 8


def dot_plan(problem: Problem, target: Target, wanted: Decision = FREE) -> Plan | None:
    """The cheapest plan; see `grouped_plan`."""
    if target.lanes(WORD_BYTES) < LEAST_LANES:
        return None
    return grouped_plan(problem, target, wanted, lambda side: None if side.dots is None else _DotUnit(side.dots, target))


@dataclass(frozen=True)
class _DotUnit:
    kind: TileKind
    target: Target
    any_size: bool = True

    @property
    def lanes(self) -> int:
        return self.target.lanes(WORD_BYTES)

    @property
    def speedup(self) -> int:
        return self.kind.group

    @property
    def cache_bytes(self) -> int:
        return self.target.l2_bytes

    def shapes(self, rows: int | Size, columns: int | Size) -> Iterator[tuple[tuple[Tiles, ...], tuple[Panel, ...]]]:
        for panels in dict.fromkeys(panels_of(columns, most, self.lanes) for most in range(1, MOST_VECTORS + 1)):
            width = panels[0].vectors
            # As for multiply-adds; a register for each vector that stands for what the rows' bias adds, and one for the bias.
            free = self.target.vector_registers - 2 - width - (width + 1 if self.kind.biased else 0)
            most = min(free // width, estimate(rows))
            yield from ((tiles, panels) for tiles in dict.fromkeys(split(rows, n) for n in range(1, most + 1)))

    def cost(self, plan: Plan, problem: Problem) -> float:
        passes, steps = iterations((*plan.batch, *plan.outer, *plan.beside)), iterations(plan.reduction)
        each, cost = DOT_COSTS[str(self.kind.element)], 0.0
        for t in plan.tiles:
            for p in plan.panels:
                panel_bytes = steps * p.vectors * self.lanes * WORD_BYTES
                read = t.size * WORD_BYTES + (p.vectors * self.target.vector_bytes if panel_bytes > self.target.l1_bytes else 0)
                step = step_cost(t.size + self.kind.biased, p.vectors, self.target, each) + read * self.target.streamed_cost
                cost += passes * estimate(t.count) * estimate(p.count) * (steps * step + TURN_COST)
        return cost + store_cost(plan, problem)
