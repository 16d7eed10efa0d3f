"""C types and literals of loops-level values: what a scalar, a vector and a memory element are called in C.

Memory elements have typedefs that may alias (``f32``, ``i64``, ``bf16`` …): the arena reuses bytes under
different types. Values live in plain C types; f16 and bf16 values live in ``float`` (rounded after each
operation), an ``i1`` vector is an integer mask as wide as what was compared.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import NamedTuple

from xdsl.dialects.builtin import (
    BFloat16Type,
    Float16Type,
    Float32Type,
    Float64Type,
    IndexType,
    IntegerType,
    MemRefType,
    NoneAttr,
    Signedness,
    StridedLayoutAttr,
    VectorType,
)
from xdsl.ir import Attribute

from ..dialects.errors import BackendError
from ..dialects.sizes import Size


class CType(NamedTuple):
    """A scalar or vector type. code: the memory element's name; kind: f, i, u (unsigned) or b (bool)."""

    code: str
    kind: str
    bits: int
    lanes: int  # 0: a scalar

    @property
    def carrier(self) -> str:
        """The element the value is computed in: f16 and bf16 are carried as f32."""
        return "f32" if self.code in ("f16", "bf16") else self.code

    @property
    def is_half(self) -> bool:
        """True for the two 16-bit floats, whose results are rounded after every operation."""
        return self.code in ("f16", "bf16")

    @property
    def element(self) -> CType:
        """The scalar type of one lane."""
        return self._replace(lanes=0)

    @property
    def suffix(self) -> str:
        """The ending of helper functions for this type: ``f32`` or ``f32x16``."""
        return vector_name(self.carrier, self.lanes) if self.lanes else self.carrier


_SCALARS = {
    "f64": "double", "f32": "float", "i64": "int64_t", "i32": "int32_t", "i16": "int16_t", "i8": "int8_t",
    "u64": "uint64_t", "u32": "uint32_t", "u16": "uint16_t", "u8": "uint8_t", "i1": "bool",
}  # fmt: skip
_MEMORY = {
    "f64": "double", "f32": "float", "f16": "uint16_t", "bf16": "uint16_t", "i64": "int64_t", "i32": "int32_t",
    "i16": "int16_t", "i8": "int8_t", "u8": "uint8_t", "i1": "uint8_t", "u64": "uint64_t", "u32": "uint32_t",
    "u16": "uint16_t",
}  # fmt: skip
_BYTES = {"f64": 8, "f32": 4, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i16": 2, "i8": 1, "u8": 1, "i1": 1}
_BYTES |= {"u64": 8, "u32": 4, "u16": 2}


def scalar_name(code: str) -> str:
    """``float`` for f32: the type of a C variable."""
    return _SCALARS[code]


def vector_name(code: str, lanes: int) -> str:
    """``f32x16``: the type of a C vector variable."""
    return f"{code}x{lanes}"


def bytes_of(code: str) -> int:
    """Bytes of one element in memory."""
    return _BYTES[code]


def memory_typedef(code: str) -> str:
    """The typedef of a memory element, which may alias every other."""
    return f"typedef {_MEMORY[code]} {code} __attribute__((may_alias));"


def vector_typedefs(code: str, lanes: int) -> list[str]:
    """The vector type and its unaligned, aliasing memory form (``f32x16u``)."""
    name, size = vector_name(code, lanes), _BYTES[code] * lanes
    return [
        f"typedef {_SCALARS[code]} {name} __attribute__((vector_size({size})));",
        f"typedef {_SCALARS[code]} {name}u __attribute__((vector_size({size}), aligned({_BYTES[code]}), may_alias));",
    ]


_KNOWN: dict[int, tuple[Attribute, CType]] = {}
_KNOWN_LIMIT = 4096


def c_type(t: Attribute) -> CType:
    """The CType of an IR scalar or 1-D vector type. BackendError for anything else."""
    known = _KNOWN.get(id(t))  # types are asked for at every op, and hashing one goes through all it is made of
    if known is not None:
        return known[1]
    if len(_KNOWN) >= _KNOWN_LIMIT:
        _KNOWN.clear()
    found = _c_type(t)
    _KNOWN[id(t)] = t, found
    return found


@lru_cache(maxsize=None)
def _c_type(t: Attribute) -> CType:
    lanes = 0
    if isinstance(t, VectorType):
        shape = t.get_shape()
        if len(shape) != 1 or shape[0] & (shape[0] - 1):
            raise BackendError(f"the C backend has 1-D vectors with a power of two lanes, got {t}")
        lanes, t = shape[0], t.element_type
    match t:
        case Float64Type():
            return CType("f64", "f", 64, lanes)
        case Float32Type():
            return CType("f32", "f", 32, lanes)
        case Float16Type():
            return CType("f16", "f", 16, lanes)
        case BFloat16Type():
            return CType("bf16", "f", 16, lanes)
        case IndexType():
            return CType("i64", "i", 64, lanes)
        case IntegerType() if t.width.data == 1:
            return CType("i1", "b", 1, lanes)
        case IntegerType() if t.width.data in (8, 16, 32, 64):
            unsigned = t.signedness.data == Signedness.UNSIGNED
            return CType(f"{'u' if unsigned else 'i'}{t.width.data}", "u" if unsigned else "i", t.width.data, lanes)
    raise BackendError(f"the C backend has no type for {t}")


@lru_cache(maxsize=None)
def strides_of(t: MemRefType) -> tuple[int, ...]:
    """Element strides of a memref type. BackendError when they are not static."""
    if isinstance(t.layout, NoneAttr):
        strides, step = [], 1
        for size in reversed(t.get_shape()):
            strides.append(step)
            step *= size
        return tuple(reversed(strides))
    found = t.layout.get_strides() if isinstance(t.layout, StridedLayoutAttr) else None
    if found is None or any(s is None for s in found):
        raise BackendError(f"the C backend needs static strides, got {t}")
    return tuple(s for s in found if s is not None)


def offset_of(t: MemRefType) -> int:
    """The static element offset of a memref type; 0 when it is not static (the pointer then includes it)."""
    layout = t.layout
    offset = layout.get_offset() if isinstance(layout, StridedLayoutAttr) else 0
    return offset or 0


def span_of(t: MemRefType) -> int:
    """Number of elements between the first and one past the last of a memref type."""
    shape = t.get_shape()
    if any(size == 0 for size in shape):
        return 0
    return 1 + sum((size - 1) * abs(stride) for size, stride in zip(shape, strides_of(t), strict=True))


def float_literal(value: float, code: str) -> str:
    """A C literal with exactly this value; infinities and NaN through math.h."""
    if math.isnan(value):
        return "NAN" if code != "f64" else "(double)NAN"
    if math.isinf(value):
        text = "INFINITY" if code != "f64" else "(double)INFINITY"
        return text if value > 0 else f"-{text}"
    if code == "f64":
        return repr(float(value))
    (value,) = struct.unpack("f", struct.pack("f", value))
    text = next(t for digits in range(1, 10) if struct.unpack("f", struct.pack("f", float(t := f"{value:.{digits}g}")))[0] == value)
    return f"{text}f" if any(c in text for c in ".e") else f"{text}.0f"


def index_text(value: int | Size) -> str:
    """A number of elements in C."""
    return value.c_text() if isinstance(value, Size) else str(value)


def int_literal(value: int, code: str) -> str:
    """A C literal of an integer type; i1 is ``true`` or ``false``. A size known only at the call is an expression."""
    if isinstance(value, Size):
        return value.c_text()
    if code == "i1":
        return "true" if value else "false"
    if code == "i64" and value == -(2**63):
        return "INT64_MIN"
    if code in ("i64", "u64") and abs(value) > 2**31 - 1:
        return f"INT64_C({value})" if code == "i64" else f"UINT64_C({value})"
    return "INT32_MIN" if value == -(2**31) else str(value)
