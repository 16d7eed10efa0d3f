"""Which of the true boxes a box is compared with, and which boxes count in a loss. Decided on the host: no gradient goes through choices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....random_tensors import randperm
from ....tensor import Tensor
from ...images import tensor_of
from .coding import BoxCoder, BoxLinearCoder, encode_boxes  # noqa: F401  # detection._utils has both


def array_of(x: Tensor) -> np.ndarray:
    """The numbers of a tensor on the host."""
    return np.asarray(x.detach()._value())


def ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Common area over the union's, [n, m], of boxes [n, 4] and [m, 4]."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    sides = np.clip(high - low, 0, None)
    common = sides[..., 0] * sides[..., 1]
    area_a, area_b = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b))
    with np.errstate(invalid="ignore"):
        return common / (area_a[:, None] + area_b - common)


class Matcher:
    """The true box each box overlaps most, BELOW_LOW_THRESHOLD or BETWEEN_THRESHOLDS.

    allow_low_quality_matches: a box that overlaps a true box as much as any is matched with the one it overlaps most in any case.
    """

    BELOW_LOW_THRESHOLD = -1
    BETWEEN_THRESHOLDS = -2

    def __init__(self, high_threshold: float, low_threshold: float, allow_low_quality_matches: bool = False) -> None:
        if low_threshold > high_threshold:
            raise AssertionError("low_threshold should be <= high_threshold")
        self.high_threshold, self.low_threshold = high_threshold, low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def matches(self, quality: np.ndarray) -> np.ndarray:
        """Of qualities [true boxes, boxes] the row of each column."""
        if quality.size == 0:
            which = "ground-truth" if quality.shape[0] == 0 else "proposal"
            raise ValueError(f"No {which} boxes available for one of the images during training")
        best, rows = quality.max(0), quality.argmax(0)
        found = np.where(best < self.low_threshold, self.BELOW_LOW_THRESHOLD, rows)
        found[(best >= self.low_threshold) & (best < self.high_threshold)] = self.BETWEEN_THRESHOLDS
        if self.allow_low_quality_matches:
            kept = (quality == quality.max(1, keepdims=True)).any(0)
            found[kept] = rows[kept]
        return found.astype(np.int64)

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """Of qualities [true boxes, boxes] the row of each column."""
        return tensor_of(self.matches(array_of(match_quality_matrix))).to(match_quality_matrix.device)


class SSDMatcher(Matcher):
    """One threshold; every true box has its best box."""

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold, threshold)

    def matches(self, quality: np.ndarray) -> np.ndarray:
        """Of qualities [true boxes, boxes] the row of each column."""
        found = super().matches(quality)
        found[quality.argmax(1)] = np.arange(len(quality))
        return found


class BalancedPositiveNegativeSampler:
    """Random boxes of each image, positive_fraction of them positive where there are as many."""

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image, self.positive_fraction = batch_size_per_image, positive_fraction

    def choose(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of labels [n] (above 0 positive, 0 negative, below 0 neither) which ones are chosen: positive and negative indices."""
        positive, negative = np.flatnonzero(labels >= 1), np.flatnonzero(labels == 0)
        count = min(len(positive), int(self.batch_size_per_image * self.positive_fraction))
        rest = min(len(negative), self.batch_size_per_image - count)
        first = positive[array_of(randperm(len(positive)))[:count]]
        return first, negative[array_of(randperm(len(negative)))[:rest]]

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each image two masks of its labels: the positive and the negative ones chosen."""
        masks: tuple[list[Any], list[Any]] = ([], [])
        for labels in matched_idxs:
            for chosen, found in zip(self.choose(array_of(labels)), masks, strict=True):
                mask = np.zeros(labels.shape, np.uint8)
                mask[chosen] = 1
                found.append(tensor_of(mask).to(labels.device))
        return masks
