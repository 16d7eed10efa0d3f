"""ContinuousBernoulli: numbers between 0 and 1 with a density like a chance (Loaiza-Ganem and Cunningham, 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..nn.functions.loss import binary_cross_entropy_with_logits
from ..random_tensors import rand
from ..selection import where
from ..tensor import Tensor
from . import constraints
from .chance import OfChance
from .exponential_family import ExponentialFamily
from .parameters import broadcast_all, clamp_probs


class ContinuousBernoulli(OfChance, ExponentialFamily):
    """ContinuousBernoulli(probs) or (logits=...). lims: chances between them are near 1/2, where series stand for the formulas."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501), validate_args: bool | None = None
    ) -> None:
        self._lims = lims
        self._take(probs, logits)
        if probs is not None:
            if validate_args is not False and not self.arg_constraints["probs"].check(self.probs).all():
                raise ValueError("The parameter probs has invalid values")
            self.probs = clamp_probs(self.probs)
        super().__init__(self._param.shape, validate_args=validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = super().expand(batch_shape, _instance)
        other._lims = self._lims
        return other

    def _is_away(self) -> Tensor:
        """Where the formulas hold."""
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _away(self) -> Tensor:
        """The chances, those near 1/2 replaced by a bound."""
        return where(self._is_away(), self.probs, self._lims[0])

    def _log_normalizer_of_density(self) -> Tensor:
        p = self._away()
        below = where(p <= 0.5, p, 0.0)
        above = where(p >= 0.5, p, 1.0)
        log_norm = ((-p).log1p() - p.log()).abs().log() - where(p <= 0.5, (-2.0 * below).log1p(), (2.0 * above - 1.0).log())
        x = (self.probs - 0.5) ** 2
        return where(self._is_away(), log_norm, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)

    @property
    def mean(self) -> Tensor:
        """p / (2 p - 1) + 1 / (2 artanh(1 - 2 p)), 1/2 at a half."""
        p = self._away()
        formula = p / (2.0 * p - 1.0) + 1.0 / ((-p).log1p() - p.log())
        x = self.probs - 0.5
        return where(self._is_away(), formula, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x**2) * x)

    @property
    def variance(self) -> Tensor:
        """1/12 at a half."""
        p = self._away()
        formula = p * (p - 1.0) / (1.0 - 2.0 * p) ** 2 + 1.0 / ((-p).log1p() - p.log()) ** 2
        x = (self.probs - 0.5) ** 2
        return where(self._is_away(), formula, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)

    @property
    def stddev(self) -> Tensor:
        """The root of the variance."""
        return self.variance.sqrt()

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Draws with history."""
        return self.icdf(rand(self._extended_shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none") + self._log_normalizer_of_density()

    def cdf(self, value: Tensor) -> Tensor:
        """The chance of at most this."""
        if self._validate_args:
            self._validate_sample(value)
        p = self._away()
        formula = (p.pow(value) * (1.0 - p).pow(1.0 - value) + p - 1.0) / (2.0 * p - 1.0)
        inside = where(self._is_away(), formula, value)
        return where(value <= 0.0, 0.0, where(value >= 1.0, 1.0, inside))

    def icdf(self, value: Tensor) -> Tensor:
        """What is at most reached with this chance."""
        p = self._away()
        formula = ((-p + value * (2.0 * p - 1.0)).log1p() - (-p).log1p()) / (p.log() - (-p).log1p())
        return where(self._is_away(), formula, value)

    def entropy(self) -> Tensor:
        """Of the density."""
        log_q, log_p = (-self.probs).log1p(), self.probs.log()
        return self.mean * (log_q - log_p) - self._log_normalizer_of_density() - log_q
