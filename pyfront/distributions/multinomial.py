"""Multinomial: how often each category comes up in several draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..creation import tensor
from ..grad_mode import no_grad
from ..selection import where
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .binomial import Binomial
from .categorical import Categorical
from .distribution import Distribution
from .parameters import broadcast_all


class Multinomial(Distribution):
    """Multinomial(total_count, probs) or Multinomial(total_count, logits=...)."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(
        self, total_count: int = 1, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count, self._categorical = total_count, Categorical(probs=probs, logits=logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        other.total_count, other._categorical = self.total_count, self._categorical.expand(batch_shape)
        other._batch_shape, other._event_shape = Size(batch_shape), self._event_shape
        other._validate_args = self._validate_args
        return other

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        """Counts that sum to at most total_count."""
        return constraints.multinomial(self.total_count)

    @property
    def logits(self) -> Tensor:
        """Log chances."""
        return self._categorical.logits

    @property
    def probs(self) -> Tensor:
        """Chances."""
        return self._categorical.probs

    @property
    def param_shape(self) -> Size:
        """[batch, K]."""
        return self._categorical.param_shape

    @property
    def mean(self) -> Tensor:
        """n p."""
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        """n p (1 - p)."""
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Counts."""
        shape = Size(sample_shape)
        with no_grad():
            drawn = self._categorical.sample((self.total_count, *shape))
            drawn = drawn.permute(*range(1, drawn.dim()), 0)
            counts = drawn.new_zeros(self._extended_shape(shape))
            counts.scatter_add_(-1, drawn, drawn.new_ones(drawn.shape))
            return counts.type_as(self.probs)

    def entropy(self) -> Tensor:
        """Of the draws, less what their order says."""
        n = tensor(self.total_count)
        binomial = Binomial(self.total_count, probs=self.probs)
        counts = binomial.enumerate_support(expand=False)[1:]
        order = (binomial.log_prob(counts).exp() * (counts + 1).lgamma()).sum([0, -1])
        return n * self._categorical.entropy() - (n + 1).lgamma() + order

    def log_prob(self, value: Tensor) -> Tensor:
        """Log chances."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        logits = where((value == 0) & (logits == -math.inf), 0.0, logits)  # 0 * log 0 is 0
        return (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1) + (logits * value).sum(-1)
