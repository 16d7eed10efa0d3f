"""Inception v3 (https://arxiv.org/abs/1512.00567)."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from ... import nn
from ...joining import cat
from ...nn import functional as F
from ...tensor import Tensor
from .api import model
from .googlenet import BasicConv2d, renormalised, start_truncated


class InceptionOutputs(NamedTuple):
    """What a call gives while training with a classifier half way."""

    logits: Tensor
    aux_logits: Tensor | None


class _Branches(nn.Module):
    """Convolutions by name, and which of them follow each other."""

    def __init__(self, **convolutions: tuple) -> None:
        super().__init__()
        for name, (inputs, outputs, kernel, *more) in convolutions.items():
            stride, padding = more[0] if more else 1, more[1] if len(more) > 1 else 0
            setattr(self, name, BasicConv2d(inputs, outputs, kernel_size=kernel, stride=stride, padding=padding))

    def _run(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = getattr(self, name)(x)
        return x


def _numbered(name: str, *rows: tuple) -> dict[str, tuple]:
    return {f"{name}_{i}": row for i, row in enumerate(rows, 1)}


_ROW, _COLUMN = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))


class InceptionA(_Branches):
    """1 x 1, 5 x 5, twice 3 x 3 and a mean, side by side."""

    def __init__(self, in_channels: int, pool_features: int) -> None:
        super().__init__(
            branch1x1=(in_channels, 64, 1), **_numbered("branch5x5", (in_channels, 48, 1), (48, 64, 5, 1, 2)),
            **_numbered("branch3x3dbl", (in_channels, 64, 1), (64, 96, 3, 1, 1), (96, 96, 3, 1, 1)), branch_pool=(in_channels, pool_features, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """[n, 224 + pool_features, h, w]."""
        pooled = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        double = self._run(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return cat([self.branch1x1(x), self._run(x, "branch5x5_1", "branch5x5_2"), double, pooled], 1)


class InceptionB(_Branches):
    """Half the size: 3 x 3, twice 3 x 3 and a maximum, side by side."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(
            branch3x3=(in_channels, 384, 3, 2), **_numbered("branch3x3dbl", (in_channels, 64, 1), (64, 96, 3, 1, 1), (96, 96, 3, 2))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, 480 + in_channels, (h - 1) / 2, (w - 1) / 2]."""
        double = self._run(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return cat([self.branch3x3(x), double, F.max_pool2d(x, kernel_size=3, stride=2)], 1)


class InceptionC(_Branches):
    """1 x 1, 7 x 7 taken apart, twice that, and a mean, side by side."""

    def __init__(self, in_channels: int, channels_7x7: int) -> None:
        c = channels_7x7
        super().__init__(
            branch1x1=(in_channels, 192, 1), **_numbered("branch7x7", (in_channels, c, 1), (c, c, *_ROW), (c, 192, *_COLUMN)),
            **_numbered("branch7x7dbl", (in_channels, c, 1), (c, c, *_COLUMN), (c, c, *_ROW), (c, c, *_COLUMN), (c, 192, *_ROW)),
            branch_pool=(in_channels, 192, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """[n, 768, h, w]."""
        pooled = self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))
        double = self._run(x, *[f"branch7x7dbl_{i}" for i in range(1, 6)])
        return cat([self.branch1x1(x), self._run(x, "branch7x7_1", "branch7x7_2", "branch7x7_3"), double, pooled], 1)


class InceptionD(_Branches):
    """Half the size: 3 x 3, 7 x 7 taken apart and 3 x 3, and a maximum, side by side."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(
            **_numbered("branch3x3", (in_channels, 192, 1), (192, 320, 3, 2)),
            **_numbered("branch7x7x3", (in_channels, 192, 1), (192, 192, *_ROW), (192, 192, *_COLUMN), (192, 192, 3, 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, 512 + in_channels, (h - 1) / 2, (w - 1) / 2]."""
        apart = self._run(x, "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4")
        return cat([self._run(x, "branch3x3_1", "branch3x3_2"), apart, F.max_pool2d(x, kernel_size=3, stride=2)], 1)


class InceptionE(_Branches):
    """1 x 1, 3 x 3 spread into a row and a column, twice, and a mean, side by side."""

    def __init__(self, in_channels: int) -> None:
        row, column = (384, 384, (1, 3), 1, (0, 1)), (384, 384, (3, 1), 1, (1, 0))
        super().__init__(
            branch1x1=(in_channels, 320, 1), branch3x3_1=(in_channels, 384, 1), branch3x3_2a=row, branch3x3_2b=column,
            branch3x3dbl_1=(in_channels, 448, 1), branch3x3dbl_2=(448, 384, 3, 1, 1), branch3x3dbl_3a=row, branch3x3dbl_3b=column,
            branch_pool=(in_channels, 192, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """[n, 2048, h, w]."""
        single, double = self.branch3x3_1(x), self._run(x, "branch3x3dbl_1", "branch3x3dbl_2")
        spread = [self.branch3x3_2a(single), self.branch3x3_2b(single), self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return cat([self.branch1x1(x), *spread, self.branch_pool(F.avg_pool2d(x, kernel_size=3, stride=1, padding=1))], 1)


class InceptionAux(nn.Module):
    """A classifier half way."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv0 = BasicConv2d(in_channels, 128, kernel_size=1)
        self.conv1 = BasicConv2d(128, 768, kernel_size=5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes]."""
        x = self.conv1(self.conv0(F.avg_pool2d(x, kernel_size=5, stride=3)))
        return self.fc(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


# names of the blocks, in their order
_MIXED: dict[str, tuple[type, tuple]] = {
    "5b": (InceptionA, (192, 32)), "5c": (InceptionA, (256, 64)), "5d": (InceptionA, (288, 64)), "6a": (InceptionB, (288,)),
    "6b": (InceptionC, (768, 128)), "6c": (InceptionC, (768, 160)), "6d": (InceptionC, (768, 160)), "6e": (InceptionC, (768, 192)),
    "7a": (InceptionD, (768,)), "7b": (InceptionE, (1280,)), "7c": (InceptionE, (2048,)),
}  # fmt: skip


class Inception3(nn.Module):
    """Inception v3; images float [n, 3, h, w] from 75 pixels on to logits [n, num_classes]."""

    def __init__(
        self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False, inception_blocks: Any = None,
        init_weights: bool | None = None, dropout: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        if init_weights is None:
            warnings.warn("The default weight initialization of inception_v3 may change; set init_weights.", FutureWarning, stacklevel=2)
        if inception_blocks is not None:
            raise ValueError("inception_v3 takes no other blocks than its own: inception_blocks has to be None")
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, kernel_size=3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, kernel_size=3)
        self.maxpool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.AuxLogits: InceptionAux | None = None
        for name, (kind, sizes) in _MIXED.items():
            setattr(self, f"Mixed_{name}", kind(*sizes))
            if name == "6e":
                self.AuxLogits = InceptionAux(768, num_classes) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(2048, num_classes)
        if init_weights in (None, True):
            inner = None if self.AuxLogits is None else self.AuxLogits.fc
            start_truncated(self, lambda m: 0.001 if m is inner else 0.1)

    def forward(self, x: Tensor) -> Any:
        """Logits [n, num_classes]; while training with aux_logits, InceptionOutputs of two."""
        if self.transform_input:
            x = renormalised(x)
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        half = self.training and self.aux_logits
        aux = None
        for name in _MIXED:
            x = getattr(self, f"Mixed_{name}")(x)
            if name == "6e" and half and self.AuxLogits is not None:
                aux = self.AuxLogits(x)
        x = self.fc(self.dropout(self.avgpool(x)).flatten(1))
        return InceptionOutputs(x, aux) if half else x

    @staticmethod
    def prepared(weights: Any, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Published weights hold the classifier half way, which is dropped where none is asked for."""
        if weights is None:
            return {"init_weights": False, **options}, lambda made: made
        asked = options.get("aux_logits", True)

        def finish(made: Inception3) -> Inception3:
            if not asked:
                made.aux_logits, made.AuxLogits = False, None
            return made

        return {"transform_input": True, **options, "aux_logits": True, "init_weights": False}, finish


inception_v3 = model("inception_v3", Inception3)
