"""``torch.linalg``: norms and products (decompositions are not offered yet)."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from ..dialects.types import DType
from .linear_algebra import cross, matmul, outer  # noqa: F401  # public here too
from .reductions import vector_norm  # noqa: F401
from .tensor import Tensor, dimension


def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """A vector norm, or a matrix norm when two dimensions (or a matrix and an order) are given."""
    if dtype is not None:
        A = A.to(dtype)
    if isinstance(dim, (tuple, list)) and len(dim) == 2 and ord is not None:
        return matrix_norm(A, ord, dim, keepdim)
    if dim is None and ord is not None and A.dim() == 2:
        return matrix_norm(A, ord, (0, 1), keepdim)
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim)


def matrix_norm(
    A: Tensor,
    ord: Any = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Orders "fro", 1, -1, inf, -inf."""
    x = A if dtype is None else A.to(dtype)
    rows, columns = [dimension(d, x.dim()) for d in dim]
    if ord == "fro":
        return vector_norm(x, 2, (rows, columns), keepdim)
    if ord not in (1, -1, inf, -inf):
        raise NotImplementedError(
            f"linalg.matrix_norm: the order {ord!r} needs singular values, which are not offered yet"
        )
    summed, other = (rows, columns) if ord in (1, -1) else (columns, rows)
    sums = x.abs().sum(summed, keepdim=True)
    result = sums.amax(other, keepdim=True) if ord in (1, inf) else sums.amin(other, keepdim=True)
    return result if keepdim else result.squeeze((rows, columns))


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The dot product along a dimension."""
    return (x * y).sum(dim)


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices, from the left."""
    result = tensors[0]
    for t in tensors[1:]:
        result = matmul(result, t)
    return result


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two dimensions."""
    return A.diagonal(offset, dim1, dim2)
