"""Gumbel: largest of many exponential numbers."""

from __future__ import annotations

import math
from typing import Any

from ..limits import finfo
from ..tensor import Tensor
from . import constraints
from .parameters import EULER, broadcast_all
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, ExpTransform
from .uniform import Uniform


class Gumbel(TransformedDistribution):
    """Gumbel(loc, scale)."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _copied_ = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        limits, shape = finfo(self.loc.dtype), self.loc.shape
        # away from 0 and 1, where the logarithms end
        base = Uniform(self.loc.new_full(shape, limits.tiny), self.loc.new_full(shape, 1 - limits.eps), validate_args=validate_args)
        turned = AffineTransform(loc=0, scale=-self.scale.new_ones(shape))
        steps = [ExpTransform().inv, turned, ExpTransform().inv, AffineTransform(loc=self.loc, scale=-self.scale)]
        super().__init__(base, steps, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return (y - y.exp()) - self.scale.log()

    @property
    def mean(self) -> Tensor:
        """loc + scale * Euler's constant."""
        return self.loc + self.scale * EULER

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """scale pi / sqrt 6."""
        return (math.pi / math.sqrt(6)) * self.scale

    @property
    def variance(self) -> Tensor:
        """Its square."""
        return self.stddev.pow(2)

    def entropy(self) -> Tensor:
        """log scale + 1 + Euler's constant."""
        return self.scale.log() + (1 + EULER)
