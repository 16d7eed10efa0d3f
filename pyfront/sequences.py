"""Sequences: tensors that follow a rule: arange, linspace, logspace, eye, grids and triangles of indices."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np

from ..dialects.types import DType, complex_of, float32, float64, int64
from .creation import finish, of_array
from .definitions import define
from .known_calls import known
from .promote import Defaults
from .placement import placed
from .tensor import Tensor


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, (Tensor, np.generic)) else value


@known
@placed
def arange(
    start: Any = None,
    end: Any = None,
    step: Any = 1,
    *,
    out: Tensor | None = None,
    dtype: DType | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """``start``, ``start + step``, … before ``end``."""
    if start is None:
        start = 0
        if end is None:
            raise TypeError("arange() missing 1 required positional argument: 'end'")
    start, end, step = _number(start), _number(end), _number(step)
    if out is not None and out.dtype.kind != "f" and step and not int(step):
        raise ValueError("step must be nonzero")
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (step > 0) != (end >= start) and end != start:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    kind = dtype or (Defaults.dtype if any(isinstance(v, float) for v in (start, end, step)) else int64)
    count = (
        max(ceil((end - start) / step), 0)
        if kind.kind == "f" or isinstance(start + end + step, float)
        else len(range(start, end, step))
    )
    work = np.float64 if kind.kind == "f" else np.int64
    array = (start + step * np.arange(count, dtype=work)).astype(kind.numpy)
    return finish(of_array(array), out, requires_grad)


def range_(start: Any, end: Any, step: Any = 1, *, dtype: DType | None = None, **options: Any) -> Tensor:
    """``arange`` with the end included (deprecated in PyTorch)."""
    return arange(start, end + step, step, dtype=dtype or Defaults.dtype, **options)


def _check_ends(name: str, start: Any, end: Any, steps: Any) -> None:
    if isinstance(steps, float):
        given = ", ".join(type(v).__name__ for v in (start, end, steps))
        raise TypeError(f"{name}() received an invalid combination of arguments - got ({given})")
    ranks = [v.dim() if isinstance(v, Tensor) else 0 for v in (start, end)]
    if any(ranks):
        raise RuntimeError(
            f"{name} only supports 0-dimensional start and end tensors, but got start with {ranks[0]} dimension(s) and end "
            f"with {ranks[1]} dimension(s)."
        )


@known
@placed
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Tensor | None = None,
    dtype: DType | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``steps`` numbers from ``start`` to ``end``, equally far apart; computed from both ends, as PyTorch
    does."""
    _check_ends("linspace", start, end, steps)
    start, end, steps = _number(start), _number(end), _number(steps)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    kind = dtype or (complex_of(Defaults.dtype) if isinstance(start, complex) or isinstance(end, complex) else Defaults.dtype)
    work = kind.numpy.type if kind in (float32, float64) or kind.is_complex else np.float64
    i = np.arange(steps)
    if steps == 1:
        return finish(of_array(np.array([start]).astype(kind.numpy)), out, requires_grad)
    gap = work((work(end) - work(start)) / work(steps - 1)) if steps else work(0)
    array = np.where(
        i < steps // 2, work(start) + gap * i.astype(work), work(end) - gap * (steps - 1 - i).astype(work)
    )
    if not kind.has_gradient:
        array = np.trunc(array)
    return finish(of_array(array.astype(kind.numpy)), out, requires_grad)


@known
@placed
def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: DType | None = None, **options: Any
) -> Tensor:
    """``base`` to the powers of ``linspace``."""
    _check_ends("logspace", start, end, steps)
    if dtype is not None and dtype.kind != "f":
        start, end = int(_number(start)), int(_number(end))
    powers = linspace(start, end, steps, dtype=float64)._value()
    return of_array((float(base) ** powers).astype((dtype or Defaults.dtype).numpy))


@known
@placed
def eye(
    n: int,
    m: int | None = None,
    *,
    out: Tensor | None = None,
    dtype: DType | None = None,
    device: Any = None,
    requires_grad: bool = False,
    **_: Any,
) -> Tensor:
    """Ones on the diagonal."""
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n and m must be greater or equal to 0, got {n} and {n if m is None else m}")
    return finish(
        of_array(np.eye(n, n if m is None else m, dtype=(dtype or Defaults.dtype).numpy)), out, requires_grad
    )


def _triangle_indices(select: Callable) -> Callable[..., Tensor]:
    @placed
    def make(
        row: int, col: int, offset: int = 0, *, dtype: DType = int64, device: Any = None, layout: Any = None
    ) -> Tensor:
        return of_array(np.stack(select(row, offset, col)).astype(dtype.numpy))

    make.__doc__ = "Rows and columns of a triangle."
    return make


tril_indices, triu_indices = _triangle_indices(np.tril_indices), _triangle_indices(np.triu_indices)


@define("meshgrid", method=False)
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Every vector spread over the grid all of them make."""
    listed = (
        list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    )
    swap = indexing == "xy" and len(listed) > 1
    if swap:
        listed[0], listed[1] = listed[1], listed[0]
    shape = tuple([t.numel() for t in listed])
    grids = [
        t.reshape((*(1,) * i, shape[i], *(1,) * (len(shape) - i - 1))).expand(shape)
        for i, t in enumerate(listed)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


PUBLIC: dict[str, Callable] = {
    "arange": arange, "range": range_, "linspace": linspace, "logspace": logspace, "eye": eye,
    "tril_indices": tril_indices, "triu_indices": triu_indices,
}  # fmt: skip
