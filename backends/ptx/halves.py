"""Arithmetic of 16-bit floats, alone or two in a register: f16, bf16, f16x2, bf16x2.

Source: PTX ISA 9.0, "Half Precision Floating Point" and "Half Precision Comparison". Every result is the exact one rounded once: it is
held as a sum of two doubles without error, as a double rounded to odd, and rounded from there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import rounding

Array = np.ndarray
KINDS = ("f16", "bf16", "f16x2", "bf16x2")
ARITHMETIC = ("add", "sub", "mul", "fma", "neg", "abs", "min", "max")
NAN = np.uint16(0x7FFF)
_SIGN = np.uint16(0x8000)


def single(kind: str) -> str:
    """The type of one number."""
    return kind.removesuffix("x2")


def wide(bits: Array, kind: str) -> Array:
    """Numbers as doubles, exactly."""
    numbers = rounding.from_f16(bits) if single(kind) == "f16" else rounding.from_bf16(bits)
    return numbers.astype(np.float64)


def narrow(s: Array, e: Array, kind: str) -> Array:
    """The exact number s + e (doubles) as bits, to nearest."""
    exact = rounding.to_odd(s, np.where(np.isfinite(s), e, 0.0))
    if single(kind) == "f16":
        return np.where(np.isnan(exact), NAN, exact.astype(np.float16).view(np.uint16))
    near = rounding.rounded(exact, np.zeros_like(exact), "rz")
    odd = (near.astype(np.float64) != exact) & np.isfinite(near)
    return rounding.bf16_bits(np.where(odd, near.view(np.uint32) | np.uint32(1), near.view(np.uint32)).view(np.float32))


def flushed(bits: Array, kind: str) -> Array:
    """Subnormal numbers become zero of their sign (.ftz; of f16 only)."""
    assert single(kind) == "f16"
    return np.where(bits & np.uint16(0x7C00) == 0, bits & _SIGN, bits)


def _computed(name: str, kind: str) -> Callable[..., Array]:
    """Of one number each."""

    def compute(*given: Array) -> Array:
        if name in ("neg", "abs"):
            (a,) = given
            return a ^ _SIGN if name == "neg" else a & ~_SIGN
        a, b, *rest = (wide(x, kind) for x in np.broadcast_arrays(*given))
        if name in ("mul", "fma"):
            product = a * b  # of 22 bits at most: exact
            return narrow(*(rounding.two_sum(product, rest[0]) if rest else (product, np.zeros_like(product))), kind)
        return narrow(*rounding.two_sum(a, -b if name == "sub" else b), kind)

    return compute


def extreme(larger: bool, takes_nan: bool, kind: str) -> Callable[..., Array]:
    """The larger or the smaller: +0 is larger than -0, and NaN counts only where .NaN says so or both are."""

    def compute(x: Array, y: Array) -> Array:
        x, y = np.broadcast_arrays(x, y)
        a, b = wide(x, kind), wide(y, kind)
        first = (a > b) if larger else (a < b)
        first = first | ((a == b) & (np.signbit(b) if larger else np.signbit(a)))
        one, other = np.isnan(a), np.isnan(b)
        made = np.where(other | (first & ~one), x, y)
        return np.where((one | other) if takes_nan else (one & other), NAN, made)

    return compute


def arithmetic(name: str, kind: str, flush: bool = False, saturate: bool = False, relu: bool = False, takes_nan: bool = False) -> Callable[..., Array]:
    """An instruction on registers of a type: of both halves where there are two."""
    function = extreme(name == "max", takes_nan, kind) if name in ("min", "max") else _computed(name, kind)

    def compute(*given: Array) -> Array:
        if flush:
            given = tuple(flushed(x, kind) for x in given)
        y = function(*given)
        y = flushed(y, kind) if flush else y
        if saturate or relu:
            number = wide(y, kind)
            y = np.where(number > 0, y, np.where(np.isnan(number) & relu, NAN, np.uint16(0)))
            y = np.where(saturate & (number > 1), narrow(np.ones(1), np.zeros(1), kind), y)
        return y

    if kind == single(kind):
        return compute

    return _of_both(compute)


def parts(bits: Array) -> tuple[Array, Array]:
    """The lower and the upper number of a register of two."""
    return (bits & np.uint32(0xFFFF)).astype(np.uint16), (bits >> np.uint32(16)).astype(np.uint16)


def _of_both(compute: Callable[..., Array]) -> Callable[..., Array]:
    def both(*given: Array) -> Array:
        low, high = (compute(*numbers) for numbers in zip(*map(parts, given), strict=True))
        return high.astype(np.uint32) << np.uint32(16) | low

    return both


def special(name: str, kind: str) -> Callable[[Array], Array]:
    """ex2 and tanh, the nearest number. ex2 of bf16 makes zeros of subnormal numbers (its .ftz)."""
    function = np.exp2 if name == "ex2" else np.tanh

    def compute(x: Array) -> Array:
        with np.errstate(over="ignore", under="ignore"):
            y = function(wide(x, kind))
        made = narrow(y, np.zeros_like(y), kind)
        return np.where(made & np.uint16(0x7F80) == 0, made & _SIGN, made) if name == "ex2" and single(kind) == "bf16" else made

    return compute if kind == single(kind) else _of_both(compute)
