"""Quantized tensors: a tensor of integers and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from ...dialects.errors import UnsupportedError
from ...dialects.types import float32, show_type
from ..origin import origin, source_line
from ..overrides import disabled
from ..size import Size, device
from ..tensor import Tensor
from .dtypes import QuantizedDType, per_channel_affine, per_tensor_affine, qscheme


class QuantizedError(UnsupportedError):
    """An operation that quantized tensors do not have, or that only they have (PyTorch raises NotImplementedError)."""


class Quantizer(NamedTuple):
    """What integers stand for: ``(integer - zero point) * scale``.

    scale, zero_point: numbers, or per channel tensors float64[channels] and int64[channels]; axis: the dimension of the channels, -1 for one
    pair for all.
    """

    scale: Any
    zero_point: Any
    axis: int = -1

    @property
    def scheme(self) -> qscheme:
        """What ``qscheme()`` gives."""
        return per_tensor_affine if self.axis < 0 else per_channel_affine

    def along(self, rank: int) -> tuple[Any, Any]:
        """Scale and zero point in shapes that go with a tensor of this rank."""
        if self.axis < 0:
            return self.scale, self.zero_point
        shape = [-1 if d == self.axis else 1 for d in range(rank)]
        return self.scale.reshape(shape), self.zero_point.reshape(shape)

    def equals(self, other: Quantizer) -> bool:
        """Whether both give every integer the same meaning."""
        if self.axis < 0 or other.axis != self.axis:
            return tuple(self) == tuple(other) if self.axis < 0 and other.axis < 0 else False
        return self.scale.equal(other.scale) and self.zero_point.equal(other.zero_point)


class QuantizedTensor(Tensor):
    """Integers with a quantizer. Not a tensor of numbers: what is not defined here or in a table of forms is refused.

    Fields: _integers (a Tensor of the dtype's integers), _dtype, _quantizer.
    """

    __torch_function__ = classmethod(disabled)
    _is_bare = True  # printed as a tensor

    __slots__ = ("_integers", "_dtype", "_quantizer")
    is_quantized = True
    requires_grad = False
    is_leaf = True
    grad_fn = None
    grad = None
    is_cuda = property(lambda self: self._integers.is_cuda)

    def __new__(cls, integers: Tensor, dtype: QuantizedDType, quantizer: Quantizer) -> QuantizedTensor:
        """A quantized tensor over the memory of its integers."""
        made = object.__new__(cls)
        made._integers, made._dtype, made._quantizer = integers, dtype, quantizer
        return made

    def __init__(self, *_: Any) -> None:
        pass

    def _with(self, integers: Tensor) -> QuantizedTensor:
        """Other integers of the same meaning."""
        return QuantizedTensor(integers, self._dtype, self._quantizer)

    # -- what tensors of numbers are made of: there is nothing of it here, so that nobody computes with the integers unawares

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise QuantizedError(
            "this operation is not there for quantized tensors",
            [("tensor", show_type((tuple(self.shape), self._dtype)), self._integers._node.origin)],
            at=source_line(origin()),
            help="call dequantize() first, and torch.quantize_per_tensor on the result",
        )

    _node = _storage = _chain = _seen = property(_refuse)  # type: ignore[assignment]
    _read = _value = _through = _forget = _refuse  # type: ignore[assignment]

    # -- what it is

    @property
    def shape(self) -> Size:
        return self._integers.shape

    @property
    def dtype(self) -> QuantizedDType:
        return self._dtype

    @property
    def ndim(self) -> int:
        return self._integers.ndim

    @property
    def device(self) -> device:
        return self._integers.device

    @property
    def itemsize(self) -> int:
        return self._dtype.itemsize

    @property
    def data(self) -> QuantizedTensor:
        return self

    @property
    def _version(self) -> int:
        return self._integers._version

    def is_signed(self) -> bool:
        """RuntimeError, as PyTorch has it."""
        raise RuntimeError("isSignedType not supported for quantized types")

    def type(self, dtype: Any = None) -> str:
        """The name of the tensor type."""
        return {"qint8": "torch.quantized.QInt8Tensor", "quint8": "torch.quantized.QUInt8Tensor"}.get(self._dtype.name, "torch.quantized.QInt32Tensor")

    def requires_grad_(self, requires_grad: bool = True) -> QuantizedTensor:
        """The tensor itself. RuntimeError when gradients are asked for: there are none by integers."""
        if requires_grad:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        return self

    def numpy(self, *, force: bool = False) -> Any:
        """TypeError: numpy has no such numbers."""
        raise TypeError(f"Got unsupported ScalarType {self.type().rpartition('.')[2].removesuffix('Tensor')}")

    def item(self) -> float:
        """The only element as the number it stands for."""
        if self.numel() != 1:
            raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        return self.dequantize().item()

    def __repr__(self, *, tensor_contents: object = None) -> str:
        from ..printing import show_quantized

        return show_quantized(self)

    # -- memory

    def detach(self) -> QuantizedTensor:
        """The tensor itself: it has no history."""
        return self

    detach_ = detach

    def to(self, *args: Any, **options: Any) -> QuantizedTensor:
        """On another device. RuntimeError for another dtype: ``dequantize`` gives numbers."""
        kinds = [a for a in (*args, options.pop("dtype", None)) if a is not None and not isinstance(a, (str, device, bool, int))]
        if any(kind is not self._dtype for kind in kinds):
            raise RuntimeError("Creation of quantized tensor requires quantized dtype like torch.quint8")
        return self._with(self._integers.to(*[a for a in args if a not in kinds], **options))

    def copy_(self, src: Tensor, non_blocking: bool = False) -> QuantizedTensor:
        """Takes over the elements of another tensor: as they are if it is quantized, else quantized as this one is."""
        if not isinstance(src, QuantizedTensor):
            from .quantizing import quantized

            self._integers.copy_(quantized(src.to(float32), self._quantizer, self._dtype)._integers)
            return self
        if src._dtype is not self._dtype:
            raise RuntimeError("Quantized copy only works with Tensors of the same dtype")
        self._integers.copy_(src._integers)
        self._quantizer = src._quantizer
        return self

    def equal(self, other: Tensor) -> bool:
        """Whether both are the same integers with the same meaning."""
        if not isinstance(other, QuantizedTensor):
            raise RuntimeError("Expected all tensors to be quantized")
        same = self._dtype is other._dtype and self._quantizer.equals(other._quantizer)
        return same and self._integers.equal(other._integers)

    def __copy__(self) -> QuantizedTensor:
        return self._with(self._integers)

    def __deepcopy__(self, memo: dict) -> QuantizedTensor:
        if id(self) not in memo:
            parts = [p.__deepcopy__(memo) if isinstance(p, Tensor) else p for p in self._quantizer]
            memo[id(self)] = QuantizedTensor(self._integers.__deepcopy__(memo), self._dtype, Quantizer(*parts))
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple:
        return QuantizedTensor, (self._integers, self._dtype, self._quantizer)

    def stride(self, dim: int | None = None) -> Any:
        return self._integers.stride(dim)

    def data_ptr(self) -> int:
        return self._integers.data_ptr()


def _of_integers(name: str) -> Callable[..., Any]:
    """A method that asks the integers."""

    def method(self: QuantizedTensor, *args: Any, **options: Any) -> Any:
        return getattr(self._integers, name)(*args, **options)

    method.__name__, method.__doc__ = name, getattr(Tensor, name).__doc__
    return method


def _moves(name: str) -> Callable[..., Any]:
    """A method that only moves elements. QuantizedError where that would move channels away from their scales."""

    def method(self: QuantizedTensor, *args: Any, **options: Any) -> QuantizedTensor:
        if self._quantizer.axis >= 0 and name not in _KEEP:
            self._refuse()
        return self._with(getattr(self._integers, name)(*args, **options))

    method.__name__ = name
    return method


_KEEP = ("clone", "contiguous", "cpu", "cuda")
MOVES = (
    *_KEEP, "view", "reshape", "permute", "transpose", "t", "flatten", "squeeze", "unsqueeze", "select", "narrow", "expand",
    "expand_as", "view_as", "reshape_as", "__getitem__", "index_select", "flip", "movedim", "unflatten",
)  # fmt: skip
"""Operations that only move elements, by name: methods, and functions where PyTorch has such."""
for _name in ("size", "dim", "ndimension", "numel", "nelement", "element_size", "__len__", "storage_offset", "is_contiguous", "get_device"):
    setattr(QuantizedTensor, _name, _of_integers(_name))
QuantizedTensor.nbytes = property(lambda self: self._integers.nbytes)  # type: ignore[assignment]
for _name in MOVES:
    setattr(QuantizedTensor, _name, _moves(_name))


def check_quantized(input: Tensor, name: str) -> QuantizedTensor:
    """The tensor, if it is quantized; NotImplementedError for tensors of numbers."""
    if not isinstance(input, QuantizedTensor):
        raise QuantizedError(
            f"{name} is for quantized tensors", [("tensor", show_type(input._read().type), input._node.origin)],
            at=source_line(origin()), help="torch.quantize_per_tensor(x, scale, zero_point, torch.quint8) makes one",
        )  # fmt: skip
    return input
