"""DropBlock: squares of feature maps set to zero while training."""

from __future__ import annotations

from .. import nn
from ..creation import empty
from ..nn import functional as F
from ..tensor import Tensor


def drop_block2d(input: Tensor, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06, training: bool = True) -> Tensor:
    """[n, c, h, w] with squares zeroed, on average a share of p, and the rest scaled up (https://arxiv.org/abs/1810.12890)."""
    if p < 0.0 or p > 1.0:
        raise ValueError(f"drop probability has to be between 0 and 1, but got {p}.")
    if input.ndim != 4:
        raise ValueError(f"input should be 4 dimensional. Got {input.ndim} dimensions.")
    if not training or p == 0.0:
        return input
    n, c, h, w = input.shape
    block = min(block_size, w, h)
    if block % 2 == 0:
        raise ValueError(f"block size should be odd. Got {block} which is even.")
    inside = (h - block + 1, w - block + 1)
    centres = empty((n, c, *inside), dtype=input.dtype, device=input.device).bernoulli_(p * h * w / (block**2 * inside[0] * inside[1]))
    dropped = F.max_pool2d(F.pad(centres, [block // 2] * 4), kernel_size=block, stride=1, padding=block // 2)
    kept = 1 - dropped
    scale = kept.numel() / (eps + kept.sum())
    return input.mul_(kept).mul_(scale) if inplace else input * kept * scale


class DropBlock2d(nn.Module):
    """`drop_block2d` while training."""

    def __init__(self, p: float, block_size: int, inplace: bool = False, eps: float = 1e-06) -> None:
        super().__init__()
        self.p, self.block_size, self.inplace, self.eps = p, block_size, inplace, eps

    def forward(self, input: Tensor) -> Tensor:
        """Some squares zeroed."""
        return drop_block2d(input, self.p, self.block_size, self.inplace, self.eps, self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p}, block_size={self.block_size}, inplace={self.inplace})"
