"""Sparse matrices by compressed rows: where each row begins, the column of each value, and the values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dialects.types import int64
from ..conversion import converted
from ..creation import tensor as dense_tensor
from ..tensor import Tensor
from ..traits import SPARSE
from . import places
from .coordinates import SparseTensor
from .tensor import Sparse, field


class SparseRows(Sparse):
    """Fields besides those of every sparse tensor: _begins [rows + 1], _columns [nnz]."""

    __slots__ = ("_begins", "_columns")
    is_sparse = False
    is_sparse_csr = True
    layout = SPARSE[1]

    def __new__(cls, begins: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, ...]) -> SparseRows:
        """Of parts that fit."""
        made = object.__new__(cls)
        made._begins, made._columns, made._held, made._shape = begins, columns, values, tuple(shape)
        return made

    def _with(self, values: Tensor) -> SparseRows:
        return SparseRows(self._begins, self._columns, values, self._shape)

    def crow_indices(self) -> Tensor:
        """Where each row's values begin, and where the last's end: [rows + 1]."""
        return self._begins

    def col_indices(self) -> Tensor:
        """The column of each value."""
        return self._columns

    def values(self) -> Tensor:
        """The values, row by row."""
        return self._held

    def to_sparse(self, *_: Any, **__: Any) -> SparseTensor:
        """By coordinates."""
        begins = places.on_host(self._begins)
        rows = np.repeat(np.arange(len(begins) - 1), np.diff(begins))
        return SparseTensor(places.as_tensor(np.stack([rows, places.on_host(self._columns)])), self._held, self._shape, True)

    to_sparse_coo = to_sparse

    def to_sparse_csr(self, dense_dim: Any = None) -> SparseRows:
        """The tensor itself."""
        return self

    def to_dense(self, dtype: Any = None, *, masked_grad: Any = None) -> Tensor:
        """All elements, those that are not kept 0."""
        return self.to_sparse().to_dense(dtype)

    def __mul__(self, other: Any) -> SparseRows:
        if isinstance(other, Tensor) and (isinstance(other, Sparse) or other.dim()):
            return (self.to_sparse() * (other.to_sparse() if isinstance(other, SparseRows) else other)).to_sparse_csr()
        return self._with(self._held * other)

    mul = __rmul__ = __mul__

    def __add__(self, other: Any) -> SparseRows:
        return (self.to_sparse() + (other.to_sparse() if isinstance(other, SparseRows) else other)).to_sparse_csr()

    add = __add__

    def __matmul__(self, other: Any) -> Any:
        found = self.to_sparse() @ (other.to_sparse() if isinstance(other, SparseRows) else other)
        return found.to_sparse_csr() if isinstance(found, SparseTensor) else found

    mm = matmul = __matmul__

    def sum(self, dim: Any = None, keepdim: bool = False) -> Any:
        """All values added up."""
        return self._held.sum() if dim is None else self._refuse()

    def _fields(self) -> str:
        return ",\n       ".join([field("crow_indices", self._begins), field("col_indices", self._columns), field("values", self._held)])


def rows_of(input: SparseTensor) -> SparseRows:
    """A coalesced matrix by compressed rows."""
    if input.dim() != 2 or input.sparse_dim() != 2:
        raise RuntimeError("to_sparse_csr needs a matrix without dense dimensions")
    rows, columns = places.on_host(input._at)
    begins = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=input._shape[0]))])
    return SparseRows(places.as_tensor(begins), places.as_tensor(columns), input._held, input._shape)


def sparse_csr_tensor(
    crow_indices: Any, col_indices: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False, check_invariants: bool | None = None,
) -> SparseRows:  # fmt: skip
    """A matrix of compressed rows. RuntimeError where the parts do not fit."""
    begins, columns = (converted(x if isinstance(x, Tensor) else dense_tensor(x), int64) for x in (crow_indices, col_indices))
    found = values if isinstance(values, Tensor) else dense_tensor(values)
    found = found if dtype is None else converted(found, dtype)
    at, across = places.on_host(begins), places.on_host(columns)
    shape = tuple(size) if size is not None else (len(at) - 1, int(across.max(initial=-1)) + 1)
    if len(at) != shape[0] + 1:
        raise RuntimeError(f"crow_indices.shape[-1] must be equal to size[-2] + 1 (that is {shape[0] + 1}), but got {len(at)}")
    if len(across) != found.shape[0] or at[0] or at[-1] != len(across) or (np.diff(at) < 0).any():
        raise RuntimeError("crow_indices must rise from 0 to the number of values, and there must be a column for each value")
    places.checked(across[None], shape[1:])
    return SparseRows(begins, columns, found.detach().requires_grad_() if requires_grad else found, shape)
