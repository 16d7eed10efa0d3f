"""torch.ao.nn.quantized: layers from quantized tensors to quantized tensors."""

from __future__ import annotations

import importlib
from typing import Any

from ...dialects.types import float16, float32
from ..creation import tensor, zeros
from ..nn.dropout import Dropout as FloatDropout
from ..nn.linear import Linear as FloatLinear
from ..nn.linear import NonDynamicallyQuantizableLinear
from ..nn.module import Module
from ..tensor import Tensor
from . import products
from .convolution import Conv2d, ConvReLU2d  # noqa: F401  # public here
from .dtypes import qint8
from .functional_modules import FloatFunctional, QFunctional  # noqa: F401  # public here
from .packed import LinearPackedParams
from .quantizing import _empty_affine_quantized, quantize_per_tensor
from .static_weights import take_over


def __getattr__(name: str) -> Any:
    if name != "dynamic":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module(".dynamic", __package__)


class Linear(Module):
    """quint8[..., in_features] -> quint8[..., out_features] with ``scale`` and ``zero_point``; the weight is qint8, the bias float32."""

    _version = 3
    _relu = False
    _FLOAT_MODULE: tuple[type, ...] = (FloatLinear, NonDynamicallyQuantizableLinear)

    def __init__(self, in_features: int, out_features: int, bias_: bool = True, dtype: Any = qint8) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        if dtype is qint8:
            weight: Any = _empty_affine_quantized([out_features, in_features], scale=1, zero_point=0, dtype=qint8)
        elif dtype is float16:
            weight = zeros(out_features, in_features)
        else:
            raise RuntimeError("Unsupported dtype specified for quantized Linear!")
        self._packed_params = LinearPackedParams(dtype)
        self._packed_params.set_weight_bias(weight, zeros(out_features, dtype=float32) if bias_ else None)
        self.scale, self.zero_point = 1.0, 0

    def forward(self, x: Any) -> Any:
        """The product, requantized."""
        return products.linear(x, self._packed_params._packed_params, self.scale, self.zero_point, self._relu)

    def weight(self) -> Any:
        """The weight."""
        return self._packed_params._weight_bias()[0]

    def bias(self) -> Tensor | None:
        """The bias."""
        return self._packed_params._weight_bias()[1]

    def _weight_bias(self) -> tuple[Any, Tensor | None]:
        return self._packed_params._weight_bias()

    def set_weight_bias(self, w: Any, b: Tensor | None) -> None:
        """Another weight and bias."""
        self._packed_params.set_weight_bias(w, b)

    def _get_name(self) -> str:
        return "QuantizedLinear"

    def extra_repr(self) -> str:
        """The arguments."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, scale={self.scale}, zero_point={self.zero_point}, qscheme={self.weight().qscheme()}"

    def __repr__(self) -> str:
        return f"{self._get_name()}({self.extra_repr()})"

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"] = tensor(self.scale)
        destination[prefix + "zero_point"] = tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *more: Any) -> None:
        self.scale = float(state_dict.pop(prefix + "scale"))
        self.zero_point = int(state_dict.pop(prefix + "zero_point"))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)

    @classmethod
    def like(cls, linear: Any) -> Linear:
        """With the sizes of a float layer."""
        return cls(linear.in_features, linear.out_features, linear.bias is not None)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Linear:
        """The layer of an observed float one."""
        return take_over(cls, mod)


class LinearReLU(Linear):
    """The same with a ReLU behind it."""

    _relu = True

    def _get_name(self) -> str:
        return "QuantizedLinearReLU"


class Quantize(Module):
    """float32[...] -> integers of a scale and a zero point."""

    def __init__(self, scale: float, zero_point: int, dtype: Any, factory_kwargs: Any = None) -> None:
        super().__init__()
        self.register_buffer("scale", tensor([scale], dtype=float32))
        self.register_buffer("zero_point", tensor([zero_point]))
        self.dtype = dtype

    def forward(self, X: Tensor) -> Any:  # noqa: N803  # PyTorch's name
        """The quantized input."""
        return quantize_per_tensor(X, float(self.scale), int(self.zero_point), self.dtype)

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> Quantize:
        """That of an observed QuantStub."""
        if not hasattr(mod, "activation_post_process"):
            raise AssertionError(f"Module {type(mod).__name__} must have activation_post_process attribute")
        scale, zero_point = mod.activation_post_process.calculate_qparams()
        return Quantize(float(scale), int(zero_point), mod.activation_post_process.dtype)

    def extra_repr(self) -> str:
        """Scale, zero point and dtype."""
        return f"scale={self.scale}, zero_point={self.zero_point}, dtype={self.dtype}"


class DeQuantize(Module):
    """Integers -> the numbers float32[...] they stand for."""

    def forward(self, Xq: Any) -> Tensor:  # noqa: N803  # PyTorch's name
        """The numbers."""
        return Xq.dequantize()

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> DeQuantize:
        """That of a DeQuantStub."""
        return DeQuantize()


class Dropout(FloatDropout):
    """Hands quantized tensors through."""

    def _get_name(self) -> str:
        return "QuantizedDropout"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Dropout:
        """That of a float one."""
        return cls(mod.p, mod.inplace)
