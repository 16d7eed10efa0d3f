"""torchvision.ops: boxes, and the layers models are made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..joining import stack
from ..nn.functional import binary_cross_entropy_with_logits
from ..tensor import Tensor
from .box_losses import (
    complete_box_iou, complete_box_iou_loss, distance_box_iou, distance_box_iou_loss, generalized_box_iou_loss,
)
from .deformable import DeformConv2d, deform_conv2d
from .drop_block import DropBlock2d, DropBlock3d, drop_block2d, drop_block3d
from .feature_pyramid import FeaturePyramidNetwork
from .images import tensor_of
from .layers import (
    MLP, Conv2dNormActivation, Conv3dNormActivation, FrozenBatchNorm2d, Permute, SqueezeExcitation, StochasticDepth, stochastic_depth,
)
from .poolers import MultiScaleRoIAlign
from .regions import RoIAlign, RoIPool, roi_align, roi_pool
from .sensitive_regions import PSRoIAlign, PSRoIPool, ps_roi_align, ps_roi_pool
from .suppression import batched_nms, nms

__all__ = [
    "Conv2dNormActivation", "Conv3dNormActivation", "DeformConv2d", "DropBlock2d", "DropBlock3d", "FeaturePyramidNetwork",
    "FrozenBatchNorm2d", "MLP", "MultiScaleRoIAlign", "PSRoIAlign", "PSRoIPool", "Permute", "RoIAlign", "RoIPool", "SqueezeExcitation",
    "StochasticDepth", "batched_nms", "box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou",
    "complete_box_iou_loss", "deform_conv2d", "distance_box_iou", "distance_box_iou_loss", "drop_block2d", "drop_block3d",
    "generalized_box_iou", "generalized_box_iou_loss", "masks_to_boxes", "nms", "ps_roi_align", "ps_roi_pool", "remove_small_boxes",
    "roi_align", "roi_pool", "sigmoid_focal_loss", "stochastic_depth",
]  # fmt: skip


def box_area(boxes: Tensor) -> Tensor:
    """Areas [n] of boxes [n, 4] (x1, y1, x2, y2)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _overlaps(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    """Areas [n, m] of the common parts and of the unions."""
    a, b = boxes1[:, None, :], boxes2[None, :, :]
    w = (a[..., 2].minimum(b[..., 2]) - a[..., 0].maximum(b[..., 0])).clamp(min=0)
    h = (a[..., 3].minimum(b[..., 3]) - a[..., 1].maximum(b[..., 1])).clamp(min=0)
    common = w * h
    return common, box_area(boxes1)[:, None] + box_area(boxes2) - common


def box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Common area over the union's, [n, m]."""
    common, union = _overlaps(boxes1, boxes2)
    return common / union


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU less the share of the hull outside the union, [n, m] (https://arxiv.org/abs/1902.09630)."""
    common, union = _overlaps(boxes1, boxes2)
    a, b = boxes1[:, None, :], boxes2[None, :, :]
    w = (a[..., 2].maximum(b[..., 2]) - a[..., 0].minimum(b[..., 0])).clamp(min=0)
    h = (a[..., 3].maximum(b[..., 3]) - a[..., 1].minimum(b[..., 1])).clamp(min=0)
    return common / union - (w * h - union) / (w * h)


def box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    """Boxes [..., 4] between xyxy (corners), xywh (corner, size) and cxcywh (centre, size)."""
    if in_fmt not in ("xyxy", "xywh", "cxcywh") or out_fmt not in ("xyxy", "xywh", "cxcywh"):
        raise ValueError(f"Unsupported Bounding Box Conversions for given in_fmt {in_fmt} and out_fmt {out_fmt}")
    if in_fmt == out_fmt:
        return boxes.clone()
    a, b, c, d = (boxes[..., i] for i in range(4))
    if in_fmt == "xywh":
        a, b, c, d = a, b, a + c, b + d
    elif in_fmt == "cxcywh":
        a, b, c, d = a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d
    if out_fmt == "xywh":
        c, d = c - a, d - b
    elif out_fmt == "cxcywh":
        a, b, c, d = (a + c) / 2, (b + d) / 2, c - a, d - b
    return stack([a, b, c, d], -1)


def clip_boxes_to_image(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes kept inside (height, width)."""
    height, width = size
    return stack([boxes[..., i].clamp(min=0, max=height if i % 2 else width) for i in range(4)], -1)


def remove_small_boxes(boxes: Tensor, min_size: float) -> Tensor:
    """Indices of boxes with both sides of at least min_size."""
    keep = ((boxes[:, 2] - boxes[:, 0]) >= min_size) & ((boxes[:, 3] - boxes[:, 1]) >= min_size)
    return keep.nonzero()[:, 0]


def masks_to_boxes(masks: Tensor) -> Tensor:
    """Boxes [n, 4] around what masks [n, h, w] hold; zeros around nothing."""
    held = np.asarray(masks.detach()._value()) != 0
    found = np.zeros((len(held), 4), np.float32)
    for box, mask in zip(found, held, strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if rows.size:
            box[:] = columns[0], rows[0], columns[-1], rows[-1]
    return tensor_of(found).to(masks.device)


def sigmoid_focal_loss(
    inputs: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2, reduction: str = "none"
) -> Any:  # fmt: skip
    """Cross entropy that counts hard examples more (https://arxiv.org/abs/1708.02002)."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"Invalid Value for arg 'reduction': '{reduction} \n Supported reduction modes: 'none', 'mean', 'sum'")
    p = inputs.sigmoid()
    loss = binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    loss = loss * (1 - (p * targets + (1 - p) * (1 - targets))) ** gamma
    loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss if alpha >= 0 else loss
    return loss if reduction == "none" else getattr(loss, reduction)()
