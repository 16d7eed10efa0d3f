"""Poisson: counts of events of a given rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..composites import xlogy
from ..grad_mode import no_grad
from ..random_tensors import poisson
from ..tensor import Tensor
from . import constraints
from .exponential_family import ExponentialFamily
from .parameters import broadcast_all


class Poisson(ExponentialFamily):
    """Poisson(rate)."""

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer
    _copied_ = ("rate",)

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """rate."""
        return self.rate

    @property
    def mode(self) -> Tensor:
        """The rate's whole part."""
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        """rate."""
        return self.rate

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Counts, of the rate's dtype."""
        with no_grad():
            return poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log chances."""
        if self._validate_args:
            self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return xlogy(value, rate) - rate - (value + 1).lgamma()
