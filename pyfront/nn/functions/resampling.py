"""Resampling: interpolate and its old names, separably along each dimension; grid_sample and affine_grid.

``interpolate`` reads each dimension at host-known places: an output row is a weighted sum of a few input rows,
so a dimension costs a `take` per neighbour. ``grid_sample`` reads at places that are data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ....dialects.types import int32, int64, uint8
from ...autocasting import autocasts
from ... import recorder
from ...assignment import title
from ...creation import ones
from ...sequences import linspace
from ...joining import apart, stack
from ...known_calls import KnownCalls
from ...promote import untouched
from ...precision import in_single
from ...tensor import Tensor, wrap
from .applying import apply, filled
from .pooling import adaptive_avg

_MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


@in_single
def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """[n, c, ...] resampled to ``size`` or by ``scale_factor``. Modes: nearest, nearest-exact, linear, bilinear,
    trilinear, bicubic, area."""
    rank = input.dim() - 2
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
            )
    elif mode not in _MODES:
        raise NotImplementedError(f"Input Error: no interpolation mode {mode!r}")
    elif rank != _MODES[mode]:
        raise NotImplementedError(
            f"Input Error: {mode} interpolation needs {_MODES[mode] + 2}D input, got {input.dim()}D"
        )
    if not 1 <= rank <= 3:
        raise NotImplementedError(f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.dim()}D)")
    targets, factors = _targets(input, rank, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return adaptive_avg(rank, input, targets)
    is_image = input.dtype is uint8 and mode in _MODES
    if input.dtype.kind != "f" and not is_image and mode in _MODES:
        raise NotImplementedError(f"\"{mode} interpolation\" not implemented for '{title(input.dtype)}'")
    return apart(_resampled.made(input, targets, factors, mode, bool(align_corners), antialias), input)


def _resample(
    input: Tensor, targets: tuple[int, ...], factors: tuple[float | None, ...], mode: str, corners: bool, antialias: bool
) -> Tensor:  # fmt: skip
    """All dimensions, one after the other; those of an image of bytes from the last one on."""
    rank, y, is_image = len(targets), input, input.dtype is uint8 and mode in _MODES
    for k in reversed(range(rank)) if is_image else range(rank):
        axis, out = 2 + k, targets[k]
        scale = _step(input.shape[axis], out, factors[k], corners)
        if not is_image:
            y = _along(y, axis, out, scale, mode, corners, antialias)
        elif input.shape[axis] != out:
            y = _bytes_along(y, axis, out, scale, mode, corners, antialias)
    return y


_resampled = KnownCalls(_resample)


def _targets(
    input: Tensor, rank: int, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """Sizes out, and the scales the user gave (None: that of the sizes)."""
    if (size is None) == (scale_factor is None):
        raise ValueError(
            "only one of size or scale_factor should be defined" if size is not None
            else "either size or scale_factor should be defined"
        )  # fmt: skip
    if size is not None:
        is_one = isinstance(size, int) or isinstance(size, Tensor) and not size.dim()
        listed = (int(size),) * rank if is_one else tuple(int(s) for s in size)
        _check_length("size", listed, rank)
        return listed, (None,) * rank
    factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * rank
    _check_length("scale_factor", factors, rank)
    listed = tuple(math.floor(float(n) * f) for n, f in zip(input.shape[2:], factors, strict=True))
    return listed, (None,) * rank if recompute else factors


def _check_length(name: str, given: tuple, rank: int) -> None:
    if len(given) != rank:
        raise ValueError(
            f"Input and output must have the same number of spatial dimensions, but got input with {rank} and {name} "
            f"with {len(given)} of them."
        )


def _step(n: int, out: int, factor: float | None, corners: bool) -> float:
    """Input elements per output element."""
    if corners:
        return (n - 1) / (out - 1) if out > 1 else 0.0
    return 1 / factor if factor else n / out


def _along(x: Tensor, axis: int, out: int, scale: float, mode: str, corners: bool, antialias: bool) -> Tensor:
    n = x.shape[axis]
    place = np.arange(out) * scale if corners else (np.arange(out) + 0.5) * scale - 0.5
    if mode in ("nearest", "nearest-exact"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        exact = (np.arange(out, dtype=np.float32) + np.float32(shift)) * np.float32(scale)
        return _rows(x, axis, np.minimum(np.floor(exact).astype(np.int64), n - 1))
    if antialias:
        return _filtered(x, axis, _antialiasing(n, out, scale, mode, corners))
    taps = _neighbours(place, mode)
    if n == out and all((share == (1.0 if k == (mode == "bicubic") else 0.0)).all() for k, (_, share) in enumerate(taps)):
        return x
    total = None
    for index, share in taps:
        rows = _rows(x, axis, np.clip(index, 0, n - 1).astype(np.int64))
        part = rows * _constant(share.reshape((-1,) + (1,) * (x.dim() - axis - 1)), x)
        total = part if total is None else total + part
    return total


def _neighbours(place: np.ndarray, mode: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices (perhaps outside) of the rows around each place, and how much they count."""
    if mode == "bicubic":
        first = np.floor(place)
        return [(first + k, _cubic(place - first - k, -0.75)) for k in (-1, 0, 1, 2)]
    place = np.maximum(place, 0)
    first = np.floor(place)
    return [(first, 1 - (place - first)), (first + 1, place - first)]


def _bytes_along(x: Tensor, axis: int, out: int, scale: float, mode: str, corners: bool, antialias: bool) -> Tensor:
    """One dimension of an image of bytes, as Pillow and PyTorch weigh it: 16-bit weights, rounded after each dimension."""
    n = x.shape[axis]
    if antialias:
        shares = _antialiasing(n, out, scale, mode, corners)
    else:
        shares = np.zeros((n, out))
        place = np.arange(out) * scale if corners else (np.arange(out) + 0.5) * scale - 0.5
        for index, share in _neighbours(place, mode):
            np.add.at(shares, (np.clip(index, 0, n - 1).astype(np.int64), np.arange(out)), share)
    digits, largest = 0, float(shares.max(initial=0.0))
    while digits < 22 and int(0.5 + largest * (1 << (digits + 1))) < 1 << 15:
        digits += 1
    whole = np.trunc(shares * (1 << digits) + np.copysign(0.5, shares)).astype(np.int32)
    weights = wrap(recorder.leaf(whole, (whole.shape, int32)))
    total = (x.transpose(axis, -1).to(int32) @ weights + (1 << digits >> 1)) >> digits
    return total.clamp(0, 255).to(uint8).transpose(axis, -1)


def _rows(x: Tensor, axis: int, index: np.ndarray) -> Tensor:
    return apply("take", (x, wrap(recorder.fixed(index, (index.shape, int64)))), (axis,), "index")


def _constant(array: np.ndarray, like: Tensor) -> Tensor:
    values = array.astype(like.dtype.numpy)
    return wrap(recorder.fixed(values, (values.shape, like.dtype)))


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


@lru_cache(maxsize=64)
def _antialiasing(n: int, out: int, scale: float, mode: str, corners: bool) -> np.ndarray:
    """float[n, out]: how much each input counts; the kernel grows with the step when the size shrinks."""
    width = max(scale, 1.0)
    reach = (2.0 if mode == "bicubic" else 1.0) * width
    shares = np.zeros((n, out))
    for i in range(out):
        centre = (i + 0.5) * scale
        low, high = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), n)
        distance = (np.arange(low, high) - centre + 0.5) / width
        weights = _cubic(distance, -0.5) if mode == "bicubic" else np.maximum(1 - np.abs(distance), 0)
        shares[low:high, i] = weights / (weights.sum() or 1.0)
    shares.flags.writeable = False  # whoever asks next gets it, too
    return shares


def _filtered(x: Tensor, axis: int, shares: np.ndarray) -> Tensor:
    return (x.transpose(axis, -1) @ _constant(shares, x)).transpose(axis, -1)


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """``interpolate``'s old name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """``interpolate(mode="nearest")``."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """``interpolate`` with aligned corners, linear in each dimension."""
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


# -- places that are data ------------------------------------------------------------------------------------


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """float[n, r, r + 1] -> float[n, ..., r]: where each place of an output of ``size`` reads, in -1 .. 1."""
    spatial = tuple(size)[2:]
    axes = []
    for k, n in enumerate(spatial):
        line = linspace(-1, 1, n, dtype=theta.dtype, device=theta.device) if n > 1 else filled((n,), 0.0, theta.dtype)
        if not align_corners and n > 1:
            line = line * ((n - 1) / n)
        axes.append(line.reshape(*[-1 if i == k else 1 for i in range(len(spatial))]).expand(spatial))
    base = stack([*reversed(axes), ones(*spatial, dtype=theta.dtype, device=theta.device)], -1)
    points = base.reshape(-1, len(spatial) + 1) @ theta.transpose(1, 2)
    return points.reshape(theta.shape[0], *spatial, len(spatial))


@autocasts("grid_sample")
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """[n, c, ...] read at the places of grid[n, ..., r] in -1 .. 1 (last dimension first)."""
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', " f"but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', "
            f"but got: '{padding_mode}'"
        )
    rank = input.dim() - 2
    if grid.dim() != input.dim() or grid.shape[-1] != rank or grid.shape[0] != input.shape[0]:
        raise RuntimeError(
            f"grid_sampler(): expected grid and input to have same batch size and grid to have size {rank} in last "
            f"dimension, but got input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    total = _sampled.made(input, grid, mode, padding_mode, bool(align_corners))
    total._label = "grid_sampler_2d" if rank == 2 else "grid_sampler_3d"
    return total


def _sample(input: Tensor, grid: Tensor, mode: str, padding_mode: str, corners: bool) -> Tensor:
    """The sum of the neighbours of each place, by their shares."""
    rank, sizes, places = input.dim() - 2, tuple(input.shape[2:]), []
    for k, n in enumerate(sizes):
        g = grid.select(-1, rank - 1 - k)
        place = (g + 1) * ((n - 1) / 2) if corners else ((g + 1) * n - 1) * 0.5
        places.append(place if mode == "bicubic" else _inside(place, n, padding_mode, corners))
    taps = [_taps(place, mode) for place in places]
    total = None
    for chosen in product(*taps):
        index = [i if mode != "bicubic" else _inside(i, n, padding_mode, corners) for (i, _), n in zip(chosen, sizes, strict=True)]
        value = _read_at(input, index, sizes)
        for _, share in chosen:
            value = value if share is None else value * share.unsqueeze(1)
        total = value if total is None else total + value
    return total


_sampled = KnownCalls(_sample)


def _inside(place: Tensor, n: int, padding_mode: str, corners: bool) -> Tensor:
    """Places brought into the input; what is cut at the border has no gradient."""
    if padding_mode == "zeros":
        return place
    if padding_mode == "reflection":
        place = _reflected(place, *((0.0, n - 1.0) if corners else (-0.5, n - 0.5)))
    bounded = place.detach().clamp(0, n - 1)
    within = (place > 0).logical_and(place < n - 1)
    return apply("select", (within, place, bounded))


def _reflected(place: Tensor, low: float, high: float) -> Tensor:
    span = high - low
    if span == 0:
        return place * 0
    away = (place - low).abs()
    flips = (away.detach() / span).floor()
    rest = away - flips * span
    even = flips.remainder(2) == 0
    return apply("select", (even, rest + low, -rest + high))


def _taps(place: Tensor, mode: str) -> list[tuple[Tensor, Tensor | None]]:
    """Neighbours along one dimension and how much each counts; None: it is the only one."""
    if mode == "nearest":
        if not place.requires_grad:
            return [(place.round(), None)]
        one = filled(tuple(place.shape), 1.0, place.dtype)
        always = wrap(untouched(one._read(), place._read()))
        return [(place.detach().round(), always)]  # the share of 1 lets a gradient of 0 reach the grid
    first = place.detach().floor()
    t = place - first
    if mode == "bilinear":
        return [(first, 1 - t), (first + 1, t)]
    a = -0.75
    far = lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a  # noqa: E731  # Keys' kernel, both pieces
    near = lambda d: ((a + 2) * d - (a + 3)) * d * d + 1  # noqa: E731
    return [(first - 1, far(t + 1)), (first, near(t)), (first + 1, near(1 - t)), (first + 2, far(2 - t))]


def _read_at(input: Tensor, index: list[Tensor], sizes: tuple[int, ...]) -> Tensor:
    """Elements at whole-numbered places; zero outside."""
    flat, there = None, None
    for i, n in zip(index, sizes, strict=True):
        held = i.detach()
        within = (held >= 0).logical_and(held <= n - 1)
        there = within if there is None else there.logical_and(within)
        whole = apply("select", (within, held, filled(held.shape, 0.0, held.dtype))).to(int64)
        flat = whole if flat is None else flat * n + whole
    n, channels = input.shape[:2]
    shape = tuple(flat.shape[1:])
    wanted = (n, channels, math.prod(shape))
    rows = input.reshape(n, channels, math.prod(sizes))
    values = apply("gather", (rows, flat.reshape(n, 1, wanted[2]).expand(wanted)), (2,)).reshape(n, channels, *shape)
    return apply("select", (there.unsqueeze(1).expand(values.shape), values, filled(values.shape, 0.0, values.dtype)))
