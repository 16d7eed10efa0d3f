"""Constraint registry: for a region, the transform from all real numbers into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import constraints
from .transform import ComposeTransform, IndependentTransform, Transform
from .transforms import (
    AffineTransform,
    CatTransform,
    CorrCholeskyTransform,
    ExpTransform,
    LowerCholeskyTransform,
    PositiveDefiniteTransform,
    SigmoidTransform,
    SoftmaxTransform,
    StackTransform,
    StickBreakingTransform,
    identity_transform,
)

Factory = Callable[[Any], Transform]


class ConstraintRegistry:
    """Factories of transforms by a region's class."""

    def __init__(self) -> None:
        self._factories: dict[type, Factory] = {}

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """Enter a factory, or decorate one. TypeError for what is no region."""
        if factory is None:
            return lambda made: self.register(constraint, made)
        kind = type(constraint) if isinstance(constraint, constraints.Constraint) else constraint
        if not isinstance(kind, type) or not issubclass(kind, constraints.Constraint):
            raise TypeError(f"Expected constraint to be either a Constraint subclass or instance, but got {constraint}")
        self._factories[kind] = factory
        return factory

    def __call__(self, constraint: Any) -> Transform:
        """The transform into a region. NotImplementedError where none is known."""
        factory = self._factories.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to = ConstraintRegistry()  # one to one
transform_to = ConstraintRegistry()  # onto, not always one to one


def _interval(region: constraints.Interval) -> Transform:
    low, high = region.lower_bound, region.upper_bound
    if isinstance(low, (int, float)) and low == 0 and isinstance(high, (int, float)) and high == 1:
        return SigmoidTransform()
    return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low)])


def _above(region: constraints.GreaterThan) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(region.lower_bound, 1)])


def _below(region: constraints.LessThan) -> Transform:
    return ComposeTransform([ExpTransform(), AffineTransform(region.upper_bound, -1)])


for _registry in (biject_to, transform_to):
    _registry.register(constraints.Real, lambda _: identity_transform)
    _registry.register(
        constraints.IndependentConstraint,
        lambda region, r=_registry: IndependentTransform(r(region.base_constraint), region.reinterpreted_batch_ndims),
    )
    for _kind, _factory in (
        (constraints.GreaterThan, _above), (constraints.GreaterThanEq, _above), (constraints.LessThan, _below),
        (constraints.Interval, _interval), (constraints.HalfOpenInterval, _interval),
    ):  # fmt: skip
        _registry.register(_kind, _factory)
biject_to.register(constraints.Simplex, lambda _: StickBreakingTransform())
transform_to.register(constraints.Simplex, lambda _: SoftmaxTransform())
transform_to.register(constraints.LowerCholesky, lambda _: LowerCholeskyTransform())
transform_to.register(constraints.PositiveDefinite, lambda _: PositiveDefiniteTransform())
transform_to.register(constraints.PositiveSemidefinite, lambda _: PositiveDefiniteTransform())
for _each in (biject_to, transform_to):
    _each.register(constraints.CorrCholesky, lambda _: CorrCholeskyTransform())
    _each.register(constraints.Cat, lambda region, r=_each: CatTransform([r(c) for c in region.cseq], region.dim, region.lengths))
    _each.register(constraints.Stack, lambda region, r=_each: StackTransform([r(c) for c in region.cseq], region.dim))
