"""Kumaraswamy: like Beta, by powers of uniform numbers."""

from __future__ import annotations

import math
from typing import Any

from ..selection import where
from ..tensor import Tensor
from . import constraints
from .parameters import EULER, broadcast_all
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, PowerTransform
from .uniform import Uniform


class Kumaraswamy(TransformedDistribution):
    """Kumaraswamy(concentration1, concentration0)."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True
    _copied_ = ("concentration1", "concentration0")

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = a, b = broadcast_all(concentration1, concentration0)
        base = Uniform(b.new_zeros(b.shape), b.new_ones(b.shape), validate_args=validate_args)
        steps = [PowerTransform(b.reciprocal()), AffineTransform(loc=1.0, scale=-1.0), PowerTransform(a.reciprocal())]
        super().__init__(base, steps, validate_args=validate_args)

    def _moment(self, n: int) -> Tensor:
        start = 1 + n / self.concentration1
        b = self.concentration0
        return b * (start.lgamma() + b.lgamma() - (start + b).lgamma()).exp()

    @property
    def mean(self) -> Tensor:
        """First moment."""
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        """NaN where a concentration is below 1."""
        a, b = self.concentration1, self.concentration0
        log_mode = b.reciprocal() * (-b).log1p() - (-b * a).log1p()
        return where((b < 1) | (a < 1), math.nan, log_mode).exp()

    @property
    def variance(self) -> Tensor:
        """Second moment less the square of the first."""
        return self._moment(2) - self.mean.pow(2)

    def entropy(self) -> Tensor:
        """Closed form."""
        a, b = self.concentration1, self.concentration0
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * ((b + 1).digamma() + EULER) - a.log() - b.log()
