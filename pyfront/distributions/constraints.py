"""Constraints: regions that parameters and samples lie in, each with a test of membership."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import linalg
from ..joining import cat as joined
from ..joining import stack as stacked
from ..limits import finfo
from ..tensor import Tensor


class Constraint:
    """A region. ``event_dim`` dimensions on the right are one value of it."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Tensor) -> Tensor:
        """Truth values of the value's shape without its event dimensions: whether each lies inside."""
        raise NotImplementedError

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({said})"


class Dependent(Constraint):
    """A region that only an instance knows."""

    def __init__(self, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        self._is_discrete, self._event_dim = is_discrete, event_dim

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # what the region is built with decides it
        """Whether its values can be counted."""
        return self._is_discrete

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # as above
        """Dimensions of one value."""
        return self._event_dim

    def check(self, value: Tensor) -> Tensor:
        """ValueError: nothing is known without an instance."""
        raise ValueError("Cannot determine validity of dependent constraint")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class DependentProperty(property, Dependent):
    """A property that gives a region; read from the class it stands for a region not yet known."""

    def __init__(
        self, fn: Callable[..., Any] | None = None, *, is_discrete: bool = False, event_dim: int = 0
    ) -> None:
        property.__init__(self, fn)
        Dependent.__init__(self, is_discrete=is_discrete, event_dim=event_dim)

    def __call__(self, fn: Callable[..., Any]) -> DependentProperty:  # used as a decorator with arguments
        return DependentProperty(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)


class IndependentConstraint(Constraint):
    """A region whose dimensions on the right are judged together."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # the base's
        """Whether the base's values can be counted."""
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # the base's and those judged together
        """Dimensions of one value."""
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    def check(self, value: Tensor) -> Tensor:
        """Whether all of the base's values in one value of this region are inside."""
        inside = self.base_constraint.check(value)
        if inside.dim() < self.reinterpreted_batch_ndims:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.dim()}")
        return inside.reshape((*inside.shape[: inside.dim() - self.reinterpreted_batch_ndims], -1)).all(-1)

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class Boolean(Constraint):
    """0 and 1."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        """Per element."""
        return (value == 0) | (value == 1)


class OneHot(Constraint):
    """Vectors of zeros with a single one."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        """Per vector."""
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class Real(Constraint):
    """All numbers that are equal to themselves."""

    def check(self, value: Tensor) -> Tensor:
        """Per element: not NaN."""
        return value == value


class GreaterThan(Constraint):
    """Above a bound."""

    def __init__(self, lower_bound: Any) -> None:
        self.lower_bound = lower_bound

    def check(self, value: Tensor) -> Tensor:
        """Per element."""
        return value > self.lower_bound


class GreaterThanEq(GreaterThan):
    """At a bound or above it."""

    def check(self, value: Tensor) -> Tensor:
        """Per element."""
        return value >= self.lower_bound


class LessThan(Constraint):
    """Below a bound."""

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        """Per element."""
        return value < self.upper_bound


class Interval(Constraint):
    """Between two bounds, both inside."""

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def check(self, value: Tensor) -> Tensor:
        """Per element."""
        return (value >= self.lower_bound) & (value <= self.upper_bound)


class HalfOpenInterval(Interval):
    """Between two bounds, the upper one outside."""

    def check(self, value: Tensor) -> Tensor:
        """Per element."""
        return (value >= self.lower_bound) & (value < self.upper_bound)


class IntegerInterval(Interval):
    """Integers between two bounds, both inside."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        """Per element."""
        return (value % 1 == 0) & super().check(value)


class IntegerGreaterThan(Constraint):
    """Integers from a bound on."""

    is_discrete = True

    def __init__(self, lower_bound: Any) -> None:
        self.lower_bound = lower_bound

    def check(self, value: Tensor) -> Tensor:
        """Per element."""
        return (value % 1 == 0) & (value >= self.lower_bound)


class Simplex(Constraint):
    """Vectors of non-negative numbers that sum to 1, up to 1e-6."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        """Per vector."""
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class Multinomial(Constraint):
    """Vectors of counts that sum to at most a bound."""

    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: int) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        """Per vector."""
        return (value >= 0).all(-1) & (value.sum(-1) <= self.upper_bound)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class MixtureSameFamilyConstraint(Constraint):
    """What a region says of one value, asked for a batch of them."""

    def __init__(self, base_constraint: Constraint) -> None:
        self.base_constraint = base_constraint

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # the base's
        """Whether the base's values can be counted."""
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # the base's
        """Dimensions of one value."""
        return self.base_constraint.event_dim

    def check(self, value: Tensor) -> Tensor:
        """Whether every component could have made it."""
        inside = self.base_constraint.check(value.unsqueeze(-1 - self.event_dim))
        return inside.reshape((*inside.shape[: value.dim() - self.event_dim], -1)).all(-1)

    def __repr__(self) -> str:
        return f"MixtureSameFamilyConstraint({self.base_constraint!r})"


class Square(Constraint):
    """Square matrices."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        """Per matrix."""
        return value.new_full(value.shape[:-2], value.shape[-2] == value.shape[-1]).bool()


class Symmetric(Square):
    """Matrices equal to their transposes, up to 1e-6."""

    def check(self, value: Tensor) -> Tensor:
        """Per matrix."""
        square = super().check(value)
        if value.shape[-2] != value.shape[-1]:
            return square
        return ((value - value.mT).abs() <= 1e-6 + 1e-5 * value.mT.abs()).all(-1).all(-1)


class PositiveDefinite(Symmetric):
    """Symmetric matrices that have a Cholesky factor."""

    def check(self, value: Tensor) -> Tensor:
        """Per matrix."""
        symmetric = super().check(value)
        if not symmetric.all():
            return symmetric
        return linalg.cholesky_ex(value.detach())[1] == 0


class LowerTriangular(Constraint):
    """Matrices of zeros above their diagonal."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        """Per matrix."""
        return (value.tril() == value).all(-1).all(-1)


class LowerCholesky(LowerTriangular):
    """Lower triangles with a positive diagonal."""

    def check(self, value: Tensor) -> Tensor:
        """Per matrix."""
        return super().check(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class CorrCholesky(LowerCholesky):
    """Factors of correlation matrices: lower triangles with a positive diagonal and rows of length 1."""

    def check(self, value: Tensor) -> Tensor:
        """Per matrix."""
        allowed = finfo(value.dtype).eps * value.size(-1) * 10  # lengths are rounded
        lengths = value.pow(2).sum(-1).sqrt()
        return super().check(value) & ((lengths - 1).abs() <= allowed).all(-1)


class PositiveSemidefinite(Symmetric):
    """Symmetric matrices without negative eigenvalues."""

    def check(self, value: Tensor) -> Tensor:
        """Per matrix."""
        symmetric = super().check(value)
        return symmetric if not symmetric.all() else linalg.eigvalsh(value).ge(0).all(-1)


class _Several(Constraint):
    """Regions for the parts of a value along a dimension."""

    def __init__(self, cseq: Any, dim: int = 0) -> None:
        self.cseq, self.dim = list(cseq), dim

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]  # the parts'
        """Whether the values of a part can be counted."""
        return any(c.is_discrete for c in self.cseq)


class Cat(_Several):
    """Regions for parts of given lengths."""

    def __init__(self, cseq: Any, dim: int = 0, lengths: Any = None) -> None:
        super().__init__(cseq, dim)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # the parts'
        """Dimensions of one value."""
        return max(c.event_dim for c in self.cseq)

    def check(self, value: Tensor) -> Tensor:
        """Per element, each part by its own region."""
        parts = value.split(self.lengths, self.dim)
        return joined([c.check(part) for c, part in zip(self.cseq, parts, strict=True)], self.dim)


class Stack(_Several):
    """Regions for single places."""

    @property
    def event_dim(self) -> int:  # type: ignore[override]  # the parts' and the dimension they are put along
        """Dimensions of one value."""
        dim = max(c.event_dim for c in self.cseq)
        return dim + 1 if self.dim + dim < 0 else dim

    def check(self, value: Tensor) -> Tensor:
        """Each place by its own region."""
        return stacked([c.check(part) for c, part in zip(self.cseq, value.unbind(self.dim), strict=True)], self.dim)


def is_dependent(constraint: Any) -> bool:
    """Whether the region is known to instances only."""
    return isinstance(constraint, Dependent)


dependent_property = DependentProperty
dependent = Dependent()
independent = IndependentConstraint
boolean = Boolean()
one_hot = OneHot()
nonnegative_integer = IntegerGreaterThan(0)
positive_integer = IntegerGreaterThan(1)
integer_interval = IntegerInterval
real = Real()
real_vector = IndependentConstraint(real, 1)
positive = GreaterThan(0.0)
nonnegative = GreaterThanEq(0.0)
greater_than = GreaterThan
greater_than_eq = GreaterThanEq
less_than = LessThan
unit_interval = Interval(0.0, 1.0)
interval = Interval
half_open_interval = HalfOpenInterval
simplex = Simplex()
multinomial = Multinomial
square = Square()
symmetric = Symmetric()
lower_triangular = LowerTriangular()
lower_cholesky = LowerCholesky()
positive_definite = PositiveDefinite()
positive_semidefinite = PositiveSemidefinite()
corr_cholesky = CorrCholesky()
cat = Cat
stack = Stack

__all__ = [
    "Constraint", "boolean", "cat", "corr_cholesky", "dependent", "dependent_property", "greater_than", "greater_than_eq",
    "half_open_interval", "independent", "integer_interval", "interval", "is_dependent", "less_than", "lower_cholesky",
    "lower_triangular", "MixtureSameFamilyConstraint", "multinomial", "nonnegative", "nonnegative_integer", "one_hot", "positive",
    "positive_definite", "positive_integer", "positive_semidefinite", "real", "real_vector", "simplex", "square", "stack",
    "symmetric", "unit_interval",
]  # fmt: skip
