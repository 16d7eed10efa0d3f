"""torchvision.models.video: residual networks over frames, with 3D convolutions, mixed ones and factorised ones (https://arxiv.org/abs/1711.11248)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import nn
from ...tensor import Tensor
from .api import model
from .weights import catalogue

Strides = tuple[int, int, int]


class Conv3DSimple(nn.Conv3d):
    """3 x 3 x 3, in time as in space."""

    def __init__(self, in_planes: int, out_planes: int, midplanes: int | None = None, stride: int = 1, padding: int = 1) -> None:
        super().__init__(in_planes, out_planes, (3, 3, 3), stride=stride, padding=padding, bias=False)

    @staticmethod
    def get_downsample_stride(stride: int) -> Strides:
        """Strides of what goes past a block."""
        return stride, stride, stride


class Conv2Plus1D(nn.Sequential):
    """3 x 3 in space, then 3 in time, with `midplanes` channels between."""

    def __init__(self, in_planes: int, out_planes: int, midplanes: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__(
            nn.Conv3d(in_planes, midplanes, (1, 3, 3), stride=(1, stride, stride), padding=(0, padding, padding), bias=False),
            nn.BatchNorm3d(midplanes), nn.ReLU(inplace=True),
            nn.Conv3d(midplanes, out_planes, (3, 1, 1), stride=(stride, 1, 1), padding=(padding, 0, 0), bias=False),
        )  # fmt: skip

    @staticmethod
    def get_downsample_stride(stride: int) -> Strides:
        """Strides of what goes past a block."""
        return stride, stride, stride


class Conv3DNoTemporal(nn.Conv3d):
    """3 x 3 in space, frame by frame."""

    def __init__(self, in_planes: int, out_planes: int, midplanes: int | None = None, stride: int = 1, padding: int = 1) -> None:
        super().__init__(in_planes, out_planes, (1, 3, 3), stride=(1, stride, stride), padding=(0, padding, padding), bias=False)

    @staticmethod
    def get_downsample_stride(stride: int) -> Strides:
        """Strides of what goes past a block."""
        return 1, stride, stride


def _midplanes(inplanes: int, planes: int) -> int:
    """Channels with which a factorised convolution has as many weights as a whole one."""
    return inplanes * planes * 3 * 3 * 3 // (inplanes * 3 * 3 + 3 * planes)


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv3d(inputs, outputs, kernel_size=1, bias=False), nn.BatchNorm3d(outputs)]


class BasicBlock(nn.Module):
    """Two convolutions beside the identity."""

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, conv_builder: Callable[..., nn.Module], stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        middle = _midplanes(inplanes, planes)
        self.conv1 = nn.Sequential(conv_builder(inplanes, planes, middle, stride), nn.BatchNorm3d(planes), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(conv_builder(planes, planes, middle), nn.BatchNorm3d(planes))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[n, planes, frames, h, w]."""
        return self.relu(self.conv2(self.conv1(x)) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1 x 1, a convolution, 1 x 1 x 1, beside the identity."""

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, conv_builder: Callable[..., nn.Module], stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        middle = _midplanes(inplanes, planes)
        self.conv1 = nn.Sequential(*_pointwise(inplanes, planes), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(conv_builder(planes, planes, middle, stride), nn.BatchNorm3d(planes), nn.ReLU(inplace=True))
        self.conv3 = nn.Sequential(*_pointwise(planes, planes * self.expansion))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[n, 4 planes, frames, h, w]."""
        return self.relu(self.conv3(self.conv2(self.conv1(x))) + (x if self.downsample is None else self.downsample(x)))


class BasicStem(nn.Sequential):
    """3 frames of 7 x 7 pixels, with stride 2 in space."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(3, 64, kernel_size=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False), nn.BatchNorm3d(64), nn.ReLU(inplace=True)
        )


class R2Plus1dStem(nn.Sequential):
    """7 x 7 pixels, then 3 frames."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(3, 45, kernel_size=(1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False), nn.BatchNorm3d(45), nn.ReLU(inplace=True),
            nn.Conv3d(45, 64, kernel_size=(3, 1, 1), stride=(1, 1, 1), padding=(1, 0, 0), bias=False), nn.BatchNorm3d(64), nn.ReLU(inplace=True),
        )  # fmt: skip


class VideoResNet(nn.Module):
    """Residual network; clips float [n, 3, frames, h, w] to logits [n, num_classes]."""

    def __init__(
        self, block: Any, conv_makers: Sequence[Any], layers: list[int], stem: Callable[..., nn.Module], num_classes: int = 400,
        zero_init_residual: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inplanes = 64
        self.stem = stem()
        self.layer1 = self._make_layer(block, conv_makers[0], 64, layers[0])
        self.layer2 = self._make_layer(block, conv_makers[1], 128, layers[1], 2)
        self.layer3 = self._make_layer(block, conv_makers[2], 256, layers[2], 2)
        self.layer4 = self._make_layer(block, conv_makers[3], 512, layers[3], 2)
        self.avgpool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv3d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                if m.bias is not None:
                    nn.init.constant_(m.bias, 0)
            elif isinstance(m, nn.BatchNorm3d):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)
            elif isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, 0, 0.01)
                nn.init.constant_(m.bias, 0)
        for m in self.modules() if zero_init_residual else ():
            if isinstance(m, Bottleneck):
                nn.init.constant_(m.conv3[1].weight, 0)

    def _make_layer(self, block: Any, conv_builder: Any, planes: int, blocks: int, stride: int = 1) -> nn.Sequential:
        downsample, width = None, planes * block.expansion
        if stride != 1 or self.inplanes != width:
            strides = conv_builder.get_downsample_stride(stride)
            downsample = nn.Sequential(nn.Conv3d(self.inplanes, width, kernel_size=1, stride=strides, bias=False), nn.BatchNorm3d(width))
        layers = [block(self.inplanes, planes, conv_builder, stride, downsample)]
        self.inplanes = width
        layers += [block(width, planes, conv_builder) for _ in range(1, blocks)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes]."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.fc(self.avgpool(x).flatten(1))


r3d_18 = model("r3d_18", VideoResNet, BasicBlock, [Conv3DSimple] * 4, [2, 2, 2, 2], BasicStem)
mc3_18 = model("mc3_18", VideoResNet, BasicBlock, [Conv3DSimple] + [Conv3DNoTemporal] * 3, [2, 2, 2, 2], BasicStem)
r2plus1d_18 = model("r2plus1d_18", VideoResNet, BasicBlock, [Conv2Plus1D] * 4, [2, 2, 2, 2], R2Plus1dStem)
_MODELS = ["r3d_18", "mc3_18", "r2plus1d_18"]
_WEIGHTS = {catalogue()[name].__name__: catalogue()[name] for name in _MODELS}
globals().update(_WEIGHTS)
__all__ = ["VideoResNet", *_MODELS, *_WEIGHTS]
