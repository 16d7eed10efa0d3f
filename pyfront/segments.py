"""Segments: reductions of neighbouring rows, by the lengths of the segments or by where they begin and end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .creation import full
from .definitions import define
from .selection import scatter_reduce
from .sparse import places
from .tensor import Tensor, dimension

_KINDS = {"sum": ("sum", 0.0), "mean": ("sum", 0.0), "prod": ("prod", 1.0), "max": ("amax", -math.inf), "min": ("amin", math.inf)}
_KINDS |= {"amax": _KINDS["max"], "amin": _KINDS["min"]}


def _lengths(extent: int, lengths: Tensor | None, offsets: Tensor | None, unsafe: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where each segment begins, and how long it is, int64[rows..., segments]."""
    if lengths is None:
        edges = places.on_host(offsets)
        return edges[..., :-1], np.diff(edges, axis=-1)
    held = places.on_host(lengths)
    if not unsafe and held.size and held.min() < 0:
        raise RuntimeError("lengths contains negative value!")
    if not unsafe and (held.sum(-1) != extent).any():
        raise RuntimeError("segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) when !unsafe.")
    return held.cumsum(-1) - held, held


@define("segment_reduce", method=False)
def segment_reduce(
    data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None, offsets: Tensor | None = None,
    dim: int = 0, unsafe: bool = False, initial: Any = None,
) -> Tensor:  # fmt: skip
    """Sums, means, products, maxima or minima over segments of a dimension, together with ``initial``: [rows..., segments, ...].

    lengths (or offsets, one more than there are segments): for each index of the dimensions before ``dim`` (PyTorch calls it axis), [rows..., segments].
    """
    if reduce not in _KINDS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    if data.dtype.kind != "f":
        raise NotImplementedError(f'"segment_reduce" not implemented for {data.dtype}')
    at = dimension(dim, data.dim())
    before, extent, rest = tuple(data.shape[:at]), data.shape[at], tuple(data.shape[at + 1 :])
    begins, counts = _lengths(extent, lengths, offsets, unsafe)
    if begins.shape[:-1] != before:
        raise RuntimeError("segment_reduce(): Expected the dimensions of lengths (or offsets) before the last to be those of data before axis.")
    segments, rows = begins.shape[-1], math.prod(before)
    each = counts.reshape(-1)
    row = np.repeat(np.arange(rows), segments)
    inside = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
    taken = places.as_tensor(np.repeat(row * extent + begins.reshape(-1), each) + inside)
    segment = places.as_tensor(np.repeat(np.arange(rows * segments), each))
    op, neutral = _KINDS[reduce]
    start = full((rows * segments, *rest), neutral if initial is None else initial, dtype=data.dtype, device=data.device)
    values = data.reshape(rows * extent, *rest).index_select(0, taken)
    index = segment.reshape(-1, *(1,) * len(rest)).expand(values.shape)
    found = scatter_reduce(start, 0, index, values, op)
    if reduce == "mean":
        found = _means(found, each, initial)
    return found.reshape(*before, segments, *rest)


def _means(totals: Tensor, counts: np.ndarray, initial: Any) -> Tensor:
    """Sums by how many there are of; of none ``initial``, or NaN."""
    shape = (-1, *(1,) * (totals.dim() - 1))
    many = places.as_tensor(np.maximum(counts, 1)).reshape(shape)
    means = totals / many.to(totals.dtype)
    if initial is not None or counts.all():
        return means
    return means.masked_fill((places.as_tensor(counts) == 0).reshape(shape), math.nan)
