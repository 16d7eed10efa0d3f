"""Resampling arrays [..., channels, height, width]: resizing, and fetching pixels through affine and projective maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from ..nn.functions.resampling import interpolate
from .images import PILLOW_MODES, InterpolationMode, array_of, tensor_of


def resize(a: np.ndarray, size: list[int], interpolation: InterpolationMode, antialias: bool | None) -> np.ndarray:
    """Resampled to [height, width]. Whole numbers are resampled as float32 and rounded."""
    mode = interpolation.value
    if mode in ("nearest", "nearest-exact"):
        return a[..., _nearest(a.shape[-2], size[0], mode)[:, None], _nearest(a.shape[-1], size[1], mode)]
    values = a if a.dtype in (np.float32, np.float64) else a.astype(np.float32)
    if antialias and mode in ("bilinear", "bicubic") and values.dtype == np.float32:
        made = _filtered(values, size, PILLOW_MODES[interpolation])
    else:
        batch = values.reshape(-1, 1, *a.shape[-2:])
        made = array_of(interpolate(tensor_of(batch), tuple(size), mode=mode, align_corners=False, antialias=bool(antialias)))
        made = made.reshape(*a.shape[:-2], *size)
    if a.dtype.kind == "f":
        return made.astype(a.dtype, copy=False)
    if mode == "bicubic" and a.dtype == np.uint8:
        made = np.clip(made, 0, 255)
    return np.rint(made).astype(a.dtype)


def _filtered(a: np.ndarray, size: list[int], mode: int) -> np.ndarray:
    """Pillow's filters that widen as the image shrinks: torch's antialiased kernels are modelled on them."""
    planes = a.reshape(-1, *a.shape[-2:])
    made = np.empty((len(planes), *size), np.float32)
    for to, plane in zip(made, planes, strict=True):
        to[...] = np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((size[1], size[0]), mode))
    return made.reshape(*a.shape[:-2], *size)


def _nearest(n: int, out: int, mode: str) -> np.ndarray:
    """Which pixel each new one takes."""
    places = np.arange(out, dtype=np.float32) + np.float32(0.5 if mode == "nearest-exact" else 0)
    return np.minimum(np.floor(places * np.float32(n / out)).astype(np.int64), n - 1)


def inverse_matrix(
    center: Any, angle: float, translate: Any, scale: float, shear: Any, inverted: bool = True
) -> list[float]:  # fmt: skip
    """Six numbers of the map from output to input: about a centre, shear, turn, scale, then shift, undone.

    With R(angle - sy) and shears sx, sy (degrees): M = T(t) C RSS C⁻¹, RSS = R Sy Sx scale.
    """
    rot, sx, sy = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    (cx, cy), (tx, ty) = center, translate
    a = math.cos(rot - sy) / math.cos(sy)
    b = -math.cos(rot - sy) * math.tan(sx) / math.cos(sy) - math.sin(rot)
    c = math.sin(rot - sy) / math.cos(sy)
    d = -math.sin(rot - sy) * math.tan(sx) / math.cos(sy) + math.cos(rot)
    if inverted:
        m = [x / scale for x in (d, -b, 0.0, -c, a, 0.0)]
        m[2] += m[0] * (-cx - tx) + m[1] * (-cy - ty)
        m[5] += m[3] * (-cx - tx) + m[4] * (-cy - ty)
        m[2] += cx
        m[5] += cy
        return m
    m = [x * scale for x in (a, b, 0.0, c, d, 0.0)]
    m[2] += m[0] * -cx + m[1] * -cy
    m[5] += m[3] * -cx + m[4] * -cy
    m[2] += cx + tx
    m[5] += cy + ty
    return m


def perspective_coefficients(startpoints: Any, endpoints: Any) -> list[float]:
    """Eight numbers of the projective map that takes four end points to four start points."""
    if len(startpoints) != 4 or len(endpoints) != 4:
        raise ValueError(
            f"Please provide exactly four corners, got {len(startpoints)} startpoints and {len(endpoints)} endpoints."
        )
    rows = []
    for (x, y), (u, v) in zip(endpoints, startpoints, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    wanted = np.asarray(startpoints, np.float64).reshape(8)
    solution = np.linalg.lstsq(np.asarray(rows, np.float64), wanted, rcond=None)[0]
    return solution.astype(np.float32).tolist()


def _float(a: np.ndarray) -> np.dtype:
    return a.dtype if a.dtype.kind == "f" else np.dtype(np.float32)


def _points(width: int, height: int, x0: float, y0: float, kind: np.dtype) -> np.ndarray:
    """[height, width, 3]: x, y, 1 of every pixel, counted from the first."""
    points = np.ones((height, width, 3), kind)
    points[..., 0] = np.arange(width, dtype=kind) + kind.type(x0)
    points[..., 1] = (np.arange(height, dtype=kind) + kind.type(y0))[:, None]
    return points


def affine(a: np.ndarray, matrix: list[float], mode: str, fill: Any, size: tuple[int, int] | None = None) -> np.ndarray:
    """Pixels fetched through a matrix about the image's centre, onto (width, height)."""
    h, w = a.shape[-2:]
    ow, oh = size or (w, h)
    kind = _float(a)
    theta = np.asarray(matrix, kind).reshape(2, 3).T / np.asarray([0.5 * w, 0.5 * h], kind)
    return sample(a, _points(ow, oh, -ow * 0.5 + 0.5, -oh * 0.5 + 0.5, kind) @ theta, mode, fill)


def turned_size(matrix: list[float], w: int, h: int) -> tuple[int, int]:
    """(width, height) that holds the whole image after the map."""
    corners = np.array([[x * w, y * h, 1.0] for x, y in ((-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5))], np.float32)
    moved = corners @ np.asarray(matrix, np.float32).reshape(2, 3).T
    half = np.asarray([w * 0.5, h * 0.5], np.float32)
    tolerance = np.float32(1e-4)
    low, high = (np.trunc((f(0) + half) / tolerance) * tolerance for f in (moved.min, moved.max))
    width, height = np.ceil(high) - np.floor(low)
    return int(width), int(height)


def perspective(a: np.ndarray, coefficients: list[float], mode: str, fill: Any) -> np.ndarray:
    """Pixels fetched through a projective map."""
    h, w = a.shape[-2:]
    kind = _float(a)
    c = np.asarray([*coefficients, 1.0], kind)
    points = _points(w, h, 0.5, 0.5, kind)
    top = points @ (c[:6].reshape(2, 3).T / np.asarray([0.5 * w, 0.5 * h], kind))
    return sample(a, top / (points @ c[6:])[..., None] - 1, mode, fill)


def elastic(a: np.ndarray, displacement: np.ndarray, mode: str, fill: Any) -> np.ndarray:
    """Pixels fetched from where [1, height, width, 2] says, beside their own places."""
    y, x = (np.linspace((1 - n) / n, (n - 1) / n, n, dtype=np.float32) for n in a.shape[-2:])
    own = np.stack(np.meshgrid(x, y), -1)
    return sample(a, own + displacement[0], mode, fill)


def sample(a: np.ndarray, grid: np.ndarray, mode: str, fill: Any) -> np.ndarray:
    """Pixels at places [height, width, 2] in [-1, 1] (x, y); beyond the border lies `fill`, or zero.

    ValueError for modes other than nearest and bilinear and for a fill that does not fit the channels.
    """
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"Interpolation mode '{mode}' is unsupported with Tensor input")
    channels = 1 if a.ndim == 2 else a.shape[-3]
    if isinstance(fill, (tuple, list)) and len(fill) > 1 and len(fill) != channels:
        raise ValueError(
            "The number of elements in 'fill' cannot broadcast to match the number of channels of the image "
            f"({len(fill)} != {channels})"
        )
    kind, (h, w) = grid.dtype, a.shape[-2:]
    values = a.astype(kind, copy=False).reshape(-1, channels, h * w)
    x, y = (((grid[..., i] + 1) * n - 1) / 2 for i, n in ((0, w), (1, h)))
    if mode == "nearest":
        made, inside = _fetched(values, np.rint(x), np.rint(y), w, h)
    else:
        made, inside = np.zeros((*values.shape[:2], *x.shape), kind), np.zeros(x.shape, kind)
        x0, y0 = np.floor(x), np.floor(y)
        for xi, wx in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
            for yi, wy in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
                part, there = _fetched(values, xi, yi, w, h)
                made += part * (wx * wy)
                inside += there * (wx * wy)
    if fill is not None:
        paint = np.asarray(fill, kind).reshape(-1, 1, 1)
        made = np.where(inside < 0.5, paint, made) if mode == "nearest" else made * inside + (1 - inside) * paint
    made = made.reshape(*a.shape[:-2], *x.shape)
    return made.astype(a.dtype, copy=False) if a.dtype.kind == "f" else np.rint(made).astype(a.dtype)


def _fetched(values: np.ndarray, x: np.ndarray, y: np.ndarray, w: int, h: int) -> tuple[np.ndarray, np.ndarray]:
    """[n, channels, ...] of whole places, zero outside; and which places are inside."""
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    at = np.where(inside, y * w + x, 0).astype(np.int64)
    return values[..., at] * inside, inside
