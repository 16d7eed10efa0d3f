"""torchvision.models.detection: detectors, by the names programs import."""

from __future__ import annotations

from ..api import BUILTIN_MODELS
from ..weights import catalogue
from . import (
    anchor_utils, backbones, faster_rcnn, fcos, generalized_rcnn, image_list, keypoint_rcnn, mask_rcnn, matching, retinanet, roi_heads, rpn,
    ssd, ssdlite, transform,  # noqa: F401  # as attributes
)  # fmt: skip
from .faster_rcnn import FasterRCNN
from .fcos import FCOS
from .keypoint_rcnn import KeypointRCNN
from .mask_rcnn import MaskRCNN
from .retinanet import RetinaNet

_MODELS = [name for name, build in BUILTIN_MODELS.items() if build.__module__.startswith(__name__)]
globals().update({name: BUILTIN_MODELS[name] for name in _MODELS})
_WEIGHTS = {catalogue()[name].__name__: catalogue()[name] for name in _MODELS}
globals().update(_WEIGHTS)
backbone_utils, _utils = backbones, matching

__all__ = ["FCOS", "FasterRCNN", "KeypointRCNN", "MaskRCNN", "RetinaNet", *_MODELS, *_WEIGHTS]
