"""Calculus on samples: differences, gradients, integrals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dialects.types import bool_
from .definitions import define
from .joining import cat
from .shaping import narrow
from .tensor import Tensor, dimension


@define("diff")
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours, ``n`` times; of bools, whether they differ."""
    if not input.dim():
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    at = dimension(dim, input.dim())
    for _ in range(min(n, 1)):
        parts = [t for t in (prepend, input, append) if t is not None]
        input = cat(parts, at) if len(parts) > 1 else input
    if not n:
        return input.clone()
    for _ in range(n):
        size = input.shape[at]
        if size <= 1:
            return narrow(input, at, 0, 0).clone()
        after, before = narrow(input, at, 1, size - 1), narrow(input, at, 0, size - 1)
        input = after.logical_xor(before) if input.dtype is bool_ else after - before
    return input


@define("gradient", method=False)
def gradient(
    input: Tensor, *, spacing: Any = None, dim: int | Sequence[int] | None = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Slopes along dimensions: central differences inside, one-sided ones at the ends (``edge_order`` 1 or 2)."""
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if isinstance(dim, int):
        dims = [dim]
    elif dim is not None:
        dims = list(dim)
    else:
        dims = list(range(input.dim()))
    dims = [dimension(d, input.dim()) for d in dims]
    gaps = list(spacing) if isinstance(spacing, (list, tuple)) else [1 if spacing is None else spacing] * len(dims)
    if len(gaps) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to have the "
            f"same length, but got a spacing argument of length {len(gaps)} and a dim argument of length {len(dims)}."
        )
    if any(input.shape[d] <= edge_order for d in dims):
        raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    return tuple([_slope(input, at, gap, edge_order) for at, gap in zip(dims, gaps, strict=True)])


def _slope(x: Tensor, at: int, gap: Any, edge_order: int) -> Tensor:
    n = x.shape[at]
    if isinstance(gap, Tensor) and gap.dim():
        shape = [-1 if d == at else 1 for d in range(x.dim())]
        steps = diff(gap).reshape(shape)
    else:
        steps = None
        gap = gap.item() if isinstance(gap, Tensor) else gap

    def piece(start: int, count: int) -> Tensor:
        return narrow(x, at, start, count)

    def step(start: int, count: int) -> Any:
        return gap if steps is None else narrow(steps, at, start, count)

    first = (piece(1, 1) - piece(0, 1)) / step(0, 1)
    last = (piece(n - 1, 1) - piece(n - 2, 1)) / step(n - 2, 1)
    if n == 2:
        return cat([first, last], at)
    a, b = step(0, n - 2), step(1, n - 2)
    below, here, above = piece(0, n - 2), piece(1, n - 2), piece(2, n - 2)
    if steps is None:
        inner = (above - below) / (2 * gap)
    else:
        inner = below * (-b / (a * (a + b))) + here * ((b - a) / (a * b)) + above * (a / (b * (a + b)))
    if edge_order == 2:
        first = _edge(piece(0, 1), piece(1, 1), piece(2, 1), step(0, 1), step(1, 1))
        last = -_edge(piece(n - 1, 1), piece(n - 2, 1), piece(n - 3, 1), step(n - 2, 1), step(n - 3, 1))
    return cat([first, inner, last], at)


def _edge(x: Tensor, near: Tensor, far: Tensor, a: Any, b: Any) -> Tensor:
    """The slope at the end of the parabola through three samples that lie ``a`` and ``b`` apart."""
    return x * -((2 * a + b) / (a * (a + b))) + near * ((a + b) / (a * b)) - far * (a / (b * (a + b)))


def _strips(y: Tensor, x: Tensor | None, dx: Any, dim: int) -> Tensor:
    """Twice the area of each trapezoid."""
    at = dimension(dim, y.dim())
    n = y.shape[at]
    if not n:
        return narrow(y, at, 0, 0)
    pairs = narrow(y, at, 1, n - 1) + narrow(y, at, 0, n - 1)
    if x is None:
        return pairs * dx
    if x.dim() == 1:
        if x.shape[0] != n:
            raise RuntimeError(
                f"trapezoid: There must be one `x` value for each sample point, got {x.shape[0]} for {n}"
            )
        return pairs * diff(x).reshape([-1 if d == at else 1 for d in range(y.dim())])
    return pairs * diff(x, 1, dim)


@define("trapezoid", "trapz", method=False)
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral along a dimension by trapezoids, samples ``dx`` or the differences of ``x`` apart."""
    return _strips(y, x, dx, dim).sum(dim) / 2


@define("cumulative_trapezoid", method=False)
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """``trapezoid`` up to every sample."""
    return _strips(y, x, dx, dim).cumsum(dim) / 2
