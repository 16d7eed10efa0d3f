"""MultivariateNormal: vectors of normal numbers that depend on each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import linalg
from ..sequences import eye
from ..promote import broadcast_shape
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .covariance import CovarianceFactor
from .normal import standard_normal
from .normal_vectors import NormalVectors


class MultivariateNormal(CovarianceFactor, NormalVectors):
    """MultivariateNormal(loc, covariance_matrix), or with precision_matrix or scale_tril in its place."""

    arg_constraints = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip

    def __init__(
        self, loc: Tensor, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        name, matrix = self._given(covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril)
        if matrix.dim() < 2:
            kind = f"{name} matrix" if name == "scale_tril" else name
            raise ValueError(f"{kind} must be at least two-dimensional, with optional leading batch dimensions")
        batch = broadcast_shape(matrix.shape[:-2], loc.shape[:-1])
        vars(self)[name] = matrix.expand((*batch, -1, -1))
        self.loc = loc.expand((*batch, -1))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        factor = {"covariance_matrix": linalg.cholesky, "precision_matrix": _precision_to_scale_tril}.get(name)
        self._factor = matrix if factor is None else factor(matrix)  # not repeated over the batch

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        shape = Size(batch_shape)
        self._expand_matrices(other, shape)
        other.loc = self.loc.expand((*shape, -1))
        other._batch_shape, other._event_shape, other._validate_args = shape, self._event_shape, self._validate_args
        return other

    @property
    def variance(self) -> Tensor:
        """The covariance's diagonal."""
        return self._factor.pow(2).sum(-1).expand((*self._batch_shape, *self._event_shape))

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """loc + factor @ noise."""
        noise = standard_normal(self._extended_shape(sample_shape), self.loc)
        return self.loc + (self._factor @ noise.unsqueeze(-1)).squeeze(-1)

    def _distance(self, difference: Tensor) -> Tensor:
        return squared_distance(self._factor, difference)

    def _half_log_det(self) -> Tensor:
        return self._factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def squared_distance(factor: Tensor, difference: Tensor) -> Tensor:
    """difference^T (factor factor^T)^-1 difference, per vector."""
    if factor.dim() == 2:  # one factor for all: all vectors are columns of one system
        columns = difference.reshape((-1, difference.shape[-1])).T
        return linalg.solve_triangular(factor, columns, upper=False).pow(2).sum(0).reshape(difference.shape[:-1])
    return linalg.solve_triangular(factor, difference.unsqueeze(-1), upper=False).squeeze(-1).pow(2).sum(-1)


def _precision_to_scale_tril(precision: Tensor) -> Tensor:
    """The covariance's Cholesky factor: the inverse of the precision's factor from the other corner."""
    inverse = linalg.cholesky(precision.flip((-2, -1))).flip((-2, -1)).mT
    return linalg.solve_triangular(inverse, eye(precision.shape[-1], dtype=precision.dtype, device=precision.device), upper=False)
