"""Complex numbers: tensors of real and imaginary parts, views of the one as the other, and what is defined on real tensors, too.

Programs are recorded on complex values; `passes/split_complex.py` makes real ones of them before anything is compiled.
"""

from __future__ import annotations

import math
from typing import Any

from ..dialects.errors import UnsupportedError
from ..dialects.types import DType, complex64, complex128, complex_of, float16, float32, float64, part_of
from .assignment import title
from .conversion import converted
from .definitions import define
from .node import Node
from .origin import origin, source_line
from .promote import Defaults, broadcast, cast, full, untouched
from .recorder import record
from .tensor import Tensor, wrap


def _no_halves() -> UnsupportedError:
    return UnsupportedError(
        "torch.complex32: there are no complex numbers of half precision", at=source_line(origin()), help="use torch.complex64",
    )  # fmt: skip


class HalfComplex(DType):
    """``torch.complex32``: to compare with; whatever is asked of it otherwise says that there is none."""

    __slots__ = ()

    def __init__(self) -> None:
        self.name, self.is_floating_point, self.is_signed = "complex32", False, True

    is_complex = True  # type: ignore[assignment]  # a property in the base, which asks for the kind

    def __getattr__(self, wanted: str) -> Any:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        raise _no_halves()

    def __reduce__(self) -> str:
        return self.name


complex32 = HalfComplex()
DTYPES = {
    "complex64": complex64, "cfloat": complex64, "complex128": complex128, "cdouble": complex128, "complex32": complex32,
    "chalf": complex32,
}  # fmt: skip


def _parts(a: Tensor, b: Tensor) -> list[Node]:
    """Both tensors as Nodes of one shape. RuntimeError, as PyTorch words it, for dtypes no complex number has parts of."""
    if not all(t.dtype in (float16, float32, float64) for t in (a, b)):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {title(a.dtype)} and {title(b.dtype)}"
        )
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {title(a.dtype)} but got scalar type {title(b.dtype)} for second argument"
        )
    if a.dtype is float16:
        raise _no_halves()
    return broadcast([a._read(), b._read()])


@define("complex", method=False, exact_out=True)
def complex_(real: Tensor, imag: Tensor) -> Tensor:
    """``real + i imag``: complex64 out of float32, complex128 out of float64."""
    re, im = _parts(real, imag)
    return wrap(record("to_complex", (re, im), (complex_of(real.dtype),)))


@define("polar", method=False, exact_out=True)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """The complex numbers with these magnitudes and angles (radians): ``abs * (cos(angle) + i sin(angle))``."""
    _parts(abs, angle)
    return complex_(abs * angle.cos(), abs * angle.sin())


@define("view_as_real", method=False)
def view_as_real(input: Tensor) -> Tensor:
    """The same memory as real numbers: shape [..., 2], the last dimension real and imaginary part. RuntimeError for a real tensor."""
    if not input.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return input._through(("as_parts", (part_of(input.dtype),)))


@define("view_as_complex", method=False)
def view_as_complex(input: Tensor) -> Tensor:
    """The same memory, of shape [..., 2], as complex numbers of shape [...]. RuntimeError where that cannot be."""
    if input.dtype not in (float16, float32, float64):
        raise RuntimeError(
            f"view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: {title(input.dtype)}"
        )
    if input.dtype is float16:
        raise _no_halves()
    if not input.dim():
        raise RuntimeError("Input tensor must have one or more dimensions")
    if input.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    *strides, last = input.stride()
    if last != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in strides) or input.storage_offset() % 2:
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return input._through(("from_parts", (complex_of(input.dtype),)))


def _part(input: Tensor, k: int) -> Tensor:
    return view_as_real(input).select(-1, k)


@define("real", method=False)
def real(input: Tensor) -> Tensor:
    """The real parts: a view; a real tensor itself."""
    return _part(input, 0) if input.dtype.is_complex else input


@define("imag", method=False)
def imag(input: Tensor) -> Tensor:
    """The imaginary parts: a view. RuntimeError for a real tensor."""
    if not input.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _part(input, 1)


@define("conj", "conj_physical", in_place=True)
def conj(input: Tensor) -> Tensor:
    """The complex conjugates, in memory of their own (PyTorch's ``conj`` is a view); a real tensor itself."""
    return wrap(record("conj", (input._read(),))) if input.dtype.is_complex else input


@define("resolve_conj", "resolve_neg")
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: nothing is conjugated later."""
    return input


@define("angle")
def angle(input: Tensor) -> Tensor:
    """The angle in the complex plane, radians: 0 or pi for real numbers, NaN for NaN."""
    if input.dtype.is_complex:
        return imag(input).atan2(real(input))
    x = input._read()
    if x.type[1].kind != "f":
        x = cast(x, Defaults.dtype)
    zero, half_turn = full(0.0, *x.type), full(math.pi, *x.type)
    turned = record("select", (record("less", (x, zero)), half_turn, zero))
    return wrap(untouched(record("select", (record("is_nan", (x,)), x, turned)), x))


@define("is_complex")
def is_complex(input: Tensor) -> bool:
    """True for complex64 and complex128."""
    return input.dtype.is_complex


def _never(name: str) -> Any:
    def apply(input: Tensor) -> bool:
        return False

    apply.__doc__ = f"{name}: False, nothing is conjugated or negated later."
    return apply


for _name in ("is_conj", "is_neg"):
    define(_name)(_never(_name))


def _conversion(dtype: DType) -> Any:
    def convert(input: Tensor, memory_format: object = None) -> Tensor:
        return converted(input, dtype)

    convert.__doc__ = f"As {dtype.name}."
    return convert


define("cfloat", function=False, label="to_copy")(_conversion(complex64))
define("cdouble", function=False, label="to_copy")(_conversion(complex128))


def _set_real(self: Tensor, values: Any) -> None:
    real(self).copy_(values)


def _set_imag(self: Tensor, values: Any) -> None:
    imag(self).copy_(values)


Tensor.real = property(real, _set_real)
Tensor.imag = property(imag, _set_imag)
