"""NegativeBinomial: successes before a number of failures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..grad_mode import no_grad
from ..nn.functional import logsigmoid
from ..random_tensors import poisson
from ..tensor import Tensor
from . import constraints
from .chance import OfChance
from .distribution import Distribution
from .gamma import Gamma


class NegativeBinomial(OfChance, Distribution):
    """NegativeBinomial(total_count, probs) or NegativeBinomial(total_count, logits=...)."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0), "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }  # fmt: skip
    support = constraints.nonnegative_integer
    _copied_ = ("total_count", *OfChance._copied_)

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        (self.total_count,) = self._take(probs, logits, total_count)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """n p / (1 - p)."""
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        """The whole part of (n - 1) p / (1 - p), at least 0."""
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        """mean / (1 - p)."""
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Poisson counts of gamma rates."""
        with no_grad():
            rate = Gamma(self.total_count, (-self.logits).exp(), validate_args=False).sample(sample_shape)
            return poisson(rate)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log chances."""
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        raw = n * logsigmoid(-self.logits) + value * logsigmoid(self.logits)
        norm = -(n + value).lgamma() + (1.0 + value).lgamma() + n.lgamma()
        return raw - norm.masked_fill(n + value == 0.0, 0.0)
