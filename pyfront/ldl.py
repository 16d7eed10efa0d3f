"""LDL factorisations of symmetric and Hermitian matrices, by the pivoting of Bunch and Kaufman, and equations solved with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dialects.types import int32
from . import linalg
from .creation import of_array
from .decompositions import LinAlgError, _host, check_matrix, check_square
from .definitions import writes_out
from .promote import broadcast_shape
from .returns import ldl_factor_ex_result, ldl_factor_result
from .tensor import Tensor

_GROWTH = (1 + math.sqrt(17)) / 8  # which bounds how much elements grow, whichever pivot is taken


def _sizes(a: np.ndarray) -> np.ndarray:
    """What is compared: of complex numbers both parts, as LAPACK does."""
    return np.abs(a.real) + np.abs(a.imag)


def _turned(a: np.ndarray, hermitian: bool) -> np.ndarray:
    return a.T.conj() if hermitian else a.T


def _whole(triangle: np.ndarray, hermitian: bool) -> np.ndarray:
    """The matrix of a lower triangle."""
    return np.tril(triangle) + _turned(np.tril(triangle, -1), hermitian)


def _pivot(a: np.ndarray, k: int) -> tuple[int, int]:
    """Which row comes to the front of what is left from k on, and whether the block there has size 1 or 2."""
    here, below = _sizes(a[k, k]), _sizes(a[k + 1 :, k])
    most = below.max(initial=0)
    if here >= _GROWTH * most:
        return k, 1
    i = k + 1 + int(below.argmax())
    beside = max(_sizes(a[i, k:i]).max(initial=0), _sizes(a[i + 1 :, i]).max(initial=0))
    if here * beside >= _GROWTH * most * most:
        return k, 1
    return i, 1 if _sizes(a[i, i]) >= _GROWTH * beside else 2


def _exchanged(a: np.ndarray, front: int, back: int, hermitian: bool) -> None:
    """Rows and columns of what is left of a lower triangle, from ``front`` on."""
    if front == back:
        return
    a[back + 1 :, [front, back]] = a[back + 1 :, [back, front]]
    between = slice(front + 1, back)
    a[between, front], a[back, between] = _turned(a[back, between], hermitian), _turned(a[between, front].copy(), hermitian)
    a[back, front] = _turned(a[back, front], hermitian)
    a[front, front], a[back, back] = a[back, back], a[front, front]


def factored(a: np.ndarray, hermitian: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """L below the blocks of D in one lower triangle; the rows exchanged (from 1, negative and twice for blocks of 2); first zero of D, from 1.

    Source: Bunch and Kaufman, Some stable methods for calculating inertia and solving symmetric linear systems (1977); packed as LAPACK does.
    """
    a = np.tril(a)
    n, k, zero = len(a), 0, 0
    pivots = np.zeros(n, np.int32)
    while k < n:
        row, size = _pivot(a, k)
        front, rest = k + size - 1, slice(k + size, n)
        _exchanged(a, front, row, hermitian)
        if size == 2 and row != front:
            a[front, k], a[row, k] = a[row, k], a[front, k]
        block = _whole(a[k : k + size, k : k + size], hermitian)
        columns = np.array(a[rest, k : k + size])
        if size == 1 and block[0, 0] == 0:
            zero = zero or k + 1
        else:
            a[rest, k : k + size] = np.linalg.solve(block.T, columns.T).T
            a[rest, rest] -= np.tril(a[rest, k : k + size] @ _turned(columns, hermitian))
        pivots[k : k + size] = row + 1 if size == 1 else -(row + 1)
        k += size
    return a, pivots, zero


def _blocks(pivots: np.ndarray) -> list[tuple[int, int, int]]:
    """Of each block of D: where it begins, its size, and the row its last one was exchanged with."""
    found, k = [], 0
    while k < len(pivots):
        size = 1 if pivots[k] > 0 else 2
        found.append((k, size, abs(int(pivots[k])) - 1))
        k += size
    return found


def solved(a: np.ndarray, pivots: np.ndarray, b: np.ndarray, hermitian: bool) -> np.ndarray:
    """X with A X = B, given A's factors."""
    x, blocks = np.array(b), _blocks(pivots)
    with np.errstate(all="ignore"):
        for k, size, row in blocks:
            front, rest = k + size - 1, slice(k + size, len(x))
            x[[front, row]] = x[[row, front]]
            x[rest] -= a[rest, k : k + size] @ x[k : k + size]
            block = _whole(a[k : k + size, k : k + size], hermitian)
            x[k : k + size] = np.linalg.solve(block, x[k : k + size]) if size == 2 else x[k : k + 1] / block
        for k, size, row in reversed(blocks):
            front, rest = k + size - 1, slice(k + size, len(x))
            x[k : k + size] -= _turned(a[rest, k : k + size], hermitian) @ x[rest]
            x[[front, row]] = x[[row, front]]
    return x


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:  # noqa: N803  # PyTorch's name
    """Factors of a symmetric (or Hermitian) matrix, whose lower triangle is read, in one matrix, pivots, and the first zero in D (from 1) or 0."""
    check_square("torch.linalg.ldl_factor_ex", A)
    (array,) = _host(A.detach())
    factors, pivots, zeros = np.zeros_like(array), np.zeros(array.shape[:-1], np.int32), np.zeros(array.shape[:-2], np.int32)
    for at in np.ndindex(array.shape[:-2]):
        factors[at], pivots[at], zeros[at] = factored(array[at], hermitian)
    if check_errors and zeros.any():
        raise LinAlgError("torch.linalg.ldl_factor_ex: the factorization has a zero on the diagonal of D; equations cannot be solved with it")
    return ldl_factor_ex_result(*[of_array(x, like=A) for x in (factors, pivots, zeros)])


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:  # noqa: N803
    """Factors of a symmetric (or Hermitian) matrix, whose lower triangle is read, in one matrix, and pivots."""
    found = ldl_factor_ex(A, hermitian=hermitian)
    return ldl_factor_result(found.LD, found.pivots)


def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:  # noqa: N803
    """X with A X = B, given what ``ldl_factor`` made of A."""
    check_square("torch.linalg.ldl_solve", LD)
    check_matrix("torch.linalg.ldl_solve", B)
    if pivots.dtype is not int32:
        raise RuntimeError(f"torch.linalg.ldl_solve: Expected pivots to be integers. Got {pivots.dtype}")
    if B.shape[-2] != LD.shape[-1]:
        raise RuntimeError(
            f"linalg.ldl_solve: Incompatible matrix sizes for linalg.ldl_solve: each A matrix is {LD.shape[-1]} by {LD.shape[-1]} "
            f"but each b matrix is {B.shape[-2]} by {B.shape[-1]}"
        )
    factors, steps, right = _host(LD.detach(), pivots, B.detach())
    batch = broadcast_shape(factors.shape[:-2], right.shape[:-2])
    factors, right = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (factors, right))
    steps = np.broadcast_to(steps, (*batch, steps.shape[-1]))
    found = np.zeros(right.shape, right.dtype)
    for at in np.ndindex(*batch):
        found[at] = solved(factors[at], steps[at], right[at], hermitian)
    return of_array(found, like=B)


for _function in (ldl_factor, ldl_factor_ex, ldl_solve):  # public there, though made of what is public there
    setattr(linalg, _function.__name__, writes_out(_function))
