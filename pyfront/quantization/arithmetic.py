"""Arithmetic of quantized tensors: what public functions give for them, and sums and products of another scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...dialects.types import float32
from ..definitions import TABLE
from ..tensor import Tensor
from .dtypes import quint8
from .forms import form_of
from .quantized_tensor import QuantizedTensor, Quantizer
from .quantizing import dequantize, quantized


@form_of("relu")
def relu(input: QuantizedTensor, inplace: bool = False) -> QuantizedTensor:
    """Integers below the zero point become it."""
    made = input._with(input._integers.clamp(min=input._quantizer.zero_point))
    return input.copy_(made) if inplace else made


@form_of("relu6")
def relu6(input: QuantizedTensor, inplace: bool = False) -> QuantizedTensor:
    """Integers outside those of 0 and 6 become the nearer of the two."""
    return hardtanh(input, 0.0, 6.0, inplace)


@form_of("hardtanh")
def hardtanh(input: QuantizedTensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> QuantizedTensor:
    """Integers outside those of two numbers become the nearer of the two."""
    low, high = (_level(input, number) for number in (min_val, max_val))
    made = input._with(input._integers.clamp(low, high))
    return input.copy_(made) if inplace else made


def _level(input: QuantizedTensor, number: float) -> int:
    least, most = input._dtype.limits
    return max(least, min(most, round(number / input._quantizer.scale) + input._quantizer.zero_point))


@form_of("sigmoid")
def sigmoid(input: QuantizedTensor) -> QuantizedTensor:
    """With the scale 1 / 256, which covers 0 to 1."""
    return quantized(dequantize(input).sigmoid(), Quantizer(1.0 / 256, 0 if input._dtype is quint8 else -128), input._dtype)


@form_of("tanh")
def tanh(input: QuantizedTensor) -> QuantizedTensor:
    """With the scale 2 / 256, which covers -1 to 1."""
    return quantized(dequantize(input).tanh(), Quantizer(2.0 / 256, 128 if input._dtype is quint8 else 0), input._dtype)


@form_of("dropout")
def dropout(input: QuantizedTensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> QuantizedTensor:
    """The input: networks of quantized tensors are not trained."""
    if training:
        input._refuse()
    return input


@form_of("mean")
def mean(input: QuantizedTensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> QuantizedTensor:
    """The means of the integers, rounded."""
    of = input._integers.to(float32)
    return _rounded(input, of.mean() if dim is None else of.mean(dim, keepdim))


def _rounded(input: QuantizedTensor, numbers: Tensor) -> QuantizedTensor:
    return input._with(numbers.round().to(input._dtype.integer))


def _averages(name: str) -> None:
    from ..nn.functions import pooling

    @form_of(name)
    def pooled(input: QuantizedTensor, *args: Any, **options: Any) -> QuantizedTensor:
        least = -input._quantizer.zero_point  # what lies outside counts as 0
        numbers = getattr(pooling, name)((input._integers.to(float32) + least), *args, **options)
        return _rounded(input, numbers - least)

    pooled.__doc__ = f"``{name}`` of the integers, rounded."


def _extremes(name: str) -> None:
    from ..nn.functions import pooling

    @form_of(name)
    def pooled(input: QuantizedTensor, *args: Any, **options: Any) -> QuantizedTensor:
        return input._with(getattr(pooling, name)(input._integers, *args, **options))

    pooled.__doc__ = f"``{name}`` of the integers."


for _name in ("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"):
    _averages(_name)
for _name in ("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"):
    _extremes(_name)


@form_of("cat")
def cat(tensors: Sequence[QuantizedTensor], dim: int = 0) -> QuantizedTensor:
    """Side by side, with the scale and the zero point of the first."""
    return cat_as(tensors, dim, tensors[0]._quantizer)


def cat_as(tensors: Sequence[QuantizedTensor], dim: int, quantizer: Quantizer) -> QuantizedTensor:
    """Side by side, with another scale and zero point."""
    first, join = tensors[0], TABLE["cat"].function
    if all(t._quantizer.equals(quantizer) for t in tensors):
        return first._with(join([t._integers for t in tensors], dim))
    return quantized(join([dequantize(t) for t in tensors], dim), quantizer, first._dtype)


def add(a: QuantizedTensor, b: QuantizedTensor, quantizer: Quantizer, then_relu: bool = False) -> QuantizedTensor:
    """The sum of the numbers, quantized."""
    total = dequantize(a) + dequantize(b)
    return quantized(total.relu() if then_relu else total, quantizer, a._dtype)


def mul(a: QuantizedTensor, b: QuantizedTensor, quantizer: Quantizer) -> QuantizedTensor:
    """The product of the numbers, quantized."""
    return quantized(dequantize(a) * dequantize(b), quantizer, a._dtype)


def mul_scalar(a: QuantizedTensor, number: float) -> QuantizedTensor:
    """The product with a number: another scale, the integers reversed where it is negative."""
    scale, point, least_most = a._quantizer.scale, a._quantizer.zero_point, sum(a._dtype.limits)
    if number == 0:
        return QuantizedTensor(a._integers * 0, a._dtype, Quantizer(1.0, 0))
    if number > 0:
        return QuantizedTensor(a._integers, a._dtype, Quantizer(scale * number, point))
    return QuantizedTensor(least_most - a._integers, a._dtype, Quantizer(scale * -number, least_most - point))


def add_scalar(a: QuantizedTensor, number: float) -> QuantizedTensor:
    """The sum with a number: another zero point, where it fits the integers."""
    quantizer = a._quantizer
    moved = quantizer.zero_point - round(number / quantizer.scale)
    least, most = a._dtype.limits
    if least <= moved <= most:
        return QuantizedTensor(a._integers, a._dtype, Quantizer(quantizer.scale, moved))
    low, high = ((bound - moved) * quantizer.scale for bound in (least, most))
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (most - least)
    return quantized(dequantize(a) + number, Quantizer(scale, max(least, min(most, least + round(-low / scale)))), a._dtype)
