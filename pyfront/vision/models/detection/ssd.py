"""SSD (https://arxiv.org/abs/1512.02325): one stage over maps of many sizes; of the places that hold nothing the most doubtful ones count."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import Any

import numpy as np

from .... import nn
from ....creation import ones, zeros
from ....grad_mode import no_grad
from ....joining import cat
from ....nn import functional as F
from ....tensor import Tensor
from ...images import tensor_of
from ..plain import vgg16
from ..weights import catalogue
from .anchor_utils import DefaultBoxGenerator
from .backbones import freeze_before
from .builders import Recipe, detector
from .coding import BoxCoder
from .faster_rcnn import DEVIATION, MEAN
from .generalized_rcnn import named
from .matching import SSDMatcher, array_of, ious
from .one_stage import OneStage, Target, by_place
from .rpn import best_first
from .transform import GeneralizedRCNNTransform


def _xavier_init(conv: nn.Module) -> None:
    for layer in conv.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0.0)


def retrieve_out_channels(model: nn.Module, size: tuple[int, int]) -> list[int]:
    """The channels of each map a model makes of images of (width, height): recorded, not computed."""
    was_training = model.training
    model.eval()
    with no_grad():
        found = [m.shape[1] for m in named(model(zeros(1, 3, size[1], size[0]))).values()]
    model.train(was_training)
    return found


class SSDScoringHead(nn.Module):
    """One module for each map; num_columns numbers for each box."""

    def __init__(self, module_list: nn.ModuleList, num_columns: int) -> None:
        super().__init__()
        self.module_list = module_list
        self.num_columns = num_columns

    def forward(self, x: list[Tensor]) -> Tensor:
        """[n, places of all maps, num_columns]."""
        return cat([by_place(module(m), self.num_columns) for module, m in zip(self.module_list, x, strict=True)], 1)


def _columns(in_channels: list[int], num_anchors: list[int], numbers: int) -> nn.ModuleList:
    made = nn.ModuleList()
    for channels, count in zip(in_channels, num_anchors, strict=True):
        made.append(nn.Conv2d(channels, numbers * count, kernel_size=3, padding=1))
    _xavier_init(made)
    return made


class SSDClassificationHead(SSDScoringHead):
    """Scores of the classes for each box."""

    def __init__(self, in_channels: list[int], num_anchors: list[int], num_classes: int) -> None:
        super().__init__(_columns(in_channels, num_anchors, num_classes), num_classes)


class SSDRegressionHead(SSDScoringHead):
    """Four differences for each box."""

    def __init__(self, in_channels: list[int], num_anchors: list[int]) -> None:
        super().__init__(_columns(in_channels, num_anchors, 4), 4)


class SSDHead(nn.Module):
    """Scores and differences for each box."""

    def __init__(self, in_channels: list[int], num_anchors: list[int], num_classes: int) -> None:
        super().__init__()
        self.classification_head: nn.Module = SSDClassificationHead(in_channels, num_anchors, num_classes)
        self.regression_head: nn.Module = SSDRegressionHead(in_channels, num_anchors)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """bbox_regression [n, places, 4] and cls_logits [n, places, classes]."""
        return {"bbox_regression": self.regression_head(x), "cls_logits": self.classification_head(x)}


class SSD(OneStage):
    """A backbone that makes maps of many sizes of images of one size, and a head over all of them."""

    def __init__(
        self, backbone: Any, anchor_generator: DefaultBoxGenerator, size: tuple[int, int], num_classes: int, image_mean: Any = None,
        image_std: Any = None, head: Any = None, score_thresh: float = 0.01, nms_thresh: float = 0.45, detections_per_img: int = 200,
        iou_thresh: float = 0.5, topk_candidates: int = 400, positive_fraction: float = 0.25, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.backbone = backbone
        self.anchor_generator = anchor_generator
        self.box_coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
        if head is None:
            channels = backbone.out_channels if hasattr(backbone, "out_channels") else retrieve_out_channels(backbone, size)
            if len(channels) != len(anchor_generator.aspect_ratios):
                raise ValueError(
                    f"The length of the output channels from the backbone ({len(channels)}) do not match the length of the anchor generator "
                    f"aspect ratios ({len(anchor_generator.aspect_ratios)})"
                )
            head = SSDHead(channels, anchor_generator.num_anchors_per_location(), num_classes)
        self.head = head
        self.proposal_matcher = SSDMatcher(iou_thresh)
        self.transform = GeneralizedRCNNTransform(
            min(size), max(size), image_mean or MEAN, image_std or DEVIATION, size_divisible=1, fixed_size=size, **kwargs
        )
        self.score_thresh, self.nms_thresh = score_thresh, nms_thresh
        self.detections_per_img, self.topk_candidates = detections_per_img, topk_candidates
        self.neg_to_pos_ratio = (1.0 - positive_fraction) / positive_fraction

    def compute_loss(
        self, targets: list[Target], head_outputs: dict[str, Tensor], anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> dict[str, Tensor]:  # fmt: skip
        """Smooth distance of the boxes that have a true one, and cross entropy of the classes, of these and of the most doubtful others."""
        moved, logits = head_outputs["bbox_regression"], head_outputs["cls_logits"]
        rows = np.stack([array_of(own) for own in matched_idxs])
        held = rows >= 0
        count = max(1, int(held.sum()))
        classes, wanted = np.zeros(rows.shape, np.int64), np.zeros((*rows.shape, 4), np.float32)
        for i, (target, own) in enumerate(zip(targets, anchors, strict=True)):
            at = np.flatnonzero(held[i])
            if at.size:
                classes[i, at] = array_of(target["labels"])[rows[i, at]]
                true = tensor_of(array_of(target["boxes"])[rows[i, at]])
                wanted[i, at] = array_of(self.box_coder.encode_single(true, tensor_of(array_of(own)[at])))
        device = moved.device
        left = tensor_of(~held[..., None]).to(device)
        box_loss = F.smooth_l1_loss(moved.masked_fill(left, 0.0), tensor_of(wanted).to(device), reduction="sum")
        each = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), tensor_of(classes.reshape(-1)).to(device), reduction="none").reshape(rows.shape)
        doubt = np.where(held, -np.inf, array_of(each))
        rank = np.argsort(np.argsort(-doubt, 1, kind="stable"), 1, kind="stable")
        counts = held | (rank < self.neg_to_pos_ratio * held.sum(1, keepdims=True))
        return {
            "bbox_regression": box_loss / count,
            "classification": each.masked_fill(tensor_of(~counts).to(device), 0.0).sum() / count,
        }

    def _losses(self, targets: list[Target], outputs: dict[str, Tensor], anchors: list[Tensor], per_level: Any) -> dict[str, Tensor]:
        matched = []
        for target, own in zip(targets, anchors, strict=True):
            true, places = array_of(target["boxes"]), array_of(own)
            rows = self.proposal_matcher.matches(ious(true, places)) if true.size else np.full(len(places), -1)
            matched.append(tensor_of(rows.astype(np.int64)).to(own.device))
        return self.compute_loss(targets, outputs, anchors, matched)

    def _predictions(self, outputs: dict[str, Tensor], anchors: list[Tensor]) -> tuple[Tensor, Tensor]:
        moved = outputs["bbox_regression"]
        return outputs["cls_logits"].softmax(-1), self.box_coder.decode(moved.reshape(-1, 4), anchors).reshape(moved.shape)

    def _candidates(self, scores: np.ndarray, per_level: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """The best places of each class."""
        places, labels = [], []
        for label in range(1, scores.shape[1]):
            likely = np.flatnonzero(scores[:, label] > self.score_thresh)
            places.append(likely[best_first(scores[likely, label], self.topk_candidates)])
            labels.append(np.full(len(places[-1]), label))
        return np.concatenate(places), np.concatenate(labels)


def _block(channels: int, narrow: int, wide: int, **options: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, narrow, kernel_size=1), nn.ReLU(inplace=True), nn.Conv2d(narrow, wide, **options), nn.ReLU(inplace=True)
    )


class SSDFeatureExtractorVGG(nn.Module):
    """VGG-16 up to its fourth stage, scaled to length; the rest of it with wider convolutions; further maps. highres: for images of 512."""

    def __init__(self, backbone: Any, highres: bool) -> None:
        super().__init__()
        _, _, third, fourth, _ = (i for i, layer in enumerate(backbone) if isinstance(layer, nn.MaxPool2d))
        backbone[third].ceil_mode = True  # 38 x 38, not 37 x 37
        self.scale_weight = nn.Parameter(ones(512) * 20)
        self.features = nn.Sequential(*list(backbone)[:fourth])
        half = {"kernel_size": 3, "padding": 1, "stride": 2}
        extra = nn.ModuleList(
            [_block(1024, 256, 512, **half), _block(512, 128, 256, **half), _block(256, 128, 256, kernel_size=3), _block(256, 128, 256, kernel_size=3)]
        )
        if highres:
            extra.append(_block(256, 128, 256, kernel_size=4))
        _xavier_init(extra)
        wide = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=False), nn.Conv2d(512, 1024, kernel_size=3, padding=6, dilation=6),
            nn.ReLU(inplace=True), nn.Conv2d(1024, 1024, kernel_size=1), nn.ReLU(inplace=True),
        )  # fmt: skip
        _xavier_init(wide)
        extra.insert(0, nn.Sequential(*list(backbone)[fourth:-1], wide))
        self.extra = extra

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """The maps by number."""
        x = self.features(x)
        found = [self.scale_weight.view(1, -1, 1, 1) * F.normalize(x)]
        for block in self.extra:
            x = block(x)
            found.append(x)
        return OrderedDict((str(i), m) for i, m in enumerate(found))


def _vgg_extractor(backbone: Any, highres: bool, trainable_layers: int) -> SSDFeatureExtractorVGG:
    features = backbone.features
    at = [0, *[i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)][:-1]]
    if not 0 <= trainable_layers <= len(at):
        raise ValueError(f"trainable_layers should be in the range [0, {len(at)}]. Instead got {trainable_layers}")
    freeze_before(features, len(features) if trainable_layers == 0 else at[len(at) - trainable_layers])
    return SSDFeatureExtractorVGG(features, highres)


def without_size(options: dict[str, Any]) -> dict[str, Any]:
    """Options but for the size, which a function's name says."""
    if "size" in options:
        warnings.warn("The size of the model is already fixed; ignoring the parameter.", stacklevel=4)
    return {key: value for key, value in options.items() if key != "size"}


def _ssd300(recipe: Recipe) -> SSD:
    options = without_size(recipe.options)
    layers = recipe.layers(5, 4)
    backbone = _vgg_extractor(vgg16(weights=recipe.backbone), False, layers)
    boxes = DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]], scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05], steps=[8, 16, 32, 64, 100, 300]
    )
    means = {"image_mean": [0.48235, 0.45882, 0.40784], "image_std": [1.0 / 255.0] * 3}  # pixels as the backbone was trained
    return SSD(backbone, boxes, (300, 300), recipe.classes, **{**means, **options})


ssd300_vgg16 = detector("ssd300_vgg16", _ssd300, catalogue()["vgg16"].IMAGENET1K_FEATURES)  # type: ignore[attr-defined]
