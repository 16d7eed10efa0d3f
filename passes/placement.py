"""Where placements (pad, update, concat, unwindow) write: strided boxes, or overlapping windows."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from xdsl.ir import Operation

from ..dialects.ops import attrs_of, stanza_of
from ..dialects.types import Shape
from .access import shape_of
from .linear_index import Index, loop_dims


class Box(NamedTuple):
    """A part of an operand and the strided box of the result it goes to (per dim, in elements)."""

    operand: int
    source: Shape  # first element of the operand that is used
    size: Shape
    offset: Shape
    stride: Shape


def boxes(op: Operation) -> list[Box] | None:
    """The boxes a placement writes, in order (later ones win); None for unwindow, which has an index map."""
    stanza, attrs = stanza_of(op), attrs_of(op)
    if stanza.is_placement:
        return [_padded(op)]
    shapes = [shape_of(v) for v in op.operands]
    rank = len(shapes[0])
    zero, one = (0,) * rank, (1,) * rank
    if stanza.name == "update":
        start, step = attrs
        return [Box(0, zero, shapes[0], zero, one), Box(1, zero, shapes[1], tuple(start), tuple(step))]
    if stanza.name == "concat":
        (axis,) = attrs
        starts = accumulate((s[axis] for s in shapes), initial=0)
        return [
            Box(k, zero, s, tuple(start if d == axis else 0 for d in range(rank)), one)
            for k, (s, start) in enumerate(zip(shapes, starts, strict=False))
        ]
    return None


def _padded(op: Operation) -> Box:
    """Per dim, out = a * i + b; what would land outside (negative padding) is left out."""
    stanza, attrs = stanza_of(op), attrs_of(op)
    shape, out = shape_of(op.operands[0]), shape_of(op.results[0])
    zero = stanza.placement(shape, attrs, (0,) * len(shape))
    one = stanza.placement(shape, attrs, (1,) * len(shape))
    source, size, offset, stride = [], [], [], []
    for n, m, b, end in zip(shape, out, zero, one, strict=True):
        a = end - b
        first = max(0, -(b // a))
        last = min(n - 1, (m - 1 - b) // a)
        count = max(0, last - first + 1)
        source.append(first if count else 0)
        size.append(count)
        offset.append(a * first + b if count else 0)
        stride.append(a)
    return Box(0, tuple(source), tuple(size), tuple(offset), tuple(stride))


def covers(box: Box, shape: Shape) -> bool:
    """True if the box is all of a result of this shape."""
    dense = all(s == 1 or n == 1 for s, n in zip(box.stride, shape, strict=True))
    return box.size == shape and not any(box.offset) and dense


def is_whole(op: Operation) -> bool:
    """True if the placement has one part that uses every element of its operand once: then it can be one more
    output of an elementwise stage."""
    found = boxes(op)
    if found is None:
        return not overlaps(op)
    return len(found) == 1 and found[0].size == shape_of(op.operands[found[0].operand])


def _windows(op: Operation) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Of an unwindow: number of outer dims; per window dim (positions, size, stride, dilation)."""
    to, size, stride, dilation = attrs_of(op)
    shape = shape_of(op.operands[0])
    outer = len(shape) - 2 * len(to)
    positions = shape[outer : outer + len(to)]
    return outer, list(zip(positions, size, stride, dilation, strict=True))


def overlaps(op: Operation) -> bool:
    """True if an unwindow adds several elements up at one place."""
    return any(
        p > 1 and u > 1 and s <= (u - 1) * d and d <= (p - 1) * s for p, u, s, d in _windows(op)[1]
    )


def window_dims(op: Operation) -> frozenset[int]:
    """Loop dims of an unwindow that write to places others write to as well."""
    outer, windows = _windows(op)
    shape = shape_of(op.operands[0])
    axes = {outer + k for k in range(len(windows))} | {outer + len(windows) + k for k in range(len(windows))}
    place, found = 0, []
    for k, d in enumerate(shape):
        if d != 1:
            if k in axes:
                found.append(place)
            place += 1
    return frozenset(found)


def window_target(op: Operation) -> tuple[Index, ...]:
    """The place in the result of an unwindow for the loops over its operand."""
    outer, windows = _windows(op)
    _, index = loop_dims(shape_of(op.operands[0]))
    target = list(index[:outer])
    for k, (_, _, stride, dilation) in enumerate(windows):
        target.append(index[outer + k] * stride + index[outer + len(windows) + k] * dilation)
    return tuple(target)


def fill_value(op: Operation) -> float | None:
    """What a placement has where nothing is placed; None if everything is placed."""
    found = boxes(op)
    if found is None:
        return 0
    if len(found) > 1 or covers(found[0], shape_of(op.results[0])):
        return None
    shape, out = shape_of(op.operands[0]), shape_of(op.results[0])
    return stanza_of(op).index_map(shape, out, attrs_of(op), (0,) * len(out))[1]
