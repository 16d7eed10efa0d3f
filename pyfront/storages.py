"""Storages as programs see them: the bytes behind a tensor, the elements behind it, and files as memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dialects.types import DType
from . import creation
from .storage import Storage
from .overrides import disabled
from .tensor import Tensor, from_storage, wrap


class UntypedStorage:
    """The bytes behind a tensor: how many, and where. Of a number: so many bytes of their own."""

    def __init__(self, storage: Storage | int = 0) -> None:
        self._storage = Storage(None, np.zeros(storage, np.uint8)) if isinstance(storage, int) else storage

    @property
    def _whole(self) -> Tensor:
        return from_storage(self._storage, ())

    def nbytes(self) -> int:
        """How many bytes there are."""
        return self._whole.numel() * self._whole.element_size()

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """The address of the first byte; computes the contents."""
        return self._whole.detach().data_ptr()

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return np.frombuffer(np.ascontiguousarray(self._whole.detach().cpu()._value()).tobytes(), np.uint8).tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)._of(self._bytes()[index])
        return self.tolist()[index]

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first bytes of a file as memory. shared: what is written goes to the file, which is made as long as that. Without it the file
        is not written, and tensors on the bytes have copies of their own. RuntimeError when the file is shorter, or is not there."""
        try:
            if shared and (not os.path.exists(filename) or os.path.getsize(filename) < nbytes):
                with open(filename, "ab") as file:
                    file.truncate(nbytes)
            array = np.asarray(np.memmap(filename, np.uint8, "r+" if shared else "r", shape=(int(nbytes),))) if nbytes else np.zeros(0, np.uint8)
        except (OSError, ValueError) as error:
            raise RuntimeError(f"unable to map {nbytes} bytes of the file <{os.fspath(filename)}>: {error}") from None
        return cls._of(array)

    @classmethod
    def _of(cls, array: np.ndarray) -> UntypedStorage:
        return UntypedStorage(Storage(None, array))

    def _bytes(self) -> np.ndarray:
        """The memory, which is shared from now on."""
        return self._storage.share().reshape(-1).view(np.uint8)

    def as_tensor(self) -> Tensor:
        """Its bytes: the memory itself, or a copy of a file that is not to be written."""
        array = self._bytes()
        return from_storage(Storage(None, array), ()) if array.flags.writeable else Bytes(array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self._storage is other._storage

    def __hash__(self) -> int:
        return hash(id(self._storage))

    def element_size(self) -> int:
        """1: bytes."""
        return 1

    def untyped(self) -> UntypedStorage:
        """The memory as bytes."""
        return UntypedStorage(self._storage)


class Bytes(Tensor):
    """Bytes of a file that is not to be written. Seen as another dtype they are memory of their own: nobody else sees what is written there."""

    __torch_function__ = classmethod(disabled)

    def __new__(cls, array: np.ndarray) -> Bytes:
        """A copy of the bytes."""
        return Tensor._make_subclass(cls, creation.of_array(np.array(array)))

    def view(self, *shape: Any, dtype: DType | None = None) -> Tensor:
        """The bytes under another shape, or as numbers of a dtype."""
        seen = super().view(*shape, dtype=dtype)  # type: ignore[misc]  # a method that `define` adds
        return seen if seen.dtype is self.dtype else wrap(seen._read())


class TypedStorage(UntypedStorage):
    """The elements behind a tensor, in a row."""

    def size(self) -> int:
        """How many elements there are."""
        return self._whole.numel()

    __len__ = size

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return self._whole.dtype

    def element_size(self) -> int:
        """Bytes per element."""
        return self._whole.element_size()

    def tolist(self) -> list[Any]:
        """The elements as numbers."""
        return self._whole.detach().cpu().reshape(-1).tolist()


Tensor.untyped_storage = lambda self: UntypedStorage(self._storage)
Tensor.storage = lambda self: TypedStorage(self._storage)


def is_storage(obj: Any) -> bool:
    """True for what ``tensor.storage()`` and ``tensor.untyped_storage()`` give."""
    return isinstance(obj, UntypedStorage)
