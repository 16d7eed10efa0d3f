"""RetinaNet (https://arxiv.org/abs/1708.02002): boxes and classes in one stage, by a loss that counts hard places more."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .... import nn
from ....nn import functional as F
from ....tensor import Tensor
from ...box_losses import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss
from ...feature_pyramid import LastLevelP6P7
from ...images import tensor_of
from ...layers import Conv2dNormActivation
from ...ops import sigmoid_focal_loss
from ..resnet import resnet50
from .anchor_utils import AnchorGenerator
from .backbones import residual_pyramid
from .builders import Recipe, detector
from .coding import BoxCoder
from .faster_rcnn import DEVIATION, MEAN, RESIDUAL, channels_of, norms
from .matching import Matcher, array_of, ious
from .one_stage import OneStage, Target, check_generator, over_maps, start, wanted_classes
from .transform import GeneralizedRCNNTransform


_LOSSES = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}


def _default_anchorgen() -> AnchorGenerator:
    sizes = tuple((x, int(x * 2 ** (1.0 / 3)), int(x * 2 ** (2.0 / 3))) for x in (32, 64, 128, 256, 512))
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))


class _Head(nn.Module):
    """Four convolutions, and what predicts."""

    _version = 2

    def __init__(self, in_channels: int, norm_layer: Callable[..., Any] | None) -> None:
        super().__init__()
        self.conv = nn.Sequential(*[Conv2dNormActivation(in_channels, in_channels, norm_layer=norm_layer) for _ in range(4)])

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *rest: Any) -> None:
        if local_metadata.get("version") is None or local_metadata["version"] < 2:  # when activations were layers beside convolutions
            for i in range(4):
                for kind in ("weight", "bias"):
                    if f"{prefix}conv.{2 * i}.{kind}" in state_dict:
                        state_dict[f"{prefix}conv.{i}.0.{kind}"] = state_dict.pop(f"{prefix}conv.{2 * i}.{kind}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class RetinaNetClassificationHead(_Head):
    """Scores of the classes for each box."""

    def __init__(
        self, in_channels: int, num_anchors: int, num_classes: int, prior_probability: float = 0.01,
        norm_layer: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, norm_layer)
        start(self.conv)
        self.cls_logits = nn.Conv2d(in_channels, num_anchors * num_classes, kernel_size=3, stride=1, padding=1)
        nn.init.normal_(self.cls_logits.weight, std=0.01)
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - prior_probability) / prior_probability))
        self.num_classes, self.num_anchors = num_classes, num_anchors
        self.BETWEEN_THRESHOLDS = Matcher.BETWEEN_THRESHOLDS

    def compute_loss(self, targets: list[Target], head_outputs: dict[str, Tensor], matched_idxs: list[Tensor]) -> Tensor:
        """Focal loss over the true boxes, their mean over the images. Places that overlap a true box by half do not count."""
        losses = []
        for target, logits, matched in zip(targets, head_outputs["cls_logits"], matched_idxs, strict=True):
            rows = array_of(matched)
            wanted = tensor_of(wanted_classes(rows, array_of(target["labels"]), logits.shape[1])).to(logits.device)
            left = tensor_of((rows == self.BETWEEN_THRESHOLDS)[:, None]).to(logits.device)
            loss = sigmoid_focal_loss(logits.masked_fill(left, 0.0), wanted).masked_fill(left, 0.0).sum()
            losses.append(loss / float(max(1, (rows >= 0).sum())))
        return _mean(losses)

    def forward(self, x: list[Tensor]) -> Tensor:
        """[n, places, num_classes]."""
        return over_maps(x, self.num_classes, lambda m: self.cls_logits(self.conv(m)))


class RetinaNetRegressionHead(_Head):
    """Four differences for each box."""

    _loss_type = "l1"

    def __init__(self, in_channels: int, num_anchors: int, norm_layer: Callable[..., Any] | None = None) -> None:
        super().__init__(in_channels, norm_layer)
        self.bbox_reg = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=3, stride=1, padding=1)
        start(self.bbox_reg)
        start(self.conv)
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))

    def compute_loss(self, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]) -> Tensor:
        """Distance (or 1 - GIoU) of the boxes from their true ones, their mean over the images."""
        losses = []
        for target, moved, own, matched in zip(targets, head_outputs["bbox_regression"], anchors, matched_idxs, strict=True):
            rows = array_of(matched)
            held = rows >= 0
            places = array_of(own)
            true = np.where(held[:, None], array_of(target["boxes"])[np.maximum(rows, 0)], places) if held.any() else places
            left = tensor_of(~held[:, None]).to(moved.device)
            losses.append(self._loss(moved.masked_fill(left, 0.0), tensor_of(true).to(own.device), own, ~held) / max(1, int(held.sum())))
        return _mean(losses)

    def _loss(self, moved: Tensor, true: Tensor, own: Tensor, left: np.ndarray) -> Tensor:
        if self._loss_type in ("l1", "smooth_l1"):
            return getattr(F, f"{self._loss_type}_loss")(moved, self.box_coder.encode_single(true, own), reduction="sum")
        each = _LOSSES[self._loss_type](self.box_coder.decode_single(moved, own), true)
        return each.masked_fill(tensor_of(left).to(each.device), 0.0).sum()

    def forward(self, x: list[Tensor]) -> Tensor:
        """[n, places, 4]."""
        return over_maps(x, 4, lambda m: self.bbox_reg(self.conv(m)))


def _mean(losses: list[Tensor]) -> Tensor:
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total / len(losses)


class RetinaNetHead(nn.Module):
    """Scores and differences for each box."""

    def __init__(self, in_channels: int, num_anchors: int, num_classes: int, norm_layer: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.classification_head = RetinaNetClassificationHead(in_channels, num_anchors, num_classes, norm_layer=norm_layer)
        self.regression_head = RetinaNetRegressionHead(in_channels, num_anchors, norm_layer=norm_layer)

    def compute_loss(
        self, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:  # fmt: skip
        """The losses of both."""
        return {
            "classification": self.classification_head.compute_loss(targets, head_outputs, matched_idxs),
            "bbox_regression": self.regression_head.compute_loss(targets, head_outputs, anchors, matched_idxs),
        }

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """cls_logits [n, places, classes] and bbox_regression [n, places, 4]."""
        return {"cls_logits": self.classification_head(x), "bbox_regression": self.regression_head(x)}


class RetinaNet(OneStage):
    """A backbone whose maps have `out_channels` each, and a head over all of them."""

    def __init__(
        self, backbone: Any, num_classes: int, min_size: Any = 800, max_size: int = 1333, image_mean: Any = None, image_std: Any = None,
        anchor_generator: Any = None, head: Any = None, proposal_matcher: Any = None, score_thresh: float = 0.05, nms_thresh: float = 0.5,
        detections_per_img: int = 300, fg_iou_thresh: float = 0.5, bg_iou_thresh: float = 0.4, topk_candidates: int = 1000, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        channels = channels_of(backbone)
        check_generator(anchor_generator)
        self.backbone = backbone
        self.anchor_generator = _default_anchorgen() if anchor_generator is None else anchor_generator
        self.head = RetinaNetHead(channels, self.anchor_generator.num_anchors_per_location()[0], num_classes) if head is None else head
        self.proposal_matcher = Matcher(fg_iou_thresh, bg_iou_thresh, True) if proposal_matcher is None else proposal_matcher
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.transform = GeneralizedRCNNTransform(min_size, max_size, image_mean or MEAN, image_std or DEVIATION, **kwargs)
        self.score_thresh, self.nms_thresh = score_thresh, nms_thresh
        self.detections_per_img, self.topk_candidates = detections_per_img, topk_candidates

    def compute_loss(self, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor]) -> dict[str, Tensor]:
        """The head's losses, each box compared with the true box it overlaps most."""
        matched = []
        for target, own in zip(targets, anchors, strict=True):
            true, places = array_of(target["boxes"]), array_of(own)
            rows = self.proposal_matcher.matches(ious(true, places)) if true.size else np.full(len(places), -1)
            matched.append(tensor_of(rows.astype(np.int64)).to(own.device))
        return self.head.compute_loss(targets, head_outputs, anchors, matched)

    def _losses(self, targets: Any, outputs: Any, anchors: Any, per_level: Any) -> dict[str, Tensor]:
        return self.compute_loss(targets, outputs, anchors)

    def _predictions(self, outputs: dict[str, Tensor], anchors: list[Tensor]) -> tuple[Tensor, Tensor]:
        moved = outputs["bbox_regression"]
        return outputs["cls_logits"].sigmoid(), self.box_coder.decode(moved.reshape(-1, 4), anchors).reshape(moved.shape)


def frozen_pyramid(recipe: Recipe) -> Any:
    """ResNet-50's last three stages and two coarser maps of their pyramid."""
    layers = recipe.layers(5, 3)
    backbone = resnet50(weights=recipe.backbone, norm_layer=norms(recipe.is_trained))
    return residual_pyramid(backbone, layers, [2, 3, 4], LastLevelP6P7(256, 256))


def _residual(recipe: Recipe) -> RetinaNet:
    return RetinaNet(frozen_pyramid(recipe), recipe.classes, **recipe.options)


def _residual_v2(recipe: Recipe) -> RetinaNet:
    layers = recipe.layers(5, 3)
    backbone = residual_pyramid(resnet50(weights=recipe.backbone), layers, [2, 3, 4], LastLevelP6P7(2048, 256))
    anchors = _default_anchorgen()
    count = anchors.num_anchors_per_location()[0]
    head = RetinaNetHead(backbone.out_channels, count, recipe.classes, norm_layer=partial(nn.GroupNorm, 32))
    head.regression_head._loss_type = "giou"
    return RetinaNet(backbone, recipe.classes, anchor_generator=anchors, head=head, **recipe.options)


retinanet_resnet50_fpn = detector("retinanet_resnet50_fpn", _residual, RESIDUAL, exact_norms=("COCO_V1",))
retinanet_resnet50_fpn_v2 = detector("retinanet_resnet50_fpn_v2", _residual_v2, None)
