"""default_collate: a list of samples becomes one batch; default_convert: numpy becomes tensors."""

from __future__ import annotations

import collections.abc
import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ...dialects.types import DTYPES, dtype_of
from .. import recorder
from ..creation import as_tensor, tensor
from ..joining import stack
from ..tensor import Tensor, from_storage, wrap
from .transport import LARGE, shared_array
from .worker import is_process

np_str_obj_array_pattern = re.compile(r"[SaUO]")
_WORDS = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


Rule = Callable[..., Any]
Kinds = type | tuple[type, ...]


def default_collate(batch: Any) -> Any:
    """Tensors are stacked, numbers become tensors, containers are collated entry by entry."""
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch: Any, *, collate_fn_map: dict[Kinds, Rule] | None = None) -> Any:
    """One batch of a list of samples: by the rule that ``collate_fn_map`` has for their type, or one they are instances of;
    containers entry by entry. A rule is called as ``rule(batch, collate_fn_map=…)``."""
    first = batch[0]
    rules = collate_fn_map or {}
    rule = rules.get(type(first)) or next((rules[kind] for kind in rules if isinstance(first, kind)), None)
    if rule is not None:
        return rule(batch, collate_fn_map=collate_fn_map)
    inner = functools.partial(collate, collate_fn_map=collate_fn_map)
    if isinstance(first, collections.abc.Mapping):
        return _mapping(first, {key: inner([sample[key] for sample in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*[inner(part) for part in zip(*batch, strict=True)])
    if isinstance(first, collections.abc.Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [inner(part) for part in zip(*batch, strict=True)]
    raise TypeError(_WORDS.format(type(first)))


def collate_tensor_fn(batch: Any, *, collate_fn_map: dict[Kinds, Rule] | None = None) -> Tensor:
    """Tensors, stacked."""
    return _stacked(batch)


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: dict[Kinds, Rule] | None = None) -> Tensor:
    """Arrays, stacked. TypeError for arrays of words and objects."""
    if np_str_obj_array_pattern.search(batch[0].dtype.kind):
        raise TypeError(_WORDS.format(batch[0].dtype))
    return _leaf(_stack(batch))


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: dict[Kinds, Rule] | None = None) -> Tensor:
    """Numbers of numpy's, in their own dtype."""
    return _leaf(np.array(batch))


def collate_float_fn(batch: Any, *, collate_fn_map: dict[Kinds, Rule] | None = None) -> Tensor:
    """Python's floats, as float64."""
    return tensor(batch, dtype=DTYPES["float64"])


def collate_int_fn(batch: Any, *, collate_fn_map: dict[Kinds, Rule] | None = None) -> Tensor:
    """Python's integers and truth values."""
    return tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: dict[Kinds, Rule] | None = None) -> Any:
    """Words stay a list."""
    return batch


default_collate_fn_map: dict[Kinds, Rule] = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}  # what programs add to it, or replace in it, default_collate does, too


def _mapping(first: Any, collated: dict[Any, Any]) -> Any:
    try:
        return collated if type(first) is dict else type(first)(collated)
    except TypeError:
        return collated


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    first, out = arrays[0], None
    if is_process() and len(arrays) * first.nbytes > LARGE and all(a.dtype == first.dtype for a in arrays):
        out = shared_array((len(arrays), *first.shape), first.dtype)  # where the loader reads it without a copy
    try:
        return np.stack(arrays, out=out)
    except ValueError:
        shapes = [list(a.shape) for a in arrays]
        odd = next(i for i, shape in enumerate(shapes) if shape != shapes[0])
        raise RuntimeError(
            f"stack expects each tensor to be equal size, but got {shapes[0]} at entry 0 and {shapes[odd]} at entry {odd}"
        ) from None


def _leaf(array: np.ndarray) -> Tensor:
    return wrap(recorder.leaf(array, (array.shape, dtype_of(array.dtype))))


def _stacked(batch: list[Tensor]) -> Tensor:
    """Plain data is stacked on the host; what has a history, or is on a GPU, is recorded."""
    dtype = batch[0].dtype
    if any(t.is_cuda for t in batch):
        whole = _side_by_side(batch)
        return stack(list(batch)) if whole is None else whole
    for t in batch:
        if t.dtype is not dtype or (t._storage.host is None or t._chain) and t.requires_grad:
            return stack(list(batch))
    return _leaf(_stack([t._value() for t in batch]))


def _side_by_side(batch: list[Tensor]) -> Tensor | None:
    """All rows of one memory in their order, as a copy of it; None when they are something else."""
    storage, shape = batch[0]._storage, (len(batch), *batch[0].shape)
    if any(t._storage is not storage or t.requires_grad or tuple(t.shape) != shape[1:] or not t.is_contiguous() for t in batch):
        return None
    size = batch[0].numel()
    if storage.type[0] != shape or any(t.storage_offset() != k * size for k, t in enumerate(batch)):
        return None
    return from_storage(storage, ()).clone()


def default_convert(data: Any) -> Any:
    """numpy arrays and scalars inside containers become tensors; everything else stays."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)) and not isinstance(data, (np.str_, np.bytes_)):
        if isinstance(data, np.ndarray) and data.dtype.kind in "SaUO":
            return data
        return as_tensor(data) if isinstance(data, np.ndarray) else _leaf(np.array(data))
    if isinstance(data, collections.abc.Mapping):
        return _mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*[default_convert(part) for part in data])
    if isinstance(data, (list, tuple)):
        return [default_convert(part) for part in data]
    return data
