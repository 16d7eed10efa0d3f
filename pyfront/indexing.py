"""Indexing: ``x[…]`` and ``x[…] = y``: views where it can be, gathering and scattering where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..dialects.errors import ShapeError
from ..dialects.types import Shape, bool_, int32, int64
from . import recorder
from .assignment import check_in_place, check_overlap, is_tracked_after, store, title
from .doubts import are_places, is_noted
from .known_calls import KnownCalls
from .links import Link
from .node import Node
from .promote import broadcast_shape, cast, expand, full, untouched
from .recorder import record
from .shaping import reshaped
from .strides import follow_index
from .tensor import Tensor, wrap
from .true_places import places

# Results of these steps are positions of their operand, so they need no check against its size.
_IN_RANGE = frozenset({"argmax", "argmin"})
_MOVES = frozenset({"expand", "reshape", "permute", "cast"})


class _Plan(NamedTuple):
    """A parsed index: one slice and one reshape, and what is left for gathering: a Node per indexed
    dimension."""

    start: Shape
    size: Shape
    step: Shape
    shape: Shape  # after the view part
    advanced: dict[int, Any]  # dimension of ``shape`` -> index tensor, in order
    links: tuple[Link, ...]  # the view part
    label: str  # what grad_fn is called after: PyTorch's last view


def getitem(input: Tensor, index: Any) -> Tensor:
    """``input[index]``. IndexError where PyTorch raises one."""
    shape = input._node.type[0]
    if type(index) is int and shape:  # x[i], the most common one
        result = input._through(*(_rows.get((shape, index)) or _parse(shape, index).links))
        return _labelled(result, "select")
    if type(index) is Tensor and index._node.type[1] is bool_ and not recorder.state.levels:
        of = index._node.type[0]
        if of and shape[: len(of)] == of:  # x[mask] by rows
            at, rows = np.flatnonzero(index._value()), input._read()
            if len(of) > 1:
                rows = record("reshape", (rows,), ((prod(of), *shape[len(of) :]),))
            taken = record("take", (rows, recorder.constant(at, (at.shape, int64))), (0,))
            return _labelled(follow_index(wrap(taken), input, list(range(len(of))), at.shape, 0), "index")
    if _are_numbers(index) and shape:
        return _labelled(_picked.made(input, *index) if type(index) is tuple else _picked.made(input, index), "index")
    plan = _parse(shape, index)
    result = _view(input, plan)
    if not plan.advanced:
        return _labelled(result, plan.label)
    return _labelled(_gather(result, plan.advanced), "index")


def _are_numbers(index: Any) -> bool:
    """Whether an index is one tensor of integers, or several and nothing else."""
    for item in index if type(index) is tuple else (index,):
        if type(item) is not Tensor or item._node.type[1] not in (int64, int32):
            return False
    return type(index) is not tuple or len(index) > 0


def _gathered(input: Tensor, *indices: Tensor) -> Tensor:
    plan = _parse(input._node.type[0], indices)
    return _gather(_view(input, plan), plan.advanced)


_picked = KnownCalls(_gathered)


def _labelled(result: Tensor, label: str) -> Tensor:
    if result._node.requires_grad:
        result._label = label
    return result


def _view(input: Tensor, plan: _Plan) -> Tensor:
    return input._through(*plan.links)


# -- parsing
# --------------------------------------------------------------------------------------------------------


_parsed: dict[tuple, _Plan] = {}
_rows: dict[tuple[Shape, int], tuple[Link, ...]] = {}  # the links of ``x[i]`` alone
_MOST_PARSED = 1 << 14
_FIXED = frozenset({type(None), type(Ellipsis)})
_BOUNDS = frozenset({type(None), int})


def _parse(shape: Shape, index: Any) -> _Plan:
    """What an index of numbers and slices means is looked up by shape from the second time on."""
    key = [shape]
    for item in index if type(index) is tuple else (index,):
        if type(item) is slice:
            key.append((item.start, item.stop, item.step))
            if not {type(item.start), type(item.stop), type(item.step)} <= _BOUNDS:
                return _parse_anew(shape, index)
        elif type(item) is int or type(item) in _FIXED:
            key.append(item)
        else:
            return _parse_anew(shape, index)
    plan = _parsed.get(tuple(key))
    if plan is None:
        if len(_parsed) >= _MOST_PARSED:
            _parsed.clear()
            _rows.clear()
        plan = _parsed[tuple(key)] = _parse_anew(shape, index)
        if type(index) is int:
            _rows[shape, index] = plan.links
    return plan


_NO_DIMENSION = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
)


def _parse_anew(shape: Shape, index: Any) -> _Plan:
    items = list(index) if isinstance(index, tuple) else [_as_index(index)]
    items = [_as_index(i) for i in items]
    consumed = sum(_consumes(i) for i in items)
    if consumed > len(shape):
        raise IndexError(
            f"too many indices for tensor of dimension {len(shape)}" if shape or not isinstance(index, int) else _NO_DIMENSION
        )
    if not any(i is Ellipsis for i in items):
        items.append(Ellipsis)
    at = next(k for k, i in enumerate(items) if i is Ellipsis)
    items[at : at + 1] = [slice(None)] * (len(shape) - consumed)
    if any(i is Ellipsis for i in items):
        raise IndexError("an index can only have a single ellipsis ('...')")
    start, size, step, out, advanced = [], [], [], [], {}
    dim, label = 0, "slice" if isinstance(index, slice) else "alias"
    for item in items:
        if item is None:
            out.append(1)
            label = "unsqueeze"
        elif isinstance(item, (bool, np.bool_)):
            advanced[len(out)] = np.array([0] if item else [], np.int64)
            out.append(1)
        elif isinstance(item, slice):
            b, n, s = _slice(item, shape[dim])
            label = label if (n, s) == (shape[dim], 1) else "slice"
            start.append(b), size.append(n), step.append(s), out.append(n)
            dim += 1
        elif isinstance(item, int):
            n = shape[dim]
            if not -n <= item < n:
                raise IndexError(f"index {item} is out of bounds for dimension {dim} with size {n}")
            start.append(item % n), size.append(1), step.append(1)
            dim, label = dim + 1, "select"
        else:
            dim = _advance(item, shape, dim, start, size, step, out, advanced)
    links: list[Link] = []
    if tuple(size) != shape or any(start) or any([s != 1 for s in step]):
        links.append(("slice", (tuple(start), tuple(size), tuple(step))))
    if out != size:
        links.append(("reshape", (tuple(out),)))
    return _Plan(tuple(start), tuple(size), tuple(step), tuple(out), advanced, tuple(links), label)


def _as_index(item: Any) -> Any:
    """Lists, arrays and integer-like objects as what they mean."""
    if item is None or item is Ellipsis or isinstance(item, (bool, int, slice)):
        return item
    if isinstance(item, Tensor):
        return item
    if isinstance(item, (list, tuple, range)):
        if any(isinstance(i, (slice, type(None), type(Ellipsis))) for i in item):
            raise TypeError("a list used as an index holds integers or bools")
        if any(isinstance(i, Tensor) for i in item):
            item = [i.tolist() if isinstance(i, Tensor) else i for i in item]
        array = np.array(list(item))
        return array if array.size else array.astype(np.int64)
    if isinstance(item, np.ndarray):
        return item
    if isinstance(item, np.bool_):
        return bool(item)
    if hasattr(item, "__index__"):
        return int(item.__index__())
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
        f"(got {type(item).__name__})"
    )


def _consumes(item: Any) -> int:
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    if (
        isinstance(item, Tensor)
        and item.dtype is bool_
        or isinstance(item, np.ndarray)
        and item.dtype == bool
    ):
        return item.ndim
    return 1


def _slice(item: slice, n: int) -> tuple[int, int, int]:
    parts = [None if p is None else int(p.__index__()) for p in (item.start, item.stop, item.step)]
    if parts[2] is not None and parts[2] <= 0:
        raise ValueError("step must be greater than zero")
    b, e, s = slice(*parts).indices(n)
    count = max(-(-(e - b) // s), 0)
    return (b if count else min(b, n)), count, s


def _advance(
    item: Any, shape: Shape, dim: int, start: list, size: list, step: list, out: list, advanced: dict
) -> int:
    """Enter an index tensor (or the several a mask stands for); return the next dimension."""
    is_mask = item.dtype is bool_ if isinstance(item, Tensor) else item.dtype == bool
    if is_mask:
        if recorder.state.levels and isinstance(item, Tensor):
            recorder.batches().refuse_mask(item._read())
        mask = item._value() if isinstance(item, Tensor) else item
        for k, n in enumerate(mask.shape):
            if shape[dim + k] != n:
                raise IndexError(
                    f"The shape of the mask {list(mask.shape)} at index {k} does not match the shape of the indexed tensor "
                    f"{list(shape)} at index {dim + k}"
                )
        if not mask.ndim:
            advanced[len(out)] = np.zeros(int(mask), np.int64)
            out.append(1)
            return dim
        indices: Sequence[Any] = places(mask)
    else:
        kind = item.dtype.kind
        if kind not in "iu":
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        indices = [item]
    for one in indices:
        advanced[len(out)] = one
        n = shape[dim]
        start.append(0), size.append(n), step.append(1), out.append(n)
        dim += 1
    return dim


# -- gathering
# ------------------------------------------------------------------------------------------------------


def index_node(index: Any, n: int, dim: int, from_end: bool = True) -> Node:
    """An index tensor as int64 Node with entries in 0 … n-1. from_end: negative ones count from the end. IndexError for entries that are outside,
    where they are known."""
    if isinstance(index, Tensor):
        if is_noted() and are_places(index._read(), n):
            return cast(index._read(), int64)
        node = cast(index._read(), int64)
        recorder.state.asked += 1
        if node.value is None and node.op in _IN_RANGE:
            return node
        if recorder.state.traces and recorder.known(node) is None:
            return _counted_from_front(node, n) if from_end else node
        array = recorder.value(node) if not recorder.state.levels else recorder.batches().everything(node)
    else:
        node, array = None, np.asarray(index, np.int64)
    if array.size:
        low, high = int(array.min()), int(array.max())
        least = -n if from_end else 0
        if low < least or high >= n:
            raise IndexError(
                f"index {low if low < least else high} is out of bounds for dimension {dim} with size {n}"
            )
        if low < 0 and node is not None and array.shape != node.type[0]:  # about one example of a vmap
            node = _counted_from_front(node, n)
        elif low < 0:
            node, array = None, np.where(array < 0, array + n, array)
    if node is not None and (recorder.state.placement is None or recorder.known(node) is None):
        return node
    return recorder.constant(np.ascontiguousarray(array), (tuple(array.shape), int64))  # indices may be on the host


def _counted_from_front(node: Node, n: int) -> Node:
    """Indices in -n … n-1 whose values are not known, as steps."""
    if _is_count(node):
        return node
    zero, size = full(0, *node.type), full(n, *node.type)
    return record("select", (record("less", (node, zero)), record("add", (node, size)), node))


def _is_count(node: Node) -> bool:
    """Whether an index is a number of places by how it was made, so that none of it is negative."""
    while node.value is None and node.op in _MOVES and node.inputs[0].type[1].kind == "i":
        node = node.inputs[0]
    return node.value is None and (node.op == "iota" or node.op in _IN_RANGE)


def _flattened(shape: Shape, advanced: dict[int, Any]) -> tuple[Node, Shape, list[int]]:
    """One flat index for all indexed dimensions together, its shape, and the dimensions."""
    dims = list(advanced)
    nodes = [index_node(advanced[d], shape[d], d) for d in dims]
    try:
        common = broadcast_shape(*[n.type[0] for n in nodes])
    except ShapeError:
        shapes = ", ".join(str(list(n.type[0])) for n in nodes)
        raise IndexError(f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}") from None
    flat: Node | None = None
    for d, node in zip(dims, nodes, strict=True):
        node = expand(node, common)
        if flat is None:
            flat = node
            continue
        scaled = _int_op("mul", flat, shape[d])
        flat = _int_pair("add", scaled, node)
    return flat, common, dims


def _int_op(op: str, node: Node, number: int) -> Node:
    known = None if is_noted() else recorder.known(node)
    if known is not None:
        return recorder.constant(known * number, node.type)
    return record(op, (node, full(number, *node.type)))


def _int_pair(op: str, a: Node, b: Node) -> Node:
    left, right = (None, None) if is_noted() else (recorder.known(a), recorder.known(b))
    if left is not None and right is not None:
        return recorder.constant(left + right, a.type)
    return record(op, (a, b))


def _front(input: Tensor, dims: list[int]) -> tuple[Node, Shape, list[int]]:
    """The indexed dimensions flattened to the front, and the remaining sizes and dimensions."""
    shape = input._node.type[0]
    rest = [d for d in range(len(shape)) if d not in dims]
    x = input._read()
    order = (*dims, *rest)
    if order != tuple(range(len(shape))):
        x = record("permute", (x,), (order,))
    kept = tuple([shape[d] for d in rest])
    return record("reshape", (x,), ((prod(shape[d] for d in dims), *kept),)), kept, rest


def _adjacent(dims: list[int]) -> bool:
    return dims == list(range(dims[0], dims[0] + len(dims)))


def _gather(input: Tensor, advanced: dict[int, Any]) -> Tensor:
    flat, common, dims = _flattened(input._node.type[0], advanced)
    at = dims[0] if _adjacent(dims) else 0
    if len(dims) == 1:
        return follow_index(wrap(record("take", (input._read(), flat), (dims[0],))), input, dims, common, at)
    x, kept, rest = _front(input, dims)
    y = record("take", (x, flat), (0,))
    if at > 0:  # the result's index dimensions stand where the indexed ones stood
        n, before = len(common), dims[0]
        order = (*range(n, n + before), *range(n), *range(n + before, n + len(rest)))
        y = record("permute", (y,), (order,))
    return follow_index(wrap(y), input, dims, common, at)


# -- writing
# --------------------------------------------------------------------------------------------------------


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """``input[index] = value``."""
    start = recorder.state.order
    mask = index[0] if isinstance(index, tuple) and len(index) == 1 else index
    if isinstance(mask, Tensor) and mask.dtype is bool_ and mask.dim() and _is_number(value):
        if mask.dim() > input.dim():
            raise IndexError(f"too many indices for tensor of dimension {input.dim()}")
        check_in_place(input)
        store(input, _masked.made_node((input, mask, value), {}), start)
        return
    plan = _parse(input._node.type[0], index)
    if not plan.advanced:
        part = input._part(plan.links, plan.shape)
        check_in_place(input, part)
        if not (isinstance(value, Tensor) and value._storage is input._storage and _is_there(input, plan, value)):
            _assign(input, part, value, plan.size == input._node.type[0], start)
    else:
        check_in_place(input)
        target = _view(input, plan)
        _needs_same_dtype(input, value)
        is_filled = isinstance(mask, Tensor) and mask.dtype is bool_ and isinstance(value, Tensor) and value.numel() == 1
        if not is_filled:  # one value behind a mask is read before anything is written
            check_overlap(target, value, whole=True)
        store(target, _put(target, plan.advanced, value, accumulate=False), start)
    if is_tracked_after(input):
        input._label = "copy_slices"


def _is_there(input: Tensor, plan: _Plan, value: Tensor) -> bool:
    """Whether a value is the very view it is to be written to: how ``x[i] += y`` ends."""
    if value._chain != input._extended(plan.links):
        return False
    contents = input._storage.node  # if it was written just now, nobody read it since (a derivative may read it)
    if contents is None or contents.requires_grad or contents.order != recorder.state.order:
        input._storage.touch()
    return True


def _assign(input: Tensor, target: Tensor, value: Any, whole: bool, start: int) -> None:
    """Make ``value`` the contents of a view. whole: it shows all of the memory of ``input``."""
    check_overlap(target, value, expanded=True)
    node = fitted(value, target)
    if whole and recorder.state.grad:  # the old contents have gradient 0
        node = untouched(node, target._read())
    store(target, node, start, strict=False)


def _needs_same_dtype(input: Tensor, values: Any) -> None:
    if isinstance(values, Tensor) and values.dtype is not input.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{title(input.dtype)} for the destination and {title(values.dtype)} for the source."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.number)) or isinstance(value, Tensor) and not value.dim()


def _filled_by_mask(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """All places of a mask set to one number: no need to know how many there are."""
    shape, m = input._node.type[0], mask._read()
    if m.type[0] != shape[: len(m.type[0])]:
        raise IndexError(
            f"The shape of the mask {list(m.type[0])} at index 0 does not match the shape of the indexed tensor {list(shape)} at index 0"
        )
    _needs_same_dtype(input, value)
    m = record("reshape", (m,), ((*m.type[0], *(1,) * (len(shape) - len(m.type[0]))),))
    return wrap(record("select", (expand(m, shape), fitted(value, input), input._read())))


_masked = KnownCalls(_filled_by_mask)


def fitted(value: Any, target: Tensor, place: Tensor | None = None) -> Node:
    """A value to be written, as a Node of the target's dtype and shape, where `place` (or the target) is. RuntimeError when it does not
    broadcast."""
    shape, dtype = target._node.type
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        from .promote import operand

        return operand(value.item() if isinstance(value, (np.number, np.bool_)) else value, shape, dtype)
    if isinstance(value, (complex, np.complexfloating)):
        if dtype.is_complex:
            return full(complex(value), shape, dtype)
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    if not isinstance(value, Tensor):
        from .creation import tensor

        value = tensor(value, dtype=dtype)
    if recorder.state.placement is not None:
        value = value.to((target if place is None else place).device)
    node = cast(value._read(), dtype)
    own = node.type[0]
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    if own != node.type[0]:
        node = record("reshape", (node,), (own,))
    if len(own) > len(shape) or any(
        n not in (1, m) for n, m in zip(reversed(own), reversed(shape), strict=False)
    ):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(node.type[0])} cannot be broadcast to indexing result of shape {list(shape)}"
            if len(own) > len(shape)
            else f"The expanded size of the tensor ({shape[-1] if shape else 1}) must match the existing size ({own[-1]}) at non-singleton "
            f"dimension {len(shape) - 1}.  Target sizes: {list(shape)}.  Tensor sizes: {list(own)}"
        )
    return expand(node, shape)


def _put(target: Tensor, advanced: dict[int, Any], value: Any, accumulate: bool) -> Node:
    """New contents of ``target`` with ``value`` at the indexed places."""
    shape, dtype = target._node.type
    flat, common, dims = _flattened(shape, advanced)
    x, kept, rest = _front(target, dims)
    front = not _adjacent(dims)
    before = 0 if front else dims[0]
    place = (*kept[:before], *common, *kept[before:])
    values = fitted(value, wrap(full(0, place, dtype)), target)
    if before:
        n = len(common)
        values = record(
            "permute",
            (values,),
            ((*range(before, before + n), *range(before), *range(before + n, len(place))),),
        )
    count = prod(common)
    values = record("reshape", (values,), ((count, *kept),))
    index = record("reshape", (flat,), ((count,),))
    if not accumulate or dtype is not bool_:
        y = record("put_add" if accumulate else "put", (x, index, values), (0,))
    else:  # bools are added by or
        counts = record("put_add", (cast(x, int32), index, cast(values, int32)), (0,))
        y = cast(counts, bool_)
    y = record("reshape", (y,), (tuple([shape[d] for d in dims]) + kept,))
    order = (*dims, *rest)
    return (
        y
        if order == tuple(range(len(order)))
        else record("permute", (y,), (tuple([order.index(i) for i in range(len(order))]),))
    )


def index_put(input: Tensor, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``values`` at (or added at) the indexed places."""
    plan = _parse(input._node.type[0], tuple(indices))
    _needs_same_dtype(input, values)
    if not plan.advanced:
        raise IndexError("index_put needs at least one index tensor")
    viewed = reshaped(input, plan.shape)
    return reshaped(wrap(_put(viewed, plan.advanced, values, accumulate)), input._node.type[0])


Tensor.__getitem__ = getitem
Tensor.__setitem__ = setitem
