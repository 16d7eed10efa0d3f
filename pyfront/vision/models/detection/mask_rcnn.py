"""Mask R-CNN (https://arxiv.org/abs/1703.06870): boxes, classes and masks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .... import nn
from ...layers import Conv2dNormActivation
from ...poolers import MultiScaleRoIAlign
from ..resnet import resnet50
from .backbones import residual_pyramid
from .builders import Recipe, detector
from .faster_rcnn import RESIDUAL, FasterRCNN, channels_of, check_pool, normed_pyramid, norms, start_for_relu


class MaskRCNN(FasterRCNN):
    """Faster R-CNN with a branch for masks. Its options are those of FasterRCNN and three for the branch."""

    def __init__(
        self, backbone: Any, num_classes: int | None = None, *args: Any, mask_roi_pool: Any = None, mask_head: Any = None,
        mask_predictor: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        check_pool(mask_roi_pool, "mask_roi_pool")
        if num_classes is not None and mask_predictor is not None:
            raise ValueError("num_classes should be None when mask_predictor is specified")
        channels = channels_of(backbone)
        pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2) if mask_roi_pool is None else mask_roi_pool
        head = MaskRCNNHeads(channels, (256,) * 4, 1) if mask_head is None else mask_head
        predictor = MaskRCNNPredictor(256, 256, num_classes or 0) if mask_predictor is None else mask_predictor
        super().__init__(backbone, num_classes, *args, **kwargs)
        self.roi_heads.mask_roi_pool, self.roi_heads.mask_head, self.roi_heads.mask_predictor = pool, head, predictor


class MaskRCNNHeads(nn.Sequential):
    """Convolutions of `layers` channels that keep the size."""

    _version = 2

    def __init__(self, in_channels: int, layers: Any, dilation: int, norm_layer: Callable[..., Any] | None = None) -> None:
        made = []
        for wide in layers:
            made.append(Conv2dNormActivation(in_channels, wide, 3, 1, padding=dilation, dilation=dilation, norm_layer=norm_layer))
            in_channels = wide
        super().__init__(*made)
        start_for_relu(self)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *rest: Any) -> None:
        if local_metadata.get("version") is None or local_metadata["version"] < 2:  # when layers had names
            for i in range(len(self)):
                for kind in ("weight", "bias"):
                    if f"{prefix}mask_fcn{i + 1}.{kind}" in state_dict:
                        state_dict[f"{prefix}{i}.0.{kind}"] = state_dict.pop(f"{prefix}mask_fcn{i + 1}.{kind}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class MaskRCNNPredictor(nn.Sequential):
    """A mask of twice the size for each class."""

    def __init__(self, in_channels: int, dim_reduced: int, num_classes: int) -> None:
        super().__init__(
            OrderedDict(
                conv5_mask=nn.ConvTranspose2d(in_channels, dim_reduced, 2, 2, 0), relu=nn.ReLU(inplace=True),
                mask_fcn_logits=nn.Conv2d(dim_reduced, num_classes, 1, 1, 0),
            )
        )  # fmt: skip
        for name, parameter in self.named_parameters():
            if "weight" in name:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")


def _residual(recipe: Recipe) -> MaskRCNN:
    backbone = residual_pyramid(resnet50(weights=recipe.backbone, norm_layer=norms(recipe.is_trained)), recipe.layers(5, 3))
    return MaskRCNN(backbone, num_classes=recipe.classes, **recipe.options)


def _residual_v2(recipe: Recipe) -> MaskRCNN:
    backbone, anchors, proposals, head = normed_pyramid(recipe)
    masks = MaskRCNNHeads(backbone.out_channels, [256] * 4, 1, norm_layer=nn.BatchNorm2d)
    parts = {"rpn_anchor_generator": anchors, "rpn_head": proposals, "box_head": head, "mask_head": masks}
    return MaskRCNN(backbone, num_classes=recipe.classes, **parts, **recipe.options)


maskrcnn_resnet50_fpn = detector("maskrcnn_resnet50_fpn", _residual, RESIDUAL, exact_norms=("COCO_V1",))
maskrcnn_resnet50_fpn_v2 = detector("maskrcnn_resnet50_fpn_v2", _residual_v2, None)
