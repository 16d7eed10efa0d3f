"""Writing: methods that only exist in place (copy_, fill_, zero_, fill_diagonal_, set_, resize_)."""

from __future__ import annotations

from typing import Any

from . import recorder, views
from .assignment import check_in_place, store
from .definitions import define
from .indexing import fitted
from .promote import full, operand, untouched
from .shaping import sizes
from .storage import Storage
from .tensor import Tensor, _fill, wrap


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """The values of ``src``, converted and broadcast, in this tensor's memory."""
    check_in_place(self)
    start = recorder.state.order
    store(self, fitted(src, self), start, strict=False)
    return self


@define("fill", in_place=True)
def fill(input: Tensor, value: Any) -> Tensor:
    """All ``value``."""
    node = fitted(value, input) if isinstance(value, Tensor) else operand(value, *input._node.type)
    return wrap(node if node.requires_grad or not recorder.state.grad else untouched(node, input._read()))


@define("zero", in_place=True)
def zero(input: Tensor) -> Tensor:
    """All zero."""
    return fill(input, 0)


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """The diagonal set to a number."""
    self.diagonal().fill_(fill_value)
    return self


def set_(self: Tensor, source: Tensor) -> Tensor:
    """The memory of ``source``."""
    _fill(self, source._storage, source._chain)
    return self


def resize_(self: Tensor, *size: Any) -> Tensor:
    """Another shape; the elements that fit stay, in order."""
    shape = sizes(size)
    n = wrap(full(0, shape, self.dtype)).numel()
    flat = self.reshape(-1)
    if n > flat.numel():
        from .joining import cat

        flat = cat([flat, wrap(full(0, (n - flat.numel(),), self.dtype))])
    _fill(self, Storage(flat[:n].reshape(shape).clone()._read()), ())
    return self


def resize_as_(self: Tensor, other: Tensor) -> Tensor:
    """``resize_(other.shape)``."""
    return resize_(self, tuple(other.shape))


def as_strided(self: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """Any elements of the storage, as a copy."""
    import numpy as np

    from .indexing import getitem

    flat = self._flat_storage()
    offset = self.storage_offset() if storage_offset is None else storage_offset
    index = np.full((), offset, np.int64)
    for n, s in zip(size, stride, strict=True):
        index = index[..., None] + np.arange(n) * s
    from .creation import of_array

    return getitem(flat, of_array(np.ascontiguousarray(index)))


def _flat_storage(self: Tensor) -> Tensor:
    """All elements of the storage in a row."""
    kept = tuple([link for link in self._chain if isinstance(link, views.Mark)])
    from .tensor import from_storage

    whole = from_storage(self._storage, kept)
    return whole.reshape(whole.numel())


for _function in (
    copy_,
    fill_diagonal_,
    set_,
    resize_,
    resize_as_,
    as_strided,
    _flat_storage,
):
    setattr(Tensor, _function.__name__, _function)

define("as_strided", method=False)(as_strided)
define("resize_as_", method=False)(resize_as_)


def apply_(self: Tensor, function: Any) -> Tensor:
    """Every element replaced by ``function(element)``, in Python."""
    import numpy as np

    from .creation import of_array

    array = np.vectorize(function, otypes=[self.dtype.numpy])(self._value())
    return copy_(self, of_array(np.ascontiguousarray(array)))


Tensor.apply_ = apply_
