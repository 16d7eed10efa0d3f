"""Sizes that are known only when a program is called: integers with a name instead of a value.

A compiler pass computes with a `Size` as with an int. Sums, products, quotients and remainders stay expressions
(``s0 * 64 + 2``). Two sizes are the same when their expressions are: a size that happens to be 64 is treated as any other. Every
other question with a yes or no for an answer (``n > 16``, ``n - 2 == 0``) is answered for the program at hand, and what the
answer relies on is noted: as narrower bounds of the symbol, or as a condition. The program is right for all sizes within them.
What needs the number itself (``range(n)``) raises `NeedsNumber`, and the program is compiled for one size instead.

`estimate` gives the number a plan may be tuned for and `largest` the most that memory has to be planned for: neither is noted,
so neither may decide what a program means.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import LaminaError

SMALLEST = 2
"""Least value of a symbol: a dimension of size 1 may be broadcast, and one of size 0 has no elements."""


class NeedsNumber(LaminaError):
    """The compiler needs the value of a size that is known only when the program is called."""


@dataclass
class Scope:
    """The symbols of one program while it is compiled. estimates: what each is planned for; low, high: bounds, both counted;
    conditions: expressions and what they must be to 0, too."""

    estimates: list[int]
    high: list[int]
    low: list[int] = field(default_factory=list)
    conditions: dict[tuple[Size, str], None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.low = self.low or [SMALLEST] * len(self.estimates)

    def symbols(self) -> tuple[Size, ...]:
        """The symbols as sizes."""
        return tuple(_made({(("s", k, id(self)),): 1}, self) for k in range(len(self.estimates)))

    def facts(self) -> dict[str, Any]:
        """Bounds and conditions, as JSON knows them."""
        return {"low": self.low, "high": self.high, "conditions": [[plain(size), to] for size, to in self.conditions]}


def admits(facts: Mapping[str, Any], values: Sequence[int]) -> bool:
    """Whether a program with these facts is right for these values of its symbols."""
    if not all(a <= v <= b for a, v, b in zip(facts["low"], values, facts["high"], strict=True)):
        return False
    return all(_QUESTIONS[to](value_of(terms, values), 0) for terms, to in facts["conditions"])


_QUESTIONS = {"<": operator.lt, ">=": operator.ge, "!=": operator.ne}


def plain(size: Size) -> list[Any]:
    """A size as lists and numbers: per term the factor, then symbols (numbers) and parts (kind, terms, divisor)."""
    return [[c, *([a[1] if a[0] == "s" else [a[0], plain(a[3].size), a[2]] for a in m])] for m, c in sorted(size.terms.items())]


def value_of(terms: Sequence[Any], values: Sequence[Any]) -> Any:
    """What a size given by `plain` is for these values of the symbols, which may be sizes themselves."""
    total = 0
    for c, *atoms in terms:
        for atom in atoms:
            if isinstance(atom, int):
                c *= values[atom]
            else:
                inner = value_of(atom[1], values)
                c *= inner // atom[2] if atom[0] == "q" else inner % atom[2]
        total += c
    return total


Atom = tuple
Monomial = tuple[Atom, ...]
Terms = dict[Monomial, int]


class Size:
    """An integer polynomial over symbols, whole quotients and remainders. Made by `Scope.symbols` and arithmetic."""

    __slots__ = ("terms", "scope", "_key")

    terms: Terms
    scope: Scope

    # Arithmetic

    def __add__(self, other: Any) -> Any:
        if isinstance(other, float | Real):
            return Real.of("+", self, other)
        if not isinstance(other, int | Size):
            return NotImplemented
        terms = dict(self.terms)
        for monomial, c in _terms(other).items():
            terms[monomial] = terms.get(monomial, 0) + c
        return _made(terms, self.scope)

    __radd__ = __add__

    def __neg__(self) -> Any:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, float | Real):
            return Real.of("-", self, other)
        return self + other * -1 if isinstance(other, int | Size) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return Real.of("-", other, self) if isinstance(other, float) else self * -1 + other

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, float | Real):
            return Real.of("*", self, other)
        if not isinstance(other, int | Size):
            return NotImplemented
        terms: Terms = {}
        for a, c in self.terms.items():
            for b, d in _terms(other).items():
                monomial = tuple(sorted((*a, *b)))
                terms[monomial] = terms.get(monomial, 0) + c * d
        return _made(terms, self.scope)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, Size):
            found = _exact(self, other)
            if found is None:
                raise NeedsNumber(f"{self} // {other} needs the value of a size")
            return found
        if not isinstance(other, int):
            return NotImplemented
        if other < 0:
            return -self // -other
        if other == 1:
            return self
        if largest(self) <= 0:
            return (self * -1 + (other - 1)) // other * -1
        whole, rest = self._split(other)
        return whole + (self._part("q", rest, other) if isinstance(rest, Size) else rest // other)

    def _part(self, kind: str, rest: Size, number: int) -> Any:
        """rest // number (kind q) or rest % number (r), as an atom of its own."""
        if least(rest) < 0:
            raise NeedsNumber(f"the sign of {rest} is not known")
        return _made({((kind, rest._key, number, _Hidden(rest)),): 1}, self.scope)

    def __rfloordiv__(self, other: int) -> Any:
        if other == 0:
            return 0
        if 0 < other < least(self):
            return 0
        raise NeedsNumber(f"{other} // {self} needs the value of a size")

    def __mod__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return self - self // other * other
        rest = self._split(other)[1]
        return self._part("r", rest, other) if isinstance(rest, Size) else rest

    def __rmod__(self, other: int) -> Any:
        return other - other // self * self

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        quotient = self // other
        return quotient, self - quotient * other

    def __truediv__(self, other: Any) -> Any:
        found = _exact(self, other) if isinstance(other, Size) else None
        return float(found) if isinstance(found, int) else Real.of("/", self, other)

    def __rtruediv__(self, other: Any) -> Real:
        return Real.of("/", other, self)

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def _split(self, number: int) -> tuple[Any, Any]:
        """whole, rest with self == whole * number + rest; coefficients of rest from 0 to number - 1."""
        whole = {m: c // number for m, c in self.terms.items()}
        rest = {m: c % number for m, c in self.terms.items()}
        return _made(whole, self.scope), _made(rest, self.scope)

    # Questions

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if not isinstance(other, int | Size):
            return NotImplemented
        if isinstance(other, Size) or other >= SMALLEST:
            return isinstance(other, Size) and self._key == other._key
        return not _is_not_zero(self - other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Any) -> bool:
        return _is_negative(self - (other if isinstance(other, Size) else _whole(other)))

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __gt__(self, other: Any) -> bool:
        return _is_negative(self * -1 + (other if isinstance(other, Size) else _whole(other)))

    def __le__(self, other: Any) -> bool:
        return not self > other

    def __bool__(self) -> bool:
        return self != 0

    def __hash__(self) -> int:
        return hash(("size", self._key))

    def _refuse(self, *_: object) -> Any:
        raise NeedsNumber(f"the value of {self} is known only when the program is called")

    __index__ = __int__ = __float__ = __and__ = __rand__ = __lshift__ = __rlshift__ = __rshift__ = __pow__ = __rpow__ = bit_length = _refuse

    # Text

    def __repr__(self) -> str:
        parts = []
        for monomial, c in sorted(self.terms.items(), key=lambda item: (-len(item[0]), item[0])):
            factors = [_show(atom) for atom in monomial]
            parts.append(" * ".join([*factors, *([] if factors and c == 1 else [str(c)])]))
        return parts[0] if len(parts) == 1 and len(self.terms) == 1 and "*" not in parts[0] else f"({' + '.join(parts)})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def c_text(self) -> str:
        """The size as an expression of C; the symbols are variables of 64 bits."""
        return repr(self).replace("//", "/")


class _Hidden:
    """What a quotient divides, carried in its atom without taking part in comparisons."""

    __slots__ = ("size",)

    def __init__(self, size: Size) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden)

    def __lt__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


class Real:
    """A number of 64 bits made of sizes (``2 / size(s)`` of a derivative): an expression of C, which is evaluated as Python does.
    parts: its sign and the two numbers it combines."""

    __slots__ = ("text", "parts")

    def __init__(self, text: str, parts: tuple[str, Any, Any]) -> None:
        self.text = text
        self.parts = parts

    @classmethod
    def of(cls, sign: str, a: Any, b: Any) -> Real:
        """Two numbers combined."""
        return cls(f"({_double(a)} {sign} {_double(b)})", (sign, a, b))

    def __add__(self, other: Any) -> Real:
        return Real.of("+", self, other)

    def __radd__(self, other: Any) -> Real:
        return Real.of("+", other, self)

    def __sub__(self, other: Any) -> Real:
        return Real.of("-", self, other)

    def __rsub__(self, other: Any) -> Real:
        return Real.of("-", other, self)

    def __mul__(self, other: Any) -> Real:
        return Real.of("*", self, other)

    def __rmul__(self, other: Any) -> Real:
        return Real.of("*", other, self)

    def __truediv__(self, other: Any) -> Real:
        return Real.of("/", self, other)

    def __rtruediv__(self, other: Any) -> Real:
        return Real.of("/", other, self)

    def __neg__(self) -> Real:
        return Real.of("*", self, -1.0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Real) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text

    def _refuse(self, *_: object) -> Any:
        raise NeedsNumber(f"the value of {self} is known only when the program is called")

    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __float__ = __int__ = __index__ = _refuse

    def c_text(self) -> str:
        """The number as an expression of C."""
        return self.text


def _double(value: Any) -> str:
    if isinstance(value, Real):
        return value.text
    return f"(double){value.c_text()}" if isinstance(value, Size) else repr(float(value))


def _whole(value: Any) -> int:
    if isinstance(value, int):
        return value
    raise NeedsNumber(f"a size compared with {value} needs its value")


def is_symbolic(value: object) -> bool:
    """Whether an attribute is, or is made of, a size known only at the call."""
    return isinstance(value, Size | Real)


def same(a: Any, b: Any) -> bool:
    """Whether two are the same number, or the same expression. False, with nothing noted, for a size that may turn out to be a
    number: for questions where either answer leads to the same result.
    """
    if isinstance(a, Size) or isinstance(b, Size):
        return isinstance(a, Size) and isinstance(b, Size) and a._key == b._key
    return a == b


def any_symbolic(values: Iterable[object]) -> bool:
    """Whether one of these is."""
    for value in values:  # asked of every shape, again and again: an expression would be a function of its own
        if isinstance(value, Size):
            return True
    return False


def estimate(value: Any) -> Any:
    """The number a size is planned for; in a tuple, of each. What is no size is what it is."""
    if type(value) is int:
        return value
    if isinstance(value, tuple):
        return tuple(map(estimate, value))
    return _at(value, value.scope.estimates) if isinstance(value, Size) else value


def largest(value: Any) -> Any:
    """The most a size can be."""
    return _interval(value.terms, value.scope)[1] if isinstance(value, Size) else value


def least(value: Any) -> Any:
    """The least a size can be."""
    return _interval(value.terms, value.scope)[0] if isinstance(value, Size) else value


def _at(size: Size, values: Sequence[int]) -> int:
    total = 0
    for monomial, c in size.terms.items():
        for atom in monomial:
            c *= values[atom[1]] if atom[0] == "s" else divmod(_at(atom[3].size, values), atom[2])[atom[0] == "r"]
        total += c
    return total


def _interval(terms: Terms, scope: Scope) -> tuple[int, int]:
    low = high = 0
    for monomial, c in terms.items():
        a = b = 1
        for atom in monomial:
            if atom[0] == "s":
                least_, most = scope.low[atom[1]], scope.high[atom[1]]
            else:
                inner = _interval(atom[3].size.terms, scope)
                least_, most = (inner[0] // atom[2], inner[1] // atom[2]) if atom[0] == "q" else (0, min(inner[1], atom[2] - 1))
            a, b = a * least_, b * most
        low, high = (low + c * a, high + c * b) if c > 0 else (low + c * b, high + c * a)
    return low, high


def _is_negative(size: int | Size) -> bool:
    if isinstance(size, int):
        return size < 0
    low, high = _interval(size.terms, size.scope)
    if high < 0 or low >= 0:
        return high < 0
    shared = set.intersection(*({a for a in m if a[0] == "s"} for m in size.terms))
    if shared:  # symbols are positive
        return _is_negative(_made({tuple(_without(m, shared)): c for m, c in size.terms.items()}, size.scope))
    answer = estimate(size) < 0
    affine = _affine(size)
    if affine is None:
        size.scope.conditions[size, "<" if answer else ">="] = None
        return answer
    k, factor, constant = affine
    scope = size.scope
    if (factor > 0) == answer:  # an upper bound
        bound = (-constant - 1) // factor if answer else constant // -factor
        scope.high[k] = min(scope.high[k], bound)
    else:
        bound = -(constant // factor) if not answer else constant // -factor + 1
        scope.low[k] = max(scope.low[k], bound)
    return answer


def _without(monomial: Monomial, atoms: set[Atom]) -> Iterator[Atom]:
    """A monomial divided by each of these atoms once."""
    left = set(atoms)
    for atom in monomial:
        if atom in left:
            left.discard(atom)
        else:
            yield atom


def _is_not_zero(size: Size) -> bool:
    """No expression is taken to be zero; where one may be, a condition says that it is not."""
    low, high = _interval(size.terms, size.scope)
    if low > 0 or high < 0:
        return True
    affine = _affine(size)
    if affine is not None:
        k, factor, constant = affine
        if constant % factor:
            return True
        value, scope = -constant // factor, size.scope
        if value == scope.low[k] and value < scope.high[k]:
            scope.low[k] += 1
            return True
    size.scope.conditions[size, "!="] = None
    return True


def _affine(size: Size) -> tuple[int, int, int] | None:
    """(symbol, factor, constant) of a size that is linear in one symbol."""
    rest = [(m, c) for m, c in size.terms.items() if m]
    if len(rest) != 1 or len(rest[0][0]) != 1 or rest[0][0][0][0] != "s":
        return None
    return rest[0][0][0][1], rest[0][1], size.terms.get((), 0)


def _exact(a: Any, b: Any) -> Any:
    """a / b where that is a size or an int for every value; None where it is not known to be."""
    if not isinstance(b, Size):
        return a // b
    if not isinstance(a, Size):
        return None
    (lead, factor), *_ = sorted(b.terms.items(), key=lambda item: (-len(item[0]), item[0]))
    top, c = sorted(a.terms.items(), key=lambda item: (-len(item[0]), item[0]))[0]
    left = list(top)
    for atom in lead:
        if atom not in left:
            return None
        left.remove(atom)
    if c % factor:
        return None
    quotient = _made({tuple(left): c // factor}, a.scope)
    rest = a - b * quotient
    if isinstance(rest, int):
        return quotient if rest == 0 else None
    if len(rest.terms) >= len(a.terms):
        return None
    more = _exact(rest, b)
    return None if more is None else quotient + more


def _terms(value: int | Size) -> Terms:
    return value.terms if isinstance(value, Size) else {(): value}


def _made(terms: Terms, scope: Scope) -> Any:
    """The size with these terms; an int when no symbol is left."""
    kept = {m: c for m, c in terms.items() if c}
    if not any(kept):
        return kept.get((), 0)
    size = object.__new__(Size)
    size.terms, size.scope = kept, scope
    size._key = tuple(sorted(kept.items()))
    return size


def _show(atom: Atom) -> str:
    return f"s{atom[1]}" if atom[0] == "s" else f"({atom[3].size} {'//' if atom[0] == 'q' else '%'} {atom[2]})"


def substituted(value: Any, values: Sequence[int]) -> Any:
    """A size, or a tuple with sizes in it, with numbers for the symbols."""
    if isinstance(value, Size):
        return _at(value, values)
    return tuple(substituted(v, values) for v in value) if isinstance(value, tuple) else value
