"""Vectors of normal numbers that depend on each other, however their covariance is given."""

from __future__ import annotations

import math

from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .location_scale import Located


class NormalVectors(Located, Distribution):
    """What follows from ``loc`` [batch, n], the determinant of the covariance and distances in its measure."""

    support = constraints.real_vector
    has_rsample = True
    loc: Tensor

    @property
    def _whole(self) -> tuple[int, ...]:
        return (*self._batch_shape, *self._event_shape, *self._event_shape)

    def _half_log_det(self) -> Tensor:
        """Half the logarithm of the covariance's determinant."""
        raise NotImplementedError

    def _distance(self, difference: Tensor) -> Tensor:
        """difference^T covariance^-1 difference, per vector."""
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + self._distance(value - self.loc)) - self._half_log_det()

    def entropy(self) -> Tensor:
        """Closed form."""
        entropy = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._half_log_det()
        return entropy.expand(self._batch_shape) if self._batch_shape else entropy
