"""Embeddings: rows of a table by index, one by one or summed up in bags."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ....dialects.errors import DTypeError
from ....dialects.types import bool_, int32, int64, show_type
from ... import recorder
from ...autograd import no_grad
from ...hub import FREED, running
from ...known_calls import KnownCalls
from ...leaves import is_tracked
from ...node import Boundary, Node
from ...doubts import refuse_outside
from ...origin import origin, source_line
from ...selection import index_add
from ...sparse import places
from ...sparse.coordinates import SparseTensor
from ...tensor import Tensor, wrap
from .applying import apply, filled


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Rows of weight[n, d] by int[...] -> [..., d]; no gradient reaches the row `padding_idx`.

    IndexError for an index outside; for a computed one when it is computed, so as not to wait for it.
    """
    if weight.dim() != 2:
        raise RuntimeError("'weight' must be 2-D")
    input = _checked(input, weight.shape[0])
    if padding_idx is not None and not -weight.shape[0] <= padding_idx < weight.shape[0]:
        raise AssertionError("Padding_idx must be within num_embeddings")
    if max_norm is not None:
        _renormalise(weight, input, max_norm, norm_type)
    if sparse and recorder.state.grad and is_tracked(weight) and not (recorder.state.watchers or recorder.state.levels):
        return _of_kept_rows(weight, input, padding_idx, scale_grad_by_freq)
    rows = apply("take", (weight, input), (0,), "embedding")
    if not is_tracked(weight):
        return rows
    if scale_grad_by_freq:
        rows = _scaled_gradient(rows, input, weight)
    if padding_idx is not None:
        is_padding = (input == padding_idx % weight.shape[0]).unsqueeze(-1)
        rows = apply("select", (is_padding.expand(rows.shape), rows.detach(), rows), (), "embedding")
    return rows


def _of_kept_rows(weight: Tensor, input: Tensor, padding_idx: int | None, scale_grad_by_freq: bool) -> Tensor:
    """The rows, whose gradient comes to the table as a sparse tensor: the rows that were taken, in their order."""
    table, index, kept = weight._read(), wrap(input.reshape(-1)._read()), [True]
    shape = tuple(weight.shape)

    def go_on(gradient: Node) -> list:
        if not kept:
            raise RuntimeError(FREED)
        if scale_grad_by_freq:
            raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
        if not running[-1].retains:
            kept.clear()
        at, values = index, wrap(gradient).reshape(index.shape[0], shape[1])
        if padding_idx is not None:
            found = places.as_tensor(np.flatnonzero(places.on_host(index) != padding_idx % shape[0]))
            at, values = at.index_select(0, found), values.index_select(0, found)
        return [(table, SparseTensor(at.unsqueeze(0), values, shape))]

    source = apply("take", (weight.detach(), input), (0,))._read()
    recorder.state.order += 1
    node = Boundary((source,), source.type, origin(), recorder.state.order, go_on, False, None, (table,))
    rows = wrap(node)
    rows._label = "embedding"
    return rows


def _checked(input: Tensor, n: int) -> Tensor:
    """The index as int64, refused where it is seen to be wrong."""
    if input.dtype not in (int64, int32):
        raise DTypeError(
            f"Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{input.dtype} instead (while checking arguments for embedding)",
            [("input", show_type(input._type), input._node.origin)],
            at=source_line(origin()),
            help="indices are whole numbers: convert with .long()",
        )
    refuse_outside(input._read(), n, _out_of_range())
    return input if input.dtype is int64 else input.to(int64)


def _out_of_range() -> Callable[[int | None], Exception]:
    where = source_line(origin())
    return lambda number: IndexError(f"index out of range in self\n    at {where}")


def _renormalise(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Rows that are used and longer than max_norm are shortened, in place."""
    with no_grad():
        used = filled((weight.shape[0],), 0, int64).index_fill(0, input.reshape(-1), 1).unsqueeze(1) > 0
        length = weight.detach().norm(norm_type, 1, keepdim=True)
        shorter = weight.detach() * (max_norm / (length + 1e-7))
        weight.copy_(apply("select", (used.logical_and(length > max_norm).expand(weight.shape), shorter, weight.detach())))


def _scaled_gradient(rows: Tensor, input: Tensor, weight: Tensor) -> Tensor:
    """The same rows; what flows back is divided by how often each index occurs."""
    flat = input.reshape(-1)
    counts = index_add(filled((weight.shape[0],), 0.0, weight.dtype), 0, flat, filled(tuple(flat.shape), 1.0, weight.dtype))
    often = apply("take", (counts, input), (0,)).unsqueeze(-1)
    scaled = rows / often
    return rows.detach() + (scaled - scaled.detach())


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """Sums, means or maxima of rows of weight[n, d] over bags of indices: int[b, k], or int[m] cut at ``offsets``."""
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if input.dim() == 2 and mode != "max" and offsets is max_norm is per_sample_weights is padding_idx is None and not (scale_grad_by_freq or sparse):
        return _even_bags.made(input, weight, mode)
    bags, count = _bags(input, offsets, include_last_offset)
    flat = input.reshape(-1)
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if padding_idx is not None:
        padding_idx %= weight.shape[0]
    kept = None if padding_idx is None else (flat != padding_idx).unsqueeze(-1)
    if per_sample_weights is not None:
        if per_sample_weights.shape != input.shape:
            raise ValueError(
                f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then it must have the "
                f"same shape as the input ({input.shape})"
            )
        rows = rows * per_sample_weights.reshape(-1, 1)
    if mode == "max":
        return _largest(rows, bags, kept, count)
    if kept is not None:
        rows = apply("select", (kept.expand(rows.shape), rows, filled(rows.shape, 0.0, rows.dtype)))
    if input.dim() == 2:  # bags of one size

        def added(parts: Tensor) -> Tensor:
            return parts.reshape(count, input.shape[1], parts.shape[1]).sum(1)
    else:

        def added(parts: Tensor) -> Tensor:
            return index_add(filled((count, parts.shape[1]), 0.0, weight.dtype), 0, _known(bags), parts)

    total = added(rows)
    if mode == "sum":
        return total
    ones = filled((flat.shape[0], 1), 1.0, weight.dtype) if kept is None else kept.to(weight.dtype)
    return total / added(ones).clamp_min(1.0)


def _of_even_bags(input: Tensor, weight: Tensor, mode: str) -> Tensor:
    """Bags of one size, nothing left out of them."""
    total = embedding(input, weight).sum(1)
    return total if mode == "sum" else total / max(input.shape[1], 1)


_even_bags = KnownCalls(_of_even_bags)


def _bags(input: Tensor, offsets: Tensor | None, include_last_offset: bool) -> tuple[np.ndarray, int]:
    """The bag of every index, and how many bags there are."""
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length")
        return np.repeat(np.arange(input.shape[0]), input.shape[1]), input.shape[0]
    if input.dim() != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}")
    if offsets is None or offsets.dim() != 1:
        raise ValueError(f"offsets has to be a 1D Tensor but got {type(offsets).__name__ if offsets is None else 'more dimensions'}")
    starts = offsets._value()
    if starts.size and (starts[0] != 0 or starts[-1] > input.shape[0]):
        raise ValueError(
            f"offsets[0] has to be 0 and offsets[-1] can not be greater than input's length ({input.shape[0]}), "
            f"got {starts[0]} and {starts[-1]}"
        )
    starts = starts[:-1] if include_last_offset else starts
    return np.searchsorted(starts, np.arange(input.shape[0]), "right") - 1, len(starts)


def _known(array: np.ndarray) -> Tensor:
    return wrap(recorder.constant(array.astype(np.int64), (array.shape, int64)))


def _largest(rows: Tensor, bags: np.ndarray, kept: Tensor | None, count: int) -> Tensor:
    """The maxima of bags; 0 for one that is empty. The gradient goes to the first of several."""
    members = [np.nonzero(bags == b)[0] for b in range(count)]
    longest = max([1, *map(len, members)])
    table, there = np.zeros((count, longest), np.int64), np.zeros((count, longest, 1), bool)
    for b, places in enumerate(members):
        table[b, : len(places)], there[b, : len(places)] = places, True
    shape = (count, longest, rows.shape[1])
    if not rows.shape[0]:
        return filled((count, rows.shape[1]), 0.0, rows.dtype)
    mask = wrap(recorder.constant(there, (there.shape, bool_)))
    if kept is not None:
        mask = mask.logical_and(apply("take", (kept, _known(table)), (0,)))
    spread = apply("take", (rows, _known(table)), (0,))
    spread = apply("select", (mask.expand(shape), spread, filled(shape, -math.inf, rows.dtype)))
    first = apply("argmax", (spread.detach(),), (1,))
    best = apply("gather", (spread, first), (1,)).squeeze(1)
    some = mask.any(1).expand(best.shape)
    return apply("select", (some, best, filled(best.shape, 0.0, best.dtype)))
