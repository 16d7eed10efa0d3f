"""Finding: where elements are, which there are, in which order: results whose shape depends on the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dialects.types import int32, int64
from . import recorder
from .arithmetic import nodes
from .creation import of_array
from .definitions import define
from .recorder import record
from .reductions import sort
from .shaping import reshaped
from .tensor import Tensor, wrap
from .true_places import places


@define("nonzero", exact_out=True)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where the elements are not zero: one row per element, or one vector per dimension."""
    if recorder.state.levels:
        recorder.batches().refuse_dynamic(input._read(), "nonzero")
    found = places(np.atleast_1d(input._value()))
    if as_tuple:
        return tuple([of_array(i, like=input) for i in found])
    if not input.dim():
        return of_array(np.zeros((len(found[0]), 0), np.int64), like=input)
    return of_array(np.ascontiguousarray(np.stack(found, 1)), like=input)


define("argwhere")(lambda input: nonzero(input))


@define("nonzero_static")
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """``nonzero`` in ``size`` rows: cut off, or filled up."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    found = nonzero(input)._value()[:size]
    rows = np.full((size, input.dim()), fill_value, np.int64)
    rows[: len(found)] = found
    return of_array(rows, like=input)


@define("unique")
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different values, sorted."""
    if recorder.state.levels:
        recorder.batches().refuse_dynamic(input._read(), "_unique2")
    if dim is None and not input.dtype.is_complex:
        return _of_runs(input, return_inverse, return_counts)
    values, inverse, counts = np.unique(input._value(), return_inverse=True, return_counts=True, axis=dim)
    inverse = inverse.reshape(tuple(input.shape) if dim is None else (-1,))
    results = [of_array(values, like=input)]
    if return_inverse:
        results.append(of_array(np.array(inverse), like=input))
    if return_counts:
        results.append(of_array(counts, like=input))
    return results[0] if len(results) == 1 else tuple(results)


COMPILED = 1 << 14
"""Elements from which on sorting them is a program's work, whose kernel is faster than numpy; below, compiling it does not pay."""


def _of_runs(input: Tensor, return_inverse: bool, return_counts: bool) -> Any:
    """``unique`` of all elements: what the sort of the whole says where its runs begin."""
    if input.numel() < COMPILED:
        array = input._value().reshape(-1)
        order = np.argsort(array, kind="stable") if return_inverse else None
        ranked = np.sort(array) if order is None else array[order]
    else:
        ranked, order = (part._value() for part in sort(reshaped(input.detach(), (input.numel(),)), 0))
    new = np.ones(len(ranked), bool)
    np.not_equal(ranked[1:], ranked[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    results = [of_array(ranked[starts], like=input)]
    if return_inverse:
        inverse = np.empty(len(ranked), np.int64)
        inverse[order] = np.cumsum(new) - 1
        results.append(of_array(inverse.reshape(input.shape), like=input))
    if return_counts:
        results.append(of_array(np.diff(starts, append=len(ranked)), like=input))
    return results[0] if len(results) == 1 else tuple(results)


@define("unique_consecutive")
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Without repeats of the entry before."""
    if recorder.state.levels:
        recorder.batches().refuse_dynamic(input._read(), "unique_consecutive")
    array = input._value()
    rows = array.reshape(-1) if dim is None else np.moveaxis(array, dim, 0)
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    new = np.ones(len(rows), bool)
    new[1:] = flat[1:, 0] != flat[:-1, 0] if flat.shape[1] == 1 else (flat[1:] != flat[:-1]).any(1)
    starts = np.nonzero(new)[0]
    values = rows[new] if dim is None else np.moveaxis(rows[new], 0, dim)
    results = [of_array(np.ascontiguousarray(values), like=input)]
    if return_inverse:
        inverse = np.cumsum(new) - 1
        results.append(of_array(inverse.reshape(input.shape) if dim is None else inverse, like=input))
    if return_counts:
        results.append(of_array(np.diff(np.append(starts, len(rows))), like=input))
    return results[0] if len(results) == 1 else tuple(results)


@define("searchsorted", method=False, exact_out=True)
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    right: bool = False,
    side: str | None = None,
    out_int32: bool = False,
    sorter: Any = None,
) -> Tensor:
    """Where each value would be put to keep the sequence sorted."""
    where_ = "right" if right or side == "right" else "left"
    if recorder.state.levels:
        return _searched_examples(sorted_sequence, input, where_, out_int32, sorter)
    if recorder.state.traces and (sorter is None or sorted_sequence.dim() == sorter.dim()):
        return _searched_within(sorted_sequence if sorter is None else sorted_sequence.gather(-1, sorter), input, where_, out_int32)
    rows, values = (
        sorted_sequence._value(),
        input._value() if isinstance(input, Tensor) else np.asarray(input),
    )
    if sorter is not None:
        rows = np.take_along_axis(rows, sorter._value(), -1)
    return of_array(_searched(rows, values, where_, out_int32), like=sorted_sequence)


def _searched_within(sequence: Tensor, input: Any, side: str, out_int32: bool) -> Tensor:
    """``searchsorted`` as steps of a program that is recorded for other values: how much of its sequence is in front of each value."""
    values = (input if isinstance(input, Tensor) else of_array(np.asarray(input))).unsqueeze(-1)
    if sequence.dim() > 1:
        sequence = sequence.unsqueeze(-2)
    behind = sequence > values if side == "right" else sequence >= values  # of NaN nothing is
    return behind.logical_not().sum(-1, dtype=int32 if out_int32 else int64)


def _searched_examples(sequence: Tensor, input: Any, side: str, out_int32: bool, sorter: Tensor | None) -> Tensor:
    """``searchsorted`` inside of vmap: for all examples, whose sequences are rows like any others."""
    values = input if isinstance(input, Tensor) else of_array(np.asarray(input))
    read = [t._read() for t in (sequence, values, sorter) if t is not None]
    levels, (rows, found, *order) = recorder.batches().host(*read)
    if order:
        rows = np.take_along_axis(rows, order[0], -1)
    if sequence.dim() == 1:  # one sequence for however many values
        flat = found.reshape((*rows.shape[:-1], -1))
        return recorder.batches().from_host(levels, _searched(rows, flat, side, out_int32).reshape(found.shape))
    return recorder.batches().from_host(levels, _searched(rows, found, side, out_int32))


def _searched(rows: np.ndarray, values: np.ndarray, where_: str, out_int32: bool) -> np.ndarray:
    if rows.ndim == 1:
        found = np.searchsorted(rows, values, where_)
    else:
        found = np.zeros(values.shape, np.int64)
        for place in np.ndindex(*rows.shape[:-1]):
            found[place] = np.searchsorted(rows[place], values[place], where_)
    return np.asarray(found, np.int32 if out_int32 else np.int64)


@define("bucketize", method=False, exact_out=True)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket each value falls into."""
    if boundaries.dim() != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.dim()})")
    return searchsorted(boundaries, input, right=right, out_int32=out_int32)


@define("isin", method=False, also={"element": "elements", "test_element": "test_elements"})
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is among the test elements."""
    place = next((t for t in (elements, test_elements) if isinstance(t, Tensor)), None)
    a, b = [t if isinstance(t, Tensor) else of_array(np.asarray(t), like=place) for t in (elements, test_elements)]
    shape = tuple(a.shape)
    x, y = nodes(a.reshape((*shape, 1)), b.reshape(-1), "any")
    hit = record("equal", (x, y))
    found = record("any", (hit,), ((len(shape),),))
    result = wrap(record("reshape", (found,), (shape,)))
    return result.logical_not() if invert else result


@define("unravel_index", method=False)
def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Positions in a flattened tensor of ``shape``, per dimension."""
    if indices.dtype.kind not in "iu":
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    rest, found = indices.to(int64), []
    for n in reversed(sizes):
        found.append(rest.remainder(n))
        rest = rest.div(n, rounding_mode="floor")
    return tuple(reversed(found))
