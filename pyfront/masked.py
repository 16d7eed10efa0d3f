"""``torch.masked``: reductions, scans and normalizations over the elements that a mask holds true.

An element that is masked out counts as what changes nothing: 0 in a sum, 1 in a product, the lowest number in a maximum. A mask has no
more dimensions than the tensor and is broadcast to its shape. What a mean or a spread of nothing is nobody can say: NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..dialects.types import DType, bool_, float32, int64, part_of
from . import reductions
from .creation import full
from .limits import iinfo
from .selection import where
from .tensor import Tensor

Dims = int | Sequence[int] | None


def _lowest(dtype: DType) -> Any:
    return -math.inf if dtype.kind in "fc" else iinfo(dtype).min


def _highest(dtype: DType) -> Any:
    return math.inf if dtype.kind in "fc" else iinfo(dtype).max


def _dims(dim: Dims, rank: int) -> tuple[int, ...]:
    """Which dimensions are meant, rising. RuntimeError for one that is named twice, IndexError for one that is not there."""
    if dim is None or not isinstance(dim, int) and not len(dim):
        return tuple(range(rank))
    rank, found = max(rank, 1), set()
    for d in (dim,) if isinstance(dim, int) else dim:
        if not -rank <= d < rank:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {d})")
        if d in found:
            raise RuntimeError(f"dim={d} appears multiple times in the list of dims")
        found.add(d)
    return tuple(sorted(d % rank for d in found))


def _held(input: Tensor, mask: Tensor) -> Tensor:
    """The mask as bools of the tensor's shape. IndexError for one of more dimensions."""
    if mask.dim() > input.dim():
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    return mask.expand(input.shape).to(bool_)


def _filled(input: Tensor, mask: Tensor | None, identity: Any) -> Tensor:
    """Where the mask is false, what changes nothing."""
    return input if mask is None else where(_held(input, mask), input, input.new_full((), identity))


# -- reductions ----------------------------------------------------------------------------------------------


def sum(
    input: Tensor, dim: Dims = None, *, keepdim: bool | None = False, dtype: DType | None = None, mask: Tensor | None = None
) -> Tensor:
    """The sum; small integers are summed as int64."""
    wide = int64 if dtype is None and input.dtype.kind not in "fc" else dtype
    return reductions.sum(_filled(input, mask, 0), _dims(dim, input.dim()), bool(keepdim), dtype=wide)


def prod(
    input: Tensor, dim: Dims = None, *, keepdim: bool | None = False, dtype: DType | None = None, mask: Tensor | None = None
) -> Tensor:
    """The product, over one dimension after the other; small integers are multiplied as int64."""
    found = _filled(input, mask, 1)
    wide = int64 if dtype is None and input.dtype.kind not in "fc" else dtype
    for d in reversed(_dims(dim, input.dim())):
        found = reductions.prod_(found, d, bool(keepdim))
    return found.to(wide or input.dtype)


def _extreme(op: str, identity: Callable[[DType], Any]) -> Callable[..., Tensor]:
    def apply(
        input: Tensor, dim: Dims = None, *, keepdim: bool | None = False, dtype: DType | None = None, mask: Tensor | None = None
    ) -> Tensor:
        found = reductions._amount(op)(_filled(input, mask, identity(input.dtype)), _dims(dim, input.dim()), bool(keepdim))
        return found.to(dtype or input.dtype)

    apply.__name__, apply.__doc__ = f"a{op}", f"The {op} over dimensions."
    return apply


def _position(op: str, identity: Callable[[DType], Any]) -> Callable[..., Tensor]:
    def apply(
        input: Tensor, dim: int | None = None, *, keepdim: bool | None = False, dtype: DType | None = None, mask: Tensor | None = None
    ) -> Tensor:
        found = reductions._position(op)(_filled(input, mask, identity(input.dtype)), dim, bool(keepdim))
        return found.to(dtype or input.dtype)

    apply.__name__, apply.__doc__ = op, f"Where the {op[3:]} is, as a number of the tensor's own dtype."
    return apply


amax, amin = _extreme("max", _lowest), _extreme("min", _highest)
argmax, argmin = _position("argmax", _lowest), _position("argmin", _highest)


def _count(input: Tensor, dim: Dims, keepdim: bool, mask: Tensor | None) -> Tensor:
    held = full(tuple(input.shape), 1, dtype=int64, device=input.device) if mask is None else _held(input, mask)
    return reductions.sum(held, _dims(dim, input.dim()), keepdim)


def mean(
    input: Tensor, dim: Dims = None, *, keepdim: bool | None = False, dtype: DType | None = None, mask: Tensor | None = None
) -> Tensor:
    """The mean; NaN of nothing. ValueError for integers."""
    wanted = dtype or input.dtype
    if wanted.kind not in "fc":
        raise ValueError(
            f"mean(): Could not infer output dtype. {'Input' if dtype is None else 'Optional'} dtype must be either a floating point or "
            f"complex dtype. Got: {wanted}"
        )
    return sum(input, dim, keepdim=keepdim, dtype=wanted, mask=mask) / _count(input, dim, bool(keepdim), mask)


def median(
    input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: DType | None = None, mask: Tensor | None = None
) -> Tensor:
    """The median (the lower of two); NaN of nothing, which for integers is a ValueError."""
    (at,) = _dims(dim, input.dim())
    values = input if input.dtype.kind == "f" else input.to(float32)
    found = _filled(values, mask, math.nan).nanmedian(at, keepdim).values
    if values is input:
        return found
    if bool(found.isnan().any()):
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return found.to(dtype or input.dtype)


def logsumexp(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DType | None = None, mask: Tensor | None = None
) -> Tensor:
    """``log(sum(exp(input)))`` without overflow."""
    found = reductions.logsumexp(_filled(input, mask, _lowest(input.dtype)), _dims(dim, input.dim()), keepdim)
    return found.to(dtype or input.dtype)


def norm(
    input: Tensor, ord: float | None = 2.0, dim: Dims = None, *, keepdim: bool | None = False, dtype: DType | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The vector norm of this order."""
    held = _filled(input, mask, math.inf if ord == -math.inf else 0)
    return reductions.vector_norm(held, 2.0 if ord is None else ord, _dims(dim, input.dim()), bool(keepdim), dtype=dtype)


def var(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: int | float | None = None,
    keepdim: bool | None = False, dtype: DType | None = None, mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The variance, ``correction`` taken off the count; NaN of nothing."""
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    off = (1 if unbiased is None else int(unbiased)) if correction is None else correction
    wanted = dtype or (input.dtype if input.dtype.kind in "fc" else float32)
    middle = sum(input, dim, keepdim=True, dtype=wanted, mask=mask) / _count(input, dim, True, mask)
    away = input - middle
    total = sum(away * away.conj(), dim, keepdim=keepdim, dtype=wanted if wanted.kind in "fc" else float32, mask=mask)
    count = _count(input, dim, bool(keepdim), mask)
    if off:
        count = (count.to(part_of(total.dtype) if total.dtype.is_complex else total.dtype) - float(off)).clamp(min=0)
    return (total / count).to(wanted)


def std(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: int | None = None,
    keepdim: bool | None = False, dtype: DType | None = None, mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The standard deviation, ``correction`` taken off the count; NaN of nothing."""
    return var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask).sqrt()


def logaddexp(
    input: Tensor, other: Tensor, *, dtype: DType | None = None, input_mask: Tensor | None = None, other_mask: Tensor | None = None
) -> Tensor:
    """``log(exp(input) + exp(other))`` of what neither mask leaves out."""
    a, b = _filled(input, input_mask, -math.inf), _filled(other, other_mask, -math.inf)
    return a.logaddexp(b).to(dtype or input.dtype)


# -- along one dimension -------------------------------------------------------------------------------------


def _scan(op: str, identity: int) -> Callable[..., Tensor]:
    def apply(input: Tensor, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
        (at,) = _dims(dim, input.dim())
        wanted = dtype or input.dtype
        return getattr(_filled(input, mask, identity), op)(at, dtype=wanted).to(wanted)

    apply.__name__, apply.__doc__ = op, f"``{op}`` along a dimension."
    return apply


cumsum, cumprod = _scan("cumsum", 0), _scan("cumprod", 1)


def softmax(input: Tensor, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
    """Softmax, 0 where the mask is false; NaN where all is masked out."""
    return _filled(input, mask, _lowest(input.dtype)).softmax(*_dims(dim, input.dim()), dtype=dtype)


def log_softmax(input: Tensor, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
    """Its logarithm."""
    return _filled(input, mask, _lowest(input.dtype)).log_softmax(*_dims(dim, input.dim()), dtype=dtype)


def softmin(input: Tensor, dim: int, *, dtype: DType | None = None, mask: Tensor | None = None) -> Tensor:
    """Softmax of the negative."""
    return (-_filled(input, mask, _highest(input.dtype))).softmax(*_dims(dim, input.dim()), dtype=dtype)


def normalize(
    input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: DType | None = None, mask: Tensor | None = None
) -> Tensor:
    """Divided by the norm along a dimension, which counts as at least ``eps``."""
    length = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _filled(input, mask, 0) / length.maximum(length.new_full((), eps))
