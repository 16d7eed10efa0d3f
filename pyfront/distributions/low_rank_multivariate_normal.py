"""LowRankMultivariateNormal: a covariance of few directions and a diagonal."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from .. import linalg
from ..sequences import eye
from ..shaping import broadcast_tensors
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .multivariate_normal import squared_distance
from .normal import standard_normal
from .normal_vectors import NormalVectors


class LowRankMultivariateNormal(NormalVectors):
    """LowRankMultivariateNormal(loc, cov_factor, cov_diag): covariance cov_factor @ cov_factor.mT + diag(cov_diag)."""

    arg_constraints = {
        "loc": constraints.real_vector, "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }  # fmt: skip

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if tuple(cov_factor.shape[-2:-1]) != tuple(event):
            raise ValueError(f"cov_factor must be a batch of matrices with shape {event[0]} x m")
        if tuple(cov_diag.shape[-1:]) != tuple(event):
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event}")
        try:
            mean, self.cov_factor, diagonal = broadcast_tensors(loc.unsqueeze(-1), cov_factor, cov_diag.unsqueeze(-1))
        except RuntimeError as error:
            shapes = f"loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            raise ValueError(f"Incompatible batch shapes: {shapes}") from error
        self.loc, self.cov_diag = mean[..., 0], diagonal[..., 0]
        self._w, self._d = cov_factor, cov_diag  # not repeated over the batch
        super().__init__(self.loc.shape[:-1], event, validate_args=validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        shape = Size(batch_shape)
        other.loc, other.cov_diag = self.loc.expand((*shape, -1)), self.cov_diag.expand((*shape, -1))
        other.cov_factor, other._w, other._d = self.cov_factor.expand((*shape, -1, -1)), self._w, self._d
        other._batch_shape, other._event_shape, other._validate_args = shape, self._event_shape, self._validate_args
        return other

    @cached_property
    def _capacitance(self) -> Tensor:
        """Cholesky factor of 1 + W^T D^-1 W: as small as the rank."""
        inner = (self._w.mT / self._d.unsqueeze(-2)) @ self._w
        return linalg.cholesky(inner + eye(inner.shape[-1], dtype=inner.dtype, device=inner.device))

    @cached_property
    def variance(self) -> Tensor:  # type: ignore[override]  # kept
        """The covariance's diagonal."""
        return (self._w.pow(2).sum(-1) + self._d).expand((*self._batch_shape, *self._event_shape))

    @cached_property
    def scale_tril(self) -> Tensor:
        """The covariance's Cholesky factor."""
        root = self._d.sqrt().unsqueeze(-1)
        scaled = self._w / root
        inner = scaled @ scaled.mT + eye(self._event_shape[0], dtype=root.dtype, device=root.device)
        return (root * linalg.cholesky(inner)).expand(self._whole)

    @cached_property
    def covariance_matrix(self) -> Tensor:
        """W W^T + D."""
        return (self._w @ self._w.mT + self._d.diag_embed()).expand(self._whole)

    @cached_property
    def precision_matrix(self) -> Tensor:
        """The covariance's inverse, by Woodbury's identity."""
        solved = linalg.solve_triangular(self._capacitance, self._w.mT / self._d.unsqueeze(-2), upper=False)
        return (self._d.reciprocal().diag_embed() - solved.mT @ solved).expand(self._whole)

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """loc + W @ noise + sqrt(D) * noise."""
        shape = self._extended_shape(sample_shape)
        along = standard_normal((*shape[:-1], self.cov_factor.shape[-1]), self.loc)
        own = standard_normal(shape, self.loc)
        return self.loc + (self._w @ along.unsqueeze(-1)).squeeze(-1) + self._d.sqrt() * own

    def _distance(self, difference: Tensor) -> Tensor:
        along = ((self._w.mT / self._d.unsqueeze(-2)) @ difference.unsqueeze(-1)).squeeze(-1)
        return (difference.pow(2) / self._d).sum(-1) - squared_distance(self._capacitance, along)

    def _half_log_det(self) -> Tensor:
        return self._capacitance.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * self._d.log().sum(-1)
