"""GoogLeNet (https://arxiv.org/abs/1409.4842): branches side by side."""

from __future__ import annotations

import warnings
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

from ... import nn
from ...joining import cat
from ...nn import functional as F
from ...tensor import Tensor
from .api import model

GoogLeNetOutputs = namedtuple("GoogLeNetOutputs", ["logits", "aux_logits2", "aux_logits1"])


class BasicConv2d(nn.Module):
    """Convolution, norm, relu."""

    def __init__(self, inputs: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """[n, outputs, ...]."""
        return F.relu(self.bn(self.conv(x)))


def start_truncated(network: nn.Module, deviation: Callable[[nn.Module], float]) -> None:
    """Normal weights cut off at 2, of a layer's deviation; ones and zeros for norms."""
    for m in network.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.trunc_normal_(m.weight, mean=0.0, std=deviation(m), a=-2, b=2)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.constant_(m.weight, 1)
            nn.init.constant_(m.bias, 0)


def renormalised(x: Tensor) -> Tensor:
    """Images [n, 3, h, w] normalised by ImageNet's means, as those between -1 and 1 that published weights were trained on."""
    rows = ((0.229, 0.485), (0.224, 0.456), (0.225, 0.406))
    return cat([x[:, i : i + 1] * (s / 0.5) + (m - 0.5) / 0.5 for i, (s, m) in enumerate(rows)], 1)


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, one: int, three_in: int, three: int, five_in: int, five: int, pooled: int) -> None:
        super().__init__()

        def pair(narrow: int, wide: int) -> nn.Sequential:
            return nn.Sequential(BasicConv2d(inputs, narrow, kernel_size=1), BasicConv2d(narrow, wide, kernel_size=3, padding=1))

        self.branch1 = BasicConv2d(inputs, one, kernel_size=1)
        self.branch2 = pair(three_in, three)
        self.branch3 = pair(five_in, five)
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True), BasicConv2d(inputs, pooled, kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels."""
        return cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """A classifier half way, for training."""

    def __init__(self, inputs: int, num_classes: int, dropout: float = 0.7) -> None:
        super().__init__()
        self.conv = BasicConv2d(inputs, 128, kernel_size=1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes]."""
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


_INCEPTION = {
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64), "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64), "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128), "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


class GoogLeNet(nn.Module):
    """GoogLeNet (https://arxiv.org/abs/1409.4842)."""

    def __init__(
        self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False, init_weights: bool | None = None,
        dropout: float = 0.2, dropout_aux: float = 0.7,
    ) -> None:  # fmt: skip
        super().__init__()
        if init_weights is None:
            warnings.warn("The default weight initialization of GoogleNet may change; set init_weights.", FutureWarning, stacklevel=2)
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        pool = partial(nn.MaxPool2d, stride=2, ceil_mode=True)
        self.conv1 = BasicConv2d(3, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = pool(3)
        self.conv2 = BasicConv2d(64, 64, kernel_size=1)
        self.conv3 = BasicConv2d(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = pool(3)
        for name, sizes in _INCEPTION.items():
            setattr(self, f"inception{name}", Inception(*sizes))
            if name in ("3b", "4e"):
                setattr(self, f"maxpool{name[0]}", pool(3 if name == "3b" else 2))
        self.aux1 = InceptionAux(512, num_classes, dropout_aux) if aux_logits else None
        self.aux2 = InceptionAux(528, num_classes, dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(1024, num_classes)
        if init_weights in (None, True):
            start_truncated(self, lambda _: 0.01)

    def forward(self, x: Tensor) -> Any:
        """Logits [n, num_classes]; while training with aux_logits, GoogLeNetOutputs of three."""
        if self.transform_input:
            x = renormalised(x)
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.inception4a(self.maxpool3(self.inception3b(self.inception3a(x))))
        half = self.training and self.aux_logits
        aux1 = self.aux1(x) if half and self.aux1 is not None else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if half and self.aux2 is not None else None
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(x))))
        x = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutputs(x, aux2, aux1) if half else x

    @staticmethod
    def prepared(weights: Any, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Published weights hold the classifiers half way, which are dropped unless asked for."""
        if weights is None:
            return {"init_weights": False, **options}, lambda made: made
        asked = options.get("aux_logits", False)

        def finish(made: GoogLeNet) -> GoogLeNet:
            if not asked:
                made.aux_logits, made.aux1, made.aux2 = False, None, None
            return made

        return {"transform_input": True, **options, "aux_logits": True, "init_weights": False}, finish


googlenet = model("googlenet", GoogLeNet)
