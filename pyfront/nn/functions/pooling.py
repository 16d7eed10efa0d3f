"""Pooling of one to three dimensions: max, average, Lp and adaptive."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....dialects.errors import ShapeError, UnsupportedError
from ....dialects.types import show_type
from ... import recorder
from ...origin import origin, source_line
from ...tensor import Tensor, wrap
from .applying import apply, each, filled
from .convolution import padded

Spatial = int | tuple[int, ...]


def _windows(
    x: Tensor, size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], dilation: tuple[int, ...], ceil: bool
) -> tuple[int, ...]:
    """How much must be added behind each dimension so that the last window fits. ShapeError when no window does."""
    behind = []
    for n, k, s, p, d in zip(x.shape[-len(size) :], size, stride, padding, dilation, strict=True):
        if p > k // 2:
            raise RuntimeError(f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k}")
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
) -> Tensor:
    if input.dim() not in (rank + 1, rank + 2):
        raise RuntimeError(f"max_pool{rank}d: Expected {rank + 1}D or {rank + 2}D input, got {list(input.shape)}")
    if return_indices:
        raise UnsupportedError("max pooling: return_indices is not supported", at=source_line(origin()))
    size, dilation = each(kernel_size, rank, "kernel_size"), each(dilation, rank, "dilation")
    steps = size if stride is None or stride == () else each(stride, rank, "stride")
    low = each(padding, rank, "padding")
    high = _windows(input, size, steps, low, dilation, ceil_mode)
    whole = input.dtype.kind == "f"
    fill = -math.inf if whole else int(np.iinfo(input.dtype.numpy).min)
    x = padded(input, low, tuple(max(h, 0) for h in high), fill)
    return apply("max_pool", (x,), (size, steps, dilation), f"max_pool{rank}d_with_indices")


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


def max_pool3d(
    input: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0, dilation: Spatial = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """Largest element of each window of [..., d, h, w]."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg_pool(
    rank: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    if input.dim() not in (rank + 1, rank + 2):
        raise RuntimeError(f"avg_pool{rank}d: Expected {rank + 1}D or {rank + 2}D input, got {list(input.shape)}")
    size = each(kernel_size, rank, "kernel_size")
    steps = size if stride is None or stride == () else each(stride, rank, "stride")
    low = each(padding, rank, "padding")
    high = tuple(max(h, 0) for h in _windows(input, size, steps, low, (1,) * rank, ceil_mode))
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


def avg_pool3d(
    input: Tensor, kernel_size: Spatial, stride: Spatial | None = None, padding: Spatial = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Mean of each window of [..., d, h, w]."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _targets(input: Tensor, output_size: Any, rank: int) -> tuple[int, ...]:
    sizes = (output_size,) * rank if output_size is None or isinstance(output_size, int) else tuple(output_size)
    return tuple(n if t is None else int(t) for n, t in zip(input.shape[-rank:], sizes, strict=True))


def _bounds(n: int, out: int) -> list[tuple[int, int]]:
    return [(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]


def _adaptive_avg(rank: int, input: Tensor, output_size: Any) -> Tensor:
    targets = _targets(input, output_size, rank)
    sizes = tuple(input.shape[-rank:])
    if all(t and n % t == 0 for n, t in zip(sizes, targets, strict=True)):
        size = tuple(n // t for n, t in zip(sizes, targets, strict=True))
        return apply("avg_pool", (input,), (size, size), f"adaptive_avg_pool{rank}d")
    y = input
    for axis, (n, out) in enumerate(zip(sizes, targets, strict=True), input.dim() - rank):
        share = np.zeros((n, out), input.dtype.numpy)
        for i, (start, end) in enumerate(_bounds(n, out)):
            share[start:end, i] = 1 / (end - start)
        weights = wrap(recorder.leaf(share, (share.shape, input.dtype)))
        y = (y.transpose(axis, -1) @ weights).transpose(axis, -1)
    return y


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over as many equal parts of [..., l] as asked for."""
    return _adaptive_avg(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over a grid of parts of [..., h, w]."""
    return _adaptive_avg(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Mean over a grid of parts of [..., d, h, w]."""
    return _adaptive_avg(3, input, output_size)


def _adaptive_max(rank: int, input: Tensor, output_size: Any, return_indices: bool) -> Tensor:
    if return_indices:
        raise UnsupportedError("adaptive max pooling: return_indices is not supported", at=source_line(origin()))
    targets = _targets(input, output_size, rank)
    sizes = tuple(input.shape[-rank:])
    if all(t and n % t == 0 for n, t in zip(sizes, targets, strict=True)):
        size = tuple(n // t for n, t in zip(sizes, targets, strict=True))
        return apply("max_pool", (input,), (size, size, (1,) * rank), f"adaptive_max_pool{rank}d")
    y = input
    for axis, (n, out) in enumerate(zip(sizes, targets, strict=True), input.dim() - rank):
        parts = [y.narrow(axis, start, end - start).amax(axis, keepdim=True) for start, end in _bounds(n, out)]
        y = apply("concat", parts, (axis,))
    return y


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maximum over as many parts of [..., l] as asked for."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maximum over a grid of parts of [..., h, w]."""
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    """Maximum over a grid of parts of [..., d, h, w]."""
    return _adaptive_max(3, input, output_size, return_indices)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: int | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of |x| ** p) ** (1 / p) of each window."""
    total = _avg_pool(1, input**norm_type, kernel_size, stride, 0, ceil_mode, True) * kernel_size
    return (total.sign() * total.abs()).pow(1.0 / norm_type)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Spatial, stride: Spatial | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of |x| ** p) ** (1 / p) of each window."""
    count = math.prod(each(kernel_size, 2, "kernel_size"))
    total = _avg_pool(2, input**norm_type, kernel_size, stride, 0, ceil_mode, True) * count
    return (total.sign() * total.abs()).pow(1.0 / norm_type)
