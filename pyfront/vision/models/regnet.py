"""RegNet (https://arxiv.org/abs/2003.13678): networks whose widths follow from four numbers."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from ... import nn
from ...tensor import Tensor
from ..layers import Conv2dNormActivation, SqueezeExcitation
from .api import make_divisible, model

_QUANTUM = 8


class BlockParams(NamedTuple):
    """Blocks, widths and groups of each stage; every stage halves the size."""

    depths: list[int]
    widths: list[int]
    group_widths: list[int]
    bottleneck_multiplier: float
    se_ratio: float | None

    @classmethod
    def from_init_params(
        cls, depth: int, w_0: int, w_a: float, w_m: float, group_width: int, bottleneck_multiplier: float = 1.0, se_ratio: float | None = None
    ) -> BlockParams:
        """Widths that grow by w_a per block from w_0 on, in powers of w_m of w_0, rounded to eights. Source: section 3.3 of the paper."""
        if w_a < 0 or w_0 <= 0 or w_m <= 1 or w_0 % _QUANTUM:
            raise ValueError("Invalid RegNet settings")
        steps = np.round(np.log((np.arange(depth, dtype=np.float32) * np.float32(w_a) + np.float32(w_0)) / np.float32(w_0)) / math.log(w_m))
        wide = (np.round(np.float32(w_0) * np.power(np.float32(w_m), steps) / _QUANTUM) * _QUANTUM).astype(int).tolist()
        stages = [(width, len(list(blocks))) for width, blocks in groupby(wide)]
        inner = [int(width * bottleneck_multiplier) for width, _ in stages]
        groups = [min(group_width, width) for width in inner]
        fitting = [make_divisible(width, group) for width, group in zip(inner, groups, strict=True)]
        widths = [int(width / bottleneck_multiplier) for width in fitting]
        return cls([count for _, count in stages], widths, groups, bottleneck_multiplier, se_ratio)


class BottleneckTransform(nn.Sequential):
    """1 x 1, grouped 3 x 3, squeeze and excitation, 1 x 1."""

    def __init__(
        self, width_in: int, width_out: int, stride: int, norm_layer: Any, activation_layer: Any, group_width: int, bottleneck_multiplier: float,
        se_ratio: float | None,
    ) -> None:  # fmt: skip
        width = int(round(width_out * bottleneck_multiplier))
        active = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=activation_layer)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["a"] = active(width_in, width, kernel_size=1)
        layers["b"] = active(width, width, kernel_size=3, stride=stride, groups=width // group_width)
        if se_ratio:
            layers["se"] = SqueezeExcitation(width, int(round(se_ratio * width_in)), activation=activation_layer)
        layers["c"] = Conv2dNormActivation(width, width_out, kernel_size=1, norm_layer=norm_layer, activation_layer=None)
        super().__init__(layers)


class ResBottleneckBlock(nn.Module):
    """A bottleneck beside the identity, or beside a 1 x 1 convolution where shapes change."""

    def __init__(
        self, width_in: int, width_out: int, stride: int, norm_layer: Any, activation_layer: Any, group_width: int = 1,
        bottleneck_multiplier: float = 1.0, se_ratio: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.proj = None
        if width_in != width_out or stride != 1:
            self.proj = Conv2dNormActivation(width_in, width_out, kernel_size=1, stride=stride, norm_layer=norm_layer, activation_layer=None)
        self.f = BottleneckTransform(width_in, width_out, stride, norm_layer, activation_layer, group_width, bottleneck_multiplier, se_ratio)
        self.activation = activation_layer(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width_out, h / stride, w / stride]."""
        beside = x if self.proj is None else self.proj(x)
        return self.activation(beside + self.f(x))


class SimpleStemIN(Conv2dNormActivation):
    """A strided 3 x 3 convolution."""

    def __init__(self, width_in: int, width_out: int, norm_layer: Any, activation_layer: Any) -> None:
        super().__init__(width_in, width_out, kernel_size=3, stride=2, norm_layer=norm_layer, activation_layer=activation_layer)


class AnyStage(nn.Sequential):
    """Blocks of one width, the first of them strided."""

    def __init__(self, width_in: int, width_out: int, depth: int, number: int, **options: Any) -> None:
        blocks = [ResBottleneckBlock(width_out if i else width_in, width_out, 1 if i else 2, **options) for i in range(depth)]
        super().__init__(OrderedDict((f"block{number}-{i}", block) for i, block in enumerate(blocks)))


class RegNet(nn.Module):
    """RegNet; images float [n, 3, h, w] to logits [n, num_classes]."""

    def __init__(
        self, block_params: BlockParams, num_classes: int = 1000, stem_width: int = 32, stem_type: Any = None, block_type: Any = None,
        norm_layer: Any = None, activation: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if block_type not in (None, ResBottleneckBlock):
            raise ValueError(f"RegNet is made of ResBottleneckBlock, not of {block_type!r}")
        norm_layer, activation = norm_layer or nn.BatchNorm2d, activation or nn.ReLU
        self.stem = (stem_type or SimpleStemIN)(3, stem_width, norm_layer, activation)
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        width = stem_width
        for number, (depth, wide, group) in enumerate(zip(block_params.depths, block_params.widths, block_params.group_widths, strict=True), 1):
            stages[f"block{number}"] = AnyStage(
                width, wide, depth, number, norm_layer=norm_layer, activation_layer=activation, group_width=group,
                bottleneck_multiplier=block_params.bottleneck_multiplier, se_ratio=block_params.se_ratio,
            )  # fmt: skip
            width = wide
        self.trunk_output = nn.Sequential(stages)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(width, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(m.weight, mean=0.0, std=math.sqrt(2.0 / (m.kernel_size[0] * m.kernel_size[1] * m.out_channels)))
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0.0, std=0.01)
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes]."""
        return self.fc(self.avgpool(self.trunk_output(self.stem(x))).flatten(1))


# blocks, first width, growth per block, step between widths, width of a group
_X = {
    "400mf": (22, 24, 24.48, 2.54, 16), "800mf": (16, 56, 35.73, 2.28, 16), "1_6gf": (18, 80, 34.01, 2.25, 24), "3_2gf": (25, 88, 26.31, 2.25, 48),
    "8gf": (23, 80, 49.56, 2.88, 120), "16gf": (22, 216, 55.59, 2.1, 128), "32gf": (23, 320, 69.86, 2.0, 168),
}  # fmt: skip
_Y = {
    "400mf": (16, 48, 27.89, 2.09, 8), "800mf": (14, 56, 38.84, 2.4, 16), "1_6gf": (27, 48, 20.71, 2.65, 24), "3_2gf": (21, 80, 42.63, 2.66, 24),
    "8gf": (17, 192, 76.82, 2.19, 56), "16gf": (18, 200, 106.23, 2.48, 112), "32gf": (20, 232, 115.89, 2.53, 232),
    "128gf": (27, 456, 160.83, 2.52, 264),
}  # fmt: skip
for _kind, _sizes, _ratio in (("x", _X, None), ("y", _Y, 0.25)):
    for _size, _numbers in _sizes.items():
        _params = BlockParams.from_init_params(*_numbers, se_ratio=_ratio)
        globals()[f"regnet_{_kind}_{_size}"] = model(f"regnet_{_kind}_{_size}", RegNet, _params, norm_layer=partial(nn.BatchNorm2d, eps=1e-05, momentum=0.1))
