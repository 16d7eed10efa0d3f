"""Regions: boxes of a feature map brought to one size, by averages of samples (roi_align) or by maxima (roi_pool)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn
from ..joining import cat
from ..tensor import Tensor
from .images import tensor_of

_Boxes = Any  # Tensor [k, 5] (image, x1, y1, x2, y2), or one Tensor [k, 4] for each image


def _rows(boxes: _Boxes) -> np.ndarray:
    """Boxes as [k, 5] on the host: no gradient goes through them."""
    if isinstance(boxes, (list, tuple)):
        if not all(b.shape[1] == 4 for b in boxes):
            raise AssertionError("The shape of the tensor in the boxes list is not correct as List[Tensor[L, 4]]")
        parts = [np.asarray(b.detach()._value(), np.float32) for b in boxes]
        numbers = np.concatenate([np.full((len(p), 1), i, np.float32) for i, p in enumerate(parts)])
        return np.concatenate([numbers, np.concatenate(parts)], 1)
    if not isinstance(boxes, Tensor):
        raise AssertionError("boxes is expected to be a Tensor[L, 5] or a List[Tensor[K, 4]]")
    if boxes.shape[1] != 5:
        raise AssertionError("The boxes tensor shape is not correct as Tensor[K, 5]")
    return np.asarray(boxes.detach()._value(), np.float32)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _by_image(input: Tensor, rows: np.ndarray, channels: int, shape: tuple[int, int], pool: Any) -> Tensor:
    """[k, channels, *shape]: ``pool(image [c, h, w], which rows are its)`` for every image, in the order of the rows."""
    numbers = rows[:, 0].astype(np.int64)
    found, order = [], []
    for image in np.unique(numbers):
        own = np.flatnonzero(numbers == image)
        found.append(pool(input[int(image)], own))
        order.append(own)
    if not found:
        return input[:0, :channels, :1, :1].expand(0, channels, *shape)  # its gradient is zero, not none
    back = np.argsort(np.concatenate(order), kind="stable")
    together = cat(found) if len(found) > 1 else found[0]
    return together if (back == np.arange(len(back))).all() else together[tensor_of(back).to(together.device)]


def _samples(start: np.ndarray, size: np.ndarray, bins: int, samples: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The elements of a side of the map that the samples of each bin lie between, and what each counts in the bin's average: [k, bins, 2 samples]."""
    step = (size / np.float32(bins))[:, None, None]
    inner = (np.arange(samples, dtype=np.float32) + np.float32(0.5)) * step / np.float32(samples)
    at = start[:, None, None] + np.arange(bins, dtype=np.float32)[:, None] * step + inner
    inside, at = (at >= -1) & (at <= length), np.maximum(at, 0)
    low = np.minimum(at.astype(np.int64), length - 1)
    part = np.where(low >= length - 1, 0, at - low).astype(np.float32)
    counts = np.concatenate([inside * (1 - part), inside * part], 2) / np.float32(samples)
    return np.concatenate([low, np.minimum(low + 1, length - 1)], 2), counts.astype(np.float32)


def read_from_maps(
    maps: list[Tensor], scales: list[float], rows: np.ndarray, levels: np.ndarray, output_size: tuple[int, int], samples: int,
    aligned: bool = False,
) -> Tensor:  # fmt: skip
    """Averages of samples x samples places in each bin, [k, c, *output_size], of boxes [k, 5], each in its own one of the maps [n, c, h, w].

    A sum of rows of one table, so that the program is the same for every distribution of the boxes over images and maps.
    scales: of each map, its size over the image's.
    """
    (high, wide), channels, first = output_size, maps[0].shape[1], 0
    places = np.zeros((len(rows), high, wide, 2 * samples, 2 * samples), np.int64)
    counts = np.zeros(places.shape, np.float32)
    for level, (map_, scale) in enumerate(zip(maps, scales, strict=True)):
        n, _, h, w = map_.shape
        own = np.flatnonzero(levels == level)
        corner = rows[own, 1:] * np.float32(scale) - np.float32(0.5 if aligned else 0)
        size = corner[:, 2:] - corner[:, :2] if aligned else np.maximum(corner[:, 2:] - corner[:, :2], 1)
        down, by_rows = _samples(corner[:, 1], size[:, 1], high, samples, h)
        across, by_columns = _samples(corner[:, 0], size[:, 0], wide, samples, w)
        images = first + rows[own, 0].astype(np.int64) * (h * w)
        places[own] = images[:, None, None, None, None] + down[:, :, None, :, None] * w + across[:, None, :, None, :]
        counts[own] = by_rows[:, :, None, :, None] * by_columns[:, None, :, None, :]
        first += n * h * w
    flat = [map_.permute(0, 2, 3, 1).reshape(-1, channels) for map_ in maps]
    found = _sums_of_rows(cat(flat) if len(flat) > 1 else flat[0], places.reshape(-1, (2 * samples) ** 2), counts.reshape(-1, (2 * samples) ** 2))
    return found.reshape(len(rows), high, wide, channels).permute(0, 3, 1, 2)


def _sums_of_rows(table: Tensor, which: np.ndarray, counts: np.ndarray) -> Tensor:
    """[n, c]: of each n the rows which [n, t] of a table [rows, c], each times what it counts."""
    places = tensor_of(np.ascontiguousarray(which.T)).to(table.device)
    weights = tensor_of(np.ascontiguousarray(counts.T)[..., None]).to(device=table.device, dtype=table.dtype)
    found = table.index_select(0, places[0]) * weights[0]
    for k in range(1, which.shape[1]):
        found = found + table.index_select(0, places[k]) * weights[k]
    return found


def averages(start: np.ndarray, size: np.ndarray, bins: int, samples: int, length: int) -> np.ndarray:
    """What each element of a side of the map counts in the average of each bin: [k, bins, length], between neighbours linearly."""
    weights = np.zeros((len(start), bins, length), np.float32)
    step = size / np.float32(bins)
    counts = np.full(len(start), samples) if samples > 0 else np.ceil(step).astype(np.int64)
    for k, count in enumerate(counts):
        if count <= 0:
            continue
        at = start[k] + np.arange(bins, dtype=np.float32)[:, None] * step[k] + (np.arange(count, dtype=np.float32) + np.float32(0.5)) * step[k] / np.float32(count)
        inside, at = (at >= -1) & (at <= length), np.maximum(at, 0)
        low = np.minimum(at.astype(np.int64), length - 1)
        high = np.minimum(low + 1, length - 1)
        part = np.where(low >= length - 1, 0, at - low).astype(np.float32)
        bin_ = np.broadcast_to(np.arange(bins)[:, None], at.shape)
        np.add.at(weights[k], (bin_, low), inside * (1 - part) / np.float32(count))
        np.add.at(weights[k], (bin_, high), inside * part / np.float32(count))
    return weights


def roi_align(
    input: Tensor, boxes: _Boxes, output_size: Any, spatial_scale: float = 1.0, sampling_ratio: int = -1, aligned: bool = False
) -> Tensor:  # fmt: skip
    """Averages of samples between pixels, [k, c, *output_size], of boxes of [n, c, h, w] (https://arxiv.org/abs/1703.06870).

    sampling_ratio: samples along each side of a bin; <= 0: as many as it has pixels. aligned: pixels are at their centres.
    """
    rows, (high, wide) = _rows(boxes), _pair(output_size)
    if sampling_ratio > 0:
        return read_from_maps([input], [spatial_scale], rows, np.zeros(len(rows), np.int64), (high, wide), sampling_ratio, aligned)
    corner = rows[:, 1:] * np.float32(spatial_scale) - np.float32(0.5 if aligned else 0)
    size = corner[:, 2:] - corner[:, :2]
    size = size if aligned else np.maximum(size, 1)
    down = averages(corner[:, 1], size[:, 1], high, sampling_ratio, input.shape[2])
    across = averages(corner[:, 0], size[:, 0], wide, sampling_ratio, input.shape[3])

    def pool(image: Tensor, own: np.ndarray) -> Tensor:
        c, h, w = image.shape
        by_rows = tensor_of(down[own].reshape(-1, h)).to(image) @ image.permute(1, 0, 2).reshape(h, c * w)
        by_both = by_rows.reshape(len(own), high * c, w) @ tensor_of(across[own].transpose(0, 2, 1)).to(image)
        return by_both.reshape(len(own), high, c, wide).permute(0, 2, 1, 3)

    return _by_image(input, rows, input.shape[1], (high, wide), pool)


def _bins(first: np.ndarray, last: np.ndarray, bins: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of each bin, [k, bins, most] (the first again where there are fewer), and which bins have none."""
    size = np.maximum(last - first + 1, 1).astype(np.float32)
    step = size / np.float32(bins)
    which = np.arange(bins, dtype=np.float32)
    low = np.clip(np.floor(which * step[:, None]).astype(np.int64) + first[:, None], 0, length)
    high = np.clip(np.ceil((which + 1) * step[:, None]).astype(np.int64) + first[:, None], 0, length)
    most = max(int((high - low).max(initial=1)), 1)
    pixels = low[..., None] + np.arange(most)
    pixels = np.where(pixels < high[..., None], pixels, low[..., None])
    return np.minimum(pixels, length - 1), high <= low


def roi_pool(input: Tensor, boxes: _Boxes, output_size: Any, spatial_scale: float = 1.0) -> Tensor:
    """Maxima, [k, c, *output_size], of boxes of [n, c, h, w] (https://arxiv.org/abs/1504.08083): 0 where a bin is empty."""
    rows, (high, wide) = _rows(boxes), _pair(output_size)
    scaled = rows[:, 1:] * np.float32(spatial_scale)
    corner = (np.sign(scaled) * np.floor(np.abs(scaled) + np.float32(0.5))).astype(np.int64)  # as C's round
    down, no_rows = _bins(corner[:, 1], corner[:, 3], high, input.shape[2])
    across, no_columns = _bins(corner[:, 0], corner[:, 2], wide, input.shape[3])
    empty = no_rows[:, :, None] | no_columns[:, None, :]

    def pool(image: Tensor, own: np.ndarray) -> Tensor:
        c, h, w = image.shape
        k = len(own)
        columns = image.index_select(2, tensor_of(across[own].reshape(-1)).to(image.device)).reshape(c, h, k, wide, -1).max(-1).values
        lines = tensor_of(down[own].reshape(k, 1, -1)).to(image.device)  # of each box's own columns
        each = columns.permute(2, 0, 3, 1).reshape(k, c * wide, h).gather(2, lines.expand(k, c * wide, lines.shape[2]))
        found = each.reshape(k, c, wide, high, -1).max(-1).values.permute(0, 1, 3, 2)
        return found.masked_fill(tensor_of(empty[own][:, None]).to(image.device), 0.0)

    return _by_image(input, rows, input.shape[1], (high, wide), pool)


class RoIAlign(nn.Module):
    """`roi_align` as a layer."""

    def __init__(self, output_size: Any, spatial_scale: float, sampling_ratio: int, aligned: bool = False) -> None:
        super().__init__()
        self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned = output_size, spatial_scale, sampling_ratio, aligned

    def forward(self, input: Tensor, rois: _Boxes) -> Tensor:
        """[k, c, *output_size]."""
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned})"
        )


class RoIPool(nn.Module):
    """`roi_pool` as a layer."""

    def __init__(self, output_size: Any, spatial_scale: float) -> None:
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale

    def forward(self, input: Tensor, rois: _Boxes) -> Tensor:
        """[k, c, *output_size]."""
        return roi_pool(input, rois, self.output_size, self.spatial_scale)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(output_size={self.output_size}, spatial_scale={self.spatial_scale})"
