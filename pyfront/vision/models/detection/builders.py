"""How a detector's name becomes a function: what `weights` and `weights_backbone` mean, and which layers are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .... import nn
from ...layers import FrozenBatchNorm2d
from ..api import class_count, publish, trained
from .backbones import validated_layers


@dataclass(frozen=True)
class Recipe:
    """What a function is asked for. is_trained: the detector or its backbone starts from trained weights."""

    classes: int
    backbone: Any
    is_trained: bool
    trainable_layers: int | None
    options: dict[str, Any]

    def layers(self, most: int, default: int) -> int:
        """How many layers of the backbone are trained."""
        return validated_layers(self.is_trained, self.trainable_layers, most, default)


def detector(
    name: str, make: Callable[[Recipe], nn.Module], pretrained: Any, classes: int = 91, exact_norms: tuple[str, ...] = ()
) -> Callable[..., nn.Module]:  # fmt: skip
    """A function ``name(*, weights=None, num_classes=None, weights_backbone=pretrained, ...)``.

    exact_norms: weights that were trained with norms that add nothing to the variance.
    """

    def build(
        *, weights: Any = None, progress: bool = True, num_classes: int | None = None, weights_backbone: Any = pretrained,
        trainable_backbone_layers: int | None = None, **options: Any,
    ) -> nn.Module:  # fmt: skip
        chosen, state = trained(name, weights, progress)
        backbone = None if state is not None else weights_backbone
        count = class_count(num_classes, chosen) if chosen is not None else classes if num_classes is None else num_classes
        made = make(Recipe(count, backbone, state is not None or backbone is not None, trainable_backbone_layers, options))
        if state is not None:
            made.load_state_dict(state)
        if chosen is not None and chosen.name in exact_norms:
            for layer in made.modules():
                if isinstance(layer, FrozenBatchNorm2d):
                    layer.eps = 0.0
        return made

    return publish(name, build, f"{name}: images float [3, h, w] in a list to what is found in each; while training to losses.")
