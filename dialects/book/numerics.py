"""What numpy lines may call besides numpy itself, and how such a line becomes a function."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from ..errors import BookError
from ..types import DTYPES, Type, dtype_of
from .fourier import dft, dft_parts, dft_to_real, real_dft

if TYPE_CHECKING:
    from .stanza import Stanza

Array = np.ndarray
Ints = tuple[int, ...]


def _by_element(fn: Callable[[float], float]) -> Callable[[Array], Array]:
    apply = np.frompyfunc(fn, 1, 1)
    return lambda x: np.asarray(apply(np.asarray(x, np.float64)), np.float64)


erf = _by_element(math.erf)
erfc = _by_element(math.erfc)


_MULTIPLIED_OUT: dict[float, Callable[[Array], Array]] = {
    3.0: lambda a: a * a * a, 0.5: np.sqrt, -0.5: lambda a: 1 / np.sqrt(a), -1.0: lambda a: 1 / a, -2.0: lambda a: 1 / (a * a),
}  # fmt: skip


def power(a: Array, b: Array) -> Array:
    """a ** b; integers to a negative power truncate (1, -1 or 0), as PyTorch's do. Floats to one of a few powers, the same for all, are products,
    quotients and roots, as PyTorch's are: rounded as these, and the root of minus infinity is no number."""
    if a.dtype.kind == "f" or a.dtype.kind == "V":
        multiplied_out = _MULTIPLIED_OUT.get(float(b.flat[0])) if b.size else None
        return a**b if multiplied_out is None or not (b == b.flat[0]).all() else multiplied_out(a).astype(a.dtype)
    if not (b < 0).any():
        return a**b
    sign = np.where(b % 2 == 0, 1, -1)
    return np.where(b >= 0, a ** np.maximum(b, 0), np.where(a == 1, 1, np.where(a == -1, sign, 0)))


def convert(x: Array, t: np.dtype) -> Array:
    """Conversion between element types; floats to integers truncate."""
    return x.astype(t)


def to_complex(re: Array, im: Array, t: np.dtype) -> Array:
    """Complex numbers out of real and imaginary parts; neither part meets an arithmetic operation."""
    z = np.empty(np.shape(re), t)
    z.real, z.imag = re, im
    return z


def bitcast(x: Array, t: np.dtype) -> Array:
    """The bits of x as numbers of a dtype of the same size."""
    return np.ascontiguousarray(x).view(t).reshape(x.shape)


def as_parts(z: Array) -> Array:
    """Real and imaginary parts side by side in a last dimension of 2."""
    return np.stack((z.real, z.imag), axis=-1)


def from_parts(x: Array, t: np.dtype) -> Array:
    """Complex numbers whose parts are side by side in the last dimension."""
    return to_complex(x[..., 0], x[..., 1], t)


def pad(x: Array, low: Ints, high: Ints, interior: Ints, fill: float) -> Array:
    """`interior` elements between neighbours, then `low` before and `high` behind; negative amounts crop."""
    if not x.ndim:
        return x  # numpy cannot pad it
    inner = tuple(max(d + max(d - 1, 0) * k, 0) for d, k in zip(x.shape, interior))
    spread = np.full(inner, fill, x.dtype)
    spread[tuple(slice(None, None, k + 1) for k in interior)] = x
    grown = np.pad(spread, [(max(l, 0), max(h, 0)) for l, h in zip(low, high)], constant_values=fill)
    return grown[tuple(slice(max(-l, 0), d - max(-h, 0)) for l, h, d in zip(low, high, grown.shape))]


def window(x: Array, size: Ints, stride: Ints, dilation: Ints) -> Array:
    """Windows over the last dimensions: all position dims, then all in-window dims. A read-only view."""
    n = len(size)
    reach = tuple((u - 1) * d + 1 for u, d in zip(size, dilation))
    axes = tuple(range(x.ndim - n, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axes)
    positions = tuple(slice(None, None, k) for k in stride)
    return windows[(..., *positions, *(slice(None, None, d) for d in dilation))]


def unwindow(y: Array, to: Ints, size: Ints, stride: Ints, dilation: Ints) -> Array:
    """Adjoint of window: every element is added back where it was read."""
    n = len(to)
    positions = y.shape[y.ndim - 2 * n : y.ndim - n]
    x = np.zeros(y.shape[: y.ndim - 2 * n] + tuple(to), y.dtype)
    for u in itertools.product(*map(range, size)):
        x[(..., *_strided(u, positions, stride, dilation))] += y[(..., *u)]
    return x


def _strided(u: Ints, positions: Ints, stride: Ints, dilation: Ints) -> tuple[slice, ...]:
    return tuple(
        slice(a * d, a * d + (p - 1) * k + 1 if p else a * d, k)
        for a, p, k, d in zip(u, positions, stride, dilation)
    )


def conv(x: Array, k: Array, stride: Ints, dilation: Ints) -> Array:
    """x[n,g,c,..d] with k[g,o,c,..u] -> [n,g,o,..i], one matrix product per kernel element."""
    size = k.shape[3:]
    positions = tuple(
        (d - a * (u - 1) - 1) // s + 1 for d, u, s, a in zip(x.shape[3:], size, stride, dilation)
    )
    y = np.zeros((*x.shape[:2], k.shape[1], math.prod(positions)), x.dtype)
    for u in itertools.product(*map(range, size)):
        part = x[(..., *_strided(u, positions, stride, dilation))]
        y += np.matmul(k[(..., *u)], part.reshape(*x.shape[:3], math.prod(positions)))
    return y.reshape(*y.shape[:3], *positions)


def conv_input(g: Array, k: Array, dilation: Ints) -> Array:
    """g[n,g,o,..p] with k[g,o,c,..u] -> [n,g,c,..i], kernel read backwards."""
    turned = np.flip(np.swapaxes(k, 1, 2), tuple(range(3, k.ndim)))
    return conv(g, turned, (1,) * len(dilation), dilation)


def conv_kernel(x: Array, g: Array, size: Ints, stride: Ints, dilation: Ints) -> Array:
    """x[n,g,c,..d] with g[n,g,o,..i] -> [g,o,c,..u]."""
    positions = g.shape[3:]
    k = np.zeros((g.shape[1], g.shape[2], x.shape[2], *size), x.dtype)
    count = g.shape[0] * math.prod(positions)
    rows = np.moveaxis(g, 0, 2).reshape(*g.shape[1:3], count)
    for u in itertools.product(*map(range, size)):
        part = x[(..., *_strided(u, positions, stride, dilation))]
        k[(..., *u)] = np.matmul(rows, np.moveaxis(part, 0, 2).reshape(*x.shape[1:3], count).swapaxes(1, 2))
    return k


def clamped(index: Array, n: int) -> Array:
    """Indices forced into 0 .. n-1: what compiled programs do with those outside, so that memory stays whole."""
    return np.clip(index, 0, max(n - 1, 0))


def scatter_add(x: Array, index: Array, src: Array, axis: int) -> Array:
    """A copy of x with src added at index along an axis; indices are clamped."""
    y = x.copy()
    at = list(np.indices(index.shape, sparse=True))
    at[axis] = clamped(index, x.shape[axis])
    np.add.at(y, tuple(at), src[tuple(map(slice, index.shape))])
    return y


def put_add(x: Array, index: Array, src: Array, axis: int) -> Array:
    """A copy of x with the rows of src added at the places index names along an axis; indices are clamped."""
    y = x.copy()
    rows = np.moveaxis(src, tuple(range(axis, axis + index.ndim)), tuple(range(index.ndim)))
    np.add.at(np.moveaxis(y, axis, 0), clamped(index, x.shape[axis]), rows)
    return y


_ARRIVE = {"mul": np.multiply, "max": np.maximum, "min": np.minimum}


def scatter(x: Array, index: Array, src: Array, axis: int, by: str) -> Array:
    """A copy of x with src written to, or combined with, the places index names along an axis; indices are clamped."""
    y = x.copy()
    at = list(np.indices(index.shape, sparse=True))
    at[axis] = clamped(index, x.shape[axis])
    part = src[tuple(map(slice, index.shape))]
    if by == "set":
        y[tuple(at)] = part
    else:
        _ARRIVE[by].at(y, tuple(at), part)
    return y


def put(x: Array, index: Array, src: Array, axis: int) -> Array:
    """A copy of x with the rows of src written to the places index names along an axis; indices are clamped."""
    y = x.copy()
    rows = np.moveaxis(src, tuple(range(axis, axis + index.ndim)), tuple(range(index.ndim)))
    np.moveaxis(y, axis, 0)[clamped(index, x.shape[axis])] = rows
    return y


def running(x: Array, axis: int, largest: bool) -> tuple[Array, Array]:
    """The extreme so far along an axis and where it is: the last of several; NaN wins."""
    best = (np.maximum if largest else np.minimum).accumulate(x, axis)
    place = np.where((x == best) | (x != x), iota(x.shape, axis, np.dtype(np.int64)), 0)
    return best, np.maximum.accumulate(place, axis)


def take(x: Array, index: Array, axis: int) -> Array:
    """Rows of x along an axis; indices are clamped."""
    return np.take(x, clamped(index, x.shape[axis]), axis) if index.size else np.take(x, index, axis)


def gather(x: Array, index: Array, axis: int) -> Array:
    """x read at index along an axis; other dimensions may be smaller than x's. Indices are clamped."""
    at = list(np.indices(index.shape, sparse=True))
    at[axis] = clamped(index, x.shape[axis])
    return x[tuple(at)]


def iota(shape: Ints, axis: int, t: np.dtype) -> Array:
    """0, 1, 2, ... along one axis. A read-only view."""
    row = np.arange(shape[axis]).astype(t).reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return np.broadcast_to(row, shape)


def update(x: Array, y: Array, start: Ints, step: Ints) -> Array:
    """A copy of x with y written into the box that starts at `start`."""
    z = x.copy()
    z[tuple(slice(a, a + (d - 1) * k + 1 if d else a, k) for a, d, k in zip(start, y.shape, step))] = y
    return z


def sort(x: Array, axis: int, descending: bool) -> tuple[Array, Array]:
    """Sorted values and where they came from; stable, NaN counts as the largest."""
    turned = np.flip(x, axis) if descending else x
    index = np.argsort(turned, axis=axis, kind="stable")
    if descending:
        index = np.flip(x.shape[axis] - 1 - index, axis)
    return np.take_along_axis(x, index, axis), index


def topk(x: Array, k: int, largest: bool) -> tuple[Array, Array]:
    """The first k of a sort along the last dimension."""
    values, index = sort(x, x.ndim - 1, largest)
    return values[..., :k], index[..., :k]


def first(pick: Callable, x: Array, axis: int) -> Array:
    """argmax or argmin with the dimension kept; bool counts as 0 and 1."""
    return np.expand_dims(pick(x, axis=axis), axis)


_NAMES = {
    "np": np, "erf": erf, "erfc": erfc, "power": power, "convert": convert, "pad": pad, "window": window,
    "unwindow": unwindow, "update": update, "conv": conv, "conv_input": conv_input, "gather": gather, "take": take,
    "conv_kernel": conv_kernel, "scatter_add": scatter_add, "put_add": put_add, "sort": sort, "topk": topk, "first": first,
    "iota": iota, "scatter": scatter, "put": put, "running": running, "to_complex": to_complex, "as_parts": as_parts, "bitcast": bitcast,
    "from_parts": from_parts, "dft": dft, "dft_parts": dft_parts, "real_dft": real_dft,
    "dft_to_real": dft_to_real,
}  # fmt: skip


def check_line(line: str, params: tuple[str, ...], origin: str) -> ast.expr:
    """The parsed numpy line.

    BookError if it is not an expression over its parameters, numpy and this module.
    """
    try:
        tree = ast.parse(line, mode="eval").body
    except SyntaxError as error:
        raise BookError(
            f"the numpy line is no Python expression: {error.msg}", at=f"{origin}   {line}"
        ) from None
    bound = {
        *params,
        *_NAMES,
        "tuple",
        "zip",
        "slice",
        "len",
        "range",
        "sum",
        "max",
        "min",
        "float",
        "int",
        "bool",
        "None",
        "abs",
    }
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in bound | stored:
            raise BookError(
                f"the numpy line uses {node.id!r}, which is neither a parameter nor known",
                at=f"{origin}   {line}",
            )
    return tree


def compile_line(stanza: Stanza) -> Callable:
    """The function of a stanza's numpy line; an `is` op without one is evaluated through its meaning."""
    params = tuple(p.name for p in (*stanza.tensors, *stanza.attributes))
    if not stanza.numpy_line:
        return _through_meaning(stanza)
    check_line(stanza.numpy_line, params, stanza.origin)
    code = compile(f"lambda {', '.join(params)}: {stanza.numpy_line}", stanza.origin, "eval")
    return eval(code, dict(_NAMES))  # the book is source code; check_line has bounded its names


class NumpyBuild:
    """The Build that computes with numpy at once."""

    def __init__(self, book: Mapping[str, Stanza]) -> None:
        self.book = book

    def __call__(self, op: str, operands: tuple, attrs: tuple) -> tuple:
        """Results of one op; KeyError if there is none of that name."""
        return self.book[op].evaluate(operands, attrs)

    def type(self, value: Array) -> Type:
        """Type of an array."""
        return value.shape, dtype_of(value)


def _through_meaning(stanza: Stanza) -> Callable:
    build, count = NumpyBuild(stanza.book), len(stanza.tensors)

    def run(*args: object) -> object:
        attrs = tuple(DTYPES[_code(a)] if isinstance(a, np.dtype) else a for a in args[count:])
        values = stanza.open(build, args[:count], attrs)
        return values[0] if len(values) == 1 else values

    return run


def _code(dtype: np.dtype) -> str:
    return "bfloat16" if dtype == np.dtype(ml_dtypes.bfloat16) else dtype.name
