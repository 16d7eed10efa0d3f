"""What a schedule of a contraction costs, in processor cycles, roughly; only their order matters.

A tile of ``rows x vectors`` accumulators is fed, per step of the reduction, by ``vectors`` vector loads and ``rows`` broadcast scalars.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache, partial
from math import prod

from ..dialects.sizes import Size, any_symbolic, estimate, same
from ..dialects.target import Target
from .contraction_covers import Panel, Tiles, tail_pieces
from .contraction_limits import Limit, kept, way_of
from .contraction_problem import Dim, Plan, Problem, contiguous_run, footprint, iterations, panel_count

DIRECT_ROW_BYTES = 1024  # rows of the vector side this far apart share cache sets; a copy pays when it is read often
FAR_ROW_BYTES = 2048  # between rows of the vector side: even a part of a panel lies on too many pages, and in few sets of the first cache
PACK_REUSE, NEAR_PACK_REUSE = 3, 6  # times such rows are read before a copy pays; near: all of them stay in the second cache
MOST_VECTORS, NARROW_VECTORS = 8, 2  # of a panel; of one that still feeds its multiply-adds
ROW_REUSE = 4  # panels that read a row's elements before a copy of them pays
PANEL_BYTE = 0.1  # cost of a panel's byte from the second cache where limits favour tiles of few rows: too few multiply-adds to hide it
CONVERT_COST = 1.0  # of a vector of 16-bit floats that is widened where it is read
MOST_UNROLLED = 64  # steps of a sum that plain loops spell out
LINE_BYTES, CACHE_SETS, CACHE_WAYS = 64, 64, 8  # of a first-level cache, the same nearly everywhere


def plain_cost(problem: Problem, target: Target) -> float:
    """What untiled loops cost: one vector load per multiply-add and side, along the sum, or along the result where few steps are unrolled
    and no row could use a column again (depthwise convolutions); scalars when nothing is contiguous.
    """
    lanes = target.lanes(problem.item_bytes)
    contiguous = any(d.strides[0] == 1 and d.strides[1] == 1 and estimate(d.size) >= lanes for d in problem.reduction)
    results = iterations(problem.parallel)
    scalars = problem.work / lanes * 2.5 + results * 12 if contiguous else problem.work * 1.0
    steps = iterations(problem.reduction)
    beside = [
        d for d in problem.parallel
        if steps <= MOST_UNROLLED and d.strides[problem.outputs[0]] == 1 and {*d.strides[:2]} == {0, 1} and not _used_again(problem, d)
    ]  # fmt: skip
    each = 2.5 + CONVERT_COST * any(problem.converts)
    return min([scalars, *(problem.work / d.size * _pieces(d.size, lanes) * each for d in beside if not isinstance(d.size, Size))])


def _used_again(problem: Problem, column: Dim) -> bool:
    """Whether a loop that only the other side has goes over the columns again."""
    mine = 0 if column.strides[0] else 1
    return any(d.strides[1 - mine] and not d.strides[mine] for d in problem.parallel)


def _pieces(size: int, lanes: int) -> int:
    """Vectors of whole and shorter lengths, and single elements, that cover a row."""
    rest = size % lanes
    return size // lanes + (rest // 4).bit_count() + rest % 4


@lru_cache(maxsize=4096)
class TilingCost:
    """Cost of a tiling of one shape; what does not depend on the tiling is found once."""

    def __init__(self, shape: Plan, problem: Problem, target: Target, direct: bool, packs: bool | None) -> None:
        self.shape = shape
        self.target = target
        self.problem = problem
        self.copied, self.converts = not direct, direct and problem.converts[1]
        self.stretches = not self.copied and not self.converts and not problem.ahead[1] and may_stretch(shape, problem, target)
        self.packs = packs
        self.passes = iterations((*shape.batch, *shape.outer, *shape.beside))
        self.beside = iterations(shape.beside)
        self.rows = shape.inner_rows
        self.steps = estimate(shape.steps)
        self.turns = 4 * self.steps / max(1, estimate(shape.reduction[-1].size)) + 12
        self.outer = iterations(shape.outer)
        self.part = target.part_cost(shape.lanes * problem.item_bytes)
        self.stores = self.part * store_cost(shape, problem)
        self.pack = 0.0 if problem.ahead[1] else _pack_cost(shape, problem, target)
        self.lines = 0.0 if self.stretches else _line_cost(shape, problem, target)
        self.left = tuple(lru_cache(maxsize=None)(partial(_kept, shape, limit)) for limit in shape.limits)
        self.far = abs(estimate(shape.reduction[-1].strides[1])) * problem.item_bytes >= DIRECT_ROW_BYTES
        side_bytes = self.steps * estimate(shape.vector.size) * problem.item_bytes
        self.reuse = NEAR_PACK_REUSE if side_bytes <= target.l2_bytes // 4 else PACK_REUSE

    def __call__(
        self, tiles: tuple[Tiles, ...], panels: tuple[Panel, ...]
    ) -> tuple[float, tuple[Panel, ...]]:
        """The cost, and the panels with their decision about packing."""
        cost, lines = 0.0, self.lines if panel_count(panels) * self.beside < ROW_REUSE else 0.0  # else rows are copied
        again = self.converts and sum(estimate(t.count) for t in tiles) * self.outer > 1  # converted by every tile
        for t in tiles:
            crowded = 2.0 * _crowded_rows(self.shape, t.size, self.problem.item_bytes)
            steps = self.steps * prod(left(t.size) for left in self.left)
            for p in panels:
                step = step_cost(t.size * self.rows, p.vectors, self.target, self.problem.each, self.part) + self._streamed(t.size * self.rows, p.vectors) + crowded
                if self.left:
                    step = max(step, p.vectors * self.shape.lanes * self.problem.item_bytes * PANEL_BYTE)
                step += 0.0 if again or not self.converts else CONVERT_COST * p.vectors
                cost += estimate(t.count) * estimate(p.count) * (steps * (step + lines) + self.turns)
        # Panels whose rows lie far apart in memory are worth a copy when they are read many times.
        pays = self.far and sum(estimate(t.count) for t in tiles) * self.outer >= self.reuse
        packs = self.copied or again or self.problem.ahead[1] or (pays if self.packs is None else self.packs)
        panels = tuple(p._replace(packed=packs or p.tail < self.shape.lanes) for p in panels)
        pack = self.pack * sum(estimate(p.count) * p.vectors for p in panels if p.packed)
        return cost * self.passes + pack + self.stores + 40 * len(tiles) * len(panels), panels

    def _streamed(self, rows: int, vectors: int) -> float:
        """What a step reads from the second cache: the rows, which others read in between, and a panel the first one does not hold."""
        columns = vectors * self.shape.lanes
        far = self.steps * columns * self.problem.item_bytes > self.target.l1_bytes and not self.stretches
        return (rows + (columns if far else 0)) * self.problem.item_bytes * self.target.streamed_cost


def _kept(shape: Plan, limit: Limit, rows: int) -> float:
    """The share of a limited loop's steps that tiles of so many rows go through."""
    tiled = shape.tiled
    starts = Dim(-(-tiled.size // rows), tuple(s * rows for s in tiled.strides))
    inside = (tiled._replace(size=rows), *shape.inner, shape.vector)
    return kept(limit, way_of(limit, (*shape.batch, *shape.outer, *shape.beside, starts), inside, shape.reduction))


def may_stretch(plan: Plan, problem: Problem, target: Target) -> bool:
    """Whether sums may wait in memory, as whole vectors, while a task goes over a panel part by part where it lies. Not where the first
    cache holds a narrow panel.
    """
    if not problem.holds or estimate(plan.steps) * NARROW_VECTORS * plan.lanes * problem.item_bytes <= target.l1_bytes:
        return False
    vector, apart = plan.vector, plan.reduction[-1].strides[1]
    if any_symbolic((*(d.size for d in plan.reduction), vector.size, plan.tiled.size, vector.strides[problem.holds], apart)):
        return False
    whole = steps_apart(plan, problem) and iterations(problem.parallel) * problem.item_bytes <= target.l2_bytes  # all sums stay near
    far = FAR_ROW_BYTES * (2 if whole else 1)
    near = vector.strides[1] == 1 and abs(apart) * problem.item_bytes < far
    return near and vector.strides[problem.holds] == 1 and vector.size % plan.lanes == 0


def steps_apart(plan: Plan, problem: Problem) -> bool:
    """Whether every step of the reduction goes to other lines of the rows' side, as a weight's gradient does on both sides."""
    return abs(estimate(plan.reduction[-1].strides[0])) * problem.item_bytes >= LINE_BYTES


def _line_cost(plan: Plan, problem: Problem, target: Target) -> float:
    """Of the line a step of a tile fetches from afar, where every step goes to another one of the rows' side: nothing follows such steps."""
    if not steps_apart(plan, problem):
        return 0.0
    held = estimate(plan.steps) * iterations((*plan.outer, plan.tiled, *plan.inner)) * problem.item_bytes
    return LINE_BYTES * target.read_cost(held) if held > target.l2_bytes // 2 else 0.0


def step_cost(rows: int, vectors: int, target: Target, each: float = 1.0, part: float = 1.0) -> float:
    """Multiply-adds against loads of both sides; few accumulators wait for each other. each: of a vector's step; part: of a vector to a whole one."""
    loads = rows + vectors
    return max(rows * vectors * each * part, loads * target.load_cost * part, target.least_step) + 0.05 * loads + 0.25


def _crowded_rows(plan: Plan, size: int, item_bytes: int) -> int:
    """Rows of a tile whose elements fall into cache sets that cannot hold them all:
    each step fetches them anew.
    """
    return _crowded(
        tuple((d.size, estimate(d.strides[0]) * item_bytes) for d in (plan.tiled._replace(size=size), *plan.inner))
    )


@lru_cache(maxsize=4096)
def _crowded(box: tuple[tuple[int, int], ...]) -> int:
    if min((abs(step) for n, step in box if n > 1), default=0) < LINE_BYTES:
        return 0
    places = [0]
    for n, step in box:
        places = [p + i * step for p in places for i in range(n)]
    sets = Counter(p // LINE_BYTES % CACHE_SETS for p in places)
    return sum(n for n in sets.values() if n >= CACHE_WAYS)


def _pack_cost(plan: Plan, problem: Problem, target: Target) -> float:
    """Cost of packing one vector's worth of columns over the whole reduction, in all slots. A copy much larger than its source (windows
    overlap) is written to the memory it has to be in, and read from there.
    """
    elements = iterations((*plan.batch, *plan.beside)) * plan.lanes * estimate(plan.steps)
    contiguous_steps = iterations(plan.reduction[i] for i in contiguous_run(plan.reduction)) >= plan.lanes
    per_element = (
        2.5 / plan.lanes if plan.vector.strides[1] == 1 else 8 / plan.lanes if contiguous_steps else 1.5
    )
    loops = (*plan.batch, *plan.beside, plan.vector, *plan.reduction)
    copied = elements * -(-estimate(plan.vector.size) // plan.lanes)
    if copied > 2 * footprint(loops, 1):
        per_element += 2 * problem.item_bytes * target.read_cost(copied * problem.item_bytes)
    return elements * per_element


def store_cost(plan: Plan, problem: Problem) -> float:
    """Of what an epilogue reads and writes."""
    cost = 0.0
    results = iterations(plan.results)
    for access, stride in enumerate(plan.vector.strides[2 : len(plan.vector.strides) - len(plan.limits)], 2):
        vectors = -(-estimate(plan.vector.size) // plan.lanes)
        weight = 1.5 if access in problem.outputs else 1.0
        if isinstance(plan.vector.size, Size) and same(stride, 1):
            cost += weight * results * (vectors + 0.5)
        elif same(stride, 0):
            cost += results * 0.5
        elif isinstance(plan.vector.size, Size) or isinstance(stride, Size):
            cost += weight * results * estimate(plan.vector.size) * 2.0
        elif stride == 1 and plan.vector.size % plan.lanes == 0:
            cost += weight * results * vectors
        elif stride == 1 and problem.item_bytes >= 4 and (pieces := tail_pieces(plan.vector.size % plan.lanes)):
            cost += weight * results * (vectors - 1 + 1.5 * len(pieces))
        else:
            cost += weight * results * plan.vector.size * (1.0 if stride == 1 else 2.0)
    return cost
