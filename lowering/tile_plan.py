"""Plans a contraction for tile registers: which side lies in rows, which loop gives the depths of a block, what is copied.

A product of tiles takes 16 x 16 sums 64 bytes of depths further. The rows are read from where they lie if their depths are neighbours
and fill blocks; the columns are always copied, in groups of depths. Costs are in the units of `contraction_plan`, so that both kinds
of plans can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..dialects.sizes import Size, any_symbolic, estimate
from ..dialects.target import Target
from .contraction_blocking import row_blocks, shared_out, with_chunked_dim
from .contraction_decision import FREE, SIDES, Decision
from .contraction_match import Contraction
from .contraction_plan import Blocks, Dim, Panel, Plan, Problem, iterations, panels_of, sides_of, split, swapped_sides, turned
from .tile_kind import BLOCK_BYTES
from .tile_packing import UNITS, TilePacking

SHAPES = ((2, 2), (1, 4), (4, 1))
"""Tiles of rows and of columns that the registers hold the sums of, with what is multiplied."""

DOT_COST, LOAD_COST, TURN_COST = 2.0, 16.0, 80.0  # of a row of a product of tiles; of a tile; of what is around a reduction
RESULT_COST = 8.0  # of a vector of results
COPY_COSTS = (0.2, 0.3, 2.5)  # of an element copied in groups: along columns, along depths, one by one
CONVERT_COST = 0.3
MOVES = 3  # of a byte that is copied: it is read, and where it goes is read and written
SPEEDUP = 8  # of a product over multiply-adds: so much more work is worth a thread
CACHE_BYTES = 2 << 20  # the second cache of every processor that has tile registers
CHUNK_BLOCKS = 16


def tile_plan(problem: Problem, target: Target, wanted: Decision = FREE) -> Plan | None:
    """The cheapest plan, divided for caches and threads; None where tiles multiply nothing of it, or sizes that have to be known are not.

    wanted: what was decided by others.
    """
    if problem.tiles is None or not problem.reduction or any_symbolic(d.size for d in problem.reduction):
        return None
    sides = [(side, swapped_sides(problem) if side else problem) for side in (False, True) if wanted.allows("side", SIDES[side])]
    found = min((plan for side, turned_ in sides for plan in _candidates(turned_, side, target, wanted)), key=lambda plan: plan.cost, default=None)
    return None if found is None else _divided(found, problem, target, wanted)


def _candidates(problem: Problem, swapped: bool, target: Target, wanted: Decision) -> Iterator[Plan]:
    batch, rows, columns, reduction = sides_of(problem)
    kind = problem.tiles
    assert kind is not None
    for loop, vector in enumerate(columns):
        if isinstance(vector.size, Size) or not wanted.allows("loop", loop):
            continue
        beside = tuple(d for d in columns if d is not vector)
        for depth, depths in enumerate(reduction):
            loops = tuple(_blocks(d, kind.depth) if i == depth else d for i, d in enumerate(reduction))
            direct = kind.raw[0] and kind.parts == 1 and depths.strides[0] == 1 and depths.size % kind.depth == 0
            for row, tiled in enumerate(rows or [Dim(1, (0,) * len(vector.strides))]):
                outer = tuple(d for d in rows if d is not tiled)
                known = direct or not any_symbolic((tiled.size, *(d.size for d in (*outer, *batch))))
                if not known or not wanted.allows("row", row) or not wanted.allows("depth", depth):
                    continue
                for heights, vectors in SHAPES:
                    plan = Plan(
                        swapped, UNITS, tuple(batch), outer, beside, tiled, (), vector, split(tiled.size, UNITS * heights),
                        panels_of(vector.size, vectors, UNITS), loops, packs_rows=not direct, loop=loop,
                        blocks=Blocks(kind, depths, depth, row, depth),
                    )  # fmt: skip
                    if wanted.allows("rows", plan.tiles[0].size) and wanted.allows("vectors", plan.panels[0].vectors):
                        yield replace(plan, cost=_cost(plan, depths, problem, target))


def _blocks(d: Dim, depth: int) -> Dim:
    return Dim(-(-d.size // depth), tuple(s * depth for s in d.strides))


def _cost(plan: Plan, depths: Dim, problem: Problem, target: Target) -> float:
    kind = problem.tiles
    assert kind is not None
    passes, steps = iterations((*plan.batch, *plan.outer, *plan.beside)), iterations(plan.reduction)
    terms = 1 if kind.parts == 1 else 3
    cost = 0.0
    for t in plan.tiles:
        for p in plan.panels:
            heights = -(-t.size // UNITS)
            step = max(terms * DOT_COST * t.size * p.vectors, kind.parts * LOAD_COST * (heights + p.vectors))
            results = RESULT_COST * t.size * p.vectors * _result_weight(plan, problem)
            cost += passes * estimate(t.count) * p.count * (steps * step + results + TURN_COST)
    sides = [(plan.tiled, 0, iterations((*plan.batch, *plan.outer, plan.tiled))) if plan.packs_rows else None]
    if not problem.ahead[1]:
        columns = sum(p.count * p.vectors for p in plan.panels) * UNITS
        sides.append((plan.vector, 1, iterations((*plan.batch, *plan.beside)) * columns))
    for across, side, count in filter(None, sides):
        lines = count * steps * kind.parts
        each = _copy_cost(across.strides[side], depths.strides[side], kind.raw[side])
        moved = MOVES * BLOCK_BYTES * target.read_cost(lines * BLOCK_BYTES)
        cost += lines * (kind.depth * each + moved)
    return cost


def _result_weight(plan: Plan, problem: Problem) -> float:
    """How much more a vector of results costs than one that is written as it is."""
    return UNITS if any(plan.vector.strides[k] not in (0, 1) for k in problem.outputs) else 1.0


def _copy_cost(across: int, along: int, raw: bool) -> float:
    by_columns, by_depths, one_by_one = COPY_COSTS
    return (by_depths if along == 1 else by_columns if across == 1 else one_by_one) + (0.0 if raw else CONVERT_COST)


# -- tasks and blocks ------------------------------------------------------------------------------


def _divided(plan: Plan, problem: Problem, target: Target, wanted: Decision) -> Plan:
    """The plan with its row loops outside and inside the panels, and its parts for threads."""
    blocks = plan.blocks
    assert blocks is not None
    problem = replace(
        swapped_sides(problem) if plan.swapped else problem, item_bytes=BLOCK_BYTES * blocks.kind.parts, sum_bytes=4
    )  # fmt: skip
    tasks = target.tasks if problem.work >= SPEEDUP * target.parallel_work else 1
    chunks = wanted.chunks or _chunk_count(plan, tasks)
    if chunks > 1:
        counted = plan.reduction[blocks.at]
        plan = replace(plan, reduction=with_chunked_dim(plan.reduction, chunks))
        at = next(i for i, d in enumerate(plan.reduction) if d is counted)
        plan = replace(plan, chunks=min(chunks, plan.reduction[0].size), blocks=blocks._replace(at=at))
    cache = replace(target, l2_bytes=CACHE_BYTES)
    outside, row_parts = row_blocks(plan if plan.packs_rows else _in_blocks(plan, blocks.kind.depth), problem, cache, wanted)
    plan = replace(plan, outer=plan.outer[:outside], within=plan.outer[outside:], row_parts=row_parts)
    return shared_out(plan, -(-tasks // plan.chunks))


def _chunk_count(plan: Plan, wanted: int) -> int:
    """Parts of the reduction that are summed on their own, where tasks are too few."""
    rows = iterations(plan.outer) * sum(estimate(t.count) for t in plan.tiles)
    tasks = iterations(plan.batch) * sum(p.count for p in plan.panels) * rows
    return max(1, min(-(-wanted // tasks), iterations(plan.reduction) // CHUNK_BLOCKS)) if tasks < wanted // 2 else 1


def _in_blocks(plan: Plan, depth: int) -> Plan:
    """The plan whose rows' side is blocks as far as its strides go: windows overlap in them."""

    def scaled(dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
        return tuple(Dim(d.size, (d.strides[0] // depth, *d.strides[1:])) for d in dims)

    return replace(plan, outer=scaled(plan.outer), tiled=scaled((plan.tiled,))[0], reduction=scaled(plan.reduction))


# -- copies ----------------------------------------------------------------------------------------


def tile_packings(contraction: Contraction, plan: Plan) -> tuple[TilePacking, TilePacking | None]:
    """The copies of the columns' side and, where it is copied, of the rows', of a contraction whose left side lies in rows."""
    blocks = plan.blocks
    assert blocks is not None
    kind = blocks.kind
    right, left = contraction.right.access, contraction.left.access
    reduction = tuple(blocks.depths if i == blocks.at else d for i, d in enumerate(plan.reduction))
    columns = TilePacking(
        right.buffer, right.offset, kind.element, UNITS, (*plan.batch, *plan.beside), plan.vector, reduction, plan.panels,
        blocked=blocks.at, raw=kind.raw[1], parts=kind.parts,
    )  # fmt: skip
    if not plan.packs_rows:
        return columns, None
    tiles = tuple(Panel(t.size, t.count, t.start, 1, True) for t in plan.tiles)
    slots, rows = turned((*plan.batch, *plan.outer, *plan.within)), turned((plan.tiled,))[0]
    return columns, TilePacking(
        left.buffer, left.offset, kind.element, 1, slots, rows, turned(reduction), tiles,
        blocked=blocks.at, of_rows=True, raw=kind.raw[0], parts=kind.parts,
    )  # fmt: skip
