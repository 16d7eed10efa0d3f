"""Weibull: powers of exponential numbers."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import constraints
from .exponential import Exponential
from .parameters import EULER, broadcast_all
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, PowerTransform


class Weibull(TransformedDistribution):
    """Weibull(scale, concentration)."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive
    _copied_ = ("scale", "concentration")

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        base = Exponential(self.scale.new_ones(self.scale.shape), validate_args=validate_args)
        steps = [PowerTransform(exponent=self._share), AffineTransform(loc=0, scale=self.scale)]
        super().__init__(base, steps, validate_args=validate_args)

    @property
    def _share(self) -> Tensor:
        return self.concentration.reciprocal()

    @property
    def mean(self) -> Tensor:
        """scale gamma(1 + 1 / concentration)."""
        return self.scale * (1 + self._share).lgamma().exp()

    @property
    def mode(self) -> Tensor:
        """scale ((k - 1) / k) ** (1 / k)."""
        return self.scale * ((self.concentration - 1) / self.concentration) ** self._share

    @property
    def variance(self) -> Tensor:
        """scale ** 2 (gamma(1 + 2 / k) - gamma(1 + 1 / k) ** 2)."""
        return self.scale.pow(2) * ((1 + 2 * self._share).lgamma().exp() - (2 * (1 + self._share).lgamma()).exp())

    def entropy(self) -> Tensor:
        """Euler's constant (1 - 1 / k) + log (scale / k) + 1."""
        return EULER * (1 - self._share) + (self.scale * self._share).log() + 1
