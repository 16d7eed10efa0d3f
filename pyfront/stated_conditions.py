"""Stated conditions: ``torch._check`` and its kin, which raise where what a program relies on does not hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dialects.types import bool_
from .tensor import Tensor


def _check_with(error_type: type[Exception], cond: Any, message: Callable[[], Any] | None = None) -> None:
    """Raises an error of this type, with what ``message`` gives, unless ``cond`` holds."""
    if type(cond) is not bool:
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if message is not None and not callable(message):
        raise TypeError("message must be a callable")
    raise error_type("Expected cond to be True, but got False." if message is None else str(message()))


def _check_tensor_all_with(error_type: type[Exception], cond: Any, message: Callable[[], Any] | None = None) -> None:
    """Raises an error of this type unless every element of a bool tensor is true."""
    if not isinstance(cond, Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if cond.dtype is not bool_:
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _check_with(error_type, bool(cond.all()), message)


def _check_is_size(i: int, message: Callable[[], Any] | None = None, *, max: int | None = None) -> None:
    """RuntimeError unless ``i`` may be the size of a dimension, of ``max`` at most."""
    _check_with(RuntimeError, i >= 0 and (max is None or i <= max), message)


def _raising(name: str, error_type: type[Exception], check: Callable[..., None] = _check_with) -> Callable[..., None]:
    def checked(cond: Any, message: Callable[[], Any] | None = None) -> None:
        check(error_type, cond, message)

    checked.__name__ = name
    checked.__doc__ = f"{error_type.__name__} unless ``cond`` holds."
    return checked


PUBLIC: dict[str, Callable[..., None]] = {
    f.__name__: f
    for f in (
        _check_with,
        _check_tensor_all_with,
        _check_is_size,
        _raising("_check", RuntimeError),
        _raising("_check_index", IndexError),
        _raising("_check_value", ValueError),
        _raising("_check_type", TypeError),
        _raising("_check_not_implemented", NotImplementedError),
        _raising("_check_tensor_all", RuntimeError, _check_tensor_all_with),
    )
}
