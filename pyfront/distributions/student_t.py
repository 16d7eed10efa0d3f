"""StudentT: normal numbers of uncertain width."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..selection import where
from ..tensor import Tensor
from . import constraints
from .chi2 import Chi2
from .distribution import Distribution
from .normal import standard_normal
from .parameters import broadcast_all


class StudentT(Distribution):
    """StudentT(df, loc, scale)."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _copied_ = ("df", "loc", "scale")

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """loc; NaN up to one degree of freedom."""
        return where(self.df <= 1, math.nan, self.loc)

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale ** 2 df / (df - 2); infinite up to 2, NaN up to 1 degree of freedom."""
        known = self.df > 2
        spread = self.scale.pow(2) * self.df / (where(known, self.df, 3.0) - 2)
        return where(known, spread, where(self.df > 1, math.inf, math.nan).to(spread.dtype))

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Normal numbers over the root of a chi-square one."""
        normal = standard_normal(self._extended_shape(sample_shape), self.df)
        width = Chi2(self.df, validate_args=False).rsample(sample_shape)
        return self.loc + self.scale * (normal * (width / self.df).rsqrt())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        y, half = (value - self.loc) / self.scale, 0.5 * self.df
        norm = self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + half.lgamma() - (0.5 * (self.df + 1.0)).lgamma()
        return -0.5 * (self.df + 1.0) * (y**2.0 / self.df).log1p() - norm

    def entropy(self) -> Tensor:
        """Closed form."""
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        beta = half.lgamma() + math.lgamma(0.5) - more.lgamma()
        return self.scale.log() + more * (more.digamma() - half.digamma()) + 0.5 * self.df.log() + beta
