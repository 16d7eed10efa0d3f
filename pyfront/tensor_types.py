"""Tensor types: torch.FloatTensor, torch.cuda.LongTensor and their kin, which name a dtype and a kind of device."""

from __future__ import annotations

from typing import Any

from ..dialects import types
from ..dialects.types import DType
from . import creation
from .assignment import title
from .conversion import converted
from .definitions import define
from .placement import moved
from .promote import Defaults
from .tensor import Tensor

DTYPES = {
    f"{title(dtype)}Tensor": dtype
    for dtype in (
        types.float32, types.float64, types.float16, types.bfloat16, types.int64, types.int32, types.int16, types.int8, types.uint8, types.bool_,
    )
}  # fmt: skip


class tensortype(type):
    """Calling makes a tensor, ``isinstance`` asks for its dtype and device."""

    dtype: DType
    is_cuda: bool

    def __call__(cls, *args: Any, **options: Any) -> Tensor:
        made = creation.legacy_constructor(*args, dtype=cls.dtype, **options)
        return moved(made, "cuda") if cls.is_cuda else made

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Tensor) and value.dtype is cls.dtype and value.is_cuda is cls.is_cuda


def _typed(name: str, dtype: DType, is_cuda: bool) -> tensortype:
    where = "torch.cuda" if is_cuda else "torch"
    return tensortype(name, (), {"dtype": dtype, "is_cuda": is_cuda, "__module__": where, "__doc__": f"The legacy constructor for {dtype.name}."})


CPU = {name: _typed(name, dtype, False) for name, dtype in DTYPES.items()}
CUDA = {name: _typed(name, dtype, True) for name, dtype in DTYPES.items()}
_NAMED = {f"{kind.__module__}.{name}": kind for kinds in (CPU, CUDA) for name, kind in kinds.items()}


def named(kind: Any) -> tuple[DType, bool]:
    """Dtype and whether it is a GPU's, of a tensor type or its name (``"torch.LongTensor"``). ValueError where there is none of that name."""
    if kind is Tensor or kind == "torch.Tensor":
        return Defaults.dtype, False
    found = _NAMED.get(kind) if isinstance(kind, str) else kind
    if isinstance(found, tensortype):
        return found.dtype, found.is_cuda
    if isinstance(kind, (str, type)):
        raise ValueError(f"invalid type: '{kind if isinstance(kind, str) else kind.__name__}'")
    raise TypeError("dtype must be a type, str, or dtype object")


@define("type", function=False, label="to_copy")
def type_(input: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type, or the tensor in another dtype: a dtype, a tensor type (``torch.LongTensor``, which is on the CPU) or the name of one."""
    if dtype is None:
        return f"torch.{'cuda.' if input.is_cuda else ''}{title(input.dtype)}Tensor"
    if isinstance(dtype, DType):
        return converted(input, dtype)
    wanted, is_cuda = named(dtype)
    result = converted(input, wanted)
    return result if result.is_cuda is is_cuda else moved(result, "cuda" if is_cuda else "cpu")
