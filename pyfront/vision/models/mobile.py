"""Networks of depthwise convolutions: MobileNetV2 and V3, EfficientNet and V2, ShuffleNetV2."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

from ... import nn
from ...joining import cat
from ...nn import functional as F
from ...tensor import Tensor
from ..layers import Conv2dNormActivation, SqueezeExcitation, StochasticDepth
from .api import make_divisible, model


def _initialise(network: nn.Module, linear: Any) -> None:
    """He's normal weights for convolutions, ones and zeros for norms, `linear` for linear layers."""
    for m in network.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Linear):
            linear(m)
            nn.init.zeros_(m.bias)


def _narrow(m: nn.Linear) -> None:
    nn.init.normal_(m.weight, 0, 0.01)


class InvertedResidual(nn.Module):
    """Expanded, depthwise, projected; beside the identity where shapes allow."""

    def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int, norm_layer: Any = None) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride should be 1 or 2 instead of {stride}")
        norm_layer = norm_layer or nn.BatchNorm2d
        self.stride = stride
        hidden = int(round(inp * expand_ratio))
        self.use_res_connect = stride == 1 and inp == oup
        relu6 = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.ReLU6)
        layers: list[Any] = [relu6(inp, hidden, kernel_size=1)] if expand_ratio != 1 else []
        layers += [relu6(hidden, hidden, stride=stride, groups=hidden), nn.Conv2d(hidden, oup, 1, 1, 0, bias=False), norm_layer(oup)]
        self.conv = nn.Sequential(*layers)
        self.out_channels = oup

    def forward(self, x: Tensor) -> Tensor:
        """[n, inp, h, w] to [n, oup, h / stride, w / stride]."""
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 (https://arxiv.org/abs/1801.04381)."""

    def __init__(
        self, num_classes: int = 1000, width_mult: float = 1.0, inverted_residual_setting: Any = None, round_nearest: int = 8,
        block: Any = None, norm_layer: Any = None, dropout: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__()
        block, norm_layer = block or InvertedResidual, norm_layer or nn.BatchNorm2d
        table = inverted_residual_setting
        if table is None:  # expansion, channels, count, stride
            table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
        if len(table) == 0 or len(table[0]) != 4:
            raise ValueError(f"inverted_residual_setting should be non-empty or a 4-element list, got {table}")
        relu6 = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.ReLU6)
        width = make_divisible(32 * width_mult, round_nearest)
        self.last_channel = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features: list[Any] = [relu6(3, width, stride=2)]
        for expansion, channels, count, stride in table:
            wide = make_divisible(channels * width_mult, round_nearest)
            for i in range(count):
                features.append(block(width, wide, 1 if i else stride, expand_ratio=expansion, norm_layer=norm_layer))
                width = wide
        self.features = nn.Sequential(*features, relu6(width, self.last_channel, kernel_size=1))
        self.classifier = nn.Sequential(nn.Dropout(p=dropout), nn.Linear(self.last_channel, num_classes))
        _initialise(self, _narrow)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, h, w]."""
        return self.classifier(F.adaptive_avg_pool2d(self.features(x), (1, 1)).flatten(1))


class _Row(NamedTuple):
    """One block of MobileNetV3; widths before the multiplier."""

    inputs: int
    kernel: int
    expanded: int
    outputs: int
    squeezed: bool
    hard: bool  # hardswish, not relu
    stride: int
    dilation: int = 1


class MobileNetV3Block(nn.Module):
    """Expanded, depthwise, squeezed and excited, projected; beside the identity where shapes allow."""

    def __init__(self, row: _Row, width_mult: float, norm_layer: Any) -> None:
        super().__init__()
        inputs, expanded, outputs = (make_divisible(c * width_mult) for c in (row.inputs, row.expanded, row.outputs))
        self.use_res_connect = row.stride == 1 and inputs == outputs
        active = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.Hardswish if row.hard else nn.ReLU)
        layers: list[Any] = [active(inputs, expanded, kernel_size=1)] if expanded != inputs else []
        stride = 1 if row.dilation > 1 else row.stride
        layers.append(active(expanded, expanded, row.kernel, stride=stride, dilation=row.dilation, groups=expanded))
        if row.squeezed:
            layers.append(SqueezeExcitation(expanded, make_divisible(expanded // 4), scale_activation=nn.Hardsigmoid))
        layers.append(Conv2dNormActivation(expanded, outputs, kernel_size=1, norm_layer=norm_layer, activation_layer=None))
        self.block = nn.Sequential(*layers)
        self.out_channels = outputs
        self._is_cn = row.stride > 1  # where dense predictors look for the last layer of a size

    def forward(self, input: Tensor) -> Tensor:
        """The block's result."""
        return self.block(input) + input if self.use_res_connect else self.block(input)


MobileNetV3Block.__name__ = MobileNetV3Block.__qualname__ = "InvertedResidual"  # as torchvision prints it


class MobileNetV3(nn.Module):
    """MobileNetV3 (https://arxiv.org/abs/1905.02244)."""

    def __init__(
        self, rows: str, last_channel: int, num_classes: int = 1000, norm_layer: Any = None, dropout: float = 0.2,
        width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        table = [_row(words.split(), 2 if reduced_tail else 1, 2 if dilated else 1) for words in rows.split("|")]
        active = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.Hardswish)
        last = make_divisible(table[-1].outputs * width_mult)
        head = make_divisible(last_channel // (2 if reduced_tail else 1) * width_mult)
        first = active(3, make_divisible(table[0].inputs * width_mult), kernel_size=3, stride=2)
        blocks = [MobileNetV3Block(row, width_mult, norm_layer) for row in table]
        self.features = nn.Sequential(first, *blocks, active(last, 6 * last, kernel_size=1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(6 * last, head), nn.Hardswish(inplace=True), nn.Dropout(p=dropout, inplace=True), nn.Linear(head, num_classes)
        )
        _initialise(self, _narrow)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, h, w]."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


# inputs, kernel, expanded, outputs, squeeze and excitation, activation, stride; "t" marks the tail (reduced, dilated)
_LARGE = """16 3 16 16 - RE 1|16 3 64 24 - RE 2|24 3 72 24 - RE 1|24 5 72 40 + RE 2|40 5 120 40 + RE 1|40 5 120 40 + RE 1|40 3 240 80 - HS 2
    |80 3 200 80 - HS 1|80 3 184 80 - HS 1|80 3 184 80 - HS 1|80 3 480 112 + HS 1|112 3 672 112 + HS 1|112 5 672 160t + HS 2t
    |160t 5 960t 160t + HS 1t|160t 5 960t 160t + HS 1t"""
_SMALL = """16 3 16 16 + RE 2|16 3 72 24 - RE 2|24 3 88 24 - RE 1|24 5 96 40 + HS 2|40 5 240 40 + HS 1|40 5 240 40 + HS 1|40 5 120 48 + HS 1
    |48 5 144 48 + HS 1|48 5 288 96t + HS 2t|96t 5 576t 96t + HS 1t|96t 5 576t 96t + HS 1t"""


def _row(words: list[str], divider: int, dilation: int) -> _Row:
    inputs, kernel, expanded, outputs = (int(w[:-1]) // divider if w.endswith("t") else int(w) for w in words[:4])
    tail = words[6].endswith("t")
    return _Row(inputs, kernel, expanded, outputs, words[4] == "+", words[5] == "HS", int(words[6].rstrip("t")), dilation if tail else 1)


class _Stage(NamedTuple):
    """One stage of EfficientNet."""

    fused: bool
    expansion: float
    kernel: int
    stride: int
    inputs: int
    outputs: int
    count: int


class MBConv(nn.Module):
    """Expanded, depthwise, squeezed and excited, projected; dropped at random while training."""

    def __init__(self, stage: _Stage, stochastic_depth_prob: float, norm_layer: Any) -> None:
        super().__init__()
        self.use_res_connect = stage.stride == 1 and stage.inputs == stage.outputs
        active = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.SiLU)
        self.block = nn.Sequential(*self.layers(stage, make_divisible(stage.inputs * stage.expansion), active))
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")
        self.out_channels = stage.outputs

    @staticmethod
    def layers(stage: _Stage, expanded: int, active: Any) -> list[Any]:
        """The block's layers."""
        layers = [active(stage.inputs, expanded, kernel_size=1)] if expanded != stage.inputs else []
        layers.append(active(expanded, expanded, kernel_size=stage.kernel, stride=stage.stride, groups=expanded))
        layers.append(SqueezeExcitation(expanded, max(1, stage.inputs // 4), activation=partial(nn.SiLU, inplace=True)))
        return [*layers, active(expanded, stage.outputs, kernel_size=1, activation_layer=None)]

    def forward(self, input: Tensor) -> Tensor:
        """The block's result."""
        return self.stochastic_depth(self.block(input)) + input if self.use_res_connect else self.block(input)


class FusedMBConv(MBConv):
    """MBConv with one full convolution in place of expansion and depthwise."""

    @staticmethod
    def layers(stage: _Stage, expanded: int, active: Any) -> list[Any]:
        """The block's layers."""
        first = partial(active, stage.inputs, kernel_size=stage.kernel, stride=stage.stride)
        if expanded == stage.inputs:
            return [first(stage.outputs)]
        return [first(expanded), active(expanded, stage.outputs, kernel_size=1, activation_layer=None)]


class EfficientNet(nn.Module):
    """EfficientNet (https://arxiv.org/abs/1905.11946) and V2 (https://arxiv.org/abs/2104.00298)."""

    def __init__(
        self, stages: list[_Stage], dropout: float, stochastic_depth_prob: float = 0.2, num_classes: int = 1000, norm_layer: Any = None,
        last_channel: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        norm_layer = norm_layer or nn.BatchNorm2d
        active = partial(Conv2dNormActivation, norm_layer=norm_layer, activation_layer=nn.SiLU)
        layers: list[Any] = [active(3, stages[0].inputs, kernel_size=3, stride=2)]
        total, done = sum(stage.count for stage in stages), 0
        for stage in stages:
            blocks = []
            for i in range(stage.count):
                part = stage._replace(inputs=stage.outputs, stride=1) if i else stage
                make = FusedMBConv if stage.fused else MBConv
                blocks.append(make(part, stochastic_depth_prob * float(done) / total, norm_layer))
                done += 1
            layers.append(nn.Sequential(*blocks))
        width = stages[-1].outputs
        last = 4 * width if last_channel is None else last_channel
        self.features = nn.Sequential(*layers, active(width, last, kernel_size=1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout, inplace=True), nn.Linear(last, num_classes))

        def linear(m: nn.Linear) -> None:
            bound = 1.0 / math.sqrt(m.out_features)
            nn.init.uniform_(m.weight, -bound, bound)

        _initialise(self, linear)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, h, w]."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


_B = ((1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3), (6, 5, 1, 80, 112, 3),
      (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1))  # fmt: skip
# the first three stages are fused
_V2 = {
    "s": ((1, 3, 1, 24, 24, 2), (4, 3, 2, 24, 48, 4), (4, 3, 2, 48, 64, 4), (4, 3, 2, 64, 128, 6), (6, 3, 1, 128, 160, 9),
          (6, 3, 2, 160, 256, 15)),
    "m": ((1, 3, 1, 24, 24, 3), (4, 3, 2, 24, 48, 5), (4, 3, 2, 48, 80, 5), (4, 3, 2, 80, 160, 7), (6, 3, 1, 160, 176, 14),
          (6, 3, 2, 176, 304, 18), (6, 3, 1, 304, 512, 5)),
    "l": ((1, 3, 1, 32, 32, 4), (4, 3, 2, 32, 64, 7), (4, 3, 2, 64, 96, 7), (4, 3, 2, 96, 192, 10), (6, 3, 1, 192, 224, 19),
          (6, 3, 2, 224, 384, 25), (6, 3, 1, 384, 640, 7)),
}  # fmt: skip


def _scaled(width: float, depth: float) -> list[_Stage]:
    return [
        _Stage(False, e, k, s, make_divisible(i * width), make_divisible(o * width), int(math.ceil(n * depth)))
        for e, k, s, i, o, n in _B
    ]  # fmt: skip


def _shuffled(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleBlock(nn.Module):
    """Half the channels pass (or are reduced), half are convolved; then channels are shuffled."""

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = oup // 2

        def pointwise(inputs: int) -> list[Any]:
            return [nn.Conv2d(inputs, half, kernel_size=1, stride=1, padding=0, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True)]

        def depthwise(width: int) -> list[Any]:
            return [nn.Conv2d(width, width, 3, stride, 1, bias=False, groups=width), nn.BatchNorm2d(width)]

        self.branch1 = nn.Sequential(*(depthwise(inp) + pointwise(inp) if stride > 1 else []))
        self.branch2 = nn.Sequential(*pointwise(inp if stride > 1 else half), *depthwise(half), *pointwise(half))

    def forward(self, x: Tensor) -> Tensor:
        """The block's result."""
        a, b = x.chunk(2, dim=1) if self.stride == 1 else (self.branch1(x), x)
        return _shuffled(cat([a, self.branch2(b)], 1), 2)


ShuffleBlock.__name__ = ShuffleBlock.__qualname__ = "InvertedResidual"  # as torchvision prints it


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 (https://arxiv.org/abs/1807.11164)."""

    def __init__(self, stages_repeats: list[int], stages_out_channels: list[int], num_classes: int = 1000) -> None:
        super().__init__()
        if len(stages_repeats) != 3:
            raise ValueError("expected stages_repeats as list of 3 positive ints")
        if len(stages_out_channels) != 5:
            raise ValueError("expected stages_out_channels as list of 5 positive ints")
        width, *wider, last = stages_out_channels
        self.conv1 = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for i, (repeats, wide) in enumerate(zip(stages_repeats, wider, strict=True)):
            blocks = [ShuffleBlock(width, wide, 2), *[ShuffleBlock(wide, wide, 1) for _ in range(repeats - 1)]]
            setattr(self, f"stage{i + 2}", nn.Sequential(*blocks))
            width = wide
        self.conv5 = nn.Sequential(nn.Conv2d(width, last, 1, 1, 0, bias=False), nn.BatchNorm2d(last), nn.ReLU(inplace=True))
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, h, w]."""
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(self.conv5(x).mean([2, 3]))


mobilenet_v2 = model("mobilenet_v2", MobileNetV2)
mobilenet_v3_large = model("mobilenet_v3_large", MobileNetV3, _LARGE, 1280)
mobilenet_v3_small = model("mobilenet_v3_small", MobileNetV3, _SMALL, 1024)
_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
(efficientnet_b0, efficientnet_b1, efficientnet_b2, efficientnet_b3, efficientnet_b4, efficientnet_b5, efficientnet_b6,
 efficientnet_b7) = (
    model(f"efficientnet_b{i}", EfficientNet, _scaled(width, depth), dropout=dropout, norm_layer=_NORM if i > 4 else None)
    for i, (width, depth, dropout) in enumerate(
        ((1.0, 1.0, 0.2), (1.0, 1.1, 0.2), (1.1, 1.2, 0.3), (1.2, 1.4, 0.3), (1.4, 1.8, 0.4), (1.6, 2.2, 0.4), (1.8, 2.6, 0.5),
         (2.0, 3.1, 0.5))
    )
)  # fmt: skip
efficientnet_v2_s, efficientnet_v2_m, efficientnet_v2_l = (
    model(f"efficientnet_v2_{size}", EfficientNet, [_Stage(i < 3, *row) for i, row in enumerate(_V2[size])], dropout=dropout,
          last_channel=1280, norm_layer=partial(nn.BatchNorm2d, eps=0.001))
    for size, dropout in (("s", 0.2), ("m", 0.3), ("l", 0.4))
)  # fmt: skip
shufflenet_v2_x0_5, shufflenet_v2_x1_0, shufflenet_v2_x1_5, shufflenet_v2_x2_0 = (
    model(f"shufflenet_v2_{size}", ShuffleNetV2, [4, 8, 4], [24, *wider])
    for size, wider in (("x0_5", (48, 96, 192, 1024)), ("x1_0", (116, 232, 464, 1024)), ("x1_5", (176, 352, 704, 1024)),
                        ("x2_0", (244, 488, 976, 2048)))
)  # fmt: skip
