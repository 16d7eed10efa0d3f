"""Quantize: which layers of a model are quantized, prepared and exchanged."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

from ...dialects.errors import UnsupportedError
from ...dialects.types import float16
from ..nn.activation import ELU, Hardswish, LeakyReLU, PReLU, ReLU6, Sigmoid, Tanh
from ..nn.containers import Sequential
from ..nn.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..nn.dropout import Dropout
from ..nn.linear import Linear, NonDynamicallyQuantizableLinear
from ..nn.module import Module
from ..nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm
from ..nn.recurrent import GRU, LSTM, GRUCell, LSTMCell, RNNCell
from ..nn.sparse import Embedding, EmbeddingBag
from ..origin import origin, source_line
from . import dynamic, modules, qat
from .dtypes import qint8
from .fake_quantize import FakeQuantizeBase, default_fixed_qparams_range_0to1_fake_quant, default_fixed_qparams_range_neg1to1_fake_quant
from .functional_modules import FloatFunctional, QFunctional
from .intrinsic import ConvReLU2d, LinearReLU, _FusedModule
from .observer import default_fixed_qparams_range_0to1_observer, default_fixed_qparams_range_neg1to1_observer
from .qconfig import default_dynamic_qconfig, float16_dynamic_qconfig
from .stubs import DeQuantStub, QuantStub, QuantWrapper

DYNAMIC: dict[type, Any] = {
    Linear: dynamic.Linear, NonDynamicallyQuantizableLinear: dynamic.Linear, LSTM: dynamic.LSTM, GRU: dynamic.GRU, LSTMCell: dynamic.LSTMCell,
    GRUCell: dynamic.GRUCell, RNNCell: dynamic.RNNCell,
}  # fmt: skip
"""Layers that dynamic quantization exchanges, and for what."""
STATIC: dict[type, Any] = {
    QuantStub: modules.Quantize, DeQuantStub: modules.DeQuantize, Linear: modules.Linear, NonDynamicallyQuantizableLinear: modules.Linear,
    Conv2d: modules.Conv2d, LinearReLU: modules.LinearReLU, ConvReLU2d: modules.ConvReLU2d, FloatFunctional: QFunctional, Dropout: modules.Dropout,
    qat.Linear: modules.Linear, qat.LinearReLU: modules.LinearReLU, qat.Conv2d: modules.Conv2d, qat.ConvReLU2d: modules.ConvReLU2d,
}  # fmt: skip
"""Layers that static quantization exchanges."""
QAT: dict[type, Any] = {Linear: qat.Linear, LinearReLU: qat.LinearReLU, Conv2d: qat.Conv2d, ConvReLU2d: qat.ConvReLU2d}
"""Layers that are exchanged for training."""
OBSERVED: set[type] = {
    *STATIC, *DYNAMIC, ReLU6, BatchNorm1d, BatchNorm2d, BatchNorm3d, Conv1d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, ELU, Embedding,
    EmbeddingBag, GroupNorm, Hardswish, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm, LeakyReLU, PReLU,
}  # fmt: skip
"""Layers whose results are observed; some of them have no quantized form here, which ``convert`` says."""
_UNIT = {"observed": default_fixed_qparams_range_0to1_observer, "fake": default_fixed_qparams_range_0to1_fake_quant}
FIXED: dict[type, Any] = {
    Sigmoid: _UNIT, Tanh: {"observed": default_fixed_qparams_range_neg1to1_observer, "fake": default_fixed_qparams_range_neg1to1_fake_quant},
}  # fmt: skip
"""Layers whose results have a known range."""
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
    """Give every submodule the qconfig it has, that of its name, of its class, or of the module it is in, the first that there is."""
    _propagate(module, qconfig_dict or {}, None, "")


def _propagate(module: Module, wanted: dict, inherited: Any, prefix: str) -> None:
    found = wanted.get(prefix, wanted.get(type(module), inherited))
    module.qconfig = getattr(module, "qconfig", found)
    for name, child in module.named_children():
        _propagate(child, wanted, module.qconfig, f"{prefix}.{name}" if prefix else name)


# -- observers ---------------------------------------------------------------------------------------------------------


def prepare(model: Module, inplace: bool = False, allow_list: Any = None, observer_non_leaf_module_list: Any = None, **_: Any) -> Module:
    """The model with observers behind its layers that have a qconfig: run data through it, then ``convert``."""
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    if not any(getattr(m, "qconfig", None) for m in model.modules()):
        warnings.warn("None of the submodule got qconfig applied. Make sure you passed correct configuration through `qconfig_dict` or by assigning the `.qconfig` attribute directly on submodules", stacklevel=2)
    _observe_below(model, OBSERVED if allow_list is None else set(allow_list), set(observer_non_leaf_module_list or ()))
    return model


def _observe_below(module: Module, kinds: set[type], whole: set[type]) -> None:
    for child in module.children():
        if type(child) is Dropout:
            continue
        if isinstance(child, FloatFunctional | QFunctional):
            if child.qconfig is not None:
                child.activation_post_process = child.qconfig.activation()
        elif isinstance(child, _FusedModule) or type(child) in whole:
            _observe(child)
        elif type(child) in FIXED:
            _observe(child, FIXED[type(child)])
        else:
            _observe_below(child, kinds, whole)
    is_leaf = not module._modules or set(module._modules) == {"weight_fake_quant"}
    if is_leaf and type(module) in kinds and not isinstance(module, Sequential):
        _observe(module)


def _observe(module: Module, known: dict[str, Any] | None = None) -> None:
    """Put an observer behind a module, unless it has no qconfig. known: what is used in place of the activation's."""
    if module.qconfig is None or isinstance(module, DeQuantStub):
        return
    made = module.qconfig.activation()
    if known is not None:
        made = known["fake" if isinstance(made, FakeQuantizeBase) else "observed"]()
    module.add_module("activation_post_process", made)
    module.register_forward_hook(_observer_forward_hook, prepend=True)


def _observer_forward_hook(self: Module, input: Any, output: Any) -> Any:
    return self.activation_post_process(output)


# -- exchange ----------------------------------------------------------------------------------------------------------


def convert(module: Module, mapping: dict | None = None, inplace: bool = False, remove_qconfig: bool = True, is_reference: bool = False, **_: Any) -> Module:
    """The model with the layers that have a qconfig exchanged for those of ``mapping``, by its classes' ``from_float``.

    UnsupportedError for layers that were observed and have no quantized form.
    """
    if is_reference:
        raise UnsupportedError("reference quantized modules are not there", at=source_line(origin()), help="convert(model) makes quantized ones")
    module = module if inplace else copy.deepcopy(module)
    _convert(module, STATIC if mapping is None else mapping)
    if remove_qconfig:
        _remove_qconfig(module)
    return module


def _convert(module: Module, mapping: dict) -> None:
    for name, child in list(module.named_children()):
        if not isinstance(child, _FusedModule):
            _convert(child, mapping)
        made = swap_module(child, mapping, {})
        if made is not child:
            setattr(module, name, made)


def _remove_qconfig(module: Module) -> None:
    for m in module.modules():
        if _observer_forward_hook in m._forward_hooks.values():
            if type(m) not in FIXED:
                raise UnsupportedError(
                    f"a quantized {type(m).__name__} is not there yet", at=source_line(origin()),
                    help=f"set the layer's qconfig to None before prepare(), and put it between a DeQuantStub and a QuantStub; there are: {', '.join(sorted(k.__name__ for k in STATIC))}",
                )  # fmt: skip
            for key, hook in list(m._forward_hooks.items()):
                if hook is _observer_forward_hook:
                    del m._forward_hooks[key]
            m._hooks_changed_()
            del m.activation_post_process
        m.__dict__.pop("qconfig", None)


def swap_module(mod: Module, mapping: dict, custom_module_class_mapping: Any, use_precomputed_fake_quant: bool = False) -> Module:
    """What takes the place of a module: made by ``from_float`` where it has a qconfig and the mapping its class; its hooks stay."""
    if getattr(mod, "qconfig", None) is None or type(mod) not in mapping:
        return mod
    made = mapping[type(mod)].from_float(mod)
    for hook in mod._forward_pre_hooks.values():
        made.register_forward_pre_hook(hook)
    for hook in mod._forward_hooks.values():
        if hook is not _observer_forward_hook:
            made.register_forward_hook(hook)
    return made.train(mod.training)


# -- whole flows -------------------------------------------------------------------------------------------------------


def quantize(model: Module, run_fn: Callable[..., Any], run_args: Any, mapping: dict | None = None, inplace: bool = False) -> Module:
    """``prepare``, ``run_fn(model, *run_args)``, ``convert``."""
    model = prepare((model if inplace else copy.deepcopy(model)).eval(), inplace=True)
    run_fn(model, *run_args)
    return convert(model, mapping, inplace=True)


def prepare_qat(model: Module, mapping: dict | None = None, inplace: bool = False) -> Module:
    """The model with layers that are trained as if their weights were integers already, and observers that round what they give.

    AssertionError for models that are not in training mode.
    """
    if not model.training:
        raise AssertionError("prepare_qat only works on models in training mode")
    mapping = QAT if mapping is None else mapping
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    convert(model, mapping, inplace=True, remove_qconfig=False)
    return prepare(model, inplace=True, observer_non_leaf_module_list=set(mapping.values()))


def quantize_qat(model: Module, run_fn: Callable[..., Any], run_args: Any, inplace: bool = False) -> Module:
    """``prepare_qat``, ``run_fn(model, *run_args)``, ``convert``."""
    model = prepare_qat((model if inplace else copy.deepcopy(model)).train(), inplace=True)
    run_fn(model, *run_args)
    return convert(model, inplace=True)


def add_quant_dequant(module: Module) -> Module:
    """The module with its layers that have a qconfig between a QuantStub and a DeQuantStub each."""
    if not module._modules and getattr(module, "qconfig", None):
        return QuantWrapper(module)
    for name, child in list(module.named_children()):
        setattr(module, name, add_quant_dequant(child))
    return module
