"""Plain pickles: tensors in what a program wrote with Python's own pickle under PyTorch, by the functions such a file names."""

from __future__ import annotations

import io
from typing import Any

from ...dialects.errors import FileError
from ..tensor import Tensor
from .records import StorageRecord, TensorRecord
from .serialization import Loader, load

__all__: list[str] = []  # PyTorch's names begin with an underscore: pickles hold them


class _PickledStorage:
    """A storage out of a pickle, and what makes tensors of it."""

    def __init__(self, record: StorageRecord) -> None:
        self.record, self.loader = record, Loader(None)


def _load_from_bytes(b: bytes) -> Any:
    """A storage as PyTorch pickles it: a checkpoint of the old format within the pickle. FileError where it is none."""
    found = load(io.BytesIO(b))
    return _PickledStorage(found) if isinstance(found, StorageRecord) else found


def _rebuild_tensor_v2(
    storage: Any, storage_offset: int, size: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool = False,
    backward_hooks: Any = None, metadata: Any = None,
) -> Tensor:  # fmt: skip
    """The tensor a pickle describes. FileError for one that leaves its storage."""
    if not isinstance(storage, _PickledStorage):
        raise FileError("a pickled tensor has no storage of this pickle", help="the file is damaged or was made by hand")
    record = TensorRecord(storage.record, storage_offset, tuple(size), tuple(stride), bool(requires_grad))
    record.check("the pickle")
    return storage.loader.tensor(record)


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Any:
    from ..nn.parameter import Parameter

    return Parameter(data, requires_grad)
