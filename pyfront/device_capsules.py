"""DLPack of memory on a GPU: the capsules in which libraries hand each other where an array lies, made and read.

Source: DLPack's `dlpack.h` (1.0) and its Python specification. Memory that is given away may be shared among tensors here, so versioned capsules say
that it is to be read only; what is taken is copied, since a tensor's contents are its own.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ..dialects.types import DType, bfloat16, dtype_of

CPU_KIND, GPU_KIND, MANAGED_KIND = 1, 2, 13
"""Memory of the host, of a CUDA device, of both."""
READ_ONLY, IS_COPY = 1, 2
_VERSION = (1, 0)
_OLD, _VERSIONED = b"dltensor", b"dltensor_versioned"
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_BFLOAT = 4


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("kind", ctypes.c_int32), ("number", ctypes.c_int32), ("rank", ctypes.c_int32), ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    ]  # fmt: skip


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("owner", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("owner", ctypes.c_void_p), ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]  # fmt: skip


_FORMS: dict[bytes, type[_Managed] | type[_Versioned]] = {_OLD: _Managed, _VERSIONED: _Versioned}
_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)(("PyCapsule_New", ctypes.pythonapi))
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))
_USED = {_OLD: b"used_dltensor", _VERSIONED: b"used_dltensor_versioned"}  # a capsule keeps the pointer to its name
_lent: dict[int, tuple] = {}
"""What capsules point to, by its address, until whoever has taken it gives it back."""


@_Deleter
def _give_back(address: int) -> None:
    _lent.pop(address, None)


@_Destructor
def _drop(capsule: int) -> None:
    """A capsule ends; if nobody has taken it (and given it another name), what it points to goes as well."""
    for name in _FORMS:
        if _is_valid(capsule, name):
            _lent.pop(_pointer(capsule, name), None)


def lend(address: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: DType, held: Any, flags: int, versioned: bool) -> Any:
    """A capsule of elements at an address of the GPU. held: what keeps them there."""
    kind = dtype.numpy
    rank = len(shape)
    sizes, steps = (ctypes.c_int64 * rank)(*shape), (ctypes.c_int64 * rank)(*strides)
    made = _Versioned(*_VERSION, None, None, flags) if versioned else _Managed()
    code = _BFLOAT if dtype is bfloat16 else _CODES.get(kind.kind)
    if code is None:
        raise BufferError(f"DLPack has no {dtype}")
    made.tensor = _Tensor(address, GPU_KIND, 0, rank, code, 8 * kind.itemsize, 1, sizes, steps, 0)
    made.deleter = ctypes.cast(_give_back, ctypes.c_void_p)
    place = ctypes.addressof(made)
    _lent[place] = made, sizes, steps, held
    return _new(place, _VERSIONED if versioned else _OLD, _drop)


class Taken:
    """What a capsule of another library points to, until `close`. BufferError for one that was taken already."""

    def __init__(self, capsule: Any) -> None:
        name = next((name for name in _FORMS if _is_valid(id(capsule), name)), None)
        if name is None:
            raise BufferError("from_dlpack needs a capsule named dltensor that nobody has taken yet")
        self._capsule, self._name = capsule, name
        self._managed = _FORMS[name].from_address(_pointer(id(capsule), name))
        self.tensor = self._managed.tensor

    @property
    def is_on_gpu(self) -> bool:
        return self.tensor.kind in (GPU_KIND, MANAGED_KIND)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape[: self.tensor.rank])

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each dimension."""
        if self.tensor.strides:
            return tuple(self.tensor.strides[: self.tensor.rank])
        return tuple(int(np.prod(self.shape[k + 1 :], dtype=np.int64)) for k in range(self.tensor.rank))

    @property
    def dtype(self) -> DType:
        """BufferError for elements no tensor has."""
        t = self.tensor
        if t.code == _BFLOAT and t.bits == 16 and t.lanes == 1:
            return bfloat16
        letter = next((letter for letter, code in _CODES.items() if code == t.code), None)
        if letter is None or t.lanes != 1 or t.bits % 8:
            raise BufferError(f"no tensor has elements of DLPack's type {t.code} with {t.bits} bits and {t.lanes} lanes")
        return dtype_of(np.empty(0, np.dtype(f"{letter}{t.bits // 8}")))

    @property
    def address(self) -> int:
        return (self.tensor.data or 0) + self.tensor.offset

    def close(self) -> None:
        """It is ours, and given back."""
        _rename(self._capsule, _USED[self._name])
        if self._managed.deleter:
            _Deleter(self._managed.deleter)(ctypes.addressof(self._managed))
