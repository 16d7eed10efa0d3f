"""The cost model: which loop dim becomes the vector, which tile is held in registers, what is packed, where threads split.

Costs are processor cycles, roughly; only their order matters. A tile of ``rows x vectors`` accumulators is fed, per step of the
reduction, by ``vectors`` vector loads and ``rows`` broadcast scalars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from ..dialects.target import Target

DIRECT_ROW_BYTES = 1024  # rows of the vector side this far apart share cache sets; a copy pays when it is read often
PACK_REUSE = 6
CHUNK_STEPS = 256  # a chunk of the reduction is at least this long, so that partial sums stay cheap
SMALL_WORK = 1 << 11
LINE_BYTES, CACHE_SETS, CACHE_WAYS = 64, 64, 8  # of a first-level cache, the same nearly everywhere


class Dim(NamedTuple):
    """A loop dim: its extent and its stride in every access (0: scalar side, 1: vector side, then the epilogue's)."""

    size: int
    strides: tuple[int, ...]


class Tiles(NamedTuple):
    """``count`` equal tiles of ``size`` units, the first one at unit ``start``."""

    size: int
    count: int
    start: int


class Panel(NamedTuple):
    """``count`` equal panels of ``vectors`` vectors, the first at vector ``start``; ``tail``: valid lanes of the last vector.

    A packed panel is read from a copy, another one where it lies.
    """

    vectors: int
    count: int
    start: int
    tail: int
    packed: bool


@dataclass(frozen=True)
class Problem:
    """What the plan is made for. ``dims`` with the kind of each; ``outputs`` number the accesses that are written.

    ``item_bytes``: of the sums. ``converts``: whether a side's elements are cast to that type when they are read.
    """

    parallel: tuple[Dim, ...]
    reduction: tuple[Dim, ...]
    outputs: tuple[int, ...]
    item_bytes: int
    converts: tuple[bool, bool]

    @property
    def work(self) -> int:
        """Multiply-adds."""
        return prod(d.size for d in (*self.parallel, *self.reduction))


@dataclass(frozen=True)
class Plan:
    """The schedule. Loops from outside in: batch, outer, then per task panels, rows beside, tiles, reduction."""

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
    row_parts: int = 1
    panel_parts: int = 1
    cost: float = 0.0

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
        return (*self.batch, *self.outer, *self.beside, self.tiled, *self.inner)

    @property
    def grid(self) -> tuple[Dim, ...]:
        """Loops whose iterations are tasks of their own."""
        return (*self.batch, *self.outer)


def make_plan(problem: Problem, target: Target) -> Plan | None:
    """The cheapest schedule, or None when plain loops are at least as good."""
    if problem.work < SMALL_WORK or not problem.reduction:
        return None
    best: Plan | None = None
    for swapped in (False, True):
        for plan in _candidates(_swapped(problem) if swapped else problem, swapped, target):
            if best is None or plan.cost < best.cost * (0.999 if not best.swapped else 1.0):
                best = plan
    if best is None or best.cost >= _plain_cost(problem, target):
        return None
    return _divided(best, problem, target)


def _swapped(problem: Problem) -> Problem:
    def turn(dims: Sequence[Dim]) -> tuple[Dim, ...]:
        return tuple(Dim(d.size, (d.strides[1], d.strides[0], *d.strides[2:])) for d in dims)

    return replace(problem, parallel=turn(problem.parallel), reduction=turn(problem.reduction), converts=problem.converts[::-1])


def _plain_cost(problem: Problem, target: Target) -> float:
    """What untiled loops cost: one vector load per multiply-add and side, or scalars when nothing is contiguous."""
    lanes = target.lanes(problem.item_bytes)
    contiguous = any(d.strides[0] == 1 and d.strides[1] == 1 and d.size >= lanes for d in problem.reduction)
    results = prod(d.size for d in problem.parallel)
    return problem.work / lanes * 2.5 + results * 12 if contiguous else problem.work * 1.0


def _candidates(problem: Problem, swapped: bool, target: Target) -> Iterator[Plan]:
    batch = [d for d in problem.parallel if bool(d.strides[0]) == bool(d.strides[1])]
    rows = merged(sorted((d for d in problem.parallel if d.strides[0] and not d.strides[1]), key=_by_row_stride))
    columns = merged(sorted((d for d in problem.parallel if d.strides[1] and not d.strides[0]), key=_by_output(problem)))
    reduction = merged(sorted(problem.reduction, key=_by_row_stride), sides=2)
    most_lanes = target.lanes(problem.item_bytes)
    for vector in columns:
        beside = [d for d in columns if d is not vector]
        direct = vector.strides[1] == 1
        lanes = min(most_lanes, max(min(4, most_lanes), 1 << (vector.size - 1).bit_length()))
        base = Plan(
            swapped, lanes, tuple(merged(batch)), (), tuple(beside), Dim(1, vector.strides), (), vector, (), (),
            tuple(reduction),
        )  # fmt: skip
        for shape in _row_shapes(base, rows, target.vector_registers - 2):
            yield from _tilings(shape, problem, target, direct)


def _by_row_stride(d: Dim) -> tuple[int, ...]:
    return (-abs(d.strides[0]), -abs(d.strides[1]))


def _by_output(problem: Problem):  # noqa: ANN202
    first = problem.outputs[0]
    return lambda d: (-abs(d.strides[first]), -abs(d.strides[1]))


def merged(dims: Sequence[Dim], sides: int | None = None) -> list[Dim]:
    """Neighbouring dims as one where every access (or the first ``sides``) steps evenly over both."""
    out: list[Dim] = []
    for d in dims:
        if out:
            last = out[-1]
            pairs = list(zip(last.strides, d.strides, strict=True))[:sides]
            if all(a == b * d.size for a, b in pairs):
                out[-1] = Dim(last.size * d.size, d.strides)
                continue
        out.append(d)
    return out


def _row_shapes(base: Plan, rows: list[Dim], most: int) -> Iterator[Plan]:
    """Ways to take a tile from the row dims: all of the innermost ones, a part of the next."""
    if not rows:
        yield replace(base, tiled=Dim(1, (0,) * len(base.vector.strides)))
        return
    for q in range(len(rows) - 1, -1, -1):
        inside = rows[q + 1 :]
        if prod(d.size for d in inside) > most:
            break
        yield replace(base, outer=tuple(rows[:q]), tiled=rows[q], inner=tuple(inside))


def _tilings(shape: Plan, problem: Problem, target: Target, direct: bool) -> Iterator[Plan]:
    registers = target.vector_registers
    vectors = -(-shape.vector.size // shape.lanes)
    tail = shape.vector.size - (vectors - 1) * shape.lanes
    seen: set[tuple[object, ...]] = set()
    for most_vectors in range(1, 9):
        panels = _panels(vectors, most_vectors, shape.lanes, tail)
        width = panels[0].vectors
        most_rows = (registers - 1 - width) // width // shape.inner_rows
        for rows in range(1, min(most_rows, shape.tiled.size, 30) + 1):
            tiles = split(shape.tiled.size, rows)
            if (tiles, panels) in seen:
                continue
            seen.add((tiles, panels))
            plan = replace(shape, tiles=tiles, panels=panels)
            yield _costed(plan, problem, target, direct)


def split(n: int, most: int) -> tuple[Tiles, ...]:
    """Balanced tiles of at most ``most`` that cover ``n``: one size, or two that differ by one."""
    count = -(-n // most)
    low = n // count
    high_count = n - low * count
    if not high_count:
        return (Tiles(low, count, 0),)
    return (Tiles(low + 1, high_count, 0), Tiles(low, count - high_count, (low + 1) * high_count))


def _panels(vectors: int, most: int, lanes: int, tail: int) -> tuple[Panel, ...]:
    """Balanced panels; the one with the partly filled vector stands alone."""
    out = [Panel(t.size, t.count, t.start, lanes, True) for t in split(vectors, most)]
    if tail == lanes:
        return tuple(out)
    last = out.pop()
    if last.count > 1:
        out.append(last._replace(count=last.count - 1))
        last = last._replace(count=1, start=last.start + last.vectors * (last.count - 1))
    out.append(last._replace(tail=tail))
    return tuple(out)


def _costed(plan: Plan, problem: Problem, target: Target, direct: bool) -> Plan:
    passes = prod(d.size for d in (*plan.batch, *plan.outer, *plan.beside))
    rows = plan.inner_rows
    steps = plan.steps
    turns = steps / max(1, plan.reduction[-1].size)
    crowded = {t.size: _crowded_rows(plan, t.size, problem.item_bytes) for t in plan.tiles}
    tile_cost = sum(
        t.count * p.count * (steps * (_step_cost(t.size * rows, p.vectors) + 2.0 * crowded[t.size]) + turns * 4 + 12)
        for t in plan.tiles
        for p in plan.panels
    )
    cost = passes * tile_cost
    reuse = sum(t.count for t in plan.tiles) * prod(d.size for d in plan.outer)
    packs = not direct or problem.converts[1] or _pack_pays(plan, problem, reuse)
    panels = tuple(p._replace(packed=packs or p.tail < plan.lanes) for p in plan.panels)
    cost += _pack_cost(plan, panels)
    cost += _store_cost(plan, problem) + 40 * len(plan.tiles) * len(plan.panels)
    return replace(plan, panels=panels, cost=cost)


def _step_cost(rows: int, vectors: int) -> float:
    """Multiply-adds against loads of both sides; few accumulators wait for each other."""
    loads = rows + vectors
    return max(rows * vectors * 1.0, loads * 0.6, 4.0) + 0.02 * loads + 0.25


def _crowded_rows(plan: Plan, size: int, item_bytes: int) -> int:
    """Rows of a tile whose elements fall into cache sets that cannot hold them all: each step fetches them anew."""
    dims = (plan.tiled._replace(size=size), *plan.inner)
    if min((abs(d.strides[0]) for d in dims if d.size > 1), default=0) * item_bytes < LINE_BYTES:
        return 0
    places = [0]
    for d in dims:
        places = [p + i * d.strides[0] * item_bytes for p in places for i in range(d.size)]
    sets = Counter(p // LINE_BYTES % CACHE_SETS for p in places)
    return sum(n for n in sets.values() if n >= CACHE_WAYS)


def _pack_pays(plan: Plan, problem: Problem, reuse: int) -> bool:
    """Contiguous panels are worth a copy when rows lie far apart in memory and every panel is read many times."""
    stride = min((abs(d.strides[1]) for d in plan.reduction[-1:]), default=0) * problem.item_bytes
    return reuse >= PACK_REUSE and stride >= DIRECT_ROW_BYTES


def _pack_cost(plan: Plan, panels: Sequence[Panel]) -> float:
    columns = sum(p.count * p.vectors for p in panels if p.packed) * plan.lanes
    elements = prod(d.size for d in (*plan.batch, *plan.beside)) * columns * plan.steps
    contiguous_steps = prod(plan.reduction[i].size for i in contiguous_run(plan.reduction)) >= plan.lanes
    per_element = 2.5 / plan.lanes if plan.vector.strides[1] == 1 else 8 / plan.lanes if contiguous_steps else 1.5
    return elements * per_element


def contiguous_run(reduction: Sequence[Dim]) -> list[int]:
    """The reduction loops that together walk neighbouring elements of the source, innermost first."""
    run: list[int] = []
    stride = 1
    while (found := next((i for i, d in enumerate(reduction) if d.strides[1] == stride and i not in run), None)) is not None:
        run.append(found)
        stride *= reduction[found].size
    return run


def _store_cost(plan: Plan, problem: Problem) -> float:
    cost = 0.0
    results = prod(d.size for d in plan.results)
    for access, stride in enumerate(plan.vector.strides[2:], 2):
        vectors = -(-plan.vector.size // plan.lanes)
        weight = 1.5 if access in problem.outputs else 1.0
        if stride == 1 and plan.vector.size % plan.lanes == 0:
            cost += weight * results * vectors
        elif stride == 0:
            cost += results * 0.5
        else:
            cost += weight * results * plan.vector.size * (1.0 if stride == 1 else 2.0)
    return cost


# -- how the work is divided ------------------------------------------------------------------------------------------


def _divided(plan: Plan, problem: Problem, target: Target) -> Plan:
    """Tasks for threads, blocks for the cache, and chunks of a long reduction. None of it depends on the thread count."""
    tiles = sum(t.count for t in plan.tiles)
    panels = sum(p.count for p in plan.panels)
    steps = plan.steps
    row_bytes = plan.tiled.size * plan.inner_rows * steps * problem.item_bytes
    row_parts = min(tiles, max(1, row_bytes // (target.l2_bytes // 2)))
    panel_parts = 1
    wanted = target.tasks if problem.work >= target.parallel_work else 1
    grid = prod(d.size for d in plan.grid)
    missing = -(-wanted // grid)
    if missing > row_parts:
        if tiles >= missing or tiles >= panels:
            row_parts = max(row_parts, min(tiles, missing))
        panel_parts = min(panels, -(-missing // row_parts))
    chunks = _chunk_count(plan, problem, target, grid * row_parts * panel_parts, wanted)
    if chunks > 1:
        plan = replace(plan, reduction=_with_chunked_dim(plan.reduction, chunks))
        chunks = min(chunks, plan.reduction[0].size)
    return replace(plan, row_parts=row_parts, panel_parts=panel_parts, chunks=chunks)


def _chunk_count(plan: Plan, problem: Problem, target: Target, tasks: int, wanted: int) -> int:
    """Parts of the reduction that are summed on their own: when panels outgrow the cache, or tasks are too few."""
    panel_bytes = plan.steps * plan.panels[0].vectors * plan.lanes * problem.item_bytes
    by_cache = -(-panel_bytes // (target.l2_bytes // 4)) if panel_bytes > target.l2_bytes // 2 else 1
    by_tasks = -(-wanted // tasks) if tasks < wanted // 2 else 1
    most = plan.steps // CHUNK_STEPS
    wanted_chunks = min(max(by_cache, by_tasks), most)
    if wanted_chunks <= 1:
        return 1
    size = max(d.size for d in plan.reduction)
    chunked = next((d.size for d in plan.reduction if d.size >= wanted_chunks), size)
    even = [n for n in range(wanted_chunks, min(2 * wanted_chunks, chunked) + 1) if chunked % n == 0]
    return even[0] if even else min(wanted_chunks, chunked)


def _with_chunked_dim(reduction: Sequence[Dim], chunks: int) -> tuple[Dim, ...]:
    """The reduction with the dim that is cut into chunks outermost."""
    size = max(d.size for d in reduction)
    first = next((i for i, d in enumerate(reduction) if d.size >= chunks), None)
    at = first if first is not None else [d.size for d in reduction].index(size)
    return (reduction[at], *reduction[:at], *reduction[at + 1 :])
