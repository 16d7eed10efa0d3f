"""Complex numbers: PyTorch's names for them, the error that says lamina has none, and what is defined on real ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..dialects.errors import UnsupportedError
from ..dialects.types import DType
from .definitions import define
from .origin import origin, source_line
from .promote import Defaults, cast, full, untouched
from .recorder import record
from .tensor import Tensor, wrap


def refused(what: str) -> UnsupportedError:
    """The error for a call that takes or gives complex numbers, at the user's line."""
    return UnsupportedError(
        f"{what}: complex numbers are not supported", at=source_line(origin()),
        help="keep real and imaginary parts in two tensors",
    )  # fmt: skip


class ComplexDType(DType):
    """``torch.complex64`` and its kin: to compare with; whatever is asked of it otherwise says that it is unsupported."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_floating_point = False
        self.is_signed = True

    is_complex = True  # type: ignore[assignment]  # a property in the base

    def __getattr__(self, wanted: str) -> Any:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        raise refused(f"torch.{self.name}")

    def __reduce__(self) -> str:
        return self.name


complex32, complex64, complex128 = ComplexDType("complex32"), ComplexDType("complex64"), ComplexDType("complex128")
DTYPES = {
    "complex32": complex32, "chalf": complex32, "complex64": complex64, "cfloat": complex64, "complex128": complex128,
    "cdouble": complex128,
}  # fmt: skip


def without(name: str, *tensors: str) -> Callable[..., Any]:
    """A public function that is not there. tensors: names of its first parameters, checked as PyTorch checks them."""

    def refuse(*given: Any, **_: Any) -> Any:
        for i, (value, parameter) in enumerate(zip(given, tensors, strict=False)):
            if not isinstance(value, Tensor):
                kind = type(value).__name__
                raise TypeError(f"{name}(): argument '{parameter}' (position {i + 1}) must be Tensor, not {kind}")
        raise refused(f"torch.{name}")

    refuse.__name__, refuse.__doc__ = name.rpartition(".")[2], "UnsupportedError: there are no complex dtypes."
    return refuse


PUBLIC: dict[str, Callable[..., Any]] = {
    "complex": without("complex", "real", "imag"), "polar": without("polar", "abs", "angle"),
    "view_as_complex": without("view_as_complex"), "view_as_real": without("view_as_real"),
    "stft": without("stft"), "istft": without("istft"),
}  # fmt: skip
for _name in ("cfloat", "cdouble", "chalf", "stft", "istft"):
    setattr(Tensor, _name, without(f"Tensor.{_name}"))


# -- what PyTorch defines on real tensors, too ---------------------------------------------------------------------


@define("real", method=False)
def real(input: Tensor) -> Tensor:
    """The tensor itself: it is real."""
    return input


@define("imag", method=False)
def imag(input: Tensor) -> Tensor:
    """RuntimeError: a real tensor has no imaginary part to look at."""
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


@define("conj", "resolve_conj", "resolve_neg")
def conj(input: Tensor) -> Tensor:
    """The tensor itself: it is real."""
    return input


@define("conj_physical", in_place=True)
def conj_physical(input: Tensor) -> Tensor:
    """The tensor itself: it is real."""
    return input


@define("angle")
def angle(input: Tensor) -> Tensor:
    """0, or pi for negative numbers; NaN for NaN."""
    x = input._read()
    if x.type[1].kind != "f":
        x = cast(x, Defaults.dtype)
    zero, pi = full(0.0, *x.type), full(math.pi, *x.type)
    turned = record("select", (record("less", (x, zero)), pi, zero))
    return wrap(untouched(record("select", (record("is_nan", (x,)), x, turned)), x))


def _never(name: str) -> Callable[[Tensor], bool]:
    def apply(input: Tensor) -> bool:
        return False

    apply.__doc__ = f"{name}: False, tensors are real."
    return apply


for _name in ("is_complex", "is_conj", "is_neg"):
    define(_name)(_never(_name))


def _no_imaginary_part(self: Tensor) -> Tensor:
    return imag(self)


Tensor.real = property(lambda self: self)
Tensor.imag = property(_no_imaginary_part)
