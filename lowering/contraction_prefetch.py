"""What a register tile fetches before it is wanted: the panel after its own, a little a step, and the lines its epilogue touches.

A processor's own prefetchers follow a panel only once it is read, and never the results, whose lines a tile touches once:
without a hint the first tiles of every panel wait for the third cache, and every epilogue for all its lines in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from .contraction_match import Access, Contraction
from .contraction_cost import LINE_BYTES
from .contraction_covers import Panel
from .contraction_problem import Dim, Plan
from .contraction_tile import Memory, Place, Shape
from .loop_writer import Address, LoopWriter, bytes_of

LEAST_STEPS = 16  # of a reduction in front of an epilogue: a shorter one hides nothing


def line_elements(panel_element: object) -> int:
    """Elements of a type in one line."""
    return max(1, LINE_BYTES // bytes_of(panel_element))  # type: ignore[arg-type]  # an element type


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


def fetch_results(
    w: LoopWriter, contraction: Contraction, accesses: Sequence[Access], memory: Sequence[Memory], place: Place, shape: Shape
) -> None:
    """Asks for the lines that the epilogue of a tile will read and write."""
    written = {a.key() for a in contraction.outputs}
    for number, access in enumerate(accesses):
        buffer = memory[number].buffer
        moving = [d for d in shape.rows if d.size > 1 and d.strides[number]]
        if number < 2 or buffer is None or memory[number].vector_stride != 1 or not moving:
            continue
        _fetch_rows(w, buffer, place[number], moving, number, shape, access.key() in written)


def _fetch_rows(
    w: LoopWriter, buffer: SSAValue, at: Address, rows: Sequence[Dim], number: int, shape: Shape, written: bool
) -> None:
    if rows:
        with w.loop(0, rows[0].size) as loop:
            _fetch_rows(w, buffer, w.advance(at, loop.counter, rows[0].strides[number]), rows[1:], number, shape, written)
        return
    step = max(shape.lanes, line_elements(buffer.type.element_type))  # type: ignore[union-attr]  # flat memory
    for k in range(0, shape.vectors * shape.lanes, step):
        w.prefetch(buffer, at + k, written)
