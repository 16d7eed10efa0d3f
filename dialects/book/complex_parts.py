"""Any op on complex numbers, as ops on their real and imaginary parts.

``OnParts`` is a ``build`` like any other: complex values are ``Parts``, and an op on them becomes the ops on real numbers that
its stanza implies:

- views, and what is ``partwise`` (sums, gathers, optimizers): once for each part;
- contractions: the four products (fewer where a part is known to be 0);
- an op f for which there is a stanza ``complex_f``: that one, on the parts of the operands;
- composites of contractions: opened, step by step. Others are refused: what a norm or a loss of complex numbers is does not follow
  from what it is of real ones.

Nothing else takes complex operands: ``Stanza.takes_complex`` says so when a program is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnsupportedError
from ..types import DType, Type, bool_, complex_of, part_of
from .expr import Build
from .stanza import Stanza, fixed_dtype


class Parts:
    """A complex value: its real part, and its imaginary part, or None where that is 0 everywhere.

    pair: both side by side, the last dimension of one value, where there is such a value.
    """

    __slots__ = ("re", "im", "pair")

    def __init__(self, re: Any, im: Any = None, pair: Any = None) -> None:
        self.re = re
        self.im = im
        self.pair = pair


class OnParts:
    """A build on Parts and real values, by another build that knows real values only."""

    def __init__(self, build: Build, book: Mapping[str, Stanza]) -> None:
        self.build = build
        self.book = book

    def type(self, value: Any) -> Type:
        """(shape, dtype) of a value."""
        if type(value) is not Parts:
            return self.build.type(value)
        shape, dtype = self.build.type(value.re)
        return shape, complex_of(dtype)

    def __call__(self, op: str, operands: tuple, attrs: tuple) -> tuple:
        """The results of one op."""
        way = _WAYS.get(op)
        if way is not None:
            return (way(self, *operands, *attrs),)
        if not any([type(v) is Parts for v in operands]):
            return self.build(op, operands, attrs)
        stanza = self.book[op]
        if not all([type(v) is Parts for v in operands]):
            operands = tuple([self._lifted(stanza, i, v) for i, v in enumerate(operands)])
        if stanza.partwise or stanza.family == "view":
            return self._by_parts(stanza, operands, attrs)
        if stanza.family == "contract":
            return (self._product(op, *operands, attrs),)
        if stanza.on_parts is not None:
            return (self._on_parts(stanza, operands, attrs),)
        if stanza.family == "is":
            return stanza.open(self, operands, attrs)
        raise UnsupportedError(f"{op} is not known for complex numbers", help="keep real and imaginary parts in two tensors")

    def apply(self, op: str, *operands: Any, attrs: tuple = ()) -> Any:
        """An op with one result."""
        return self.build(op, operands, attrs)[0]

    def imaginary(self, value: Any) -> Any:
        """The imaginary part, spelled out where it is 0."""
        if value.im is None:
            shape, dtype = self.build.type(value.re)
            value.im = self.apply("full", attrs=(shape, 0.0, dtype))
        return value.im

    def _lifted(self, stanza: Stanza, i: int, value: Any) -> Any:
        """A real operand next to complex ones, inside of a composite, as a complex number; conditions, indices and rates stay."""
        param = stanza.tensors[min(i, len(stanza.tensors) - 1)]
        real = type(value) is not Parts and fixed_dtype(param.dtype) is None and self.build.type(value)[1].is_floating_point
        return Parts(value) if real else value

    def _by_parts(self, stanza: Stanza, operands: tuple, attrs: tuple) -> tuple:
        re = self.build(stanza.name, tuple([v.re if type(v) is Parts else v for v in operands]), attrs)
        if len(re) == 1 and all([v.im is None for v in operands if type(v) is Parts]):
            return (Parts(re[0]),)
        if stanza.is_placement:  # what is around it is a real number
            attrs = tuple([0 if p.name == str(stanza.fill) else value for p, value in zip(stanza.attributes, attrs, strict=True)])
        im = self.build(stanza.name, tuple([self.imaginary(v) if type(v) is Parts else v for v in operands]), attrs)
        return tuple([Parts(*pair) for pair in zip(re, im, strict=True)])

    def _product(self, op: str, a: Parts, b: Parts, attrs: tuple) -> Parts:
        def times(x: Any, y: Any) -> Any:
            return None if x is None or y is None else self.apply(op, x, y, attrs=attrs)

        re, im = times(a.re, b.re), times(a.re, b.im)
        minus, more = times(a.im, b.im), times(a.im, b.re)
        im = more if im is None else im if more is None else self.apply("add", im, more)
        return Parts(re if minus is None else self.apply("sub", re, minus), im)

    def _on_parts(self, stanza: Stanza, operands: tuple, attrs: tuple) -> Any:
        short = _SHORT.get(stanza.name)
        if short is not None and (found := short(self, *operands)) is not None:
            return found
        parts = tuple([part for v in operands for part in (v.re, self.imaginary(v))])
        results = self.build(f"complex_{stanza.name}", parts, attrs)
        return Parts(*results) if len(results) == 2 else results[0]


# -- where a part is known to be 0


def _scaled(on: OnParts, a: Parts, b: Parts) -> Parts | None:
    """A product with a real factor."""
    if b.im is not None:
        a, b = b, a
    if b.im is not None:
        return None
    return Parts(on.apply("mul", a.re, b.re), None if a.im is None else on.apply("mul", a.im, b.re))


def _divided(on: OnParts, a: Parts, b: Parts) -> Parts | None:
    """A quotient with a real divisor."""
    if b.im is not None:
        return None
    return Parts(on.apply("div", a.re, b.re), None if a.im is None else on.apply("div", a.im, b.re))


_SHORT = {"mul": _scaled, "div": _divided}


# -- between real and complex numbers


def _full(on: OnParts, shape: tuple, value: Any, t: DType) -> Any:
    made = on.apply("full", attrs=(shape, value, part_of(t)))
    return Parts(made) if t.is_complex else made


def _cast(on: OnParts, x: Any, t: DType) -> Any:
    part = part_of(t)
    if type(x) is not Parts:
        made = x if on.type(x)[1] is part else on.apply("cast", x, attrs=(part,))
        return Parts(made) if t.is_complex else made
    if t is bool_:
        return on.apply("logical_or", on.apply("cast", x.re, attrs=(t,)), on.apply("cast", on.imaginary(x), attrs=(t,)))
    re = on.apply("cast", x.re, attrs=(part,))
    if not t.is_complex:
        return re
    return Parts(re, None if x.im is None else on.apply("cast", x.im, attrs=(part,)))


def _from_parts(on: OnParts, x: Any, t: DType) -> Parts:
    *shape, _ = on.type(x)[0]
    rank = len(shape)

    def part(k: int) -> Any:
        taken = on.apply("slice", x, attrs=((0,) * rank + (k,), (*shape, 1), (1,) * (rank + 1)))
        return on.apply("reshape", taken, attrs=(tuple(shape),))

    return Parts(part(0), part(1), x)


def _as_parts(on: OnParts, z: Parts, _: DType) -> Any:
    if z.pair is not None:
        return z.pair
    shape = on.type(z)[0]
    sides = [on.apply("reshape", part, attrs=((*shape, 1),)) for part in (z.re, on.imaginary(z))]
    return on.apply("concat", *sides, attrs=(len(shape),))


def _conj(on: OnParts, z: Parts) -> Parts:
    return z if z.im is None else Parts(z.re, on.apply("neg", z.im))


def _dft(on: OnParts, z: Parts, roots: Any, *attrs: Any) -> Parts:
    pair = _as_parts(on, z, on.build.type(z.re)[1])
    return _from_parts(on, on.apply("dft_parts", pair, roots, attrs=attrs), on.type(z)[1])


_WAYS = {
    "full": _full, "cast": _cast, "from_parts": _from_parts, "as_parts": _as_parts, "conj": _conj, "dft": _dft,
    "to_complex": lambda on, re, im, _: Parts(re, im), "real_part": lambda on, z, _: z.re,
    "imaginary_part": lambda on, z, _: on.imaginary(z),
}  # fmt: skip
