"""Deformable convolution: each tap of the kernel reads where an offset says, between pixels."""

from __future__ import annotations

import math
from typing import Any

from .. import nn
from ..creation import empty
from ..sequences import arange
from ..tensor import Tensor


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def deform_conv2d(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = (1, 1), padding: Any = (0, 0),
    dilation: Any = (1, 1), mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A convolution of [n, c, h, w] by weight [o, c/groups, kh, kw] (https://arxiv.org/abs/1703.06211, with a mask 1811.11168).

    offset: [n, 2 * g * kh * kw, oh, ow], (y, x) for each tap and each of g groups of channels. mask: [n, g * kh * kw, oh, ow], factors.
    RuntimeError where the offset's channels are no multiple of the taps.
    """
    (n, c, h, w), (out, per_group, kh, kw) = input.shape, weight.shape
    (sy, sx), (py, px), (dy, dx) = _pair(stride), _pair(padding), _pair(dilation)
    taps, (oh, ow) = kh * kw, offset.shape[-2:]
    g = offset.shape[1] // (2 * taps)
    if g == 0:
        raise RuntimeError(
            "the shape of the offset tensor at dimension 1 is not valid. It should be a multiple of 2 * weight.size[2] * weight.size[3].\n"
            f"Got offset.shape[1]={offset.shape[1]}, while 2 * weight.size[2] * weight.size[3]={2 * taps}"
        )
    moved = offset.reshape(n, g, kh, kw, 2, oh, ow)
    y = moved[:, :, :, :, 0] + (arange(kh, dtype=input.dtype, device=input.device) * dy - py).reshape(kh, 1, 1, 1) + (arange(oh, dtype=input.dtype, device=input.device) * sy).reshape(oh, 1)
    x = moved[:, :, :, :, 1] + (arange(kw, dtype=input.dtype, device=input.device) * dx - px).reshape(kw, 1, 1) + arange(ow, dtype=input.dtype, device=input.device) * sx
    factor = None if mask is None else mask.reshape(n, g, 1, taps * oh * ow)
    columns = _sampled(input.reshape(n, g, c // g, h * w), y, x, h, w)
    columns = columns if factor is None else columns * factor
    groups = c // per_group
    kernel = weight.reshape(groups, out // groups, per_group * taps)
    found = (kernel @ columns.reshape(n, groups, per_group * taps, oh * ow)).reshape(n, out, oh, ow)
    return found if bias is None else found + bias.reshape(out, 1, 1)


def _sampled(planes: Tensor, y: Tensor, x: Tensor, h: int, w: int) -> Tensor:
    """Values of planes [n, g, c, h * w] at places [n, g, ...], between pixels linearly and 0 outside: [n, g, c, number of places]."""
    n, g, c, _ = planes.shape
    top, left = y.detach().floor(), x.detach().floor()
    found: Any = 0
    for down in (0, 1):
        for right in (0, 1):
            row, column = top + down, left + right
            share = (y - top if down else 1 - (y - top)) * (x - left if right else 1 - (x - left))
            inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
            place = (row.clamp(0, h - 1) * w + column.clamp(0, w - 1)).long().reshape(n, g, 1, -1)
            values = planes.gather(3, place.expand(n, g, c, place.shape[3]))
            found = found + values * (share * inside).reshape(n, g, 1, -1)
    return found


class DeformConv2d(nn.Module):
    """`deform_conv2d` with a weight and a bias of its own, drawn as Conv2d's are."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        for what, count in (("in_channels", in_channels), ("out_channels", out_channels)):
            if count % groups:
                raise ValueError(f"{what} must be divisible by groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = map(_pair, (kernel_size, stride, padding, dilation))
        self.weight = nn.Parameter(empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(empty(out_channels)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(in_channels // groups * self.kernel_size[0] * self.kernel_size[1])
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n, out_channels, oh, ow]."""
        return deform_conv2d(input, offset, self.weight, self.bias, self.stride, self.padding, self.dilation, mask)
