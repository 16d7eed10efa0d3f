"""SSDlite (https://arxiv.org/abs/1801.04381): SSD with convolutions of single channels, on MobileNetV3."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from .... import nn
from ....tensor import Tensor
from ...layers import Conv2dNormActivation
from ..mobile import mobilenet_v3_large
from ..weights import catalogue
from .anchor_utils import DefaultBoxGenerator
from .backbones import freeze_before, stages
from .builders import Recipe, detector
from .one_stage import start
from .ssd import SSD, SSDScoringHead, retrieve_out_channels, without_size

Maker = Callable[..., Any]
_DEVIATION = 0.03


def _prediction_block(in_channels: int, out_channels: int, kernel_size: int, norm_layer: Maker) -> nn.Sequential:
    own = Conv2dNormActivation(in_channels, in_channels, kernel_size, groups=in_channels, norm_layer=norm_layer, activation_layer=nn.ReLU6)
    return nn.Sequential(own, nn.Conv2d(in_channels, out_channels, 1))


def _extra_block(in_channels: int, out_channels: int, norm_layer: Maker) -> nn.Sequential:
    active, half = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.ReLU6), out_channels // 2
    return nn.Sequential(
        active(in_channels, half, kernel_size=1), active(half, half, kernel_size=3, stride=2, groups=half), active(half, out_channels, kernel_size=1)
    )


def _columns(in_channels: list[int], num_anchors: list[int], numbers: int, norm_layer: Maker) -> nn.ModuleList:
    made = nn.ModuleList()
    for channels, count in zip(in_channels, num_anchors, strict=True):
        made.append(_prediction_block(channels, numbers * count, 3, norm_layer))
    start(made, _DEVIATION)
    return made


class SSDLiteClassificationHead(SSDScoringHead):
    """Scores of the classes for each box."""

    def __init__(self, in_channels: list[int], num_anchors: list[int], num_classes: int, norm_layer: Maker) -> None:
        super().__init__(_columns(in_channels, num_anchors, num_classes, norm_layer), num_classes)


class SSDLiteRegressionHead(SSDScoringHead):
    """Four differences for each box."""

    def __init__(self, in_channels: list[int], num_anchors: list[int], norm_layer: Maker) -> None:
        super().__init__(_columns(in_channels, num_anchors, 4, norm_layer), 4)


class SSDLiteHead(nn.Module):
    """Scores and differences for each box."""

    def __init__(self, in_channels: list[int], num_anchors: list[int], num_classes: int, norm_layer: Maker) -> None:
        super().__init__()
        self.classification_head = SSDLiteClassificationHead(in_channels, num_anchors, num_classes, norm_layer)
        self.regression_head = SSDLiteRegressionHead(in_channels, num_anchors, norm_layer)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """bbox_regression [n, places, 4] and cls_logits [n, places, classes]."""
        return {"bbox_regression": self.regression_head(x), "cls_logits": self.classification_head(x)}


class SSDLiteFeatureExtractorMobileNet(nn.Module):
    """A MobileNet's features cut in the block `c4_pos`, after its first layer; further maps."""

    def __init__(self, backbone: Any, c4_pos: int, norm_layer: Maker, width_mult: float = 1.0, min_depth: int = 16) -> None:
        super().__init__()
        blocks = list(backbone)
        cut = blocks[c4_pos]
        if cut.use_res_connect:
            raise ValueError("backbone[c4_pos].use_res_connect should be False")
        self.features = nn.Sequential(nn.Sequential(*blocks[:c4_pos], cut.block[0]), nn.Sequential(cut.block[1:], *blocks[c4_pos + 1 :]))
        widths = [blocks[-1].out_channels, *[max(min_depth, int(width * width_mult)) for width in (512, 256, 256, 128)]]
        self.extra = nn.ModuleList([_extra_block(a, b, norm_layer) for a, b in zip(widths, widths[1:], strict=False)])
        start(self.extra, _DEVIATION)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """The maps by number."""
        found: OrderedDict[str, Tensor] = OrderedDict()
        for block in (*self.features, *self.extra):
            x = block(x)
            found[str(len(found))] = x
        return found


def _mobilenet_extractor(backbone: Any, trainable_layers: int, norm_layer: Maker) -> SSDLiteFeatureExtractorMobileNet:
    features = backbone.features
    at = stages(features)
    if not 0 <= trainable_layers <= len(at):
        raise ValueError(f"trainable_layers should be in the range [0, {len(at)}], instead got {trainable_layers}")
    freeze_before(features, len(features) if trainable_layers == 0 else at[len(at) - trainable_layers])
    return SSDLiteFeatureExtractorMobileNet(features, at[-2], norm_layer)


def _ssdlite320(recipe: Recipe) -> SSD:
    options = without_size(recipe.options)
    given = options.pop("norm_layer", None)
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03) if given is None else given
    layers = recipe.layers(6, 6)
    classifier = mobilenet_v3_large(weights=recipe.backbone, norm_layer=norm, reduced_tail=recipe.backbone is None)
    if recipe.backbone is None:
        start(classifier, _DEVIATION)
    backbone = _mobilenet_extractor(classifier, layers, norm)
    boxes, size = DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95), (320, 320)
    head = SSDLiteHead(retrieve_out_channels(backbone, size), boxes.num_anchors_per_location(), recipe.classes, norm)
    defaults = {
        "score_thresh": 0.001, "nms_thresh": 0.55, "detections_per_img": 300, "topk_candidates": 300, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    return SSD(backbone, boxes, size, recipe.classes, head=head, **{**defaults, **options})


ssdlite320_mobilenet_v3_large = detector(
    "ssdlite320_mobilenet_v3_large", _ssdlite320, catalogue()["mobilenet_v3_large"].IMAGENET1K_V1  # type: ignore[attr-defined]
)
