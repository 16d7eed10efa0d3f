"""Python values and types to xDSL attributes and back, with the caches that make this cheap."""

from __future__ import annotations

from typing import Any

from xdsl.dialects.builtin import (
    ArrayAttr,
    BFloat16Type,
    DenseArrayBase,
    Float16Type,
    Float32Type,
    Float64Type,
    FloatAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    Signedness,
    StringAttr,
    TensorType,
)
from xdsl.ir import Attribute, SSAValue

from .errors import TextError
from .types import DType, Type, bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8

i64 = IntegerType(64)
ELEMENTS: dict[DType, Attribute] = {
    float64: Float64Type(),
    float32: Float32Type(),
    float16: Float16Type(),
    bfloat16: BFloat16Type(),
    int64: i64,
    int32: IntegerType(32),
    int16: IntegerType(16),
    int8: IntegerType(8),
    uint8: IntegerType(8, Signedness.UNSIGNED),
    bool_: IntegerType(1),
}
_DTYPES: dict[Attribute, DType] = {attr: dtype for dtype, attr in ELEMENTS.items()}
_IR_TYPES: dict[Type, TensorType] = {}
_TYPES: dict[
    int, tuple[Attribute, Type]
] = {}  # id of an attribute kept alive here: hashing a TensorType is slow
_LIMIT = 1 << 16


def element_type(dtype: DType) -> Attribute:
    """The IR element type of a DType."""
    return ELEMENTS[dtype]


def dtype_of_element(attr: Attribute) -> DType:
    """The DType of an IR element type. TextError if lamina has none."""
    try:
        return _DTYPES[attr]
    except KeyError:
        raise TextError(
            f"{attr} is no element type of lamina", help="f64 f32 f16 bf16 i64 i32 i16 i8 ui8 i1"
        ) from None


def ir_type(t: Type) -> TensorType:
    """`tensor<4x3xf32>` for ((4, 3), float32)."""
    found = _IR_TYPES.get(t)
    if found is None:
        if len(_IR_TYPES) >= _LIMIT:
            _IR_TYPES.clear()
        found = _IR_TYPES[t] = TensorType(ELEMENTS[t[1]], t[0])
    return found


def type_of_ir(attr: Attribute) -> Type:
    """(shape, dtype) of a tensor or memref type. TextError for anything else and for dynamic sizes."""
    known = _TYPES.get(id(attr))
    if known is not None and known[0] is attr:
        return known[1]
    if not isinstance(attr, TensorType | MemRefType):
        raise TextError(f"expected a tensor, got {attr}")
    shape = attr.get_shape()
    if any(d < 0 for d in shape):
        raise TextError(f"sizes must be known, got {attr}")
    if len(_TYPES) >= _LIMIT:
        _TYPES.clear()
    found: Type = (tuple(shape), dtype_of_element(attr.element_type))
    _TYPES[id(attr)] = (attr, found)
    return found


def type_of(value: SSAValue) -> Type:
    """(shape, dtype) of a tensor value."""
    return type_of_ir(value.type)


_INTS: dict[tuple[int, ...], DenseArrayBase] = {}


def attribute_of(kind: str, value: Any) -> Attribute:
    """A Python attribute value as xDSL attribute, by its kind in the stanza."""
    if isinstance(value, tuple):
        found = _INTS.get(value)
        if found is None:
            if len(_INTS) >= _LIMIT:
                _INTS.clear()
            found = _INTS[value] = DenseArrayBase.from_list(i64, value)
        return found
    if isinstance(value, DType):
        return ELEMENTS[value]
    if isinstance(value, str):
        return StringAttr(value)
    if kind == "flag":
        return IntegerAttr(int(bool(value)), ELEMENTS[bool_])
    if isinstance(value, float):
        return FloatAttr(value, ELEMENTS[float64])
    return IntegerAttr(int(value), i64)


def value_of(kind: str, attr: Attribute) -> Any:
    """The Python value of an xDSL attribute, by its kind in the stanza.

    TextError if it is of another kind.
    """
    if isinstance(attr, DenseArrayBase) and kind in ("ints", "axes", "shape", "perm"):
        return tuple(attr.get_values())
    if isinstance(attr, ArrayAttr) and not attr.data and kind in ("ints", "axes", "shape", "perm"):
        return ()
    if kind == "dtype":
        return dtype_of_element(attr)
    if isinstance(attr, StringAttr) and kind == "text":
        return attr.data
    if isinstance(attr, IntegerAttr) and kind in ("int", "number", "flag"):
        return attr.value.data != 0 if kind == "flag" else attr.value.data
    if isinstance(attr, FloatAttr) and kind == "number":
        return attr.value.data
    raise TextError(f"{attr} is not of kind {kind}")
