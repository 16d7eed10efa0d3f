"""RelaxedOneHotCategorical: one-hot vectors with soft edges, which gradients pass through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..random_tensors import rand
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .categorical import Categorical
from .distribution import Distribution
from .parameters import broadcast_all, clamp_probs
from .transformed_distribution import TransformedDistribution
from .transforms import ExpTransform


class ExpRelaxedCategorical(Distribution):
    """Logarithms of relaxed one-hot vectors."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        self._categorical, self.temperature = Categorical(probs, logits), temperature
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        other.temperature, other._categorical = self.temperature, self._categorical.expand(batch_shape)
        other._batch_shape, other._event_shape = Size(batch_shape), self._event_shape
        other._validate_args = self._validate_args
        return other

    @property
    def param_shape(self) -> Size:
        """[batch, K]."""
        return self._categorical.param_shape

    @property
    def logits(self) -> Tensor:
        """Log chances."""
        return self._categorical.logits

    @property
    def probs(self) -> Tensor:
        """Chances."""
        return self._categorical.probs

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Log softmax of logits with Gumbel noise, over the temperature."""
        shape = self._extended_shape(sample_shape)
        uniform = clamp_probs(rand(shape, dtype=self.logits.dtype, device=self.logits.device))
        scores = (self.logits - (-uniform.log()).log()) / self.temperature
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        (temperature,) = broadcast_all(self.temperature)
        count = self._event_shape[0]
        scale = temperature.new_full(temperature.shape, float(count)).lgamma() + temperature.log() * (count - 1)
        score = logits - value * temperature
        return (score - score.logsumexp(dim=-1, keepdim=True)).sum(-1) + scale


class RelaxedOneHotCategorical(TransformedDistribution):
    """RelaxedOneHotCategorical(temperature, probs) or RelaxedOneHotCategorical(temperature, logits=...)."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    @property
    def temperature(self) -> Any:
        """0 is one-hot."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """Log chances."""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """Chances."""
        return self.base_dist.probs
