"""What torch.sparse computes: products, sums and softmax over what is kept, by gathering and adding up in a fixed order."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..creation import full
from ..known_calls import in_front
from ..tensor import Tensor, dimension
from . import places
from .coordinates import SparseTensor, sparse_coo_tensor
from .rows import SparseRows, sparse_csr_tensor
from .tensor import Sparse


def mm(mat1: Any, mat2: Any, reduce: str | None = None) -> Any:
    """A sparse matrix times a dense one or a vector (dense), or times a sparse one (sparse). RuntimeError for sizes that do not fit."""
    if isinstance(mat1, SparseRows):
        return mat1 @ mat2
    if not isinstance(mat1, SparseTensor):
        return mat1 @ mat2
    if mat1.dim() != 2 or mat2.dim() not in (1, 2):
        mat1._refuse()
    if mat1.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({'x'.join(map(str, mat1.shape))} and {'x'.join(map(str, mat2.shape))})"
        )
    if isinstance(mat2, Sparse):
        return _of_both(mat1.coalesce(), mat2.to_sparse().coalesce())
    rows, columns = mat1._at[0], mat1._at[1]
    parts = mat2.index_select(0, columns)
    parts = parts * (mat1._held if mat2.dim() == 1 else mat1._held.unsqueeze(1))
    return parts.new_zeros((mat1.shape[0], *mat2.shape[1:])).index_add(0, rows, parts)


def _of_both(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """Each element of ``a`` meets those of its row of ``b``."""
    (rows, columns), (below, across) = places.on_host(a._at), places.on_host(b._at)
    first, last = np.searchsorted(below, columns, "left"), np.searchsorted(below, columns, "right")
    left = np.repeat(np.arange(len(rows)), last - first)
    steps = np.arange(len(left)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    right = first[left] + steps
    values = a._held[places.as_tensor(left)] * b._held[places.as_tensor(right)]
    return SparseTensor(places.as_tensor(np.stack([rows[left], across[right]])), values, (a.shape[0], b.shape[1])).coalesce()


def addmm(mat: Tensor, mat1: Any, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * mat + alpha * (mat1 @ mat2)``."""
    return mat * beta + mm(mat1, mat2) * alpha


def sum(input: Any, dim: Any = None, dtype: Any = None) -> Any:
    """Of all elements (a number), or over dimensions: sparse while a sparse dimension is left, else dense."""
    input = input if dtype is None else input.to(dtype)
    if dim is None:
        return input._held.sum()
    gone = {dimension(d, input.dim()) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))}
    over = input.sparse_dim()
    dense = [d - over + 1 for d in gone if d >= over]
    values = input._held.sum(dense) if dense else input._held
    left = [d for d in range(over) if d not in gone]
    shape = tuple(n for d, n in enumerate(input.shape) if d not in gone)
    if not left:
        return values.sum(0)
    return SparseTensor(input._at[left], values, shape, input._coalesced and len(left) == over).coalesce()


def _groups(input: SparseTensor, dim: int) -> tuple[np.ndarray, int]:
    rows = np.delete(places.on_host(input._at), dim, 0)
    found, which = np.unique(places.in_row(rows, tuple(n for d, n in enumerate(input.shape[: input.sparse_dim()]) if d != dim)), return_inverse=True)
    return which.reshape(-1), len(found)


def _exponentials(input: SparseTensor, dim: int) -> tuple[SparseTensor, Tensor, Tensor, Tensor]:
    kept = input.coalesce()
    which, count = _groups(kept, dimension(dim, input.dim()))
    at, values = places.as_tensor(which), kept._held
    index = at.reshape(-1, *[1] * (values.dim() - 1)).expand(values.shape)
    most = full((count, *values.shape[1:]), -np.inf, dtype=values.dtype).scatter_reduce(0, index, values.detach(), "amax")
    lower = values - most.index_select(0, at)
    total = places.summed(lower.exp(), which, count).index_select(0, at)
    return kept, lower, total, at


def softmax(input: SparseTensor, dim: int, *, dtype: Any = None) -> SparseTensor:
    """Softmax along a sparse dimension, of what is kept alone: the rest counts as minus infinity."""
    kept, lower, total, _ = _exponentials(input if dtype is None else input.to(dtype), dim)
    return kept._with(lower.exp() / total)


def log_softmax(input: SparseTensor, dim: int, *, dtype: Any = None) -> SparseTensor:
    """Its logarithm, more exact."""
    kept, lower, total, _ = _exponentials(input if dtype is None else input.to(dtype), dim)
    return kept._with(lower - total.log())


_SHARED = "mm matmul add sub mul div neg t transpose sum abs sqrt pow clone detach is_floating_point numel".split()


def with_sparse_forms(functions: dict[str, Any]) -> dict[str, Any]:
    """Public functions that take sparse tensors, too, and those that make them."""
    found = {name: _either(functions[name], name) for name in _SHARED if name in functions}
    return found | {"sparse_coo_tensor": sparse_coo_tensor, "sparse_csr_tensor": sparse_csr_tensor, "smm": mm, "spmm": mm, "hspmm": mm}


def _either(dense: Callable, name: str) -> Callable:
    @wraps(dense)
    def public(*args: Any, **options: Any) -> Any:
        if args and type(args[0]) is not Tensor and isinstance(args[0], Sparse):
            return getattr(args[0], name)(*args[1:], **options)
        if len(args) > 1 and type(args[1]) is not Tensor and isinstance(args[1], Sparse):
            return _BESIDE[name](*args) if name in _BESIDE else args[1]._refuse()
        return dense(*args, **options)

    return in_front(public, dense)


_BESIDE: dict[str, Callable] = {
    "add": lambda a, b: a + b.to_dense(), "sub": lambda a, b: a - b.to_dense(), "mul": lambda a, b: b * a,
    "mm": lambda a, b: b.__rmatmul__(a), "matmul": lambda a, b: b.__rmatmul__(a),
}  # fmt: skip
