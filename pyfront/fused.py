"""Fused: x * a + b rounded once, in numpy, as one instruction of a processor does it."""

from __future__ import annotations

import numpy as np

_BELOW_SINGLE, _TIE = np.int64((1 << 29) - 1), np.int64(1 << 28)  # bits of a double that a single has not; half of its last place


def multiply_add(x: np.ndarray, a: np.ndarray | np.floating, b: np.ndarray | np.floating) -> np.ndarray:
    """x * a + b in the dtype of x (float32 or float64), a and b numbers or arrays that broadcast to its shape. Source of both error
    terms: Dekker (1971), Knuth (TAOCP 2)."""
    if x.dtype == np.float32:  # the product is exact in double precision
        product = x.astype(np.float64)
        product *= a
        total = product + b
        result = total.astype(np.float32)
        # Rounding a second time is wrong only where the first made a tie of single precision.
        ties = np.nonzero((total.view(np.int64) & _BELOW_SINGLE) == _TIE)
        if ties[0].size:
            added = np.broadcast_to(b, total.shape)[ties].astype(np.float64)
            result[ties] = _to_odd(total[ties], _rest(product[ties], added, total[ties])).astype(np.float32)
        return result
    product, rest = _product(x, a)
    total = product + b
    return total + (rest + _rest(product, b, total))


def _rest(product: np.ndarray, b: np.ndarray | np.floating, total: np.ndarray) -> np.ndarray:
    """What rounding lost in ``total = product + b``."""
    shift = total - product
    return (product - (total - shift)) + (b - shift)


def _to_odd(total: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The sum of both rounded to odd: rounding that to single precision is right at ties, too."""
    is_odd = (total.view(np.int64) & 1).astype(bool)
    return np.where((rest == 0) | is_odd, total, np.nextafter(total, np.copysign(np.inf, rest)))


def _product(x: np.ndarray, a: np.ndarray | np.floating) -> tuple[np.ndarray, np.ndarray]:
    """x * a in double precision, and what rounding it lost."""
    x_high, a_high = (v * 134217729.0 - (v * 134217729.0 - v) for v in (x, a))
    x_low, a_low, product = x - x_high, a - a_high, x * a
    return product, ((x_high * a_high - product) + x_high * a_low + x_low * a_high) + x_low * a_low
