"""The linear algebra library numpy brings along: its decompositions on one thread, triangular solutions and LU factors numpy has no name for.

OpenBLAS divides even a matrix of 128 among threads that wait for each other in a loop. Where something else runs on one of the processors,
as compiled programs do, that takes a thousand times as long as one thread needs; below ``LARGE`` there is nothing to gain either way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np

LARGE = 1024
"""Sizes from which on a matrix is worth several threads."""


@cache
def _library() -> ctypes.CDLL:
    from numpy.linalg import _umath_linalg  # what it is linked against is found through it

    return ctypes.CDLL(_umath_linalg.__file__)


@cache
def _symbol(name: str, suffix: str = "_64_") -> tuple[Any, type] | None:
    """A routine and its kind of integer; OpenBLAS in numpy's wheels has prefixed names and 64-bit integers."""
    for spelled, integer in ((f"scipy_{name}{suffix}", ctypes.c_int64), (f"{name}{suffix}", ctypes.c_int64)):
        found = getattr(_library(), spelled, None)
        if found is not None:
            found.restype = None
            return found, integer
    return None


@cache
def _threads() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    library = _library()
    for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("", "")):
        ask, tell = (getattr(library, f"{prefix}openblas_{verb}_num_threads{suffix}", None) for verb in ("get", "set"))
        if ask is not None and tell is not None:
            return ask, tell
    return None


class on_few_threads:  # noqa: N801  # a context, made for every small matrix
    """What is computed with matrices of this size is not divided among threads, unless they are large."""

    __slots__ = ("_held", "_tell")

    def __init__(self, size: int) -> None:
        found = _threads()
        self._held = 1
        if found is not None and size < LARGE:
            self._held, self._tell = found[0](), found[1]

    def __enter__(self) -> None:
        if self._held > 1:
            self._tell(1)

    def __exit__(self, *_: object) -> None:
        if self._held > 1:
            self._tell(self._held)


def _quiet(function: Callable) -> Callable:
    def run(a: np.ndarray, *more: Any, **options: Any) -> Any:
        with on_few_threads(max(a.shape[-2:])):
            return function(a, *more, **options)

    return run


svd, eig, eigh, eigvalsh, qr, cholesky, solve, inv, det, slogdet = (
    _quiet(f) for f in (np.linalg.svd, np.linalg.eig, np.linalg.eigh, np.linalg.eigvalsh, np.linalg.qr, np.linalg.cholesky, np.linalg.solve, np.linalg.inv, np.linalg.det, np.linalg.slogdet)
)  # fmt: skip


_LETTERS = {"f": "s", "d": "d", "F": "c", "D": "z"}  # by numpy's


def _routine(name: str, dtype: np.dtype) -> tuple[Any, type] | None:
    """LAPACK's or BLAS's of this name for a dtype."""
    return _symbol(_LETTERS[dtype.char] + name)


def triangular(a: np.ndarray, b: np.ndarray, upper: bool, unit: bool = False, adjoint: bool = False) -> np.ndarray:
    """X with A X = B, B [..., n, k], for one triangle of A [..., n, n], of which nothing else is read (A^H when adjoint); real or complex both.

    A zero on the diagonal gives infinities and NaN. Batches broadcast.
    """
    n, k = b.shape[-2:]
    batch = a.shape[:-2]
    if batch != b.shape[:-2]:
        batch = np.broadcast_shapes(batch, b.shape[:-2])
        b = np.broadcast_to(b, (*batch, n, k))
    x = np.array(b, order="C")
    a = np.ascontiguousarray(a)
    found = _routine("trsm", a.dtype)
    if not x.size:
        return x
    many = a if a.shape[:-2] == batch else np.broadcast_to(a, (*batch, n, n))
    if found is None:
        return _substituted(many, x, upper, unit, adjoint)
    routine, integer = found
    # Read by columns, both are their own transposes: X^T A^T = B^T, the triangle on the other side; A^H is the adjoint of A^T, transposed.
    words = [b"R", b"L" if upper else b"U", b"C" if adjoint else b"N", b"U" if unit else b"N"]
    rows, columns = integer(k), integer(n)
    one = np.ones(1, a.dtype)
    head = [*words, ctypes.byref(rows), ctypes.byref(columns), ctypes.c_void_p(one.ctypes.data)]
    with on_few_threads(n):
        for at in np.ndindex(batch) if batch else ((),):
            routine(*head, ctypes.c_void_p(_address(many, at)), ctypes.byref(columns), ctypes.c_void_p(_address(x, at)), ctypes.byref(rows))
    return x


def _address(array: np.ndarray, at: tuple[int, ...]) -> int:
    return array.__array_interface__["data"][0] + sum(i * stride for i, stride in zip(at, array.strides, strict=False))


def _substituted(a: np.ndarray, x: np.ndarray, upper: bool, unit: bool, adjoint: bool) -> np.ndarray:
    """``triangular`` without a library, into x."""
    a = a.swapaxes(-1, -2).conj() if adjoint else a
    n = a.shape[-1]
    backwards = upper != adjoint
    with np.errstate(all="ignore"):
        for k in reversed(range(n)) if backwards else range(n):
            known = slice(k + 1, n) if backwards else slice(0, k)
            x[..., k, :] -= (a[..., k : k + 1, known] @ x[..., known, :])[..., 0, :]
            if not unit:
                x[..., k, :] /= a[..., k, k, None]
    return x


def factored(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L below and U on the diagonal of one array, and the row each step was exchanged with (int32, from 1). Partial pivoting."""
    m, n = array.shape[-2:]
    found = _routine("getrf", array.dtype)
    if found is None or not array.size:
        return eliminated(array)
    routine, integer = found
    batch = array.shape[:-2]
    by_columns = np.array(array.swapaxes(-1, -2), order="C")
    pivots = np.zeros((*batch, min(m, n)), integer)
    rows, columns, info = integer(m), integer(n), integer()
    sizes = [ctypes.byref(i) for i in (rows, columns)]
    with on_few_threads(max(m, n)):
        for at in np.ndindex(batch):
            memory, steps = (ctypes.c_void_p(_address(a, at)) for a in (by_columns, pivots))
            routine(*sizes, memory, sizes[0], steps, ctypes.byref(info))
    return np.ascontiguousarray(by_columns.swapaxes(-1, -2)), pivots.astype(np.int32)


def eliminated(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``factored`` without a library."""
    a = np.array(array)
    m, n = a.shape[-2:]
    flat = a.reshape(prod(a.shape[:-2]), m, n)
    pivots = np.zeros((len(flat), min(m, n)), np.int32)
    each = np.arange(len(flat))
    for k in range(min(m, n)):
        column = flat[:, k:, k]
        row = (np.abs(column.real) + np.abs(column.imag)).argmax(1) + k  # of complex numbers what LAPACK compares, too
        pivots[:, k] = row + 1
        upper, lower = flat[each, k].copy(), flat[each, row].copy()
        flat[each, k], flat[each, row] = lower, upper
        head = flat[:, k : k + 1, k]
        flat[:, k + 1 :, k] /= np.where(head == 0, 1, head)
        flat[:, k + 1 :, k + 1 :] -= flat[:, k + 1 :, k, None] * flat[:, k, None, k + 1 :]
    return flat.reshape(a.shape), pivots.reshape(*a.shape[:-2], min(m, n))
