"""MNASNet (https://arxiv.org/abs/1807.11626)."""

from __future__ import annotations

from ... import nn
from ...tensor import Tensor
from .api import make_divisible, model

_MOMENTUM = 1 - 0.9997


def _normed(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, stride=stride, groups=groups, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs, momentum=_MOMENTUM)]
    return [*layers, nn.ReLU(inplace=True)] if active else layers


class _InvertedResidual(nn.Module):
    """Expanded, depthwise, projected; beside the identity where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.apply_residual = inputs == outputs and stride == 1
        self.layers = nn.Sequential(
            *_normed(inputs, middle, 1), *_normed(middle, middle, kernel, stride, middle), *_normed(middle, outputs, 1, active=False)
        )

    def forward(self, input: Tensor) -> Tensor:
        """[n, outputs, h / stride, w / stride]."""
        return self.layers(input) + input if self.apply_residual else self.layers(input)


# kernel, stride, expansion, count of each stack
_STACKS = ((3, 2, 3, 3), (5, 2, 3, 3), (5, 2, 6, 3), (3, 1, 6, 2), (5, 2, 6, 4), (3, 1, 6, 1))


class MNASNet(nn.Module):
    """MNASNet of a width; images float [n, 3, h, w] to logits [n, num_classes]."""

    def __init__(self, alpha: float, num_classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        if alpha <= 0.0:
            raise ValueError(f"alpha should be greater than 0.0 instead of {alpha}")
        self.alpha = alpha
        self.num_classes = num_classes
        widths = [make_divisible(depth * alpha) for depth in (32, 16, 24, 40, 80, 96, 192, 320)]
        layers = [*_normed(3, widths[0], 3, 2), *_normed(widths[0], widths[0], 3, 1, widths[0]), *_normed(widths[0], widths[1], 1, active=False)]
        for inputs, outputs, (kernel, stride, expansion, count) in zip(widths[1:], widths[2:], _STACKS, strict=False):
            blocks = [_InvertedResidual(outputs if i else inputs, outputs, kernel, 1 if i else stride, expansion) for i in range(count)]
            layers.append(nn.Sequential(*blocks))
        self.layers = nn.Sequential(*layers, *_normed(widths[-1], 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(p=dropout, inplace=True), nn.Linear(1280, num_classes))
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.kaiming_uniform_(m.weight, mode="fan_out", nonlinearity="sigmoid")
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes]."""
        return self.classifier(self.layers(x).mean([2, 3]))


mnasnet0_5, mnasnet0_75, mnasnet1_0, mnasnet1_3 = (model(f"mnasnet{str(a).replace('.', '_')}", MNASNet, a) for a in (0.5, 0.75, 1.0, 1.3))
