"""How a contraction's work is divided: blocks of rows for the caches, tasks for threads, chunks of a long reduction.

Inside a task every panel meets a whole block of rows before the next panel is touched: a panel is read from the nearest
cache while rows stream past it, a few scalars per step, and the vector side comes from far memory once per block.
None of it depends on the number of threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import gcd, prod

from ..dialects.sizes import any_symbolic, estimate
from ..dialects.target import Target
from .contraction_decision import FREE, Decision
from .contraction_stretches import stretched
from .contraction_cost import CACHE_SETS, CACHE_WAYS, LINE_BYTES, ROW_REUSE, steps_apart
from .contraction_problem import Dim, Plan, Problem, footprint, iterations, panel_count
from .task_shares import SHARERS, unevenness

CHUNK_STEPS = 256  # a chunk of the reduction is at least this long, so that partial sums stay cheap
MOST_SUMS = 4  # second-level caches that the sums of all chunks may fill
RUN_TILES = 4  # at most that read a panel of several runs: with more of them most reads are near
FETCHING_TILES, LEAST_FETCHING = 64, 2  # that share the fetching of the next panel, at most; at least, where more tasks are made
ASKING = 0.035  # cost of fetching ahead, of a multiply-add with what is fetched
FEW_TASKS, LEAST_SUMS = 4, 16  # where panels go over stretches together: tasks; of more of them each has such a share of the second cache in sums
LEAST_ROW_BYTES, PAGE_BYTES = 256, 4096  # of rows that are fetched: shorter ones are read nearly in order, longer ones a processor follows by itself
EVEN = 1.03  # time over that of a perfect division that is not worth more tasks
MORE_TASKS = 4  # times as many as were asked for, at most, for the sake of evenness
TASK = 5e-4  # of a contraction's time: what each task more may cost
CONVERTED_REUSE = 2  # panels that convert a row's elements before a copy of them pays


def divided(plan: Plan, problem: Problem, target: Target, wanted: Decision = FREE) -> Plan:
    """The plan with its row loops outside and inside the panels, and its parts for threads. wanted: as far as that was decided."""
    tasks = target.tasks if problem.work >= target.parallel_work else 1
    batch = iterations(plan.batch)
    panels = panel_count(plan.panels)
    rows = iterations(plan.outer) * sum(estimate(t.count) for t in plan.tiles)
    plan = stretched(plan, problem, target, wanted)
    lines = target.streams > 1 and plan.together and not steps_apart(plan, problem)  # whole lines of a matrix are long runs of memory
    chunks = wanted.chunks or (1 if lines else _chunk_count(plan, problem, target, min(tasks, batch * panels * rows), tasks))
    if chunks > 1:
        plan = replace(plan, reduction=with_chunked_dim(plan.reduction, chunks))
        chunks = min(chunks, estimate(plan.reduction[0].size))
        plan = replace(plan, stretches=1)
    plan = replace(plan, chunks=chunks, packs_rows=_packs_rows(plan, problem, target, panels, wanted.packs("rows")))
    outside, row_parts = row_blocks(plan, problem, target, wanted)
    plan = replace(plan, outer=plan.outer[:outside], within=plan.outer[outside:], row_parts=row_parts)
    plan = replace(plan, ahead=asked_ahead(plan, problem, target) if wanted.ahead is None else wanted.ahead)
    plan = in_runs(plan, problem, target, wanted, bool(plan.ahead))
    fetches = plan.stretches == 1 and _fetches_next(plan, problem, target)
    plan = _shared_stretches(plan, problem, target, tasks, FEW_TASKS // 2 if lines else FEW_TASKS) if plan.together else shared_out(plan, -(-tasks // chunks), fetches)
    return replace(plan, next_panel=_pace(plan, problem) if fetches else 0, next_rows=not fetches and _next_rows(plan, problem, target))


# -- blocks of rows --------------------------------------------------------------------------------


def row_blocks(plan: Plan, problem: Problem, target: Target, wanted: Decision) -> tuple[int, int]:
    """Row loops outside the panels, and parts of the next one.

    Every block reads all panels once, every panel all rows of its block. What is read again costs more the farther away it
    has to be kept.
    """
    if wanted.block is not None and _can_cut(plan, *wanted.block):
        return wanted.block
    item, steps = problem.item_bytes, _chunk_steps(plan)
    columns = estimate(plan.vector.size) * iterations((*plan.beside, *steps)) * item
    width = plan.panels[0].vectors * plan.lanes
    panel_bytes = width * item * iterations(steps)
    results = width * (problem.sum_bytes or item) + LINE_BYTES  # of a row: their lines are shared by panels
    again = columns / panel_bytes - 1

    def cost(candidate: tuple[int, int, int]) -> float:
        outside, size, parts = candidate
        loops = _inside(plan, outside, size)
        blocks = iterations(plan.outer[:outside]) * parts
        block = footprint((*loops, *steps), 0) * item
        if plan.together:  # a stretch of both sides, and all sums
            sums = iterations(loops) * columns / iterations(steps)
            held = (block + columns) / plan.stretches + sums
            read = again * block + 2 * plan.stretches * sums
            return (blocks - 1) * columns * target.read_cost(columns) + blocks * read * target.read_cost(held)
        held = block + panel_bytes + iterations(loops) * results
        return (blocks - 1) * columns * target.read_cost(columns) + again * blocks * block * target.read_cost(held)

    outside, _, parts = min(_candidates(plan), key=cost)
    return outside, parts


def _can_cut(plan: Plan, outside: int, shares: int) -> bool:
    """Whether the rows have such blocks."""
    return outside <= len(plan.outer) and shares <= _units(plan, outside)


def _units(plan: Plan, outside: int) -> int:
    """What blocks are cut from: iterations of the next row loop, or tiles."""
    return estimate(plan.outer[outside].size) if outside < len(plan.outer) else sum(estimate(t.count) for t in plan.tiles)


def _candidates(plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Ways to cut the rows: (loops outside the panels, iterations of the largest share of the next one, shares)."""
    for outside in range(len(plan.outer) + 1):
        inside = plan.outer[outside:]
        units = _units(plan, outside)
        unit = 1 if inside else max(t.size for t in plan.tiles)
        share = units
        while share:
            yield outside, share * unit, -(-units // share)
            share = 0 if share == 1 else share - 1 if share <= 8 else share * 3 // 4


def _inside(plan: Plan, outside: int, size: int) -> list[Dim]:
    """The row loops of one block, where the outermost has so many iterations."""
    first, *rest = (*plan.outer[outside:], plan.tiled, *plan.inner)
    return [first._replace(size=min(size, estimate(first.size))), *rest]


def _chunk_steps(plan: Plan) -> list[Dim]:
    first, *rest = plan.reduction
    return [first._replace(size=-(-estimate(first.size) // plan.chunks)), *rest]


def _packs_rows(plan: Plan, problem: Problem, target: Target, panels: int, wanted: bool | None) -> bool:
    """Whether the rows' side is copied, tile by tile: where steps lie so far apart that the lines one tile fetches are gone from the
    cache when its neighbour needs the rest of them, and where every panel would convert its elements anew, one by one. A copy much larger than its
    source (windows overlap) has to stay in the last cache.
    """
    if any_symbolic((plan.tiled.size, plan.steps, *(d.size for d in plan.outer))):
        return False
    if plan.inner or plan.tiled.size == 1:
        return False
    if wanted is not None:
        return wanted
    converts = problem.converts[1 if plan.swapped else 0]
    if panels * prod(d.size for d in plan.beside) < (CONVERTED_REUSE if converts else ROW_REUSE):
        return False
    last = plan.reduction[-1]
    step = abs(last.strides[0]) * problem.item_bytes
    sets = max(1, CACHE_SETS // gcd(CACHE_SETS, max(1, step // LINE_BYTES)))  # that the steps' lines fall into
    gone = step >= LINE_BYTES and (last.size > sets * CACHE_WAYS // 2 or plan.steps > CACHE_SETS * CACHE_WAYS // 2)
    rows = (*plan.outer, plan.tiled)
    if plan.together:
        return False  # the second cache has a stretch of them
    copied, held = prod(d.size for d in rows) * plan.steps, footprint((*rows, *plan.reduction), 0)
    return (gone or converts) and copied <= max(2 * held, 2 * target.l3_bytes // problem.item_bytes)


def asked_ahead(plan: Plan, problem: Problem, target: Target) -> int:
    """Elements of a packed panel fetched before they are needed: where it comes from afar, and the rows of a block are so few that
    waiting for it costs each of them more than asking. A copy that outlives the call was last read before everything else the
    program touches.
    """
    kept = problem.ahead[0 if plan.swapped else 1]
    columns = iterations((*plan.beside, *plan.reduction)) * estimate(plan.vector.size) * problem.item_bytes
    if columns <= target.l2_bytes // 2 and not kept:
        return 0
    rows = iterations(plan.within) * sum(estimate(t.count) * t.size for t in plan.tiles) * plan.inner_rows / plan.row_parts
    wait = plan.lanes * problem.item_bytes * (target.byte_costs[2] if kept else target.read_cost(columns)) / rows
    return target.ahead_bytes // problem.item_bytes if wait > ASKING else 0


def in_runs(plan: Plan, problem: Problem, target: Target, wanted: Decision, far: bool) -> Plan:
    """The plan with packed panels as several runs of memory, of which nothing is asked for, where a processor follows these and the panels
    come from afar for few tiles, which would have to wait for them otherwise.
    """
    few = iterations(plan.within) * sum(estimate(t.count) for t in plan.tiles) <= RUN_TILES * plan.row_parts
    asked = few and far if wanted.ahead is None and wanted.runs is None else wanted.runs is not None
    if target.streams == 1 or not asked or not problem.is_static:
        return plan
    panels = tuple(p._replace(run=_run(p.vectors, target.streams)) if p.packed else p for p in plan.panels)
    return replace(plan, panels=panels, ahead=(wanted.ahead or 0) if any(p.run for p in panels) else plan.ahead)


def _run(vectors: int, streams: int) -> int:
    """Vectors that lie side by side where so many runs, or one more, make a panel; 0: all."""
    return next((n for n in range(1, vectors) if not vectors % n and vectors // n <= streams + 1), 0)


def _next_rows(plan: Plan, problem: Problem, target: Target) -> bool:
    """Whether tiles fetch the rows of the tile after theirs, which lie side by side and come from afar: several of them share a page,
    and a processor follows few places of one.
    """
    row, one = plan.steps, plan.chunks == plan.stretches == plan.inner_rows == 1
    if not one or plan.blocks or plan.packs_rows or problem.converts[0] or not all(p.packed for p in plan.panels):
        return False
    if any_symbolic((plan.tiled.size, row, *(d.size for d in plan.outer))) or plan.tiled.strides[0] != row:
        return False
    dense = all(d.strides[0] == prod(e.size for e in plan.reduction[k + 1 :]) for k, d in enumerate(plan.reduction))
    near = iterations((*plan.outer, *plan.within, plan.tiled)) * row * problem.item_bytes <= target.l2_bytes // 2
    return dense and not near and LEAST_ROW_BYTES <= row * problem.item_bytes < PAGE_BYTES and plan.tiles[0].size * problem.item_bytes <= LINE_BYTES


def _fetches_next(plan: Plan, problem: Problem, target: Target) -> bool:
    """Whether tiles fetch the panel after theirs: where the first cache does not hold one, and so few tiles read it that the wait of
    the first one matters.
    """
    if plan.blocks or any_symbolic((plan.tiled.size, plan.vector.size, plan.steps, *(d.size for d in plan.within))) or not all(p.packed for p in plan.panels):
        return False
    panel = iterations(_chunk_steps(plan)) * plan.panels[0].vectors * plan.lanes * problem.item_bytes
    tiles = iterations(plan.within) * sum(t.count for t in plan.tiles) / plan.row_parts
    return panel > target.l1_bytes // 2 and tiles <= FETCHING_TILES and panel_count(plan.panels) > 1


def _pace(plan: Plan, problem: Problem) -> int:
    """Elements of the next panel that a step fetches, a power of two: so few that all tiles of a task together fetch it, since memory
    hardly gives a line a step; a line at most.
    """
    width, line = plan.panels[0].vectors * plan.lanes, max(1, LINE_BYTES // problem.item_bytes)
    wanted = -(-width // max(1, _tiles_of_task(plan)))
    return min(line, 1 << (wanted - 1).bit_length())


def _tiles_of_task(plan: Plan) -> int:
    """That read the same panel, in the smallest of the tasks."""
    tiles = sum(t.count // (1 if plan.within else plan.row_parts) for t in plan.tiles)
    return tiles * max(1, iterations(plan.within) // plan.row_parts) if plan.within else tiles


# -- tasks and chunks ------------------------------------------------------------------------------


def shared_out(plan: Plan, wanted: int, fetches: bool = False) -> Plan:
    """Tasks for threads: iterations of loops beside the panels where these are too few, shares of the panels, which read no panel twice, then
    more shares of the rows, which follow each other: a thread that takes several in turn finds the panel near. Some more of both where so many come out uneven, but not of rows where these
    have a panel to fetch and hardly any would be left to do so.
    """
    panels = panel_count(plan.panels)
    while plan.aside < len(plan.beside) and iterations(plan.grid) * plan.row_parts * panels < wanted:
        plan = replace(plan, aside=plan.aside + 1)
    tasks = iterations(plan.grid) * plan.row_parts
    panel_parts = min(panels, -(-wanted // tasks))
    missing = -(-wanted // (tasks * panel_parts))
    units = _row_units(plan, missing * plan.row_parts) // plan.row_parts
    shares = max(1, min(missing, units))
    if tasks * panel_parts * shares > 1 and wanted > 1:
        most = [min(there, MORE_TASKS * parts) for there, parts in ((panels, panel_parts), (units, shares))]
        ways = itertools.product(range(panel_parts, most[0] + 1), range(shares, max(shares, most[1]) + 1))
        few = [
            way for way in ways
            if tasks * prod(way) <= max(MORE_TASKS * wanted, tasks * panel_parts * shares)
            and (way[1] == shares or not fetches or _tiles_of_task(replace(plan, row_parts=plan.row_parts * way[1])) >= LEAST_FETCHING)
        ]  # fmt: skip
        panel_parts, shares = _evenest(plan, sorted(few, key=prod))
    return replace(plan, panel_parts=panel_parts, row_parts=plan.row_parts * shares, row_shares=shares)


def _row_units(plan: Plan, parts: int) -> int:
    """What so many parts of the rows are cut from: iterations of the outermost loops that have enough, or tiles."""
    return iterations(plan.within[: plan.cut_loops(parts)]) if plan.within else sum(estimate(t.count) for t in plan.tiles)


def _evenest(plan: Plan, ways: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The first of these (parts of the panels, shares of a block of rows) that is even enough, or the one that is most so for its tasks."""
    found = []
    for panel_parts, shares in ways:
        row_parts = plan.row_parts * shares
        rows = [(_row_units(plan, row_parts), 1)] if plan.within else [(estimate(t.count), t.size) for t in plan.tiles]
        columns = _weights([(estimate(p.count), p.vectors) for p in plan.panels], panel_parts)
        weights = _weights(rows, row_parts)
        blocks = [weights[k : k + shares] for k in range(0, row_parts, shares)]
        tasks = [r * c for block in blocks for c in columns for r in block] * (plan.chunks * min(iterations(plan.grid), SHARERS[-1]))
        uneven = unevenness(tasks)
        if uneven <= EVEN:
            return panel_parts, shares
        found.append((uneven + TASK * len(tasks), panel_parts, shares))
    return min(found)[1:]


def _weights(kinds: Sequence[tuple[int, int]], parts: int) -> list[int]:
    """How much of several kinds (how many, how large) is in each part; all kinds but the first one are cut from the other end."""
    found = [0] * parts
    for number, (count, size) in enumerate(kinds):
        for k in range(parts):
            found[parts - 1 - k if number else k] += (count * (k + 1) // parts - count * k // parts) * size
    return found


def _shared_stretches(plan: Plan, problem: Problem, target: Target, wanted: int, few: int) -> Plan:
    """Tasks of a plan whose panels go over stretches together: each reads its rows and its panels over the whole reduction, from afar, so
    there are `few` of them, more only where all have sums to go on with; shares of the side that others read least.
    """
    item = problem.item_bytes
    rows = iterations((*plan.outer, *plan.within, plan.tiled, *plan.inner))
    sums = rows * iterations(plan.beside) * estimate(plan.vector.size) * item
    tasks = iterations(plan.grid) * plan.row_parts
    missing = max(1, min(wanted, max(few, sums // (target.l2_bytes // LEAST_SUMS))) // tasks)
    panels = panel_count(plan.panels)
    units = (estimate(plan.within[0].size) if plan.within else sum(estimate(t.count) for t in plan.tiles)) // plan.row_parts
    ways = [(p, min(-(-missing // p), max(1, units))) for p in range(1, min(panels, missing) + 1)]
    parts, shares = min(ways, key=lambda way: (-min(missing, prod(way)), way[0] * rows + way[1] * estimate(plan.vector.size)))
    return replace(plan, panel_parts=parts, row_parts=plan.row_parts * shares, row_shares=shares)


def _chunk_count(plan: Plan, problem: Problem, target: Target, tasks: int, wanted: int) -> int:
    """Parts of the reduction that are summed on their own: when panels outgrow the cache,
    or tasks are too few.
    """
    steps = estimate(plan.steps)
    panel_bytes = steps * plan.panels[0].vectors * plan.lanes * problem.item_bytes
    by_cache = -(-panel_bytes // (target.l2_bytes // 4)) if panel_bytes > target.l2_bytes // 2 else 1
    by_cache = max(by_cache, _walks_per_cache(plan, problem, target)) if plan.stretches == 1 else 1
    by_tasks = -(-wanted // tasks) if tasks < wanted // 2 else 1
    most = steps // CHUNK_STEPS
    wanted_chunks = min(max(by_cache, by_tasks), most)
    if wanted_chunks <= 1:
        return 1
    sizes = [estimate(d.size) for d in plan.reduction]
    least = max(-(-panel_bytes // (target.l2_bytes // 2)), by_tasks)
    if least <= sizes[0] <= wanted_chunks:  # the loops keep their order: neighbours stay neighbours
        return sizes[0]
    chunked = next((n for n in sizes if n >= wanted_chunks), max(sizes))
    even = [n for n in range(wanted_chunks, min(2 * wanted_chunks, chunked) + 1) if chunked % n == 0]
    return even[0] if even else min(wanted_chunks, chunked)


def _walks_per_cache(plan: Plan, problem: Problem, target: Target) -> int:
    """Into how many parts the reduction falls whose operands stay in the cache while all tiles go over them.

    Where a step of the reduction goes to another line on the side of the rows (a weight's gradient: both sides lie step by step),
    a tile reads little of each line, and what is walked over fills the cache as if it was read whole. One part where the sums of
    all parts would fill it many times.
    """
    if abs(estimate(plan.reduction[-1].strides[0])) * problem.item_bytes < LINE_BYTES:
        return 1
    walked = sum((estimate(d.size) - 1) * abs(estimate(d.strides[0])) for d in plan.reduction) * problem.item_bytes
    if plan.panels[0].packed:
        walked += estimate(plan.steps) * plan.panels[0].vectors * plan.lanes * problem.item_bytes
    else:
        walked += sum((estimate(d.size) - 1) * abs(estimate(d.strides[1])) for d in plan.reduction) * problem.item_bytes
    parts = -(-walked // (target.l2_bytes // 2))
    sums = iterations(problem.parallel) * problem.item_bytes
    return min(parts, max(1, MOST_SUMS * target.l2_bytes // sums))


def with_chunked_dim(reduction: Sequence[Dim], chunks: int) -> tuple[Dim, ...]:
    """The reduction with the dim that is cut into chunks outermost."""
    sizes = [estimate(d.size) for d in reduction]
    first = next((i for i, n in enumerate(sizes) if n >= chunks), None)
    at = first if first is not None else sizes.index(max(sizes))
    return (reduction[at], *reduction[:at], *reduction[at + 1 :])
