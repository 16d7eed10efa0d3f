"""Uniform: the same density everywhere between two bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..random_tensors import rand
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .parameters import broadcast_all


class Uniform(Distribution):
    """Uniform(low, high): values in [low, high)."""

    has_rsample = True
    _copied_ = ("low", "high")

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """Each bound is one for the other."""
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        """Between the bounds."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """The middle."""
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        """No value is more probable: NaN."""
        return self.high * float("nan")

    @property
    def stddev(self) -> Tensor:
        """Width over the root of 12."""
        return (self.high - self.low) / 12**0.5

    @property
    def variance(self) -> Tensor:
        """Width squared over 12."""
        return (self.high - self.low).pow(2) / 12

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """low + noise * width."""
        noise = rand(size=self._extended_shape(sample_shape), dtype=self.low.dtype, device=self.low.device)
        return self.low + noise * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        """-log width inside, -inf outside."""
        if self._validate_args:
            self._validate_sample(value)
        inside = (self.low.le(value) & self.high.gt(value)).to(self.low.dtype)
        return inside.log() - (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        """Chances of at most the value."""
        if self._validate_args:
            self._validate_sample(value)
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        """log width."""
        return (self.high - self.low).log()
