"""Dirichlet: shares of a whole."""

from __future__ import annotations

from collections.abc import Iterable

from ..composites import xlogy
from ..nn.functional import one_hot
from ..selection import where
from ..tensor import Tensor
from . import constraints
from .exponential_family import ExponentialFamily
from .implicit import standard_dirichlet


class Dirichlet(ExponentialFamily):
    """Dirichlet(concentration): one number per share, along the last dimension."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    _copied_ = ("concentration",)
    _event_parameters_ = 1

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The concentrations' own shares."""
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Tensor:
        """A corner where all concentrations are below 1."""
        above = (self.concentration - 1).clamp(min=0.0)
        inside = above / above.sum(-1, True)
        corner = one_hot(inside.argmax(dim=-1), above.shape[-1]).to(inside)
        return where((self.concentration < 1).all(dim=-1, keepdim=True), corner, inside)

    @property
    def variance(self) -> Tensor:
        """Per share."""
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Gamma numbers that sum to 1."""
        return standard_dirichlet(self.concentration.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return xlogy(a - 1.0, value).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        """Closed form."""
        a, total = self.concentration, self.concentration.sum(-1)
        spread = (a.shape[-1] - total) * total.digamma()
        return a.lgamma().sum(-1) - total.lgamma() - spread - ((a - 1.0) * a.digamma()).sum(-1)
