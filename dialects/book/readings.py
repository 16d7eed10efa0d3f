"""The loop reading of view, contract and fold lines: index maps, linear indices, initial values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..types import DType, Shape, Type, bfloat16, float16, float32
from .expr import Evaluator, Expr, Name, Number
from .shapes import FUNCTIONS

if TYPE_CHECKING:
    from .stanza import Dim, Stanza


@dataclass(frozen=True, slots=True)
class Fold:
    """`combiner` over `axes` of `operand` (a Name, or an Expr of each ops), starting from `init`."""

    combiner: str  # add mul maximum minimum and or
    operand: Expr
    init: Expr  # a Number, or Name("lowest") / Name("highest") of the result's dtype

    def initial(self, dtype: DType) -> int | float | bool:
        """The value an accumulator of this dtype starts from."""
        if isinstance(self.init, Number):
            return self.init.value
        lowest = isinstance(self.init, Name) and self.init.name == "lowest"
        if dtype.kind == "f":
            return float("-inf") if lowest else float("inf")
        if dtype.kind == "b":
            return not lowest
        info = np.iinfo(dtype.numpy)
        return int(info.min if lowest else info.max)


def accumulator(dtype: DType) -> DType:
    """The dtype folds and contractions add up in: float32 for half precision, else the dtype itself."""
    return float32 if dtype in (float16, bfloat16) else dtype


@dataclass(frozen=True, slots=True)
class Place:
    """`x[..i, k]`: a tensor and one index expression per dimension (`..` for several)."""

    name: str
    dims: tuple[Dim, ...]


LinearIndex = tuple[dict, ...]  # per dimension {index name: coefficient, 1: constant}


@dataclass(frozen=True, slots=True)
class Contraction:
    """A sum of products: sizes of all indices, which are parallel or summed, and where operands are read."""

    sizes: dict[str, int]
    parallel: tuple[str, ...]
    reduction: tuple[str, ...]
    operands: tuple[LinearIndex, ...]
    result: LinearIndex


class Linear:
    """A linear form in index names, built by + - * on ints and other forms."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict) -> None:
        self.terms = {k: v for k, v in terms.items() if v}

    def __add__(self, other: Linear | int) -> Linear:
        terms = dict(self.terms)
        for key, value in linear(other).terms.items():
            terms[key] = terms.get(key, 0) + value
        return Linear(terms)

    __radd__ = __add__

    def __neg__(self) -> Linear:
        return self * -1

    def __sub__(self, other: Linear | int) -> Linear:
        return self + -linear(other)

    def __rsub__(self, other: int) -> Linear:
        return -self + other

    def __mul__(self, factor: int) -> Linear:
        return Linear({key: value * factor for key, value in self.terms.items()})

    __rmul__ = __mul__


def linear(value: Linear | int) -> Linear:
    """An int as a constant form."""
    return value if isinstance(value, Linear) else Linear({1: value})


def _index(evaluator: Evaluator, dims: Sequence[Dim]) -> list:
    out: list = []
    for dim in dims:
        value = evaluator.value(dim.expr)
        out.extend(value) if dim.rest else out.append(value)
    return out


def _match(dims: Sequence[Dim], lengths: Sequence[int], index: tuple, env: dict[str, Any]) -> None:
    """Bind the names of a written place to an index; lengths has one entry per dim."""
    at = 0
    for dim, n in zip(dims, lengths):
        assert isinstance(dim.expr, Name)
        env[dim.expr.name] = index[at : at + n] if dim.rest else index[at]
        at += n


def _lengths(dims: Sequence[Dim], signature: Sequence[Dim], sizes: Evaluator, rank: int) -> list[int]:
    """How many dimensions each dim of a place stands for: one, or as many as the signature's dim there."""
    if len(dims) == 1 and dims[0].rest:
        return [rank]
    return [len(sizes.value(s.expr)) if d.rest else 1 for d, s in zip(dims, signature)]


def index_map(
    s: Stanza, in_shape: Shape, out_shape: Shape, attrs: tuple, out_index: tuple
) -> tuple[list, Any]:
    """See Stanza.index_map."""
    if s.is_placement:
        return _inverse_placement(s, in_shape, attrs, out_index)
    env = s.bind([(in_shape, float32)], attrs)
    written, read = s.places
    lengths = _lengths(written.dims, s.results[0].dims, Evaluator(None, dict(env)), len(out_shape))
    _match(written.dims, lengths, out_index, env)
    return _index(Evaluator(None, env), read.dims), None


def placement(s: Stanza, in_shape: Shape, attrs: tuple, in_index: tuple) -> list:
    """See Stanza.placement."""
    env = s.bind([(in_shape, float32)], attrs)
    written, read = s.places
    lengths = _lengths(read.dims, s.tensors[0].dims, Evaluator(None, dict(env)), len(in_shape))
    _match(read.dims, lengths, in_index, env)
    return _index(Evaluator(None, env), written.dims)


def _inverse_placement(s: Stanza, in_shape: Shape, attrs: tuple, out_index: tuple) -> tuple[list, Any]:
    """A placement is linear in each dimension: o = a*i + b, so i = (o - b) // a."""
    rank = len(in_shape)
    at_zero = placement(s, in_shape, attrs, (0,) * rank)
    at_one = placement(s, in_shape, attrs, (1,) * rank)
    source = []
    for o, b, b_plus_a in zip(out_index, at_zero, at_one):
        shifted = o - b if b else o
        source.append(shifted // (b_plus_a - b) if b_plus_a - b != 1 else shifted)
    return source, Evaluator(None, s.bind([(in_shape, float32)], attrs)).value(s.fill)


def contraction(s: Stanza, types: tuple[Type, ...], attrs: tuple) -> Contraction:
    """See Stanza.contraction."""
    ((out_shape, _),) = s.infer(types, attrs)
    signature = s.bind(types, attrs)
    written, *read = s.places
    shapes = dict(zip((p.name for p in s.tensors), (t[0] for t in types)))
    shapes[written.name] = out_shape
    dims_of = {p.name: p.dims for p in (*s.tensors, *s.results)}
    sizes: dict[str, int] = {}
    env: dict[str, Any] = {p.name: signature[p.name] for p in s.attributes}
    for place in (written, *read):
        lengths = _lengths(
            place.dims, dims_of[place.name], Evaluator(None, dict(signature)), len(shapes[place.name])
        )
        _name_indices(place, lengths, shapes[place.name], sizes, env)

    def last(index: Any) -> Any:
        """Size of an index minus one."""
        if isinstance(index, tuple):
            return tuple(map(last, index))
        (name,) = index.terms
        return sizes[name] - 1

    evaluator = Evaluator(None, env, functions={**FUNCTIONS, "last": last})
    result, *operands = (tuple(linear(i).terms for i in _index(evaluator, p.dims)) for p in (written, *read))
    parallel = tuple(name for dim in result for name in dim if name != 1)
    reduction = tuple(name for name in sizes if name not in parallel)
    return Contraction(sizes, parallel, reduction, tuple(operands), result)


def _name_indices(
    place: Place, lengths: list[int], shape: Shape, sizes: dict[str, int], env: dict[str, Any]
) -> None:
    """A plain name that reads a dimension is an index of that dimension's size (`..i`: i0, i1, ...)."""
    at = 0
    for dim, n in zip(place.dims, lengths):
        if isinstance(dim.expr, Name) and dim.expr.name not in env:
            name = dim.expr.name
            names = [f"{name}{k}" for k in range(n)] if dim.rest else [name]
            sizes.update(zip(names, shape[at : at + n]))
            forms = tuple(Linear({each: 1}) for each in names)
            env[name] = forms if dim.rest else forms[0]
        at += n
