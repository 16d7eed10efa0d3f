"""Pooling of one to three dimensions: max, average, Lp and adaptive."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ....dialects.errors import ShapeError
from ....dialects.types import int64, show_type
from ...autocasting import autocasts
from ... import recorder
from ...origin import origin, source_line
from ...phrases import Phrases
from ...selection import scatter
from ...precision import in_single
from ...tensor import Tensor, wrap
from .applying import apply, each, filled
from .convolution import padded

Spatial = int | tuple[int, ...]
_phrases = Phrases()  # the steps of pooling by the largest, by type and options


def _windows(
    x: Tensor, size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], ceil: bool
) -> tuple[int, ...]:
    """How much must be added behind each dimension so that the last window fits. ShapeError when no window does."""
    behind = []
    for n, k, s, p, d in zip(x.shape[-len(size) :], size, stride, padding, dilation, strict=True):
        if s <= 0:
            raise RuntimeError(f"stride must be greater than zero, but got {s}")
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > ((k - 1) * d + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and dilation={d}"
            )
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if ceil else room // s) + 1
        if ceil and (count - 1) * s >= n + p:
            count -= 1  # the last window must start inside the input or its left padding
        if count < 1:
            raise ShapeError(
                f"Given input size: {tuple(x.shape[-len(size) :])}. Output size is too small for kernel_size={size}",
                [("input", show_type(x._type), x._node.origin)],
                at=source_line(origin()),
            )
        behind.append((count - 1) * s + d * (k - 1) + 1 - n - p)
    return tuple(behind)


def _max_pool(
    rank: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool
) -> Any:
    key = (rank, input._node.type, *[tuple(o) if type(o) is list else o for o in (kernel_size, stride, padding, dilation)], ceil_mode)
    phrase = None if return_indices else _phrases.get(key)
    if phrase is not None:
        y = wrap(phrase.again((input._read(),)))
        y._label = f"max_pool{rank}d_with_indices"
        return y
    if input.dim() not in (rank + 1, rank + 2):
        raise RuntimeError(f"max_pool{rank}d: Expected {rank + 1}D or {rank + 2}D input, got {list(input.shape)}")
    size, dilation = each(kernel_size, rank, "kernel_size"), each(dilation, rank, "dilation")
    steps = size if stride is None or isinstance(stride, tuple) and not stride else each(stride, rank, "stride")
    low = each(padding, rank, "padding")
    high = _windows(input, size, steps, low, dilation, ceil_mode)
    if return_indices:
        lines = [
            [[i * s + u * d - p for u in range(k)] for i in range((n + p + h - (k - 1) * d - 1) // s + 1)]
            for n, k, s, p, h, d in zip(input.shape[-rank:], size, steps, low, high, dilation, strict=True)
        ]
        return _max_and_where(rank, input, lines, f"max_pool{rank}d_with_indices")
    whole = input.dtype.kind == "f"
    fill = -math.inf if whole else int(np.iinfo(input.dtype.numpy).min)
    x = padded(input, low, tuple(max(h, 0) for h in high), fill)
    y = apply("max_pool", (x,), (size, steps, dilation), f"max_pool{rank}d_with_indices")
    y = wrap(_phrases.keep(key, (input._read(),), y._read()))
    y._label = f"max_pool{rank}d_with_indices"
    return y


def _max_and_where(rank: int, input: Tensor, lines: list[list[list[int]]], label: str) -> tuple[Tensor, Tensor]:
    """The largest element of each window, and its position among all elements of the last ``rank`` dimensions.

    lines[axis][i]: the places the i-th window reads along an axis; places outside the input count for nothing.
    """
    z, sizes = tuple(input.shape[:-rank]), tuple(input.shape[-rank:])
    table = _places(lines, sizes)
    flat = input.reshape(*z, math.prod(sizes))
    outs = tuple(len(line) for line in lines)
    windows = apply("take", (flat.detach(), _known(table)), (len(z),))
    first = apply("argmax", (windows,), (windows.dim() - 1,))
    wanted = (*z, *table.shape)
    spread = _known(table.reshape((1,) * len(z) + table.shape)).expand(wanted)
    index = apply("gather", (spread, first), (len(wanted) - 1,)).squeeze(-1)
    values = apply("gather", (flat, index), (len(z),)).reshape(*z, *outs)
    values._label = label
    return values, index.reshape(*z, *outs)


def _known(array: np.ndarray) -> Tensor:
    return wrap(recorder.constant(array, (array.shape, int64)))


def _places(lines: list[list[list[int]]], sizes: tuple[int, ...]) -> np.ndarray:
    """int64[windows, places]: positions in row-major order; what is missing repeats the first place of its window."""
    table = np.zeros((1, 1), np.int64)
    for line, n in zip(lines, sizes, strict=True):
        inside = [[p for p in places if 0 <= p < n] for places in line]
        longest = max((len(places) for places in inside), default=0)
        rows = np.array([places[:1] * (longest - len(places)) + places for places in inside], np.int64).reshape(-1, longest)
        table = (table[:, None, :, None] * n + rows[None, :, None, :]).reshape(len(table) * len(rows), -1)
    return np.ascontiguousarray(table)


def max_pool1d(
    input: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0, dilation: Spatial = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """Largest element of each window of [..., l]."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0, dilation: Spatial = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """Largest element of each window of [..., h, w]."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@autocasts("max_pool3d")
def max_pool3d(
    input: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0, dilation: Spatial = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """Largest element of each window of [..., d, h, w]."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _max_unpool(
    rank: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    if indices.shape != input.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            f"tensor with shape: {list(indices.shape)}"
        )
    if indices.dtype is not int64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype}")
    size = each(kernel_size, rank, "kernel_size")
    steps = size if stride is None else each(stride, rank, "stride")
    low = each(padding, rank, "padding")
    usual = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(input.shape[-rank:], steps, low, size, strict=True))
    outs = usual if output_size is None else tuple(output_size)[-rank:]
    if any(not u - s < n < u + s for u, s, n in zip(usual, steps, outs, strict=True)):
        raise ValueError(f"invalid output_size {outs}: each size must be within one stride of {usual}")
    z = tuple(input.shape[:-rank])
    count = math.prod(outs)
    held = indices._value()
    if held.size and (held.min() < 0 or held.max() >= count):
        raise RuntimeError(f"Found an invalid max index: {held.max()} (output volumes are of size {outs})")
    nothing = filled((*z, count), 0, input.dtype)
    placed = scatter(nothing, -1, indices.reshape(*z, -1), input.reshape(*z, -1))
    return placed.reshape(*z, *outs)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """What max_pool1d found, back where it was; zero elsewhere."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@autocasts("max_unpool2d")
def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """What max_pool2d found, back where it was; zero elsewhere."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@autocasts("max_unpool3d")
def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """What max_pool3d found, back where it was; zero elsewhere."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _avg_pool(
    rank: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    if input.dim() not in (rank + 1, rank + 2):
        raise RuntimeError(f"avg_pool{rank}d: Expected {rank + 1}D or {rank + 2}D input, got {list(input.shape)}")
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    size = each(kernel_size, rank, "kernel_size")
    steps = size if stride is None or isinstance(stride, tuple) and not stride else each(stride, rank, "stride")
    low = each(padding, rank, "padding")
    high = tuple(max(h, 0) for h in _windows(input, size, steps, low, (1,) * rank, ceil_mode))
    if input.dtype.kind != "f":
        return _int_avg_pool(input, size, steps, low, high, count_include_pad, divisor_override)
    y = apply("avg_pool", (padded(input, low, high),), (size, steps), f"avg_pool{rank}d")
    if divisor_override is not None:
        return y * (math.prod(size) / divisor_override)
    counted = low if count_include_pad else (0,) * rank
    if all(h <= c for h, c in zip(high, counted, strict=True)) and counted == low:
        return y
    # Windows that reach over the border average fewer elements: divide by the share that counts.
    there = filled(tuple(n + 2 * c for n, c in zip(input.shape[-rank:], counted, strict=True)), 1.0, input.dtype)
    missing = tuple(a - c for a, c in zip(low, counted, strict=True))
    behind = tuple(h - c for h, c in zip(high, counted, strict=True))
    share = apply("avg_pool", (padded(there, missing, behind),), (size, steps))
    return y / share


def _int_avg_pool(
    input: Tensor, size: tuple, steps: tuple, low: tuple, high: tuple, count_include_pad: bool, divisor: int | None
) -> Tensor:
    """Integers: the sum of each window divided by how many count, rounded towards zero."""
    total = _window_sum(padded(input, low, high), size, steps)
    if divisor is None:
        counted = low if count_include_pad else (0,) * len(size)
        there = filled(tuple(n + 2 * c for n, c in zip(input.shape[-len(size) :], counted, strict=True)), 1, input.dtype)
        missing = tuple(a - c for a, c in zip(low, counted, strict=True))
        behind = tuple(h - c for h, c in zip(high, counted, strict=True))
        return total.div(_window_sum(padded(there, missing, behind), size, steps), rounding_mode="trunc")
    return total.div(divisor, rounding_mode="trunc")


def _window_sum(x: Tensor, size: tuple, steps: tuple) -> Tensor:
    windows = apply("window", (x,), (size, steps, (1,) * len(size)))
    return windows.sum(tuple(range(-len(size), 0)), dtype=x.dtype)


def avg_pool1d(
    input: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Mean of each window of [..., l]."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Mean of each window of [..., h, w]."""
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@autocasts("avg_pool3d")
def avg_pool3d(
    input: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Mean of each window of [..., d, h, w]."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _targets(name: str, input: Tensor, output_size: Any, rank: int) -> tuple[int, ...]:
    """Sizes out; None keeps one. RuntimeError for a wrong number of them or negative ones."""
    sizes = (output_size,) * rank if output_size is None or isinstance(output_size, int) else tuple(output_size)
    if len(sizes) != rank:
        raise RuntimeError(f"{name}{rank}d: output_size must be {rank}, got {len(sizes)}")
    found = tuple(n if t is None else int(t) for n, t in zip(input.shape[-rank:], sizes, strict=True))
    if min(found) < 0:
        raise RuntimeError(f"{name}{rank}d: elements of output_size must be greater than or equal to 0, got {sizes}")
    return found


def _bounds(n: int, out: int) -> list[tuple[int, int]]:
    return [(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]


def _check_spatial(input: Tensor, rank: int) -> None:
    if input.dim() < rank + 1:
        raise ValueError(f"Input dimension should be at least {rank + 1}")


@in_single
def adaptive_avg(rank: int, input: Tensor, output_size: Any) -> Tensor:
    """Means over a grid of parts of the last ``rank`` dimensions, as equal as they can be."""
    _check_spatial(input, rank)
    targets = _targets("adaptive_avg_pool", input, output_size, rank)
    sizes = tuple(input.shape[-rank:])
    if all(t and n % t == 0 for n, t in zip(sizes, targets, strict=True)):
        size = tuple(n // t for n, t in zip(sizes, targets, strict=True))
        return apply("avg_pool", (input,), (size, size), f"adaptive_avg_pool{rank}d")
    y = input
    for axis, (n, out) in enumerate(zip(sizes, targets, strict=True), input.dim() - rank):
        share = np.zeros((n, out), input.dtype.numpy)
        for i, (start, end) in enumerate(_bounds(n, out)):
            share[start:end, i] = 1 / (end - start)
        weights = wrap(recorder.fixed(share, (share.shape, input.dtype)))
        y = (y.transpose(axis, -1) @ weights).transpose(axis, -1)
    return y


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over as many equal parts of [..., l] as asked for."""
    return adaptive_avg(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over a grid of parts of [..., h, w]."""
    return adaptive_avg(2, input, output_size)


@autocasts("adaptive_avg_pool3d")
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over a grid of parts of [..., d, h, w]."""
    return adaptive_avg(3, input, output_size)


def _adaptive_max(rank: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    _check_spatial(input, rank)
    targets = _targets("adaptive_max_pool", input, output_size, rank)
    sizes = tuple(input.shape[-rank:])
    label = f"adaptive_max_pool{rank}d"
    if not return_indices and all(t and n % t == 0 for n, t in zip(sizes, targets, strict=True)):
        size = tuple(n // t for n, t in zip(sizes, targets, strict=True))
        return apply("max_pool", (input,), (size, size, (1,) * rank), label)
    lines = [[list(range(*bounds)) for bounds in _bounds(n, t)] for n, t in zip(sizes, targets, strict=True)]
    values, index = _max_and_where(rank, input, lines, label)
    return (values, index) if return_indices else values


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maximum over as many parts of [..., l] as asked for."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maximum over a grid of parts of [..., h, w]."""
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maximum over a grid of parts of [..., d, h, w]."""
    return _adaptive_max(3, input, output_size, return_indices)


def _lp_pool(rank: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    if math.isinf(norm_type):
        sign = 1.0 if norm_type > 0 else -1.0
        return sign * _max_pool(rank, sign * input.abs(), kernel_size, stride, 0, 1, ceil_mode, False)
    count = math.prod(each(kernel_size, rank, "kernel_size"))
    total = _avg_pool(rank, input**norm_type, kernel_size, stride, 0, ceil_mode, True) * count
    return (total.sign() * total.abs()).pow(1.0 / norm_type)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: int | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of |x| ** p) ** (1 / p) of each window of [..., l]; for p = inf the largest |x|."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Spatial, stride: Spatial | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of |x| ** p) ** (1 / p) of each window of [..., h, w]; for p = inf the largest |x|."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Spatial, stride: Spatial | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of |x| ** p) ** (1 / p) of each window of [..., d, h, w]; for p = inf the largest |x|."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def _with_indices(pool: Callable[..., Any]) -> Callable[..., Any]:
    """The pool that always says where the maxima are."""

    @functools.wraps(pool)
    def both(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options)
        given.arguments["return_indices"] = True
        return pool(*given.args, **given.kwargs)

    signature = inspect.signature(pool)
    both.__name__ = pool.__name__ + "_with_indices"
    return both


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = (
    _with_indices(pool) for pool in (max_pool1d, max_pool2d, max_pool3d)
)
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = (
    _with_indices(pool) for pool in (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d)
)
