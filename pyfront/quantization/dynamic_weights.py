"""Dynamic weights: what a float layer's weights become when only they are quantized, as its qconfig says."""

from __future__ import annotations

from typing import Any

from ...dialects.types import float16
from ..tensor import Tensor
from .dtypes import qint8
from .packed import HalfWeights
from .products import Weights
from .qconfig import default_dynamic_qconfig
from .quantizing import quantize_per_channel, quantize_per_tensor


def quantized_weight(weight: Tensor, observer: Any) -> Any:
    """A float weight as qint8 with what an observer of it found."""
    scale, zero_point = observer.calculate_qparams()
    if "channel" in observer.qscheme.name:
        return quantize_per_channel(weight.float(), scale.double(), zero_point.long(), observer.ch_axis, observer.dtype)
    return quantize_per_tensor(weight.float(), float(scale), int(zero_point), observer.dtype)


def _observer_of(mod: Any) -> Any:
    if not hasattr(mod, "qconfig"):
        raise AssertionError("Input float module must have qconfig defined")
    config = mod.qconfig if mod.qconfig is not None and mod.qconfig.weight is not None else default_dynamic_qconfig
    return config.weight()


def weight_dtype(mod: Any, what: str) -> Any:
    """What a layer's qconfig wants its weights to be. AssertionError for what there is no such layer of."""
    dtype = _observer_of(mod).dtype
    if dtype not in (qint8, float16):
        raise AssertionError(f"The only supported dtypes for dynamic quantized {what} are qint8 and float16, got: {dtype}")
    return dtype


def dynamic_weight(mod: Any, weight: Tensor) -> Any:
    """A weight of a float layer, quantized; itself where the qconfig says float16."""
    observer = _observer_of(mod)
    observer(weight)
    return quantized_weight(weight, observer) if observer.dtype is qint8 else weight.float()


def packed_weight(weight: Any, bias: Tensor | None, dtype: Any) -> Weights | HalfWeights:
    """A weight with its bias, as products want them."""
    return Weights(weight, bias) if dtype is qint8 else HalfWeights(weight, bias)
