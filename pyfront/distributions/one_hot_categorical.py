"""One-hot categorical: one of K categories, as a vector of zeros with a single one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..grad_mode import no_grad
from ..nn.functional import one_hot
from ..sequences import eye
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .categorical import Categorical
from .distribution import Distribution
from .parameters import broadcast_all


class OneHotCategorical(Distribution):
    """OneHotCategorical(probs) or OneHotCategorical(logits=...): chances [batch, K]."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits, validate_args)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> OneHotCategorical:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        other._categorical = self._categorical.expand(batch_shape)
        other._batch_shape, other._event_shape = Size(batch_shape), self._event_shape
        other._validate_args = self._validate_args
        return other

    @property
    def probs(self) -> Tensor:
        """Chances that sum to 1."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """Their logarithms."""
        return self._categorical.logits

    @property
    def param_shape(self) -> Size:
        """[batch, K]."""
        return self._categorical.param_shape

    @property
    def mean(self) -> Tensor:
        """probs."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The most probable category, one-hot."""
        return one_hot(self.probs.argmax(dim=-1), self._event_shape[0]).to(self.probs)

    @property
    def variance(self) -> Tensor:
        """p (1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """One-hot vectors of the parameter's dtype."""
        with no_grad():
            return one_hot(self._categorical.sample(sample_shape), self._event_shape[0]).to(self.probs)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log chances of the marked categories."""
        if self._validate_args:
            self._validate_sample(value)
        value, _ = broadcast_all(value, self.logits)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self) -> Tensor:
        """That of the categories."""
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All one-hot vectors [K, batch, K]."""
        n = self._event_shape[0]
        values = eye(n, dtype=self.probs.dtype, device=self.probs.device).reshape((n, *(1,) * len(self._batch_shape), n))
        return values.expand((n, *self._batch_shape, n)) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot draws whose gradient is that of the chances."""

    has_rsample = True

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """A draw, and the chances without their value."""
        drawn = self.sample(sample_shape)
        return drawn + (self.probs - self.probs.detach())
