"""torchvision.models.detection.backbone_utils: classifiers as backbones, with feature pyramids on top."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from .... import nn
from ....tensor import Tensor
from ...feature_pyramid import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool
from ...layers import FrozenBatchNorm2d
from ..api import get_model_builder
from ..inner_layers import IntermediateLayerGetter

_LAYERS = ["layer4", "layer3", "layer2", "layer1", "conv1"]


class BackboneWithFPN(nn.Module):
    """Inner layers of a model, by the names return_layers gives them, and a pyramid of them."""

    def __init__(
        self, backbone: nn.Module, return_layers: dict[str, str], in_channels_list: list[int], out_channels: int,
        extra_blocks: ExtraFPNBlock | None = None, norm_layer: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.body = IntermediateLayerGetter(backbone, return_layers)
        self.fpn = FeaturePyramidNetwork(in_channels_list, out_channels, LastLevelMaxPool() if extra_blocks is None else extra_blocks, norm_layer)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The pyramid's maps by name."""
        return self.fpn(self.body(x))


def resnet_fpn_backbone(
    *, backbone_name: str, weights: Any, norm_layer: Callable[..., Any] = FrozenBatchNorm2d, trainable_layers: int = 3,
    returned_layers: list[int] | None = None, extra_blocks: ExtraFPNBlock | None = None,
) -> BackboneWithFPN:  # fmt: skip
    """A residual network with a pyramid; only its last trainable_layers of 5 are trained."""
    backbone = get_model_builder(backbone_name)(weights=weights, norm_layer=norm_layer)
    return residual_pyramid(backbone, trainable_layers, returned_layers, extra_blocks)


def residual_pyramid(
    backbone: Any, trainable_layers: int, returned_layers: list[int] | None = None, extra_blocks: ExtraFPNBlock | None = None,
    norm_layer: Callable[..., Any] | None = None,
) -> BackboneWithFPN:  # fmt: skip
    """A pyramid on a residual network."""
    if not 0 <= trainable_layers <= 5:
        raise ValueError(f"Trainable layers should be in the range [0,5], got {trainable_layers}")
    trained = tuple(_LAYERS[:trainable_layers] + (["bn1"] if trainable_layers == 5 else []))
    for name, parameter in backbone.named_parameters():
        if not name.startswith(trained):
            parameter.requires_grad_(False)
    returned = [1, 2, 3, 4] if returned_layers is None else returned_layers
    if min(returned) <= 0 or max(returned) >= 5:
        raise ValueError(f"Each returned layer should be in the range [1,4]. Got {returned}")
    names = {f"layer{k}": str(i) for i, k in enumerate(returned)}
    first = backbone.inplanes // 8
    return BackboneWithFPN(backbone, names, [first * 2 ** (k - 1) for k in returned], 256, extra_blocks, norm_layer)


def validated_layers(is_trained: bool, trainable_layers: int | None, most: int, default: int) -> int:
    """How many layers of a backbone are trained: all where it starts from nothing."""
    if not is_trained:
        if trainable_layers is not None:
            warnings.warn(
                "Changing trainable_backbone_layers has no effect if neither pretrained nor pretrained_backbone have been set to True, "
                f"falling back to trainable_backbone_layers={most} so that all layers are trainable",
                stacklevel=3,
            )
        trainable_layers = most
    trainable_layers = default if trainable_layers is None else trainable_layers
    if not 0 <= trainable_layers <= most:
        raise ValueError(f"Trainable backbone layers should be in the range [0,{most}], got {trainable_layers} ")
    return trainable_layers


def mobilenet_backbone(
    *, backbone_name: str, weights: Any, fpn: bool, norm_layer: Callable[..., Any] = FrozenBatchNorm2d, trainable_layers: int = 2,
    returned_layers: list[int] | None = None, extra_blocks: ExtraFPNBlock | None = None,
) -> nn.Module:  # fmt: skip
    """The features of a MobileNet with a pyramid, or brought to 256 channels."""
    backbone = get_model_builder(backbone_name)(weights=weights, norm_layer=norm_layer)
    return mobile_features(backbone, fpn, trainable_layers, returned_layers, extra_blocks)


def stages(features: Any) -> list[int]:
    """Where strided blocks of a MobileNet's features are; the first and the last convolution are stages, too."""
    return [0, *[i for i, block in enumerate(features) if getattr(block, "_is_cn", False)], len(features) - 1]


def freeze_before(features: Any, where: int) -> None:
    """The parameters of the first `where` blocks are not trained."""
    for block in list(features)[:where]:
        for parameter in block.parameters():
            parameter.requires_grad_(False)


def mobile_features(
    backbone: Any, fpn: bool, trainable_layers: int, returned_layers: list[int] | None = None,
    extra_blocks: ExtraFPNBlock | None = None, norm_layer: Callable[..., Any] | None = None,
) -> nn.Module:  # fmt: skip
    """The features of a MobileNet with a pyramid, or brought to 256 channels."""
    features = backbone.features
    at = stages(features)
    count = len(at)
    if not 0 <= trainable_layers <= count:
        raise ValueError(f"Trainable layers should be in the range [0,{count}], got {trainable_layers} ")
    freeze_before(features, len(features) if trainable_layers == 0 else at[count - trainable_layers])
    if not fpn:
        made = nn.Sequential(features, nn.Conv2d(features[-1].out_channels, 256, 1))
        made.out_channels = 256  # type: ignore[assignment]  # as torchvision says it
        return made
    returned = [count - 2, count - 1] if returned_layers is None else returned_layers
    if min(returned) < 0 or max(returned) >= count:
        raise ValueError(f"Each returned layer should be in the range [0,{count - 1}], got {returned} ")
    names = {str(at[k]): str(i) for i, k in enumerate(returned)}
    return BackboneWithFPN(features, names, [features[at[k]].out_channels for k in returned], 256, extra_blocks, norm_layer)


_resnet_fpn_extractor, _mobilenet_extractor, _validate_trainable_layers = residual_pyramid, mobile_features, validated_layers
