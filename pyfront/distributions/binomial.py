"""Binomial: successes among several trials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..grad_mode import no_grad
from ..random_tensors import binomial
from ..sequences import arange
from ..tensor import Tensor
from . import constraints
from .chance import OfChance
from .distribution import Distribution


class Binomial(OfChance, Distribution):
    """Binomial(total_count, probs) or Binomial(total_count, logits=...)."""

    arg_constraints = {
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval, "logits": constraints.real,
    }  # fmt: skip
    has_enumerate_support = True
    _copied_ = ("total_count", *OfChance._copied_)

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        (self.total_count,) = self._take(probs, logits, total_count)
        super().__init__(self._param.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """0 … total_count."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        """n p."""
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        """The whole part of (n + 1) p, at most n."""
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Tensor:
        """n p (1 - p)."""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Counts."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log chances."""
        if self._validate_args:
            self._validate_sample(value)
        n, logits = self.total_count, self.logits
        above = (logits.clamp(min=0) + logits - logits.clamp(max=0)) / 2  # max(logits, 0), with half a slope at 0
        norm = n * above + n * (-logits.abs()).exp().log1p() - (n + 1).lgamma()
        return value * logits - (value + 1).lgamma() - (n - value + 1).lgamma() - norm

    def entropy(self) -> Tensor:
        """Over all counts."""
        log_prob = self.log_prob(self._all("entropy"))
        return -(log_prob.exp() * log_prob).sum(0)

    def _all(self, asked: str) -> Tensor:
        largest = int(self.total_count.max())
        if not self.total_count.min() == largest:
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{asked}`.")
        values = arange(1 + largest, dtype=self._param.dtype, device=self._param.device)
        return values.reshape((-1, *(1,) * len(self._batch_shape)))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All counts [n + 1, batch]."""
        values = self._all("enumerate_support")
        return values.expand((-1, *self._batch_shape)) if expand else values
