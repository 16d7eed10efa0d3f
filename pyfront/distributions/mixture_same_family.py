"""MixtureSameFamily: one of several distributions of a batch, by chance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..grad_mode import no_grad
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .categorical import Categorical
from .distribution import Distribution


class MixtureSameFamily(Distribution):
    """MixtureSameFamily(mixture_distribution, component_distribution): components are the last batch dimension."""

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args: bool | None = None
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an  instance of torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution needs to be an instance of torch.distributions.Distribution")
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        chosen, made = mixture_distribution.batch_shape, component_distribution.batch_shape[:-1]
        for a, b in zip(reversed(chosen), reversed(made), strict=False):
            if 1 not in (a, b) and a != b:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({chosen}) is not compatible with "
                    f"`component_distribution.batch_shape`({made})"
                )
        counts = mixture_distribution.logits.shape[-1], component_distribution.batch_shape[-1]
        if counts[0] != counts[1]:
            raise ValueError(
                f"`mixture_distribution component` ({counts[0]}) does not equal `component_distribution.batch_shape[-1]` ({counts[1]})"
            )
        super().__init__(made, component_distribution.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        other._batch_shape, other._event_shape = Size(batch_shape), self._event_shape
        count = self._component_distribution.batch_shape[-1]
        other._component_distribution = self._component_distribution.expand((*other._batch_shape, count))
        other._mixture_distribution = self._mixture_distribution.expand(other._batch_shape)
        other._validate_args = self._validate_args
        return other

    @constraints.dependent_property
    def support(self) -> Any:
        """The components', for one value each."""
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        """Chances of the components."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The components."""
        return self._component_distribution

    @property
    def _chances(self) -> Tensor:
        """The mixture's chances beside the components' values."""
        probs = self._mixture_distribution.probs
        missing = len(self._batch_shape) - len(self._mixture_distribution.batch_shape)
        return probs.reshape((*probs.shape[:-1], *(1,) * missing, probs.shape[-1], *(1,) * len(self._event_shape)))

    @property
    def _over(self) -> int:
        return -1 - len(self._event_shape)

    @property
    def mean(self) -> Tensor:
        """Weighted means."""
        return (self._chances * self._component_distribution.mean).sum(dim=self._over)

    @property
    def variance(self) -> Tensor:
        """Within the components and between them."""
        parts, chances = self._component_distribution, self._chances
        within = (chances * parts.variance).sum(dim=self._over)
        between = (chances * (parts.mean - self._beside(self.mean)).pow(2.0)).sum(dim=self._over)
        return within + between

    def cdf(self, value: Tensor) -> Tensor:
        """Chances of at most the value."""
        return (self._component_distribution.cdf(self._beside(value)) * self._mixture_distribution.probs).sum(dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log of the weighted densities."""
        if self._validate_args:
            self._validate_sample(value)
        inside = self._component_distribution.log_prob(self._beside(value))
        return (inside + self._mixture_distribution.logits.log_softmax(dim=-1)).logsumexp(dim=-1)

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Draws of all components, of which one each is taken."""
        shape = Size(sample_shape)
        with no_grad():
            chosen = self._mixture_distribution.sample(shape)
            drawn = self._component_distribution.sample(shape)
            along = len(shape) + len(self._batch_shape)
            index = chosen.reshape((*chosen.shape, *(1,) * (len(self._event_shape) + 1)))
            return drawn.gather(along, index.expand((*chosen.shape, 1, *self._event_shape))).squeeze(along)

    def _beside(self, value: Tensor) -> Tensor:
        return value.unsqueeze(self._over)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
