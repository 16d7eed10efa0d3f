"""LU factorisations, computed on the host and differentiable for every shape, and what is made of them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..dialects.types import int32
from . import linalg
from .creation import of_array
from .decompositions import check_matrix
from .definitions import define, writes_out
from .function import Function
from .host_lapack import factored
from .linalg import solve_triangular
from .returns import (
    lu_factor_ex_result, lu_factor_result, lu_result, lu_unpack_result, root_lu_infos_result, root_lu_result,
)  # fmt: skip
from .sequences import eye
from .tensor import Tensor


def _permutation(pivots: np.ndarray, m: int, dtype: np.dtype) -> np.ndarray:
    """P with A = P L U, [..., m, m]."""
    flat = pivots.reshape(prod(pivots.shape[:-1]), pivots.shape[-1])
    order = [list(range(m)) for _ in flat]
    for rows, steps in zip(order, flat.tolist(), strict=True):
        for k, row in enumerate(steps):
            rows[k], rows[row - 1] = rows[row - 1], rows[k]
    return np.swapaxes(np.eye(m, dtype=dtype)[np.array(order, np.int64).reshape(len(flat), m)], -2, -1).reshape(*pivots.shape[:-1], m, m)


def _parts(lu: Tensor) -> tuple[Tensor, Tensor]:
    """L with ones on its diagonal, and U."""
    m, n = lu.shape[-2:]
    k = min(m, n)
    return lu[..., :k].tril(-1) + eye(m, k, dtype=lu.dtype, device=lu.device), lu[..., :k, :].triu()


class _Lu(Function):
    """LU (compact) and pivots. Derivatives: de Hoog, Anderssen, Lukas (2011), extended to tall and wide matrices."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        found, pivots = factored(np.asarray(a._value()))
        lu, steps = of_array(found, like=a), of_array(pivots, like=a)
        ctx.save_for_backward(lu)
        ctx.pivots = pivots
        ctx.mark_non_differentiable(steps)
        return lu, steps

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Any) -> Tensor:
        (lu,) = ctx.saved_tensors
        m, n = lu.shape[-2:]
        k = min(m, n)
        lower, upper = _parts(lu)
        l1, u1 = lower[..., :k, :], upper[..., :, :k]
        gl, gu = g[..., :k].tril(-1), g[..., :k, :].triu()
        left, right = l1.mH @ gl[..., :k, :], gu[..., :, :k] @ u1.mH
        if n > k:
            left = left - gu[..., :, k:] @ upper[..., :, k:].mH
        if m > k:
            right = right - lower[..., k:, :].mH @ gl[..., k:, :]
        inner = left.tril(-1) + right.triu()
        first = solve_triangular(l1.mH, inner, upper=True, unitriangular=True)
        whole = solve_triangular(u1.mH, first, upper=False, left=False)
        if n > k:
            whole = _beside(whole, solve_triangular(l1.mH, gu[..., :, k:], upper=True, unitriangular=True), -1)
        if m > k:
            whole = _beside(whole, solve_triangular(u1.mH, gl[..., k:, :], upper=False, left=False), -2)
        return _matrix(ctx.pivots, m, lu) @ whole


def _beside(a: Tensor, b: Tensor, dim: int) -> Tensor:
    from .joining import cat

    return cat([a, b], dim)


def _matrix(pivots: np.ndarray, m: int, like: Tensor) -> Tensor:
    return of_array(np.ascontiguousarray(_permutation(pivots, m, like.dtype.numpy)), like=like)


def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:  # noqa: N803  # PyTorch's name
    """L and U in one matrix, and the pivots. RuntimeError without pivoting, as on PyTorch's CPU."""
    check_matrix("torch.linalg.lu_factor", A)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return lu_factor_result(*_Lu.apply(A))


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:  # noqa: N803
    """``lu_factor``, and the first diagonal place of U that is 0 (from 1), or 0."""
    lu, pivots = lu_factor(A, pivot=pivot)
    zero = np.asarray(lu.detach().diagonal(0, -2, -1)._value()) == 0
    info = np.where(zero.any(-1), zero.argmax(-1) + 1, 0).astype(np.int32) if zero.shape[-1] else np.zeros(zero.shape[:-1], np.int32)
    return lu_factor_ex_result(lu, pivots, of_array(np.asarray(info), like=A))


def lu(A: Tensor, *, pivot: bool = True) -> Any:  # noqa: N803
    """P, L, U with A = P L U."""
    return lu_result(*lu_unpack(*lu_factor(A, pivot=pivot)))


def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:  # noqa: N803
    """X with A X = B (or X A = B; of A^H when ``adjoint``), given A's factors."""
    if not left:
        return lu_solve(LU, pivots, B.mH, adjoint=not adjoint).mH
    permutation = _matrix(np.asarray(pivots._value()), LU.shape[-1], LU)
    if adjoint:
        x = solve_triangular(LU.mH, B, upper=False)
        return permutation @ solve_triangular(LU.mH, x, upper=True, unitriangular=True)
    x = solve_triangular(LU, permutation.mT @ B, upper=False, unitriangular=True)
    return solve_triangular(LU, x, upper=True)


@define("lu_unpack", method=False)
def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True  # noqa: N803  # PyTorch's names
) -> Any:
    """P, L, U out of a compact factorisation; empty where not asked for."""
    if LU_pivots.dtype is not int32:
        raise RuntimeError("torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.")
    nothing = LU_data.new_zeros(0)
    lower, upper = _parts(LU_data) if unpack_data else (nothing, nothing)
    return lu_unpack_result(_matrix(np.asarray(LU_pivots._value()), LU_data.shape[-2], LU_data) if unpack_pivots else nothing, lower, upper)


@define("lu_solve")
def root_lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:  # noqa: N803
    """``torch.lu_solve``: the right side first."""
    return lu_solve(LU_data, LU_pivots, b)


@define("lu")
def root_lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:  # noqa: N803
    """``torch.lu``: the compact factors, the pivots, and, when asked, where it failed."""
    lu, pivots, info = lu_factor_ex(A, pivot=pivot)
    return root_lu_infos_result(lu, pivots, info) if get_infos else root_lu_result(lu, pivots)

for _function in (lu_factor, lu_factor_ex, lu, lu_solve):  # public there, though made of what is public there
    setattr(linalg, _function.__name__, writes_out(_function))
