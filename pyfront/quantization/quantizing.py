"""Quantizing: numbers to quantized tensors and back, and what a quantized tensor is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...dialects.types import DType, float32, float64, int32, int64
from .. import composites  # noqa: F401  # enters clamp
from ..creation import empty, tensor
from ..definitions import define
from ..tensor import Tensor
from .dtypes import QuantizedDType, qint8, qint32, quint8
from .quantized_tensor import QuantizedTensor, Quantizer, check_quantized

_SMALLEST_INVERTIBLE = 2.9387358770557188e-39  # 1 / the largest float32: 1 / scale would be infinite below
_SMALLEST_SCALE = 6.099999882280827e-05  # 6.1e-5 in float32


def quantized(input: Tensor, quantizer: Quantizer, dtype: QuantizedDType) -> QuantizedTensor:
    """float32[...] as integers: ``clamp(round(x / scale) + zero_point)``, the quotient as a product with float32(1 / scale)."""
    x = input.detach()
    scale, zero_point = quantizer.along(x.dim())
    if quantizer.axis < 0:
        inverse = 1.0 / tensor(float(scale), dtype=float32)
        integers = rounded(x, inverse, float(zero_point), dtype)
    else:
        integers = rounded(x, 1.0 / scale.to(float32), zero_point.to(float32), dtype)
    return QuantizedTensor(integers, dtype, quantizer)


def rounded(x: Tensor, inverse: Any, zero_point: Any, dtype: QuantizedDType, high: int | None = None) -> Tensor:
    """``clamp(round(x * inverse) + zero_point)`` in the dtype's integers. high: their end, if it is not the type's.

    The sum of integers is exact in float32 wherever it is not clamped; of 32 bits it is made in float64.
    """
    least, most = dtype.limits
    products = (x * inverse).round()
    if dtype is qint32:
        products = products.to(float64)
    return (products + zero_point).clamp(least, most if high is None else high).to(dtype.integer)


def _check_float(input: Tensor, dtype: Any) -> QuantizedDType:
    if input.dtype is not float32:
        from ..assignment import title

        raise RuntimeError(f"Quantize only works on Float Tensor, got {title(input.dtype)}")
    if not isinstance(dtype, QuantizedDType):
        from ..assignment import title

        raise RuntimeError(f"ScalarType {title(dtype)} is not supported in new_qtensor.")
    return dtype


def _check_zero_points(name: str, points: Sequence[int], dtype: QuantizedDType) -> None:
    least, most = dtype.limits
    for point in points:
        if not least <= point <= most:
            side = "below lower" if point < least else "above upper"
            raise RuntimeError(f"{name} zero_point {point} is {side} bound.")


@define("quantize_per_tensor", method=False)
def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: DType) -> Any:
    """float32[...] as integers with one scale and one zero point; a list of tensors with one pair each.

    RuntimeError for other dtypes and for zero points outside the integers' range.
    """
    if isinstance(input, (list, tuple)):
        return tuple(quantize_per_tensor(x, s, z, dtype) for x, s, z in zip(input, scale.tolist(), zero_point.tolist(), strict=True))
    kind = _check_float(input, dtype)
    scale, zero_point = float(scale), int(zero_point)
    _check_zero_points("quantize_tensor_per_tensor_affine", [zero_point], kind)
    return quantized(input, Quantizer(scale, zero_point), kind)


@define("quantize_per_channel", method=False)
def quantize_per_channel(input: Tensor, scales: Tensor, zero_points: Tensor, axis: int, dtype: DType) -> QuantizedTensor:
    """float32[...] as integers with a scale and a zero point for every place along ``axis``. RuntimeError where sizes do not fit."""
    kind = _check_float(input, dtype)
    channels = input.shape[axis] if -input.dim() <= axis < input.dim() else -1
    if axis < 0 or channels < 0:
        raise RuntimeError("Channel axis out of range in per channel affine quantization.")
    if scales.numel() != channels or zero_points.numel() != channels:
        raise RuntimeError("length of scales and zero_points must equal to channel")
    _check_zero_points("quantize_tensor_per_channel_affine", zero_points.tolist(), kind)
    return quantized(input, Quantizer(scales.detach().to(float64), zero_points.detach().to(int64), axis), kind)


def observed_parameters(low: Tensor, high: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """float32[] extremes to scale float64[] and zero point float64[] of integers 0 to ``levels``, as fbgemm chooses them.

    The range is widened to hold 0. Scales below 6.1e-5 are 6.1e-5.
    """
    low, high = low.to(float64).clamp(max=0.0), high.to(float64).clamp(min=0.0)
    scale = (high - low) / levels
    scale = scale.masked_fill(scale < _SMALLEST_INVERTIBLE, 0.1)
    wide = scale.clamp(min=_SMALLEST_SCALE)
    low = (low.to(float32) * (wide / scale).to(float32)).to(float64).where(scale < wide, low)  # the range grows with the scale
    return wide, (-low / wide).round().clamp(0, levels)


@define("quantize_per_tensor_dynamic", method=False)
def quantize_per_tensor_dynamic(input: Tensor, dtype: DType, reduce_range: bool) -> QuantizedTensor:
    """float32[...] as quint8 or qint8 with a scale and a zero point of its own extremes."""
    kind = _check_float(input, dtype)
    if kind not in (quint8, qint8):
        raise RuntimeError("dtype should be QUInt8 or QInt8")
    scale, zero_point = choose_qparams_per_tensor(input, reduce_range)
    least = kind.limits[0] // (2 if reduce_range else 1)
    return quantized(input, Quantizer(scale, zero_point + least), kind)


@define("_choose_qparams_per_tensor", method=False)
def choose_qparams_per_tensor(input: Tensor, reduce_range: bool = False) -> tuple[float, int]:
    """Scale and zero point of quint8 for the extremes of a tensor."""
    scale, zero_point = observed_parameters(input.detach().amin(), input.detach().amax(), 127 if reduce_range else 255)
    return float(scale.item()), int(zero_point.item())


@define("_empty_affine_quantized", method=False)
def _empty_affine_quantized(size: Sequence[int], *, scale: float = 1.0, zero_point: int = 0, dtype: DType = quint8, **_: Any) -> QuantizedTensor:
    """A quantized tensor with whatever contents."""
    assert isinstance(dtype, QuantizedDType)
    return QuantizedTensor(empty(tuple(size), dtype=dtype.integer), dtype, Quantizer(float(scale), int(zero_point)))


_OF_INTEGERS = {t.integer: t for t in (qint8, quint8, qint32)}


@define("_make_per_tensor_quantized_tensor", method=False)
def _make_per_tensor_quantized_tensor(input: Tensor, scale: float, zero_point: int) -> QuantizedTensor:
    """Integers with a meaning."""
    return QuantizedTensor(input.clone(), _OF_INTEGERS[input.dtype], Quantizer(float(scale), int(zero_point)))


@define("_make_per_channel_quantized_tensor", method=False)
def _make_per_channel_quantized_tensor(input: Tensor, scale: Tensor, zero_point: Tensor, axis: int) -> QuantizedTensor:
    """Integers with a meaning for each channel."""
    quantizer = Quantizer(scale.to(float64), zero_point.to(int64), axis)
    return QuantizedTensor(input.clone(), _OF_INTEGERS[input.dtype], quantizer)


# -- back ------------------------------------------------------------------------------------------------------


@define("dequantize")
def dequantize(input: Any) -> Any:
    """The numbers: float32[...]; a tensor of numbers is handed through as float32. A list or tuple: each of them."""
    if isinstance(input, (list, tuple)):
        return tuple(dequantize(x) for x in input)
    if not isinstance(input, QuantizedTensor):
        return input.to(float32)
    scale, zero_point = input._quantizer.along(input.dim())
    whole = input._integers.to(int32 if input._dtype is not qint32 else int64)
    if input._quantizer.axis < 0:
        return (whole - zero_point).to(float32) * tensor(scale, dtype=float32)
    return ((whole - zero_point).to(float64) * scale).to(float32)


@define("int_repr")
def int_repr(input: Tensor) -> Tensor:
    """The integers, in memory of their own."""
    return check_quantized(input, "int_repr")._integers.clone()


@define("q_scale")
def q_scale(input: Tensor) -> float:
    """The scale."""
    return _one(input, "q_scale").scale


@define("q_zero_point")
def q_zero_point(input: Tensor) -> int:
    """The zero point."""
    return _one(input, "q_zero_point").zero_point


@define("q_per_channel_scales")
def q_per_channel_scales(input: Tensor) -> Tensor:
    """float64[channels]: the scales."""
    return _each(input, "q_per_channel_scales").scale


@define("q_per_channel_zero_points")
def q_per_channel_zero_points(input: Tensor) -> Tensor:
    """int64[channels]: the zero points."""
    return _each(input, "q_per_channel_zero_points").zero_point


@define("q_per_channel_axis")
def q_per_channel_axis(input: Tensor) -> int:
    """The dimension of the channels."""
    return _each(input, "q_per_channel_axis").axis


@define("qscheme", function=False)
def scheme_of(input: Tensor) -> Any:
    """How scales belong to elements."""
    return check_quantized(input, "qscheme")._quantizer.scheme


def _one(input: Tensor, name: str) -> Quantizer:
    found = check_quantized(input, name)._quantizer
    if found.axis >= 0:
        raise RuntimeError(f"Expected quantizer->qscheme() == kPerTensorAffine to be true, but got false: {name} of a tensor with a scale per channel")
    return found


def _each(input: Tensor, name: str) -> Quantizer:
    found = check_quantized(input, name)._quantizer
    if found.axis < 0:
        raise RuntimeError(f"Expected quantizer->qscheme() == kPerChannelAffine to be true, but got false: {name} of a tensor with one scale")
    return found
