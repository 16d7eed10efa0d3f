"""Traits: what a tensor is and where it is, by PyTorch's many names; memory formats and the storage behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dialects.types import DType
from . import creation
from .assignment import check_in_place
from .definitions import define
from .overrides import classes_off
from .storage import Storage
from .tensor import Tensor, from_storage

# -- names of layouts and orders ------------------------------------------------------------------------------


class _Word:
    """One of PyTorch's named constants; compared by identity."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


class layout(_Word):
    """How elements are stored; only ``torch.strided`` exists here."""


class memory_format(_Word):
    """In which order dimensions lie in memory. Compiled programs choose it themselves."""


strided = layout("strided")
SPARSE = tuple(layout(name) for name in ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged"))  # what no tensor of ours has
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")
Tensor.layout = strided  # type: ignore[assignment]  # a plain attribute of the class


# -- yes and no -----------------------------------------------------------------------------------------------

for _name in (
    "is_sparse_csr", "is_xla", "is_mps", "is_xpu", "is_ipu", "is_maia", "is_mtia", "is_vulkan", "is_ort", "is_hpu",
):  # fmt: skip
    setattr(Tensor, _name, False)
Tensor.is_cpu = property(lambda self: self.device.type == "cpu")


@define("is_same_size")
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether both have one shape."""
    return input.shape == other.shape


@define("is_nonzero")
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero. RuntimeError when there are several."""
    if input.numel() != 1:
        words = "no values" if not input.numel() else "more than one value"
        raise RuntimeError(f"Boolean value of Tensor with {words} is ambiguous")
    return bool(input)


@define("is_signed")
def is_signed(input: Tensor) -> bool:
    """True when the dtype has negative numbers."""
    return input.dtype.is_signed


@define("is_inference")
def is_inference(input: Tensor) -> bool:
    """True for a tensor that was made in inference mode."""
    return input._storage.inference


@define("is_distributed")
def is_distributed(input: Tensor) -> bool:
    """False: no tensor is part of a distributed one."""
    return False


@define("detach", method=False)
def detach(input: Tensor) -> Tensor:
    """The same memory without history."""
    return input.detach()


@define("detach_", method=False)
def detach_(input: Tensor) -> Tensor:
    """Drops the history of this very tensor."""
    return input.detach_()


@define("get_device", method=False)
def get_device(input: Tensor) -> int:
    """Number of the GPU a tensor is on, -1 on the CPU."""
    return input.get_device()


def dim_order(self: Tensor, ambiguity_check: Any = False) -> tuple[int, ...]:
    """Dimensions from the outermost to the innermost in memory."""
    return tuple(sorted(range(self.dim()), key=lambda d: -self.stride(d)))


def to_dense(self: Tensor, dtype: DType | None = None, *, masked_grad: Any = None) -> Tensor:
    """The tensor itself: it is dense."""
    return self if dtype is None else self.to(dtype)


def sparse_dim(self: Tensor) -> int:
    """How many dimensions have indices: none of a dense tensor."""
    return 0


def dense_dim(self: Tensor) -> int:
    """How many dimensions are dense: all."""
    return self.dim()


def as_subclass(self: Tensor, cls: type) -> Any:
    """A ``cls`` on the same memory, with the same history. TypeError for what is no class of tensors."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass(): argument 'cls' must be a subclass of Tensor, got {cls!r}")
    with classes_off():
        seen = self.view(self.shape)
    if cls is Tensor:
        return seen
    made = object.__new__(cls)
    made.__dict__.update(seen.__dict__)
    made._storage, made._chain, made._node, made._seen = seen._storage, seen._chain, seen._node, seen._seen
    return made


def resize(self: Tensor, *sizes: Any) -> Tensor:
    """``view``, under a name that is going away."""
    return self.view(*sizes)


def new_empty_strided(self: Tensor, size: Any, stride: Any, *, dtype: DType | None = None, **options: Any) -> Tensor:
    """``torch.empty_strided`` in this dtype."""
    return creation.empty_strided(size, stride, dtype=dtype or self.dtype, **options)


def map_(self: Tensor, other: Tensor, function: Any) -> Tensor:
    """Every element replaced by ``function(element, other element)``, in Python."""
    check_in_place(self)
    a, b = np.broadcast_arrays(self._value(), other._value())
    found = np.vectorize(function, otypes=[self.dtype.numpy])(a, b)
    return self.copy_(creation.of_array(np.asarray(found)))


def map2_(self: Tensor, x: Tensor, y: Tensor, function: Any) -> Tensor:
    """Every element replaced by ``function`` of it and of those of two more tensors, in Python."""
    check_in_place(self)
    a, b, c = np.broadcast_arrays(self._value(), x._value(), y._value())
    found = np.vectorize(function, otypes=[self.dtype.numpy])(a, b, c)
    return self.copy_(creation.of_array(np.asarray(found)))


def __delitem__(self: Tensor, index: Any) -> None:
    """TypeError: tensors do not lose elements."""
    raise TypeError("Tensor does not support deleting items")


def hardshrink(self: Tensor, lambd: float = 0.5) -> Tensor:
    """``nn.functional.hardshrink``."""
    from .nn.functional import hardshrink as apply

    return apply(self, lambd)


def prelu(self: Tensor, weight: Tensor) -> Tensor:
    """``nn.functional.prelu``."""
    from .nn.functional import prelu as apply

    return apply(self, weight)


def resize_as(self: Tensor, other: Tensor) -> Tensor:
    """``view``, under a name that is going away."""
    return self.view(other.shape)


for _function in (hardshrink, prelu, resize_as, dim_order, to_dense, as_subclass, resize, new_empty_strided, map_, map2_, __delitem__, sparse_dim, dense_dim):
    setattr(Tensor, _function.__name__, _function)
Tensor.const_data_ptr = Tensor.data_ptr
Tensor.__long__ = Tensor.__int__
Tensor.__nonzero__ = Tensor.__bool__


def typename(obj: Any) -> str:
    """``torch.FloatTensor`` for tensors, the qualified class name for all else."""
    if isinstance(obj, Tensor):
        return obj.type()
    cls = obj if isinstance(obj, type) else type(obj)
    module = cls.__module__
    return cls.__qualname__ if module in (None, "builtins") else f"{module}.{cls.__qualname__}"


