"""Region proposals: which places of the maps hold something, and roughly where (https://arxiv.org/abs/1506.01497)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import nn
from ....joining import cat
from ....nn import functional as F
from ....tensor import Tensor
from ...images import tensor_of
from ...layers import Conv2dNormActivation
from ...suppression import kept_of_categories
from .anchor_utils import AnchorGenerator  # noqa: F401  # programs import it from here
from .coding import BoxCoder
from .image_list import ImageList
from .matching import BalancedPositiveNegativeSampler, Matcher, array_of, ious


class RPNHead(nn.Module):
    """For each place of each map, num_anchors scores and four differences each."""

    _version = 2

    def __init__(self, in_channels: int, num_anchors: int, conv_depth: int = 1) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            *[Conv2dNormActivation(in_channels, in_channels, kernel_size=3, norm_layer=None) for _ in range(conv_depth)]
        )
        self.cls_logits = nn.Conv2d(in_channels, num_anchors, kernel_size=1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, kernel_size=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.constant_(layer.bias, 0)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *rest: Any) -> None:
        if local_metadata.get("version") is None or local_metadata["version"] < 2:  # when there was one convolution
            for kind in ("weight", "bias"):
                if f"{prefix}conv.{kind}" in state_dict:
                    state_dict[f"{prefix}conv.0.0.{kind}"] = state_dict.pop(f"{prefix}conv.{kind}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each map the scores [n, anchors, h, w] and the differences [n, 4 anchors, h, w]."""
        hidden = [self.conv(feature) for feature in x]
        return [self.cls_logits(h) for h in hidden], [self.bbox_pred(h) for h in hidden]


def permute_and_flatten(layer: Tensor, N: int, A: int, C: int, H: int, W: int) -> Tensor:
    """[N, A * C, H, W] as [N, H * W * A, C]."""
    return layer.reshape(N, A, C, H, W).permute(0, 3, 4, 1, 2).reshape(N, -1, C)


def concat_box_prediction_layers(box_cls: list[Tensor], box_regression: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Scores [all, classes] and differences [all, 4] of all images and maps, in the order of the anchors."""
    scores, differences = [], []
    for scored, moved in zip(box_cls, box_regression, strict=True):
        n, anchors, h, w = scored.shape[0], moved.shape[1] // 4, *scored.shape[-2:]
        scores.append(permute_and_flatten(scored, n, anchors, scored.shape[1] // anchors, h, w))
        differences.append(permute_and_flatten(moved, n, anchors, 4, h, w))
    return cat(scores, 1).flatten(0, -2), cat(differences, 1).reshape(-1, 4)


def best_first(scores: np.ndarray, most: int) -> np.ndarray:
    """Indices of the highest scores."""
    return np.argsort(-scores, kind="stable")[:most]


class RegionProposalNetwork(nn.Module):
    """Boxes that may hold something; while training also two losses. pre_nms_top_n, post_nms_top_n: for "training" and "testing"."""

    def __init__(
        self, anchor_generator: nn.Module, head: nn.Module, fg_iou_thresh: float, bg_iou_thresh: float, batch_size_per_image: int,
        positive_fraction: float, pre_nms_top_n: dict[str, int], post_nms_top_n: dict[str, int], nms_thresh: float,
        score_thresh: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.anchor_generator = anchor_generator
        self.head = head
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
        self.proposal_matcher = Matcher(fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=True)
        self.fg_bg_sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)
        self._pre_nms_top_n, self._post_nms_top_n = pre_nms_top_n, post_nms_top_n
        self.nms_thresh, self.score_thresh, self.min_size = nms_thresh, score_thresh, 1e-3

    def pre_nms_top_n(self) -> int:
        """How many boxes of each map are looked at."""
        return self._pre_nms_top_n["training" if self.training else "testing"]

    def post_nms_top_n(self) -> int:
        """How many boxes of each image stay."""
        return self._post_nms_top_n["training" if self.training else "testing"]

    def assign_targets_to_anchors(self, anchors: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        """For each image its anchors' labels (1, 0, or -1 where they do not count) and the true box of each."""
        labels, matched = [], []
        for own, target in zip(anchors, targets, strict=True):
            true, places = array_of(target["boxes"]), array_of(own)
            if not true.size:
                label, box = np.zeros(len(places), np.float32), np.zeros_like(places)
            else:
                rows = self.proposal_matcher.matches(ious(true, places))
                label = np.where(rows >= 0, 1, np.where(rows == Matcher.BETWEEN_THRESHOLDS, -1, 0)).astype(np.float32)
                box = true[np.maximum(rows, 0)]
            labels.append(tensor_of(label).to(own.device))
            matched.append(tensor_of(box).to(own.device))
        return labels, matched

    def filter_proposals(
        self, proposals: Tensor, objectness: Tensor, image_shapes: list[tuple[int, int]], num_anchors_per_level: list[int]
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """Of proposals [n, all, 4] the best ones of each image, best first, and how likely each holds something."""
        boxes, scores = array_of(proposals), array_of(objectness).reshape(proposals.shape[0], -1)
        starts = np.cumsum([0, *num_anchors_per_level[:-1]])
        kept_boxes, kept_scores = [], []
        for own, logits, (height, width) in zip(boxes, scores, image_shapes, strict=True):
            best = [start + best_first(logits[start : start + n], self.pre_nms_top_n()) for start, n in zip(starts, num_anchors_per_level, strict=True)]
            level = np.repeat(np.arange(len(best)), [len(b) for b in best])
            chosen = np.concatenate(best)
            inside = np.clip(own[chosen], 0, np.asarray([width, height] * 2, own.dtype))
            likely = 1 / (1 + np.exp(-logits[chosen]))
            large = ((inside[:, 2:] - inside[:, :2]) >= self.min_size).all(1) & (likely >= self.score_thresh)
            inside, likely, level = inside[large], likely[large], level[large]
            kept = kept_of_categories(inside, likely, level, self.nms_thresh)[: self.post_nms_top_n()]
            kept_boxes.append(tensor_of(inside[kept]).to(proposals.device))
            kept_scores.append(tensor_of(likely[kept]).to(proposals.device))
        return kept_boxes, kept_scores

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Of a sample of the anchors: cross entropy of their scores, and the distance of the positive ones' differences from their targets."""
        held = [array_of(own) for own in labels]
        picks = [self.fg_bg_sampler.choose(own) for own in held]
        offsets = np.cumsum([0, *[len(own) for own in held[:-1]]])
        positive, negative = (np.concatenate([o + p[k] for o, p in zip(offsets, picks, strict=True)]) for k in (0, 1))
        sampled = np.concatenate([np.sort(positive), np.sort(negative)])
        device = objectness.device
        chosen = tensor_of(sampled).to(device)
        wanted = tensor_of(np.concatenate(held)[sampled]).to(device)
        score_loss = F.binary_cross_entropy_with_logits(objectness.flatten().index_select(0, chosen), wanted)
        targets = np.concatenate([array_of(t) for t in regression_targets])[sampled]
        return score_loss, distance_loss(pred_bbox_deltas.index_select(0, chosen), targets, np.arange(len(sampled)) < len(positive), len(sampled))

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:  # fmt: skip
        """For each image its proposals [n, 4]; while training the losses."""
        maps = list(features.values())
        objectness, differences = self.head(maps)
        anchors = self.anchor_generator(images, maps)
        per_level = [math.prod(o[0].shape) for o in objectness]
        scores, moved = concat_box_prediction_layers(objectness, differences)
        proposals = self.box_coder.decode(moved.detach(), anchors).reshape(len(anchors), -1, 4)
        boxes, _ = self.filter_proposals(proposals, scores, images.image_sizes, per_level)
        if not self.training:
            return boxes, {}
        if targets is None:
            raise ValueError("targets should not be None")
        labels, matched = self.assign_targets_to_anchors(anchors, targets)
        score_loss, box_loss = self.compute_loss(scores, moved, labels, self.box_coder.encode(matched, anchors))
        return boxes, {"loss_objectness": score_loss, "loss_rpn_box_reg": box_loss}


def distance_loss(found: Tensor, targets: np.ndarray, counts: np.ndarray, of: int) -> Tensor:
    """Smooth distance of rows [n, 4] from their targets, where they count, over a number. Rows that do not count are there all the same,
    so that programs do not differ by how many count."""
    device = found.device
    targets = np.where(counts[:, None], targets, 0).astype(np.float32)
    left = tensor_of(~counts[:, None]).to(device)
    return F.smooth_l1_loss(found.masked_fill(left, 0.0), tensor_of(targets).to(device), beta=1 / 9, reduction="sum") / of
