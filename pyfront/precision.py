"""Half precision computed in float32 and rounded once, as PyTorch's kernels do it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..dialects.types import DType, bfloat16, float16, float32
from .tensor import Tensor

_HALVES = (float16, bfloat16)


def in_single(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of tensors, with float16 and bfloat16 operands widened on the way in and its results narrowed.

    Mixed operands are left to promotion.
    """

    @functools.wraps(function)
    def apply(*args: Any, **options: Any) -> Any:
        kind = _half([*args, *options.values()])
        if kind is None or options.get("dtype") is not None:
            return function(*args, **options)
        wide = [_converted(a, kind, float32) for a in args]
        result = function(*wide, **{k: _converted(v, kind, float32) for k, v in options.items()})
        return _converted(result, float32, kind)

    return apply


def in_single_like_input(function: Callable[..., Any]) -> Callable[..., Any]:
    """`in_single` for functions whose parameters may be float32 beside an input in half precision: the input's dtype wins."""

    @functools.wraps(function)
    def apply(input: Tensor, *args: Any, **options: Any) -> Any:
        kind = input._node.type[1]
        if kind not in _HALVES:
            return function(input, *args, **options)
        wide = [_converted(a, kind, float32) for a in args]
        result = function(input.to(float32), *wide, **{k: _converted(v, kind, float32) for k, v in options.items()})
        return _converted(result, float32, kind)

    return apply


def _half(values: list[Any]) -> DType | None:
    """The one half-precision dtype all floating tensors among ``values`` have."""
    found = None
    for value in values:
        if isinstance(value, Tensor):
            dtype = value._node.type[1]
            if dtype.kind != "f":
                continue
            if dtype not in _HALVES or found not in (None, dtype):
                return None
            found = dtype
    return found


def _converted(value: Any, old: DType, new: DType) -> Any:
    if isinstance(value, Tensor) and value._node.type[1] is old:
        return value.to(new)
    if type(value) is tuple:
        return tuple([_converted(v, old, new) for v in value])
    return value
