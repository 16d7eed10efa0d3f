"""Cauchy: ratios of two normal numbers; no mean."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..tensor import Tensor
from .distribution import Distribution
from .location_scale import LocationScale


class Cauchy(LocationScale, Distribution):
    """Cauchy(loc, scale): median and half width."""

    @property
    def mean(self) -> Tensor:
        """NaN."""
        return self.loc.new_full(self._extended_shape(), math.nan)

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return self.loc.new_full(self._extended_shape(), math.inf)

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """loc + standard draw * scale."""
        return self.loc + self.loc.new_empty(self._extended_shape(sample_shape)).cauchy_() * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        return -math.log(math.pi) - self.scale.log() - (((value - self.loc) / self.scale) ** 2).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        """Chances of at most the value."""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles."""
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Tensor:
        """log 4 pi + log scale."""
        return math.log(4 * math.pi) + self.scale.log()
