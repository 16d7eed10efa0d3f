"""Exact arithmetic of the PTX ISA's floats on numpy arrays: every rounding mode, fused multiply-add, conversions.

Source: PTX ISA 9.0, "Floating Point Instructions" and "cvt". What numpy rounds once (to nearest) is left to it; elsewhere a
result is held as a sum of two doubles that has no error, and rounded from there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
CANONICAL_NAN = {np.dtype(np.float32): np.uint32(0x7FFFFFFF), np.dtype(np.float64): np.uint64(0x7FFFFFFFFFFFFFFF)}
"""What an operation's NaN is: a payload does not survive."""


def canonical(x: Array) -> Array:
    """With the NaN of the hardware in the place of any."""
    x = np.asarray(x)
    wrong = np.isnan(x)
    if wrong.any():
        bits = CANONICAL_NAN.get(x.dtype)
        if bits is not None:
            x = np.where(wrong, bits.view(x.dtype), x)
    return x


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as a double and what it lacks (Knuth)."""
    with np.errstate(invalid="ignore", over="ignore"):
        s = a + b
        t = s - a
        return s, (a - (s - t)) + (b - t)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b as a double and what it lacks (Dekker; exact while nothing leaves the range)."""
    p = a * b
    high_a, high_b = (x * 134217729.0 - (x * 134217729.0 - x) for x in (a, b))
    low_a, low_b = a - high_a, b - high_b
    return p, ((high_a * high_b - p) + high_a * low_b + low_a * high_b) + low_a * low_b


def to_odd(s: Array, e: Array) -> Array:
    """s + e as a double rounded to odd: rounding it once more, to fewer bits, is as good as rounding the exact sum."""
    bits = np.asarray(s, np.float64).view(np.int64)
    off = (e != 0) & (bits & 1 == 0) & np.isfinite(s) & np.isfinite(e)
    towards = np.where((e > 0) == (s > 0), 1, -1)
    return np.where(off, bits + np.where(s == 0, 0, towards), bits).view(np.float64)


def rounded(s: Array, e: Array, mode: str) -> Array:
    """The exact number s + e (doubles) as float32. mode: rn, rz, rm or rp."""
    if mode == "rn":
        return to_odd(s, e).astype(np.float32)
    near = to_odd(s, e).astype(np.float32)
    wide = near.astype(np.float64)
    above = (wide > s) | ((wide == s) & (e < 0))
    below = (wide < s) | ((wide == s) & (e > 0))
    down, up = np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))
    if mode == "rm":
        return np.where(above & np.isfinite(s), down, near)
    if mode == "rp":
        return np.where(below & np.isfinite(s), up, near)
    return np.where(above & (near > 0), down, np.where(below & (near < 0), up, near))


def fused32(a: Array, b: Array, c: Array, mode: str) -> Array:
    """a * b + c of float32, rounded once."""
    product = a.astype(np.float64) * b.astype(np.float64)  # 48 bits: exact
    if mode == "rn":
        s = product + c.astype(np.float64)
        halfway = (s.view(np.int64) & 0x1FFFFFFF) == 0x10000000  # only there a second rounding can differ, or below normal numbers
        if not (halfway | ((np.abs(s) < 2.0**-125) & (s != 0))).any():
            return s.astype(np.float32)
    s, e = two_sum(product, c.astype(np.float64))
    plain = ~np.isfinite(s)
    made = rounded(s, np.where(plain, 0.0, e), mode)
    if mode == "rm" and not plain.all():  # an exact zero of opposite terms is -0 here
        zero = (s == 0) & (e == 0) & (np.signbit(product) != np.signbit(c))
        made = np.where(zero, np.float32(-0.0), made)
    return np.where(plain, s.astype(np.float32), made)


def fused64(a: Array, b: Array, c: Array, mode: str) -> Array:
    """a * b + c of float64, rounded once to nearest (Boldo and Melquiond); exact while no intermediate leaves the range."""
    if mode != "rn":
        raise ValueError(f"fma.{mode}.f64")
    uh, ul = two_product(a, b)
    th, tl = two_sum(c, ul)
    vh, vl = two_sum(uh, th)
    made = vh + to_odd(*two_sum(tl, vl))
    plain = a * b + c
    return np.where(np.isfinite(made), made, plain)


def directed32(op: str, a: Array, b: Array, mode: str) -> Array:
    """add, sub or mul of float32 in a rounding mode."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    if op == "mul":
        return rounded(x * y, np.zeros_like(x * y), mode)
    s, e = two_sum(x, -y if op == "sub" else y)
    return rounded(s, np.where(np.isfinite(s), e, 0.0), mode)


def flushed(x: Array) -> Array:
    """Subnormal float32 become zero of their sign (.ftz)."""
    x = np.asarray(x)
    return np.where(np.abs(x) < np.float32(1.17549435e-38), np.copysign(np.float32(0), x), x) if x.dtype == np.float32 else x


def saturated(x: Array) -> Array:
    """Into 0 to 1; NaN is 0 (.sat)."""
    x = np.where(np.isnan(x), x.dtype.type(0), x)
    return np.where(x > 0, np.minimum(x, x.dtype.type(1)), x.dtype.type(0))


def tf32(x: Array) -> Array:
    """float32 to 10 bits of mantissa, ties away from zero, as bits (cvt.rna.tf32)."""
    bits = x.view(np.uint32)
    made = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    made = np.where(np.isinf(x), bits, made)
    return np.where(np.isnan(x), np.uint32(0x7FFFFFFF), made)


def bf16_bits(x: Array, mode: str = "rn") -> Array:
    """float32 to the bits of bfloat16, ties to even or towards zero."""
    bits = x.view(np.uint32)
    if mode == "rn":
        bits = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    return np.where(np.isnan(x), np.uint16(0x7FFF), (bits >> np.uint32(16)).astype(np.uint16))


def f16_bits(x: Array, mode: str = "rn") -> Array:
    """float32 (or 64) to the bits of float16, ties to even or towards zero."""
    made = x.astype(np.float16)
    if mode == "rz":
        away = np.abs(made.astype(x.dtype)) > np.abs(x)
        made = np.where(away & np.isfinite(x), np.nextafter(made, np.float16(0)), made)
    return np.where(np.isnan(x), np.uint16(0x7FFF), made.view(np.uint16))


def from_bf16(bits: Array) -> Array:
    """The bits of bfloat16 as float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_f16(bits: Array) -> Array:
    """The bits of float16 as float32."""
    return bits.astype(np.uint16).view(np.float16).astype(np.float32)


WHOLE: dict[str, Callable[[Array], Array]] = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}
"""How cvt makes a float whole."""


def to_integer(x: Array, how: str, dtype: np.dtype) -> Array:
    """A float as an integer: what does not fit is the nearest that does, NaN is 0."""
    limits = np.iinfo(dtype)
    wide = np.nan_to_num(WHOLE[how](x.astype(np.float64)), nan=0.0, posinf=np.inf, neginf=-np.inf)
    above, below = wide >= float(limits.max), wide <= float(limits.min)
    inside = np.where(above | below, 0, wide).astype(np.int64 if dtype.kind == "i" else np.uint64).astype(dtype)
    return np.where(above, dtype.type(limits.max), np.where(below, dtype.type(limits.min), inside))


def approximate(name: str, x: Array) -> Array:
    """An .approx instruction, from the double result: as near as float32 gets, well within the ISA's bounds (2^-22 relative)."""
    wide = x.astype(np.float64)
    made = {
        "ex2": np.exp2, "lg2": np.log2, "rcp": lambda v: 1 / v, "rsqrt": lambda v: 1 / np.sqrt(v), "sqrt": np.sqrt, "sin": np.sin,
        "cos": np.cos, "tanh": np.tanh,
    }[name](wide)  # fmt: skip
    return made.astype(x.dtype)
