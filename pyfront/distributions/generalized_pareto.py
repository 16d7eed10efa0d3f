"""Generalized Pareto: what exceeds a threshold, with tails from bounded over exponential to heavy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..random_tensors import rand
from ..selection import where
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .parameters import broadcast_all


class GeneralizedPareto(Distribution):
    """GeneralizedPareto(loc, scale, concentration): exponential at a concentration of 0."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        shape = Size(batch_shape)
        other.loc, other.scale, other.concentration = [t.expand(shape) for t in (self.loc, self.scale, self.concentration)]
        Distribution.__init__(other, shape, validate_args=False)
        other._validate_args = self._validate_args
        return other

    def _bend(self) -> tuple[Tensor, Tensor]:
        """Where the concentration is 0, and one to divide by: 1 there."""
        straight = self.concentration.abs() <= 1e-8
        return straight, where(straight, 1.0, self.concentration)

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Quantiles of uniform numbers."""
        return self.icdf(rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        (straight, c), z = self._bend(), (value - self.loc) / self.scale
        power = 1 / c + 1
        return -self.scale.log() - where(straight, z, where(power == 0, 0.0, power * (c * z).log1p()))

    def log_survival_function(self, value: Tensor) -> Tensor:
        """log P(X > value)."""
        if self._validate_args:
            self._validate_sample(value)
        (straight, c), z = self._bend(), (value - self.loc) / self.scale
        return where(straight, -z, -(c * z).log1p() / c)

    def log_cdf(self, value: Tensor) -> Tensor:
        """log P(X <= value)."""
        return (-self.log_survival_function(value).exp()).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value)."""
        return self.log_cdf(value).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles."""
        (straight, c), above = self._bend(), (-value).log1p()
        return self.loc + self.scale * where(straight, -above, (-c * above).expm1() / c)

    def _where_finite(self, most: float, result: Any) -> Tensor:
        """A moment of the concentration where that is below ``most``, else NaN."""
        there = self.concentration < most
        return where(there, result(where(there, self.concentration, most / 2)), math.nan)

    @property
    def mean(self) -> Tensor:
        """loc + scale / (1 - concentration), NaN from a concentration of 1 on."""
        return self._where_finite(1.0, lambda c: self.loc + self.scale / (1 - c))

    @property
    def variance(self) -> Tensor:
        """NaN from a concentration of 1/2 on."""
        return self._where_finite(0.5, lambda c: self.scale.pow(2) / ((1 - c).pow(2) * (1 - 2 * c)))

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    def entropy(self) -> Tensor:
        """log scale + concentration + 1."""
        return self.scale.log() + self.concentration + 1

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """From loc on; bounded where the concentration is negative."""
        return constraints.interval(self.loc, where(self.concentration < 0, self.loc - self.scale / self.concentration, math.inf))
