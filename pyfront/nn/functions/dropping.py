"""Dropout in all its forms: masks drawn on the host with PyTorch's numbers (on a GPU computed there), one multiplication."""

from __future__ import annotations

import numpy as np

from ...sampling import BERNOULLI, KEPT, in_order, memory_order, sample
from ...tensor import Tensor, wrap
from .applying import finish


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _noise(x: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """1 / (1 - p) with probability 1 - p, else 0, in x's dtype; drawn in the order of x's elements in memory, as PyTorch does it:
    a transposed x has a transposed mask."""
    order = _order(x, shape)
    made = sample(KEPT, [shape[d] for d in order], x.dtype, 1 - p, where=x.device, anywhere=True)
    return wrap(in_order(made, order))


def _order(x: Tensor, shape: tuple[int, ...]) -> list[int]:
    if shape == tuple(x.shape) and (x._chain or x._storage.host is not None) and not x.is_contiguous():
        order = memory_order(x)
        if x.permute(order).is_contiguous():
            return order
    return list(range(len(shape)))


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p)."""
    _check(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    if p == 1.0:
        return finish(input, input * 0.0, inplace)
    return finish(input, input * _noise(input, tuple(input.shape), p), inplace)


def _feature(input: Tensor, p: float, training: bool, inplace: bool, batched: bool) -> Tensor:
    """Whole channels: one draw per sample and channel."""
    _check(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    if p == 1.0:
        return finish(input, input * 0.0, inplace)
    kept = 2 if batched else 1
    shape = tuple(input.shape[:kept]) + (1,) * (input.dim() - kept)
    return finish(input, input * _noise(input, shape, p), inplace)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [n, c, l] or [c, l]."""
    if input.dim() not in (2, 3):
        raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input.")
    return _feature(input, p, training, inplace, input.dim() == 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [n, c, h, w]."""
    return _feature(input, p, training, inplace, True)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [n, c, d, h, w] or [c, d, h, w]."""
    return _feature(input, p, training, inplace, input.dim() == 5)


def _alpha(input: Tensor, p: float, training: bool, shape: tuple[int, ...]) -> Tensor:
    """SELU's dropout: dropped elements take the saturation value, and the result keeps mean and variance."""
    _check(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    if p == 1.0:
        return input * 0.0
    alpha = 1.7580993408473766
    scale = 1.0 / np.sqrt((alpha * alpha * p + 1) * (1 - p))
    dtype = input.dtype.numpy
    keep = wrap(sample(BERNOULLI, shape, input.dtype, 1 - p, where=input.device, anywhere=True))
    return input * (keep * float(dtype.type(scale))) + ((keep - 1) * float(dtype.type(alpha * scale)) + float(dtype.type(alpha * scale * p)))


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout for SELU networks, element by element."""
    y = _alpha(input, p, training, tuple(input.shape))
    return y if y is input else finish(input, y, inplace)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout for SELU networks, whole channels."""
    y = _alpha(input, p, training, tuple(input.shape[:2]) + (1,) * (input.dim() - 2))
    return y if y is input else finish(input, y, inplace)
