"""Fused multiply-add in numpy rounds once, ties of single precision included."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, strategies as st
from lamina.pyfront.fused import multiply_add

_NUMBERS = st.floats(-(2.0**40), 2.0**40, width=32, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 2.0**-40)


def rounded(exact: Fraction, like: np.floating) -> np.floating:
    """The nearest number of that precision; of two as near the even one."""
    guess = type(like)(float(exact))
    near = [np.nextafter(guess, type(like)(-np.inf)), guess, np.nextafter(guess, type(like)(np.inf))]
    bits = np.int32 if guess.itemsize == 4 else np.int64
    return min(near, key=lambda v: (abs(Fraction(float(v)) - exact), int(v.view(bits)) & 1))


@given(_NUMBERS, _NUMBERS, _NUMBERS)
def test_rounded_once(x: float, a: float, b: float) -> None:
    for kind in (np.float32, np.float64):
        made = multiply_add(np.array([x], kind), kind(a), kind(b))[0]
        assert made == rounded(Fraction(x) * Fraction(a) + Fraction(b), kind(0))


def test_ties_that_the_smaller_part_decides() -> None:
    one, step = np.float32(1.0), np.float32(2.0**-12)
    tiny = np.array([2.0**-60, -(2.0**-60), 0.0], np.float32)
    x = np.full(3, one + step)  # squared: 1 + 2 * step + step**2, half of the last place
    made = multiply_add(x, x, tiny)
    assert made.dtype == np.float32
    assert [rounded(Fraction(float(x[0])) ** 2 + Fraction(float(t)), one) for t in tiny] == made.tolist()
    assert made[0] != made[1]
