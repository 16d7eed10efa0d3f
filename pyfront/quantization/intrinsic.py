"""torch.ao.nn.intrinsic: layers that follow each other as one, so that what lies between them is not observed."""

from __future__ import annotations

from typing import Any

from ..nn.containers import Sequential


class _FusedModule(Sequential):
    """Layers that are quantized as one."""


class LinearReLU(_FusedModule):
    """A Linear, then a ReLU."""


class ConvReLU2d(_FusedModule):
    """A Conv2d, then a ReLU."""


class ConvBn2d(_FusedModule):
    """A Conv2d, then a BatchNorm2d; while it is trained."""


class ConvBnReLU2d(_FusedModule):
    """A Conv2d, a BatchNorm2d and a ReLU; while they are trained."""


def last_layer(mod: Any) -> Any:
    """The layer with the weight: the first of those that are one, or the layer itself."""
    return mod[0] if isinstance(mod, _FusedModule) else mod
