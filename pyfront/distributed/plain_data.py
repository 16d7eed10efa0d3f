"""Plain data as bytes and back: numbers, text, containers, arrays, tensors. What comes over a wire is read, never executed."""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from ...dialects.types import DTYPES, DType, dtype_of
from .. import recorder
from ..size import Size, device
from ..tensor import Tensor, wrap

DEEPEST = 200
"""Levels of containers within containers."""

_LENGTH = struct.Struct("<Q")
_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")
_SEQUENCES: dict[str, Callable[[list], Any]] = {"l": list, "t": tuple, "s": set, "f": frozenset, "z": Size}
_PAIRS: dict[str, Callable[[list], Any]] = {"d": dict, "o": OrderedDict}
_TAGS: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "f", Size: "z", dict: "d", OrderedDict: "o"}


class NotPlainError(TypeError):
    """An object that is not sent to other processes."""


class DamagedError(ValueError):
    """Bytes that are no plain data."""


def encoded(value: Any) -> bytes:
    """The bytes of a value: None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, range, slice, numpy
    arrays and numbers, tensors (without history), dtypes, sizes and devices.

    NotPlainError for everything else: it would have to be pickled, and unpickling runs code the sender chooses.
    """
    out = bytearray()
    _put(out, value, 0)
    return bytes(out)


def _put(out: bytearray, value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise NotPlainError(f"objects sent to other processes are at most {DEEPEST} levels deep")
    kind = type(value)
    tag = _TAGS.get(kind)
    if tag is not None:
        items = [x for pair in value.items() for x in pair] if tag in _PAIRS else list(value)
        out += tag.encode() + _LENGTH.pack(len(items))
        for item in items:
            _put(out, item, depth + 1)
    elif value is None or kind is bool:
        out += {None: b"N", True: b"T", False: b"F"}[value]
    elif kind is int:
        _sized(out, b"i", value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
    elif kind is float:
        out += b"r" + _FLOAT.pack(value)
    elif kind is complex:
        out += b"c" + _COMPLEX.pack(value.real, value.imag)
    elif kind is str:
        _sized(out, b"u", value.encode("utf-8", "surrogatepass"))
    elif kind in (bytes, bytearray):
        _sized(out, b"b" if kind is bytes else b"B", value)
    else:
        _put_other(out, value, depth)


def _put_other(out: bytearray, value: Any, depth: int) -> None:
    if isinstance(value, Tensor):
        out += b"P" if value.requires_grad else b"X"
        _put_array(out, np.asarray(value._value()))
    elif isinstance(value, np.ndarray) and type(value) is np.ndarray and _name_of(value.dtype):
        out += b"A"
        _put_array(out, value)
    elif isinstance(value, np.generic) and _name_of(value.dtype):
        out += b"S"
        _put_array(out, np.asarray(value))
    elif isinstance(value, DType):
        _sized(out, b"y", value.name.encode())
    elif type(value) is device:
        _sized(out, b"v", str(value).encode())
    elif type(value) in (range, slice):
        out += b"g" if type(value) is range else b"k"
        for part in (value.start, value.stop, value.step):
            _put(out, part, depth + 1)
    else:
        kind = type(value)
        raise NotPlainError(
            f"an object of class {kind.__module__}.{kind.__qualname__} is not sent to other processes: only numbers, text, bytes, lists, tuples, "
            "sets, dicts, numpy arrays and tensors are, since unpickling what comes over a wire would run code of the sender. Send its "
            "state as such data (obj.__dict__, module.state_dict()) and build the object where it arrives"
        )


def _sized(out: bytearray, tag: bytes, data: bytes | bytearray) -> None:
    out += tag + _LENGTH.pack(len(data)) + data


def _name_of(dtype: np.dtype) -> str | None:
    try:
        return dtype_of(dtype).name
    except TypeError:
        return None


def _put_array(out: bytearray, array: np.ndarray) -> None:
    _sized(out, b"", (_name_of(array.dtype) or "").encode())
    out += _LENGTH.pack(array.ndim)
    for n in array.shape:
        out += _LENGTH.pack(n)
    out += np.ascontiguousarray(array).tobytes()


def decoded(data: bytes | bytearray | memoryview, tensors: bool = False) -> Any:
    """The value whose bytes these are. tensors: some may be in it. DamagedError when they are none, or not all of one."""
    reader = _Reader(memoryview(data), tensors)
    try:
        value = reader.value(0)
    except DamagedError:
        raise
    except (struct.error, ValueError, TypeError, OverflowError, LookupError, RuntimeError) as error:  # what makes a value of its bytes says so its way
        raise DamagedError(f"not plain data: {error}") from None
    if reader.at != len(reader.data):
        raise DamagedError(f"{len(reader.data) - reader.at} bytes too many")
    return value


class _Reader:
    """Reads one value after the other; never further than the data goes."""

    def __init__(self, data: memoryview, tensors: bool) -> None:
        self.data, self.at, self.tensors = data, 0, tensors

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise DamagedError(f"{count} bytes expected where {len(self.data) - self.at} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def length(self) -> int:
        return _LENGTH.unpack(self.take(8))[0]

    def sized(self) -> bytes:
        return bytes(self.take(self.length()))

    def value(self, depth: int) -> Any:
        if depth > DEEPEST:
            raise DamagedError(f"more than {DEEPEST} levels")
        tag = bytes(self.take(1)).decode("latin-1")
        if tag in "NTF":
            return {"N": None, "T": True, "F": False}[tag]
        if tag in _SEQUENCES or tag in _PAIRS:
            count = self.length()
            if count > len(self.data) - self.at:  # an item is a byte at least
                raise DamagedError(f"{count} items where {len(self.data) - self.at} bytes are left")
            items = [self.value(depth + 1) for _ in range(count)]
            return _SEQUENCES[tag](items) if tag in _SEQUENCES else _PAIRS[tag](list(zip(items[::2], items[1::2], strict=True)))
        if tag in "gk":
            parts = [self.value(depth + 1) for _ in range(3)]
            return range(*parts) if tag == "g" else slice(*parts)
        return self._simple(tag)

    def _simple(self, tag: str) -> Any:
        if tag == "i":
            return int.from_bytes(self.sized(), "little", signed=True)
        if tag == "r":
            return _FLOAT.unpack(self.take(8))[0]
        if tag == "c":
            return complex(*_COMPLEX.unpack(self.take(16)))
        if tag == "u":
            return self.sized().decode("utf-8", "surrogatepass")
        if tag in "bB":
            return self.sized() if tag == "b" else bytearray(self.sized())
        if tag == "y":
            return DTYPES[self.sized().decode()]
        if tag == "v":
            return device(self.sized().decode())
        if tag in ("XPAS" if self.tensors else "AS"):
            array = self._array()
            if tag in "XP":
                made = wrap(recorder.leaf(array, (array.shape, dtype_of(array.dtype))))
                return made.requires_grad_() if tag == "P" else made
            return array if tag == "A" else array[()]
        raise DamagedError(f"no kind of data is called {tag!r}")

    def _array(self) -> np.ndarray:
        dtype = DTYPES[self.sized().decode()].numpy
        rank = self.length()
        if rank > 64:
            raise DamagedError(f"an array of {rank} dimensions")
        shape = tuple([self.length() for _ in range(rank)])
        count = math.prod(shape)
        data = self.take(count * dtype.itemsize)
        return np.frombuffer(bytes(data), np.uint8).view(dtype).reshape(shape).copy()
