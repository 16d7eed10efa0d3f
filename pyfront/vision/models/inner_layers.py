"""torchvision.models._utils: a model up to its last wanted layer, and what its layers give by other names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from ...nn.containers import ModuleDict
from ...nn.module import Module
from ...tensor import Tensor
from .api import make_divisible as _make_divisible  # noqa: F401  # under the name programs import

__all__ = ["IntermediateLayerGetter"]


class IntermediateLayerGetter(ModuleDict):
    """The children of a model one after the other, as far as the last one that is wanted; what wanted ones give comes as a dict.

    return_layers: by a child's name, the name of what it gives. A model whose forward is more than its children is computed
    without the rest: layers reused or functions between them are passed over.
    """

    def __init__(self, model: Module, return_layers: Mapping[str, str]) -> None:
        children = dict(model.named_children())
        if not set(return_layers) <= set(children):
            raise ValueError("return_layers are not present in model")
        last = max((k for k, name in enumerate(children) if name in return_layers), default=len(children) - 1)
        super().__init__(OrderedDict(list(children.items())[: last + 1]))
        self.return_layers = dict(return_layers)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """What the wanted layers give."""
        given: OrderedDict[str, Tensor] = OrderedDict()
        for name, layer in self.items():
            x = layer(x)
            if name in self.return_layers:
                given[self.return_layers[name]] = x
        return given
