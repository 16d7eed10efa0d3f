"""torch.ao.nn.quantized: layers from quantized tensors to quantized tensors."""

from __future__ import annotations

import importlib
from typing import Any

from ...dialects.types import float16, float32
from ..creation import tensor, zeros
from ..nn.linear import Linear as FloatLinear
from ..nn.linear import NonDynamicallyQuantizableLinear
from ..nn.module import Module
from ..tensor import Tensor
from . import products
from .dtypes import qint8
from .packed import LinearPackedParams
from .quantizing import _empty_affine_quantized


def __getattr__(name: str) -> Any:
    if name != "dynamic":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module(".dynamic", __package__)


class Linear(Module):
    """quint8[..., in_features] -> quint8[..., out_features] with ``scale`` and ``zero_point``; the weight is qint8, the bias float32."""

    _version = 3
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
        return products.linear(x, self._packed_params._packed_params, self.scale, self.zero_point)

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
