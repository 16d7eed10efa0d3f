"""Plans a contraction whose depths are multiplied in groups: which side lies in rows, which loop gives the depths, what is copied.

A step takes every sum a word of 32 bits of depths further (vectors) or 16 of them (tile registers). The rows are read from where they lie
if their depths are neighbours and fill steps, else from a copy: tile by tile, or of each element once (`row_box`). The columns are
always copied. Sizes may be known at the call only where the unit takes such (`Unit.any_size`): copies are as large as
the largest asks for then, and what fills a block in part is read under masks. Costs are in the units of `contraction_cost`, so that all kinds of plans can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Protocol

from ..dialects.sizes import Size, any_symbolic, estimate, same
from ..dialects.target import Target
from .contraction_blocking import asked_ahead, in_runs, row_blocks, shared_out, with_chunked_dim
from .contraction_decision import SIDES, Decision
from .contraction_match import Contraction
from .contraction_covers import Panel, Tiles
from .contraction_problem import Blocks, Dim, Plan, Problem, iterations, panel_count, sides_of, swapped_sides, turned
from .loop_writer import bytes_of
from .row_box import RowBox, row_box
from .tile_kind import TILE_WORDS, WORD_BYTES, TileKind
from .tile_packing import TilePacking

COPY_COSTS = (0.2, 0.3, 2.5)  # of an element copied in groups: along columns, along depths, one by one
CONVERT_COST = 0.3
MOVES = 3  # of a byte that is copied: it is read, and where it goes is read and written
CHUNK_WORDS = 256


class Unit(Protocol):
    """What multiplies. lanes: columns of a vector. speedup: of a product over multiply-adds: so much more work is worth a thread.
    cache_bytes: the second cache of processors that have it. any_size: whether depths and columns may be known at the call only, and rows that are copied.
    """

    kind: TileKind
    lanes: int
    speedup: int
    cache_bytes: int
    any_size: bool

    def shapes(self, rows: int | Size, columns: int | Size) -> Iterable[tuple[tuple[Tiles, ...], tuple[Panel, ...]]]:
        """Ways to cover rows and columns."""
        ...

    def cost(self, plan: Plan, problem: Problem) -> float:
        """Of the products of a plan and what becomes of them, without copies."""
        ...


def grouped_plan(problem: Problem, target: Target, wanted: Decision, unit_of: Callable[[Problem], Unit | None]) -> Plan | None:
    """The cheapest plan, divided for caches and threads; None where the unit multiplies nothing of it, or sizes that have to be known are not.

    wanted: what was decided by others.
    """
    unit = unit_of(problem)
    if unit is None or not problem.reduction or (any_symbolic(d.size for d in problem.reduction) and not unit.any_size):
        return None
    sides = [(side, swapped_sides(problem) if side else problem) for side in (False, True) if wanted.allows("side", SIDES[side])]
    found = min((plan for side, turned_ in sides for plan in _candidates(turned_, side, target, wanted, unit_of)), key=lambda plan: plan.cost, default=None)
    return None if found is None else _divided(found, problem, target, wanted, unit)


def _candidates(problem: Problem, swapped: bool, target: Target, wanted: Decision, unit_of: Callable[[Problem], Unit | None]) -> Iterator[Plan]:
    batch, rows, columns, reduction = sides_of(problem)
    unit = unit_of(problem)
    assert unit is not None
    kind = unit.kind
    for loop, vector in enumerate(columns):
        if (isinstance(vector.size, Size) and not unit.any_size) or not wanted.allows("loop", loop):
            continue
        beside = tuple(d for d in columns if d is not vector)
        for depth, depths in enumerate(reduction):
            loops = tuple(_steps(d, kind.depth) if i == depth else d for i, d in enumerate(reduction))
            whole = same(depths.strides[0], 1) and same(depths.size % kind.depth, 0)
            direct = kind.raw[0] and kind.parts == 1 and whole and not kind.biased
            for row, tiled in enumerate(rows or [Dim(1, (0,) * len(vector.strides))]):
                outer = tuple(d for d in rows if d is not tiled)
                known = direct or unit.any_size or not any_symbolic((tiled.size, *(d.size for d in (*outer, *batch))))
                if not known or not wanted.allows("row", row) or not wanted.allows("depth", depth):
                    continue
                shapes = list(unit.shapes(tiled.size, vector.size))
                plan = Plan(
                    swapped, unit.lanes, tuple(batch), outer, beside, tiled, (), vector, (), (), loops, packs_rows=not direct, loop=loop,
                    blocks=Blocks(kind, depths, depth, row, depth),
                )  # fmt: skip
                ways = [plan] if direct else [plan, *_from_box(plan, unit)]
                for plan, (tiles, panels) in product([w for w in ways if wanted.allows("copy", w.copy)], shapes):
                    if wanted.allows("rows", tiles[0].size) and wanted.allows("vectors", panels[0].vectors):
                        plan = replace(plan, tiles=tiles, panels=panels)
                        yield replace(plan, cost=unit.cost(plan, problem) + _copies_cost(plan, depths, problem, target))


def _from_box(plan: Plan, unit: Unit) -> Iterator[Plan]:
    """The plan with the rows' side read from a copy that holds every element once."""
    blocks = plan.blocks
    assert blocks is not None
    steps = tuple(blocks.depths if i == blocks.at else d for i, d in enumerate(plan.reduction))
    box = row_box((*plan.batch, *plan.outer, plan.tiled, *steps), blocks.depths, unit.kind, unit.lanes)
    if box is None:
        return

    def moved(dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
        return tuple(map(box.moved, dims))

    order = sorted(range(len(steps)), key=lambda i: -box.moved(steps[i]).strides[0])  # as in the copy, where depths are neighbours
    reduction = tuple(_steps(box.moved(d), unit.kind.depth) if i == blocks.at else box.moved(d) for i, d in ((i, steps[i]) for i in order))
    yield replace(
        plan, batch=moved(plan.batch), outer=moved(plan.outer), tiled=box.moved(plan.tiled), reduction=reduction, packs_rows=False,
        blocks=blocks._replace(box=box, at=order.index(blocks.at)),
    )  # fmt: skip


def _steps(d: Dim, depth: int) -> Dim:
    return Dim(-(-d.size // depth), tuple(s * depth for s in d.strides))


def _copies_cost(plan: Plan, depths: Dim, problem: Problem, target: Target) -> float:
    blocks = plan.blocks
    assert blocks is not None
    kind, steps, cost = blocks.kind, iterations(plan.reduction), 0.0
    sides = [(plan.tiled, 0, iterations((*plan.batch, *plan.outer, plan.tiled))) if plan.packs_rows else None]
    if not problem.ahead[1]:
        columns = sum(estimate(p.count) * p.vectors for p in plan.panels) * plan.lanes
        sides.append((plan.vector, 1, iterations((*plan.batch, *plan.beside)) * columns))
    for across, side, count in filter(None, sides):
        copied = count * steps * kind.parts
        each = _copy_cost(estimate(across.strides[side]), estimate(depths.strides[side]), kind.raw[side])
        step_bytes = WORD_BYTES * kind.words
        moved = MOVES * step_bytes * target.read_cost(copied * step_bytes)
        cost += copied * (kind.depth * each + moved)
    return cost if blocks.box is None else cost + _box_cost(blocks.box, kind, plan.lanes, target)


def _box_cost(box: RowBox, kind: TileKind, words: int, target: Target) -> float:
    """Of a copy of each element once: in vectors where there are enough neighbours to fill one."""
    across, along = (axis.apart if estimate(axis.size) >= least else 0 for axis, least in ((box.rows, words), (box.depths, words * kind.group)))
    bytes_ = bytes_of(kind.element)
    elements = estimate(box.elements)
    return elements * (_copy_cost(across, along, kind.raw[0]) + MOVES * bytes_ * target.read_cost(elements * bytes_))


def _copy_cost(across: int, along: int, raw: bool) -> float:
    by_columns, by_depths, one_by_one = COPY_COSTS
    return (by_depths if along == 1 else by_columns if across == 1 else one_by_one) + (0.0 if raw else CONVERT_COST)


# -- tasks and blocks ------------------------------------------------------------------------------


def _divided(plan: Plan, problem: Problem, target: Target, wanted: Decision, unit: Unit) -> Plan:
    """The plan with its row loops outside and inside the panels, and its parts for threads."""
    blocks = plan.blocks
    assert blocks is not None
    step_bytes = WORD_BYTES * blocks.kind.words * blocks.kind.parts
    problem = replace(swapped_sides(problem) if plan.swapped else problem, item_bytes=step_bytes, sum_bytes=WORD_BYTES)
    tasks = target.tasks if problem.work >= unit.speedup * target.parallel_work else 1
    chunks = wanted.chunks or _chunk_count(plan, tasks)
    if chunks > 1:
        counted = plan.reduction[blocks.at]
        plan = replace(plan, reduction=with_chunked_dim(plan.reduction, chunks))
        at = next(i for i, d in enumerate(plan.reduction) if d is counted)
        plan = replace(plan, chunks=min(chunks, estimate(plan.reduction[0].size)), blocks=blocks._replace(at=at))
    cache = replace(target, l2_bytes=unit.cache_bytes)
    outside, row_parts = row_blocks(plan if plan.packs_rows else _in_steps(plan, blocks.kind.depth), problem, cache, wanted)
    plan = replace(plan, outer=plan.outer[:outside], within=plan.outer[outside:], row_parts=row_parts)
    if blocks.kind.unit == "dots":
        plan = in_runs(plan, problem, target, wanted, bool(asked_ahead(plan, problem, target)))
    return shared_out(plan, -(-tasks // plan.chunks))


def _chunk_count(plan: Plan, wanted: int) -> int:
    """Parts of the reduction that are summed on their own, where tasks are too few."""
    assert plan.blocks is not None
    rows = iterations(plan.outer) * sum(estimate(t.count) for t in plan.tiles)
    tasks = iterations(plan.batch) * panel_count(plan.panels) * rows
    most = iterations(plan.reduction) * plan.blocks.kind.words // CHUNK_WORDS
    return max(1, min(-(-wanted // tasks), most)) if tasks < wanted // 2 else 1


def _in_steps(plan: Plan, depth: int) -> Plan:
    """The plan whose rows' side is steps as far as its strides go: windows overlap in them."""

    def scaled(dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
        return tuple(Dim(d.size, (d.strides[0] // depth, *d.strides[1:])) for d in dims)

    return replace(plan, outer=scaled(plan.outer), tiled=scaled((plan.tiled,))[0], reduction=scaled(plan.reduction))


# -- copies ----------------------------------------------------------------------------------------


def box_packing(contraction: Contraction, plan: Plan) -> TilePacking | None:
    """The copy of the rows' side that holds every element once, of a plan that has one; its left side lies in rows."""
    blocks, left = plan.blocks, contraction.left.access
    return None if blocks is None or blocks.box is None else blocks.box.packing(left.buffer, left.offset, blocks.kind, plan.lanes)


def grouped_packings(contraction: Contraction, plan: Plan) -> tuple[TilePacking, TilePacking | None]:
    """The copies of the columns' side and, where it is copied, of the rows', of a contraction whose left side lies in rows."""
    blocks = plan.blocks
    assert blocks is not None
    kind = blocks.kind
    right, left = contraction.right.access, contraction.left.access
    reduction = tuple(blocks.depths if i == blocks.at else d for i, d in enumerate(plan.reduction))
    in_blocks = kind.words == TILE_WORDS
    columns = TilePacking(
        right.buffer, right.offset, kind.element, plan.lanes, (*plan.batch, *plan.beside), plan.vector, reduction, plan.panels,
        blocked=blocks.at, raw=kind.raw[1], parts=kind.parts, in_blocks=in_blocks, words=plan.lanes,
    )  # fmt: skip
    if not plan.packs_rows:
        return columns, None
    tiles = tuple(Panel(t.size, t.count, t.start, 1, True) for t in plan.tiles)
    slots, rows = turned((*plan.batch, *plan.outer, *plan.within)), turned((plan.tiled,))[0]
    return columns, TilePacking(
        left.buffer, left.offset, kind.element, 1, slots, rows, turned(reduction), tiles,
        blocked=blocks.at, of_rows=True, raw=kind.raw[0], parts=kind.parts, biased=kind.biased, in_blocks=in_blocks, words=plan.lanes,
    )  # fmt: skip
