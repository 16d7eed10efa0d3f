"""Static weights: a quantized layer with the weight of an observed float one, and with the scale that its observer found."""

from __future__ import annotations

from typing import Any

from .dynamic_weights import quantized_weight
from .intrinsic import last_layer


def take_over(cls: Any, mod: Any) -> Any:
    """A ``cls`` of an observed (or fake-quantized) layer. AssertionError where it was not prepared."""
    if not hasattr(mod, "activation_post_process"):
        raise AssertionError(f"Module {type(mod).__name__} must have activation_post_process attribute: call prepare() first")
    layer = last_layer(mod)
    observer = getattr(mod, "weight_fake_quant", None)
    if observer is None:
        observer = mod.qconfig.weight()
        observer(layer.weight)
    if "qint8" != getattr(observer.dtype, "name", ""):
        raise AssertionError(f"Weight observer must have dtype torch.qint8, got {observer.dtype}")
    made = cls.like(layer)
    made.set_weight_bias(quantized_weight(layer.weight.detach(), observer), layer.bias)
    scale, zero_point = mod.activation_post_process.calculate_qparams()
    made.scale, made.zero_point = float(scale), int(zero_point)
    return made
