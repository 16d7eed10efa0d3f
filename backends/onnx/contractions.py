"""Contractions: products and convolutions, with the padding in front of them and the bias behind them."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
from onnx.helper import get_attribute_value

from ...dialects.errors import UnsupportedError
from ...dialects.sizes import is_symbolic
from ...dialects.types import float32, int8, int32, int64, uint8
from .scalars import each, together
from .writer import Use, Value, Writer, rule, same_shape

_PRODUCTS = (int32, int64)


@rule("matmul")
def matmul(w: Writer, use: Use) -> Value:
    """A product of matrices, one of them for the whole batch where it was repeated; narrow integers are multiplied in int32."""
    shape, dtype = use.types[0]
    a, b = (_once(v) for v in use.operands)
    if not same_shape(together((a.shape[:-2], b.shape[:-2]), len(shape) - 2), shape[:-2]):
        a = use.operands[0]
    if dtype.kind == "f" or dtype in _PRODUCTS:
        return w.emit("MatMul", (a, b), use.types[0])
    return w.cast(w.emit("MatMul", (w.cast(a, int32), w.cast(b, int32)), (shape, int32)), dtype)


def _once(value: Value) -> Value:
    """The matrices behind repeated ones."""
    if value.made_by("expand") and same_shape(value.step[1][0].shape[-2:], value.shape[-2:]):
        return value.step[1][0]
    return value


@rule("linear")
def linear(w: Writer, use: Use) -> Value | None:
    """Gemm of the weight as PyTorch stores it, where x is a matrix."""
    x, weight, bias = use.operands
    if len(x.shape) == 2 and x.dtype.kind == "f":
        return w.emit("Gemm", (x, weight, bias), use.types[0], transB=1)
    if x.dtype.kind != "f":
        return None
    product = w.op("matmul", x, _repeated(w, w.op("permute", weight, (1, 0)), x.shape[:-2]))
    return w.op("add", product, w.op("expand", w.op("reshape", bias, (*(1,) * (len(x.shape) - 1), *bias.shape)), product.shape))


def _repeated(w: Writer, matrix: Value, batch: tuple) -> Value:
    return w.op("expand", w.op("reshape", matrix, (*(1,) * len(batch), *matrix.shape)), (*batch, *matrix.shape))


@rule("conv")
def conv(w: Writer, use: Use) -> Value:
    """Conv: groups become an attribute, and so does padding with zeros. Over elements with gaps between them it is a transposed one."""
    x, kernel = use.operands
    if x.dtype in _PRODUCTS and (channels := _channels_at_once(x, kernel)):
        return _in_parts(w, use, channels)
    _only_floats(w, x, "convolutions")
    (n, z, _, *_), (_, o, c, *u) = x.shape, kernel.shape
    flat, margins = _behind_pad(w, x)
    if any(margins.interior):
        if all(k == 1 for k in use["stride"]):
            spatial = tuple(range(3, len(x.shape)))
            turned = w.op("flip", w.op("permute", kernel, (0, 2, 1, *spatial)), spatial)
            return w.op("conv_input", x, turned, use["dilation"])
        flat, margins = w.op("reshape", x, (n, z * c, *x.shape[3:])), Margins.none(len(u))
    inputs = flat, w.op("reshape", kernel, (z * o, c, *u))
    y = w.emit(
        "Conv", inputs, ((n, z * o, *use.types[0][0][3:]), x.dtype), group=z, kernel_shape=list(u), strides=list(use["stride"]),
        dilations=list(use["dilation"]), pads=[*margins.low, *margins.high],
    )  # fmt: skip
    y.step = ("conv", inputs, (w.nodes[-1],))
    return w.op("reshape", y, use.types[0][0])


def _in_parts(w: Writer, use: Use, channels: int) -> Value:
    """A convolution of small integers, by so many channels at a time: their sums are exact in float32, in whatever order."""
    x, kernel = use.operands
    total = None
    for first in range(0, kernel.shape[2], channels):
        count = min(channels, kernel.shape[2] - first)
        parts = [w.cast(_channels(w, v, first, count), float32) for v in (x, kernel)]
        made = w.cast(w.op("conv", *parts, use["stride"], use["dilation"]), x.dtype)
        total = made if total is None else w.op("add", total, made)
    assert total is not None
    return total


def _channels(w: Writer, value: Value, first: int, count: int) -> Value:
    shape = value.shape
    if count == shape[2]:
        return value
    start = (0, 0, first, *(0,) * (len(shape) - 3))
    return w.op("slice", value, start, (*shape[:2], count, *shape[3:]), (1,) * len(shape))


def _channels_at_once(x: Value, kernel: Value) -> int:
    """How many channels of a convolution sum to less than what float32 counts to; 0 where it is not known how large elements are."""
    largest = [_largest(v) for v in (x, kernel)]
    if None in largest or any(is_symbolic(d) for d in kernel.shape):
        return 0
    return (1 << 24) // max(largest[0] * largest[1] * prod(kernel.shape[3:]), 1)


def _largest(value: Value) -> int | None:
    """A number no element is larger than, of integers that were bytes."""
    fills = [0]
    while value.array is None and value.step is not None and value.step[0] in ("reshape", "permute", "expand", "slice", "pad", "cast"):
        if value.dtype in (uint8, int8):
            return max(*fills, 255 if value.dtype is uint8 else 128)
        if value.dtype.kind not in "iu":
            return None
        if value.step[0] == "pad":
            fills.append(abs(int(value.step[2][3])))
        value = value.step[1][0]
    if value.array is not None and value.dtype.kind in "iu":
        return max(*fills, int(np.abs(value.array.astype(np.int64)).max(initial=0)))
    return max(*fills, 255 if value.dtype is uint8 else 128) if value.dtype in (uint8, int8) else None


class Margins(NamedTuple):
    """What a pad adds: before, behind and between the elements of each dimension."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    interior: tuple[int, ...]

    @classmethod
    def none(cls, rank: int) -> Margins:
        """Nothing."""
        return cls((0,) * rank, (0,) * rank, (0,) * rank)


def pad_of(x: Value, leading: int, fill: float) -> tuple[Value, Margins] | None:
    """The value behind a pad with this fill that leaves its leading dimensions as they are, and the margins of the others. None if
    it is no such pad, takes something away, or its margins are known only at the call."""
    if x.name is not None or not x.made_by("pad"):
        return None
    (inner,), (low, high, interior, value) = x.step[1], x.step[2]
    if value != fill or any(is_symbolic(n) or n < 0 for n in (*low, *high)) or any((*low[:leading], *high[:leading], *interior[:leading])):
        return None
    return inner, Margins(low[leading:], high[leading:], interior[leading:])


def _behind_pad(w: Writer, x: Value) -> tuple[Value, Margins]:
    """[n, z * c, ..d] of [n, z, c, ..d], and what it is padded by: before its channels were split into groups, or after."""
    n, z, c, *d = x.shape
    found = pad_of(x, 3, 0)
    if found is not None:
        inner, margins = found
        return w.op("reshape", inner, (n, z * c, *inner.shape[3:])), margins
    flat = w.op("reshape", x, (n, z * c, *d))
    return pad_of(flat, 2, 0) or (flat, Margins.none(len(d)))


@rule("add")
def add(w: Writer, use: Use) -> Value:
    """A sum; of a convolution and a number per channel, the convolution with a bias."""
    y, bias = use.operands
    source = _per_channel(bias, y.shape)
    if y.step is None or y.step[0] != "conv" or source is None:
        return each(w, use)
    inputs, (node,) = y.step[1], y.step[2]
    attributes = {a.name: get_attribute_value(a) for a in node.attribute}
    return w.emit(node.op_type, (*inputs, source), use.types[0], **attributes)


def _per_channel(bias: Value, shape: tuple) -> Value | None:
    """[c] of a value that is that, reshaped to [1, c, 1, …] and expanded."""
    if not bias.made_by("expand"):
        return None
    (narrow,) = bias.step[1]
    if len(shape) < 3 or not same_shape(narrow.shape, (1, shape[1], *(1,) * (len(shape) - 2))):
        return None
    return narrow.owner.op("reshape", narrow, (shape[1],))


@rule("conv_input")
def conv_input(w: Writer, use: Use) -> Value:
    """ConvTranspose: what spread and padded its operand becomes strides and pads."""
    e, kernel = use.operands
    _only_floats(w, e, "convolutions")
    (n, z, o, *p), (_, _, c, *u) = e.shape, kernel.shape
    reach = [(k - 1) * d for k, d in zip(u, use["dilation"], strict=True)]
    flat, margins = _behind_pad(w, e)
    extra = [max(0, b - r) for b, r in zip(margins.high, reach, strict=True)]
    too_wide = any(a > r for a, r in zip(margins.low, reach, strict=True))
    if too_wide or any(x > gap for x, gap in zip(extra, margins.interior, strict=True)):
        flat, margins, extra = w.op("reshape", e, (n, z * o, *p)), Margins.none(len(u)), [0] * len(u)
    pads = [*(r - a for r, a in zip(reach, margins.low, strict=True)), *(max(0, r - b) for r, b in zip(reach, margins.high, strict=True))]
    inputs = flat, w.op("reshape", kernel, (z * o, c, *u))
    y = w.emit(
        "ConvTranspose", inputs, ((n, z * c, *use.types[0][0][3:]), e.dtype), group=z, kernel_shape=list(u),
        strides=[k + 1 for k in margins.interior], dilations=list(use["dilation"]), pads=pads, output_padding=extra,
    )  # fmt: skip
    y.step = ("conv", inputs, (w.nodes[-1],))
    return w.op("reshape", y, use.types[0][0])


@rule("conv_kernel")
def conv_kernel(w: Writer, use: Use) -> Value:
    """A convolution of the batch: stride and dilation change places, and so do batch and channels."""
    x, e = use.operands
    size = use["size"]
    spatial = range(3, len(x.shape))
    moved = w.op("permute", x, (2, 1, 0, *spatial))  # [c, z, n, ..d]
    given = w.op("permute", e, (1, 2, 0, *spatial))  # [z, o, n, ..p]
    found = w.op("conv", moved, given, use["dilation"], use["stride"])  # [c, z, o, ..at least size]
    head = found.shape[:3]
    rank = len(found.shape)
    found = w.op("slice", found, (0,) * rank, (*head, *size), (1,) * rank)
    return w.op("permute", found, (1, 2, 0, *spatial))


def _only_floats(w: Writer, x: Value, what: str) -> None:
    if x.dtype.kind != "f":
        raise UnsupportedError(f"ONNX has no {what} of {x.dtype.name}", at=w.origin, help="compute them in float32")
