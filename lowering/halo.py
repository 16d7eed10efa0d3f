"""Halos around what a contraction writes: a fill of the whole buffer in front of it fills only the slabs around the box.

    linalg.fill 0 -> %p                                      whole rows above and below, then what is left beside
    %b = memref.subview %p[0, 0, 1, 1] [1, 96, 56, 56]       every element of the box is written by one stage
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xdsl.dialects import func, memref
from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.linalg.ops import FillOp, GenericOp
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import AffineDimExpr

from .contraction_body import read_by, written_by
from .memref_layout import box_of

MOST_SLABS = 8


def shrink_fills(kernel: func.FuncOp) -> None:
    """Changes the fills of a buffered kernel in place; what it computes stays the same."""
    for fill in [op for op in kernel.body.block.ops if isinstance(op, FillOp)]:
        buffer = fill.outputs[0]
        box = _box_written_next(fill, buffer)
        if box is not None and len(list(slabs_around(buffer.type.get_shape(), box))) <= MOST_SLABS:  # type: ignore[union-attr]  # a memref
            fill_around(fill, box)


def fill_around(fill: FillOp, box: Sequence[tuple[int, int]]) -> None:
    """Fills what lies around a box of a buffer, in place of a fill of all of it."""
    buffer, block = fill.outputs[0], fill.parent
    assert block is not None
    for slab in slabs_around(buffer.type.get_shape(), box):  # type: ignore[union-attr]  # a memref
        view = _view(buffer, slab)
        block.insert_ops_before([view, FillOp([fill.inputs[0]], [view.result], [])], fill)
    fill.detach()
    fill.erase()


def _box_written_next(fill: FillOp, buffer: SSAValue) -> list[tuple[int, int]] | None:
    """Per dim the range [low, high) that the next stage to touch a buffer overwrites; None where that is no whole box of it."""
    views = {use.operation.results[0]: use.operation for use in buffer.uses if isinstance(use.operation, memref.SubviewOp)}
    op = fill.next_op
    while op is not None and not _touches(op, buffer, views):
        op = op.next_op
    if not isinstance(op, GenericOp) or any(v is buffer or v in views for v in op.inputs):
        return None
    written = [k for k, v in enumerate(op.outputs) if v is buffer or v in views]
    view = views.get(op.outputs[written[0]]) if len(written) == 1 else None
    if not isinstance(view, memref.SubviewOp) or set(view.static_strides.get_values()) != {1} or len(view.operands) > 1:
        return None
    k = len(op.inputs) + written[0]
    if op.body.block.args[k].first_use or not _covers(op, k):
        return None
    return [(low, low + size) for low, size in zip(view.static_offsets.get_values(), view.static_sizes.get_values(), strict=True)]


def _touches(op: Operation, buffer: SSAValue, views: dict[SSAValue, Operation]) -> bool:
    operands = (*read_by(op), *written_by(op)) if isinstance(op, (GenericOp, FillOp)) else op.operands
    return not isinstance(op, memref.SubviewOp) and any(v is buffer or v in views for v in operands)


def _covers(op: GenericOp, k: int) -> bool:
    """Whether a stage writes every element of an operand: its dims are loops of their own, or of one element."""
    map, kind = op.indexing_maps.data[k].data, op.operands[k].type
    assert isinstance(kind, MemRefType)
    long = [e for e, n in zip(map.results, kind.get_shape(), strict=True) if n != 1]
    loops = {e.position for e in long if isinstance(e, AffineDimExpr)}
    return len(loops) == len(long) and all(kind.data.value == "parallel" for kind in op.iterator_types)


def slabs_around(shape: Sequence[int], box: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """The boxes of a buffer around a box of it."""
    ranges = [(0, size) for size in shape]
    for d, (low, high) in enumerate(box):
        for part in ((0, low), (high, shape[d])):
            if part[0] < part[1]:
                yield [*ranges[:d], part, *ranges[d + 1 :]]
        ranges[d] = (low, high)


def _view(buffer: SSAValue, box: Sequence[tuple[int, int]]) -> memref.SubviewOp:
    return box_of(buffer, [low for low, _ in box], [high - low for low, high in box], [1] * len(box))
