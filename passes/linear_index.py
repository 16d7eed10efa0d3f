"""Linear index expressions over loop dims of known size: what an access of a fused stage looks like.

A `Linear` is `sum(coefficient * dim) + constant` and knows the sizes of the dims, so `//` and `%` stay exact
where the ranges allow it: with j in 0..3, `(4*i + j) // 4` is i and `(4*i + j) % 4` is j. Where they do not, the
access is not affine and `NotAffine` is raised. Indices are tuples of ints and Linears; a dim of size 1 has the
index 0 and no loop.
"""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineExpr

from ..dialects.sizes import Size, same


class NotAffine(Exception):
    """An index that cannot be written without // or %."""


class Linear:
    """sum(coefficient * dim) + constant; terms are sorted (dim, coefficient) pairs without zeros."""

    __slots__ = ("terms", "const", "sizes", "_hash")

    def __init__(self, terms: tuple[tuple[int, int], ...], const: int, sizes: tuple[int, ...]) -> None:
        self.terms = terms
        self.const = const
        self.sizes = sizes
        self._hash: int | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Linear) and self.terms == other.terms and self.const == other.const

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((self.terms, self.const))
        return self._hash

    def __repr__(self) -> str:
        parts = [f"d{d}" if c == 1 else f"{c}*d{d}" for d, c in self.terms]
        return " + ".join([*parts, *([str(self.const)] if self.const else [])])

    def __add__(self, other: Index) -> Index:
        if not isinstance(other, Linear):
            return Linear(self.terms, self.const + other, self.sizes)
        total = dict(self.terms)
        for d, c in other.terms:
            total[d] = total.get(d, 0) + c
        return self._of(total.items(), self.const + other.const)

    __radd__ = __add__

    def __neg__(self) -> Index:
        return self * -1

    def __sub__(self, other: Index) -> Index:
        return self + (other * -1)

    def __rsub__(self, other: int) -> Index:
        return self * -1 + other

    def __mul__(self, factor: int) -> Index:
        return self._of(((d, c * factor) for d, c in self.terms), self.const * factor)

    __rmul__ = __mul__

    def __floordiv__(self, n: int) -> Index:
        if n == 1:
            return self
        whole = [(d, c // n) for d, c in self.terms if c % n == 0]
        rest = [(d, c) for d, c in self.terms if c % n]
        low, high = self._range(rest)
        quotient = low // n
        if high - quotient * n >= n:
            raise NotAffine(f"({self}) // {n}")
        return self._of(whole, quotient)

    def __mod__(self, n: int) -> Index:
        return self - (self // n) * n

    def _of(self, terms: Iterable[tuple[int, int]], const: int) -> Index:
        kept = tuple(sorted((d, c) for d, c in terms if c))
        return Linear(kept, const, self.sizes) if kept else const

    def _range(self, terms: Iterable[tuple[int, int]]) -> tuple[int, int]:
        low = high = self.const
        for d, c in terms:
            reach = c * (self.sizes[d] - 1)
            low, high = low + min(0, reach), high + max(0, reach)
        return low, high

    def range(self) -> tuple[int, int]:
        """Smallest and largest value over the loops."""
        return self._range(self.terms)

    def pure_dim(self) -> int | None:
        """The dim, if the expression is just that dim."""
        if self.const == 0 and len(self.terms) == 1 and self.terms[0][1] == 1:
            return self.terms[0][0]
        return None

    def affine(self) -> AffineExpr:
        """The same as an xDSL affine expression."""
        total: AffineExpr | None = None
        for d, c in self.terms:
            term: AffineExpr = AffineDimExpr(d)
            term = term if same(c, 1) else term * _constant(c)
            total = term if total is None else total + term
        assert total is not None
        return total if same(self.const, 0) else total + _constant(self.const)


Index = Linear | int  # or a Size for the int


def affine(index: Index) -> AffineExpr:
    """The xDSL affine expression of an index."""
    return index.affine() if isinstance(index, Linear) else AffineConstantExpr(index)


def _constant(number: int) -> AffineExpr | int:
    return AffineConstantExpr(number) if isinstance(number, Size) else number


def loop_dims(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[Index, ...]]:
    """Loop sizes for a shape (dims of size 1 left out), and the shape's index over these loops."""
    sizes = tuple(d for d in shape if d != 1)
    place, index = 0, []
    for d in shape:
        index.append(0 if d == 1 else Linear(((place, 1),), 0, sizes))
        place += d != 1
    return sizes, tuple(index)


def reads_at(index: tuple[Index, ...], dims: Iterable[int]) -> bool:
    """True if the index is just these dims in this order, apart from constants 0."""
    moving = [i for i in index if not (isinstance(i, int) and i == 0)]
    return [i.pure_dim() if isinstance(i, Linear) else None for i in moving] == list(dims)
