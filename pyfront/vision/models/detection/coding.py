"""Boxes as what a network predicts: differences from the boxes it starts from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....joining import cat, stack
from ....tensor import Tensor
from ...images import tensor_of


def encode_boxes(reference_boxes: Tensor, proposals: Tensor, weights: Tensor) -> Tensor:
    """What to add to `proposals` [n, 4] to get `reference_boxes` [n, 4]: centres in parts of the size, logarithms of sizes; weighted."""
    wanted, given = (np.asarray(b.detach()._value()) for b in (reference_boxes, proposals))
    size, whole = given[:, 2:] - given[:, :2], wanted[:, 2:] - wanted[:, :2]
    moved = wanted[:, :2] + wanted.dtype.type(0.5) * whole - (given[:, :2] + given.dtype.type(0.5) * size)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.concatenate([moved / size, np.log(whole / size)], 1)
    return tensor_of((np.asarray(weights._value(), found.dtype) * found).astype(found.dtype)).to(reference_boxes.device)


class BoxCoder:
    """Differences in centres and logarithms of sizes, weighted (https://arxiv.org/abs/1311.2524). Sizes grow to exp(bbox_xform_clip) at most."""

    def __init__(self, weights: tuple[float, float, float, float], bbox_xform_clip: float = math.log(1000.0 / 16)) -> None:
        self.weights, self.bbox_xform_clip = weights, bbox_xform_clip

    def encode(self, reference_boxes: list[Tensor], proposals: list[Tensor]) -> list[Tensor]:
        """For each image the differences [n, 4] from its proposals to its references."""
        return [self.encode_single(wanted, given) for wanted, given in zip(reference_boxes, proposals, strict=True)]

    def encode_single(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """The differences [n, 4]."""
        return encode_boxes(reference_boxes, proposals, tensor_of(np.asarray(self.weights, np.float32)))

    def decode(self, rel_codes: Tensor, boxes: list[Tensor]) -> Tensor:
        """Boxes [all, classes, 4] that the differences [all, classes * 4] make of the images' boxes."""
        from_ = cat(boxes) if len(boxes) > 1 else boxes[0]
        count = from_.shape[0]
        if count:
            rel_codes = rel_codes.reshape(count, -1)
        found = self.decode_single(rel_codes, from_)
        return found.reshape(count, -1, 4) if count else found

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Boxes [n, classes * 4]."""
        boxes = boxes.to(rel_codes.dtype)
        size = boxes[:, 2:] - boxes[:, :2]
        centre = boxes[:, :2] + 0.5 * size
        codes = rel_codes.reshape(rel_codes.shape[0], rel_codes.shape[1] // 4, 4)
        sides = []
        for k in range(2):
            middle = codes[..., k] / self.weights[k] * size[:, k, None] + centre[:, k, None]
            half = (codes[..., 2 + k] / self.weights[2 + k]).clamp(max=self.bbox_xform_clip).exp() * size[:, k, None] * 0.5
            sides.append((middle - half, middle + half))
        (left, right), (top, bottom) = sides
        return stack([left, top, right, bottom], 2).flatten(1)


class BoxLinearCoder:
    """Distances from a box's centre to the four sides, in parts of its size where `normalize_by_size`."""

    def __init__(self, normalize_by_size: bool = True) -> None:
        self.normalize_by_size = normalize_by_size

    def _centres(self, boxes: Tensor, dtype: Any) -> tuple[Tensor, Tensor, Any, Any]:
        boxes = boxes.to(dtype)
        x, y = 0.5 * (boxes[..., 0] + boxes[..., 2]), 0.5 * (boxes[..., 1] + boxes[..., 3])
        if not self.normalize_by_size:
            return x, y, 1.0, 1.0
        return x, y, boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]

    def encode(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """Distances [..., 4] (left, top, right, bottom) from the reference boxes' centres to the proposals' sides."""
        x, y, w, h = self._centres(reference_boxes, reference_boxes.dtype)
        left, top, right, bottom = proposals.unbind(-1)
        return stack([(x - left) / w, (y - top) / h, (right - x) / w, (bottom - y) / h], -1)

    def decode(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Boxes [..., 4] with those distances to their sides."""
        x, y, w, h = self._centres(boxes, rel_codes.dtype)
        left, top, right, bottom = rel_codes.unbind(-1)
        return stack([x - left * w, y - top * h, x + right * w, y + bottom * h], -1)
