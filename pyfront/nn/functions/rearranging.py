"""Rearranging: pixel and channel shuffles, and patches of images as columns (unfold) and back (fold)."""

from __future__ import annotations

import math
from typing import Any

from ...joining import apart
from ...tensor import Tensor
from .applying import apply, each
from .convolution import padded

Spatial = int | tuple[int, ...]


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[..., c * r * r, h, w] -> [..., c, h * r, w * r]."""
    if input.dim() < 3:
        raise RuntimeError(f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input.dim()}")
    r = upscale_factor
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *z, channels, h, w = input.shape
    if channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but "
            f"input.size(-3)={channels} is not divisible by {r * r}"
        )
    k = len(z)
    blocks = input.reshape(*z, channels // (r * r), r, r, h, w)
    return apart(blocks.permute(*range(k), k, k + 3, k + 1, k + 4, k + 2).reshape(*z, channels // (r * r), h * r, w * r), input)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[..., c, h * r, w * r] -> [..., c * r * r, h, w]."""
    if input.dim() < 3:
        raise RuntimeError(f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {input.dim()}")
    r = downscale_factor
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *z, channels, h, w = input.shape
    if h % r or w % r:
        raise RuntimeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but {h}x{w} is not by {r}"
        )
    k = len(z)
    blocks = input.reshape(*z, channels, h // r, r, w // r, r)
    return apart(blocks.permute(*range(k), k, k + 2, k + 4, k + 1, k + 3).reshape(*z, channels * r * r, h // r, w // r), input)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """[n, g * c, ...] -> [n, c * g, ...]: channels dealt out over the groups."""
    if input.dim() < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    n, channels, *rest = input.shape
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} groups."
        )
    return apart(input.reshape(n, groups, channels // groups, *rest).transpose(1, 2).reshape(n, channels, *rest), input)


def unfold(
    input: Tensor, kernel_size: Spatial, dilation: Spatial = 1, padding: Spatial = 0, stride: Spatial = 1
) -> Tensor:
    """[n, c, h, w] -> [n, c * kh * kw, positions]: every patch as a column."""
    if input.dim() == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.dim() != 4:
        raise RuntimeError(f"Expected 3D or 4D (batch mode) tensor, but got input of size {list(input.shape)}")
    size, dilation, low, stride = _four(kernel_size, dilation, padding, stride)
    windows = apply("window", (padded(input, low, low),), (size, stride, dilation), "im2col")
    n, channels, rows, columns, *_ = windows.shape
    columned = windows.permute(0, 1, 4, 5, 2, 3)
    return columned.reshape(n, channels * math.prod(size), rows * columns)


def fold(
    input: Tensor, output_size: Spatial, kernel_size: Spatial, dilation: Spatial = 1, padding: Spatial = 0,
    stride: Spatial = 1,
) -> Tensor:  # fmt: skip
    """[n, c * kh * kw, positions] -> [n, c, h, w]: columns put back as patches; where they overlap they add up."""
    if input.dim() == 2:
        return fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride).squeeze(0)
    if input.dim() != 3:
        raise RuntimeError(f"Expected 2D or 3D (batch mode) tensor for input, but got input of size {list(input.shape)}")
    size, dilation, low, stride = _four(kernel_size, dilation, padding, stride)
    to = tuple(n + 2 * p for n, p in zip(each(output_size, 2, "output_size"), low, strict=True))
    positions = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(to, size, stride, dilation, strict=True)]
    n, channels, count = input.shape
    if channels % math.prod(size):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={channels} and kernel_size={size}."
        )
    if count != math.prod(positions):
        raise RuntimeError(
            f"Given output_size={output_size}, kernel_size={size}, dilation={dilation}, padding={low}, stride={stride}, "
            f"expected size of input's dimension 2 to match the calculated number of sliding blocks "
            f"{' * '.join(map(str, positions))} = {math.prod(positions)}, but got input.size(2)={count}."
        )
    patches = input.reshape(n, channels // math.prod(size), *size, *positions).permute(0, 1, 4, 5, 2, 3)
    whole = apply("unwindow", (patches,), (to, size, stride, dilation), "col2im")
    return padded(whole, tuple(-p for p in low), tuple(-p for p in low))


def _four(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[tuple[int, ...], ...]:
    """Kernel, dilation, padding and stride, two numbers each."""
    given = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    return tuple(each(value, 2, name) for name, value in given.items())
