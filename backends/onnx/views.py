"""Views, placements and what is put together: where elements are read and where they go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...dialects.sizes import Size, is_symbolic
from ...dialects.types import bool_, int32, int64
from .writer import Use, Value, Writer, rule, same_shape

_FIRST, _LAST = -(2**63), 2**63 - 1


@rule("reshape")
def reshape(w: Writer, use: Use) -> Value:
    """One size that is not known becomes -1; sizes of 0 are meant as such."""
    (x,) = use.operands
    to = use.types[0][0]
    unknown = [i for i, d in enumerate(to) if isinstance(d, Size)]
    if len(unknown) == 1 and 0 not in [d for d in to if not isinstance(d, Size)]:
        to = tuple(-1 if i in unknown else d for i, d in enumerate(to))
    empty = any(not isinstance(d, Size) and d == 0 for d in to)
    return w.emit("Reshape", (x, w.ints(to)), use.types[0], allowzero=1 if empty else None)


@rule("expand")
def expand(w: Writer, use: Use) -> Value:
    """Sizes of 1 grow."""
    (x,) = use.operands
    return w.emit("Expand", (x, w.ints(use["to"])), use.types[0])


@rule("full")
def full(w: Writer, use: Use) -> Value:
    """A number repeated."""
    shape, dtype = use.types[0]
    number = w.scalar(use["value"], dtype)
    return w.emit("Expand", (number, w.ints(shape)), use.types[0]) if shape else number


@rule("permute")
def permute(w: Writer, use: Use) -> Value:
    """Dimensions in another order."""
    return w.emit("Transpose", use.operands, use.types[0], perm=list(use["order"]))


@rule("slice")
def slice_(w: Writer, use: Use) -> Value:
    """A box by steps, of the dimensions it narrows."""
    (x,) = use.operands
    start, size, step = use["start"], use["size"], use["step"]
    axes = [i for i in range(len(size)) if not (same_shape(size[i : i + 1], x.shape[i : i + 1]) and start[i] == 0 and step[i] == 1)]
    if not axes:
        return x
    ends = [start[i] + (size[i] - 1) * step[i] + 1 if is_symbolic(size[i]) or size[i] else start[i] for i in axes]
    inputs = (x, w.ints([start[i] for i in axes]), w.ints(ends), w.ints(axes), w.ints([step[i] for i in axes]))
    return w.emit("Slice", inputs, use.types[0])


@rule("flip")
def flip(w: Writer, use: Use) -> Value:
    """Dimensions read backwards."""
    (x,), axes = use.operands, use["axes"]
    n = len(axes)
    return w.emit("Slice", (x, w.ints([-1] * n), w.ints([_FIRST] * n), w.ints(axes), w.ints([-1] * n)), use.types[0]) if n else x


@rule("pad")
def pad(w: Writer, use: Use) -> Value:
    """Margins, of negative width too. Gaps between neighbours are margins of a dimension of size 1 behind each."""
    (x,) = use.operands
    low, high, interior = use["low"], use["high"], use["interior"]
    rank = len(low)
    for i in range(rank):
        if interior[i]:
            x = _spread(w, x, i, interior[i], use["fill"])
            high = (*high[:i], high[i] - interior[i], *high[i + 1 :])
    if any(not is_symbolic(n) and n < 0 for n in (*low, *high)):
        x, low, high = _cropped(w, x, low, high)
    if all(not is_symbolic(n) and n == 0 for n in (*low, *high)):
        return x
    fill = w.scalar(use["fill"], x.dtype)
    return w.emit("Pad", (x, w.ints((*low, *high)), fill), use.types[0], mode="constant")


def _cropped(w: Writer, x: Value, low: tuple, high: tuple) -> tuple[Value, tuple, tuple]:
    """What margins of negative width leave, and the margins that are left."""
    start = tuple(-n if not is_symbolic(n) and n < 0 else 0 for n in low)
    size = tuple(d - a + (n if not is_symbolic(n) and n < 0 else 0) for d, a, n in zip(x.shape, start, high, strict=True))
    x = w.op("slice", x, start, size, (1,) * len(size))
    return x, *(tuple(n if is_symbolic(n) or n > 0 else 0 for n in margin) for margin in (low, high))


def _spread(w: Writer, x: Value, axis: int, gap: int, fill: Any) -> Value:
    """``gap`` elements of fill behind every element along an axis."""
    shape = x.shape
    x = w.op("reshape", x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
    none = (0,) * (len(shape) + 1)
    x = w.op("pad", x, none, (*none[: axis + 1], gap, *none[axis + 2 :]), none, fill)
    return w.op("reshape", x, (*shape[:axis], shape[axis] * (gap + 1), *shape[axis + 1 :]))


@rule("concat")
def concat(w: Writer, use: Use) -> Value:
    """Values end to end."""
    return w.emit("Concat", use.operands, use.types[0], axis=use["axis"])


@rule("iota")
def iota(w: Writer, use: Use) -> Value:
    """0, 1, 2, … along an axis."""
    shape, dtype = use.types[0]
    axis = use["axis"]
    line = w.cast(_counted(w, shape[axis]), dtype)
    ones = (1,) * len(shape)
    return w.op("expand", w.op("reshape", line, (*ones[:axis], shape[axis], *ones[axis + 1 :])), shape)


def _counted(w: Writer, n: int | Size) -> Value:
    if not isinstance(n, Size):
        return w.constant(np.arange(n, dtype=np.int64))
    limit = w.scalar(n, int64)
    return w.emit("Range", (w.scalar(0, int64), limit, w.scalar(1, int64)), ((n,), int64))


@rule("window")
def window(w: Writer, use: Use) -> Value:
    """Each of the last dimensions is read at place * stride + offset * dilation; places in front of offsets then."""
    (x,) = use.operands
    size, stride, dilation = use["size"], use["stride"], use["dilation"]
    before = len(x.shape) - len(size)
    places = use.types[0][0][before : before + len(size)]
    for k in range(len(size)):
        axis = before + 2 * k
        starts = w.op("mul", w.op("reshape", _counted(w, places[k]), (places[k], 1)), w.op("full", (places[k], 1), stride[k], int64))
        offsets = w.constant(np.arange(size[k], dtype=np.int64)[None] * dilation[k])
        both = (places[k], size[k])
        index = w.op("add", w.op("expand", starts, both), w.op("expand", offsets, both))
        x = w.op("take", x, index, axis)
    pairs = range(before, before + 2 * len(size), 2)
    return w.op("permute", x, (*range(before), *pairs, *(i + 1 for i in pairs)))


@rule("unwindow")
def unwindow(w: Writer, use: Use) -> Value:
    """Dimension after dimension: what each offset of the window read is spread by the stride, moved to its place and added."""
    (y,) = use.operands
    to, size, stride, dilation = use["to"], use["size"], use["stride"], use["dilation"]
    before, n = len(y.shape) - 2 * len(size), len(size)
    for k in range(n):
        y = _unwindowed(w, y, before + k, before + n, to[k], size[k], stride[k], dilation[k])
    return y


def _unwindowed(w: Writer, y: Value, axis: int, offsets: int, to: int, size: int, stride: int, dilation: int) -> Value:
    total = None
    for u in range(size):
        rank = len(y.shape)
        part = w.op("slice", y, (*(0,) * offsets, u, *(0,) * (rank - offsets - 1)), (*y.shape[:offsets], 1, *y.shape[offsets + 1 :]), (1,) * rank)
        part = w.op("reshape", part, (*y.shape[:offsets], *y.shape[offsets + 1 :]))
        none = (0,) * (rank - 1)
        reach = (part.shape[axis] - 1) * stride + 1
        low, high = u * dilation, to - reach - u * dilation
        margins = [(*none[:axis], m, *none[axis + 1 :]) for m in (low, high, stride - 1)]
        part = w.op("pad", part, *margins, 0)
        total = part if total is None else w.op("add", total, part)
    assert total is not None
    return total


@rule("update")
def update(w: Writer, use: Use) -> Value:
    """y where a mask of its box says so."""
    x, y = use.operands
    start, step = use["start"], use["step"]
    margins = _margins_of_box(x.shape, y.shape, start, step)
    here = w.op("pad", w.op("full", y.shape, 1, int32), *margins, 0)
    return w.op("select", w.cast(here, bool_), w.op("pad", y, *margins, 0), x)


def _margins_of_box(x: Sequence, y: Sequence, start: Sequence, step: Sequence) -> tuple[tuple, tuple, tuple]:
    high = tuple(n - a - ((m - 1) * k + 1) if is_symbolic(m) or m else n - a for n, m, a, k in zip(x, y, start, step, strict=True))
    return tuple(start), high, tuple(k - 1 for k in step)
