"""The rows' side of a contraction in groups, copied once: every element has one place there, its depths are neighbours, and windows
overlap in the copy as they do in the source.

    source  x[n][c][h][w], read at x[n][c][h + i][w + j]      copy  x[n][h][w][c]

A copy tile by tile holds an element as often as rows read it: nine times, under 3 x 3 taps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from xdsl.ir import SSAValue

from ..dialects.sizes import Size, any_symbolic, estimate, same
from .contraction_covers import Panel
from .contraction_problem import Dim
from .tile_kind import TileKind
from .tile_packing import TilePacking, row_words

TASK_ROWS = 256
"""Rows of the copy that a task makes."""


class Axis(NamedTuple):
    """A direction of the source: how far apart its elements are, how many there are, and how far apart they are in the copy."""

    apart: int
    size: int
    copied: int = 0


@dataclass(frozen=True)
class RowBox:
    """Axes of a copy, outermost first; the last one is that of the depths, the one before it was chosen to be read beside them.

    before, start: elements of the source, and of the copy, in front of where loops begin (flipped windows are walked backwards).
    """

    axes: tuple[Axis, ...]
    before: int = 0
    start: int = 0

    @property
    def elements(self) -> int:
        return self.axes[0].copied * self.axes[0].size

    @property
    def depths(self) -> Axis:
        return self.axes[-1]

    @property
    def rows(self) -> Axis:
        return self.axes[-2]

    def moved(self, d: Dim) -> Dim:
        """A loop with its stride in the copy."""
        step = abs(d.strides[0])
        axes = (a for a in self.axes if step and step % a.apart == 0 and (isinstance(a.size, Size) or step // a.apart < a.size))
        axis = min(axes, key=lambda a: step // a.apart, default=None)
        return d if axis is None else Dim(d.size, (d.strides[0] // axis.apart * axis.copied, *d.strides[1:]))

    def packing(self, source: SSAValue, offset: int, kind: TileKind, words: int) -> TilePacking:
        """How the copy is made. words: of a vector."""
        slots = tuple(Dim(a.size, (0, a.apart)) for a in self.axes[:-2])
        rows, depths = self.rows, self.depths
        full, rest = divmod(rows.size, TASK_ROWS)
        panels = (*((Panel(TASK_ROWS, full, 0, 1, True),) if full else ()), *((Panel(rest, 1, full * TASK_ROWS, 1, True),) if rest else ()))
        return TilePacking(
            source, offset - self.before, kind.element, 1, slots, Dim(rows.size, (0, rows.apart)), (Dim(depths.size, (0, depths.apart)),), panels,
            of_rows=True, raw=kind.raw[0], biased=kind.biased, in_blocks=False, words=words, least=kind.words,
        )  # fmt: skip


def row_box(loops: Iterable[Dim], depths: Dim, kind: TileKind, words: int) -> RowBox | None:
    """The box that these loops read of the rows' side, or None: steps along no axis, depths that are no whole groups and share
    their axis with other loops (behind the last of those there is no room for zeros), or sizes known at the call only that are not the outermost one's.
    """
    moving = sorted((d for d in loops if not same(d.strides[0], 0)), key=lambda d: abs(estimate(d.strides[0])))
    if any_symbolic((*(d.strides[0] for d in moving), *(d.size for d in moving[:-1]))) or kind.parts > 1:
        return None
    axes = _axes(moving)
    own = next((a for a in axes or () if a.apart == depths.strides[0]), None)
    if axes is None or own is None or isinstance(own.size, Size) or (own.size != depths.size and depths.size % kind.depth):
        return None
    others = [a for a in axes if a is not own]
    near = min(others, key=lambda a: (a.apart != 1, -estimate(a.size) if own.apart == 1 else a.apart), default=None)
    outer = [a for a in others if a is not near]
    near = near or Axis(own.apart * own.size, 1)
    if isinstance(near.size, Size):
        return None
    while own.apart != 1 and (next_ := next((a for a in outer if a.apart == near.apart * near.size and not isinstance(a.size, Size)), None)) is not None:
        outer.remove(next_)  # rows go on where the last ones end
        near = Axis(near.apart, near.size * next_.size)
    length = row_words(own.size, kind.group, words, kind.words) * kind.group
    copied, placed = length * near.size, [Axis(near.apart, near.size, length), Axis(own.apart, own.size, 1)]
    for axis in sorted(outer, key=lambda a: a.apart):
        placed.insert(0, Axis(axis.apart, axis.size, copied))
        copied *= axis.size
    box = RowBox(tuple(placed))
    backwards = [d for d in moving if d.strides[0] < 0]
    before, start = (-sum(d.strides[0] * (d.size - 1) for d in dims) for dims in (backwards, map(box.moved, backwards)))
    return replace(box, before=before, start=start)


def _axes(loops: list[Dim]) -> list[Axis] | None:
    """Loops, those of short steps first: what steps within what they reach shares an axis with them; None where it does not meet its elements."""
    axes: list[Axis] = []
    for step, size in ((abs(d.strides[0]), d.size) for d in loops):
        last = axes[-1] if axes else None
        if last is None or step >= last.apart * last.size:
            axes.append(Axis(step, size))
        elif step % last.apart == 0:
            axes[-1] = Axis(last.apart, last.size + (size - 1) * (step // last.apart))
        else:
            return None
    return axes
