"""TransformedDistribution: a distribution whose draws go through transforms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..grad_mode import no_grad
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .independent import Independent, sum_rightmost
from .transform import ComposeTransform, Transform


class TransformedDistribution(Distribution):
    """TransformedDistribution(base_distribution, transforms)."""

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self, base_distribution: Distribution, transforms: Transform | list[Transform], validate_args: bool | None = None
    ) -> None:
        parts = [transforms] if isinstance(transforms, Transform) else transforms
        if not isinstance(parts, list):
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        if not all(isinstance(t, Transform) for t in parts):
            raise ValueError("transforms must be a Transform or a list of Transforms")
        self.transforms, whole = parts, ComposeTransform(parts)
        self.base_dist = _fitted(base_distribution, whole)
        own, needed = len(base_distribution.event_shape), whole.domain.event_dim
        shape = whole.forward_shape((*self.base_dist.batch_shape, *self.base_dist.event_shape))
        end = whole.codomain.event_dim
        cut = len(shape) - max(end, own + end - needed)
        super().__init__(shape[:cut], shape[cut:], validate_args=validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        vars(other).update({name: value for name, value in vars(self).items() if name not in vars(other)})
        other._batch_shape = Size(batch_shape)
        vars(other).update({name: vars(self)[name].expand(other._batch_shape) for name in self._copied_})
        shape = ComposeTransform(self.transforms).inverse_shape((*other._batch_shape, *self._event_shape))
        other.base_dist = self.base_dist.expand(shape[: len(shape) - len(self.base_dist.event_shape)])
        return other

    @constraints.dependent_property
    def support(self) -> Any:
        """Where the last transform ends."""
        if not self.transforms:
            return self.base_dist.support
        region = self.transforms[-1].codomain
        more = len(self._event_shape) - region.event_dim
        return constraints.independent(region, more) if more > 0 else region

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # the base's
        """Whether the base has it."""
        return self.base_dist.has_rsample

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """The base's draws, transformed, without history."""
        with no_grad():
            return self._through(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """The base's draws, transformed."""
        return self._through(self.base_dist.rsample(sample_shape))

    def _through(self, value: Tensor) -> Tensor:
        for transform in self.transforms:
            value = transform(value)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """The base's log density where the value came from, less what the transforms stretch."""
        if self._validate_args:
            self._validate_sample(value)
        event_dim, total, end = len(self._event_shape), 0.0, value
        for transform in reversed(self.transforms):
            start = transform.inv(end)
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            stretch = transform.log_abs_det_jacobian(start, end)
            total = total - sum_rightmost(stretch, event_dim - transform.domain.event_dim)
            end = start
        return total + sum_rightmost(self.base_dist.log_prob(end), event_dim - len(self.base_dist.event_shape))

    def _rising(self, chance: Tensor) -> Tensor:
        """Chances the other way round where the transforms fall."""
        sign: Any = 1
        for transform in self.transforms:
            sign = sign * transform.sign
        return chance if isinstance(sign, int) and sign == 1 else sign * (chance - 0.5) + 0.5

    def cdf(self, value: Tensor) -> Tensor:
        """The base's, where the value came from."""
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        if self.base_dist._validate_args:
            self.base_dist._validate_sample(value)
        return self._rising(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The base's, transformed."""
        return self._through(self.base_dist.icdf(self._rising(value)))


def _fitted(base: Distribution, transform: ComposeTransform) -> Distribution:
    """The base for the batch that the transform's parameters make, with the event dimensions the transform needs."""
    shape, own = Size((*base.batch_shape, *base.event_shape)), len(base.event_shape)
    needed = transform.domain.event_dim
    if len(shape) < needed:
        raise ValueError(f"base_distribution needs to have shape with size at least {needed}, but got {shape}.")
    wide = transform.inverse_shape(transform.forward_shape(shape))
    if tuple(wide) != tuple(shape):
        base = base.expand(wide[: len(wide) - own])
    return Independent(base, needed - own) if needed > own else base
