"""How far boxes are from each other: IoU with the distance of their centres and the difference of their shapes, and losses of it."""

from __future__ import annotations

import math

from ..grad_mode import no_grad
from ..tensor import Tensor


def _in_floats(boxes: Tensor) -> Tensor:
    return boxes if boxes.dtype.is_floating_point and boxes.dtype.itemsize >= 4 else boxes.float()


class _Pair:
    """Boxes [..., 4] (x1, y1, x2, y2) against boxes that broadcast with them."""

    def __init__(self, boxes1: Tensor, boxes2: Tensor) -> None:
        self.a = tuple(_in_floats(boxes1).unbind(-1))
        self.b = tuple(_in_floats(boxes2).unbind(-1))
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = self.a, self.b
        self.common = (ax2.minimum(bx2) - ax1.maximum(bx1)).clamp(min=0) * (ay2.minimum(by2) - ay1.maximum(by1)).clamp(min=0)
        self.union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - self.common
        self.hull = (ax2.maximum(bx2) - ax1.minimum(bx1), ay2.maximum(by2) - ay1.minimum(by1))

    def distance(self, eps: float) -> Tensor:
        """Squared distance of the centres over the hull's squared diagonal."""
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = self.a, self.b
        across, down = (ax1 + ax2) / 2 - (bx1 + bx2) / 2, (ay1 + ay2) / 2 - (by1 + by2) / 2
        return (across**2 + down**2) / (self.hull[0] ** 2 + self.hull[1] ** 2 + eps)

    def shapes(self, iou: Tensor, eps: float) -> Tensor:
        """Squared difference of the angles of the diagonals, weighted by how it counts beside the IoU."""
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = self.a, self.b
        angle = ((bx2 - bx1) / (by2 - by1)).atan() - ((ax2 - ax1) / (ay2 - ay1)).atan()
        unlike = 4 / math.pi**2 * angle**2
        with no_grad():
            weight = unlike / (1 - iou + unlike + eps)
        return weight * unlike


def distance_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """IoU less the distance of the centres, [n, m] (https://arxiv.org/abs/1911.08287)."""
    pair = _Pair(boxes1[:, None], boxes2[None])
    return pair.common / pair.union - pair.distance(eps)


def complete_box_iou(boxes1: Tensor, boxes2: Tensor, eps: float = 1e-7) -> Tensor:
    """`distance_box_iou` less the difference of the shapes, [n, m]."""
    pair = _Pair(boxes1[:, None], boxes2[None])
    iou = pair.common / pair.union
    return iou - pair.distance(eps) - pair.shapes(iou, eps)


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"Invalid Value for arg 'reduction': '{reduction} \n Supported reduction modes: 'none', 'mean', 'sum'")
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" and loss.numel() > 0 else loss.sum()


def generalized_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - GIoU of boxes [n, 4] and their own targets [n, 4] (https://arxiv.org/abs/1902.09630)."""
    pair = _Pair(boxes1, boxes2)
    hull = pair.hull[0] * pair.hull[1]
    return _reduced(1 - (pair.common / (pair.union + eps) - (hull - pair.union) / (hull + eps)), reduction)


def distance_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + the distance of the centres, of boxes [n, 4] and their own targets [n, 4]."""
    pair = _Pair(boxes1, boxes2)
    return _reduced(1 - pair.common / (pair.union + eps) + pair.distance(eps), reduction)


def complete_box_iou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """`distance_box_iou_loss` and the difference of the shapes; eps is for the weight of that difference alone."""
    pair = _Pair(boxes1, boxes2)
    iou = pair.common / (pair.union + 1e-7)
    return _reduced(1 - iou + pair.distance(1e-7) + pair.shapes(iou, eps), reduction)
