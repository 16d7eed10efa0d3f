"""Keypoints: true places as elements of heat maps, the loss of predicted maps, and places read off them."""

from __future__ import annotations

import numpy as np

from ....nn import functional as F
from ....tensor import Tensor
from ...images import tensor_of
from .matching import array_of

_CUBIC = -0.75  # how steep the cubic between pixels is


def keypoints_to_heatmap(keypoints: Tensor, rois: Tensor, heatmap_size: int) -> tuple[Tensor, Tensor]:
    """Of places [k, n, 3] and their boxes [k, 4] the element of a flat map, [k, n], and whether it is inside and seen."""
    places, boxes = array_of(keypoints), array_of(rois)
    cells, inside = [], np.ones(places.shape[:2], bool)
    for d in range(2):
        first, last = boxes[:, d, None], boxes[:, 2 + d, None]
        scale = np.float32(heatmap_size) / (last - first)
        cell = np.floor((places[..., d] - first) * scale).astype(np.int64)
        cell[places[..., d] == last] = heatmap_size - 1
        inside &= (cell >= 0) & (cell < heatmap_size)
        cells.append(cell)
    seen = (inside & (places[..., 2] > 0)).astype(np.int64)
    return tensor_of((cells[1] * heatmap_size + cells[0]) * seen).to(rois.device), tensor_of(seen).to(rois.device)


def keypointrcnn_loss(
    keypoint_logits: Tensor, proposals: list[Tensor], gt_keypoints: list[Tensor], keypoint_matched_idxs: list[Tensor]
) -> Tensor:  # fmt: skip
    """Cross entropy over the elements of each map, of the places that are inside and seen."""
    k, n, size, width = keypoint_logits.shape
    if size != width:
        raise AssertionError(f"keypoint_logits height and width (last two elements of shape) should be equal. Instead got H = {size} and W = {width}")
    targets, seen = [], []
    for boxes, places, rows in zip(proposals, gt_keypoints, keypoint_matched_idxs, strict=True):
        matched = tensor_of(array_of(places)[array_of(rows)])
        for found, made in zip(keypoints_to_heatmap(matched, boxes, size), (targets, seen), strict=True):
            made.append(array_of(found).reshape(-1))
    valid = np.flatnonzero(np.concatenate(seen))
    if not keypoint_logits.numel() or not valid.size:
        return keypoint_logits.sum() * 0
    logits = keypoint_logits.reshape(k * n, size * size).index_select(0, tensor_of(valid).to(keypoint_logits.device))
    return F.cross_entropy(logits, tensor_of(np.concatenate(targets)[valid]).to(keypoint_logits.device))


def _cubic(size: int, count: int) -> np.ndarray:
    """[count, size]: what each element counts at each place between, by a cubic; elements outside are the nearest edge."""
    at = (np.arange(count, dtype=np.float32) + np.float32(0.5)) * (np.float32(size) / np.float32(count)) - np.float32(0.5)
    low = np.floor(at).astype(np.int64)
    weights = np.zeros((count, size), np.float32)
    for step in range(-1, 3):
        x = np.abs(at - (low + step)).astype(np.float32)
        near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
        far = ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC
        np.add.at(weights, (np.arange(count), np.clip(low + step, 0, size - 1)), np.where(x <= 1, near, far).astype(np.float32))
    return weights


def heatmaps_to_keypoints(maps: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
    """Of maps [k, n, s, s] and their boxes [k, 4] the places [k, n, 3], in pixels of the image, and the maps' values there, [k, n]."""
    held, boxes = array_of(maps), array_of(rois)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    whole = np.ceil(sides)
    places = np.zeros((*held.shape[:2], 3), np.float32)
    scores = np.zeros(held.shape[:2], np.float32)
    for k, map_ in enumerate(held):
        wide, high = (int(v) for v in whole[k])
        grown = _cubic(map_.shape[1], high) @ map_ @ _cubic(map_.shape[2], wide).T
        best = grown.reshape(len(map_), -1).argmax(1)
        places[k, :, 0] = (best % wide + np.float32(0.5)) * (sides[k, 0] / whole[k, 0]) + boxes[k, 0]
        places[k, :, 1] = (best // wide + np.float32(0.5)) * (sides[k, 1] / whole[k, 1]) + boxes[k, 1]
        places[k, :, 2] = 1
        scores[k] = grown.reshape(len(map_), -1).max(1)
    return tensor_of(places).to(maps.device), tensor_of(scores).to(maps.device)


def keypointrcnn_inference(x: Tensor, boxes: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """For each image the places [n, keypoints, 3] and their scores [n, keypoints] in the boxes that were found."""
    counts = [own.shape[0] for own in boxes]
    found = [heatmaps_to_keypoints(part, own) for part, own in zip(x.split(counts), boxes, strict=True)]
    return [places for places, _ in found], [scores for _, scores in found]
