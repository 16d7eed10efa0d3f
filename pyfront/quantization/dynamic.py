"""torch.ao.nn.quantized.dynamic: layers of quantized weights whose activations are numbers, quantized call by call."""

from __future__ import annotations

from typing import Any

from ...dialects.types import float16
from ..nn import functional as F
from ..nn.linear import Linear as FloatLinear
from ..nn.linear import NonDynamicallyQuantizableLinear
from ..tensor import Tensor
from . import modules, products
from .dtypes import qint8
from .dynamic_weights import dynamic_weight, weight_dtype
from .recurrent import GRU, LSTM, GRUCell, LSTMCell, RNNCell  # noqa: F401  # public here


class Linear(modules.Linear):
    """float32[..., in_features] -> float32[..., out_features]; the weight is qint8 or float16, the bias float32."""

    _version = 4

    def __init__(self, in_features: int, out_features: int, bias_: bool = True, dtype: Any = qint8) -> None:
        super().__init__(in_features, out_features, bias_, dtype)
        self.version: int | None = 4

    def forward(self, x: Tensor) -> Tensor:
        """The product; no gradient."""
        packed = self._packed_params
        if packed.dtype is float16:
            return F.linear(x.detach(), packed._packed_params.weight, None if packed._packed_params.bias is None else packed._packed_params.bias.detach())
        return products.linear_dynamic(x, packed._packed_params, reduce_range=(self.version or 0) >= 4)

    def _get_name(self) -> str:
        return "DynamicQuantizedLinear"

    def extra_repr(self) -> str:
        """The arguments."""
        text = f"in_features={self.in_features}, out_features={self.out_features}, dtype={self._packed_params.dtype}"
        return text + (f", qscheme={self.weight().qscheme()}" if self._packed_params.dtype is qint8 else "")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *more: Any) -> None:
        self.version = local_metadata.get("version")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Linear:
        """The layer of a float one that has a ``qconfig``. AssertionError for other layers."""
        if type(mod) not in (FloatLinear, NonDynamicallyQuantizableLinear):
            raise AssertionError(f"nn.quantized.dynamic.Linear.from_float only works for Linear, got {type(mod)}")
        made = cls(mod.in_features, mod.out_features, dtype=weight_dtype(mod, "linear"))
        made.set_weight_bias(dynamic_weight(mod, mod.weight), mod.bias)
        return made

