"""Creation: tensors out of Python data, numpy arrays and constants."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..dialects.types import DType, Shape, complex_of, dtype_of, promote_types
from . import known_calls, recorder
from .dtype_arguments import dtype_given
from .known_calls import known
from .promote import Defaults, Scalar, scalar_dtype
from .promote import filled
from .shaping import sizes
from .placement import default, filled_on_gpu, on, placed, placed_on_gpu
from .size import CPU, require
from .storage import Storage
from .strides import like
from .tensor import Tensor, unread, wrap


def of_array(array: np.ndarray, requires_grad: bool = False, like: Tensor | None = None) -> Tensor:
    """A tensor that owns ``array`` (row-major, not written by anybody afterwards), on the device of ``like``."""
    if not array.flags.c_contiguous or type(array) is not np.ndarray:  # numpy computes numbers, not arrays, of arrays of rank 0
        array = np.array(array, order="C")
    result = recorder.state.holding(array, (array.shape, dtype_of(array)), None)
    if like is not None and like.is_cuda:
        result = result.to(like.device)
    return result.requires_grad_() if requires_grad else result


def set_default_dtype(dtype: DType) -> None:
    """The dtype Python floats become."""
    if not isinstance(dtype, DType) or dtype.kind != "f":
        raise TypeError(f"invalid dtype object: only floating-point types are supported as the default type, got {dtype}")
    Defaults.dtype = dtype
    known_calls.forget()


def get_default_dtype() -> DType:
    """The dtype Python floats become."""
    return Defaults.dtype


# -- from data
# ------------------------------------------------------------------------------------------------------


def _array_of(data: Any, dtype: DType | None) -> np.ndarray:
    """A fresh row-major array. ValueError/TypeError as PyTorch words them."""
    if isinstance(data, (np.ndarray, np.generic)):
        _check_order(data)
        array = np.array(data, order="C")
    elif isinstance(data, Tensor):
        array = np.array(data._value(), order="C")
    else:
        array = _array_of_sequence(data, dtype is not None)
    if array.dtype == object or array.dtype.kind in "USVMm" and array.dtype != Defaults.dtype.numpy:  # bfloat16 is of kind V
        _refuse(data, array)
    if dtype is not None:
        return array.astype(dtype.numpy, copy=False)
    return array.astype(np.int32) if array.dtype == np.uint16 else array


def _array_of_alike(data: Any) -> np.ndarray | None:
    """The array of Python's numbers that are all of one class, in lists of one length; None for anything else."""
    kind = type(data)
    if kind is list or kind is tuple:
        kind = _kind_of_all(data)
    numpy = Defaults.dtype.numpy if kind is float else np.int64 if kind is int else np.bool_ if kind is bool else None
    try:
        return None if numpy is None else np.array(data, numpy)
    except OverflowError:
        return None


def _kind_of_all(data: Any) -> type | None:
    kinds = set(map(type, data))
    if kinds == {list} or kinds == {tuple}:
        return kinds.pop() if len(kinds := set(map(_kind_of_all, data))) == 1 and len(set(map(len, data))) == 1 else None  # type: ignore[return-value]
    return kinds.pop() if len(kinds) == 1 else None


def _array_of_sequence(data: Any, is_exact: bool) -> np.ndarray:
    """What numpy makes of nested numbers, in PyTorch's dtype for them unless it must stay exact."""
    flat = _plain(data)
    _check_shape(flat, 0)
    try:
        array = np.array(flat)
    except ValueError as error:
        raise ValueError(f"expected sequence of equal length at every dimension ({error})") from None
    if is_exact:
        return array
    kinds = _kinds(flat)
    if any([issubclass(kind, np.ndarray) for kind in kinds]):
        return array
    if array.dtype.kind in "biufc" and any([issubclass(kind, np.generic) for kind in kinds]):
        return array.astype(functools.reduce(promote_types, map(_dtype_of_kind, kinds)).numpy)
    if array.dtype == np.float64:
        return array.astype(Defaults.dtype.numpy)
    if array.dtype == np.complex128:
        return array.astype(complex_of(Defaults.dtype).numpy)
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def _plain(data: Any) -> Any:
    """Nested lists with tensors and arrays turned into numbers."""
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, (list, tuple)):
        return [_plain(d) if isinstance(d, (list, tuple, Tensor)) else d for d in data]
    return list(data) if isinstance(data, range) else data


def _kinds(data: Any) -> set[type]:
    """The classes of what nested lists hold."""
    if not isinstance(data, list):
        return {type(data)}
    found = set(map(type, data))
    if list in found:
        found.remove(list)
        found.update(*[_kinds(d) for d in data if isinstance(d, list)])
    return found


def _dtype_of_kind(kind: type) -> DType:
    """The dtype of a number of numpy's or of Python's."""
    return dtype_of(np.dtype(kind)) if issubclass(kind, np.generic) else scalar_dtype(kind())


def _check_shape(data: Any, depth: int) -> None:
    if isinstance(data, list) and data and isinstance(data[0], list):
        n = len(data[0])
        for row in data:
            if not isinstance(row, list) or len(row) != n:
                got = len(row) if isinstance(row, list) else 0
                raise ValueError(f"expected sequence of length {n} at dim {depth + 1} (got {got})")
            _check_shape(row, depth + 1)


def _check_order(array: Any) -> None:
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is currently not "
            'supported: array.astype(array.dtype.newbyteorder("=")) makes a copy that can be taken.'
        )


def _refuse(data: Any, array: np.ndarray) -> None:
    """The error for data that is no array of numbers."""
    if isinstance(data, np.ndarray):
        raise TypeError(f"can't convert np.ndarray of type {array.dtype}.")
    nested = isinstance(data, (list, tuple))
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    if isinstance(data, str):
        raise (
            ValueError("too many dimensions 'str'") if nested else TypeError("new(): invalid data type 'str'")
        )
    raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")


def tensor(
    data: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new tensor with a copy of ``data``: numbers, nested sequences, an array or a tensor."""
    if dtype is None and (array := _array_of_alike(data)) is not None:
        return on(of_array(array), device, requires_grad)
    return on(of_array(_array_of(data, dtype_given(dtype))), device, requires_grad)


def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """``data`` as tensor, sharing memory where it can."""
    dtype = dtype_given(dtype)
    require(device)
    if isinstance(data, Tensor):
        data = data if dtype is None else data.to(dtype)
        return data if device is None else data.to(device)
    if hasattr(data, "as_tensor"):  # a storage
        return as_tensor(data.as_tensor(), dtype, device)
    if isinstance(data, np.ndarray) and (dtype is None or dtype.numpy == data.dtype):
        return on(from_numpy(data), device)
    return tensor(data, dtype=dtype, device=device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor on the same memory as ``array``: each sees what the other writes."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    _check_order(array)
    try:
        kind = array.shape, dtype_of(array)
    except TypeError:
        supported = "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint8, and bool"
        raise TypeError(
            f"can't convert np.ndarray of type {array.dtype}. The only supported types are: {supported}."
        ) from None
    if array.ndim and min(array.strides) < 0:
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not currently "
            "supported. (You can probably work around this by making a copy of your array  with array.copy().) "
        )
    return unread(Storage(None, array), (), kind, False)


def asarray(
    obj: Any,
    *,
    dtype: DType | None = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """``as_tensor``, or a copy when asked."""
    result = tensor(obj, dtype=dtype, device=device) if copy else as_tensor(obj, dtype, device)
    return result.requires_grad_() if requires_grad else result


def legacy_constructor(*args: Any, dtype: DType | None = None, device: Any = None) -> Tensor:
    """``Tensor(2, 3)`` or ``Tensor([1, 2])`` of the default dtype."""
    require(device)
    kind = dtype or Defaults.dtype
    if not args:
        return of_array(np.empty(0, kind.numpy))
    if (
        all(isinstance(a, int) and not isinstance(a, bool) for a in args)
        or isinstance(args[0], tuple)
        and type(args[0]) is not tuple
    ):
        return empty(*args, dtype=kind)
    return tensor(args[0], dtype=kind)


# -- constants
# ------------------------------------------------------------------------------------------------------


def finish(result: Tensor, out: Tensor | None, requires_grad: bool) -> Tensor:
    """A new tensor as its constructor's ``out`` and ``requires_grad`` want it."""
    if out is not None:
        from .assignment import write_out

        return write_out(out, result, recorder.state.order)
    return result.requires_grad_() if requires_grad else result


@known
@placed
def full(
    size: Any,
    fill_value: Scalar,
    *,
    out: Tensor | None = None,
    dtype: DType | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Every element is ``fill_value``; its type decides the dtype unless given."""
    value = fill_value.item() if isinstance(fill_value, (Tensor, np.generic)) else fill_value
    return _filled(sizes((size,)), value, _dtype_of(dtype, out) or scalar_dtype(value), out, requires_grad)


def _dtype_of(dtype: DType | None, out: Tensor | None) -> DType | None:
    return out.dtype if dtype is None and out is not None else dtype


def _filled(shape: Shape, value: Scalar, dtype: DType, out: Tensor | None, requires_grad: bool) -> Tensor:
    if shape and min(shape) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    node = filled(value, shape, dtype)
    if prod(shape) * dtype.numpy.itemsize > sys.maxsize:
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
    if recorder.state.placement is not None and default().type == "cuda":
        # in memory at once, as a program's other inputs are: what is made before a loop and written in it is one program from the first turn on
        number = node.attrs[1] if node.op == "full" else value
        node = filled_on_gpu(shape, number, dtype) if recorder.can_doubt() else placed_on_gpu(node)
    else:
        node.device = CPU  # until `placed` moves it: a program's constants are not anywhere, as an operation's are
    return finish(wrap(node), out, requires_grad) if out is not None or requires_grad else wrap(node)


def _constant(value: float) -> Callable[..., Tensor]:
    @known
    @placed
    def make(
        *args: Any,
        size: Any = None,
        out: Tensor | None = None,
        dtype: DType | None = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        pin_memory: bool = False,
        memory_format: Any = None,
        names: Any = None,
    ) -> Tensor:
        shape = sizes(args) if size is None else sizes((tuple(size),))
        return _filled(shape, value, _dtype_of(dtype, out) or Defaults.dtype, out, requires_grad)

    make.__doc__ = f"All {value:g}."
    return make


zeros = _constant(0.0)
ones = _constant(1.0)
empty = _constant(0.0)
empty.__doc__ = "Uninitialised in PyTorch; here zeros."


def empty_strided(
    size: Any, stride: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``empty`` (always row-major here)."""
    return empty(tuple(size), dtype=dtype, device=device, requires_grad=requires_grad)


def _like(value: float) -> Callable[..., Tensor]:
    @known
    @placed
    def make(
        input: Tensor,
        *,
        dtype: DType | None = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        memory_format: Any = None,
        pin_memory: bool = False,
    ) -> Tensor:
        return _full_like(input, value, dtype, requires_grad)

    make.__doc__ = f"All {value:g}, in the shape and dtype of ``input``."
    return make


zeros_like, ones_like, empty_like = _like(0.0), _like(1.0), _like(0.0)


@known
@placed
def full_like(
    input: Tensor,
    fill_value: Scalar,
    *,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    **_: Any,
) -> Tensor:
    """Every element is ``fill_value``, in the shape and dtype of ``input``."""
    return _full_like(input, fill_value, dtype, requires_grad)


def _full_like(input: Tensor, fill_value: Scalar, dtype: DType | None, requires_grad: bool) -> Tensor:
    made = like(input, lambda shape: full(shape, fill_value, dtype=dtype or input.dtype))
    return made.requires_grad_() if requires_grad else made


def _new(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @known
    @functools.wraps(make)
    def method(
        self: Tensor, *size: Any, dtype: DType | None = None, device: Any = None, **options: Any
    ) -> Tensor:
        return make(*size, dtype=dtype or self.dtype, device=device or self.device, **options)

    return method


Tensor.new_zeros, Tensor.new_ones, Tensor.new_empty = _new(zeros), _new(ones), _new(empty)
Tensor.new_full = _new(full)
Tensor.new_tensor = lambda self, data, *, dtype=None, device=None, requires_grad=False: tensor(
    data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad
)
Tensor.new = lambda self, *args: legacy_constructor(*args, dtype=self.dtype)


def scalar_tensor(
    value: Scalar, *, dtype: DType | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A rank-0 tensor, of the default dtype unless given."""
    return tensor(value, dtype=dtype or Defaults.dtype, device=device, requires_grad=requires_grad)


def is_tensor(obj: Any) -> bool:
    """True for tensors."""
    return isinstance(obj, Tensor)


PUBLIC: dict[str, Callable] = {
    f.__name__: f
    for f in (
        tensor,
        as_tensor,
        from_numpy,
        asarray,
        full,
        full_like,
        scalar_tensor,
        is_tensor,
        set_default_dtype,
        get_default_dtype,
        empty_strided,
    )
} | {
    "zeros": zeros,
    "ones": ones,
    "empty": empty,
    "zeros_like": zeros_like,
    "ones_like": ones_like,
    "empty_like": empty_like,
}
