"""Selection: where, clamp, masks, gather and scatter."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dialects.types import DType, bool_, int32, int64, uint8
from . import recorder
from .arithmetic import nodes, number
from .assignment import title
from .creation import of_array
from .definitions import define
from .indexing import fitted, getitem, index_node, index_put
from .joining import apart
from .node import Node
from .promote import broadcast, cast, full, highest, lowest, operand, result_type, untouched
from .recorder import record
from .shaping import reshaped
from .strides import follow
from .tensor import Tensor, dimension, wrap
from .true_places import places

define("index_put", in_place=True)(index_put)


@define("where", method=False)
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """``input`` where the condition holds, else ``other``; with the condition alone,
    ``nonzero(as_tuple=True)``."""
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() takes a condition alone, or a condition and two values")
    if condition.dtype not in (bool_, uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    c = cast(condition._read(), bool_)
    tensors = [t._read() for t in (input, other) if isinstance(t, Tensor)]
    numbers = [number(v) for v in (input, other) if not isinstance(v, Tensor)]
    dtype = result_type([t.type for t in tensors], numbers)
    a, b = [
        cast(v._read(), dtype) if isinstance(v, Tensor) else operand(number(v), (), dtype)
        for v in (input, other)
    ]
    return follow(wrap(record("select", tuple(broadcast([c, a, b])))), (condition, input, other))


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    return where(condition, self, other)


@define("clamp", "clip", in_place=True)
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """No smaller than ``min``, no larger than ``max`` (numbers or tensors); the gradient passes where nothing
    was cut."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    result = input
    for bound, op, outside in ((min, "maximum", "less"), (max, "minimum", "greater")):
        if bound is None:
            continue
        x, y = nodes(result, bound, "any")
        if not x.requires_grad and not y.requires_grad:
            result = wrap(record(op, (x, y)))
            continue
        cut = record(outside, (x, y))  # at the bound itself the gradient still passes
        if isinstance(bound, Tensor) and y.type[1].kind == "f":
            cut = record("logical_or", (cut, record("is_nan", (y,))))
        result = wrap(record("select", (cut, y, x)))
    return follow(result, (input,))


@define("clamp_min", in_place=True)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """``clamp`` from below."""
    return clamp(input, min, None)


@define("clamp_max", in_place=True)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """``clamp`` from above."""
    return clamp(input, None, max)


@define("masked_fill", in_place=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``value`` where the mask is true."""
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if isinstance(value, Tensor) and value.dim():
        raise RuntimeError(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.dim()} dimension(s)."
        )
    x, m = broadcast([input._read(), mask._read()])
    return wrap(record("select", (m, fitted(value, wrap(recorder.alias(x, False))), x)))


@define("masked_select", exact_out=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is true, in a row."""
    x, m = broadcast([input._read(), mask._read()])
    return getitem(wrap(recorder.alias(x)), wrap(m))


@define("masked_scatter", in_place=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The places where the mask is true take elements of ``source``, in order."""
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {title(mask.dtype)}")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got "
            f"{title(input.dtype)} and {title(source.dtype)}"
        )
    x, m = broadcast([input._read(), mask._read()])
    found = places(recorder.value(m))
    count = len(found[0]) if found else 1
    result = wrap(recorder.alias(x))
    return index_put(result, [of_array(p, like=input) for p in found], source.reshape(-1)[:count])


# -- along a dimension
# ----------------------------------------------------------------------------------------------


def _index_of(index: Tensor, n: int, dim: int, error: type[Exception] = IndexError) -> Node:
    if index.dtype not in (int64, int32):
        raise RuntimeError(f"gather(): Expected dtype int32/int64 for index (got {index.dtype})")
    try:
        return index_node(index, n, dim, from_end=False)
    except IndexError as refused:
        raise error(*refused.args) from None


def _lifted(along: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``along`` a dimension also for tensors without one: they count as having one element in one
    dimension."""

    @functools.wraps(along)
    def apply(input: Tensor, dim: int, index: Tensor, *args: Any, **options: Any) -> Tensor:
        if input.dim():
            return along(input, dim, index.reshape(1) if not index.dim() else index, *args, **options)
        dimension(dim, 0)
        if index.dim() > 1:
            raise RuntimeError("Index tensor must have the same number of dimensions as self tensor")
        rest = [a.reshape(1) if isinstance(a, Tensor) and not a.dim() else a for a in args]
        lifted = {k: v.reshape(1) if isinstance(v, Tensor) and not v.dim() else v for k, v in options.items()}
        return along(input.reshape(1), 0, index.reshape(-1), *rest, **lifted).reshape(())

    return apply


@define("gather", exact_out=True)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """``out[i][j] = input[index[i][j]][j]`` for dim 0, and so on."""
    at = dimension(dim, input.dim())
    if not input.dim():
        return input.expand(tuple(index.shape)).clone()
    if not index.numel():
        return wrap(
            record(
                "reshape",
                (record("slice", (input.reshape(-1)._read(),), ((0,), (0,), (1,))),),
                (tuple(index.shape),),
            )
        )
    if index.dim() != input.dim():
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    return wrap(
        record(
            "gather", (_cropped(input, index, at), _index_of(index, input.shape[at], at, RuntimeError)), (at,)
        )
    )


def _cropped(input: Tensor, index: Tensor, at: int) -> Node:
    """The part of ``input`` an index of smaller sizes reaches."""
    shape, other = tuple(input.shape), tuple(index.shape)
    size = tuple([n if d == at else min(n, m) for d, (n, m) in enumerate(zip(shape, other, strict=True))])
    x = input._read()
    return x if size == shape else record("slice", (x,), ((0,) * len(size), size, (1,) * len(size)))


@define("take_along_dim", exact_out=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """``gather`` with broadcasting; without ``dim``, from all elements in a row."""
    if dim is None:
        return gather(reshaped(input, (input.numel(),)), 0, reshaped(indices, (indices.numel(),)))
    at = dimension(dim, input.dim())
    indices = wrap(index_node(indices, input.shape[at], at))
    shape = [max(n, m) for n, m in zip(input.shape, indices.shape, strict=True)]
    own, asked = list(shape), list(shape)
    own[at], asked[at] = input.shape[at], indices.shape[at]
    return gather(input.expand(own), at, indices.expand(asked))


@define("index_select", exact_out=True)
@_lifted
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The entries of ``index`` along a dimension."""
    at = dimension(dim, input.dim())
    flat = index if index.dim() == 1 else reshaped(index, (index.numel(),))
    return wrap(record("take", (input._read(), _index_of(flat, input.shape[at], at)), (at,)))


@define("take", exact_out=True)
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of the flattened tensor."""
    flat = record("reshape", (input._read(),), ((input.numel(),),))
    return wrap(record("take", (flat, index_node(index, input.numel(), 0)), (0,)))


@define("scatter_add", in_place=True)
@_lifted
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``out[index[i][j]][j] += src[i][j]`` for dim 0, and so on."""
    at = dimension(dim, input.dim())
    _needs_same_dtype(input, src)
    if input.dtype is bool_:
        return scatter_add(input.long(), dim, index, src.long()).bool()
    return wrap(
        record(
            "scatter_add",
            (
                input._read(),
                _index_of(index, input.shape[at], at, RuntimeError),
                cast(src._read(), input.dtype),
            ),
            (at,),
        )
    )


@define("scatter", in_place=True)
@_lifted
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """``out[index[i][j]][j] = src[i][j]`` for dim 0, and so on; "add" and "multiply" combine instead."""
    src = value if src is None else src
    _needs_same_dtype(input, src)
    spread = src._read() if isinstance(src, Tensor) else full(src, tuple(index.shape), input.dtype)
    if reduce is not None:
        return scatter_reduce(input, dim, index, wrap(spread), {"add": "sum", "multiply": "prod"}[reduce])
    return _scattered(input, dimension(dim, input.dim()), index, spread, "set")


def _needs_same_dtype(input: Tensor, src: Any) -> None:
    if isinstance(src, Tensor) and src.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")


def _scattered(input: Tensor, at: int, index: Tensor, src: Node, by: str) -> Tensor:
    if not index.numel():
        return wrap(recorder.alias(input._read()))
    places = _index_of(index, input.shape[at], at, RuntimeError)
    return wrap(record("scatter", (input._read(), places, src), (at, by)))


_SCATTERED = {"prod": "mul", "amax": "max", "amin": "min"}


@define("scatter_reduce", in_place=True)
@_lifted
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``scatter`` where several values for one place are combined: sum, mean, prod, amax, amin."""
    if reduce not in ("sum", "mean", *_SCATTERED):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    _needs_same_dtype(input, src)
    at = dimension(dim, input.dim())
    if input.dtype is bool_ and reduce in ("sum", "mean", "prod"):
        return scatter_reduce(input.long(), dim, index, src.long(), reduce, include_self=include_self).bool()
    base = input
    if not include_self:  # what values arrive at starts afresh
        neutral = full(_neutral(input.dtype, reduce), tuple(index.shape), input.dtype)
        base = _scattered(input, at, index, neutral, "set")
    if reduce in _SCATTERED:
        return _scattered(base, at, index, src._read(), _SCATTERED[reduce])
    total = scatter_add(base, at, index, src)
    if reduce == "sum":
        return total
    ones = wrap(full(1, tuple(index.shape), input.dtype))
    count = scatter_add(wrap(full(int(include_self), tuple(input.shape), input.dtype)), at, index, ones)
    return _divided(total, count.clamp(min=1))


def _divided(total: Tensor, count: Tensor) -> Tensor:
    return total / count if total.dtype.kind == "f" else total.div(count, rounding_mode="floor")


def _neutral(kind: DType, reduce: str) -> Any:
    """What changes nothing."""
    if reduce not in ("amax", "amin"):
        return int(reduce == "prod")
    return lowest(kind) if reduce == "amax" else highest(kind)


@define("index_reduce", in_place=True)
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``index_add`` with another way to combine: prod, mean, amax, amin."""
    at = dimension(dim, input.dim())
    if not input.dim():
        return scatter_reduce(input, 0, index.reshape(-1), source.reshape(-1), reduce, include_self=include_self)
    shape = [1] * input.dim()
    shape[at] = -1
    return scatter_reduce(
        input, at, index.reshape(shape).expand(source.shape), source, reduce, include_self=include_self
    )


@define("put", in_place=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """Elements of the flattened tensor replaced by (or increased by) those of ``source``."""
    if index.numel() != source.numel():
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.numel()}, index.numel() = {index.numel()}"
        )
    flat, places = reshaped(input, (input.numel(),)), reshaped(index, (index.numel(),))
    values = reshaped(source, (index.numel(),))
    return reshaped(index_put(flat, [places], values, accumulate), tuple(input.shape))


@define("index_add", in_place=True)
@_lifted
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """Entries of ``source`` added at ``index`` along a dimension."""
    dimension(dim, input.dim())
    if source.dtype is not input.dtype:
        kinds = f"self ({title(input.dtype)}) and source ({title(source.dtype)})"
        raise RuntimeError(f"index_add_(): {kinds} must have the same scalar type")
    at = dimension(dim, input.dim())
    if not input.shape[at]:
        return input + source.narrow(at, 0, 0)  # PyTorch does not look at the index then
    if input.dtype is bool_:
        return index_add(input.long(), dim, index, source.long(), alpha=int(alpha)).bool()
    values = source if alpha == 1 else source * alpha
    return wrap(
        record(
            "put_add",
            (input._read(), _index_of(index, input.shape[at], at, RuntimeError), cast(values._read(), input.dtype)),
            (at,),
        )
    )


@define("index_copy", in_place=True)
@_lifted
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Entries of ``source`` written at ``index`` along a dimension."""
    dimension(dim, input.dim())
    if source.dtype is not input.dtype:
        kinds = f"(self) {title(input.dtype)} and (source) {title(source.dtype)}"
        raise RuntimeError(f"index_copy_(): self and source expected to have the same dtype, but got {kinds}")
    places = [(t.shape, dimension(dim, t.dim())) for t in (input, source)]
    kept, given = [[*shape[:d], *shape[d + 1 :]] for shape, d in places]
    if kept != given:
        raise RuntimeError(f"index_copy_(): source slices must have the shape {kept}, got {given}")
    at = dimension(dim, input.dim())
    moved = input.movedim(at, 0)
    return index_put(moved, [index], source.movedim(at, 0)).movedim(0, at)


@define("index_fill", in_place=True)
@_lifted
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A number written at ``index`` along a dimension."""
    at = dimension(dim, input.dim())
    if isinstance(value, Tensor):
        value = wrap(cast(value._read(), input.dtype))
    return index_put(input.movedim(at, 0), [index], value).movedim(0, at)


@define("repeat_interleave")
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each entry several times in a row. Of ``repeats`` alone: each index as often as it says, in its dtype; RuntimeError unless it
    is a vector of int32 or int64."""
    if repeats is None:
        return _repeated_indices(input)
    if dim is None:
        input, dim = reshaped(input, (input.numel(),)), 0
    at = dimension(dim, input.dim())
    n = input.shape[at]
    times = repeats._value() if isinstance(repeats, Tensor) else np.asarray(repeats)
    if times.size and times.min() < 0:
        raise RuntimeError("repeats can not be negative")
    if times.size == 1 and input.dim():  # the same for all: a copy that reads every entry several times
        same = input.unsqueeze(at + 1)
        return apart(same.expand((*same.shape[: at + 1], times.item(), *same.shape[at + 2 :])).flatten(at, at + 1), input)
    index = np.repeat(np.arange(n), np.broadcast_to(times, (n,)))
    return index_select(input, at, of_array(index, like=input))


def _repeated_indices(repeats: Tensor) -> Tensor:
    if repeats.dim() != 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    times = repeats._value()
    if times.dtype not in (np.int32, np.int64):
        raise RuntimeError("repeats has to be Long or Int tensor")
    if times.size and times.min() < 0:
        raise RuntimeError("repeats can not be negative")
    return of_array(np.repeat(np.arange(times.size, dtype=times.dtype), times), like=repeats)


# -- views written into a copy --------------------------------------------------------------------------------


def _embedded(input: Tensor, part: Callable[[Tensor], Tensor], src: Tensor) -> Tensor:
    """A copy of ``input`` whose ``part`` is ``src``."""
    whole = wrap(recorder.alias(input._read()))
    place = part(whole)
    if place.shape != src.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
            f"{list(place.shape)}"
        )
    if place.shape == whole.shape:  # all of it: still a function of the input, with gradient 0
        return wrap(untouched(cast(src._read(), input.dtype), whole._read()))
    place.copy_(src)
    return whole


@define("select_scatter")
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy with ``src`` as the entry ``index`` of a dimension."""
    return _embedded(input, lambda t: t.select(dim, index), src)


@define("slice_scatter")
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy with ``src`` as the slice ``start:end:step`` of a dimension."""
    at = dimension(dim, input.dim())
    return _embedded(input, lambda t: t[(slice(None),) * at + (slice(start, end, step),)], src)


@define("diagonal_scatter")
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy with ``src`` as a diagonal."""
    return _embedded(input, lambda t: t.diagonal(offset, dim1, dim2), src)


Tensor.where = _where_method
