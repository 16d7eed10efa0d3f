"""torch.ao.nn.qat: layers that are trained as if their weights were integers already."""

from __future__ import annotations

from typing import Any

from ..nn import functional as F
from ..nn.convolution import Conv2d as FloatConv2d
from ..nn.linear import Linear as FloatLinear
from ..tensor import Tensor
from . import intrinsic


def _check(mod: Any, kind: type) -> None:
    if type(mod) is not kind:
        raise AssertionError(f"qat.{kind.__name__}.from_float only works for {kind.__name__}, got {type(mod).__name__}")
    if not getattr(mod, "qconfig", None):
        raise AssertionError("Input float module must have a valid qconfig")


class Linear(FloatLinear):
    """A Linear whose weight is fake-quantized."""

    _FLOAT_MODULE: type = FloatLinear

    def __init__(self, in_features: int, out_features: int, bias: bool = True, qconfig: Any = None, device: Any = None, dtype: Any = None) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight()

    def forward(self, input: Tensor) -> Tensor:
        """The product with the rounded weight."""
        return F.linear(input, self.weight_fake_quant(self.weight), self.bias)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Linear:
        """The layer of a float one that has a ``qconfig``, with its parameters."""
        _check(mod, cls._FLOAT_MODULE)
        layer = intrinsic.last_layer(mod)
        made = cls(layer.in_features, layer.out_features, layer.bias is not None, mod.qconfig)
        made.weight, made.bias = layer.weight, layer.bias
        return made


class LinearReLU(Linear):
    """The same with a ReLU behind it."""

    _FLOAT_MODULE = intrinsic.LinearReLU

    def forward(self, input: Tensor) -> Tensor:
        """The rectified product with the rounded weight."""
        return super().forward(input).relu()


class Conv2d(FloatConv2d):
    """A Conv2d whose filters are fake-quantized."""

    _FLOAT_MODULE: type = FloatConv2d

    def __init__(self, *args: Any, qconfig: Any = None, **options: Any) -> None:
        super().__init__(*args, **options)
        if not qconfig:
            raise AssertionError("qconfig must be provided for QAT module")
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight()

    def forward(self, input: Tensor) -> Tensor:
        """The convolution with the rounded filters."""
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._around_(), mode=self.padding_mode), 0
        return F.conv2d(input, self.weight_fake_quant(self.weight), self.bias, self.stride, padding, self.dilation, self.groups)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Conv2d:
        """The layer of a float one that has a ``qconfig``, with its parameters."""
        _check(mod, cls._FLOAT_MODULE)
        layer = intrinsic.last_layer(mod)
        made = cls(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups,
            layer.bias is not None, layer.padding_mode, qconfig=mod.qconfig,
        )  # fmt: skip
        made.weight, made.bias = layer.weight, layer.bias
        return made


class ConvReLU2d(Conv2d):
    """The same with a ReLU behind it."""

    _FLOAT_MODULE = intrinsic.ConvReLU2d

    def forward(self, input: Tensor) -> Tensor:
        """The rectified convolution with the rounded filters."""
        return super().forward(input).relu()
