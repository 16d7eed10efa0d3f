"""Reductions: sums, means, extremes, norms, scans and sorting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from ..dialects.types import DType, bool_, int64, uint8
from . import recorder
from .definitions import define
from .dtype_arguments import dtype_given
from .joining import cat
from .node import Node
from .precision import in_single
from .promote import Defaults, cast, full
from .recorder import record, record_many
from .returns import (
    aminmax_result,
    cummax_result,
    cummin_result,
    max_result,
    min_result,
    sort_result,
    topk_result,
)
from .shaping import dimensions, reshaped
from .tensor import Tensor, dimension, wrap

Dims = int | Sequence[int] | None


def folded(x: Node, op: str, axes: tuple[int, ...], keepdim: bool, attrs: tuple = ()) -> Node:
    """A fold (or composite) over ``axes``; the book keeps dimensions, PyTorch drops them unless asked."""
    y = record(op, (x,), (axes, *attrs))
    if keepdim or not axes:
        return y
    shape = tuple([n for i, n in enumerate(y.type[0]) if i not in axes])
    return record("reshape", (y,), (shape,))


def _axes(dim: Dims, rank: int) -> tuple[int, ...]:
    return dimensions(None if isinstance(dim, (tuple, list)) and not dim else dim, rank)


@define("sum")
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum over all or some dimensions; integers and bools are summed as int64."""
    x = input._read()
    x = cast(x, dtype or (x.type[1] if x.type[1].kind in "fc" else int64))
    return wrap(folded(x, "sum", _axes(dim, len(x.type[0])), keepdim))


@define("nansum")
def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """``sum`` with NaN counted as 0. RuntimeError for complex numbers."""
    if input.dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    return sum(
        input.nan_to_num(0.0, inf, -inf) if input.dtype.kind == "f" else input, dim, keepdim, dtype=dtype
    )


@define("mean")
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean over all or some dimensions. RuntimeError for integers."""
    x = input._read() if dtype is None else cast(input._read(), dtype)
    if not x.type[1].has_gradient:
        raise RuntimeError(
            f"mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: {_named(x)}"
        )
    return wrap(folded(x, "mean", _axes(dim, len(x.type[0])), keepdim))


def _named(x: Node) -> str:
    from .assignment import title

    return title(x.type[1])


@define("nanmean")
def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean of what is not NaN."""
    return nansum(input, dim, keepdim, dtype=dtype) / input.isnan().logical_not().sum(dim, keepdim)


@define("prod")
def prod_(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The product over all or one dimension; integers and bools are multiplied as int64."""
    x = input._read()
    x = cast(x, dtype or (x.type[1] if x.type[1].kind in "fc" else int64))
    axes = _axes(dim, len(x.type[0]))
    return _complex_product(wrap(x), axes, keepdim) if x.type[1].is_complex else wrap(folded(x, "prod", axes, keepdim))


def _complex_product(x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
    """The product over some dimensions: of halves with each other, until one is left."""
    for axis in axes:
        while x.shape[axis] > 1:
            half = x.shape[axis] // 2
            left, right, rest = x.split((half, half, x.shape[axis] - 2 * half), axis)
            x = left * right if not rest.shape[axis] else cat((left * right, rest), axis)
        if not x.shape[axis]:
            x = wrap(full(1.0, tuple([1 if d == axis else n for d, n in enumerate(x.shape)]), x.dtype))
    return x if keepdim else x.reshape([n for d, n in enumerate(x.shape) if d not in axes])


def _spread(input: Tensor, dim: Any, keepdim: bool, correction: int | float, root: bool) -> Node:
    if input.dtype.is_complex:  # of the real parts and of the imaginary parts
        re, im = [wrap(_spread(part, dim, keepdim, correction, False)) for part in (input.real, input.imag)]
        return (re + im).sqrt()._read() if root else (re + im)._read()
    x = input._read()
    if x.type[1].kind != "f":
        raise RuntimeError("std and var only support floating point and complex dtypes")
    y = folded(x, "var", _axes(dim, len(x.type[0])), keepdim, (int(correction),))
    if not root:
        return y
    return _safe_root(wrap(y))._read() if y.requires_grad else record("sqrt", (y,))


def _spread_arguments(
    dim: Any, unbiased: bool | None, correction: int | float | None
) -> tuple[Any, int | float]:
    if isinstance(dim, bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        return dim, int(unbiased)
    return dim, 1 if correction is None else correction


def _spread_definition(root: bool) -> Callable:
    def apply(
        input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
    ) -> Tensor:
        dim, correction = _spread_arguments(dim, unbiased, correction)
        return wrap(_spread(input, dim, keepdim, correction, root))

    apply.__doc__ = (
        "Standard deviation" if root else "Variance"
    ) + " with ``correction`` degrees of freedom taken off."
    return apply


def _spread_and_mean(root: bool) -> Callable:
    def apply(
        input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
    ) -> Any:
        dim, correction = _spread_arguments(dim, unbiased, correction)
        return wrap(_spread(input, dim, keepdim, correction, root)), mean(input, dim, keepdim)

    apply.__doc__ = "The spread and the mean."
    return apply


define("var")(_spread_definition(False))
define("std")(_spread_definition(True))
define("var_mean", method=False)(_spread_and_mean(False))
define("std_mean", method=False)(_spread_and_mean(True))


def _truth(op: str) -> Callable:
    def apply(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
        x = cast(input._read(), bool_)
        y = folded(x, op, _axes(dim, len(x.type[0])), keepdim)
        return wrap(cast(y, uint8) if input.dtype is uint8 else y)

    apply.__doc__ = f"Whether {op} elements are true."
    return apply


define("all")(_truth("all"))
define("any")(_truth("any"))


# -- extremes
# -------------------------------------------------------------------------------------------------------


def _needs_elements(input: Tensor, name: str) -> None:
    if input.numel() == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument."
        )


def _needs_extent(input: Tensor, name: str, axes: Sequence[int]) -> None:
    """IndexError for a dimension without entries: no extreme is among them."""
    shape = input._node.type[0]
    if 0 in shape:
        empty = [d for d in axes if not shape[d]]
        if empty:
            raise IndexError(f"{name}(): Expected reduction dim {empty[0]} to have non-zero size.")


def _along(input: Tensor, dim: int, keepdim: bool, arg: str) -> tuple[Node, Node]:
    """The extreme along one dimension and where it is; the gradient goes to that one element."""
    x = input._read()
    rank = len(x.type[0])
    at = dimension(dim, rank)
    if not rank:
        return recorder.alias(x), input.new_zeros((), dtype=int64)._read()
    _needs_extent(input, arg[3:], (at,))
    index = record(arg, (x,), (at,))
    values = record("gather", (x, index), (at,))
    if not keepdim:
        shape = (*x.type[0][:at], *x.type[0][at + 1 :])
        index, values = record("reshape", (index,), (shape,)), record("reshape", (values,), (shape,))
    return values, index


def _extreme(op: str, result: Any) -> Callable:
    def apply(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Tensor):
            return getattr(input, op + "imum")(dim)
        if dim is None:
            _needs_elements(input, op)
            x = input._read()
            return wrap(folded(x, op, tuple(range(len(x.type[0]))), False))
        values, index = _along(input, dim, keepdim, "arg" + op)
        return result(wrap(values), wrap(index))

    apply.__doc__ = (
        f"The {op} of all elements; along ``dim`` also where it is; of two tensors, element by element."
    )
    return apply


define("max", also={"other": "dim"})(_extreme("max", max_result))
define("min", also={"other": "dim"})(_extreme("min", min_result))


def _amount(op: str) -> Callable:
    def apply(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
        axes = _axes(dim, input.dim())
        if len(axes) == input.dim():
            _needs_elements(input, f"a{op}")
        else:
            _needs_extent(input, f"a{op}", axes)
        return wrap(folded(input._read(), op, axes, keepdim))

    apply.__doc__ = f"The {op} over dimensions; equal elements share the gradient."
    return apply


define("amax")(_amount("max"))
define("amin")(_amount("min"))


@define("aminmax")
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest."""
    return aminmax_result(_amount("min")(input, dim, keepdim), _amount("max")(input, dim, keepdim))


def _position(op: str) -> Callable:
    def apply(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        if dim is None:
            _needs_elements(input, op)
            x = record("reshape", (input._read(),), ((input.numel(),),))
            y = record("reshape", (record(op, (x,), (0,)),), ((1,) * input.dim() if keepdim else (),))
            return wrap(y)
        if not input.dim():
            return input.new_zeros((), dtype=int64)
        x, at = input._read(), dimension(dim, input.dim())
        _needs_extent(input, op, (at,))
        y = record(op, (x,), (at,))
        return wrap(y if keepdim else record("reshape", (y,), ((*x.type[0][:at], *x.type[0][at + 1 :]),)))

    apply.__doc__ = f"Where the {op[3:]} is (the first of several)."
    return apply


define("argmax", exact_out=True)(_position("argmax"))
define("argmin", exact_out=True)(_position("argmin"))


# -- norms
# ----------------------------------------------------------------------------------------------------------


@define("norm")
def norm(
    input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, dtype: DType | None = None
) -> Tensor:
    """The p-norm of all elements or over dimensions ("fro" is 2; "nuc" sums singular values)."""
    if p == "nuc":
        from .linalg import matrix_norm

        return matrix_norm(input, p, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"unknown norm {p!r}")
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


@in_single
def vector_norm(
    x: Tensor, ord: Any = 2, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """``(sum |x| ** ord) ** (1 / ord)``, with the limits at 0, inf and -inf. RuntimeError for integers."""
    x = x.to(dtype) if dtype is not None else x
    x = x.abs() if x.dtype.is_complex else x
    if x.dtype.kind != "f":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. "
            f"Got {_named(x._read())}"
        )
    axes = _axes(dim, x.dim())
    p = ord.item() if isinstance(ord, Tensor) else ord
    if (p == inf or p < 0) and any(x.shape[d] == 0 for d in axes):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {p} norm on an empty tensor because the operation does not have an "
            "identity"
        )
    if not x.dim():
        return reshaped(vector_norm(reshaped(x, (1,)), p, 0), ())
    return wrap(folded(x._read(), "vector_norm", axes, keepdim, (p,)))


def _safe_root(squares: Tensor) -> Tensor:
    """sqrt whose gradient at 0 is 0, as PyTorch has it for norms and std."""
    if not squares.requires_grad:
        return squares.sqrt()
    zero = squares == 0
    root = (squares + zero.to(squares.dtype)).sqrt()._read()
    return wrap(record("select", (zero._read(), full(0.0, *root.type), root)))  # whatever arrives, infinities too


@define("dist")
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of the difference."""
    return vector_norm(input - other, p)


@define("logsumexp")
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(input)))`` without overflow."""
    if input.dtype.is_complex:
        top = input.real.detach().amax(dim, keepdim=True)
        total = (input - top).exp().sum(dim, keepdim=True).log() + top
        return total if keepdim else total.squeeze(dim)
    x = cast(input._read(), input.dtype if input.dtype.kind == "f" else Defaults.dtype)
    return wrap(folded(x, "logsumexp", _axes(dim, input.dim()), keepdim))


def _soft(op: str) -> Callable:
    def apply(
        input: Tensor, dim: int | None = None, dtype: DType | None = None, _stacklevel: int = 3
    ) -> Tensor:
        x = input._read() if dtype is None else cast(input._read(), dtype_given(dtype))
        rank = len(x.type[0])
        if dim is None:
            dim = 0 if rank in (0, 1, 3) else 1
        at = dimension(dim, rank)
        if 0 in x.type[0]:  # nothing sums to 1 there
            return wrap(recorder.alias(x))
        if rank:
            return wrap(record(op, (x,), ((at,),)))
        return wrap(record("reshape", (record(op, (record("reshape", (x,), ((1,),)),), ((0,),)),), ((),)))

    apply.__doc__ = f"``{op}`` over one dimension."
    return apply


define("softmax")(_soft("softmax"))
define("log_softmax")(_soft("log_softmax"))


@define("count_nonzero")
def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not zero."""
    return sum(input != 0, dim)


# -- scans and sorting
# ----------------------------------------------------------------------------------------------


def _doubled(x: Tensor, dim: int) -> Tensor:
    """Products of everything up to here, each made of two that cover half as much: what complex numbers have no scan of their own for.

    Source: Hillis and Steele, Data parallel algorithms (1986).
    """
    from .joining import cat

    size, step = x.shape[dim] if x.dim() else 1, 1
    while step < size:
        later = x.narrow(dim, step, size - step) * x.narrow(dim, 0, size - step)
        x, step = cat([x.narrow(dim, 0, step), later], dim), 2 * step
    return x


def _scan(op: str) -> Callable:
    def apply(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
        x = input._read()
        x = cast(x, dtype or (x.type[1] if x.type[1].kind in "fc" else int64))
        at = dimension(dim, len(x.type[0]))
        if op == "cumprod" and x.type[1].is_complex:
            return _doubled(wrap(recorder.alias(x)), at)
        return wrap(record(op, (x,), (at,)) if x.type[0] else recorder.alias(x))

    apply.__doc__ = f"``{op}`` along a dimension."
    return apply


define("cumsum", in_place=True)(_scan("cumsum"))
define("cumprod", in_place=True)(_scan("cumprod"))


def _running(largest: bool, result: Any) -> Callable:
    def apply(input: Tensor, dim: int) -> Any:
        at = dimension(dim, input.dim())
        if not input.dim():
            return result(input.clone(), input.new_zeros((), dtype=int64))
        values, index = record_many("running", (input._read(),), (at, largest))
        return result(wrap(values), wrap(index))

    apply.__doc__ = f"The {'largest' if largest else 'smallest'} so far along a dimension, and where it is."
    return apply


define("cummax")(_running(True, cummax_result))
define("cummin")(_running(False, cummin_result))


@define("sort")
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Sorted along a dimension, and where each element came from. The order of equal elements is kept."""
    if not input.dim():
        return sort_result(input.clone(), input.new_zeros((), dtype=int64))
    values, index = record_many("sort", (input._read(),), (dimension(dim, input.dim()), bool(descending)))
    return sort_result(wrap(values), wrap(index))


@define("argsort")
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Where each element of the sorted tensor came from."""
    return sort(input, dim, descending).indices


define("msort")(lambda input: sort(input, 0).values)


LONGEST_LIST = 512
"""Elements of rows from which on more than an eighth of so many are found by sorting: every element that enters goes down the list of the best."""


@define("topk")
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest), best first, and where they are."""
    at = dimension(dim, input.dim())
    if input.dim() and not 0 <= k <= input.shape[at]:
        raise RuntimeError("selected index k out of range")
    if input.dim() and 0 < 8 * k <= min(input.shape[at], LONGEST_LIST) and input.device.type == "cpu":
        is_last = at == input.dim() - 1
        values, index = map(wrap, record_many("topk", ((input if is_last else input.transpose(at, -1))._read(),), (k, largest)))
        return topk_result(values, index) if is_last else topk_result(*(t.transpose(at, -1).contiguous() for t in (values, index)))
    if not input.dim():
        return topk_result(*sort(input, dim, largest))
    found = record_many("sort", (input._read(),), (at, bool(largest)))
    shape = input._node.type[0]
    if k < shape[at]:
        best = (0,) * len(shape), (*shape[:at], k, *shape[at + 1 :]), (1,) * len(shape)
        found = [record("slice", (node,), best) for node in found]
    return topk_result(*map(wrap, found))
