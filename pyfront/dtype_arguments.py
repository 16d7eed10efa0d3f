"""Dtype arguments: what programs give as ``dtype``: a dtype, or one of Python's types of numbers in its place."""

from __future__ import annotations

from typing import Any

from ..dialects.types import bool_, complex128, float64, int64

OF_PYTHON = {float: float64, int: int64, bool: bool_, complex: complex128}


def dtype_given(what: Any) -> Any:
    """The dtype that an argument means: ``float`` is float64, ``int`` int64, ``complex`` complex128. What else is no type of Python's (None, a dtype)
    comes back as it is. TypeError for other types (numpy's) and names."""
    kind = type(what)
    if kind is type and what in OF_PYTHON:
        return OF_PYTHON[what]
    if kind is type or kind is str:
        raise TypeError(f"argument 'dtype' must be torch.dtype, not {kind.__name__}")
    return what
