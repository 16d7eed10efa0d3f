"""DropBlock: squares (cubes) of feature maps set to zero while training."""

from __future__ import annotations

import math

from .. import nn
from ..creation import empty
from ..nn import functional as F
from ..tensor import Tensor


def drop_block2d(input: Tensor, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06, training: bool = True) -> Tensor:
    """[n, c, h, w] with squares zeroed, on average a share of p, and the rest scaled up (https://arxiv.org/abs/1810.12890)."""
    return _dropped(input, 2, p, block_size, inplace, eps, training)


def drop_block3d(input: Tensor, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06, training: bool = True) -> Tensor:
    """[n, c, d, h, w] with cubes zeroed, on average a share of p, and the rest scaled up."""
    return _dropped(input, 3, p, block_size, inplace, eps, training)


def _dropped(input: Tensor, dims: int, p: float, block_size: int, inplace: bool, eps: float, training: bool) -> Tensor:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"drop probability has to be between 0 and 1, but got {p}.")
    if input.ndim != dims + 2:
        raise ValueError(f"input should be {dims + 2} dimensional. Got {input.ndim} dimensions.")
    if not training or p == 0.0:
        return input
    sides = tuple(input.shape[2:])
    block = min(block_size, *sides)
    if block % 2 == 0:
        raise ValueError(f"block size should be odd. Got {block} which is even.")
    inside = [side - block + 1 for side in sides]
    chance = p * math.prod(sides) / (block**dims * math.prod(inside))
    centres = empty((*input.shape[:2], *inside), dtype=input.dtype, device=input.device).bernoulli_(chance)
    pool = F.max_pool2d if dims == 2 else F.max_pool3d
    dropped = pool(F.pad(centres, [block // 2] * (2 * dims)), kernel_size=block, stride=1, padding=block // 2)
    kept = 1 - dropped
    scale = kept.numel() / (eps + kept.sum())
    return input.mul_(kept).mul_(scale) if inplace else input * kept * scale


class DropBlock2d(nn.Module):
    """`drop_block2d` while training."""

    _drop = staticmethod(drop_block2d)

    def __init__(self, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06) -> None:
        super().__init__()
        self.p, self.block_size, self.inplace, self.eps = p, block_size, inplace, eps

    def forward(self, input: Tensor) -> Tensor:
        """Some blocks zeroed."""
        return self._drop(input, self.p, self.block_size, self.inplace, self.eps, self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p}, block_size={self.block_size}, inplace={self.inplace})"


class DropBlock3d(DropBlock2d):
    """`drop_block3d` while training."""

    _drop = staticmethod(drop_block3d)
