"""Fusing: layers of a model, by name, put together as one."""

from __future__ import annotations

import copy
from typing import Any

from ...dialects.errors import UnsupportedError
from ..nn.activation import ReLU
from ..nn.convolution import Conv2d
from ..nn.linear import Identity, Linear
from ..nn.module import Module
from ..nn.normalization import BatchNorm2d
from ..nn.utils.fusion import fuse_conv_bn_eval
from ..origin import origin, source_line
from .intrinsic import ConvReLU2d, LinearReLU

KINDS: dict[tuple[type, ...], Any] = {
    (Conv2d, ReLU): lambda conv, relu: ConvReLU2d(conv, relu),
    (Linear, ReLU): lambda linear, relu: LinearReLU(linear, relu),
    (Conv2d, BatchNorm2d): fuse_conv_bn_eval,
    (Conv2d, BatchNorm2d, ReLU): lambda conv, norm, relu: ConvReLU2d(fuse_conv_bn_eval(conv, norm), relu),
}
"""Layers that can be one, in their order."""


def fuse_modules(model: Module, modules_to_fuse: list, inplace: bool = False, **_: Any) -> Module:
    """The model with layers put together: convolution, normalization and ReLU, or Linear and ReLU.

    modules_to_fuse: a list of names, or a list of such lists. The first layer of each gets the place of the whole, the others become Identity.
    Convolutions take over what their normalization does. NotImplementedError for other layers, and where normalizations are trained.
    """
    model = model if inplace else copy.deepcopy(model)
    groups = [modules_to_fuse] if all(isinstance(name, str) for name in modules_to_fuse) else modules_to_fuse
    for names in groups:
        layers = [model.get_submodule(name) for name in names]
        make = KINDS.get(tuple(map(type, layers)))
        if make is None:
            kinds = ", ".join(type(layer).__name__ for layer in layers)
            raise UnsupportedError(
                f"{kinds} cannot be fused", at=source_line(origin()),
                help="Conv2d + BatchNorm2d, Conv2d + BatchNorm2d + ReLU, Conv2d + ReLU and Linear + ReLU can",
            )  # fmt: skip
        if any(isinstance(layer, BatchNorm2d) and layer.training for layer in layers):
            raise UnsupportedError("a normalization that is being trained is not fused yet", at=source_line(origin()), help="call model.eval() first")
        _put(model, names[0], _with_hooks(make(*layers), layers))
        for name in names[1:]:
            _put(model, name, Identity().train(layers[0].training))
    return model


def fuse_modules_qat(model: Module, modules_to_fuse: list, inplace: bool = False, **_: Any) -> Module:
    """The same for a model that is trained; NotImplementedError for normalizations."""
    return fuse_modules(model, modules_to_fuse, inplace)


def _with_hooks(made: Module, layers: list[Module]) -> Module:
    for hook in layers[0]._forward_pre_hooks.values():
        made.register_forward_pre_hook(hook)
    for hook in layers[-1]._forward_hooks.values():
        made.register_forward_hook(hook)
    return made.train(layers[0].training)


def _put(model: Module, name: str, module: Module) -> None:
    path, _, last = name.rpartition(".")
    setattr(model.get_submodule(path) if path else model, last, module)
