"""Boxes that detectors start from, laid out over feature maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import nn
from ....tensor import Tensor
from ...images import tensor_of
from .image_list import ImageList


def _nested(values: Any) -> tuple:
    return tuple(values) if isinstance(values[0], (list, tuple)) else tuple((v,) for v in values)


def _on(device: Any, boxes: np.ndarray) -> Tensor:
    return tensor_of(np.ascontiguousarray(boxes, np.float32)).to(device)


class AnchorGenerator(nn.Module):
    """Boxes of every size and shape around each place of each map. sizes, aspect_ratios (height / width): one tuple for each map."""

    def __init__(self, sizes: Any = ((128, 256, 512),), aspect_ratios: Any = ((0.5, 1.0, 2.0),)) -> None:
        super().__init__()
        self.sizes = _nested(sizes)
        self.aspect_ratios = tuple(aspect_ratios) if isinstance(aspect_ratios[0], (list, tuple)) else (tuple(aspect_ratios),) * len(self.sizes)
        self.cell_anchors = [self.generate_anchors(s, r) for s, r in zip(self.sizes, self.aspect_ratios, strict=False)]

    def generate_anchors(self, scales: Any, aspect_ratios: Any, dtype: Any = None, device: Any = None) -> Tensor:
        """Boxes [ratios * scales, 4] around the origin, in whole pixels."""
        tall = np.sqrt(np.asarray(aspect_ratios, np.float32))
        sizes = np.asarray(scales, np.float32)
        width, height = ((ratio[:, None] * sizes).reshape(-1) for ratio in (1 / tall, tall))
        made = _on(device or "cpu", np.round(np.stack([-width, -height, width, height], 1) / 2))
        return made if dtype is None else made.to(dtype)

    def set_cell_anchors(self, dtype: Any, device: Any) -> None:
        """The boxes around the origin become that dtype's, on that device."""
        self.cell_anchors = [cell.to(dtype=dtype, device=device) for cell in self.cell_anchors]

    def num_anchors_per_location(self) -> list[int]:
        """How many boxes a place of each map has."""
        return [len(s) * len(r) for s, r in zip(self.sizes, self.aspect_ratios, strict=False)]

    def grid_anchors(self, grid_sizes: list[Any], strides: list[Any]) -> list[Tensor]:
        """For each map its boxes [height * width * boxes of a place, 4]."""
        if not len(grid_sizes) == len(strides) == len(self.cell_anchors):
            raise AssertionError(
                "Anchors should be Tuple[Tuple[int]] because each feature map could potentially have different sizes and aspect ratios. "
                "There needs to be a match between the number of feature maps passed and the number of sizes / aspect ratios specified."
            )
        found = []
        for (height, width), (down, across), cell in zip(grid_sizes, strides, self.cell_anchors, strict=True):
            x = np.tile(np.arange(width, dtype=np.int32) * int(across), height)
            y = np.repeat(np.arange(height, dtype=np.int32) * int(down), width)
            boxes = np.stack([x, y, x, y], 1)[:, None] + np.asarray(cell._value(), np.float32)
            found.append(_on(cell.device, boxes.reshape(-1, 4)).to(cell.dtype))
        return found

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """For each image the boxes of all maps, one after the other."""
        grids = [tuple(m.shape[-2:]) for m in feature_maps]
        whole = image_list.tensors.shape[-2:]
        self.set_cell_anchors(feature_maps[0].dtype, feature_maps[0].device)
        boxes = joined(self.grid_anchors(grids, [(whole[0] // h, whole[1] // w) for h, w in grids]))
        return [boxes for _ in image_list.image_sizes]


def joined(parts: list[Tensor]) -> Tensor:
    """Boxes on the host one after the other: computed at once."""
    return tensor_of(np.concatenate([p._value() for p in parts])).to(parts[0].device)


class DefaultBoxGenerator(nn.Module):
    """SSD's boxes (https://arxiv.org/abs/1512.02325): for each map a square, a square between this scale and the next, and each ratio both ways.

    scales: of each map and one beyond the last, in parts of the image; evenly from min_ratio to max_ratio by default.
    steps: pixels of the image from one place to the next, of each map; as the map's size says by default.
    """

    def __init__(
        self, aspect_ratios: list[list[int]], min_ratio: float = 0.15, max_ratio: float = 0.9, scales: list[float] | None = None,
        steps: list[int] | None = None, clip: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if steps is not None and len(aspect_ratios) != len(steps):
            raise ValueError("aspect_ratios and steps should have the same length")
        self.aspect_ratios, self.steps, self.clip = aspect_ratios, steps, clip
        count = len(aspect_ratios)
        if scales is None and count > 1:
            scales = [min_ratio + (max_ratio - min_ratio) * k / (count - 1.0) for k in range(count)] + [1.0]
        self.scales = scales if scales is not None else [min_ratio, max_ratio]
        self._wh_pairs = self._generate_wh_pairs(count)

    def _generate_wh_pairs(self, num_outputs: int, dtype: Any = None, device: Any = None) -> list[Tensor]:
        found = []
        for ratios, scale, following in zip(self.aspect_ratios, self.scales[:num_outputs], self.scales[1:], strict=False):
            between = math.sqrt(scale * following)
            pairs = [[scale, scale], [between, between]]
            for ratio in ratios:
                wide, high = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
                pairs += [[wide, high], [high, wide]]
            found.append(_on(device or "cpu", np.asarray(pairs)))
        return found

    def num_anchors_per_location(self) -> list[int]:
        """How many boxes a place of each map has."""
        return [2 + 2 * len(r) for r in self.aspect_ratios]

    def _grid_default_boxes(self, grid_sizes: list[Any], image_size: Any) -> np.ndarray:
        """Centres and sizes [all places of all maps, 4], in parts of the image."""
        found = []
        for k, (height, width) in enumerate(grid_sizes):
            down, across = (height, width) if self.steps is None else (side / self.steps[k] for side in image_size)
            x, y = ((np.arange(n) + np.float32(0.5)).astype(np.float32) / np.float32(per) for n, per in ((width, across), (height, down)))
            pairs = np.asarray(self._wh_pairs[k]._value(), np.float32)
            sizes = pairs.clip(0, 1) if self.clip else pairs
            centres = np.stack([np.tile(x, height), np.repeat(y, width)], 1)
            found.append(np.concatenate([np.repeat(centres, len(sizes), 0), np.tile(sizes, (height * width, 1))], 1))
        return np.concatenate(found)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(aspect_ratios={self.aspect_ratios}, clip={self.clip}, scales={self.scales}, steps={self.steps})"

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """For each image the boxes of all maps as corners, in pixels."""
        grids = [tuple(m.shape[-2:]) for m in feature_maps]
        height, width = image_list.tensors.shape[-2:]
        placed = self._grid_default_boxes(grids, (height, width))
        centres, halves = placed[:, :2], np.float32(0.5) * placed[:, 2:]
        corners = np.concatenate([centres - halves, centres + halves], 1) * np.asarray([width, height] * 2, np.float32)
        boxes = _on(feature_maps[0].device, corners).to(feature_maps[0].dtype)
        return [boxes for _ in image_list.image_sizes]
