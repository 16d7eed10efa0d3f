"""Faster R-CNN (https://arxiv.org/abs/1506.01497): boxes and classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .... import nn
from ....nn import functional as F
from ....tensor import Tensor
from ...layers import Conv2dNormActivation, FrozenBatchNorm2d
from ...poolers import MultiScaleRoIAlign
from ..mobile import mobilenet_v3_large
from ..resnet import resnet50
from ..weights import catalogue
from .anchor_utils import AnchorGenerator
from .backbones import mobile_features, residual_pyramid
from .builders import Recipe, detector
from .generalized_rcnn import GeneralizedRCNN
from .roi_heads import RoIHeads
from .rpn import RegionProposalNetwork, RPNHead
from .transform import GeneralizedRCNNTransform

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def _default_anchorgen() -> AnchorGenerator:
    sizes = ((32,), (64,), (128,), (256,), (512,))
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))


def check_pool(pool: Any, name: str) -> None:
    """TypeError where what reads boxes from the maps is something else."""
    if not isinstance(pool, (MultiScaleRoIAlign, type(None))):
        raise TypeError(f"{name} should be of type MultiScaleRoIAlign or None instead of {type(pool)}")


def channels_of(backbone: Any) -> int:
    """The channels of a backbone's maps. ValueError where it does not say."""
    if not hasattr(backbone, "out_channels"):
        raise ValueError(
            "backbone should contain an attribute out_channels specifying the number of output channels (assumed to be the same for all the levels)"
        )
    return backbone.out_channels


class FasterRCNN(GeneralizedRCNN):
    """A backbone whose maps have `out_channels` each, with proposals and a head for classes (the background is 0) and boxes."""

    def __init__(
        self, backbone: Any, num_classes: int | None = None, min_size: Any = 800, max_size: int = 1333, image_mean: Any = None,
        image_std: Any = None, rpn_anchor_generator: Any = None, rpn_head: Any = None, rpn_pre_nms_top_n_train: int = 2000,
        rpn_pre_nms_top_n_test: int = 1000, rpn_post_nms_top_n_train: int = 2000, rpn_post_nms_top_n_test: int = 1000,
        rpn_nms_thresh: float = 0.7, rpn_fg_iou_thresh: float = 0.7, rpn_bg_iou_thresh: float = 0.3, rpn_batch_size_per_image: int = 256,
        rpn_positive_fraction: float = 0.5, rpn_score_thresh: float = 0.0, box_roi_pool: Any = None, box_head: Any = None,
        box_predictor: Any = None, box_score_thresh: float = 0.05, box_nms_thresh: float = 0.5, box_detections_per_img: int = 100,
        box_fg_iou_thresh: float = 0.5, box_bg_iou_thresh: float = 0.5, box_batch_size_per_image: int = 512,
        box_positive_fraction: float = 0.25, bbox_reg_weights: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        channels = channels_of(backbone)
        if not isinstance(rpn_anchor_generator, (AnchorGenerator, type(None))):
            raise TypeError(f"rpn_anchor_generator should be of type AnchorGenerator or None instead of {type(rpn_anchor_generator)}")
        check_pool(box_roi_pool, "box_roi_pool")
        if num_classes is not None and box_predictor is not None:
            raise ValueError("num_classes should be None when box_predictor is specified")
        if num_classes is None and box_predictor is None:
            raise ValueError("num_classes should not be None when box_predictor is not specified")
        anchors = _default_anchorgen() if rpn_anchor_generator is None else rpn_anchor_generator
        rpn = RegionProposalNetwork(
            anchors, rpn_head if rpn_head is not None else RPNHead(channels, anchors.num_anchors_per_location()[0]),
            rpn_fg_iou_thresh, rpn_bg_iou_thresh, rpn_batch_size_per_image, rpn_positive_fraction,
            {"training": rpn_pre_nms_top_n_train, "testing": rpn_pre_nms_top_n_test},
            {"training": rpn_post_nms_top_n_train, "testing": rpn_post_nms_top_n_test}, rpn_nms_thresh, score_thresh=rpn_score_thresh,
        )  # fmt: skip
        pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2) if box_roi_pool is None else box_roi_pool
        head = TwoMLPHead(channels * pool.output_size[0] ** 2, 1024) if box_head is None else box_head
        predictor = FastRCNNPredictor(1024, num_classes or 0) if box_predictor is None else box_predictor
        heads = RoIHeads(
            pool, head, predictor, box_fg_iou_thresh, box_bg_iou_thresh, box_batch_size_per_image, box_positive_fraction, bbox_reg_weights,
            box_score_thresh, box_nms_thresh, box_detections_per_img,
        )  # fmt: skip
        transform = GeneralizedRCNNTransform(min_size, max_size, image_mean or MEAN, image_std or DEVIATION, **kwargs)
        super().__init__(backbone, rpn, heads, transform)


class TwoMLPHead(nn.Module):
    """Parts of maps [k, c, h, w], in_channels numbers each, to [k, representation_size]."""

    def __init__(self, in_channels: int, representation_size: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(in_channels, representation_size)
        self.fc7 = nn.Linear(representation_size, representation_size)

    def forward(self, x: Tensor) -> Tensor:
        """[k, representation_size]."""
        return F.relu(self.fc7(F.relu(self.fc6(x.flatten(start_dim=1)))))


def start_for_relu(module: nn.Module) -> None:
    """Convolutions begin with He's normal weights, and zeros."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class FastRCNNConvFCHead(nn.Sequential):
    """Convolutions, then linear layers, of parts of maps of input_size (channels, height, width)."""

    def __init__(
        self, input_size: tuple[int, int, int], conv_layers: list[int], fc_layers: list[int], norm_layer: Callable[..., Any] | None = None
    ) -> None:  # fmt: skip
        channels, height, width = input_size
        layers: list[nn.Module] = []
        for wide in conv_layers:
            layers.append(Conv2dNormActivation(channels, wide, norm_layer=norm_layer))
            channels = wide
        layers.append(nn.Flatten())
        channels *= height * width
        for wide in fc_layers:
            layers += [nn.Linear(channels, wide), nn.ReLU(inplace=True)]
            channels = wide
        super().__init__(*layers)
        start_for_relu(self)


class FastRCNNPredictor(nn.Module):
    """Scores of the classes and a box for each class."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, num_classes * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of [k, in_channels] the scores [k, classes] and differences [k, 4 classes]."""
        if x.ndim == 4 and list(x.shape[2:]) != [1, 1]:
            raise AssertionError(f"x has the wrong shape, expecting the last two dimensions to be [1,1] instead of {list(x.shape[2:])}")
        x = x.flatten(start_dim=1)
        return self.cls_score(x), self.bbox_pred(x)


def norms(is_trained: bool) -> Any:
    """The norms of a backbone: those of trained weights stay as they are."""
    return FrozenBatchNorm2d if is_trained else nn.BatchNorm2d


def _residual(recipe: Recipe) -> FasterRCNN:
    backbone = residual_pyramid(resnet50(weights=recipe.backbone, norm_layer=norms(recipe.is_trained)), recipe.layers(5, 3))
    return FasterRCNN(backbone, num_classes=recipe.classes, **recipe.options)


def normed_pyramid(recipe: Recipe) -> tuple[Any, AnchorGenerator, RPNHead, FastRCNNConvFCHead]:
    """The parts of the second version: norms in the pyramid and the box head, two convolutions before proposals."""
    backbone = residual_pyramid(resnet50(weights=recipe.backbone), recipe.layers(5, 3), norm_layer=nn.BatchNorm2d)
    anchors = _default_anchorgen()
    proposals = RPNHead(backbone.out_channels, anchors.num_anchors_per_location()[0], conv_depth=2)
    return backbone, anchors, proposals, FastRCNNConvFCHead((backbone.out_channels, 7, 7), [256] * 4, [1024], norm_layer=nn.BatchNorm2d)


def _residual_v2(recipe: Recipe) -> FasterRCNN:
    backbone, anchors, proposals, head = normed_pyramid(recipe)
    return FasterRCNN(backbone, num_classes=recipe.classes, rpn_anchor_generator=anchors, rpn_head=proposals, box_head=head, **recipe.options)


def _mobile(**defaults: Any) -> Callable[[Recipe], FasterRCNN]:
    def make(recipe: Recipe) -> FasterRCNN:
        layers = recipe.layers(6, 3)
        backbone = mobile_features(mobilenet_v3_large(weights=recipe.backbone, norm_layer=norms(recipe.is_trained)), True, layers)
        anchors = AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
        return FasterRCNN(backbone, recipe.classes, rpn_anchor_generator=anchors, **{**defaults, **recipe.options})

    return make


RESIDUAL, MOBILE = (catalogue()[name].IMAGENET1K_V1 for name in ("resnet50", "mobilenet_v3_large"))  # type: ignore[attr-defined]
fasterrcnn_resnet50_fpn = detector("fasterrcnn_resnet50_fpn", _residual, RESIDUAL, exact_norms=("COCO_V1",))
fasterrcnn_resnet50_fpn_v2 = detector("fasterrcnn_resnet50_fpn_v2", _residual_v2, None)
fasterrcnn_mobilenet_v3_large_fpn = detector("fasterrcnn_mobilenet_v3_large_fpn", _mobile(rpn_score_thresh=0.05), MOBILE)
fasterrcnn_mobilenet_v3_large_320_fpn = detector(
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    _mobile(min_size=320, max_size=640, rpn_pre_nms_top_n_test=150, rpn_post_nms_top_n_test=150, rpn_score_thresh=0.05),
    MOBILE,
)
