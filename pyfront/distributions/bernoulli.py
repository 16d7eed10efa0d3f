"""Bernoulli: 1 with a given chance, else 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..grad_mode import no_grad
from ..nn.functional import binary_cross_entropy_with_logits
from ..random_tensors import bernoulli
from ..selection import where
from ..sequences import arange
from ..tensor import Tensor
from . import constraints
from .chance import OfChance
from .exponential_family import ExponentialFamily
from .parameters import broadcast_all


class Bernoulli(OfChance, ExponentialFamily):
    """Bernoulli(probs) or Bernoulli(logits=...)."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._take(probs, logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """probs."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The likelier one; NaN at a half."""
        likelier = (self.probs >= 0.5).to(self.probs)
        return where(self.probs == 0.5, float("nan"), likelier)

    @property
    def variance(self) -> Tensor:
        """p (1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Zeros and ones of the parameter's dtype."""
        with no_grad():
            return bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log chances."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        """Of both outcomes."""
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 and 1 [2, batch]."""
        values = arange(2, dtype=self._param.dtype, device=self._param.device)
        values = values.reshape((-1, *(1,) * len(self._batch_shape)))
        return values.expand((-1, *self._batch_shape)) if expand else values
