"""What the plan of a contraction is made for, and what a plan is: loops with their strides, sides, tiles, panels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from xdsl.dialects.builtin import i32

from ..dialects.sizes import any_symbolic, estimate
from .contraction_covers import Panel, Tiles
from .contraction_decision import COPIES, PACKS, SIDES, Decision
from .contraction_limits import Limit
from .tile_kind import TileKind

if TYPE_CHECKING:
    from .row_box import RowBox

INTEGER_COST = 3.0


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

    ``row_parts``: shares of the outermost loop of rows inside a task, of the outermost two where one has not so many. ``chunks``: of the outermost reduction loop.
    ``row_shares``: of one block's rows, among the ``row_parts``, for tasks that read the same panel.
    ``stretches``: of the outermost reduction loop, gone over one after the other, the sums in memory between them: by each panel, or
    by all of them ``together``.
    ``ahead``: elements of a packed panel that are fetched before they are needed. ``next_panel``: elements of the
    panel after theirs that tiles fetch in each step. ``next_rows``: they fetch the rows of the tile after theirs.
    ``aside``: of the loops beside, how many are in front of all others: their iterations are tasks, too.
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
    aside: int = 0

    def cut_loops(self, parts: int) -> int:
        """How many of the row loops inside the panels so many parts share, as if they were one."""
        first, *more = self.within
        return 2 if more and not any_symbolic((first.size, more[0].size)) and parts > first.size else 1

    @property
    def decision(self) -> Decision:
        """All that was decided, once the plan is divided."""
        runs = next((p.run for p in self.panels if p.packed and p.run), None)
        if self.blocks is not None:
            return Decision(
                SIDES[self.swapped], self.loop, rows=self.tiles[0].size, vectors=self.panels[0].vectors, chunks=self.chunks,
                block=(len(self.outer), self.row_parts // self.row_shares), unit=self.blocks.kind.unit, row=self.blocks.row, depth=self.blocks.depth,
                copy=self.copy, runs=runs,
            )  # fmt: skip
        pack = PACKS[self.panels[0].packed + 2 * self.packs_rows]
        block = len(self.outer), self.row_parts // self.row_shares
        ahead = self.ahead if any(p.packed for p in self.panels) else 0
        return Decision(
            SIDES[self.swapped], self.loop, self.lanes, len(self.inner), self.tiles[0].size, self.panels[0].vectors, pack, self.chunks,
            block, ahead, self.stretches, apart=self.apart if self.limits else None, runs=runs,
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
        return (*self.batch, *self.outer, *self.beside[: self.aside])


def iterations(dims: Iterable[Dim]) -> int:
    """Iterations of these loops; estimated where sizes are known at the call only."""
    return prod(estimate(d.size) for d in dims)


def panel_count(panels: Iterable[Panel]) -> int:
    """Panels in all; estimated where columns are known at the call only."""
    return sum(estimate(p.count) for p in panels)


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


def turned(dims: Sequence[Dim]) -> tuple[Dim, ...]:
    """The dims with the rows' strides where a packing looks for those of its source."""
    return tuple(Dim(d.size, (d.strides[1], d.strides[0])) for d in dims)


def sides_of(problem: Problem) -> tuple[list[Dim], list[Dim], list[Dim], list[Dim]]:
    """Loops of the batch, of the rows, of the columns, and of the reduction, each from outside in."""
    batch = [d for d in problem.parallel if bool(d.strides[0]) == bool(d.strides[1])]
    rows = sorted((d for d in problem.parallel if d.strides[0] and not d.strides[1]), key=_by_row_stride)
    columns = sorted((d for d in problem.parallel if d.strides[1] and not d.strides[0]), key=_by_output(problem))
    return merged(batch), merged(rows), merged(columns), steps_of(problem)[0]


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
