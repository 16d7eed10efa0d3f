"""Sparse tensors by coordinates: indices [sparse dims, nnz] and values [nnz, *dense dims]; equal indices add up."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dialects.types import int64
from ..conversion import converted
from ..creation import tensor as dense_tensor
from ..definitions import define
from ..tensor import Tensor, dimension
from ..traits import SPARSE
from . import places
from .tensor import Sparse, field


class SparseTensor(Sparse):
    """Fields besides those of every sparse tensor: _at; _coalesced: whether indices are in order, each once."""

    __slots__ = ("_at", "_coalesced")
    is_sparse = True
    layout = SPARSE[0]

    def __new__(cls, indices: Tensor, values: Tensor, shape: tuple[int, ...], coalesced: bool = False) -> SparseTensor:
        """Of indices and values that fit."""
        made = object.__new__(cls)
        made._at, made._held, made._shape, made._coalesced = indices, values, tuple(shape), coalesced
        return made

    def _with(self, values: Tensor) -> SparseTensor:
        return SparseTensor(self._at, values, self._shape, self._coalesced)

    # -- its parts

    def sparse_dim(self) -> int:
        """How many dimensions have indices."""
        return self._at.shape[0]

    def dense_dim(self) -> int:
        """How many dimensions values have."""
        return self._held.dim() - 1

    def is_coalesced(self) -> bool:
        """Whether indices are in order, each once."""
        return self._coalesced

    def indices(self) -> Tensor:
        """[sparse dims, nnz]. RuntimeError before `coalesce`."""
        if not self._coalesced:
            raise RuntimeError("Cannot get indices on an uncoalesced tensor, please call .coalesce() first")
        return self._at

    def values(self) -> Tensor:
        """[nnz, *dense dims]. RuntimeError before `coalesce`."""
        if not self._coalesced:
            raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")
        return self._held

    def _indices(self) -> Tensor:
        """[sparse dims, nnz], in order or not."""
        return self._at

    def _values(self) -> Tensor:
        """[nnz, *dense dims], whose indices may be equal."""
        return self._held

    def coalesce(self) -> SparseTensor:
        """Indices in order, each once: values with equal indices are added up."""
        if self._coalesced:
            return self
        over = self._shape[: self.sparse_dim()]
        found, which = np.unique(places.in_row(places.on_host(self._at), over), return_inverse=True)
        values = places.summed(self._held, which.reshape(-1), len(found))
        return SparseTensor(places.as_tensor(places.apart(found, over)), values, self._shape, True)

    # -- other forms

    def to_dense(self, dtype: Any = None, *, masked_grad: Any = None) -> Tensor:
        """All elements, those that are not kept 0."""
        over = self._shape[: self.sparse_dim()]
        flat = places.summed(self._held, places.in_row(places.on_host(self._at), over), places.count_of(over))
        found = flat.reshape(self._shape)
        return found if dtype is None else converted(found, dtype)

    def to_sparse(self, *_: Any, **__: Any) -> SparseTensor:
        """The tensor itself."""
        return self

    def to_sparse_csr(self, dense_dim: Any = None) -> Any:
        """By compressed rows: of two dimensions."""
        from .rows import rows_of

        return rows_of(self.coalesce())

    def transpose(self, dim0: int, dim1: int) -> SparseTensor:
        """Two sparse dimensions exchanged."""
        a, b = (dimension(d, self.dim()) for d in (dim0, dim1))
        if max(a, b) >= self.sparse_dim():
            self._refuse()
        order = list(range(self.dim()))
        order[a], order[b] = order[b], order[a]
        rows = self._at[[*order[: self.sparse_dim()]]]
        return SparseTensor(rows, self._held, tuple(self._shape[d] for d in order), a == b and self._coalesced)

    def t(self) -> SparseTensor:
        """A matrix, its dimensions exchanged."""
        return self.transpose(0, 1) if self.dim() == 2 else self

    T = property(t)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, int):
            return self._refuse()
        return select(self, 0, key)

    # -- beside dense tensors, and as gradients

    def _places(self) -> Tensor:
        """Where the values belong in a tensor whose sparse dimensions are one, int64[nnz]."""
        if self.sparse_dim() == 1:
            return self._at[0]
        return places.as_tensor(places.in_row(places.on_host(self._at), self._shape[: self.sparse_dim()]))

    def _in_rows(self, dense: Tensor) -> Tensor:
        """A dense tensor of this shape, its first dimensions as those of `_places`."""
        if dense.shape != self.shape:
            raise RuntimeError(f"sizes do not match: {list(dense.shape)} and {list(self._shape)} of the sparse tensor")
        return dense if self.sparse_dim() == 1 else dense.reshape(places.count_of(self._shape[: self.sparse_dim()]), *self._held.shape[1:])

    def _out_of(self, dense: Tensor) -> Tensor:
        """The values of a dense tensor at these places, [nnz, *dense dims]."""
        return self._in_rows(dense).index_select(0, self._places())

    def _onto(self, dense: Tensor, alpha: Any = 1) -> Tensor:
        """``dense + alpha * self``: only rows that are kept are touched."""
        values = self._held if isinstance(alpha, (int, float)) and alpha == 1 else self._held * alpha
        return self._in_rows(dense).index_add(0, self._places(), values).reshape(dense.shape)

    def _beside(self, other: SparseTensor) -> SparseTensor:
        """The sum, as gradients add up: values of equal indices in equal order are added, others kept one after the other."""
        from ..joining import cat

        mine, theirs = places.on_host(self._at), places.on_host(other._at)
        if np.array_equal(mine, theirs):
            return SparseTensor(self._at, self._held + other._held, self._shape, self._coalesced and other._coalesced)
        return SparseTensor(cat([self._at, other._at], 1), cat([self._held, other._held]), self._shape)

    def _become(self, other: SparseTensor) -> SparseTensor:
        """Written into: what another one keeps is kept here."""
        self._at, self._held, self._coalesced = other._at, other._held, other._coalesced
        return self

    def zero_(self) -> SparseTensor:
        """Keep nothing any more."""
        nothing = self._held.detach()[:0]
        return self._become(SparseTensor(self._at[:, :0], nothing, self._shape, self._coalesced))

    def mul_(self, other: Any) -> SparseTensor:
        """``mul``, written into this tensor."""
        return self._become(self * other)

    def div_(self, other: Any) -> SparseTensor:
        """``div``, written into this tensor."""
        return self._become(self / other)

    def add_(self, other: SparseTensor, *, alpha: Any = 1) -> SparseTensor:
        """``add``, written into this tensor."""
        return self._become(self.add(other, alpha=alpha))

    def norm(self, p: Any = "fro") -> Tensor:
        """The norm of all elements, those that are not kept 0."""
        return self.coalesce()._held.norm(p)

    # -- arithmetic

    def __add__(self, other: Any) -> SparseTensor:
        if not isinstance(other, SparseTensor):
            if isinstance(other, Tensor):
                raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
            return self._refuse()
        if self._shape != other._shape:
            raise RuntimeError(
                f"add: expected sizes of 'self' and 'other' to match, but {list(self._shape)} != {list(other._shape)}"
            )
        from ..joining import cat

        values = cat([self._held, other._held])
        both = SparseTensor(cat([self._at, other._at], 1), values, self._shape)
        return both.coalesce()

    def add(self, other: Any, *, alpha: Any = 1) -> SparseTensor:
        """``self + alpha * other``."""
        return self + (other if alpha == 1 else other * alpha)

    def __sub__(self, other: Any) -> SparseTensor:
        return self + -other

    sub = __sub__

    def __radd__(self, other: Any) -> Any:
        return other + self.to_dense() if isinstance(other, Tensor) else self._refuse()

    def __rsub__(self, other: Any) -> Any:
        return other - self.to_dense() if isinstance(other, Tensor) else self._refuse()

    def __mul__(self, other: Any) -> SparseTensor:
        if not isinstance(other, Tensor) or not isinstance(other, Sparse) and not other.dim():
            return self._with(self._held * other)
        if not isinstance(other, SparseTensor):
            mine = self.coalesce()
            at = tuple(mine._at[d] for d in range(mine.sparse_dim()))
            return mine._with(mine._held * other.expand(self._shape)[at])
        a, b = self.coalesce(), other.coalesce()
        over = self._shape[: a.sparse_dim()]
        rows = [places.in_row(places.on_host(t._at), over) for t in (a, b)]
        found, first, second = np.intersect1d(*rows, assume_unique=True, return_indices=True)
        values = a._held[places.as_tensor(first)] * b._held[places.as_tensor(second)]
        return SparseTensor(places.as_tensor(places.apart(found, over)), values, self._shape, True)

    mul = __rmul__ = __mul__

    def __matmul__(self, other: Any) -> Any:
        from .operations import mm

        return mm(self, other)

    mm = matmul = spmm = __matmul__

    def __rmatmul__(self, other: Tensor) -> Tensor:
        from .operations import mm

        return mm(self.t(), other.t()).t()

    def sum(self, dim: Any = None, keepdim: bool = False) -> Any:
        """`torch.sparse.sum`."""
        from .operations import sum as total

        return total(self, dim)

    def _fields(self) -> str:
        return f"{field('indices', self._at)},\n       {field('values', self._held)}"


def sparse_mask(input: Tensor, mask: SparseTensor) -> SparseTensor:
    """The elements of a dense tensor that ``mask`` keeps. RuntimeError for another shape."""
    if not isinstance(mask, SparseTensor):
        raise RuntimeError("sparse_mask expected sparse coordinate tensor as mask")
    if input.shape != mask.shape:
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size {list(input.shape)} but mask has size {list(mask.shape)}"
        )
    return mask._with(mask._out_of(input))


define("sparse_mask", function=False)(sparse_mask)


def select(input: SparseTensor, dim: int, index: int) -> Any:
    """One index of a sparse dimension: IndexError where there is none."""
    n = input._shape[dim]
    if not -n <= index < n:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(input._shape)} at dimension {dim}")
    rows = places.on_host(input._at)
    kept = np.flatnonzero(rows[dim] == index % n)
    values, shape = input._held[places.as_tensor(kept)], (*input._shape[:dim], *input._shape[dim + 1 :])
    if len(rows) == 1:
        return values.sum(0)
    return SparseTensor(places.as_tensor(np.delete(rows[:, kept], dim, 0)), values, shape, input._coalesced)


def sparse_coo_tensor(
    indices: Any, values: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False, check_invariants: bool | None = None, is_coalesced: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """A sparse tensor of indices [sparse dims, nnz] and values [nnz, *dense dims]; with a size alone one that keeps nothing.

    RuntimeError where they do not fit. Indices are looked at, always.
    """
    if values is None and size is None:
        shape = tuple(indices)
        return SparseTensor(places.as_tensor(np.zeros((len(shape), 0), np.int64)), dense_tensor([], dtype=dtype), shape, True)
    at = indices if isinstance(indices, Tensor) else dense_tensor(indices if not _is_empty(indices) else np.zeros((len(indices), 0), np.int64))
    at = converted(at, int64)
    found = values if isinstance(values, Tensor) else dense_tensor(values)
    found = found if dtype is None else converted(found, dtype)
    found = found if device is None else found.to(device)
    if at.dim() != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(at.shape)}")
    if not found.dim():
        found = found.expand(at.shape[1])
    if at.shape[1] != found.shape[0]:
        raise RuntimeError(f"indices and values must have same nnz, but got nnz from indices: {at.shape[1]}, nnz from values: {found.shape[0]}")
    rows = places.on_host(at)
    shape = tuple(size) if size is not None else (*(int(r.max(initial=-1)) + 1 for r in rows), *found.shape[1:])
    if len(shape) != len(rows) + found.dim() - 1:
        raise RuntimeError(
            f"number of dimensions must be sparse_dim ({len(rows)}) + dense_dim ({found.dim() - 1}), but got {len(shape)}"
        )
    places.checked(rows, shape[: len(rows)])
    made = SparseTensor(at, found, shape, bool(is_coalesced))
    if requires_grad:
        made._held = found.detach().requires_grad_()
    return made


def _is_empty(indices: Any) -> bool:
    return isinstance(indices, (list, tuple)) and bool(indices) and all(isinstance(row, (list, tuple)) and not row for row in indices)


@define("to_sparse", function=False)
def to_sparse(input: Tensor, sparse_dim: Any = None, *, layout: Any = None, **_: Any) -> Any:
    """The elements that are not 0, in order. sparse_dim: of the first dimensions; the others stay dense in the values.

    Gradients reach the elements that are kept.
    """
    if layout is SPARSE[1]:
        return to_sparse_csr(input)
    dims = input.dim() if sparse_dim is None else sparse_dim
    rest = tuple(range(dims, input.dim()))
    at = (input != 0).any(rest) if len(rest) == 1 else (input != 0) if not rest else (input != 0).flatten(dims).any(dims)
    rows = np.stack(np.nonzero(np.asarray(at._value()))).astype(np.int64)
    indices = places.as_tensor(rows)
    values = input[tuple(indices[d] for d in range(dims))] if dims else input.reshape(1, *input.shape)
    return SparseTensor(indices, values, tuple(input.shape), True)


@define("to_sparse_csr", function=False)
def to_sparse_csr(input: Tensor, dense_dim: Any = None) -> Any:
    """A matrix by compressed rows."""
    return to_sparse(input).to_sparse_csr()


def _only_sparse(name: str) -> None:
    def refuse(input: Tensor) -> Any:
        raise RuntimeError(f"{name} expected sparse coordinate tensor layout but got Strided")

    refuse.__doc__ = f"``{name}`` of a dense tensor: RuntimeError."
    define(name, function=False)(refuse)


for _name in ("coalesce", "indices", "values", "is_coalesced"):
    _only_sparse(_name)
