"""LKJCholesky: factors of correlation matrices (Lewandowski, Kurowicka and Joe, 2009; the onion method)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..creation import tensor
from ..joining import cat
from ..limits import finfo
from ..random_tensors import randn
from ..sequences import arange

from ..size import Size
from ..special_functions import mvlgamma
from ..tensor import Tensor
from . import constraints
from .beta import Beta
from .distribution import Distribution


class LKJCholesky(Distribution):
    """LKJCholesky(dim, concentration): lower triangles L [dim, dim], the density of L L' going with det ** (concentration - 1)."""

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        self.concentration = concentration if isinstance(concentration, Tensor) else tensor(float(concentration))
        shape = self.concentration.size()
        marginal = self.concentration + 0.5 * (dim - 2)
        offset = arange(dim - 1, dtype=self.concentration.dtype, device=self.concentration.device)
        offset = cat([offset.new_zeros((1,)), offset])
        self._beta = Beta(offset + 0.5, marginal.unsqueeze(-1) - 0.5 * offset)
        super().__init__(shape, Size((dim, dim)), validate_args)

    def expand(self, batch_shape: Iterable[int], _instance: Any = None) -> Any:
        """The same for a larger batch."""
        other = type(self).__new__(type(self)) if _instance is None else _instance
        shape = Size(batch_shape)
        other.dim, other.concentration = self.dim, self.concentration.expand(shape)
        other._beta = self._beta.expand((*shape, self.dim))
        other._batch_shape, other._event_shape, other._validate_args = shape, self._event_shape, self._validate_args
        return other

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """float[*sample_shape, *batch, dim, dim]."""
        squares = self._beta.sample(sample_shape).unsqueeze(-1)
        normal = randn(self._extended_shape(sample_shape), dtype=squares.dtype, device=squares.device).tril(-1)
        sphere = normal / normal.norm(dim=-1, keepdim=True)
        rows = sphere.clone()
        rows[..., 0, :] = 0.0  # the first row has no direction
        rows = squares.sqrt() * rows
        rest = (1 - (rows**2).sum(-1)).clamp(min=finfo(rows.dtype).tiny).sqrt()
        return rows + rest.diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density with regard to the entries below the diagonal."""
        if self._validate_args:
            self._validate_sample(value)
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - arange(2, self.dim + 1, device=self.concentration.device)
        unnormalized = (order * diagonal.log()).sum(-1)
        fewer = self.dim - 1
        alpha = self.concentration + 0.5 * fewer
        log_volume = 0.5 * fewer * math.log(math.pi) + mvlgamma(alpha - 0.5, fewer) - alpha.lgamma() * fewer
        return unnormalized - log_volume
