"""The plan of a contraction: of the loop orders, vectors, register tiles and panels that can be, the one that costs least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import NamedTuple

from ..dialects.sizes import Size, any_symbolic, estimate
from ..dialects.target import Target
from .contraction_cost import MOST_VECTORS, TilingCost, plain_cost
from .contraction_covers import Panel, Tiles, panels_of, split
from .contraction_decision import FREE, SIDES, Decision
from .contraction_problem import Dim, Plan, Problem, sides_of, steps_of, swapped_sides

SMALL_WORK = 1 << 11


class Tiling(NamedTuple):
    """Register tiles and panels for one order of loops, with their cost."""

    cost: float
    shape: Plan
    tiles: tuple[Tiles, ...]
    panels: tuple[Panel, ...]

    @property
    def plan(self) -> Plan:
        """The schedule as one task."""
        return replace(self.shape, cost=self.cost, tiles=self.tiles, panels=self.panels)


def make_plan(problem: Problem, target: Target, wanted: Decision = FREE) -> Plan | None:
    """The cheapest schedule, as one task, or None when plain loops are at least as good (or wanted).

    wanted: what was decided by others; None where nothing is like that.
    """
    if wanted.plain or not problem.reduction or (problem.work < SMALL_WORK and not wanted):
        return None
    best = min(tilings(problem, target, wanted), key=lambda tiling: tiling.cost, default=None)
    return None if best is None or (not wanted and best.cost >= plain_cost(problem, target)) else best.plan


def tilings(problem: Problem, target: Target, wanted: Decision = FREE) -> Iterator[Tiling]:
    """All schedules that are looked at, with what follows from each about packing the columns."""
    for swapped in (False, True):
        if wanted.allows("side", SIDES[swapped]):
            yield from _tilings_of_side(swapped_sides(problem) if swapped else problem, swapped, target, wanted)


def _tilings_of_side(problem: Problem, swapped: bool, target: Target, wanted: Decision) -> Iterator[Tiling]:
    batch, rows, columns, reduction = sides_of(problem)
    most_lanes = target.lanes(problem.item_bytes)
    for number, vector in enumerate(columns):
        if not wanted.allows("loop", number):
            continue
        beside = [d for d in columns if d is not vector]
        direct = vector.strides[1] == 1
        for lanes in _lane_counts(vector.size, most_lanes, direct and not rows, target.half_cost < 1):
            base = Plan(
                swapped, lanes, tuple(batch), (), tuple(beside), Dim(1, vector.strides), (), vector, (),
                (), tuple(reduction), loop=number, limits=steps_of(problem)[1],
            )  # fmt: skip
            for shape in _row_orders(base, rows, target.vector_registers - 2) if wanted.allows("lanes", lanes) else ():
                if wanted.allows("inner", len(shape.inner)) and wanted.allows("apart", shape.apart):
                    yield from _tilings_of_shape(shape, problem, target, direct, wanted)


def _lane_counts(size: int | Size, most: int, narrow: bool, halves: bool) -> Iterator[int]:
    """Lanes of a vector; where nothing is used twice (narrow) also fewer, if that leaves no partly filled one to pack; where half a
    vector takes half the time (halves), half of them, if they would leave half a vector empty."""
    least = min(4, most)
    lanes = min(most, max(least, 1 << (estimate(size) - 1).bit_length()))
    yield lanes
    whole = lanes
    while not isinstance(size, Size) and size % lanes and lanes > least:
        lanes //= 2
        if (narrow and size % lanes == 0) or (halves and 2 * lanes == whole == most and -(-size // lanes) % 2):
            yield lanes


def _row_orders(base: Plan, rows: list[Dim], most: int) -> Iterator[Plan]:
    """Row shapes of the rows as they lie in memory, and of those with loops outside that limit the reduction."""
    yield from _row_shapes(base, rows, most)
    moving = [d for d in rows if any(d.strides[limit.number] for limit in base.limits)]
    for count in range(1, len(moving) + 1):
        order = [*moving[:count], *(d for d in rows if d not in moving[:count])]
        if order != rows:
            yield from _row_shapes(replace(base, apart=count), order, most)


def _row_shapes(base: Plan, rows: list[Dim], most: int) -> Iterator[Plan]:
    """Ways to take a tile from the row dims: all of the innermost ones, a part of the next."""
    if not rows:
        yield replace(base, tiled=Dim(1, (0,) * len(base.vector.strides)))
        return
    for q in range(len(rows) - 1, -1, -1):
        inside = rows[q + 1 :]
        if any_symbolic(d.size for d in inside) or prod(d.size for d in inside) > most:
            break
        yield replace(base, outer=tuple(rows[:q]), tiled=rows[q], inner=tuple(inside))


def _tilings_of_shape(shape: Plan, problem: Problem, target: Target, direct: bool, wanted: Decision) -> Iterator[Tiling]:
    """Ways to cover rows and columns with register tiles; none when not even one row fits."""
    registers = target.vector_registers
    cost_of = TilingCost(shape, problem, target, direct, wanted.packs("columns"))
    widths: set[tuple[Panel, ...]] = set()
    for most_vectors in range(1, min(MOST_VECTORS, -(-estimate(shape.vector.size) // shape.lanes)) + 1):
        panels = panels_of(shape.vector.size, most_vectors, shape.lanes)
        width = panels[0].vectors
        # One register more than the tile needs: a C compiler without one reads the panel from memory anew for every row.
        most_rows = min((registers - 2 - width) // width // shape.inner_rows, estimate(shape.tiled.size))
        if panels in widths or not wanted.allows("vectors", width):
            continue
        widths.add(panels)
        for tiles in dict.fromkeys(split(shape.tiled.size, rows) for rows in range(1, most_rows + 1)):
            if wanted.allows("rows", tiles[0].size):
                cost, packed = cost_of(tiles, panels)
                yield Tiling(cost, shape, tiles, packed)
