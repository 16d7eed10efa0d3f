"""A covariance that is given by itself, by its inverse or by its Cholesky factor, and known by the factor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from .. import linalg
from ..tensor import Tensor


class CovarianceFactor:
    """Beside a Distribution with ``_factor`` [..., n, n], the Cholesky factor of its covariance. The matrix it was given is in its own table."""

    _factor: Tensor
    _whole: tuple[int, ...]  # the shape of the covariances of the batch

    @staticmethod
    def _given(**named: Tensor | None) -> tuple[str, Tensor]:
        """Name and value of the one matrix that is given. ValueError for none or several."""
        given = [(name, matrix) for name, matrix in named.items() if matrix is not None]
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        return given[0]

    def _expand_matrices(self, other: Any, batch: tuple[int, ...]) -> None:
        """Give another one what this one was given, for a larger batch."""
        own: Mapping[str, Any] = vars(self)
        vars(other).update({name: own[name].expand((*batch, -1, -1)) for name in ("covariance_matrix", "precision_matrix", "scale_tril") if name in own})
        other._factor = self._factor

    @cached_property
    def scale_tril(self) -> Tensor:
        """The covariance's Cholesky factor."""
        return self._factor.expand(self._whole)

    @cached_property
    def covariance_matrix(self) -> Tensor:
        """factor @ factor.mT."""
        return (self._factor @ self._factor.mT).expand(self._whole)

    @cached_property
    def precision_matrix(self) -> Tensor:
        """The covariance's inverse."""
        return linalg.cholesky_inverse(self._factor).expand(self._whole)
