"""Wishart: positive definite matrices, sums of outer products of normal vectors (draws by Bartlett's decomposition)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

from .. import linalg
from ..creation import tensor
from ..limits import finfo
from ..promote import broadcast_shape
from ..random_tensors import randn
from ..selection import where
from ..sequences import arange
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .chi2 import Chi2
from .covariance import CovarianceFactor
from .exponential_family import ExponentialFamily


class Wishart(CovarianceFactor, ExponentialFamily):
    """Wishart(df, covariance_matrix), or with precision_matrix or scale_tril in its place; df is above the size less 1."""

    arg_constraints = {
        "covariance_matrix": constraints.positive_definite, "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky, "df": constraints.greater_than(0),
    }  # fmt: skip
    support = constraints.positive_definite
    has_rsample = True

    def __init__(
        self, df: Any, covariance_matrix: Tensor | None = None, precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        name, matrix = self._given(covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril)
        if matrix.dim() < 2:
            raise ValueError("scale_tril must be at least two-dimensional, with optional leading batch dimensions")
        df = df if isinstance(df, Tensor) else tensor(float(df), dtype=matrix.dtype, device=matrix.device)
        batch, size = Size(broadcast_shape(matrix.shape[:-2], df.shape)), matrix.shape[-1]
        self.df = df.expand(batch)
        vars(self)[name] = matrix.expand((*batch, -1, -1))
        self.arg_constraints = {**type(self).arg_constraints, "df": constraints.greater_than(size - 1)}
        if self.df.le(size - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {size - 1}.")
        super().__init__(batch, Size((size, size)), validate_args)
        if self.df.lt(size).any():
            warnings.warn("Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.", stacklevel=2)
        self._factor = matrix if name == "scale_tril" else linalg.cholesky(matrix)
        if name == "precision_matrix":
            self._factor = linalg.cholesky(linalg.cholesky_inverse(self._factor))
        self._squares = Chi2(self.df.unsqueeze(-1) - arange(size, dtype=self.df.dtype, device=self.df.device).expand((*batch, -1)))

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        shape = Size(batch_shape)
        self._expand_matrices(other, shape)
        other.df = self.df.expand(shape)
        other._squares = self._squares.expand((*shape, self._event_shape[-1]))
        other.arg_constraints = self.arg_constraints
        other._batch_shape, other._event_shape, other._validate_args = shape, self._event_shape, self._validate_args
        return other

    @property
    def _whole(self) -> tuple[int, ...]:
        return (*self._batch_shape, *self._event_shape)

    @property
    def mean(self) -> Tensor:
        """df times the covariance."""
        return self.df[..., None, None] * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        """(df - size - 1) times the covariance, NaN where that is not positive."""
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        return where(factor <= 0, math.nan, factor)[..., None, None] * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        """Of each entry."""
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        return self.df[..., None, None] * (v.pow(2) + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def _drawn(self, sample_shape: Size) -> Tensor:
        size = self._event_shape[-1]
        roots = self._squares.rsample(sample_shape).sqrt()
        noise = roots.clamp(min=finfo(roots.dtype).eps).diag_embed(dim1=-2, dim2=-1)
        i, j = noise.new_ones((size, size)).tril(-1).nonzero().unbind(1)  # row by row
        noise[..., i, j] = randn((*sample_shape, *self._batch_shape, size * (size - 1) // 2), dtype=noise.dtype, device=noise.device)
        factor = self._factor @ noise
        return factor @ factor.mT

    def rsample(self, sample_shape: Iterable[int] = (), max_try_correction: int | None = None) -> Tensor:
        """Draws with history; some are drawn again, at most ``max_try_correction`` (10) times."""
        sample = self._drawn(Size(sample_shape))
        again = self._by_sample(self.support.check(sample))  # PyTorch's first round draws the regular ones again: so do these numbers
        if again.any():
            warnings.warn("Singular sample detected.", stacklevel=2)
            for _ in range(10 if max_try_correction is None else max_try_correction):
                drawn = self._drawn(again[again].shape)
                sample[again] = drawn
                again[again.clone()] = self._by_sample(~self.support.check(drawn))
                if not again.any():
                    break
        return sample

    def _by_sample(self, said: Tensor) -> Tensor:
        """bool[*sample, *batch] -> bool[*sample]: true of any matrix of a batch."""
        return said.flatten(said.dim() - len(self._batch_shape)).any(-1) if self._batch_shape else said

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        nu, p = self.df, self._event_shape[-1]
        return (
            -nu * (p * math.log(2) / 2 + self._log_diagonal()) - (nu / 2).mvlgamma(p)  # type: ignore[attr-defined]  # a definition
            + (nu - p - 1) / 2 * linalg.slogdet(value).logabsdet
            - linalg.cholesky_solve(value, self._factor).diagonal(dim1=-2, dim2=-1).sum(-1) / 2
        )  # fmt: skip

    def _log_diagonal(self) -> Tensor:
        return self._factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def entropy(self) -> Tensor:
        """Of the density."""
        nu, p = self.df, self._event_shape[-1]
        digammas = (nu.unsqueeze(-1) / 2 - arange(p, dtype=nu.dtype, device=nu.device) / 2).digamma().sum(-1)
        return (p + 1) * (p * math.log(2) / 2 + self._log_diagonal()) + (nu / 2).mvlgamma(p) - (nu - p - 1) / 2 * digammas + nu * p / 2  # type: ignore[attr-defined]
