"""Position-sensitive regions: every bin of a box is an average over channels of its own (https://arxiv.org/abs/1605.06409)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn
from ..tensor import Tensor
from .images import tensor_of
from .regions import _Boxes, _by_image, _pair, _rows, averages


def _weighted(input: Tensor, rows: np.ndarray, down: np.ndarray, across: np.ndarray) -> Tensor:
    """[k, c / bins, high, wide]: pixels weighted by ``down`` [k, high, h] and ``across`` [k, wide, w], each bin in its own channels."""
    high, wide = down.shape[1], across.shape[1]
    if input.shape[1] % (high * wide) != 0:
        raise RuntimeError("input channels must be a multiple of pooling height * pooling width")

    def pool(image: Tensor, own: np.ndarray) -> Tensor:
        c, h, w = image.shape[0] // (high * wide), *image.shape[1:]
        planes = image.reshape(c, high, wide, h, w).permute(1, 3, 0, 2, 4).reshape(high, h, c * wide * w)
        lines = tensor_of(down[own].transpose(1, 0, 2)).to(image) @ planes  # [high, k, c * wide * w]
        lines = lines.reshape(high, len(own), c, wide, w).permute(3, 1, 0, 2, 4).reshape(wide, len(own), high * c, w)
        found = lines @ tensor_of(across[own].transpose(1, 0, 2)[..., None]).to(image)
        return found.reshape(wide, len(own), high, c).permute(1, 3, 2, 0)

    return _by_image(input, rows, input.shape[1] // (high * wide), (high, wide), pool)


def ps_roi_align(input: Tensor, boxes: _Boxes, output_size: Any, spatial_scale: float = 1.0, sampling_ratio: int = -1) -> Tensor:
    """`roi_align`, [k, c / (height * width), height, width]: each bin reads its own channels (https://arxiv.org/abs/1711.07264)."""
    rows, (high, wide) = _rows(boxes), _pair(output_size)
    corner = rows[:, 1:] * np.float32(spatial_scale) - np.float32(0.5)
    size = corner[:, 2:] - corner[:, :2]
    down = averages(corner[:, 1], size[:, 1], high, sampling_ratio, input.shape[2])
    across = averages(corner[:, 0], size[:, 0], wide, sampling_ratio, input.shape[3])
    found = _weighted(input, rows, down, across)
    if sampling_ratio > 0 or (size > 0).all():
        return found
    of_nothing = np.where((size > 0).all(1), 0, np.nan).astype(np.float32)  # averages without a sample
    return found + tensor_of(of_nothing[:, None, None, None]).to(found)


def _shares(first: np.ndarray, last: np.ndarray, bins: int, length: int) -> np.ndarray:
    """What each pixel of a side counts in the average of each bin, [k, bins, length]; the last pixel of the map counts nowhere."""
    step = np.maximum(last - first, 1).astype(np.float32) / np.float32(bins)
    which = np.arange(bins, dtype=np.float32)
    low = np.clip(np.floor(which * step[:, None] + first[:, None]), 0, length - 1)
    high = np.clip(np.ceil((which + 1) * step[:, None] + first[:, None]), 0, length - 1)
    pixels = np.arange(length)
    inside = (pixels >= low[..., None]) & (pixels < high[..., None])
    return (inside / np.maximum(high - low, 1)[..., None]).astype(np.float32)


def ps_roi_pool(input: Tensor, boxes: _Boxes, output_size: Any, spatial_scale: float = 1.0) -> Tensor:
    """Averages of whole pixels, [k, c / (height * width), height, width]: each bin reads its own channels, 0 where it has no pixel.

    As in torchvision the last row and column of the map count nowhere; there their gradients are not those of the result, here they are.
    """
    rows, (high, wide) = _rows(boxes), _pair(output_size)
    scaled = rows[:, 1:] * np.float32(spatial_scale)
    corner = np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))  # as C's round
    down = _shares(corner[:, 1], corner[:, 3], high, input.shape[2])
    return _weighted(input, rows, down, _shares(corner[:, 0], corner[:, 2], wide, input.shape[3]))


class PSRoIAlign(nn.Module):
    """`ps_roi_align` as a layer."""

    def __init__(self, output_size: Any, spatial_scale: float, sampling_ratio: int) -> None:
        super().__init__()
        self.output_size, self.spatial_scale, self.sampling_ratio = output_size, spatial_scale, sampling_ratio

    def forward(self, input: Tensor, rois: _Boxes) -> Tensor:
        """[k, c / (height * width), height, width]."""
        return ps_roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, sampling_ratio={self.sampling_ratio})"


class PSRoIPool(nn.Module):
    """`ps_roi_pool` as a layer."""

    def __init__(self, output_size: Any, spatial_scale: float) -> None:
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale

    def forward(self, input: Tensor, rois: _Boxes) -> Tensor:
        """[k, c / (height * width), height, width]."""
        return ps_roi_pool(input, rois, self.output_size, self.spatial_scale)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale})"
