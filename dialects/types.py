"""Element types and tensor types: the vocabulary every room shares (no xDSL here).

A tensor type is the plain tuple ``(shape, dtype)``: cheap to build, to hash and to compare, because the
recorder makes one per operation. Promotion follows PyTorch's lattice
(https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc).
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

from .errors import DTypeError


class DType:
    """One element type. Singletons: compare with ``is``."""

    __slots__ = ("name", "code", "numpy", "itemsize", "kind", "is_floating_point", "is_signed")

    def __init__(self, name: str, code: str, numpy_type: object) -> None:
        self.name = name.rstrip("_")
        self.code = code
        self.numpy = np.dtype(numpy_type)
        self.itemsize = self.numpy.itemsize
        self.kind = {"f": "f", "b": "f", "i": "i", "u": "u", "c": "c"}[code[0]] if code != "i1" else "b"
        self.is_floating_point = self.kind == "f"
        self.is_signed = self.kind in "fic"

    @property
    def is_complex(self) -> bool:
        """True for complex64 and complex128."""
        return self.kind == "c"

    @property
    def has_gradient(self) -> bool:
        """True for floating-point and complex numbers: what can be differentiated by."""
        return self.kind in "fc"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return dtype_of, (self.code,)


Shape = tuple[int, ...]
Type = tuple[Shape, DType]

float64 = DType("float64", "f64", np.float64)
float32 = DType("float32", "f32", np.float32)
float16 = DType("float16", "f16", np.float16)
bfloat16 = DType("bfloat16", "bf16", ml_dtypes.bfloat16)
int64 = DType("int64", "i64", np.int64)
int32 = DType("int32", "i32", np.int32)
int16 = DType("int16", "i16", np.int16)
int8 = DType("int8", "i8", np.int8)
uint8 = DType("uint8", "ui8", np.uint8)
uint64 = DType("uint64", "ui64", np.uint64)
uint32 = DType("uint32", "ui32", np.uint32)
uint16 = DType("uint16", "ui16", np.uint16)
bool_ = DType("bool_", "i1", np.bool_)
complex128 = DType("complex128", "c128", np.complex128)
complex64 = DType("complex64", "c64", np.complex64)

ALL = (float64, float32, float16, bfloat16, int64, int32, int16, int8, uint8, bool_)
FLOAT8 = tuple(DType(name, f"f8{name.partition('_')[2]}", getattr(ml_dtypes, name)) for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"))
"""Of numbers that are stored in 8 bits and converted to compute with them: the oracle does both."""

UNSIGNED = (uint64, uint32, uint16)  # what images and hashes are stored as: PyTorch promotes them with nothing but floats and themselves
COMPLEX = (complex128, complex64)  # of recorded graphs; IR holds their parts
_KNOWN = (*ALL, *UNSIGNED, *FLOAT8, *COMPLEX)
DTYPES: dict[str, DType] = {t.name: t for t in _KNOWN} | {t.code: t for t in _KNOWN}
_BY_NUMPY = {t.numpy: t for t in _KNOWN}
_PARTS = {complex64: float32, complex128: float64}


def part_of(t: DType) -> DType:
    """The dtype of the real and imaginary parts of a complex dtype; another dtype is its own."""
    return _PARTS.get(t, t)


def complex_of(t: DType) -> DType:
    """The complex dtype whose parts are floats of a dtype: complex128 of float64, else complex64."""
    return t if t in _PARTS else complex128 if t is float64 else complex64


def dtype_of(what: object) -> DType:
    """The DType of a numpy dtype, an array, a name ("float32") or a code ("f32"). TypeError if there is none."""
    if isinstance(what, np.ndarray):
        found = _BY_NUMPY.get(what.dtype)
        if found is not None:
            return found
    if isinstance(what, DType):
        return what
    if isinstance(what, str) and what in DTYPES:
        return DTYPES[what]
    found = _BY_NUMPY.get(np.dtype(getattr(what, "dtype", what)))
    if found is None:
        raise TypeError(f"no element type for {what!r}; supported: {', '.join(t.name for t in _KNOWN)}")
    return found


_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def promote_types(a: DType, b: DType) -> DType:
    """The type both fit in, as ``torch.promote_types``: category first (bool, integer, float, complex), then width; uint8 with a signed type goes one up."""
    if a is b:
        return a
    if _CATEGORY[a.kind] != _CATEGORY[b.kind] and not (a.kind == "b" and b in UNSIGNED or b.kind == "b" and a in UNSIGNED):
        high, low = (a, b) if _CATEGORY[a.kind] > _CATEGORY[b.kind] else (b, a)
        return complex128 if high is complex64 and low is float64 else high
    if a in UNSIGNED or b in UNSIGNED:
        help = "cast one of them with .to(dtype)"
        raise DTypeError(f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote {a.name} and {b.name}", help=help)
    if a in FLOAT8 or b in FLOAT8:
        raise DTypeError(f"Promotion for Float8 Types is not supported, attempted to promote {a.name} and {b.name}", help="cast one of them with .to(dtype)")
    if a.kind == "f":
        if a.itemsize == b.itemsize:
            return float32  # float16 with bfloat16
        return a if a.itemsize > b.itemsize else b
    if a is uint8 or b is uint8:
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    return a if a.itemsize > b.itemsize else b


def size_of(shape: Shape) -> int:
    """Number of elements of a shape."""
    n = 1
    for d in shape:
        n *= d
    return n


def show_type(t: Type) -> str:
    """``float32[32, 784]``, as errors print it."""
    return f"{t[1].name}[{', '.join(map(str, t[0]))}]"
