"""Gamma and Dirichlet draws that gradients pass through: the slope of a draw by its parameter, from the distribution itself.

A draw x of the distribution F(x; a) keeps its F when a moves: dx/da = -(dF/da) / (dF/dx). Both are computed in double
precision from the series or the continued fraction that converges, so that the factors they share cancel and no
tail underflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..creation import of_array
from ..function import Function, once_differentiable
from ..random_tensors import dirichlet_numbers, gamma_numbers
from ..special_functions import lower_series, upper_fraction
from ..tensor import Tensor

Curve = Callable[[np.ndarray], np.ndarray]


class _StandardGamma(Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor) -> Tensor:
        drawn = gamma_numbers(concentration)
        ctx.save_for_backward(concentration, drawn)
        return drawn

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        a, x = [np.asarray(t._value(), np.float64) for t in ctx.saved_tensors]
        return g * of_array(_gamma_slope(a, x).astype(g.dtype.numpy), like=g)


class _StandardDirichlet(Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor) -> Tensor:
        drawn = dirichlet_numbers(concentration)
        ctx.save_for_backward(concentration, drawn)
        return drawn

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        a, x = [np.asarray(t._value(), np.float64) for t in ctx.saved_tensors]
        # one share against all the others is a Beta; the others shrink or grow in proportion
        alone = _beta_slope(a, a.sum(-1, keepdims=True) - a, x) / (1 - x)
        shares = ctx.saved_tensors[1]
        return of_array(alone.astype(g.dtype.numpy), like=g) * (g - (shares * g).sum(-1, True))


def standard_gamma(concentration: Tensor) -> Tensor:
    """Draws of rate 1."""
    return _StandardGamma.apply(concentration)


def standard_dirichlet(concentration: Tensor) -> Tensor:
    """Shares along the last dimension."""
    return _StandardDirichlet.apply(concentration)


def _gamma_slope(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx/da. P = x^a e^-x / gamma(a) * series below a + 1, 1 - P = x^a e^-x / gamma(a) * fraction above."""
    with np.errstate(all="ignore"):
        below, shared = x < a + 1, np.log(x) - _digamma(a)
        lower = -x * _product(lambda a: lower_series(a, x), a, shared)
        upper = x * _product(lambda a: upper_fraction(a, x), a, shared)
        found = np.where(below, lower, upper)
    return np.where(np.isfinite(found), found, 0.0)


def _beta_slope(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx/da of Beta(a, b): I(x; a, b) = x^a (1 - x)^b / (a B(a, b)) * fraction, or 1 - I from the other end."""
    with np.errstate(all="ignore"):
        below, shared = x < (a + 1) / (a + b + 2), np.log(x) - (_digamma(a) - _digamma(a + b))
        lower = -x * (1 - x) * _product(lambda a: _beta_fraction(a, b, x) / a, a, shared)
        upper = x * (1 - x) * _product(lambda a: _beta_fraction(b, a, 1 - x) / b, a, shared)
        found = np.where(below, lower, upper)
    return np.where(np.isfinite(found), found, 0.0)


def _product(curve: Curve, a: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """curve * (shared + d log curve / da), the slope by differences of fourth order: 1e-11 off."""
    h = 1e-3 * a
    near, far = [np.log(curve(a + k * h)) - np.log(curve(a - k * h)) for k in (1, 2)]
    return curve(a) * (shared + (8 * near - far) / (12 * h))


def _digamma(a: np.ndarray) -> np.ndarray:
    return of_array(a).digamma()._value()


def _beta_fraction(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Lentz's evaluation of the incomplete Beta function's continued fraction (Numerical Recipes 6.4)."""
    tiny = 1e-300
    c = np.ones(np.broadcast_shapes(a.shape, b.shape, x.shape))
    d = 1 / _nonzero(1 - (a + b) * x / (a + 1), tiny)
    h = d
    for m in range(1, 1000):
        for term in (m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))):
            d = 1 / _nonzero(1 + term * d, tiny)
            c = _nonzero(1 + term / c, tiny)
            h = h * (d * c)
        if not (np.abs(d * c - 1) > 1e-15)[x < (a + 1) / (a + b + 2)].any():
            break
    return h


def _nonzero(value: np.ndarray, tiny: float) -> np.ndarray:
    return np.where(np.abs(value) < tiny, tiny, value)
