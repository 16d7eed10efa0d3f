"""Feature pyramid: maps of several sizes brought to one number of channels, each with what the coarser ones know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .. import nn
from ..nn import functional as F
from ..tensor import Tensor
from .layers import Conv2dNormActivation


class FeaturePyramidNetwork(nn.Module):
    """https://arxiv.org/abs/1612.03144. in_channels_list: of the maps, the finest first. extra_blocks: makes further maps of them."""

    def __init__(
        self, in_channels_list: list[int], out_channels: int, extra_blocks: Any = None, norm_layer: Callable[..., Any] | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        if 0 in in_channels_list:
            raise ValueError("in_channels=0 is currently not supported")
        options: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": None}
        self.inner_blocks, self.layer_blocks = nn.ModuleList(), nn.ModuleList()
        for channels in in_channels_list:
            self.inner_blocks.append(Conv2dNormActivation(channels, out_channels, kernel_size=1, padding=0, **options))
            self.layer_blocks.append(Conv2dNormActivation(out_channels, out_channels, kernel_size=3, **options))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.constant_(module.bias, 0)
        self.extra_blocks = extra_blocks

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """The maps by their names, in the same order, with out_channels each."""
        names, maps = list(x), list(x.values())
        inner = [block(m) for block, m in zip(self.inner_blocks, maps, strict=True)]
        for i in reversed(range(len(inner) - 1)):
            inner[i] = inner[i] + F.interpolate(inner[i + 1], size=inner[i].shape[-2:], mode="nearest")
        found = [block(m) for block, m in zip(self.layer_blocks, inner, strict=True)]
        if self.extra_blocks is not None:
            found, names = self.extra_blocks(found, maps, names)
        return OrderedDict(zip(names, found, strict=True))


class ExtraFPNBlock(nn.Module):
    """Further maps after those of the pyramid."""

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """The pyramid's maps (of the maps x) and their names, with further ones each."""
        raise NotImplementedError


class LastLevelMaxPool(ExtraFPNBlock):
    """One coarser map: every second pixel of the last."""

    def forward(self, x: list[Tensor], y: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """The maps and names with one more each ("pool")."""
        return [*x, F.max_pool2d(x[-1], kernel_size=1, stride=2, padding=0)], [*names, "pool"]


class LastLevelP6P7(ExtraFPNBlock):
    """Two coarser maps by strided convolutions: of the pyramid's last map where the channels are equal, else of the last map given to it."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, 2, 1)
        for convolution in (self.p6, self.p7):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
            nn.init.constant_(convolution.bias, 0)
        self.use_P5 = in_channels == out_channels

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """The maps and names with two more each ("p6", "p7")."""
        sixth = self.p6(p[-1] if self.use_P5 else c[-1])
        return [*p, sixth, self.p7(F.relu(sixth))], [*names, "p6", "p7"]
