"""Python values and types to xDSL attributes and back, with the caches that make this cheap."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from xdsl.dialects.builtin import (
    ArrayAttr,
    BFloat16Type,
    DenseArrayBase,
    Float16Type,
    Float32Type,
    Float64Type,
    FloatAttr,
    IntAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    Signedness,
    StringAttr,
    TensorType,
    i32,
)
from xdsl.ir import Attribute, Data, SSAValue
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer

from .errors import TextError, UnsupportedError
from .sizes import Real, Size, any_symbolic, is_symbolic
from .types import DType, Type, bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64

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
    uint64: IntegerType(64, Signedness.UNSIGNED),
    uint32: IntegerType(32, Signedness.UNSIGNED),
    uint16: IntegerType(16, Signedness.UNSIGNED),
    bool_: IntegerType(1),
}
_DTYPES: dict[Attribute, DType] = {attr: dtype for dtype, attr in ELEMENTS.items()}
_IR_TYPES: dict[Type, TensorType] = {}
_TYPES: dict[
    int, tuple[Attribute, Type]
] = {}  # id of an attribute kept alive here: hashing a TensorType is slow
_LIMIT = 1 << 16


@irdl_attr_definition
class SizesAttr(Data[tuple]):
    """Numbers, sizes known only at the call among them, where a `DenseArrayBase` has plain ones; or one such number (`data` of
    length 1) in place of a `FloatAttr`. Printed to be read; it exists while one program is compiled, and is never parsed."""

    name = "lamina.sizes"

    def get_values(self) -> tuple:
        """The numbers."""
        return self.data

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> tuple:
        """Not parsed: its symbols belong to a compilation."""
        parser.raise_error("sizes that are known only at the call cannot be read back")

    def print_parameter(self, printer: Printer) -> None:
        """``<s0, 64>``."""
        printer.print_string(f"<{', '.join(map(str, self.data))}>")


class Numbers:
    """Numbers that equal attributes share: attributes are found by identity, as hashing one goes through all it is made of."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}  # by identity
        self._numbered: dict[Attribute, int] = {}
        self._held: list[Attribute] = []  # so that no other attribute gets the identity of one

    def of(self, attribute: Attribute) -> int:
        """The number of an attribute, from 1 on."""
        return self.known.get(id(attribute)) or self._new(attribute)

    def _new(self, attribute: Attribute) -> int:
        self._held.append(attribute)
        number = self.known[id(attribute)] = self._numbered.setdefault(attribute, len(self._numbered) + 1)
        return number


def integers(values: tuple | list, element: IntegerType = i64) -> DenseArrayBase | SizesAttr:
    """Integers as an attribute that has `get_values`."""
    values = tuple(values)
    return SizesAttr(values) if any_symbolic(values) else _dense(values, element)


@lru_cache(maxsize=1 << 12)
def _dense(values: tuple[int, ...], element: IntegerType) -> DenseArrayBase:
    return DenseArrayBase.from_list(element, values)


def segments(*counts: int) -> DenseArrayBase:
    """`operandSegmentSizes` of an op: how many of its operands are of each kind."""
    return _dense(counts, i32)


def dimensions(shape: tuple | list) -> list[int | IntAttr]:
    """The dimensions of a tensor or memref type, as its constructor takes them."""
    return [IntAttr(d) if isinstance(d, Size) else d for d in shape]


def element_type(dtype: DType) -> Attribute:
    """The IR element type of a DType. UnsupportedError for one that the oracle alone computes with (`types.FLOAT8`)."""
    try:
        return ELEMENTS[dtype]
    except KeyError:
        raise UnsupportedError(f"programs of {dtype} are not compiled", help="convert with .to(torch.float32) first") from None


def dtype_of_element(attr: Attribute) -> DType:
    """The DType of an IR element type. TextError if lamina has none."""
    try:
        return _DTYPES[attr]
    except KeyError:
        raise TextError(
            f"{attr} is no element type of lamina", help="f64 f32 f16 bf16 i64 i32 i16 i8 ui8 ui16 ui32 ui64 i1"
        ) from None


def ir_type(t: Type) -> TensorType:
    """`tensor<4x3xf32>` for ((4, 3), float32)."""
    found = _IR_TYPES.get(t)
    if found is None:
        if len(_IR_TYPES) >= _LIMIT:
            _IR_TYPES.clear()
        found = _IR_TYPES[t] = TensorType(element_type(t[1]), dimensions(t[0]))
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
            found = _INTS[value] = integers(value)
        return found
    if isinstance(value, DType):
        return ELEMENTS[value]
    if isinstance(value, str):
        return StringAttr(value)
    if kind == "flag":
        return IntegerAttr(int(bool(value)), ELEMENTS[bool_])
    if isinstance(value, float):
        return FloatAttr(value, ELEMENTS[float64])
    if isinstance(value, Real) or (is_symbolic(value) and kind == "number"):
        return SizesAttr((value,))
    return IntegerAttr(IntAttr(value) if isinstance(value, Size) else int(value), i64)


def value_of(kind: str, attr: Attribute) -> Any:
    """The Python value of an xDSL attribute, by its kind in the stanza.

    TextError if it is of another kind.
    """
    if isinstance(attr, DenseArrayBase | SizesAttr) and kind in ("ints", "axes", "shape", "perm"):
        return tuple(attr.get_values())
    if isinstance(attr, ArrayAttr) and not attr.data and kind in ("ints", "axes", "shape", "perm"):
        return ()
    if kind == "dtype":
        return dtype_of_element(attr)
    if isinstance(attr, StringAttr) and kind == "text":
        return attr.data
    if isinstance(attr, IntegerAttr) and kind in ("int", "number", "flag"):
        return attr.value.data != 0 if kind == "flag" else attr.value.data
    if isinstance(attr, SizesAttr) and kind == "number":
        return attr.data[0]
    if isinstance(attr, FloatAttr) and kind == "number":
        return attr.value.data
    raise TextError(f"{attr} is not of kind {kind}")
