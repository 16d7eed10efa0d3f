"""FisherSnedecor: ratios of two chi-square numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..limits import finfo
from ..selection import where
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .gamma import Gamma
from .parameters import broadcast_all


class FisherSnedecor(Distribution):
    """FisherSnedecor(df1, df2): degrees of freedom above and below."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True
    _copied_ = ("df1", "df2")

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """df2 / (df2 - 2); NaN up to 2."""
        return where(self.df2 <= 2, math.nan, self.df2) / (self.df2 - 2)

    @property
    def mode(self) -> Tensor:
        """NaN up to a df1 of 2."""
        return where(self.df1 <= 2, math.nan, (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2))

    @property
    def variance(self) -> Tensor:
        """NaN up to a df2 of 4."""
        low = where(self.df2 <= 4, math.nan, self.df2)
        return 2 * low.pow(2) * (self.df1 + low - 2) / (self.df1 * (low - 2).pow(2) * (low - 4))

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """One gamma number over another."""
        shape = tuple(sample_shape)
        above, below = [Gamma(df * 0.5, df, validate_args=False).rsample(shape) for df in (self.df1, self.df2)]
        return (above / below).clamp(min=finfo(below.dtype).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        a, b, ratio = self.df1 * 0.5, self.df2 * 0.5, self.df1 / self.df2
        norm = (a + b).lgamma() - a.lgamma() - b.lgamma()
        return norm + a * ratio.log() + (a - 1) * value.log() - (a + b) * (ratio * value).log1p()
