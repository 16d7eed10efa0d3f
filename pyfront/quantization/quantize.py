"""Quantize: which layers of a model are quantized, prepared and exchanged."""

from __future__ import annotations

import copy
from typing import Any

from ...dialects.errors import UnsupportedError
from ...dialects.types import float16
from ..nn.linear import Linear, NonDynamicallyQuantizableLinear
from ..nn.module import Module
from ..nn.recurrent import GRU, LSTM, GRUCell, LSTMCell, RNNCell
from ..origin import origin, source_line
from . import dynamic
from .dtypes import qint8
from .qconfig import default_dynamic_qconfig, float16_dynamic_qconfig

DYNAMIC: dict[type, Any] = {
    Linear: dynamic.Linear, NonDynamicallyQuantizableLinear: dynamic.Linear, LSTM: dynamic.LSTM, GRU: dynamic.GRU, LSTMCell: dynamic.LSTMCell,
    GRUCell: dynamic.GRUCell, RNNCell: dynamic.RNNCell,
}  # fmt: skip
"""Layers that dynamic quantization exchanges, and for what."""
_DYNAMIC_CONFIGS = {qint8: default_dynamic_qconfig, float16: float16_dynamic_qconfig}


def quantize_dynamic(model: Module, qconfig_spec: Any = None, dtype: Any = qint8, mapping: dict | None = None, inplace: bool = False) -> Module:
    """The model with some of its layers exchanged for ones whose weights are qint8 or float16; activations are quantized call by call.

    qconfig_spec: a set of classes and names of layers, or a dict from such to QConfig; None: Linear and recurrent layers. dtype: of the
    weights, unless the dict says it. mapping: classes to those that take their places. ValueError for dtypes that are not there.
    """
    if qconfig_spec is None or isinstance(qconfig_spec, (set, frozenset, list, tuple)):
        if dtype not in _DYNAMIC_CONFIGS:
            raise DynamicDTypeError(
                f"Don't know how to quantize with default settings for {dtype}. Provide full qconfig please",
                at=source_line(origin()), help="weights of torch.qint8 and torch.float16 are there",
            )  # fmt: skip
        named = (Linear, LSTM, GRU, LSTMCell, RNNCell, GRUCell) if qconfig_spec is None else qconfig_spec
        qconfig_spec = dict.fromkeys(named, _DYNAMIC_CONFIGS[dtype])
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    propagate_qconfig_(model, qconfig_spec)
    return convert(model, DYNAMIC if mapping is None else mapping, inplace=True)


class DynamicDTypeError(UnsupportedError, ValueError):
    """A dtype of weights that quantize_dynamic does not have."""


def propagate_qconfig_(module: Module, qconfig_dict: dict | None = None, prepare_custom_config_dict: dict | None = None) -> None:
    """Give every submodule the qconfig of its name, of its class, or of the module it is in."""
    _propagate(module, qconfig_dict or {}, getattr(module, "qconfig", None), "")


def _propagate(module: Module, wanted: dict, inherited: Any, prefix: str) -> None:
    own = wanted.get(prefix, wanted.get(type(module), inherited))
    module.qconfig = getattr(module, "qconfig", None) if own is None else own
    for name, child in module.named_children():
        _propagate(child, wanted, own, f"{prefix}.{name}" if prefix else name)


def convert(
    module: Module, mapping: dict | None = None, inplace: bool = False, remove_qconfig: bool = True, **_: Any
) -> Module:
    """The model with the layers that have a qconfig exchanged for those of ``mapping``, by its classes' ``from_float``."""
    module = module if inplace else copy.deepcopy(module)
    _convert(module, DYNAMIC if mapping is None else mapping)
    if remove_qconfig:
        for m in module.modules():
            m.__dict__.pop("qconfig", None)
    return module


def _convert(module: Module, mapping: dict) -> None:
    for name, child in list(module.named_children()):
        _convert(child, mapping)
        setattr(module, name, swap_module(child, mapping, {}))


def swap_module(mod: Module, mapping: dict, custom_module_class_mapping: Any, use_precomputed_fake_quant: bool = False) -> Module:
    """What takes the place of a module: made by ``from_float`` where it has a qconfig and the mapping its class; its hooks stay."""
    if getattr(mod, "qconfig", None) is None or type(mod) not in mapping:
        return mod
    made = mapping[type(mod)].from_float(mod)
    for hook in mod._forward_pre_hooks.values():
        made.register_forward_pre_hook(hook)
    for hook in mod._forward_hooks.values():
        made.register_forward_hook(hook)
    return made
