"""Densely connected networks (https://arxiv.org/abs/1608.06993)."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from ... import nn
from ...joining import cat
from ...nn import functional as F
from ...tensor import Tensor
from .api import model


class _DenseLayer(nn.Module):
    """Norm, relu, 1 x 1, norm, relu, 3 x 3 over all earlier features."""

    def __init__(self, inputs: int, growth_rate: int, bn_size: int, drop_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, bn_size * growth_rate, kernel_size=1, stride=1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, kernel_size=3, stride=1, padding=1, bias=False)
        self.drop_rate = float(drop_rate)

    def forward(self, input: Any) -> Tensor:
        """growth_rate new channels of the features so far."""
        features = cat(input if isinstance(input, list) else [input], 1)
        made = self.conv1(self.relu1(self.norm1(features)))
        made = self.conv2(self.relu2(self.norm2(made)))
        return F.dropout(made, p=self.drop_rate, training=self.training) if self.drop_rate > 0 else made


class _DenseBlock(nn.ModuleDict):
    """Layers that each see all before them."""

    def __init__(self, num_layers: int, inputs: int, bn_size: int, growth_rate: int, drop_rate: float) -> None:
        super().__init__()
        for i in range(num_layers):
            self.add_module(f"denselayer{i + 1}", _DenseLayer(inputs + i * growth_rate, growth_rate, bn_size, drop_rate))

    def forward(self, init_features: Tensor) -> Tensor:
        """All features."""
        features = [init_features]
        for layer in self.values():
            features.append(layer(features))
        return cat(features, 1)


class _Transition(nn.Sequential):
    """Half the channels, half the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=1, stride=1, bias=False)
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)


class DenseNet(nn.Module):
    """Densely connected network; images float [n, 3, h, w] to logits [n, num_classes]."""

    def __init__(
        self, growth_rate: int = 32, block_config: tuple[int, ...] = (6, 12, 24, 16), num_init_features: int = 64, bn_size: int = 4,
        drop_rate: float = 0, num_classes: int = 1000, memory_efficient: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        width = num_init_features
        self.features = nn.Sequential(OrderedDict(
            conv0=nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False), norm0=nn.BatchNorm2d(width),
            relu0=nn.ReLU(inplace=True), pool0=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        ))  # fmt: skip
        for i, count in enumerate(block_config):
            self.features.add_module(f"denseblock{i + 1}", _DenseBlock(count, width, bn_size, growth_rate, drop_rate))
            width += count * growth_rate
            if i != len(block_config) - 1:
                self.features.add_module(f"transition{i + 1}", _Transition(width, width // 2))
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight)
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)
            elif isinstance(m, nn.Linear):
                nn.init.constant_(m.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes]."""
        x = F.relu(self.features(x))
        return self.classifier(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))

    @staticmethod
    def renamed(state: dict[str, Any]) -> dict[str, Any]:
        """Published files call "norm1" "norm.1"."""
        return {re.sub(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.(\d\.)", r"\1\2", key): value for key, value in state.items()}


densenet121 = model("densenet121", DenseNet, 32, (6, 12, 24, 16), 64)
densenet161 = model("densenet161", DenseNet, 48, (6, 12, 36, 24), 96)
densenet169 = model("densenet169", DenseNet, 32, (6, 12, 32, 32), 64)
densenet201 = model("densenet201", DenseNet, 32, (6, 12, 48, 32), 64)
