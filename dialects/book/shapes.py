"""Functions on attributes in the op book: arithmetic on shapes, axes and indices, by element on tuples.

They also run on index values of any kind that knows + - * // % with an int on the right
(ints, affine expressions, linear forms): xDSL turns `n - expr` into `expr - n`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import factorial
from typing import Any

from ..types import DType, size_of
from .fourier import radices, table_length

Shape = tuple[int, ...]


def elementwise(fn: Callable) -> Callable:
    """Apply `fn` to scalars, or by element where an argument is a tuple (a scalar meets every element)."""

    def apply(*args: Any) -> Any:
        lengths = {len(a) for a in args if isinstance(a, tuple)}
        if not lengths:
            return fn(*args)
        if len(lengths) != 1:
            raise ValueError(f"tuples of different lengths: {', '.join(map(str, args))}")
        (n,) = lengths
        return tuple(fn(*(a[i] if isinstance(a, tuple) else a for a in args)) for i in range(n))

    return apply


def pin(s: Shape, axes: tuple[int, ...]) -> Shape:
    """The shape with size 1 at the axes: what a fold leaves."""
    return tuple(1 if i in axes else d for i, d in enumerate(s))


def only(s: Shape, axes: tuple[int, ...]) -> Shape:
    """The shape with size 1 everywhere but at the axes."""
    return tuple(d if i in axes else 1 for i, d in enumerate(s))


def others(n: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of n dimensions that are not listed."""
    return tuple(i for i in range(n) if i not in axes)


def take(s: tuple, order: tuple[int, ...]) -> tuple:
    """The elements at the listed places."""
    return tuple(s[i] for i in order)


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `order`."""
    return tuple(order.index(i) for i in range(len(order)))


def grown(s: Shape, to: Shape) -> tuple[int, ...]:
    """The axes along which `expand` repeats."""
    return tuple(i for i, (a, b) in enumerate(zip(s, to)) if a != b)


def fits(s: Shape, to: Shape) -> bool:
    """True if `s` expands to `to`: same rank, sizes equal or 1."""
    return len(s) == len(to) and all(a in (1, b) for a, b in zip(s, to))


def regrouped(i: tuple, of: Shape, to: Shape) -> tuple:
    """The index into shape `to` of the element at index `i` of shape `of` (same element count, row-major).

    Dimensions are matched in the smallest groups of equal product, so plain splits need no // and %.
    """
    if 0 in of:
        return tuple(i[0] * 0 if i else 0 for _ in to)
    index: list = []
    a = b = 0
    while a < len(of) or b < len(to):
        if a < len(of) and b < len(to) and of[a] == to[b]:
            index.append(i[a])
            a, b = a + 1, b + 1
            continue
        a_end, b_end = _group(of, to, a, b)
        index.extend(_unflatten(_flatten(i[a:a_end], of[a:a_end]), to[b:b_end]))
        a, b = a_end, b_end
    return tuple(index)


def _group(of: Shape, to: Shape, a: int, b: int) -> tuple[int, int]:
    """Ends of the smallest non-empty groups of equal product that start at a and b."""
    left = right = 1
    while True:
        if a < len(of) and (left < right or (left == right and (of[a] == 1 or b >= len(to) or to[b] != 1))):
            left, a = left * of[a], a + 1
        elif b < len(to):
            right, b = right * to[b], b + 1
        if left == right:
            return a, b


def _flatten(i: tuple, s: Shape) -> Any:
    flat: Any = 0
    for index, size in zip(i, s):
        if size != 1:
            flat = index if isinstance(flat, int) and flat == 0 else flat * size + index
    return flat


def _unflatten(flat: Any, s: Shape) -> list:
    """Row-major index of `flat` in shape `s`; sizes of 1 get 0 and the outermost other size needs no %."""
    index: list = [0] * len(s)
    places = [k for k, size in enumerate(s) if size != 1]
    for k in reversed(places):
        index[k] = flat if k == places[0] else flat % s[k]
        flat = flat // s[k] if k != places[0] else flat
    return index


def positions_of(d: int, u: int, stride: int, dilation: int) -> int:
    """How many places a window of u elements has in d."""
    return (d - dilation * (u - 1) - 1) // stride + 1


def stretched(i: Any, size: int) -> Any:
    """The index that `expand` reads: 0 where the size is 1."""
    return 0 if size == 1 else i


def mirrored(i: tuple, axes: tuple[int, ...], s: Shape) -> tuple:
    """The index from the other end along the axes."""
    return tuple(k * -1 + (n - 1) if a in axes else k for a, (k, n) in enumerate(zip(i, s)))


def is_permutation(order: tuple[int, ...], n: int) -> bool:
    """True if `order` lists 0 .. n-1, each once."""
    return sorted(order) == list(range(n))


def padded(d: int, low: int, high: int, interior: int) -> int:
    """Size after padding: `interior` elements between neighbours, `low` before and `high` behind."""
    return low + d + max(d - 1, 0) * interior + high


def windows_fit(d: Shape, u: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    """True if every dimension has at least one place for its window, all steps being 1 or more."""
    if not len(d) == len(u) == len(stride) == len(dilation):
        return False
    steps = min((*u, *stride, *dilation), default=1) >= 1
    return steps and all(positions_of(*each) >= 1 for each in zip(d, u, stride, dilation))


def are_axes(axes: tuple[int, ...], n: int) -> bool:
    """True if the axes are 0 .. n-1, rising, each at most once."""
    return all(0 <= a < n for a in axes) and all(a < b for a, b in zip(axes, axes[1:]))


_EQUAL = {"equal": operator.eq, "not_equal": operator.ne}
_ORDER = {
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}


def _every(fn: Callable) -> Callable:
    """An order between tuples holds if it holds for every element."""

    def compare(a: Any, b: Any) -> bool:
        result = elementwise(fn)(a, b)
        return all(result) if isinstance(result, tuple) else result

    return compare


FUNCTIONS: dict[str, Callable] = {
    "add": elementwise(operator.add),
    "sub": elementwise(operator.sub),
    "mul": elementwise(operator.mul),
    "div": elementwise(operator.truediv),
    "floor_divide": elementwise(operator.floordiv),
    "remainder": elementwise(operator.mod),
    "neg": elementwise(operator.neg),
    "least": elementwise(min),
    "greatest": elementwise(max),
    **_EQUAL,
    **{name: _every(fn) for name, fn in _ORDER.items()},
    "both": lambda a, b: bool(a) and bool(b),
    "either": lambda a, b: bool(a) or bool(b),
    "tuple": lambda *items: items,
    "join": lambda *parts: tuple(x for part in parts for x in part),
    "size": size_of,
    "count": lambda s, axes: size_of(take(s, axes)),
    "length": len,
    "upto": lambda n: tuple(range(n)),
    "at": lambda s, i: s[i],
    "before": lambda s, tail: s[: len(s) - len(tail)],
    "after": lambda s, tail: s[len(s) - len(tail) :],
    "upper": lambda s, axis: s[:axis],
    "lower": lambda s, axis: s[axis + 1 :],
    "pin": pin,
    "only": only,
    "others": others,
    "take": take,
    "inverse": inverse,
    "union": lambda a, b: tuple(sorted({*a, *b})),
    "grown": grown,
    "fits": fits,
    "stretched": elementwise(stretched),
    "regrouped": regrouped,
    "positions_of": elementwise(positions_of),
    "padded": elementwise(padded),
    "replaced": lambda s, axis, d: s[:axis] + (d,) + s[axis + 1 :],
    "without": lambda s, axis: s[:axis] + s[axis + 1 :],
    "same": lambda s, value: (value,) * len(s),
    "mirrored": mirrored,
    "is_permutation": is_permutation,
    "are_axes": are_axes,
    "windows_fit": windows_fit,
    "factorial": factorial,
    "is_float": lambda t: isinstance(t, DType) and t.is_floating_point,
    "is_complex": lambda t: isinstance(t, DType) and t.is_complex,
    "dtype": lambda t: t,
    "same_bits": lambda t, u: t.itemsize == u.itemsize and "b" not in (t.kind, u.kind),
    "has_stages": lambda n: n == 1 or bool(radices(n)),
    "roots_of": table_length,
}
