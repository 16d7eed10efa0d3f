"""What a register tile fetches before it is wanted: the panel after its own, a little a step, and the lines its epilogue touches.

Those lines are asked for in front of a long reduction, whose time is long beside that of so many waits; a short one asks for them itself, a
line of each access every few steps, so that its multiply-adds hide them all.

A processor's own prefetchers follow a panel only once it is read, and never the results, whose lines a tile touches once:
without a hint the first tiles of every panel wait for the third cache, and every epilogue for all its lines in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log2, prod

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from ..dialects.sizes import Size
from .contraction_match import Access, Contraction
from .contraction_covers import Panel
from .contraction_problem import Dim, Plan
from .contraction_tile import Memory, Place, Shape, line_step, lines_of
from .loop_writer import Address, LoopWriter

LEAST_STEPS = 16  # of a reduction in front of an epilogue: a shorter one hides nothing
FEW_STEPS = 256  # of a reduction that asks itself
ASKING = 3 / 4  # of its steps: what is asked for last has time to arrive


def next_panel(
    w: LoopWriter, plan: Plan, panel: Panel, packed: Address, tile: Address, bounds: tuple[SSAValue, SSAValue] | None
) -> Address:
    """Where the tile with this number among those of its panel starts to fetch the panel behind: each takes a part of it, so many
    elements a step as the plan says. ``packed``: the panel's place. With ``bounds`` of the outermost reduction loop, the same part.
    """
    pace = plan.next_panel
    width = panel.vectors * plan.lanes
    inner = prod(d.size for d in plan.reduction[1:])
    part = -(-plan.reduction[0].size // plan.chunks) * inner * pace
    last = max(0, -(-width // pace) - 1) * part
    share = w.binary(arith.MinSIOp, w.at(w.advance(Address(None, tile.offset * part), tile.base, part)), w.index(last)) if tile.base else None
    there = packed + width * plan.steps + (0 if share else min(tile.offset * part, last))
    if share is not None:
        there = w.advance(there, share, 1)
    return w.advance(there, bounds[0], inner * (width - pace)) if bounds else there


def _touched(contraction: Contraction, accesses: Sequence[Access], memory: Sequence[Memory], shape: Shape) -> list[tuple[int, bool]]:
    """What the epilogue of a tile reads and writes line by line: numbers of accesses, and whether they are written."""
    written = {a.key() for a in contraction.outputs}
    return [
        (number, access.key() in written)
        for number, access in enumerate(accesses)
        if number >= 2 and memory[number].buffer is not None and memory[number].vector_stride == 1 and _moving(shape, number)
    ]


def _moving(shape: Shape, number: int) -> list[Dim]:
    return [d for d in shape.rows if d.size > 1 and d.strides[number]]


def asked_by_steps(
    contraction: Contraction, accesses: Sequence[Access], memory: Sequence[Memory], shape: Shape, reduction: Sequence[Dim]
) -> Shape:
    """The tile whose steps ask for the lines of its epilogue; the same, if the reduction is not one short loop or has too few steps for them."""
    touched = _touched(contraction, accesses, memory, shape)
    moving = [d for d in shape.rows if d.size > 1]
    if len(reduction) != 1 or len(moving) != 1 or not touched or any(isinstance(n, Size) for n in (reduction[0].size, *moving[0].strides)):
        return shape
    steps, lines = reduction[0].size, max(lines_of(memory[number].buffer, shape) for number, _ in touched)
    turns = 1 << int(log2(max(1.0, ASKING * steps / moving[0].size)))
    if steps > FEW_STEPS or turns < lines or turns * moving[0].size > steps:
        return shape
    return replace(shape, asked=tuple(touched), turns=turns)


def fetch_results(
    w: LoopWriter, contraction: Contraction, accesses: Sequence[Access], memory: Sequence[Memory], place: Place, shape: Shape
) -> None:
    """Asks for the lines that the epilogue of a tile will read and write."""
    for number, written in _touched(contraction, accesses, memory, shape):
        _fetch_rows(w, memory[number].buffer, place[number], _moving(shape, number), number, shape, written)


def _fetch_rows(
    w: LoopWriter, buffer: SSAValue, at: Address, rows: Sequence[Dim], number: int, shape: Shape, written: bool
) -> None:
    if rows:
        with w.loop(0, rows[0].size) as loop:
            _fetch_rows(w, buffer, w.advance(at, loop.counter, rows[0].strides[number]), rows[1:], number, shape, written)
        return
    step = line_step(buffer, shape)
    for k in range(0, shape.vectors * shape.lanes, step):
        w.prefetch(buffer, at + k, written)
