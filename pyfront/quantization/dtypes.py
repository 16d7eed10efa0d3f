"""Element types of quantized tensors, and the ways scales belong to elements."""

from __future__ import annotations

from ...dialects.types import DType, int8, int32, uint8


class QuantizedDType(DType):
    """An integer that stands for ``(integer - zero point) * scale``. integer: how it is stored."""

    __slots__ = ("integer",)

    def __init__(self, name: str, integer: DType) -> None:
        super().__init__(name, integer.code, integer.numpy)
        self.integer = integer
        self.code = name

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        bits = 8 * self.itemsize
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.integer.is_signed else (0, (1 << bits) - 1)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return quantized_dtype, (self.name,)


class qscheme:  # noqa: N801  # PyTorch's name
    """How scales belong to elements; compared by identity."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return quantized_scheme, (self.name,)


qint8, quint8, qint32 = (QuantizedDType(name, t) for name, t in (("qint8", int8), ("quint8", uint8), ("qint32", int32)))
QUANTIZED: dict[str, QuantizedDType] = {t.name: t for t in (qint8, quint8, qint32)}

per_tensor_affine, per_tensor_symmetric = qscheme("per_tensor_affine"), qscheme("per_tensor_symmetric")
per_channel_affine, per_channel_symmetric = qscheme("per_channel_affine"), qscheme("per_channel_symmetric")
SCHEMES: dict[str, qscheme] = {s.name: s for s in (per_tensor_affine, per_tensor_symmetric, per_channel_affine, per_channel_symmetric)}


def quantized_dtype(name: str) -> QuantizedDType:
    """The type of a name."""
    return QUANTIZED[name]


def quantized_scheme(name: str) -> qscheme:
    """The scheme of a name."""
    return SCHEMES[name]
