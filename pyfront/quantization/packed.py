"""Packed parameters: the weight and the bias of a quantized linear layer as a module, with PyTorch's state_dict."""

from __future__ import annotations

from typing import Any

from ...dialects.types import float16, float32
from ..creation import zeros
from ..nn.module import Module
from ..tensor import Tensor
from .dtypes import qint8
from .products import Weights
from .quantized_tensor import QuantizedTensor
from .quantizing import _empty_affine_quantized


class HalfWeights:
    """A weight rounded to float16 and kept as float32, with its bias."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach().clamp(-65504.0, 65504.0).to(float16).to(float32), bias


class LinearPackedParams(Module):
    """Weight and bias; dtype: ``torch.qint8`` or ``torch.float16``. _packed_params: as products want them."""

    _version = 3

    def __init__(self, dtype: Any = qint8) -> None:
        super().__init__()
        self.dtype = dtype
        empty = _empty_affine_quantized([1, 1], scale=1.0, zero_point=0, dtype=qint8) if dtype is qint8 else zeros(1, 1)
        self.set_weight_bias(empty, None)

    def set_weight_bias(self, weight: Any, bias: Tensor | None) -> None:
        """Take qint8[out, in] (float32[out, in] for float16) and float32[out]."""
        if self.dtype is qint8:
            if not isinstance(weight, QuantizedTensor) or weight.dtype is not qint8:
                raise RuntimeError(f"a linear layer of torch.qint8 needs a weight of that dtype, got {weight.dtype}")
            self._packed_params: Any = Weights(weight, bias)
        elif self.dtype is float16:
            self._packed_params = HalfWeights(weight, bias)
        else:
            raise RuntimeError("Unsupported dtype on dynamic quantized linear!")

    def _weight_bias(self) -> tuple[Any, Tensor | None]:
        return self._packed_params.weight, self._packed_params.bias

    def forward(self, x: Any) -> Any:
        """The input: the parameters are used by the layer around."""
        return x

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "dtype"] = self.dtype
        destination[prefix + "_packed_params"] = self._weight_bias()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *more: Any) -> None:
        version = local_metadata.get("version") or 1
        self.dtype = state_dict.pop(prefix + "dtype") if version >= 2 else qint8
        names = ("weight", "bias")
        pair = state_dict.pop(prefix + "_packed_params") if version >= 3 else [state_dict.pop(prefix + name) for name in names]
        self.set_weight_bias(*pair)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)

    def __repr__(self) -> str:
        return repr(self._weight_bias())
