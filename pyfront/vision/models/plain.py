"""Networks without shortcuts: AlexNet, VGG, SqueezeNet."""

from __future__ import annotations

from typing import Any

from ... import nn
from ...joining import cat
from ...tensor import Tensor
from .api import model


class AlexNet(nn.Module):
    """AlexNet (https://arxiv.org/abs/1404.5997)."""

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[Any] = []
        table = ((3, 64, 11, 4, 2, True), (64, 192, 5, 1, 2, True), (192, 384, 3, 1, 1, False), (384, 256, 3, 1, 1, False),
                 (256, 256, 3, 1, 1, True))  # fmt: skip
        for inputs, outputs, size, stride, padding, pooled in table:
            layers += [nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(kernel_size=3, stride=2)] if pooled else []
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True), nn.Dropout(p=dropout),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, num_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, h, w]."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class VGG(nn.Module):
    """VGG (https://arxiv.org/abs/1409.1556)."""

    def __init__(self, features: Any, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = features if isinstance(features, nn.Module) else make_layers(*features)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(True), nn.Dropout(p=dropout), nn.Linear(4096, 4096), nn.ReLU(True),
            nn.Dropout(p=dropout), nn.Linear(4096, num_classes),
        )  # fmt: skip
        for m in self.modules() if init_weights else ():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                nn.init.constant_(m.bias, 0)
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.constant_(m.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, h, w]."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))

    @staticmethod
    def prepared(weights: Any, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Weights that are loaded need no drawing first."""
        return {**options, "init_weights": False}, lambda made: made


def make_layers(counts: tuple[int, ...], batch_norm: bool = False) -> nn.Sequential:
    """Five groups of 3 x 3 convolutions, the channels of each from 64 doubling to 512, halved after each."""
    layers: list[Any] = []
    inputs = 3
    for count, width in zip(counts, (64, 128, 256, 512, 512), strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(inputs, width, kernel_size=3, padding=1))
            layers += [nn.BatchNorm2d(width)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
            inputs = width
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
    return nn.Sequential(*layers)


class Fire(nn.Module):
    """Squeezed by 1 x 1, expanded by 1 x 1 and 3 x 3 side by side."""

    def __init__(self, inplanes: int, squeeze_planes: int, expand1x1_planes: int, expand3x3_planes: int) -> None:
        super().__init__()
        self.inplanes = inplanes
        self.squeeze = nn.Conv2d(inplanes, squeeze_planes, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze_planes, expand1x1_planes, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze_planes, expand3x3_planes, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Both expansions' channels."""
        x = self.squeeze_activation(self.squeeze(x))
        return cat([self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], 1)


# First convolution (channels, size), then squeezed channels of each Fire (expanded: four times, twice); 0 pools.
_SQUEEZE = {"1_0": ((96, 7), (0, 16, 16, 32, 0, 32, 48, 48, 64, 0, 64)), "1_1": ((64, 3), (0, 16, 16, 0, 32, 32, 0, 48, 48, 64, 64))}


class SqueezeNet(nn.Module):
    """SqueezeNet (https://arxiv.org/abs/1602.07360)."""

    def __init__(self, version: str = "1_0", num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        if version not in _SQUEEZE:
            raise ValueError(f"Unsupported SqueezeNet version {version}: 1_0 or 1_1 expected")
        self.num_classes = num_classes
        (width, size), fires = _SQUEEZE[version]
        layers: list[Any] = [nn.Conv2d(3, width, kernel_size=size, stride=2), nn.ReLU(inplace=True)]
        for squeezed in fires:
            if not squeezed:
                layers.append(nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True))
                continue
            layers.append(Fire(width, squeezed, 4 * squeezed, 4 * squeezed))
            width = 8 * squeezed
        self.features = nn.Sequential(*layers)
        final = nn.Conv2d(512, num_classes, kernel_size=1)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout), final, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                if m is final:
                    nn.init.normal_(m.weight, mean=0.0, std=0.01)
                else:
                    nn.init.kaiming_uniform_(m.weight)
                nn.init.constant_(m.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, h, w]."""
        return self.classifier(self.features(x)).flatten(1)


_VGG = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}

alexnet = model("alexnet", AlexNet)
vgg11, vgg13, vgg16, vgg19 = (model(name, VGG, (counts,)) for name, counts in _VGG.items())
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (model(f"{name}_bn", VGG, (counts, True)) for name, counts in _VGG.items())
squeezenet1_0 = model("squeezenet1_0", SqueezeNet, "1_0")
squeezenet1_1 = model("squeezenet1_1", SqueezeNet, "1_1")
