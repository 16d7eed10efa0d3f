"""Quantized convolutions: quint8 images and qint8 filters."""

from __future__ import annotations

from typing import Any

from ...dialects.types import float32, int32
from ..creation import tensor, zeros
from ..nn import functional as F
from ..nn.convolution import Conv2d as FloatConv2d
from ..nn.module import Module
from ..tensor import Tensor
from .dtypes import qint8
from .products import Weights, recorded, requantized
from .quantized_tensor import QuantizedTensor, Quantizer
from .quantizing import _empty_affine_quantized


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


class Conv2d(Module):
    """quint8[n, in, h, w] -> quint8[n, out, h', w'] with ``scale`` and ``zero_point``; the filters are qint8, the bias float32."""

    _relu = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_mode != "zeros" or isinstance(padding, str):
            raise NotImplementedError(f"quantized convolutions are padded with zeros by numbers, got padding={padding!r} and padding_mode={padding_mode!r}")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = in_channels, out_channels, groups, padding_mode
        self.kernel_size, self.stride, self.padding, self.dilation = map(_pair, (kernel_size, stride, padding, dilation))
        weight = _empty_affine_quantized([out_channels, in_channels // groups, *self.kernel_size], scale=1, zero_point=0, dtype=qint8)
        self.set_weight_bias(weight, zeros(out_channels, dtype=float32) if bias else None)
        self.scale, self.zero_point = 1.0, 0

    def set_weight_bias(self, w: QuantizedTensor, b: Tensor | None) -> None:
        """Other filters and bias."""
        self._packed_params = Weights(w, b)
        if self._packed_params.zero_point is not None:
            raise NotImplementedError("filters of a quantized convolution have the zero point 0")

    def _weight_bias(self) -> tuple[Any, Tensor | None]:
        return self._packed_params.weight, self._packed_params.bias

    def weight(self) -> Any:
        """The filters."""
        return self._packed_params.weight

    def bias(self) -> Tensor | None:
        """The bias."""
        return self._packed_params.bias

    def forward(self, input: QuantizedTensor) -> QuantizedTensor:
        """The convolution, requantized. ValueError for inputs of other ranks."""
        if input.dim() != 4:
            raise ValueError("Input shape must be `(N, C, H, W)`!")
        own, (across, along) = input._quantizer, self.padding
        scale, zero_point, relu = self.scale, self.zero_point, self._relu
        options = self.stride, (0, 0), self.dilation, self.groups

        def product(q: Tensor, own_scale: Tensor, filters: Tensor, sums: Tensor, of_weight: Tensor, bias: Tensor) -> Tensor:
            padded = F.pad(q, (along, along, across, across), value=own.zero_point) if across or along else q
            total = F.conv2d(padded.to(int32), filters.to(int32), None, *options) - own.zero_point * sums.reshape(-1, 1, 1)
            by_channel = [t.reshape(-1, 1, 1) if t.dim() else t for t in (own_scale * of_weight, bias)]
            return requantized(total, *by_channel, scale, zero_point, input.dtype, relu)

        key = "conv2d", own.zero_point, scale, zero_point, input.dtype, relu, options, self.padding
        integers = recorded(key, product, [input._integers, tensor(own.scale, dtype=float32), *self._packed_params.operands()])
        return QuantizedTensor(integers, input.dtype, Quantizer(scale, zero_point))

    def _get_name(self) -> str:
        return "QuantizedConv2d"

    def extra_repr(self) -> str:
        """The arguments."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += f", scale={self.scale}, zero_point={self.zero_point}"
        more = {"padding": ((0, 0), self.padding), "dilation": ((1, 1), self.dilation), "groups": (1, self.groups), "bias": (True, self.bias() is not None)}
        return text + "".join(f", {name}={value}" for name, (usual, value) in more.items() if value != usual)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"], destination[prefix + "bias"] = self._weight_bias()
        destination[prefix + "scale"], destination[prefix + "zero_point"] = tensor(self.scale), tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *more: Any) -> None:
        self.set_weight_bias(state_dict.pop(prefix + "weight"), state_dict.pop(prefix + "bias"))
        self.scale, self.zero_point = float(state_dict.pop(prefix + "scale")), int(state_dict.pop(prefix + "zero_point"))
        super()._load_from_state_dict(state_dict, prefix, *more)

    @classmethod
    def like(cls, conv: FloatConv2d) -> Conv2d:
        """With the options of a float layer."""
        return cls(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.bias is not None,
            conv.padding_mode,
        )  # fmt: skip

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Conv2d:
        """The layer of an observed float one."""
        from .static_weights import take_over

        return take_over(cls, mod)


class ConvReLU2d(Conv2d):
    """The same with a ReLU behind it."""

    _relu = True

    def _get_name(self) -> str:
        return "QuantizedConvReLU2d"
