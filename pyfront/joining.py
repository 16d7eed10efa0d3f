"""Joining and repeating: cat, stack and their kin, repeat, flip, roll: results in memory of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..dialects.errors import ShapeError
from ..dialects.types import Shape, promote_types, show_type
from . import recorder
from .definitions import define
from .known_calls import made_at_once
from .node import Node
from .origin import origin, source_line
from .promote import cast, full
from .recorder import record
from .shaping import dimensions, narrow, ravel, reshaped, sizes, transpose
from .strides import follow
from .tensor import Tensor, dimension, wrap


@define("clone")
def clone(input: Tensor, *, memory_format: object = None) -> Tensor:
    """A copy with the same history."""
    copy = wrap(recorder.alias(input._read()))
    return follow(copy, (input,)) if memory_format is None or getattr(memory_format, "name", "") == "preserve_format" else copy


def apart(made: Tensor, input: Tensor) -> Tensor:
    """What PyTorch makes in memory of its own also where nothing changes: a copy, if ``made`` shows the memory of ``input``."""
    return clone(made) if made._storage is input._storage else made


@define("contiguous", function=False, label="clone")
def contiguous(input: Tensor, memory_format: object = None) -> Tensor:
    """The tensor itself when its memory is row-major, else a copy."""
    return input if input.is_contiguous() else wrap(recorder.alias(input._read()))


@define("cat", "concat", "concatenate", method=False)
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along an existing dimension."""
    if isinstance(tensors, Tensor):
        raise TypeError("cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    tensors = list(tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    first = next(
        (t for t in tensors if t._node.type[0] != (0,)), tensors[0]
    )  # (0,) fits anything, for history's sake
    if not first.dim():
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    at = dimension(dim, first.dim())
    nothing = (*first._node.type[0][:at], 0, *first._node.type[0][at + 1 :])
    listed = [reshaped(t, nothing) if t._node.type[0] == (0,) else t for t in tensors]
    for i, other in enumerate(listed):
        a, b = first.shape, other.shape
        if len(a) != len(b):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(a)} and {len(b)}")
        for d, (n, m) in enumerate(zip(a, b, strict=True)):
            if d != at and n != m:
                facts = [(str(k), show_type(t._node.type), t._node.origin) for k, t in enumerate(listed)]
                raise ShapeError(
                    f"Sizes of tensors must match except in dimension {at}. Expected size {n} but got size {m} for tensor "
                    f"number {i} in the list.",
                    facts,
                    source_line(origin()),
                )
    dtype = listed[0].dtype
    for other in listed:
        dtype = promote_types(dtype, other.dtype)
    nodes = tuple([cast(t._read(), dtype) for t in listed])
    if _are_data(nodes):
        # Making a batch is data, not computing: recorded, which samples happen to be equal would be part of the program.
        return made_at_once(partial(np.concatenate, axis=at), nodes, dtype)
    return wrap(record("concat", nodes, (at,)) if len(nodes) > 1 else recorder.alias(nodes[0]))


@define("stack", method=False)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Joined along a new dimension."""
    tensors = _some("stack", tensors)
    shape = tensors[0].shape
    for i, other in enumerate(tensors):
        if other.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(other.shape)} at "
                f"entry {i}"
            )
    at = dimension(dim, len(shape) + 1)
    dtype = tensors[0].dtype
    for other in tensors:
        dtype = promote_types(dtype, other.dtype)
    nodes = tuple([cast(t._read(), dtype) for t in tensors])
    one = (*shape[:at], 1, *shape[at:])
    if _are_data(nodes):  # as in cat
        return made_at_once(partial(_stacked, one, at), nodes, dtype)
    rows = tuple([record("reshape", (node,), (one,)) for node in nodes])
    return wrap(record("concat", rows, (at,)) if len(rows) > 1 else rows[0])


def _stacked(one: Shape, at: int, arrays: list[np.ndarray]) -> np.ndarray:
    """numpy's `stack`, which takes its time. one: the shape of an array with a dimension of size 1 there."""
    if at or len(one) == 1:
        return np.concatenate([a.reshape(one) for a in arrays], axis=at)
    return np.concatenate(arrays).reshape(len(arrays), *one[1:])


def _are_data(nodes: Sequence[Node]) -> bool:
    """Whether the host has all of some values, and no derivative goes through them. (What is known of a call that is given a list tells
    whether it has, see known_calls.py.)"""
    for node in nodes:
        if node.requires_grad or not isinstance(node.value, np.ndarray):
            return False
    return recorder.state.watch is None


def _at_least(tensor: Tensor, rank: int) -> Tensor:
    shape = tensor._node.type[0]
    if len(shape) >= rank:
        return tensor
    if rank == 3:
        to = {0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}[len(shape)]
    else:
        to = (1,) * (rank - len(shape)) + shape
    return reshaped(tensor, to)


def _each(rank: int) -> Any:
    def apply(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return _at_least(tensors[0], rank)
        listed = tensors[0] if len(tensors) == 1 else tensors
        return tuple([_at_least(t, rank) for t in listed])

    apply.__doc__ = f"With at least {rank} dimensions."
    return apply


for _rank in (1, 2, 3):
    define(f"atleast_{_rank}d", method=False)(_each(_rank))


def _some(name: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors as a list. RuntimeError when there are none."""
    listed = list(tensors)
    if not listed:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return listed


@define("vstack", "row_stack", method=False)
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Rows on top of each other."""
    return cat([_at_least(t, 2) for t in _some("vstack", tensors)], 0)


@define("hstack", method=False)
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Side by side."""
    listed = [_at_least(t, 1) for t in _some("hstack", tensors)]
    return cat(listed, 0 if listed[0].dim() == 1 else 1)


@define("dstack", method=False)
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Behind each other."""
    return cat([_at_least(t, 3) for t in _some("dstack", tensors)], 2)


@define("column_stack", method=False)
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Vectors as columns, matrices side by side."""
    return cat([reshaped(t, (t.numel(), 1)) if t.dim() <= 1 else t for t in _some("column_stack", tensors)], 1)


@define("block_diag", method=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal, zeros elsewhere; vectors count as one row."""
    for i, t in enumerate(tensors):
        if t.dim() > 2:
            raise RuntimeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. "
                f"Input {i} has {t.dim()} dimensions"
            )
    blocks = [_at_least(t, 2) for t in tensors]
    width, rows, before = 0, [], 0
    for b in blocks:
        width += b.shape[1]
    for b in blocks:
        height, own = tuple(b.shape)
        sides = [full(0, (height, n), b.dtype) for n in (before, width - before - own)]
        rows.append(cat([wrap(sides[0]), b, wrap(sides[1])], 1))
        before += own
    return cat(rows, 0)


@define("cartesian_prod", method=False)
def cartesian_prod(*tensors: Any) -> Tensor:
    """All ways to take one element of each vector."""
    from .sequences import meshgrid

    listed = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    for t in listed:
        if t.dim() != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(listed) == 1:
        return listed[0]._through()
    return stack([ravel(grid) for grid in meshgrid(*listed)], 1)


@define("combinations")
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to take ``r`` elements of a vector."""
    import itertools

    import numpy as np

    from .creation import of_array

    if input.dim() != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    index = np.array(list(pick(range(input.numel()), r)), np.int64).reshape(-1, r) if r else np.zeros(0, np.int64)
    return input[of_array(index, like=input)]


@define("repeat", function=False)
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The whole tensor several times along each dimension."""
    times = sizes(repeats)
    shape = input._node.type[0]
    if len(times) < len(shape):
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"
        )
    shape = (1,) * (len(times) - len(shape)) + shape
    node = record("reshape", (input._read(),), (tuple([k for n in shape for k in (1, n)]),))
    node = record("expand", (node,), (tuple([k for r, n in zip(times, shape, strict=True) for k in (r, n)]),))
    return wrap(record("reshape", (node,), (tuple([r * n for r, n in zip(times, shape, strict=True)]),)))


@define("tile")
def tile(input: Tensor, *dims: Any) -> Tensor:
    """``repeat``, with missing counts taken as 1."""
    times = sizes(dims)
    return repeat(input, (1,) * (input.dim() - len(times)) + times)


@define("flip")
def flip(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """Reversed along dimensions (a copy, as in PyTorch)."""
    dims = args if dims is None else (dims,)
    flipped = wrap(record("flip", (input._read(),), (dimensions(sizes(dims), input.dim()),)))
    return follow(flipped, (input,))


def _mirrored(name: str, dim: int) -> Any:
    def apply(input: Tensor) -> Tensor:
        if input.dim() <= dim:
            raise RuntimeError(f"Input must be >= {dim + 1}-d.")
        return flip(input, dim)

    apply.__doc__ = f"``flip`` of dimension {dim}."
    return apply


define("fliplr", label="flip")(_mirrored("fliplr", 1))
define("flipud", label="flip")(_mirrored("flipud", 0))


@define("roll")
def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Shifted round the end."""
    by = [shifts] if isinstance(shifts, int) else list(shifts)
    if not by:
        raise RuntimeError("`shifts` required")
    if dims is None or dims == () or dims == []:
        if len(by) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:0")
        return reshaped(roll(ravel(input), by, 0), tuple(input.shape))
    along = [dims] if isinstance(dims, int) else list(dims)
    if len(by) != len(along):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:{len(along)}")
    for shift, dim in zip(by, along, strict=True):
        n = input.shape[dim]
        k = shift % n if n else 0
        if k:
            input = cat([narrow(input, dim, n - k, k), narrow(input, dim, 0, n - k)], dim)
    return clone(input)


@define("rot90")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by quarter turns in a plane."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.dim() < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.dim()}")
    a, b = dims
    if dimension(a, input.dim()) == dimension(b, input.dim()):
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} and dim1 = {b}")
    k %= 4
    if k == 0:
        return clone(input)
    if k == 2:
        return flip(input, a, b)
    return flip(transpose(input, a, b), a) if k == 1 else flip(transpose(input, a, b), b)
