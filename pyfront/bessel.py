"""Bessel, Airy and orthogonal polynomials: functions without a derivative in PyTorch, computed by numpy in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dialects.types import DType
from .arithmetic import nodes
from .creation import of_array
from .promote import Defaults
from .recorder import value
from .tensor import Tensor

Array = np.ndarray
_GAMMA = 0.5772156649015329  # Euler's constant
_FAR = 12.0  # from here on Hankel's asymptotic series


def _made(found: Array, dtype: DType, like: Any) -> Tensor:
    return of_array(np.asarray(found, dtype.numpy), like=like if isinstance(like, Tensor) else None)


def on_host(function: Callable[[Array], Array], doc: str) -> Callable[[Tensor], Tensor]:
    """A function of one tensor, rounded once from float64."""

    def apply(input: Tensor) -> Tensor:
        dtype = input.dtype if input.dtype.kind == "f" else Defaults.dtype
        with np.errstate(all="ignore"):
            return _made(np.asarray(function(np.asarray(input._value(), np.float64))), dtype, input)

    apply.__doc__ = doc
    return apply


# -- Bessel functions of integer order -----------------------------------------------------------------------------
# Near 0 the power series, far from it Hankel's expansion (Abramowitz and Stegun 9.1.10-13, 9.2.5-10).


def _power_series(x: Array, order: int) -> Array:
    q, total = -x * x / 4, np.zeros_like(x)
    part = (x / 2) ** order / math.factorial(order)
    for k in range(1, 80):
        total = total + part
        part = part * q / (k * (k + order))
    return total


def _hankel(x: Array, order: int, turned: bool) -> Array:
    mu = 4.0 * order * order
    p, q, part = np.ones_like(x), np.zeros_like(x), np.ones_like(x)
    for k in range(1, 24):
        part = part * (mu - (2 * k - 1) ** 2) / (k * 8 * x)
        sign = -1.0 if (k // 2) % 2 else 1.0
        if k % 2:
            q = q + sign * part
        else:
            p = p + sign * part
    angle = x - order * math.pi / 2 - math.pi / 4
    c, s = np.cos(angle), np.sin(angle)
    return np.sqrt(2 / (math.pi * x)) * (p * s + q * c if turned else p * c - q * s)


def _j(x: Array, order: int) -> Array:
    far = np.abs(x)
    found = np.where(far < _FAR, _power_series(np.minimum(far, _FAR), order), _hankel(np.maximum(far, _FAR), order, False))
    return np.where(np.isinf(x), 0.0, np.where((x < 0) & (order % 2 == 1), -found, found))


def _y(x: Array, order: int) -> Array:
    near = np.minimum(x, _FAR)
    half, harmonic, total = near / 2, 0.0, np.zeros_like(x)
    part = half**order / math.factorial(order)
    for k in range(80):
        both = harmonic + harmonic + (1.0 / (k + 1) if order else 0.0)
        total = total + part * both
        part = part * -(half * half) / ((k + 1) * (k + 1 + order))
        harmonic += 1.0 / (k + 1)
    series = 2 / math.pi * (np.log(half) + _GAMMA) * _power_series(near, order) - total / math.pi
    series = series - 2 / (math.pi * near) if order else series
    found = np.where(x < _FAR, series, _hankel(np.maximum(x, _FAR), order, True))
    found = np.where(np.isinf(x), 0.0, found)
    return np.where(x < 0, math.nan, np.where(x == 0, -math.inf, found))


def _modified_k(x: Array, order: float, scaled: bool) -> Array:
    """The integral of exp(-x cosh t) cosh(order t) over t > 0 by trapezoids, which converge faster than any power."""
    step = 1 / 64
    t = np.arange(0, 12, step)
    weight = np.where(t == 0, 0.5, 1.0) * np.cosh(order * t) * step
    safe = np.maximum(x, 1e-300)[..., None]
    found = (np.exp(-safe * (np.cosh(t) - 1)) * weight).sum(-1)
    small = x < 1e-3  # the integrand reaches beyond: the leading terms of the series
    leading = -np.log(np.maximum(x, 1e-300) / 2) - _GAMMA if order == 0 else 1 / np.maximum(x, 1e-300)
    if order in (0, 1):
        correction = x * x / 4 * (leading + 1) if order == 0 else x / 2 * (np.log(np.maximum(x, 1e-300) / 2) + _GAMMA - 0.5)
        found = np.where(small, (leading + correction) * np.exp(np.maximum(x, 0)), found)
    found = found if scaled else found * np.exp(-x)
    return np.where(x < 0, math.nan, np.where(x == 0, math.inf, np.where(np.isinf(x), 0.0, found)))


def _modified_i(x: Array, order: int) -> Array:
    from ..dialects.book import OPS

    return OPS["i1" if order else "i0"].evaluate([x])[0]


def _airy(x: Array) -> Array:
    """Ai: the Maclaurin series in the middle, asymptotic series on both sides (Abramowitz and Stegun 10.4.59-60)."""
    middle = np.clip(x, -6.0, 4.0)
    f, g, a, b = np.ones_like(x), np.array(middle), np.ones_like(x), np.array(middle)
    for k in range(1, 60):
        a = a * middle**3 / ((3 * k - 1) * 3 * k)
        b = b * middle**3 / (3 * k * (3 * k + 1))
        f, g = f + a, g + b
    series = 0.3550280538878172 * f - 0.2588194037928068 * g
    right = np.maximum(x, 4.0)
    xi = 2 / 3 * right**1.5
    above = right**0.5 / (math.pi * math.sqrt(3)) * _modified_k(xi, 1 / 3, False)
    left = np.maximum(-x, 6.0)
    xi, even, odd, part = 2 / 3 * left**1.5, 0.0, 0.0, 1.0
    for k in range(20):
        sign = -1.0 if (k // 2) % 2 else 1.0
        even, odd = (even + sign * part, odd) if k % 2 == 0 else (even, odd + sign * part)
        part = part * ((6 * k + 1) * (6 * k + 5)) / (72 * (k + 1) * xi)
    below = (np.sin(xi + math.pi / 4) * even - np.cos(xi + math.pi / 4) * odd) / (math.sqrt(math.pi) * left**0.25)
    found = np.where(x > 4, above, np.where(x < -6, below, series))
    return np.where(np.isnan(x), x, found)


bessel_j0 = on_host(lambda x: _j(x, 0), "The Bessel function J of order 0.")
bessel_j1 = on_host(lambda x: _j(x, 1), "The Bessel function J of order 1.")
bessel_y0 = on_host(lambda x: _y(x, 0), "The Bessel function Y of order 0.")
bessel_y1 = on_host(lambda x: _y(x, 1), "The Bessel function Y of order 1.")
modified_bessel_i0 = on_host(lambda x: _modified_i(x, 0), "The modified Bessel function I of order 0.")
modified_bessel_i1 = on_host(lambda x: _modified_i(x, 1), "The modified Bessel function I of order 1.")
modified_bessel_k0 = on_host(lambda x: _modified_k(x, 0, False), "The modified Bessel function K of order 0.")
modified_bessel_k1 = on_host(lambda x: _modified_k(x, 1, False), "The modified Bessel function K of order 1.")
scaled_modified_bessel_k0 = on_host(lambda x: _modified_k(x, 0, True), "``exp(x)`` times K of order 0.")
scaled_modified_bessel_k1 = on_host(lambda x: _modified_k(x, 1, True), "``exp(x)`` times K of order 1.")
spherical_bessel_j0 = on_host(
    lambda x: np.where(np.isinf(x), 0.0, np.sinc(x / math.pi)), "The spherical Bessel function of order 0: ``sin(x) / x``."
)
airy_ai = on_host(_airy, "The Airy function Ai.")


# -- orthogonal polynomials: three-term recurrences ----------------------------------------------------------------

_Step = Callable[[int, Array, Array, Array], Array]


def _twice(k: int, x: Array, p: Array, before: Array) -> Array:
    return 2 * x * p - before


_POLYNOMIALS: dict[str, tuple[str, Callable[[Array], Array], _Step]] = {
    "chebyshev_polynomial_t": ("Chebyshev's, first kind", lambda x: x, _twice),
    "chebyshev_polynomial_u": ("Chebyshev's, second kind", lambda x: 2 * x, _twice),
    "chebyshev_polynomial_v": ("Chebyshev's, third kind", lambda x: 2 * x - 1, _twice),
    "chebyshev_polynomial_w": ("Chebyshev's, fourth kind", lambda x: 2 * x + 1, _twice),
    "hermite_polynomial_h": ("Hermite's, of the physicists", lambda x: 2 * x, lambda k, x, p, q: 2 * (x * p - k * q)),
    "hermite_polynomial_he": ("Hermite's, of the statisticians", lambda x: x, lambda k, x, p, q: x * p - k * q),
    "laguerre_polynomial_l": ("Laguerre's", lambda x: 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)),
    "legendre_polynomial_p": ("Legendre's", lambda x: x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)),
}


def _polynomial(name: str, shifted: bool) -> Callable[[Any, Any], Tensor]:
    words, first, step = _POLYNOMIALS[name]

    def apply(input: Any, n: Any) -> Tensor:
        a, b = nodes(input, n, "float")
        x, degree = np.broadcast_arrays(np.asarray(value(a), np.float64), np.trunc(np.asarray(value(b), np.float64)))
        x = 2 * x - 1 if shifted else x
        before, p = np.ones_like(x), first(x)
        found = np.where(degree == 0, before, np.where(degree == 1, p, 0.0))
        with np.errstate(all="ignore"):
            for k in range(1, int(degree.max(initial=0))):
                before, p = p, step(k, x, p, before)
                found = np.where(degree == k + 1, p, found)
        return _made(found, a.type[1], input)

    apply.__doc__ = f"The polynomial of degree ``n`` ({words}{', on 0 … 1' if shifted else ''})."
    return apply


POLYNOMIALS: dict[str, Callable[[Any, Any], Tensor]] = {name: _polynomial(name, False) for name in _POLYNOMIALS} | {
    f"shifted_{name}": _polynomial(name, True) for name in _POLYNOMIALS if name.startswith("chebyshev")
}
