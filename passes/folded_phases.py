"""Folded phases: all residues of a spread input at once, as channels of one convolution without a stride.

    result[s m + f] = sum over t of source[m + t - q] * kernel[s t + s - 1 - f],    s: the distance of the source's elements

where the first of them is at s q + s - 1: results in front of the first one that is asked for make it so, and are left out again. A convolution per
phase (`split_phases`) reads and writes less; of hundreds of phases (patches that are spread out, maps enlarged many times) each would be a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from xdsl.ir import SSAValue

from ..dialects.ops import BookOp, XdslBuilder, type_of
from .phases import LEADING, kernel_of_conv, part, zero
from .program import origin_of

MOST = 8
"""Phases that are kernels of their own."""


class Fold(NamedTuple):
    """One spatial dimension. front: results that are made in front of the first; count: results of each phase; taps: of each phase's kernel;
    ahead: zeros in front of the source (negative: elements that nobody reads)."""

    stride: int
    front: int
    count: int
    taps: int
    ahead: int


def fold(results: int, kernel: int, stride: int, low: int) -> Fold:
    """result[i] = sum over u of spread[i + u] * kernel[u], with the source at low, low + stride, …"""
    front = (stride - 1 - low) % stride
    return Fold(stride, front, -(-(front + results) // stride), -(-kernel // stride), (low + front - stride + 1) // stride)


def folded_conv(op: BookOp, source: SSAValue, folds: Sequence[Fold]) -> SSAValue:
    """What replaces a `conv` or `conv_input` of the source spread out. Neither has a stride or a dilation of its own."""
    build = XdslBuilder(op, origin_of(op))
    kernel, rank = op.operands[1], len(folds)
    if op.op_name == "conv_input":
        kernel = kernel_of_conv(build, kernel)
    g, out, channels = type_of(kernel)[0][:LEADING]
    kernel = _turned(build, _split(build, kernel, [(0, f.taps * f.stride) for f in folds], folds), rank)
    kernel = build("reshape", (_phases_in_front(build, kernel, 1, rank),), ((g, _phases(folds) * out, channels, *[f.taps for f in folds]),))[0]
    made = build("conv", (_around(build, source, folds), kernel), ((1,) * rank, (1,) * rank))[0]
    n = type_of(made)[0][0]
    made = build("reshape", (made,), ((n, g, *[f.stride for f in folds], out, *[f.count for f in folds]),))[0]
    whole = _side_by_side(build, made, 2, 1, folds)
    return part(build, whole, [f.front for f in folds], type_of(op.results[0])[0][LEADING:], [1] * rank)


def folded_kernel(op: BookOp, source: SSAValue, folds: Sequence[Fold]) -> SSAValue:
    """What replaces a `conv_kernel` of the source spread out, without a stride or a dilation of its own."""
    build = XdslBuilder(op, origin_of(op))
    arrived, rank = op.operands[1], len(folds)
    n, g, out = type_of(arrived)[0][:LEADING]
    arrived = _split(build, arrived, [(f.front, f.count * f.stride) for f in folds], folds)
    arrived = build("reshape", (_phases_in_front(build, arrived, 2, rank),), ((n, g, _phases(folds) * out, *[f.count for f in folds]),))[0]
    taps = tuple(f.taps for f in folds)
    made = build("conv_kernel", (_around(build, source, folds), arrived), (taps, (1,) * rank, (1,) * rank))[0]
    channels = type_of(made)[0][2]
    made = build("reshape", (made,), ((g, *[f.stride for f in folds], out, channels, *taps),))[0]
    made = build("flip", (made,), (tuple(range(1, 1 + rank)),))[0]
    whole = _side_by_side(build, made, 1, 2, folds)
    return part(build, whole, [0] * rank, type_of(op.results[0])[0][LEADING:], [1] * rank)


def _phases(folds: Sequence[Fold]) -> int:
    return prod(f.stride for f in folds)


def _around(build: XdslBuilder, source: SSAValue, folds: Sequence[Fold]) -> SSAValue:
    """The source with what every phase reads of it, and nothing more."""
    sizes = type_of(source)[0][LEADING:]
    low = [f.ahead for f in folds]
    high = [f.count + f.taps - 1 - f.ahead - size for f, size in zip(folds, sizes, strict=True)]
    return source if not any((*low, *high)) else _fitted(build, source, low, high)


def _fitted(build: XdslBuilder, value: SSAValue, low: Sequence[int], high: Sequence[int]) -> SSAValue:
    """Zeros in front of and behind the spatial dims; where negative, elements that are left out."""
    nothing = (0,) * LEADING
    return build("pad", (value,), ((*nothing, *low), (*nothing, *high), (0,) * (LEADING + len(low)), zero(value)))[0]


def _split(build: XdslBuilder, value: SSAValue, places: Sequence[tuple[int, int]], folds: Sequence[Fold]) -> SSAValue:
    """Spatial dims, with zeros in front and behind up to a size (places), each as one of blocks and one inside them."""
    shape = type_of(value)[0]
    low = [front for front, _ in places]
    high = [size - front - n for (front, size), n in zip(places, shape[LEADING:], strict=True)]
    value = value if not any((*low, *high)) else _fitted(build, value, low, high)
    blocks = [n for f, (_, size) in zip(folds, places, strict=True) for n in (size // f.stride, f.stride)]
    return build("reshape", (value,), ((*shape[:LEADING], *blocks),))[0]


def _turned(build: XdslBuilder, value: SSAValue, rank: int) -> SSAValue:
    """The dims inside blocks the other way round."""
    return build("flip", (value,), (tuple(LEADING + 2 * d + 1 for d in range(rank)),))[0]


def _phases_in_front(build: XdslBuilder, value: SSAValue, at: int, rank: int) -> SSAValue:
    """Blocks' insides in front of dim ``at``."""
    inside, blocks = [LEADING + 2 * d + 1 for d in range(rank)], [LEADING + 2 * d for d in range(rank)]
    return build("permute", (value,), ((*range(at), *inside, *range(at, LEADING), *blocks),))[0]


def _side_by_side(build: XdslBuilder, value: SSAValue, at: int, between: int, folds: Sequence[Fold]) -> SSAValue:
    """Phases at dim ``at``, ``between`` dims in front of the blocks, back inside them."""
    shape, rank = type_of(value)[0], len(folds)
    blocks = at + rank + between
    pairs = [d for k in range(rank) for d in (blocks + k, at + k)]
    value = build("permute", (value,), ((*range(at), *range(at + rank, blocks), *pairs),))[0]
    sizes = [shape[blocks + k] * f.stride for k, f in enumerate(folds)]
    return build("reshape", (value,), ((*shape[:at], *shape[at + rank : blocks], *sizes),))[0]
