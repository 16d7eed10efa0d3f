"""Masks: true ones seen through proposals, the loss of predicted ones, and predicted ones laid on their images (https://arxiv.org/abs/1703.06870)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....joining import cat
from ....nn import functional as F
from ....tensor import Tensor
from ...images import tensor_of
from ...regions import averages
from .matching import array_of


def project_masks_on_boxes(gt_masks: Tensor, boxes: Tensor, matched_idxs: Tensor, M: int) -> Tensor:
    """[k, M, M]: of each box [k, 4] its mask among [n, h, w], averaged in M x M bins."""
    masks, places = array_of(gt_masks), array_of(boxes)
    size = np.maximum(places[:, 2:] - places[:, :2], 1)
    down = averages(places[:, 1], size[:, 1], M, -1, masks.shape[1])
    across = averages(places[:, 0], size[:, 0], M, -1, masks.shape[2])
    rows = array_of(matched_idxs).astype(np.int64)
    found = np.zeros((len(rows), M, M), np.float32)
    for k, row in enumerate(rows):
        found[k] = down[k] @ masks[row].astype(np.float32) @ across[k].T
    return tensor_of(found).to(boxes.device)


def of_classes(x: Tensor, labels: np.ndarray) -> Tensor:
    """Of [k, classes, ...] what belongs to each label, [k, ...]."""
    k, classes = x.shape[:2]
    return x.flatten(0, 1).index_select(0, tensor_of(np.arange(k) * classes + labels).to(x.device))


def maskrcnn_loss(
    mask_logits: Tensor, proposals: list[Tensor], gt_masks: list[Tensor], gt_labels: list[Tensor], mask_matched_idxs: list[Tensor]
) -> Tensor:  # fmt: skip
    """Cross entropy of the true class's mask, pixel by pixel."""
    size = mask_logits.shape[-1]
    labels = np.concatenate([array_of(own)[array_of(rows)] for own, rows in zip(gt_labels, mask_matched_idxs, strict=True)])
    if not labels.size:
        return mask_logits.sum() * 0
    parts = zip(gt_masks, proposals, mask_matched_idxs, strict=True)
    targets = np.concatenate([array_of(project_masks_on_boxes(own, boxes, rows, size)) for own, boxes, rows in parts])
    return F.binary_cross_entropy_with_logits(of_classes(mask_logits, labels), tensor_of(targets).to(mask_logits.device))


def maskrcnn_inference(x: Tensor, labels: list[Tensor]) -> list[Tensor]:
    """For each image the masks [n, 1, M, M] of what was found, between 0 and 1."""
    counts = [own.shape[0] for own in labels]
    chosen = of_classes(x, np.concatenate([array_of(own) for own in labels])).sigmoid()[:, None]
    return list(chosen.split(counts))


def expand_boxes(boxes: Tensor, scale: float) -> Tensor:
    """Boxes [n, 4] grown around their centres."""
    half, middle = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * scale, (boxes[:, 2:] + boxes[:, :2]) * 0.5
    return cat([middle - half, middle + half], 1)


def expand_masks(mask: Tensor, padding: int) -> tuple[Tensor, float]:
    """Masks with a border of zeros, and how much larger that makes them."""
    size = mask.shape[-1]
    return F.pad(mask, (padding,) * 4), float(size + 2 * padding) / size


def _along(first: np.ndarray, last: np.ndarray, size: int, length: int) -> np.ndarray:
    """[n, length, size]: what each element of a mask's side counts at each pixel of an image's side, between neighbours linearly."""
    weights = np.zeros((len(first), length, size), np.float32)
    for k, (low, high) in enumerate(zip(first, last, strict=True)):
        count = max(high - low + 1, 1)
        at = np.maximum((np.arange(count, dtype=np.float32) + np.float32(0.5)) * (np.float32(size) / np.float32(count)) - np.float32(0.5), 0)
        below = np.minimum(at.astype(np.int64), size - 1)
        part = at - below
        pixel = np.arange(low, low + count)
        inside = (pixel >= 0) & (pixel < length) & (pixel <= high)
        np.add.at(weights[k], (pixel[inside], below[inside]), 1 - part[inside])
        np.add.at(weights[k], (pixel[inside], np.minimum(below + 1, size - 1)[inside]), part[inside])
    return weights


def paste_masks_in_image(masks: Tensor, boxes: Tensor, img_shape: Any, padding: int = 1) -> Tensor:
    """Masks [n, 1, M, M] at their boxes [n, 4] in an image of (height, width): [n, 1, height, width]."""
    masks, scale = expand_masks(masks, padding)
    places = array_of(boxes)
    half, middle = (places[:, 2:] - places[:, :2]) * np.float32(0.5) * np.float32(scale), (places[:, 2:] + places[:, :2]) * np.float32(0.5)
    low, high = (middle - half).astype(np.int64), (middle + half).astype(np.int64)
    down = _along(low[:, 1], high[:, 1], masks.shape[-1], int(img_shape[0]))[:, None]
    across = _along(low[:, 0], high[:, 0], masks.shape[-1], int(img_shape[1]))[:, None].transpose(0, 1, 3, 2)
    if masks.requires_grad:
        return tensor_of(down).to(masks.device) @ masks @ tensor_of(np.ascontiguousarray(across)).to(masks.device)
    return tensor_of(down @ array_of(masks) @ across).to(masks.device)
