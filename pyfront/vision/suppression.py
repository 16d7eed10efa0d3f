"""Non-maximum suppression: of boxes that overlap too much only the best stays. Decided on the host."""

from __future__ import annotations

import numpy as np

from ..tensor import Tensor
from .images import tensor_of


def kept_boxes(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of boxes [n, 4] kept, best score first: each removes those overlapping it by more than the threshold."""
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.size:
        first, order = order[0], order[1:]
        kept.append(first)
        w = np.clip(np.minimum(boxes[first, 2], boxes[order, 2]) - np.maximum(boxes[first, 0], boxes[order, 0]), 0, None)
        h = np.clip(np.minimum(boxes[first, 3], boxes[order, 3]) - np.maximum(boxes[first, 1], boxes[order, 1]), 0, None)
        with np.errstate(invalid="ignore"):  # boxes of no area overlap by 0 / 0: nothing is removed
            order = order[~(w * h / (area[first] + area[order] - w * h) > threshold)]
    return np.asarray(kept, np.int64)


def kept_of_categories(boxes: np.ndarray, scores: np.ndarray, categories: np.ndarray, threshold: float) -> np.ndarray:
    """`kept_boxes` within each category: categories are moved apart first."""
    if not boxes.size:
        return np.zeros(0, np.int64)
    return kept_boxes(boxes + (categories.astype(boxes.dtype) * (boxes.max() + 1))[:, None], scores, threshold)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices of boxes [n, 4] kept, best score first: each removes those overlapping it by more than the threshold."""
    return tensor_of(kept_boxes(np.asarray(boxes.detach()._value()), np.asarray(scores.detach()._value()), iou_threshold)).to(boxes.device)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`nms` within each category `idxs` [n]."""
    return tensor_of(kept_of_categories(*(np.asarray(x.detach()._value()) for x in (boxes, scores, idxs)), iou_threshold)).to(boxes.device)
