"""Tensors and the arrays that travel: what a tensor holds as a flat array, and arrays put back into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...dialects.types import size_of
from .. import recorder
from ..assignment import assign
from ..tensor import Tensor


def check_tensor(given: Any, name: str) -> None:
    """TypeError where this is no tensor."""
    if not isinstance(given, Tensor):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n             but got {type(given)} instead.")


def check_tensors(given: Any, name: str) -> None:
    """TypeError where this is no list of tensors."""
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, Tensor) for one in given):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n             but got {type(given)} instead.")


def check_dtypes(*tensors: Tensor) -> None:
    """ValueError where they are not all of one dtype."""
    for one in tensors:
        if one.dtype is not tensors[0].dtype:
            raise ValueError(f"Invalid usage of tensors with different dtypesFound {tensors[0].dtype} and  {one.dtype}")


def flat(tensor: Tensor) -> np.ndarray:
    """The values, computed now and brought to the host: flat and contiguous. Not to be written."""
    return np.ascontiguousarray(tensor._value()).reshape(-1)


def fresh(tensor: Tensor) -> np.ndarray:
    """An array for values that will be those of this tensor."""
    return np.empty(tensor.numel(), tensor.dtype.numpy)


def put(tensor: Tensor, values: np.ndarray) -> Tensor:
    """Give a tensor, where it is, these values; autograd does not hear of it. The array belongs to the tensor from now on."""
    make = recorder.constant if tensor.is_cuda else recorder.leaf
    shape, dtype = tensor._node.type
    assign(tensor, make(values.reshape(shape), (shape, dtype)))
    return tensor


def put_all(tensors: Sequence[Tensor], values: Sequence[np.ndarray]) -> list[Tensor]:
    """The same for several."""
    return [put(tensor, array) for tensor, array in zip(tensors, values, strict=True)]


def cut(whole: np.ndarray, tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """A flat array as one part for each tensor, in memory of its own."""
    parts, at = [], 0
    for one in tensors:
        n = size_of(tuple(one.shape))
        parts.append(whole[at : at + n].copy())
        at += n
    return parts
