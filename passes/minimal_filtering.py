"""Minimal filtering: neighbouring sums of three products from fewer products, those of sums of either factor's elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from ..dialects.ops import XdslBuilder, type_of

TAPS = 3
"""Elements of a kernel along a dimension."""


@dataclass(frozen=True)
class Filtering:
    """F(tile, 3): a window of tile + 2 neighbours and a kernel of three elements make tile results by as many products as the window has elements.

    points: both signs of each. Window and kernel are polynomials; their values at 0, at the points and at infinity are multiplied, and results are coefficients again, as
    Winograd ("Arithmetic Complexity of Computations", 1980) and Toom and Cook have it, turned around (transposed). F(3, tile), a gradient by the kernel,
    has the same points and windows: `of_factor` then takes tile elements, and `results` gives three.
    """

    points: tuple[float, ...]

    @property
    def tile(self) -> int:
        """Results made at once."""
        return 2 * len(self.points)

    @property
    def products(self) -> int:
        """Of a window, and elements of it."""
        return self.tile + TAPS - 1

    def of_window(self, build: XdslBuilder, d: Sequence[SSAValue]) -> list[SSAValue]:
        """What is multiplied of a window: its elements by the coefficients of polynomials, each zero at all points but one."""
        first = _vanishing(self.points)
        made = [_weighted(build, d[:-1:2], [c if first[0] > 0 else -c for c in first])]
        for point in self.points:
            rest = _vanishing([p for p in self.points if p != point])
            made += _both(build, _weighted(build, d[2:-1:2], rest), _weighted(build, d[1:-2:2], rest), point)
        return [*made, _weighted(build, d[1::2], first)]

    def of_factor(self, build: XdslBuilder, g: Sequence[SSAValue]) -> list[SSAValue]:
        """What is multiplied of a kernel, or of a tile of results' gradients: values of the polynomial with these coefficients, each divided by what that of
        the window is at the same point."""
        made = [_scaled(build, g[0], 1 / abs(_vanishing(self.points)[0]))]
        for point in self.points:
            powers = [point ** (2 * k) for k in range(len(g))]
            values = _both(build, _weighted(build, g[::2], powers), _weighted(build, g[1::2], powers), point)
            scale = 2 * point**2
            for other in self.points:
                scale *= point**2 - other**2 if other != point else 1.0
            made += [_scaled(build, v, 1 / scale) for v in values]
        return [*made, g[-1]]

    def results(self, build: XdslBuilder, m: Sequence[SSAValue], count: int) -> list[SSAValue]:
        """So many results of the products."""
        pairs = [*zip(m[1:-1:2], m[2:-1:2], strict=True)]
        both = [_weighted(build, pair, (1.0, 1.0)) for pair in pairs], [_weighted(build, pair, (1.0, -1.0)) for pair in pairs]
        made = []
        for k in range(count):
            value = _weighted(build, both[k % 2], [p**k for p in self.points])
            if k == 0:
                value = build("add", (m[0], value), ())[0]
            if k == count - 1:
                value = build("add", (value, m[-1]), ())[0]
            made.append(value)
        return made


FILTERINGS = Filtering((1.0,)), Filtering((0.75, 1.5))
"""In the order of their rounding errors. With the points of the second one errors are three times those of a direct sum; with 1 and 2 they would be six
times (Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution", 2020, on the choice)."""


def _vanishing(points: Sequence[float]) -> list[float]:
    """Coefficients, lowest first, of the product of x - p^2: of a polynomial of x^2 that is zero at the points and their opposites."""
    made = [1.0]
    for p in points:
        made = [high - p * p * low for high, low in zip([0.0, *made], [*made, 0.0], strict=True)]
    return made


def _scaled(build: XdslBuilder, a: SSAValue, factor: float) -> SSAValue:
    if factor == 1.0:
        return a
    shape, dtype = type_of(a)
    return build("mul", (a, build("full", (), (shape, factor, dtype))[0]), ())[0]


def _weighted(build: XdslBuilder, values: Sequence[SSAValue], weights: Sequence[float]) -> SSAValue:
    """The sum of values by their weights, what is added first."""
    pairs = sorted(zip(values, weights, strict=False), key=lambda pair: pair[1] < 0)
    total = _scaled(build, *pairs[0])
    for value, weight in pairs[1:]:
        total = build("add" if weight > 0 else "sub", (total, _scaled(build, value, abs(weight))), ())[0]
    return total


def _both(build: XdslBuilder, even: SSAValue, odd: SSAValue, point: float) -> list[SSAValue]:
    """A polynomial at a point and at the opposite one, of its even and of its odd part."""
    odd = _scaled(build, odd, point)
    return [build(op, (even, odd), ())[0] for op in ("add", "sub")]
