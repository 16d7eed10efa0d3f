"""What a detector makes of its proposals: classes and boxes, masks, keypoints; losses of them while training."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import nn
from ....nn import functional as F
from ....tensor import Tensor
from ...images import tensor_of
from ...suppression import kept_of_categories
from .coding import BoxCoder
from .keypoints import heatmaps_to_keypoints, keypointrcnn_inference, keypointrcnn_loss, keypoints_to_heatmap  # noqa: F401  # by these names
from .masks import expand_boxes, expand_masks, maskrcnn_inference, maskrcnn_loss, paste_masks_in_image, project_masks_on_boxes  # noqa: F401
from .matching import BalancedPositiveNegativeSampler, Matcher, array_of, ious
from .rpn import distance_loss

Target = dict[str, Tensor]
_FLOATS = ("torch.float32", "torch.float64", "torch.float16")


def fastrcnn_loss(
    class_logits: Tensor, box_regression: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Cross entropy of the classes, and the distance of the true class's box of those that hold something."""
    which = np.concatenate([array_of(own) for own in labels])
    wanted = tensor_of(which).to(class_logits.device)
    class_loss = F.cross_entropy(class_logits, wanted)
    count = class_logits.shape[0]
    boxes = box_regression.reshape(-1, 4)
    classes = box_regression.shape[1] // 4
    own = boxes.index_select(0, tensor_of(np.arange(len(which)) * classes + np.maximum(which, 0)).to(boxes.device))
    targets = np.concatenate([array_of(t) for t in regression_targets])
    return class_loss, distance_loss(own, targets, which > 0, count)


class RoIHeads(nn.Module):
    """Heads over the proposals' parts of the maps."""

    def __init__(
        self, box_roi_pool: Any, box_head: Any, box_predictor: Any, fg_iou_thresh: float, bg_iou_thresh: float, batch_size_per_image: int,
        positive_fraction: float, bbox_reg_weights: Any, score_thresh: float, nms_thresh: float, detections_per_img: int,
        mask_roi_pool: Any = None, mask_head: Any = None, mask_predictor: Any = None,
        keypoint_roi_pool: Any = None, keypoint_head: Any = None, keypoint_predictor: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.proposal_matcher = Matcher(fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=False)
        self.fg_bg_sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)
        self.box_coder = BoxCoder((10.0, 10.0, 5.0, 5.0) if bbox_reg_weights is None else bbox_reg_weights)
        self.box_roi_pool, self.box_head, self.box_predictor = box_roi_pool, box_head, box_predictor
        self.score_thresh, self.nms_thresh, self.detections_per_img = score_thresh, nms_thresh, detections_per_img
        self.mask_roi_pool, self.mask_head, self.mask_predictor = mask_roi_pool, mask_head, mask_predictor
        self.keypoint_roi_pool, self.keypoint_head, self.keypoint_predictor = keypoint_roi_pool, keypoint_head, keypoint_predictor

    def has_mask(self) -> bool:
        """Whether masks are found."""
        return None not in (self.mask_roi_pool, self.mask_head, self.mask_predictor)

    def has_keypoint(self) -> bool:
        """Whether keypoints are found."""
        return None not in (self.keypoint_roi_pool, self.keypoint_head, self.keypoint_predictor)

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:  # fmt: skip
        """For each image which true box each proposal has (0 where it has none) and its label: 0 for nothing, -1 where it does not count."""
        matched, labels = [], []
        for own, boxes, classes in zip(proposals, gt_boxes, gt_labels, strict=True):
            places, true = array_of(own), array_of(boxes)
            rows, label = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
            if true.size:
                found = self.proposal_matcher.matches(ious(true, places))
                rows = np.maximum(found, 0)
                label = array_of(classes)[rows].astype(np.int64)
                label[found == Matcher.BELOW_LOW_THRESHOLD] = 0
                label[found == Matcher.BETWEEN_THRESHOLDS] = -1
            matched.append(tensor_of(rows).to(own.device))
            labels.append(tensor_of(label).to(own.device))
        return matched, labels

    def subsample(self, labels: list[Tensor]) -> list[Tensor]:
        """For each image the indices that are sampled, in order."""
        return [tensor_of(np.sort(np.concatenate(self.fg_bg_sampler.choose(array_of(own))))).to(own.device) for own in labels]

    def add_gt_proposals(self, proposals: list[Tensor], gt_boxes: list[Tensor]) -> list[Tensor]:
        """The proposals and the true boxes."""
        return [tensor_of(np.concatenate([array_of(p), array_of(b)])).to(p.device) for p, b in zip(proposals, gt_boxes, strict=True)]

    def check_targets(self, targets: list[Target] | None) -> None:
        """ValueError where what the heads learn from is missing."""
        if targets is None:
            raise ValueError("targets should not be None")
        for key, needed in (("boxes", True), ("labels", True), ("masks", self.has_mask())):
            if needed and not all(key in t for t in targets):
                raise ValueError(f"Every element of targets should have a {key} key")

    def select_training_samples(
        self, proposals: list[Tensor], targets: list[Target] | None
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:  # fmt: skip
        """A sample of the proposals and the true boxes: where, which true box, its label, and the differences from the one to the other."""
        self.check_targets(targets)
        assert targets is not None
        true = [t["boxes"].to(proposals[0].dtype) for t in targets]
        proposals = self.add_gt_proposals(proposals, true)
        matched, labels = self.assign_targets_to_proposals(proposals, true, [t["labels"] for t in targets])
        wanted = []
        for i, chosen in enumerate(self.subsample(labels)):
            at, device = array_of(chosen), chosen.device
            proposals[i], labels[i], matched[i] = (tensor_of(array_of(x[i])[at]).to(device) for x in (proposals, labels, matched))
            boxes = array_of(true[i])
            boxes = boxes if boxes.size else np.zeros((1, 4), boxes.dtype)
            wanted.append(tensor_of(boxes[array_of(matched[i])]).to(device))
        return proposals, matched, labels, self.box_coder.encode(wanted, proposals)

    def postprocess_detections(
        self, class_logits: Tensor, box_regression: Tensor, proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:  # fmt: skip
        """For each image boxes [n, 4], scores and labels of what was found, best first."""
        counts, classes = [p.shape[0] for p in proposals], class_logits.shape[-1]
        limits = np.repeat(np.asarray([[w, h, w, h] for h, w in image_shapes], np.float32), counts, 0)
        boxes = self.box_coder.decode(box_regression, proposals).reshape(-1, classes, 4)
        boxes = boxes.minimum(tensor_of(limits[:, None]).to(boxes.device)).clamp(min=0)
        scores = class_logits.softmax(-1)
        held_boxes, held_scores = array_of(boxes).reshape(-1, classes, 4), array_of(scores)
        found: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        start = 0
        for count in counts:
            rows, columns = np.indices((count, classes - 1)).reshape(2, -1) + np.asarray([[start], [1]])
            start += count
            own, likely = held_boxes[rows, columns], held_scores[rows, columns]
            large = (likely > self.score_thresh) & ((own[:, 2:] - own[:, :2]) >= 1e-2).all(1)
            rows, columns, own, likely = rows[large], columns[large], own[large], likely[large]
            kept = kept_of_categories(own, likely, columns, self.nms_thresh)[: self.detections_per_img]
            flat = tensor_of(rows[kept] * classes + columns[kept]).to(boxes.device)
            for all_, chosen, made in ((boxes.reshape(-1, 4), own[kept], found[0]), (scores.flatten(), likely[kept], found[1])):
                made.append(all_.index_select(0, flat) if all_.requires_grad else tensor_of(chosen).to(boxes.device))
            found[2].append(tensor_of(columns[kept]).to(boxes.device))
        return found

    def _check_types(self, targets: list[Target]) -> None:
        for t in targets:
            if str(t["boxes"].dtype) not in _FLOATS:
                raise TypeError(f"target boxes must of float type, instead got {t['boxes'].dtype}")
            if str(t["labels"].dtype) != "torch.int64":
                raise TypeError(f"target labels must of int64 type, instead got {t['labels'].dtype}")
            if self.has_keypoint() and str(t["keypoints"].dtype) != "torch.float32":
                raise TypeError(f"target keypoints must of float type, instead got {t['keypoints'].dtype}")

    def _boxes(self, features: Any, proposals: list[Tensor], shapes: Any, labels: Any, wanted: Any, losses: dict[str, Tensor]) -> list[Target]:
        logits, moved = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, shapes)))
        if labels is None:
            found = zip(*self.postprocess_detections(logits, moved, proposals, shapes), strict=True)
            return [{"boxes": b, "labels": l, "scores": s} for b, s, l in found]
        losses["loss_classifier"], losses["loss_box_reg"] = fastrcnn_loss(logits, moved, labels, wanted)
        return []

    def _masks(self, features: Any, boxes: list[Tensor], shapes: Any, result: list[Target], targets: Any, rows: Any) -> dict[str, Tensor]:
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, shapes)))
        if rows is not None:
            return {"loss_mask": maskrcnn_loss(logits, boxes, [t["masks"] for t in targets], [t["labels"] for t in targets], rows)}
        for found, masks in zip(result, maskrcnn_inference(logits, [r["labels"] for r in result]), strict=True):
            found["masks"] = masks
        return {}

    def _keypoints(self, features: Any, boxes: list[Tensor], shapes: Any, result: list[Target], targets: Any, rows: Any) -> dict[str, Tensor]:
        logits = self.keypoint_predictor(self.keypoint_head(self.keypoint_roi_pool(features, boxes, shapes)))
        if rows is not None:
            return {"loss_keypoint": keypointrcnn_loss(logits, boxes, [t["keypoints"] for t in targets], rows)}
        for found, places, scores in zip(result, *keypointrcnn_inference(logits, boxes), strict=True):
            found["keypoints"], found["keypoints_scores"] = places, scores
        return {}

    def forward(
        self, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]], targets: list[Target] | None = None
    ) -> tuple[list[Target], dict[str, Tensor]]:  # fmt: skip
        """What was found in each image, or, while training, the losses."""
        if targets is not None:
            self._check_types(targets)
        losses: dict[str, Tensor] = {}
        labels = rows = wanted = None
        if self.training:
            proposals, rows, labels, wanted = self.select_training_samples(proposals, targets)
        result = self._boxes(features, proposals, image_shapes, labels, wanted, losses)
        if labels is None or rows is None:
            boxes = [found["boxes"] for found in result]
        else:  # masks and keypoints are learned where something is
            held = [np.flatnonzero(array_of(own) > 0) for own in labels]
            boxes, rows = ([tensor_of(array_of(x)[at]).to(x.device) for x, at in zip(all_, held, strict=True)] for all_ in (proposals, rows))
        for there, branch in ((self.has_mask(), self._masks), (self.has_keypoint(), self._keypoints)):
            if there:
                losses.update(branch(features, boxes, image_shapes, result, targets, rows))
        return result, losses
