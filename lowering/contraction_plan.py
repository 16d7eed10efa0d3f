"""The cost model: which loop is the vector, what the registers hold, what is packed.

Costs are processor cycles, roughly; only their order matters. A tile of ``rows x vectors`` accumulators is
fed, per step of the reduction, by ``vectors`` vector loads and ``rows`` broadcast scalars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from xdsl.dialects.builtin import i32

from ..dialects.sizes import Size, any_symbolic, estimate, same
from ..dialects.target import Target
from .contraction_covers import Panel, Tiles, panels_of, split, tail_pieces
from .contraction_decision import COPIES, FREE, PACKS, SIDES, Decision
from .contraction_limits import Limit, kept, way_of
from .tile_kind import TileKind

if TYPE_CHECKING:
    from .row_box import RowBox

DIRECT_ROW_BYTES = (
    1024  # rows of the vector side this far apart share cache sets; a copy pays when it is read often
)
FAR_ROW_BYTES = 2048  # between rows of the vector side: even a part of a panel lies on too many pages, and in few sets of the first cache
PACK_REUSE, NEAR_PACK_REUSE = 3, 6  # times such rows are read before a copy pays; near: all of them stay in the second cache
MOST_VECTORS, NARROW_VECTORS = 8, 2  # of a panel; of one that still feeds its multiply-adds
SMALL_WORK = 1 << 11
ROW_REUSE = 4  # panels that read a row's elements before a copy of them pays
PANEL_BYTE = 0.1  # cost of a panel's byte from the second cache where limits favour tiles of few rows: too few multiply-adds to hide it
INTEGER_COST = 3.0
CONVERT_COST = 1.0  # of a vector of 16-bit floats that is widened where it is read
MOST_UNROLLED = 64  # steps of a sum that plain loops spell out
LINE_BYTES, CACHE_SETS, CACHE_WAYS = 64, 64, 8  # of a first-level cache, the same nearly everywhere


class Dim(NamedTuple):
    """A loop dim: its extent and its stride in every access (0: scalar side, 1: vector side,
    then the epilogue's).
    """

    size: int
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """What the plan is made for.

    ``outputs``: the accesses that are written. ``item_bytes``: of the sums. ``converts``: whether a side's
    elements are cast to the type of the sums when they are read. ``ahead``: whether a packed copy of a side may be
    made before the program runs. ``sum_bytes``: of a sum where ``item_bytes`` is that of what a step reads. ``tiles``, ``dots``: what
    tile registers and vectors could multiply in groups. ``holds``: an access that is written and where sums may lie until they are whole (0: none).
    ``limits``: which steps of the reduction count; each is one more stride of the loops, the last ones.
    """

    parallel: tuple[Dim, ...]
    reduction: tuple[Dim, ...]
    outputs: tuple[int, ...]
    item_bytes: int
    converts: tuple[bool, bool]
    ahead: tuple[bool, bool] = (False, False)
    sum_bytes: int = 0
    tiles: TileKind | None = None
    dots: TileKind | None = None
    holds: int = 0
    limits: tuple[Limit, ...] = ()

    @property
    def work(self) -> int:
        """Multiply-adds; estimated where sizes are known at the call only."""
        return iterations((*self.parallel, *self.reduction))

    @property
    def each(self) -> float:
        """Cost of a vector multiply-add: instructions multiply integers of 32 bits more slowly than floats, and add them apart."""
        return INTEGER_COST if self.dots is not None and self.dots.total == i32 else 1.0

    @property
    def is_static(self) -> bool:
        """Whether all sizes and strides are known."""
        return not any_symbolic(n for d in (*self.parallel, *self.reduction) for n in (d.size, *d.strides))

    def __str__(self) -> str:
        """All a plan is made from, on one line: loops with their strides in every access."""
        loops = [" ".join(f"{d.size}[{','.join(map(str, d.strides))}]" for d in part) for part in (self.parallel, self.reduction)]
        sides = [" ".join(name for name, is_so in zip(SIDES[::-1], both, strict=True) if is_so) for both in (self.converts, self.ahead)]
        more = [f", {what} {names}" for what, names in zip(("converts", "packed ahead"), sides, strict=True) if names]
        if self.tiles is not None:
            more.append(f", tiles of {self.tiles}")
        if self.dots is not None:
            more.append(f", dots of {self.dots}{' with a bias' if self.dots.biased else ''}")
        if self.holds:
            more.append(f", holds sums in {self.holds}")
        more += [f", within {limit.extent} from {limit.start}" for limit in self.limits]
        return f"{self.item_bytes} bytes, {loops[0]} over {loops[1]}, writes {','.join(map(str, self.outputs))}{''.join(more)}"


class Blocks(NamedTuple):
    """How a plan whose reduction counts steps of several ``depths``, the loop ``at`` of them, came about. ``row``, ``depth``: numbers
    of the loops that give rows and depths. ``box``: the copy of the rows' side that loops' strides are of (a `RowBox`); None: of where it lies.
    """

    kind: TileKind
    depths: Dim
    at: int
    row: int
    depth: int
    box: RowBox | None = None


@dataclass(frozen=True)
class Plan:
    """The schedule. Loops from outside in: batch, outer, then per task rows beside, panels, rows within, tiles,
    reduction.

    ``row_parts``: shares of the outermost loop of rows inside a task. ``chunks``: of the outermost reduction loop.
    ``row_shares``: of one block's rows, among the ``row_parts``, for tasks that read the same panel.
    ``stretches``: of the outermost reduction loop, gone over one after the other, the sums in memory between them: by each panel, or
    by all of them ``together``.
    ``ahead``: elements of a packed panel that are fetched before they are needed. ``next_panel``: elements of the
    panel after theirs that tiles fetch in each step. ``next_rows``: they fetch the rows of the tile after theirs.
    ``loop``: the vector's number among its side's. ``apart``: row loops with limits that were taken outside the others.
    """

    swapped: bool
    lanes: int
    batch: tuple[Dim, ...]
    outer: tuple[Dim, ...]
    beside: tuple[Dim, ...]
    tiled: Dim
    inner: tuple[Dim, ...]
    vector: Dim
    tiles: tuple[Tiles, ...]
    panels: tuple[Panel, ...]
    reduction: tuple[Dim, ...]
    chunks: int = 1
    stretches: int = 1
    together: bool = False
    row_parts: int = 1
    row_shares: int = 1
    panel_parts: int = 1
    packs_rows: bool = False
    ahead: int = 0
    next_panel: int = 0
    next_rows: bool = False
    cost: float = 0.0
    within: tuple[Dim, ...] = ()
    loop: int = 0
    apart: int = 0
    limits: tuple[Limit, ...] = ()
    blocks: Blocks | None = None

    @property
    def decision(self) -> Decision:
        """All that was decided, once the plan is divided."""
        if self.blocks is not None:
            return Decision(
                SIDES[self.swapped], self.loop, rows=self.tiles[0].size, vectors=self.panels[0].vectors, chunks=self.chunks,
                block=(len(self.outer), self.row_parts // self.row_shares), unit=self.blocks.kind.unit, row=self.blocks.row, depth=self.blocks.depth,
                copy=self.copy,
            )  # fmt: skip
        pack = PACKS[self.panels[0].packed + 2 * self.packs_rows]
        block = len(self.outer), self.row_parts // self.row_shares
        ahead = self.ahead if any(p.packed for p in self.panels) else 0
        return Decision(
            SIDES[self.swapped], self.loop, self.lanes, len(self.inner), self.tiles[0].size, self.panels[0].vectors, pack, self.chunks,
            block, ahead, self.stretches, apart=self.apart if self.limits else None,
        )  # fmt: skip

    @property
    def copy(self) -> str | None:
        """How the rows' side is copied, of a plan in groups."""
        return None if self.blocks is None else COPIES[2 if self.blocks.box else self.packs_rows]

    @property
    def inner_rows(self) -> int:
        """Rows of a tile per step along the tiled dim."""
        return prod(d.size for d in self.inner)

    @property
    def steps(self) -> int:
        """Extent of the whole reduction."""
        return prod(d.size for d in self.reduction)

    @property
    def results(self) -> tuple[Dim, ...]:
        """The parallel loops but the vector dim, outermost first."""
        return (*self.batch, *self.outer, *self.beside, *self.within, self.tiled, *self.inner)

    @property
    def grid(self) -> tuple[Dim, ...]:
        """Loops whose iterations are tasks of their own."""
        return (*self.batch, *self.outer)


def iterations(dims: Iterable[Dim]) -> int:
    """Iterations of these loops; estimated where sizes are known at the call only."""
    return prod(estimate(d.size) for d in dims)


def panel_count(panels: Iterable[Panel]) -> int:
    """Panels in all; estimated where columns are known at the call only."""
    return sum(estimate(p.count) for p in panels)


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


def swapped_sides(problem: Problem) -> Problem:
    """The same with the other side as the vectors."""

    def turn(dims: Sequence[Dim]) -> tuple[Dim, ...]:
        return tuple(Dim(d.size, (d.strides[1], d.strides[0], *d.strides[2:])) for d in dims)

    return replace(
        problem,
        parallel=turn(problem.parallel),
        reduction=turn(problem.reduction),
        converts=problem.converts[::-1],
        ahead=problem.ahead[::-1],
        tiles=None if problem.tiles is None else problem.tiles.turned(),
        dots=None if problem.dots is None else problem.dots.turned(),
    )


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


def turned(dims: Sequence[Dim]) -> tuple[Dim, ...]:
    """The dims with the rows' strides where a packing looks for those of its source."""
    return tuple(Dim(d.size, (d.strides[1], d.strides[0])) for d in dims)


def sides_of(problem: Problem) -> tuple[list[Dim], list[Dim], list[Dim], list[Dim]]:
    """Loops of the batch, of the rows, of the columns, and of the reduction, each from outside in."""
    batch = [d for d in problem.parallel if bool(d.strides[0]) == bool(d.strides[1])]
    rows = sorted((d for d in problem.parallel if d.strides[0] and not d.strides[1]), key=_by_row_stride)
    columns = sorted((d for d in problem.parallel if d.strides[1] and not d.strides[0]), key=_by_output(problem))
    return merged(batch), merged(rows), merged(columns), steps_of(problem)[0]


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


def _by_row_stride(d: Dim) -> tuple[int, ...]:
    return (-abs(estimate(d.strides[0])), -abs(estimate(d.strides[1])))


def _by_output(problem: Problem) -> Callable[[Dim], tuple[int, int]]:
    first = problem.outputs[0]
    return lambda d: (-abs(estimate(d.strides[first])), -abs(estimate(d.strides[1])))


def steps_of(problem: Problem) -> tuple[list[Dim], tuple[Limit, ...]]:
    """Loops of the reduction from outside in, merged where both sides step evenly, and the limits they have then: a loop that moves
    a position takes those inside it along as a unit.
    """
    out: list[Dim] = []
    units = {limit.number: 1 for limit in problem.limits}
    for d in sorted(problem.reduction, key=_by_row_stride):
        even = out and all(out[-1].strides[k] == d.strides[k] * d.size for k in (0, 1))
        if not even or any(d.strides[k] for k in units):
            out.append(d)
            continue
        last = out.pop()
        units.update({k: unit * d.size for k, unit in units.items() if last.strides[k]})
        out.append(Dim(last.size * d.size, tuple(s if k not in units else last.strides[k] for k, s in enumerate(d.strides))))
    return out, tuple(limit._replace(unit=units[limit.number]) for limit in problem.limits)


def merged(dims: Sequence[Dim]) -> list[Dim]:
    """Neighbouring dims as one where every access steps evenly over both."""
    out: list[Dim] = []
    for d in dims:
        if out:
            last = out[-1]
            if all(a == b * d.size for a, b in zip(last.strides, d.strides, strict=True)):
                out[-1] = Dim(last.size * d.size, d.strides)
                continue
        out.append(d)
    return out


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
    cost_of = _TilingCost(shape, problem, target, direct, wanted.packs("columns"))
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


@lru_cache(maxsize=4096)
class _TilingCost:
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


def footprint(loops: Iterable[Dim], side: int) -> int:
    """Elements of a side that these loops read, each once: loops that step within what smaller ones reach overlap."""
    span, copies = 1, 1
    for stride, size in sorted((abs(estimate(d.strides[side])), estimate(d.size)) for d in loops):
        if stride <= span:
            span += stride * (size - 1)
        else:
            copies *= size
    return span * copies


def contiguous_run(reduction: Sequence[Dim]) -> list[int]:
    """The reduction loops that together walk neighbouring elements of the source, innermost first."""
    run: list[int] = []
    stride = 1
    while (
        found := next((i for i, d in enumerate(reduction) if d.strides[1] == stride and i not in run), None)
    ) is not None:
        run.append(found)
        stride *= reduction[found].size
    return run


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
