"""What a checkpoint holds, before any Tensor exists: storages as flat arrays and tensors as windows onto them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...dialects.errors import FileError
from ...dialects.types import DTYPES, DType, size_of
from ..quantization.dtypes import qint8, qint32, quint8

STORAGE_CLASSES: dict[str, DType] = {
    "DoubleStorage": DTYPES["float64"],
    "FloatStorage": DTYPES["float32"],
    "HalfStorage": DTYPES["float16"],
    "BFloat16Storage": DTYPES["bfloat16"],
    "LongStorage": DTYPES["int64"],
    "IntStorage": DTYPES["int32"],
    "ShortStorage": DTYPES["int16"],
    "CharStorage": DTYPES["int8"],
    "ByteStorage": DTYPES["uint8"],
    "BoolStorage": DTYPES["bool"],
    "ComplexFloatStorage": DTYPES["complex64"],
    "ComplexDoubleStorage": DTYPES["complex128"],
    "QInt8Storage": qint8,
    "QUInt8Storage": quint8,
    "QInt32Storage": qint32,
}
CLASS_OF_DTYPE = {dtype: name for name, dtype in STORAGE_CLASSES.items()}


class Named:
    """A global name met in a file that stands for data only (a storage class, a factory of Python's): nothing to call."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


@dataclass(frozen=True, eq=False)
class StorageRecord:
    """One flat buffer of a checkpoint; tensors that share memory name the same record. dtype: where the array's does not tell it."""

    key: str
    location: str
    data: np.ndarray  # 1-D
    dtype: DType | None = None

    @property
    def kind(self) -> str:
        """The class PyTorch calls such storages by."""
        return CLASS_OF_DTYPE[self.dtype or next(t for t in CLASS_OF_DTYPE if t.numpy == self.data.dtype)]


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """A strided window onto a storage, in elements. quantizer: (scheme, scale, zero point[, axis]) where the elements are quantized."""

    storage: StorageRecord
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    requires_grad: bool = False
    is_parameter: bool = False
    quantizer: tuple[Any, ...] | None = None

    def check(self, where: str) -> None:
        """FileError when the window leaves its storage."""
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        empty = 0 in self.shape
        if min((self.offset, *self.shape, *self.stride)) < 0 or (not empty and last >= self.storage.data.size):
            raise FileError(
                f"a tensor reaches outside its storage {self.storage.key!r}",
                facts=[
                    ("tensor", f"shape {list(self.shape)}, stride {list(self.stride)}, offset {self.offset}", where),
                    ("storage", f"{self.storage.data.size} elements of {self.storage.data.dtype}", ""),
                ],
                help="the file is damaged or was made by hand; save it again",
            )

    def array(self) -> np.ndarray:
        """The window as a numpy view of the storage."""
        if size_of(self.shape) == 0:
            return np.empty(self.shape, self.storage.data.dtype)
        step = self.storage.data.itemsize
        strides = tuple(s * step for s in self.stride)
        return np.lib.stride_tricks.as_strided(self.storage.data[self.offset :], self.shape, strides)

    @property
    def is_whole(self) -> bool:
        """True when the window is the whole storage in row-major order."""
        return self.offset == 0 and self.is_contiguous and size_of(self.shape) == self.storage.data.size

    @property
    def is_contiguous(self) -> bool:
        """True when elements lie in row-major order without gaps."""
        expected = 1
        for n, s in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if n != 1 and s != expected:
                return False
            expected *= n
        return True


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of a contiguous tensor."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)
