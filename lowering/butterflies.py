"""Discrete Fourier transforms of a few points as straight arithmetic on vectors of points, one transform per lane.

Composite numbers are cut as in Cooley and Tukey's method, with the rotations between as constants; primes add points j and n - j
and subtract them first, so that half of the products remain (Winograd, "On Computing the Discrete Fourier Transform", 1978).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, pi, sin

from xdsl.dialects import arith, math, vector
from xdsl.dialects.builtin import FloatAttr, VectorType
from xdsl.ir import SSAValue

from .loop_builder import LoopBuilder

PLAIN = {"fastmath": arith.FastMathFlagsAttr("none")}

Number = tuple[SSAValue, SSAValue]
"""Real and imaginary part."""
Load = Callable[[], Number]


class Butterflies:
    """Writes transforms with exp(-2 pi i j k / n)."""

    def __init__(self, builder: LoopBuilder) -> None:
        self.b = builder

    # Arithmetic

    def add(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.emit(arith.AddfOp, (x, y), x.type, PLAIN)

    def sub(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.emit(arith.SubfOp, (x, y), x.type, PLAIN)

    def mul(self, x: SSAValue, y: SSAValue) -> SSAValue:
        return self.b.emit(arith.MulfOp, (x, y), x.type, PLAIN)

    def neg(self, x: SSAValue) -> SSAValue:
        return self.b.emit(arith.NegfOp, (x,), x.type, PLAIN)

    def fma(self, x: SSAValue, y: SSAValue, z: SSAValue) -> SSAValue:
        """x * y + z."""
        if isinstance(x.type, VectorType):
            return self.b.emit(vector.FMAOp, (x, y, z), x.type)
        return self.b.emit(math.FmaOp, (x, y, z), x.type, PLAIN)

    def number(self, value: float, like: SSAValue) -> SSAValue:
        """A constant of a value's type."""
        if isinstance(like.type, VectorType):
            return self.b.splat(FloatAttr(value, like.type.element_type), like.type)
        return self.b.constant(FloatAttr(value, like.type), like.type)

    def product(self, a: Number, w: Number) -> Number:
        """a * w."""
        (x, y), (c, d) = a, w
        return self.fma(y, self.neg(d), self.mul(x, c)), self.fma(x, d, self.mul(y, c))

    def sum(self, a: Number, b: Number) -> Number:
        return self.add(a[0], b[0]), self.add(a[1], b[1])

    def difference(self, a: Number, b: Number) -> Number:
        return self.sub(a[0], b[0]), self.sub(a[1], b[1])

    def rotated(self, a: Number, k: int, n: int) -> Number:
        """a * exp(-2 pi i k / n)."""
        k, (x, y) = k % n, a
        if k == 0:
            return a
        if 2 * k == n:
            return self.neg(x), self.neg(y)
        if 4 * k == n:
            return y, self.neg(x)
        if 4 * k == 3 * n:
            return self.neg(y), x
        if 8 * k % n == 0:
            half = self.number(0.5**0.5, x)
            total, rest = self.mul(self.add(x, y), half), self.mul(self.sub(y, x), half)
            return {1: (total, rest), 3: (rest, self.neg(total)), 5: (self.neg(total), self.neg(rest)), 7: (self.neg(rest), total)}[8 * k // n]
        c, d = cos(2 * pi * k / n), -sin(2 * pi * k / n)
        real = self.fma(y, self.number(-d, x), self.mul(x, self.number(c, x)))
        return real, self.fma(x, self.number(d, x), self.mul(y, self.number(c, x)))

    # Transforms

    def transform(self, points: Sequence[Load], done: Callable[[int, Number], None]) -> None:
        """Reads the points as they are needed; ``done(k, y)`` takes result k as soon as it is there."""
        n = len(points)
        p = 4 if n % 4 == 0 and n > 4 else _smallest_factor(n)
        if p == n or n == 4:
            for k, y in enumerate(self._small([load() for load in points])):
                done(k, y)
            return
        q = n // p
        parts = [self._whole([load() for load in points[t::p]]) for t in range(p)]
        for low in range(q):
            turned = [self.rotated(part[low], t * low, n) for t, part in enumerate(parts)]
            for j, y in enumerate(self._small(turned)):
                done(low + q * j, y)

    def _whole(self, points: list[Number]) -> list[Number]:
        results: dict[int, Number] = {}
        self.transform([lambda a=a: a for a in points], results.__setitem__)
        return [results[k] for k in range(len(points))]

    def _small(self, a: list[Number]) -> list[Number]:
        """1, 2 or 4 points, or a prime number of them."""
        if len(a) == 1:
            return a
        if len(a) == 2:
            return [self.sum(*a), self.difference(*a)]
        if len(a) == 4:
            return self._four(*a)
        return self._prime(a)

    def _four(self, a: Number, b: Number, c: Number, d: Number) -> list[Number]:
        even, odd = self.sum(a, c), self.difference(a, c)
        both, (x, y) = self.sum(b, d), self.difference(b, d)
        right = self.add(odd[0], y), self.sub(odd[1], x)
        left = self.sub(odd[0], y), self.add(odd[1], x)
        return [self.sum(even, both), right, self.difference(even, both), left]

    def _prime(self, a: list[Number]) -> list[Number]:
        n, first = len(a), a[0]
        half = range(1, n // 2 + 1)
        sums = [self.sum(a[j], a[n - j]) for j in half]
        rest = [self.difference(a[j], a[n - j]) for j in half]
        total = first
        for s in sums:
            total = self.sum(total, s)
        results = [total] * n
        for k in half:
            even, odd = first, None
            for j, s, d in zip(half, sums, rest, strict=True):
                c, w = (self.number(f(2 * pi * (j * k % n) / n), first[0]) for f in (cos, sin))
                even = self.fma(s[0], c, even[0]), self.fma(s[1], c, even[1])
                odd = (self.mul(d[0], w), self.mul(d[1], w)) if odd is None else (self.fma(d[0], w, odd[0]), self.fma(d[1], w, odd[1]))
            results[k] = self.add(even[0], odd[1]), self.sub(even[1], odd[0])
            results[n - k] = self.sub(even[0], odd[1]), self.add(even[1], odd[0])
        return results


def _smallest_factor(n: int) -> int:
    return next((p for p in range(2, n) if n % p == 0), n)
