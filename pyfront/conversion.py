"""Conversion: other dtypes, and the devices that are here."""

from __future__ import annotations

from typing import Any

from ..dialects.types import DType, dtype_of
from . import recorder
from .definitions import define
from .dtype_arguments import dtype_given
from .joining import clone
from .placement import moved
from .promote import cast
from .size import device
from .strides import follow
from .tensor import Tensor, wrap


def converted(input: Tensor, dtype: DType) -> Tensor:
    """The tensor in another dtype; the tensor itself when it has it."""
    return input if input.dtype is dtype else follow(wrap(cast(input._read(), dtype)), (input,))


def destination(args: tuple, options: dict[str, Any]) -> tuple[Any, DType | None]:
    """Device and dtype that the arguments of ``to`` name; None for what they leave as it is."""
    dtype, where = dtype_given(options.get("dtype")), options.get("device")
    for i, a in enumerate(args):
        if isinstance(a, DType):
            dtype = a
        elif isinstance(a, type):
            dtype = dtype_given(a)
        elif isinstance(a, Tensor):
            dtype, where = a.dtype, a.device
        elif isinstance(a, (str, device)) or i == 0 and isinstance(a, int) and not isinstance(a, bool):
            where = a
    return where, dtype


@define("to", function=False, label="to_copy")
def to(input: Tensor, *args: Any, **options: Any) -> Tensor:
    """Another dtype and/or device: ``to(dtype)``, ``to(device, dtype)``, ``to(other)``; itself when nothing
    changes."""
    where, dtype = destination(args, options)
    result = input if dtype is None else converted(input, dtype)
    if where is not None:
        result = moved(result, where)
    return clone(result) if options.get("copy") and result is input else result


@define("type_as", function=False, label="to_copy")
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """In the dtype of ``other``, where that is."""
    return converted(input if recorder.state.placement is None else input.to(other.device), other.dtype)


def _conversion(dtype: DType) -> Any:
    def convert(input: Tensor, memory_format: object = None) -> Tensor:
        return converted(input, dtype)

    convert.__doc__ = f"As {dtype.name}."
    return convert


for _method, _dtype in (
    ("double", "float64"),
    ("float", "float32"),
    ("half", "float16"),
    ("bfloat16", "bfloat16"),
    ("long", "int64"),
    ("int", "int32"),
    ("short", "int16"),
    ("char", "int8"),
    ("byte", "uint8"),
    ("bool", "bool"),
):
    define(_method, function=False, label="to_copy")(_conversion(dtype_of(_dtype)))
