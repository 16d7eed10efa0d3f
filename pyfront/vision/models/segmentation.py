"""torchvision.models.segmentation: FCN (https://arxiv.org/abs/1411.4038), DeepLabV3 (https://arxiv.org/abs/1706.05587), LR-ASPP (https://arxiv.org/abs/1905.02244)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ... import nn
from ...nn import functional as F
from ...tensor import Tensor
from .api import class_count, publish, trained
from .inner_layers import IntermediateLayerGetter
from .mobile import mobilenet_v3_large
from .resnet import resnet50, resnet101
from .weights import WeightsEnum, catalogue

_CLASSES = 21  # Pascal VOC's, with the background


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=tuple(like.shape[-2:]), mode="bilinear", align_corners=False)


class _Segmenter(nn.Module):
    """Images [n, 3, h, w] to an ordered dict of scores [n, classes, h, w]: "out", and "aux" where a second head reads an inner layer."""

    def __init__(self, backbone: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """The scores of every pixel."""
        features = self.backbone(x)
        result = OrderedDict(out=_resized(self.classifier(features["out"]), x))
        if self.aux_classifier is not None:
            result["aux"] = _resized(self.aux_classifier(features["aux"]), x)
        return result


class FCN(_Segmenter):
    """Fully convolutional network."""


class DeepLabV3(_Segmenter):
    """Dilated convolutions of several rates, side by side."""


class FCNHead(nn.Sequential):
    """[n, in_channels, h, w] to [n, channels, h, w] by way of a quarter of the channels."""

    def __init__(self, in_channels: int, channels: int) -> None:
        inner = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(inner, channels, 1)
        )


def _normed(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU()]


class ASPPConv(nn.Sequential):
    """A dilated 3 x 3 convolution with norm and activation."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__(*_normed(nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)))


class ASPPPooling(nn.Sequential):
    """The mean of the image, convolved and spread over it."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_normed(nn.Conv2d(in_channels, out_channels, 1, bias=False)))

    def forward(self, x: Tensor) -> Tensor:
        """[n, out_channels, h, w]."""
        return _resized(super().forward(x), x)


class ASPP(nn.Module):
    """Convolutions of several dilations beside a pooled one, joined by a 1 x 1 convolution."""

    def __init__(self, in_channels: int, atrous_rates: Sequence[int], out_channels: int = 256) -> None:
        super().__init__()
        branches: list[nn.Module] = [nn.Sequential(*_normed(nn.Conv2d(in_channels, out_channels, 1, bias=False)))]
        branches += [ASPPConv(in_channels, out_channels, rate) for rate in atrous_rates]
        branches.append(ASPPPooling(in_channels, out_channels))
        self.convs = nn.ModuleList(branches)
        self.project = nn.Sequential(*_normed(nn.Conv2d(len(branches) * out_channels, out_channels, 1, bias=False)), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """[n, out_channels, h, w]."""
        from ...joining import cat

        return self.project(cat([branch(x) for branch in self.convs], 1))


class DeepLabHead(nn.Sequential):
    """[n, in_channels, h, w] to [n, num_classes, h, w]."""

    def __init__(self, in_channels: int, num_classes: int, atrous_rates: Sequence[int] = (12, 24, 36)) -> None:
        super().__init__(
            ASPP(in_channels, atrous_rates), *_normed(nn.Conv2d(256, 256, 3, padding=1, bias=False)), nn.Conv2d(256, num_classes, 1)
        )


class LRASPPHead(nn.Module):
    """Scores of a low and a high layer added, the high one scaled by its mean."""

    def __init__(self, low_channels: int, high_channels: int, num_classes: int, inter_channels: int) -> None:
        super().__init__()
        self.cbr = nn.Sequential(nn.Conv2d(high_channels, inter_channels, 1, bias=False), nn.BatchNorm2d(inter_channels), nn.ReLU(inplace=True))
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(high_channels, inter_channels, 1, bias=False), nn.Sigmoid())
        self.low_classifier = nn.Conv2d(low_channels, num_classes, 1)
        self.high_classifier = nn.Conv2d(inter_channels, num_classes, 1)

    def forward(self, input: dict[str, Tensor]) -> Tensor:
        """[n, num_classes, h, w] of the low layer's size."""
        low, high = input["low"], input["high"]
        return self.low_classifier(low) + self.high_classifier(_resized(self.cbr(high) * self.scale(high), low))


class LRASPP(nn.Module):
    """Lite reduced ASPP: images [n, 3, h, w] to {"out": [n, num_classes, h, w]}; the backbone gives "low" and "high"."""

    def __init__(self, backbone: nn.Module, low_channels: int, high_channels: int, num_classes: int, inter_channels: int = 128) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = LRASPPHead(low_channels, high_channels, num_classes, inter_channels)

    def forward(self, input: Tensor) -> OrderedDict[str, Tensor]:
        """The scores of every pixel."""
        return OrderedDict(out=_resized(self.classifier(self.backbone(input)), input))


def _residual(network: Callable[..., nn.Module]) -> Callable[..., Any]:
    """Of a residual network, dilated in place of its last two strides: the layers heads read, and their channels."""

    def make(weights: Any, aux: bool) -> tuple[nn.Module, int, int]:
        inner = network(weights=weights, replace_stride_with_dilation=[False, True, True])
        return IntermediateLayerGetter(inner, {"layer4": "out", **({"layer3": "aux"} if aux else {})}), 2048, 1024

    return make


def _mobile_stages(weights: Any) -> tuple[nn.Module, list[int]]:
    """MobileNetV3's features, dilated, and where strided blocks are; the last convolution is the last of them."""
    features = mobilenet_v3_large(weights=weights, dilated=True).features
    return features, [0, *[i for i, block in enumerate(features) if getattr(block, "_is_cn", False)], len(features) - 1]


def _mobile(weights: Any, aux: bool) -> tuple[nn.Module, int, int]:
    features, stages = _mobile_stages(weights)
    last, inner = stages[-1], stages[-4]
    layers = {str(last): "out", **({str(inner): "aux"} if aux else {})}
    return IntermediateLayerGetter(features, layers), features[last].out_channels, features[inner].out_channels


def _two_heads(name: str, network: type[_Segmenter], head: Callable[[int, int], nn.Module], backbone: Callable[..., Any], pretrained: str) -> Callable[..., nn.Module]:
    def build(
        *, weights: Any = None, progress: bool = True, num_classes: int | None = None, aux_loss: bool | None = None,
        weights_backbone: Any = catalogue()[pretrained].IMAGENET1K_V1,  # type: ignore[attr-defined]  # a functional enum
    ) -> nn.Module:  # fmt: skip
        chosen, state = trained(name, weights, progress)
        aux = bool(aux_loss) if aux_loss is not None else chosen is not None
        inner, channels, aux_channels = backbone(None if state is not None else weights_backbone, aux)
        count = _count(num_classes, chosen)
        second = FCNHead(aux_channels, count) if aux else None
        made = network(inner, head(channels, count), second)
        if state is not None:
            made.load_state_dict(state)
        return made

    return publish(name, build, f"{network.__name__} on {pretrained}: images float [n, 3, h, w] to scores [n, num_classes, h, w] (\"out\", \"aux\").")


def _count(asked: int | None, chosen: WeightsEnum | None) -> int:
    return class_count(asked, chosen) if chosen is not None else _CLASSES if asked is None else asked


fcn_resnet50 = _two_heads("fcn_resnet50", FCN, FCNHead, _residual(resnet50), "resnet50")
fcn_resnet101 = _two_heads("fcn_resnet101", FCN, FCNHead, _residual(resnet101), "resnet101")
deeplabv3_resnet50 = _two_heads("deeplabv3_resnet50", DeepLabV3, DeepLabHead, _residual(resnet50), "resnet50")
deeplabv3_resnet101 = _two_heads("deeplabv3_resnet101", DeepLabV3, DeepLabHead, _residual(resnet101), "resnet101")
deeplabv3_mobilenet_v3_large = _two_heads("deeplabv3_mobilenet_v3_large", DeepLabV3, DeepLabHead, _mobile, "mobilenet_v3_large")


def _lite(
    *, weights: Any = None, progress: bool = True, num_classes: int | None = None,
    weights_backbone: Any = catalogue()["mobilenet_v3_large"].IMAGENET1K_V1,  # type: ignore[attr-defined]  # a functional enum
) -> nn.Module:  # fmt: skip
    chosen, state = trained("lraspp_mobilenet_v3_large", weights, progress)
    features, stages = _mobile_stages(None if state is not None else weights_backbone)
    low, high = stages[-4], stages[-1]
    inner = IntermediateLayerGetter(features, {str(low): "low", str(high): "high"})
    made = LRASPP(inner, features[low].out_channels, features[high].out_channels, _count(num_classes, chosen))
    if state is not None:
        made.load_state_dict(state)
    return made


lraspp_mobilenet_v3_large = publish(
    "lraspp_mobilenet_v3_large", _lite, "LR-ASPP on MobileNetV3: images float [n, 3, h, w] to {\"out\": [n, num_classes, h, w]}."
)
_MODELS = [name for name in catalogue() if name.startswith(("fcn_", "deeplabv3_", "lraspp_"))]
_WEIGHTS = {catalogue()[name].__name__: catalogue()[name] for name in _MODELS}
globals().update(_WEIGHTS)
__all__ = ["FCN", "LRASPP", "DeepLabV3", *_MODELS, *_WEIGHTS]
