"""Expression trees of the op book, and the one evaluator that runs them over arrays, nodes or SSA values.

Scalar functions (what `Call.fn` can be in an `each` line and in the operand of a `fold` line)
    add sub mul div floor_divide remainder fmod pow maximum minimum atan2 neg abs
    equal not_equal less less_equal greater greater_equal
    logical_and logical_or logical_xor logical_not
    bitwise_and bitwise_or bitwise_xor bitwise_not shift_left shift_right
    exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
    erf erfc floor ceil round trunc
    select(condition, a, b)   cast(x, dtype)
`Name` is a parameter of the stanza; `Number` takes the dtype of the tensor it meets. `maximum` and `minimum`
hand on NaN; `remainder` and `floor_divide` round down (Python's), `fmod` truncates (C's); `round` is to even.

In tensor expressions (`d`, `is`, `where` lines) the same operators build ops: a bare number becomes a `full`
of its neighbour's type, and operands of an `each` op whose shapes differ only by sizes of 1 are expanded. On
attributes (tuples, ints, dtypes) they are Python's, by element on tuples; functions are in shapes.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import BookError
from ..graph import Graph
from ..sizes import Real, Size
from ..types import DType, Type
from .shapes import FUNCTIONS

SCALARS = frozenset(
    """add sub mul div floor_divide remainder fmod pow maximum minimum atan2 neg abs
    equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor logical_not
    bitwise_and bitwise_or bitwise_xor bitwise_not shift_left shift_right
    exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
    erf erfc floor ceil round trunc select cast bitcast""".split()
)

OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floor_divide", "%": "remainder", "@": "matmul",
    "==": "equal", "!=": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip
_SIGNS = {fn: sign for sign, fn in OPERATORS.items()}


@dataclass(frozen=True, slots=True)
class Number:
    """A literal: int, float, bool, or a word to compare an attribute with."""

    value: float | str

    def __str__(self) -> str:
        return repr(self.value).lower()


@dataclass(frozen=True, slots=True)
class Name:
    """A parameter, a dimension, or a name bound by `where`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Call:
    """A function, operator or op applied to arguments; `choose` evaluates only the branch it takes."""

    fn: str
    args: tuple[Expr, ...]

    def __str__(self) -> str:
        if self.fn in _SIGNS and len(self.args) == 2:
            return f"({self.args[0]} {_SIGNS[self.fn]} {self.args[1]})"
        return f"{self.fn}({', '.join(map(str, self.args))})"


Expr = Number | Name | Call


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node of a tree, parents first."""
    yield expr
    if isinstance(expr, Call):
        for arg in expr.args:
            yield from walk(arg)


def names_in(expr: Expr) -> list[str]:
    """The names a tree mentions, in order, each once."""
    return list(dict.fromkeys(node.name for node in walk(expr) if isinstance(node, Name)))


class Build(Protocol):
    """Anything that can apply an op: numpy arrays, recorder nodes and SSA values all go through this."""

    def __call__(self, op: str, operands: tuple, attrs: tuple) -> tuple: ...

    def type(self, value: Any) -> Type: ...


_ATTRIBUTES = (int, float, tuple, DType, str, Graph, Size, Real)


def is_attribute(value: object) -> bool:
    """True for Python values that are attributes, False for tensor values of whatever kind."""
    return isinstance(value, _ATTRIBUTES)


Binding = tuple[tuple[str, ...], Expr]


class Evaluator:
    """Evaluates trees in an environment; `where` bindings are computed when first asked for."""

    def __init__(
        self,
        build: Build | None,
        env: dict[str, Any],
        bindings: tuple[Binding, ...] = (),
        book: Mapping[str, Any] | None = None,
        functions: Mapping[str, Callable] = FUNCTIONS,
    ) -> None:
        self.build = build
        self.env = env
        self.pending = {name: binding for binding in bindings for name in binding[0]}
        self.book = book
        self.functions = functions

    def value(self, expr: Expr) -> Any:
        """The value of a tree: an attribute or a tensor value."""
        if isinstance(expr, Number):
            return expr.value
        if isinstance(expr, Name):
            return self.env[expr.name] if expr.name in self.env else self._bind(expr.name)
        if expr.fn == "choose":
            condition, then, otherwise = expr.args
            return self.value(then if self.value(condition) else otherwise)
        return self.call(expr.fn, tuple(self.value(arg) for arg in expr.args))

    def _bind(self, name: str) -> Any:
        names, expr = self.pending[name]
        value = self.value(expr)
        self.env.update(zip(names, value) if len(names) > 1 else [(name, value)])
        return self.env[name]

    def call(self, fn: str, args: tuple) -> Any:
        """Apply an op when a tensor is among the arguments, else a function on attributes."""
        if self.build is None:
            return self.functions[fn](*args)
        if fn in _QUERIES:
            return _QUERIES[fn](self.build, *args)
        stanza = self.book.get(fn) if self.book is not None else None
        if stanza is not None and (not stanza.tensors or not all(map(is_attribute, args))):
            return self.apply(stanza, args)
        return self.functions[fn](*args)

    def apply(self, stanza: Any, args: tuple) -> Any:
        """Build one op from positional arguments: tensors first, then attributes."""
        count = len(stanza.tensors)
        operands, attrs = list(args[:count]), args[count:]
        if len(args) != count + len(stanza.attributes):
            raise BookError(
                f"{stanza.name} takes {count + len(stanza.attributes)} arguments, got {len(args)}"
            )
        if any(map(is_attribute, operands)):
            self._fill_numbers(stanza, operands)
        if stanza.family == "each" and count > 1:
            self._broadcast(operands)
        results = self.build(stanza.name, tuple(operands), attrs)
        return results[0] if len(results) == 1 else tuple(results)

    def _fill_numbers(self, stanza: Any, operands: list) -> None:
        for i, value in enumerate(operands):
            if not is_attribute(value):
                continue
            wanted = stanza.tensors[i].dtype
            tensors = [j for j, other in enumerate(operands) if not is_attribute(other)]
            if not tensors:
                raise BookError(f"{stanza.name} got only numbers; one operand must be a tensor")
            same = [j for j in tensors if stanza.tensors[j].dtype == wanted] or tensors
            shape, dtype = self.build.type(operands[same[0]])
            operands[i] = self.build("full", (), (shape, value, dtype))[0]

    def _broadcast(self, operands: list) -> None:
        shapes = [self.build.type(value)[0] for value in operands]
        if all(shape == shapes[0] for shape in shapes) or any(
            len(shape) != len(shapes[0]) for shape in shapes
        ):
            return
        to = tuple(max(dims) if min(dims) > 0 else 0 for dims in zip(*shapes))
        for i, shape in enumerate(shapes):
            if shape != to:
                operands[i] = self.build("expand", (operands[i],), (to,))[0]


def _positions(build: Build, shape: tuple[int, ...], axes: tuple[int, ...], dtype: DType) -> Any:
    """Row-major index over several axes, as a tensor: a sum of iotas."""
    total, stride = None, 1
    for axis in reversed(axes):
        (index,) = build("iota", (), (shape, axis, dtype))
        if stride != 1:
            (index,) = build("mul", (index, build("full", (), (shape, stride, dtype))[0]), ())
        total = index if total is None else build("add", (index, total), ())[0]
        stride *= shape[axis]
    return total if total is not None else build("full", (), (shape, 0, dtype))[0]


def _polynomial(build: Build, x: Any, coefficients: tuple[float, ...]) -> Any:
    """c[0] + c[1] x + c[2] x ** 2 + ..., by Horner's rule."""
    shape, dtype = build.type(x)
    (total,) = build("full", (), (shape, coefficients[-1], dtype))
    for c in reversed(coefficients[:-1]):
        (product,) = build("mul", (total, x), ())
        (total,) = build("add", (product, build("full", (), (shape, c, dtype))[0]), ())
    return total


def _swapped(build: Build, x: Any) -> Any:
    """The last two dimensions exchanged."""
    rank = len(build.type(x)[0])
    return build("permute", (x,), (tuple(range(rank - 2)) + (rank - 1, rank - 2),))[0]


def _pieces(build: Build, g: Any, xs: tuple, axis: int) -> tuple:
    """The parts of g that belong to each of the operands of a concat."""
    shape, start, parts = build.type(g)[0], 0, []
    for x in xs:
        size = build.type(x)[0]
        starts = tuple(start if k == axis else 0 for k in range(len(shape)))
        parts.append(build("slice", (g,), (starts, size, (1,) * len(shape)))[0])
        start += size[axis]
    return tuple(parts)


# Functions that look at a tensor's type, or build several ops where the number of dimensions decides how
# many.
_QUERIES: dict[str, Callable] = {
    "shape": lambda build, x: build.type(x)[0],
    "dtype": lambda build, x: build.type(x)[1],
    "rank": lambda build, x: len(build.type(x)[0]),
    "positions": _positions,
    "swapped": _swapped,
    "pieces": _pieces,
    "polynomial": _polynomial,
}
TENSOR_FUNCTIONS = frozenset(_QUERIES)
