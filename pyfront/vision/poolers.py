"""torchvision.ops.poolers: boxes read from that map of a pyramid which has the right resolution for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import nn
from ..joining import cat
from ..tensor import Tensor
from .images import tensor_of
from .regions import read_from_maps, roi_align


def _scale(map_: Tensor, image: tuple[int, int]) -> float:
    """The map's height over the image's, to the nearest power of two."""
    return 2.0 ** round(math.log2(map_.shape[-2] / image[0]))


class MultiScaleRoIAlign(nn.Module):
    """`roi_align` of the maps by the names: a box of the canonical scale is read from the canonical level, one of twice the size one level up.

    See https://arxiv.org/abs/1612.03144, equation 1; levels are counted by what maps are smaller than the images: 2**-level.
    """

    def __init__(
        self, featmap_names: list[str], output_size: Any, sampling_ratio: int, *, canonical_scale: int = 224, canonical_level: int = 4
    ) -> None:  # fmt: skip
        super().__init__()
        self.featmap_names, self.sampling_ratio = featmap_names, sampling_ratio
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        self.canonical_scale, self.canonical_level = canonical_scale, canonical_level
        self.scales: list[float] | None = None

    def _levels(self, rows: np.ndarray) -> np.ndarray:
        """Which of the maps each box [k, 4] is read from."""
        assert self.scales is not None
        first, last = (-math.log2(scale) for scale in (self.scales[0], self.scales[-1]))
        side = np.sqrt((rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1]))
        with np.errstate(divide="ignore"):  # an empty box is of the first level
            level = np.floor(np.float32(self.canonical_level) + np.log2(side / np.float32(self.canonical_scale)) + np.float32(1e-6))
        return (np.clip(level, first, last) - first).astype(np.int64)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """[all boxes, c, *output_size]. boxes: [k, 4] of each image, in its pixels; image_shapes: (height, width) of the images."""
        maps = [value for name, value in x.items() if name in self.featmap_names]
        if self.scales is None:
            whole = (max(s[0] for s in image_shapes), max(s[1] for s in image_shapes))
            self.scales = [_scale(map_, whole) for map_ in maps]
        parts = [np.asarray(b.detach()._value(), np.float32) for b in boxes]
        rows = np.concatenate([np.insert(part, 0, i, axis=1) for i, part in enumerate(parts)])
        levels = self._levels(rows[:, 1:]) if len(maps) > 1 else np.zeros(len(rows), np.int64)
        if self.sampling_ratio > 0:
            return read_from_maps(maps, self.scales, rows, levels, self.output_size, self.sampling_ratio)
        places = [np.flatnonzero(levels == level) for level in range(len(maps))]
        found = [roi_align(m, tensor_of(rows[p]), self.output_size, s) for m, s, p in zip(maps, self.scales, places, strict=True)]
        return cat(found)[tensor_of(np.argsort(np.concatenate(places), kind="stable")).to(found[0].device)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(featmap_names={self.featmap_names}, output_size={self.output_size}, sampling_ratio={self.sampling_ratio})"
