"""VonMises: angles around a direction (draws by rejection after Best and Fisher, 1979; Bessel functions by Abramowitz and Stegun, 9.8)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from ...dialects.types import bool_, float64
from ..grad_mode import no_grad
from ..random_tensors import rand
from ..selection import where
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .location_scale import Located
from .parameters import broadcast_all

# Of log I0 and log I1: below 3.75 a polynomial in (x / 3.75) ** 2, above one in 3.75 / x.
_SMALL = (
    (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.360768e-1, 0.45813e-2),
    (0.5, 0.87890594, 0.51498869, 0.15084934, 0.2658733e-1, 0.301532e-2, 0.32411e-3),
)
_LARGE = (
    (0.39894228, 0.1328592e-1, 0.225319e-2, -0.157565e-2, 0.916281e-2, -0.2057706e-1, 0.2635537e-1, -0.1647633e-1, 0.392377e-2),
    (0.39894228, -0.3988024e-1, -0.362018e-2, 0.163801e-2, -0.1031555e-1, 0.2282967e-1, -0.2895312e-1, 0.1787654e-1, -0.420059e-2),
)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    *rest, result = coefficients
    for c in reversed(rest):
        result = c + x * result
    return result  # type: ignore[return-value]  # there are several


def _log_bessel(x: Tensor, order: int) -> Tensor:
    """log I of order 0 or 1 of positive numbers."""
    small = (x / 3.75) * (x / 3.75)
    small = _polynomial(small, _SMALL[order])
    small = (x.abs() * small).log() if order == 1 else small.log()
    large = x - 0.5 * x.log() + _polynomial(3.75 / x, _LARGE[order]).log()
    return where(x < 3.75, small, large)


class VonMises(Located, Distribution):
    """VonMises(loc, concentration): angles in [-pi, pi)."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    _copied_ = ("loc", "concentration")

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, Size(), validate_args)

    @cached_property
    def _proposal(self) -> Tensor:
        """The parameter of the wrapped Cauchy numbers that are proposed, in float64."""
        kappa = self.concentration.double()
        tau = 1 + (1 + 4 * kappa**2).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
        return where(kappa < 1e-5, 1 / kappa + kappa, (1 + rho**2) / (2 * rho))

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Draws without history, in rounds until all are accepted."""
        with no_grad():
            shape = self._extended_shape(sample_shape)
            kappa, proposal = self.concentration.double().expand(shape), self._proposal.expand(shape)
            x, done = kappa.new_empty(shape), kappa.new_zeros(shape, dtype=bool_)
            while not done.all():
                u1, u2, u3 = rand((3, *shape), dtype=float64, device=kappa.device).unbind()
                z = (math.pi * u1).cos()
                f = (1 + proposal * z) / (proposal + z)
                c = kappa * (proposal - f)
                accept = ((c * (2 - c) - u2) > 0) | ((c / u2).log() + 1 - c >= 0)
                if accept.any():
                    x = where(accept, (u3 - 0.5).sign() * f.acos(), x)
                    done = done | accept
            return ((x + math.pi + self.loc.double()) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        if self._validate_args:
            self._validate_sample(value)
        return self.concentration * (value - self.loc).cos() - math.log(2 * math.pi) - _log_bessel(self.concentration, 0)

    @cached_property
    def variance(self) -> Tensor:
        """Of the circle: 1 - I1 / I0."""
        return 1 - (_log_bessel(self.concentration, 1) - _log_bessel(self.concentration, 0)).exp()
