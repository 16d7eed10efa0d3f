"""Normal: the bell curve, per element."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..grad_mode import no_grad
from ..random_tensors import normal
from ..tensor import Tensor
from .exponential_family import ExponentialFamily
from .location_scale import LocationScale


def standard_normal(shape: Iterable[int], like: Tensor) -> Tensor:
    """Draws of mean 0 and deviation 1, of a tensor's dtype and device."""
    shape = tuple(shape)
    return normal(like.new_zeros(shape), like.new_ones(shape))


class Normal(LocationScale, ExponentialFamily):
    """Normal(loc, scale): mean and standard deviation."""

    @property
    def stddev(self) -> Tensor:
        """scale."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """scale ** 2."""
        return self.stddev.pow(2)

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Draws without history."""
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return normal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """loc + noise * scale."""
        return self.loc + standard_normal(self._extended_shape(sample_shape), self.loc) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def cdf(self, value: Tensor) -> Tensor:
        """Chances of at most the value."""
        if self._validate_args:
            self._validate_sample(value)
        return 0.5 * (1 + ((value - self.loc) * self.scale.reciprocal() / math.sqrt(2)).erf())

    def icdf(self, value: Tensor) -> Tensor:
        """Quantiles."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        """0.5 + 0.5 log 2 pi + log scale."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()


