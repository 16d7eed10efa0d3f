"""ReduceOp: how the values of several processes become one, and what that is on arrays."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import numpy as np

Combine = Callable[..., Any]


class ReduceOp(enum.IntEnum):
    """SUM, AVG, PRODUCT, MIN, MAX; BAND, BOR, BXOR of whole numbers and truth values."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8

    def __str__(self) -> str:
        return f"RedOpType.{self.name}"


ReduceOp.RedOpType = ReduceOp  # type: ignore[attr-defined]  # PyTorch's name for the members' type

_COMBINE: dict[ReduceOp, Combine] = {
    ReduceOp.SUM: np.add, ReduceOp.AVG: np.add, ReduceOp.PRODUCT: np.multiply, ReduceOp.MIN: np.minimum, ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and, ReduceOp.BOR: np.bitwise_or, ReduceOp.BXOR: np.bitwise_xor,
}  # fmt: skip
_BITWISE = (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)


def supports_complex(reduceOp: ReduceOp) -> bool:
    """Whether complex numbers can be reduced so."""
    return ReduceOp(reduceOp) in (ReduceOp.SUM, ReduceOp.AVG, ReduceOp.PREMUL_SUM)


def combine_of(op: ReduceOp, dtype: np.dtype) -> Combine:
    """``f(a, b, out=…)`` on arrays. ValueError for an op there is not; RuntimeError for one that these numbers do not have."""
    op = ReduceOp(op)
    if op not in _COMBINE:
        raise ValueError(f"ReduceOp.{op.name} is not there for CPU tensors: scale the tensor first and use ReduceOp.SUM")
    if op in _BITWISE and dtype.kind not in "buif"[:3]:
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with non-integral dtype")
    if dtype.kind == "c" and not supports_complex(op):
        raise ValueError(f"all_reduce does not support {op} on complex tensors")
    return _COMBINE[op]


def finish_of(op: ReduceOp, size: int, dtype: np.dtype) -> Callable[[np.ndarray], None] | None:
    """What is done, in place, to what all have been combined to; None: nothing."""
    if op != ReduceOp.AVG:
        return None
    if dtype.kind in "bui":
        return lambda whole: np.copyto(whole, np.trunc(whole / size), casting="unsafe")

    def divide(whole: np.ndarray) -> None:
        np.divide(whole, np.asarray(size, dtype), out=whole)

    return divide
