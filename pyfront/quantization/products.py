"""Products of quantized numbers: bytes multiplied and summed as integers of 32 bits, scales and zero points taken care of behind the sum.

With q the integers, z the zero points and s the scales of activations (a) and weights (w)

    sum (a - za) sa (w - zw) sw  =  sa sw (sum qa qw - za sum qw - zw (sum qa - K za))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...dialects.errors import ShapeError
from ...dialects.types import float32, int32, show_type
from .. import recorder
from ..creation import tensor
from ..node import Node
from ..origin import origin, source_line
from ..phrases import Phrases
from ..tensor import Tensor, wrap
from .dtypes import QuantizedDType, quint8
from .quantized_tensor import QuantizedTensor, Quantizer
from .quantizing import observed_parameters, rounded

_phrases = Phrases()


class Weights:
    """The weight of a linear layer or a convolution with its bias, and what products ask of it.

    weight: qint8[out, ...]; bias: float32[out] or None. integers: int8[out, ...]; scale: float32[] or float32[out]; sums: int32[out], of the
    integers of each output; zero_point: int32[] or int32[out], None where all of them are 0.
    """

    def __init__(self, weight: QuantizedTensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        quantizer = weight._quantizer
        self.integers = weight._integers
        rows = self.integers.reshape(weight.shape[0], -1)
        self.sums = rows.to(int32).sum(1, dtype=int32)
        if quantizer.axis > 0:
            raise RuntimeError(f"a weight with scales per channel needs them along dimension 0, got dimension {quantizer.axis}")
        if quantizer.axis < 0:
            self.scale, point = tensor(quantizer.scale, dtype=float32), tensor(quantizer.zero_point, dtype=int32)
            plain = quantizer.zero_point == 0
        else:
            self.scale, point = quantizer.scale.to(float32), quantizer.zero_point.to(int32)
            plain = not bool((point != 0).any())
        self.zero_point = None if plain else point
        recorder.flush()  # what products read is there before the first of them

    @property
    def added(self) -> Tensor:
        """The bias, or nothing to add."""
        return self.bias.detach() if self.bias is not None else tensor(0.0, dtype=float32)

    def __deepcopy__(self, memo: dict) -> Weights:
        from copy import deepcopy

        return Weights(deepcopy(self.weight, memo), deepcopy(self.bias, memo))

    def operands(self) -> list[Tensor]:
        """What a product reads of them: integers, sums, scale, bias and, where there is one, the zero point."""
        return [self.integers, self.sums, self.scale, self.added, *([] if self.zero_point is None else [self.zero_point])]


def recorded(key: Any, function: Callable[..., Tensor], operands: list[Tensor]) -> Tensor:
    """A function of tensors without gradients, recorded as one phrase."""

    def on_nodes(*nodes: Node) -> list[Node]:
        return [function(*map(wrap, nodes))._read()]

    return wrap(_phrases.recorded(key, [t._read() for t in operands], on_nodes)[0])


def check_product(name: str, x: Tensor, weight: QuantizedTensor) -> None:
    """ShapeError at the user's line where the last size of the input is not the weight's."""
    if not x.dim() or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"{name}: the last size of the input and the input size of the weight must be the same",
            [("input", show_type((tuple(x.shape), x.dtype)), ""), ("weight", show_type((tuple(weight.shape), weight.dtype)), "")],
            at=source_line(origin()), help=f"the layer takes float32[..., {weight.shape[1]}]",
        )  # fmt: skip


def linear_dynamic(input: Tensor, weights: Weights, reduce_range: bool = True) -> Tensor:
    """float32[..., k] and qint8[n, k] -> float32[..., n]: the input is quantized by its own extremes, to 7 bits with ``reduce_range``.

    The result has no gradient. RuntimeError for inputs of another dtype, ShapeError where k differs.
    """
    if input.dtype is not float32:
        raise RuntimeError(f"expected scalar type Float but found {show_type((tuple(input.shape), input.dtype))}")
    if input.dim() < 2:
        raise RuntimeError("The dimension of input tensor should be larger than or equal to 2")
    check_product("linear_dynamic", input, weights.weight)
    x = input.detach() if input._node.requires_grad else input
    product = DYNAMIC[127 if reduce_range else 255]
    return recorded(product, product, [x, *weights.operands()])


def _dynamic(levels: int) -> Callable[..., Tensor]:
    """The product of numbers that are quantized to 0 ... ``levels`` by their own extremes with what `Weights.operands` gives."""

    def product(x: Tensor, integers: Tensor, sums: Tensor, scale: Tensor, bias: Tensor, *zero_point: Tensor) -> Tensor:
        own_scale, point = observed_parameters(x.amin(), x.amax(), levels)
        own_scale = own_scale.to(float32)
        q = rounded(x, 1.0 / own_scale, point.to(float32), quint8, levels)
        total = summed(q, integers, point.to(int32), sums, *zero_point)
        return total.to(float32) * (own_scale * scale) + bias

    product.mixes_rows = True  # type: ignore[attr-defined]  # by the range they are quantized in
    return product


DYNAMIC: dict[int, Callable[..., Tensor]] = {levels: _dynamic(levels) for levels in (127, 255)}


def summed(q: Tensor, integers: Tensor, point: Any, sums: Tensor, zero_point: Tensor | None = None) -> Tensor:
    """uint8[..., k] and int8[n, k] to int32[..., n], with zero points taken off."""
    wide = q.to(int32)
    total = wide @ integers.to(int32).t() - point * sums
    if zero_point is not None:
        total = total - zero_point * (wide.sum(-1, keepdim=True, dtype=int32) - point * q.shape[-1])
    return total


def requantized(total: Tensor, product_scale: Tensor, bias: Tensor, scale: float, zero_point: int, dtype: QuantizedDType, relu: bool) -> Tensor:
    """Sums int32[..., n] as integers of another scale: ``clamp(round((sum + bias / product scale) * product scale / scale) + zero point)``."""
    least, most = dtype.limits
    least = max(least, zero_point) if relu else least
    factor = product_scale / tensor(scale, dtype=float32)
    numbers = (total.to(float32) + bias / product_scale) * factor
    return (numbers.round() + zero_point).clamp(least, most).to(dtype.integer)


def linear(input: QuantizedTensor, weights: Weights, scale: float, zero_point: int, relu: bool = False) -> QuantizedTensor:
    """quint8[..., k] and qint8[n, k] -> quint8[..., n] of the scale and zero point given."""
    check_product("linear", input, weights.weight)
    own = input._quantizer

    def product(q: Tensor, own_scale: Tensor, integers: Tensor, sums: Tensor, of_weight: Tensor, bias: Tensor, *points: Tensor) -> Tensor:
        total = summed(q, integers, own.zero_point, sums, *points)
        return requantized(total, own_scale * of_weight, bias, scale, zero_point, input.dtype, relu)

    key = "linear", own.zero_point, scale, zero_point, input.dtype, relu
    integers = recorded(key, product, [input._integers, tensor(own.scale, dtype=float32), *weights.operands()])
    return QuantizedTensor(integers, input.dtype, Quantizer(scale, zero_point))
