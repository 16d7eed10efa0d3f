"""Detectors of two stages: a backbone, proposals, heads over them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from .... import nn
from ....tensor import Tensor
from .image_list import ImageList
from .matching import array_of

Target = dict[str, Tensor]


def check_targets(targets: list[Target] | None) -> None:
    """AssertionError where there are none, or where boxes are no tensors [n, 4]."""
    if targets is None:
        raise AssertionError("targets should not be none when in training mode")
    for target in targets:
        boxes = target["boxes"]
        if not isinstance(boxes, Tensor):
            raise AssertionError(f"Expected target boxes to be of type Tensor, got {type(boxes)}.")
        if boxes.ndim != 2 or boxes.shape[-1] != 4:
            raise AssertionError(f"Expected target boxes to be a tensor of shape [N, 4], got {boxes.shape}.")


def check_boxes(targets: list[Target] | None) -> None:
    """AssertionError where a box has no height or no width."""
    for i, target in enumerate(targets or ()):
        boxes = array_of(target["boxes"])
        wrong = (boxes[:, 2:] <= boxes[:, :2]).any(1)
        if wrong.any():
            raise AssertionError(
                "All bounding boxes should have positive height and width. "
                f"Found invalid box {boxes[wrong.argmax()].tolist()} for target at index {i}."
            )


def image_sizes(images: list[Tensor]) -> list[tuple[int, int]]:
    """(height, width) of each image."""
    for image in images:
        if image.ndim < 2:
            raise AssertionError(f"expecting the last two dimensions of the Tensor to be H and W instead got {image.shape[-2:]}")
    return [(image.shape[-2], image.shape[-1]) for image in images]


def named(features: Any) -> OrderedDict[str, Tensor]:
    """The maps of a backbone by name: one map is "0"."""
    return OrderedDict([("0", features)]) if isinstance(features, Tensor) else features


def prepared(detector: nn.Module, images: list[Tensor], targets: list[Target] | None) -> tuple[ImageList, list[Target] | None, list[tuple[int, int]]]:
    """Images as one batch, targets on it, and the sizes images came with. AssertionError for targets that a detector cannot learn from."""
    if detector.training:
        check_targets(targets)
    sizes = image_sizes(images)
    batch, targets = detector.transform(images, targets)
    check_boxes(targets)
    return batch, targets, sizes


class GeneralizedRCNN(nn.Module):
    """Images [3, h, w] of any sizes to what was found in each; while training, with targets, to a dict of losses."""

    def __init__(self, backbone: nn.Module, rpn: nn.Module, roi_heads: nn.Module, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads
        self._has_warned = False

    def eager_outputs(self, losses: dict[str, Tensor], detections: list[Target]) -> Any:
        """What a call gives: the losses while training, else the detections."""
        return losses if self.training else detections

    def forward(self, images: list[Tensor], targets: list[Target] | None = None) -> Any:
        """A list of dicts (boxes, labels, scores, ...), one for each image; while training a dict of losses."""
        batch, targets, sizes = prepared(self, images, targets)
        features = named(self.backbone(batch.tensors))
        proposals, proposal_losses = self.rpn(batch, features, targets)
        detections, detector_losses = self.roi_heads(features, proposals, batch.image_sizes, targets)
        detections = self.transform.postprocess(detections, batch.image_sizes, sizes)
        return self.eager_outputs({**detector_losses, **proposal_losses}, detections)
