"""Keypoint R-CNN (https://arxiv.org/abs/1703.06870): boxes of people and the places of their joints."""

from __future__ import annotations

from typing import Any

from .... import nn
from ....nn import functional as F
from ....tensor import Tensor
from ...poolers import MultiScaleRoIAlign
from ..resnet import resnet50
from .backbones import residual_pyramid
from .builders import Recipe, detector
from .faster_rcnn import RESIDUAL, FasterRCNN, channels_of, check_pool, norms, start_for_relu


class KeypointRCNN(FasterRCNN):
    """Faster R-CNN with a branch for keypoints. Its options are those of FasterRCNN and four for the branch."""

    def __init__(
        self, backbone: Any, num_classes: int | None = None, min_size: Any = None, *args: Any, keypoint_roi_pool: Any = None,
        keypoint_head: Any = None, keypoint_predictor: Any = None, num_keypoints: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        check_pool(keypoint_roi_pool, "keypoint_roi_pool")
        if num_classes is not None and keypoint_predictor is not None:
            raise ValueError("num_classes should be None when keypoint_predictor is specified")
        channels = channels_of(backbone)
        pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2) if keypoint_roi_pool is None else keypoint_roi_pool
        head = KeypointRCNNHeads(channels, (512,) * 8) if keypoint_head is None else keypoint_head
        predictor = KeypointRCNNPredictor(512, num_keypoints or 17) if keypoint_predictor is None else keypoint_predictor
        super().__init__(backbone, num_classes, (640, 672, 704, 736, 768, 800) if min_size is None else min_size, *args, **kwargs)
        heads = self.roi_heads
        heads.keypoint_roi_pool, heads.keypoint_head, heads.keypoint_predictor = pool, head, predictor


class KeypointRCNNHeads(nn.Sequential):
    """Convolutions of `layers` channels that keep the size."""

    def __init__(self, in_channels: int, layers: Any) -> None:
        made: list[nn.Module] = []
        for wide in layers:
            made += [nn.Conv2d(in_channels, wide, 3, stride=1, padding=1), nn.ReLU(inplace=True)]
            in_channels = wide
        super().__init__(*made)
        start_for_relu(self)


class KeypointRCNNPredictor(nn.Module):
    """A map of four times the size for each keypoint."""

    def __init__(self, in_channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.kps_score_lowres = nn.ConvTranspose2d(in_channels, num_keypoints, 4, stride=2, padding=1)
        start_for_relu(self)
        self.up_scale = 2
        self.out_channels = num_keypoints

    def forward(self, x: Tensor) -> Tensor:
        """[k, num_keypoints, 4 h, 4 w]."""
        return F.interpolate(self.kps_score_lowres(x), scale_factor=float(self.up_scale), mode="bilinear", align_corners=False)


def _residual(recipe: Recipe) -> KeypointRCNN:
    options = dict(recipe.options)
    keypoints = options.pop("num_keypoints", None) or 17
    backbone = residual_pyramid(resnet50(weights=recipe.backbone, norm_layer=norms(recipe.is_trained)), recipe.layers(5, 3))
    return KeypointRCNN(backbone, recipe.classes, num_keypoints=keypoints, **options)


keypointrcnn_resnet50_fpn = detector("keypointrcnn_resnet50_fpn", _residual, RESIDUAL, classes=2, exact_norms=("COCO_V1",))
