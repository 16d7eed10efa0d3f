"""Fake quantization: numbers rounded to those that integers stand for, with the gradient of the identity where nothing was cut off."""

from __future__ import annotations

from typing import Any

from ...dialects.types import float32, int32
from ..creation import tensor
from ..definitions import define
from ..tensor import Tensor


@define("fake_quantize_per_tensor_affine", method=False, label="fake_quantize_per_tensor_affine_cachemask")
def fake_quantize_per_tensor_affine(input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int) -> Tensor:
    """``(clamp(round(x / scale) + zero_point, quant_min, quant_max) - zero_point) * scale``; the gradient passes where nothing is clamped.

    scale, zero_point: numbers or tensors of one element. RuntimeError for a zero point outside the range.
    """
    if quant_min > quant_max:
        raise RuntimeError("`quant_min` should be less than or equal to `quant_max`.")
    if not isinstance(zero_point, Tensor) and not quant_min <= zero_point <= quant_max:
        raise RuntimeError("`zero_point` must be between `quant_min` and `quant_max`.")
    of = [t.detach().reshape(()).to(input.dtype) if isinstance(t, Tensor) else tensor(float(t), dtype=input.dtype) for t in (scale, zero_point)]
    return _faked(input, *of, quant_min, quant_max)


@define("fake_quantize_per_channel_affine", method=False, label="fake_quantize_per_channel_affine_cachemask")
def fake_quantize_per_channel_affine(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """The same with a scale and a zero point for every place along ``axis``. RuntimeError where sizes do not fit."""
    if not -input.dim() <= axis < input.dim():
        raise RuntimeError(f"`axis` must be between 0 and number of dimensions of input, got {axis}")
    if scale.dim() != 1 or scale.shape != zero_point.shape or scale.numel() != input.shape[axis]:
        raise RuntimeError("dimensions of scale and zero-point are not consistent with input tensor")
    if zero_point.dtype not in (int32, float32):
        raise RuntimeError(f"Zero-point must be Int32, Float or Half, found {zero_point.dtype}")
    shape = [-1 if d == axis % input.dim() else 1 for d in range(input.dim())]
    return _faked(input, scale.detach().to(input.dtype).reshape(shape), zero_point.detach().to(input.dtype).reshape(shape), quant_min, quant_max)


def _faked(x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int) -> Tensor:
    level = (x.detach() * (1.0 / scale)).round() + zero_point
    value = (level.clamp(low, high) - zero_point) * scale
    if not x.requires_grad:
        return value
    passed = x.masked_fill((level < low) | (level > high), 0.0)
    return value + (passed - passed.detach())  # nothing is added but a history
