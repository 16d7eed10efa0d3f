"""Where placements (pad, update, concat, unwindow) write: strided boxes, or overlapping windows."""

from __future__ import annotations

from itertools import accumulate, combinations
from math import gcd, prod
from typing import NamedTuple

from xdsl.ir import Operation, SSAValue

from ..dialects.ops import attrs_of, stanza_of
from ..dialects.sizes import any_symbolic
from ..dialects.types import Shape
from .access import PLACED, is_background, role_of, shape_of
from .linear_index import Index, loop_dims


class Box(NamedTuple):
    """A part of a value and the strided box of the result it goes to (per dim, in elements)."""

    value: SSAValue
    source: Shape  # its first element that is used
    size: Shape
    offset: Shape
    stride: Shape


def boxes(op: Operation) -> list[Box] | None:
    """The boxes a placement writes, in order (later ones win); None for unwindow, which has an index map.

    Where its operand is a placement that nobody else reads, these are the boxes of that one's parts.
    """
    stanza, attrs = stanza_of(op), attrs_of(op)
    first = op.operands[0]
    placed = boxes(first.owner) if isinstance(first.owner, Operation) and role_of(first.owner) == PLACED else None
    if stanza.is_placement:
        whole = _padded(op)
        return [whole] if placed is None else [_within(box, whole) for box in placed]
    shapes = [shape_of(v) for v in op.operands]
    rank = len(shapes[0])
    zero, one = (0,) * rank, (1,) * rank
    if stanza.name == "update":
        start, step = attrs
        if placed is None:
            placed = [] if is_background(op, 0) else [Box(first, zero, shapes[0], zero, one)]
        return [*placed, Box(op.operands[1], zero, shapes[1], tuple(start), tuple(step))]
    if stanza.name == "concat":
        (axis,) = attrs
        starts = accumulate((s[axis] for s in shapes), initial=0)
        return [
            Box(v, zero, s, tuple(start if d == axis else 0 for d in range(rank)), one)
            for v, s, start in zip(op.operands, shapes, starts, strict=False)
        ]
    return None


def _within(box: Box, outer: Box) -> Box:
    """A box of a value that is placed in one itself."""
    inside = zip(outer.offset, outer.stride, box.offset, strict=True)
    stride = tuple(a * b for a, b in zip(outer.stride, box.stride, strict=True))
    return box._replace(offset=tuple(a + s * b for a, s, b in inside), stride=stride)


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
    return Box(op.operands[0], tuple(source), tuple(size), tuple(offset), tuple(stride))


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
    return len(found) == 1 and found[0].size == shape_of(found[0].value)


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


def only_moves(op: Operation) -> bool:
    """True if every element of an unwindow's result is one of its operand: windows side by side that cover all of it."""
    to = attrs_of(op)[0]
    windows = _windows(op)[1]
    if any_symbolic((*to, *(p for p, _, _, _ in windows))):
        return False
    return all(s == u and (d == 1 or u == 1) and p * u == n for n, (p, u, s, d) in zip(to, windows, strict=True))


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


def _leave_nothing(found: list[Box], whole: Shape) -> bool:
    """Whether the boxes leave nothing out."""
    if any(covers(box, whole) for box in found):
        return True
    if any_symbolic((*whole, *(n for box in found for n in box.size))):
        return False
    apart = all(are_apart(a, b) for a, b in combinations(found, 2))
    return apart and sum(prod(box.size) for box in found) == prod(whole)


def are_apart(a: Box, b: Box) -> bool:
    """Whether two boxes share no element: along some dim one ends before the other, or they take turns."""
    for n, m, p, q, s, t in zip(a.size, b.size, a.offset, b.offset, a.stride, b.stride, strict=True):
        if p + (n - 1) * s < q or q + (m - 1) * t < p or (p - q) % gcd(s, t):
            return True
    return False


def _background(op: Operation) -> float | None:
    """What an update, or those it writes over, leave from a constant; None: all of that is written."""
    below = op.operands[0].owner
    if isinstance(below, Operation) and stanza_of(op).name == "update":
        if is_background(op, 0):
            return attrs_of(below)[1]
        if role_of(below) == PLACED:
            return fill_value(below)
    return None


def fill_value(op: Operation) -> float | None:
    """What a placement has where nothing is placed; None if everything is placed."""
    found = boxes(op)
    if found is None:
        return None if only_moves(op) else 0
    if _leave_nothing(found, shape_of(op.results[0])):
        return None
    if not stanza_of(op).is_placement:
        return _background(op)
    shape, out = shape_of(op.operands[0]), shape_of(op.results[0])
    return stanza_of(op).index_map(shape, out, attrs_of(op), (0,) * len(out))[1]
