"""Statistics: medians, quantiles, modes, covariance and histograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialects.errors import DTypeError
from ..dialects.types import float64, int64
from .complex_numbers import complex_, conj, real
from .creation import of_array
from .definitions import define
from .joining import stack
from .origin import origin, source_line
from .promote import Defaults
from .reductions import sort
from .returns import histogram_result, histogramdd_result, kthvalue_result, median_result, mode_result, nanmedian_result
from .selection import gather, where
from .shaping import dimensions, narrow, reshaped
from .tensor import Tensor, dimension

# -- order ---------------------------------------------------------------------------------------------------


@define("kthvalue", exact_out=True)
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest along a dimension."""
    at = dimension(dim, input.dim())
    if not 1 <= k <= (input.shape[at] if input.dim() else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {at}")
    values, index = sort(input, dim)
    if not input.dim():
        return kthvalue_result(values, index)
    parts = [narrow(t, at, k - 1, 1) for t in (values, index)]
    return kthvalue_result(*[(p if keepdim else p.squeeze(at)).clone() for p in parts])


def _median(ignore_nan: bool, result: Any) -> Any:
    def apply(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            if not input.numel():
                return input.new_full((), float("nan") if input.dtype.kind == "f" else -1)
            return _shared(input, apply(reshaped(input, (input.numel(),)), 0).values)
        at = dimension(dim, input.dim())
        if not input.dim():
            return result(input.clone(), input.new_zeros((), dtype=int64))
        n = input.shape[at]
        if not n:
            raise IndexError(f"median(): Expected reduction dim {at} to have non-zero size.")
        values, index = sort(input, at)
        if input.dtype.kind == "f":
            missing = input.isnan().sum(at, keepdim=True)
            if ignore_nan:
                place = ((n - missing - 1).clamp(min=0)).div(2, rounding_mode="floor")
            else:  # the first NaN wins
                place = where(missing > 0, n - missing, (n - 1) // 2)
            parts = [gather(t, at, place) for t in (values, index)]
        else:
            parts = [narrow(t, at, (n - 1) // 2, 1).clone() for t in (values, index)]
        return result(*[p if keepdim else p.squeeze(at) for p in parts])

    apply.__doc__ = "The lower median of all elements, or along a dimension with where it is" + (
        "; NaN does not count." if ignore_nan else "."
    )
    return apply


def _shared(input: Tensor, value: Tensor) -> Tensor:
    """``value``, one of the elements; all that are equal to it share its gradient."""
    if not value.requires_grad:
        return value
    held = value.detach()
    hit = ((input == held).logical_or(input.isnan().logical_and(held.isnan()))).to(input.dtype)
    mean = (input.nan_to_num(0.0) * hit).sum() / hit.sum()
    return held + (mean - mean.detach())


define("median")(_median(False, median_result))
define("nanmedian")(_median(True, nanmedian_result))


@define("mode")
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent value along a dimension (the smallest of several), and where it is last."""
    at = dimension(dim, input.dim())
    if not input.dim():
        return mode_result(input.clone(), input.new_zeros((), dtype=int64))
    if not input.shape[at]:
        raise IndexError(f"mode(): Expected reduction dim {at} to have non-zero size.")
    ranked, order = [np.moveaxis(part._value(), at, -1) for part in sort(input.detach(), at, stable=True)]
    n = ranked.shape[-1]
    starts = np.concatenate([np.ones((*ranked.shape[:-1], 1), bool), ranked[..., 1:] != ranked[..., :-1]], -1)
    begin = np.maximum.accumulate(np.where(starts, np.arange(n), 0), -1)
    length = np.arange(n) - begin + 1  # grows along each run: its first maximum ends the longest run
    place = np.take_along_axis(order, np.argmax(length, -1)[..., None], -1)
    index = of_array(np.ascontiguousarray(np.moveaxis(place, -1, at)), like=input)
    values = gather(input, at, index)
    return mode_result(*[p if keepdim else p.squeeze(at) for p in (values, index)])


def _quantiles(ignore_nan: bool) -> Any:
    def apply(
        input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
    ) -> Tensor:
        _check_quantile(input, q, interpolation)
        x, at = (reshaped(input, (input.numel(),)), 0) if dim is None else (input, dimension(dim, input.dim()))
        x = x if x.dim() else x.reshape(1)
        is_tracked = isinstance(q, Tensor) and q.requires_grad
        asked = (list(q) if q.dim() else q) if is_tracked else q.tolist() if isinstance(q, Tensor) else q
        many = isinstance(asked, list)
        values = sort(x, at).values
        missing = x.isnan().sum(at, keepdim=True)
        found = [
            _quantile(values, missing, one if is_tracked else float(one), at, interpolation, ignore_nan)
            for one in (asked if many else [asked])
        ]
        found = [f if keepdim and dim is not None else f.squeeze(at) for f in found]
        if keepdim and dim is None:
            found = [f.reshape((1,) * input.dim()) for f in found]
        elif not input.dim() and dim is not None:
            found = [f.reshape(()) for f in found]
        return stack(found) if many else found[0]

    apply.__doc__ = "Quantiles ``q`` (a number or a vector) of all elements or along a dimension" + (
        "; NaN does not count." if ignore_nan else "."
    )
    return apply


def _check_quantile(input: Tensor, q: Any, interpolation: str) -> None:
    if not input.numel():
        raise RuntimeError("quantile() input tensor must be non-empty")
    if input.dtype.name not in ("float32", "float64"):
        raise RuntimeError("quantile() input tensor must be either float or double dtype")
    if isinstance(q, Tensor):
        if q.dim() > 1:
            raise RuntimeError("quantile() q must be a scalar or 1D tensor")
        if q.dtype is not input.dtype:
            raise RuntimeError("quantile() q tensor must be same dtype as the input tensor")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, but got "
            f"{interpolation}"
        )
    values = np.atleast_1d(q._value() if isinstance(q, Tensor) else np.asarray(q))
    if not ((values >= 0) & (values <= 1)).all():
        raise RuntimeError("quantile() q must be in the range [0, 1]" if not isinstance(q, Tensor)
                           else "quantile() q values must be in the range [0, 1]")  # fmt: skip


def _quantile(values: Tensor, missing: Tensor, q: Any, at: int, interpolation: str, ignore_nan: bool) -> Tensor:
    n = values.shape[at]
    if ignore_nan:
        place = ((n - missing - 1).clamp(min=0)).to(values.dtype) * q
    else:  # any NaN makes the result NaN, and it is sorted last
        place = where(missing > 0, float(n - 1), q * (n - 1)).to(values.dtype)
    low = place.floor()
    high = place.ceil()
    if interpolation in ("nearest", "lower", "higher"):
        chosen = {"nearest": place.round(), "lower": low, "higher": high}[interpolation]
        found = gather(values, at, chosen.to(int64))
        return found + (place - place).detach() * place if isinstance(q, Tensor) else found  # its slope is 0
    share = 0.5 if interpolation == "midpoint" else place - low
    first, last = gather(values, at, low.detach().to(int64)), gather(values, at, high.detach().to(int64))
    found = first.lerp(last, _like(share, place))
    return found + (place - place).detach() * place if isinstance(q, Tensor) and interpolation == "midpoint" else found


def _like(share: Any, place: Tensor) -> Tensor:
    return share if isinstance(share, Tensor) else place.new_full(tuple(place.shape), share)


define("quantile")(_quantiles(False))
define("nanquantile")(_quantiles(True))

# -- together ------------------------------------------------------------------------------------------------


@define("cov")
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariance of rows of observations, counted ``fweights`` times and weighing ``aweights``."""
    if input.dim() > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.dim()} dimensions"
        )
    x = input if input.dtype.has_gradient else input.to(Defaults.dtype)
    x = x if input.dim() == 2 else x.reshape(1, -1)
    weights = _weights(fweights, aweights, x)
    if weights is None:
        total: Any = x.shape[1]
        mean = x.sum(1, keepdim=True) / total
        norm: Any = max(total - correction, 0)
        centred = x - mean
        weighed = centred
    else:
        total = weights.sum()
        mean = (x * weights).sum(1, keepdim=True) / total
        lost = (weights * aweights).sum() / total if aweights is not None and correction else 1
        norm = real(total - correction * lost).clamp(min=0)
        centred = x - mean
        weighed = centred * weights
    result = weighed @ conj(centred.t()) / norm
    return result.squeeze()


def _weights(fweights: Tensor | None, aweights: Tensor | None, x: Tensor) -> Tensor | None:
    for name, given, kind in (("fweights", fweights, "iu"), ("aweights", aweights, "f")):
        if given is None:
            continue
        if given.dim() > 1:
            raise RuntimeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with {given.dim()} dimensions"
            )
        if given.dtype.kind not in kind:
            wanted = "integral" if kind == "iu" else "floating point"
            raise RuntimeError(f"cov(): expected {name} to have {wanted} dtype but got {name} with {given.dtype} dtype")
        if given.numel() != x.shape[1]:
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the input but got "
                f"{given.numel()} != {x.shape[1]}"
            )
        if (given < 0).any():
            raise RuntimeError(f"cov(): {name} cannot be negative")
    if fweights is not None and aweights is not None:
        return fweights * aweights
    return aweights if fweights is None else fweights.to(x.dtype)


@define("corrcoef")
def corrcoef(input: Tensor) -> Tensor:
    """The correlation of rows of observations."""
    if input.dim() > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.dim()} dimensions"
        )
    c = cov(input)
    if input.dim() < 2:
        return c / c
    d = real(c.diagonal()).sqrt()
    scaled = c / d.unsqueeze(0) / d.unsqueeze(1)
    return complex_(scaled.real.clamp(-1, 1), scaled.imag.clamp(-1, 1)) if scaled.dtype.is_complex else scaled.clamp(-1, 1)


# -- counting ------------------------------------------------------------------------------------------------


@define("bincount")
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each small integer occurs."""
    if input.dim() != 1 or input.dtype.kind not in "iu" or input.numel() and int(input.min()) < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if weights is not None and weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    found = np.bincount(input._value(), None if weights is None else weights._value(), minlength)
    return of_array(found if weights is None or weights.dtype.name != "float32" else found.astype(np.float32), like=input)


@define("histc")
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts in equal bins. DTypeError for complex numbers."""
    if input.dtype.is_complex:
        raise DTypeError(f"histc needs real numbers, got {input.dtype.name}", at=source_line(origin()))
    if bins <= 0:
        raise RuntimeError(f"torch.histc(): bins must be > 0, but got {bins} for dimension 0")
    if max < min:
        raise RuntimeError("max must be larger than min")
    array = input._value()
    if not array.size:
        return of_array(np.zeros(bins, input.dtype.numpy), like=input)
    bounds = (min, max) if min != max else (array.min(), array.max())
    if not np.isfinite(bounds).all():
        raise RuntimeError(f"range of [{bounds[0]}, {bounds[1]}] is not finite")
    return of_array(np.histogram(array, bins, bounds)[0].astype(input.dtype.numpy), like=input)


def _edges(name: str, array: np.ndarray, bins: int | Tensor, range: Any, dim: int) -> np.ndarray:
    """Where bins begin and end: given, or so many of equal size over a range or what there is."""
    if isinstance(bins, Tensor):
        return bins._value()
    if bins <= 0:
        raise RuntimeError(f"torch.{name}(): bins must be > 0, but got {bins} for dimension {dim}")
    low, high = range if range is not None else (array.min(), array.max()) if array.size else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1).astype(array.dtype)


def _bins(array: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin of each number, and whether it is in any; the last bin has both its ends."""
    place = np.searchsorted(edges, array, "right") - 1
    place[array == edges[-1]] = len(edges) - 2
    return place, (place >= 0) & (place < len(edges) - 1)


@define("histogramdd", method=False)
def histogramdd(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """Counts (or weights, or densities) of points [..., n] in bins of n dimensions, and the edges of the bins of each."""
    if input.dim() < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions, but got " + str(input.dim()))
    n = input.shape[-1]
    each = [bins] * n if isinstance(bins, int) else list(bins)
    if len(each) != n:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    if range is not None and len(range) != 2 * n:
        raise RuntimeError(f"torch.histogramdd: for a {n}-dimensional histogram range should have {2 * n} elements, but got {len(range)}")
    points = np.asarray(input._value()).reshape(-1, n)
    ranges = [None if range is None else (range[2 * d], range[2 * d + 1]) for d in np.arange(n)]
    edges = [_edges("histogramdd", points[:, d], each[d], ranges[d], d) for d in np.arange(n)]
    place, inside, shape = np.zeros(len(points), np.int64), np.ones(len(points), bool), [len(e) - 1 for e in edges]
    for column, ends in zip(points.T, edges, strict=True):
        at, there = _bins(np.array(column), ends)
        place, inside = place * (len(ends) - 1) + at, inside & there
    weights = None if weight is None else np.asarray(weight._value()).reshape(-1)[inside]
    counts = np.bincount(place[inside], weights, int(np.prod(shape))).reshape(shape).astype(points.dtype)
    if density:
        with np.errstate(all="ignore"):
            counts = counts / counts.sum()
            for d, ends in enumerate(edges):
                counts = counts / np.diff(ends).reshape(-1, *(1,) * (n - 1 - d))
    return histogramdd_result(of_array(counts.astype(points.dtype), like=input), tuple([of_array(np.array(e), like=input) for e in edges]))


@define("hash_tensor")
def hash_tensor(input: Tensor, dim: Any = (), *, keepdim: bool = False, mode: int = 0) -> Tensor:
    """uint64: the bits of all elements (of floating ones as float64) combined by exclusive or, over dimensions."""
    if mode != 0:
        raise RuntimeError(f"hash_tensor: Unknown mode: {mode}. Only mode=0 (xor_sum) is supported.")
    axes = tuple(sorted(dimensions(dim if isinstance(dim, int) or len(dim) else None, input.dim())))
    array = np.asarray(input.detach().to(float64 if input.dtype.kind == "f" else int64)._value())
    return of_array(np.asarray(np.bitwise_xor.reduce(array.view(np.uint64), axis=axes, keepdims=keepdim)), like=input)


@define("histogram")
def histogram(
    input: Tensor, bins: int | Tensor, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """Counts (or weights, or densities) in bins, and the edges of the bins."""
    kind = input.dtype.numpy
    array = input._value().reshape(-1)
    weights = None if weight is None else weight._value().reshape(-1)
    edges = _edges("histogram", array, bins, range, 0)
    place, inside = _bins(array, edges)
    counts = np.bincount(place[inside], None if weights is None else weights[inside], len(edges) - 1).astype(kind)
    if density:
        counts = counts / counts.sum() / np.diff(edges)
    return histogram_result(of_array(counts.astype(kind), like=input), of_array(np.array(edges), like=input))
