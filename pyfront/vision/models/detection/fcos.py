"""FCOS (https://arxiv.org/abs/1904.01355): one stage, one box at every place; places in the middle of an object count more."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .... import nn
from ....joining import stack
from ....nn import functional as F
from ....tensor import Tensor
from ...box_losses import generalized_box_iou_loss
from ...images import tensor_of
from ...ops import sigmoid_focal_loss
from .anchor_utils import AnchorGenerator
from .builders import Recipe, detector
from .coding import BoxLinearCoder
from .faster_rcnn import DEVIATION, MEAN, RESIDUAL, channels_of
from .matching import array_of
from .one_stage import OneStage, Target, check_generator, over_maps, start, wanted_classes
from .retinanet import frozen_pyramid
from .transform import GeneralizedRCNNTransform


def _convolutions(channels: int, count: int, norm_layer: Callable[..., Any] | None) -> nn.Sequential:
    norm = partial(nn.GroupNorm, 32) if norm_layer is None else norm_layer
    layers = []
    for _ in range(count):
        layers += [nn.Conv2d(channels, channels, kernel_size=3, stride=1, padding=1, bias=True), norm(channels), nn.ReLU()]
    return nn.Sequential(*layers)


class FCOSClassificationHead(nn.Module):
    """Scores of the classes at each place."""

    def __init__(
        self, in_channels: int, num_anchors: int, num_classes: int, num_convs: int = 4, prior_probability: float = 0.01,
        norm_layer: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_classes, self.num_anchors = num_classes, num_anchors
        self.conv = _convolutions(in_channels, num_convs, norm_layer)
        start(self.conv)
        self.cls_logits = nn.Conv2d(in_channels, num_anchors * num_classes, kernel_size=3, stride=1, padding=1)
        nn.init.normal_(self.cls_logits.weight, std=0.01)
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - prior_probability) / prior_probability))

    def forward(self, x: list[Tensor]) -> Tensor:
        """[n, places, num_classes]."""
        return over_maps(x, self.num_classes, lambda m: self.cls_logits(self.conv(m)))


class FCOSRegressionHead(nn.Module):
    """Distances to the four sides of a box, and how near its middle a place is."""

    def __init__(self, in_channels: int, num_anchors: int, num_convs: int = 4, norm_layer: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.conv = _convolutions(in_channels, num_convs, norm_layer)
        self.bbox_reg = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=3, stride=1, padding=1)
        self.bbox_ctrness = nn.Conv2d(in_channels, num_anchors, kernel_size=3, stride=1, padding=1)
        for part in (self.bbox_reg, self.bbox_ctrness, self.conv):
            start(part)

    def forward(self, x: list[Tensor]) -> tuple[Tensor, Tensor]:
        """[n, places, 4] and [n, places, 1]."""
        hidden = [self.conv(m) for m in x]
        return over_maps(hidden, 4, lambda m: F.relu(self.bbox_reg(m))), over_maps(hidden, 1, self.bbox_ctrness)


class FCOSHead(nn.Module):
    """Scores, distances and centredness at each place."""

    def __init__(self, in_channels: int, num_anchors: int, num_classes: int, num_convs: int | None = 4) -> None:
        super().__init__()
        self.box_coder = BoxLinearCoder(normalize_by_size=True)
        self.classification_head = FCOSClassificationHead(in_channels, num_anchors, num_classes, num_convs or 4)
        self.regression_head = FCOSRegressionHead(in_channels, num_anchors, num_convs or 4)

    def compute_loss(
        self, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:  # fmt: skip
        """Focal loss of the classes; of the places of true boxes 1 - GIoU, and cross entropy of the centredness; over how many these are."""
        logits, moved, centred = (head_outputs[key] for key in ("cls_logits", "bbox_regression", "bbox_ctrness"))
        rows = np.stack([array_of(own) for own in matched_idxs])
        held = rows >= 0
        count = max(1, int(held.sum()))
        classes = np.stack([wanted_classes(own, array_of(t["labels"]), logits.shape[-1]) for own, t in zip(rows, targets, strict=True)])
        places = stack(anchors)
        true = array_of(places).copy()
        for own, one, target in zip(rows, true, targets, strict=True):
            one[own >= 0] = array_of(target["boxes"])[own[own >= 0]]
        left = tensor_of(~held).to(moved.device)
        boxes = tensor_of(true).to(moved.device)
        found = self.box_coder.decode(moved.masked_fill(left[..., None], 0.5), places)
        sides = array_of(self.box_coder.encode(places, boxes))
        wanted = np.sqrt(np.prod([sides[..., pair].min(-1) / sides[..., pair].max(-1) for pair in ([0, 2], [1, 3])], 0))
        wanted = tensor_of(np.where(held, wanted, 0).astype(np.float32)).to(moved.device)
        middle = F.binary_cross_entropy_with_logits(centred.squeeze(2), wanted, reduction="none")
        return {
            "classification": sigmoid_focal_loss(logits, tensor_of(classes).to(logits.device), reduction="sum") / count,
            "bbox_regression": generalized_box_iou_loss(found, boxes).masked_fill(left, 0.0).sum() / count,
            "bbox_ctrness": middle.masked_fill(left, 0.0).sum() / count,
        }

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """cls_logits [n, places, classes], bbox_regression [n, places, 4], bbox_ctrness [n, places, 1]."""
        scores = self.classification_head(x)
        moved, centred = self.regression_head(x)
        return {"cls_logits": scores, "bbox_regression": moved, "bbox_ctrness": centred}


class FCOS(OneStage):
    """A backbone whose maps have `out_channels` each, and a head over all of them."""

    def __init__(
        self, backbone: Any, num_classes: int, min_size: Any = 800, max_size: int = 1333, image_mean: Any = None, image_std: Any = None,
        anchor_generator: Any = None, head: Any = None, center_sampling_radius: float = 1.5, score_thresh: float = 0.2,
        nms_thresh: float = 0.6, detections_per_img: int = 100, topk_candidates: int = 1000, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        channels = channels_of(backbone)
        check_generator(anchor_generator)
        self.backbone = backbone
        if anchor_generator is None:  # a place is a box as large as the map's stride
            anchor_generator = AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((1.0,),) * 5)
        self.anchor_generator = anchor_generator
        count = anchor_generator.num_anchors_per_location()[0]
        if count != 1:
            raise AssertionError(f"anchor_generator.num_anchors_per_location()[0] should be 1 instead of {count}")
        self.head = FCOSHead(channels, count, num_classes) if head is None else head
        self.box_coder = BoxLinearCoder(normalize_by_size=True)
        self.transform = GeneralizedRCNNTransform(min_size, max_size, image_mean or MEAN, image_std or DEVIATION, **kwargs)
        self.center_sampling_radius, self.score_thresh, self.nms_thresh = center_sampling_radius, score_thresh, nms_thresh
        self.detections_per_img, self.topk_candidates = detections_per_img, topk_candidates

    def _matched(self, true: np.ndarray, places: np.ndarray, per_level: list[int]) -> np.ndarray:
        """The true box of each place, -1 where it has none: near its middle, inside it, of a size for the place's map; the smallest of several."""
        if not true.size:
            return np.full(len(places), -1)
        middle, size = (places[:, :2] + places[:, 2:]) / 2, places[:, 2] - places[:, 0]
        far = np.abs(middle[:, None] - (true[:, :2] + true[:, 2:]) / 2).max(2)
        sides = np.concatenate([middle[:, None] - true[:, :2], true[:, 2:] - middle[:, None]], 2)
        least, most = size * 4, size * 8
        least[: per_level[0]] = 0
        most[-per_level[-1] :] = np.inf
        longest = sides.max(2)
        fits = (far < self.center_sampling_radius * size[:, None]) & (sides.min(2) > 0)
        fits &= (longest > least[:, None]) & (longest < most[:, None])
        smallness = fits.astype(np.float32) * (1e8 - (true[:, 2] - true[:, 0]) * (true[:, 3] - true[:, 1])).astype(np.float32)
        return np.where(smallness.max(1) < 1e-5, -1, smallness.argmax(1))

    def compute_loss(
        self, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor], num_anchors_per_level: list[int]
    ) -> dict[str, Tensor]:  # fmt: skip
        """The head's losses, each place compared with the true box it belongs to."""
        rows = [self._matched(array_of(t["boxes"]), array_of(own), num_anchors_per_level) for t, own in zip(targets, anchors, strict=True)]
        return self.head.compute_loss(targets, head_outputs, anchors, [tensor_of(own.astype(np.int64)) for own in rows])

    def _losses(self, targets: Any, outputs: Any, anchors: Any, per_level: Any) -> dict[str, Tensor]:
        return self.compute_loss(targets, outputs, anchors, per_level)

    def _predictions(self, outputs: dict[str, Tensor], anchors: list[Tensor]) -> tuple[Tensor, Tensor]:
        scores = (outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid()).sqrt()
        return scores, self.box_coder.decode(outputs["bbox_regression"], stack(anchors))


def _residual(recipe: Recipe) -> FCOS:
    return FCOS(frozen_pyramid(recipe), recipe.classes, **recipe.options)


fcos_resnet50_fpn = detector("fcos_resnet50_fpn", _residual, RESIDUAL)
