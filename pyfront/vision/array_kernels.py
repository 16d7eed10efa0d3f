"""Image operations on arrays [..., channels, height, width]: colours, borders, blurring."""

from __future__ import annotations

from typing import Any

import numpy as np

from .images import converted, largest
from .padding import check_padding, sides

_NUMPY_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


def _float(a: np.ndarray) -> np.dtype:
    return a.dtype if a.dtype.kind == "f" else np.dtype(np.float32)


def _check_channels(a: np.ndarray, permitted: tuple[int, ...] = (1, 3), least: int = 2) -> None:
    if a.ndim < least:
        raise TypeError(f"Input image tensor should have at least 3 dimensions, but found {a.ndim}")
    channels = 1 if a.ndim == 2 else a.shape[-3]
    if channels not in permitted:
        raise TypeError(f"Input image tensor permitted channel values are {list(permitted)}, but found {channels}")


def _check_factor(name: str, factor: float) -> None:
    if factor < 0:
        raise ValueError(f"{name} ({factor}) is not non-negative.")


def _as(values: np.ndarray, dtype: np.dtype, rounded: bool = False) -> np.ndarray:
    """Back to the image's element type; torchvision truncates colours and rounds what was resampled."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    return (np.rint(values) if rounded else values).astype(dtype)


def hflip(a: np.ndarray) -> np.ndarray:
    """Left and right exchanged."""
    return a[..., ::-1]


def vflip(a: np.ndarray) -> np.ndarray:
    """Top and bottom exchanged."""
    return a[..., ::-1, :]


def crop(a: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A rectangle; what lies outside is zero."""
    h, w = a.shape[-2:]
    inside = a[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    if left >= 0 and top >= 0 and left + width <= w and top + height <= h:
        return inside
    made = np.zeros((*a.shape[:-2], height, width), a.dtype)
    y, x = max(-top, 0), max(-left, 0)
    made[..., y : y + inside.shape[-2], x : x + inside.shape[-1]] = inside
    return made


def pad(a: np.ndarray, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> np.ndarray:
    """A border around the image; a negative one crops."""
    check_padding(padding, fill, padding_mode)
    left, top, right, bottom = sides(padding)
    h, w = a.shape[-2:]
    if min(left, top, right, bottom) < 0:
        a = a[..., max(-top, 0) : h - max(-bottom, 0), max(-left, 0) : w - max(-right, 0)]
        left, top, right, bottom = (max(side, 0) for side in (left, top, right, bottom))
    widths = [(0, 0)] * (a.ndim - 2) + [(top, bottom), (left, right)]
    if padding_mode != "constant":
        return np.pad(a, widths, mode=_NUMPY_MODES[padding_mode])  # type: ignore[call-overload]  # one of the four
    fill = 0 if fill is None else fill
    if not isinstance(fill, (list, tuple)):
        return np.pad(a, widths, constant_values=a.dtype.type(fill))
    made = np.empty((*a.shape[:-2], a.shape[-2] + top + bottom, a.shape[-1] + left + right), a.dtype)
    made[...] = np.asarray(fill, a.dtype)[:, None, None]
    made[..., top : top + a.shape[-2], left : left + a.shape[-1]] = a
    return made


def normalize(a: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    """(a - mean) / std by channel. TypeError for whole numbers, ValueError for shapes that do not fit or a zero std."""
    if a.dtype.kind != "f":
        raise TypeError(f"Input tensor should be a float tensor. Got torch.{a.dtype}.")
    if a.ndim < 3:
        raise ValueError(f"Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = {a.shape}")
    mean, std = (np.asarray(getattr(v, "tolist", lambda v=v: v)(), a.dtype) for v in (mean, std))
    if (std == 0).any():
        raise ValueError(f"std evaluated to zero after conversion to torch.{a.dtype}, leading to division by zero.")
    mean, std = (v[:, None, None] if v.ndim == 1 else v for v in (mean, std))
    made = a - mean
    made /= std
    return made


def rgb_to_grayscale(a: np.ndarray, num_output_channels: int = 1) -> np.ndarray:
    """0.2989 red + 0.587 green + 0.114 blue (ITU-R 601-2), in one channel or in three equal ones."""
    if a.ndim < 3:
        raise TypeError(f"Input image tensor should have at least 3 dimensions, but found {a.ndim}")
    _check_channels(a)
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    if a.shape[-3] == 3:
        kind = _float(a).type
        r, g, b = (a[..., i : i + 1, :, :] for i in range(3))
        a = _as(r * kind(0.2989) + g * kind(0.587) + b * kind(0.114), a.dtype)
    return np.broadcast_to(a, (*a.shape[:-3], 3, *a.shape[-2:])) if num_output_channels == 3 else a.copy()


def _blend(a: np.ndarray, other: Any, ratio: float) -> np.ndarray:
    """ratio * a + (1 - ratio) * other, kept in range."""
    kind = _float(a).type
    made = a * kind(ratio)
    made += kind(1.0 - ratio) * other
    return _as(np.clip(made, 0, largest(a.dtype), out=made), a.dtype)


def adjust_brightness(a: np.ndarray, brightness_factor: float) -> np.ndarray:
    """0 is black, 1 the image."""
    _check_factor("brightness_factor", brightness_factor)
    _check_channels(a)
    return _blend(a, _float(a).type(0), float(brightness_factor))


def adjust_contrast(a: np.ndarray, contrast_factor: float) -> np.ndarray:
    """0 is the mean grey, 1 the image."""
    _check_factor("contrast_factor", contrast_factor)
    _check_channels(a)
    grey = rgb_to_grayscale(a) if a.ndim > 2 and a.shape[-3] == 3 else a
    axes = tuple(range(-min(a.ndim, 3), 0))
    mean = grey.mean(axes, keepdims=True, dtype=np.float64).astype(_float(a))
    return _blend(a, mean, float(contrast_factor))


def adjust_saturation(a: np.ndarray, saturation_factor: float) -> np.ndarray:
    """0 is black and white, 1 the image."""
    _check_factor("saturation_factor", saturation_factor)
    _check_channels(a)
    return a if a.ndim == 2 or a.shape[-3] == 1 else _blend(a, rgb_to_grayscale(a), float(saturation_factor))


def adjust_hue(a: np.ndarray, hue_factor: float) -> np.ndarray:
    """Hue turned by a fraction of the circle in [-0.5, 0.5]. ValueError outside."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    _check_channels(a)
    if a.ndim == 2 or a.shape[-3] == 1:
        return a
    h, s, v = _hsv(converted(a, np.dtype(np.float32)) if a.dtype.kind != "f" else a)
    return converted(_rgb((h + h.dtype.type(hue_factor)) % 1, s, v), a.dtype)


def _hsv(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue, saturation and value of red, green and blue (Foley and van Dam's hexcone)."""
    r, g, b = (a[..., i, :, :] for i in range(3))
    high, low = a.max(-3), a.min(-3)
    grey = high == low
    span = high - low
    s = span / np.where(grey, 1, high)
    divisor = np.where(grey, a.dtype.type(1), span)
    rc, gc, bc = ((high - c) / divisor for c in (r, g, b))
    red, green = high == r, (high == g) & (high != r)
    h = red * (bc - gc) + green * (2 + rc - bc) + ~(red | green) * (4 + gc - rc)
    return np.fmod(h / a.dtype.type(6) + 1, 1).astype(a.dtype), s.astype(a.dtype), high


def _rgb(h: np.ndarray, s: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Back from the hexcone."""
    sector = np.floor(h * 6)
    f = h * 6 - sector
    p, q, t = (np.clip(v * (1 - x), 0, 1) for x in (s, s * f, s * (1 - f)))
    sector = sector.astype(np.int64) % 6
    channels = ((v, q, p, p, t, v), (t, v, v, q, p, p), (p, p, t, v, v, q))
    return np.stack([np.choose(sector, choices) for choices in channels], -3).astype(h.dtype)


def adjust_gamma(a: np.ndarray, gamma: float, gain: float = 1) -> np.ndarray:
    """gain * a ** gamma, kept in [0, 1]."""
    _check_channels(a)
    if gamma < 0:
        raise ValueError("Gamma should be a non-negative real number")
    scaled = a if a.dtype.kind == "f" else converted(a, np.dtype(np.float32))
    return converted(np.clip(scaled ** scaled.dtype.type(gamma) * scaled.dtype.type(gain), 0, 1), a.dtype)


def invert(a: np.ndarray) -> np.ndarray:
    """The negative."""
    _check_channels(a, least=3)
    return (largest(a.dtype) - a).astype(a.dtype, copy=False)


def _check_bytes(a: np.ndarray) -> None:
    if a.dtype != np.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found torch.{a.dtype}")


def posterize(a: np.ndarray, bits: int) -> np.ndarray:
    """Only the highest bits of each value."""
    _check_channels(a, least=3)
    _check_bytes(a)
    return a & np.uint8(256 - (1 << (8 - bits)) & 255)


def solarize(a: np.ndarray, threshold: float) -> np.ndarray:
    """The negative of what is at or above the threshold."""
    _check_channels(a, least=3)
    if threshold > largest(a.dtype):
        raise TypeError("Threshold should be less than bound of img.")
    return np.where(a >= threshold, invert(a), a)


def autocontrast(a: np.ndarray) -> np.ndarray:
    """Darkest to black, brightest to white, by channel."""
    _check_channels(a, least=3)
    low, high = (f((-2, -1), keepdims=True).astype(_float(a)) for f in (a.min, a.max))
    flat = low == high
    scale = np.where(flat, 1, largest(a.dtype) / np.where(flat, 1, high - low)).astype(low.dtype)
    made = (a - np.where(flat, 0, low).astype(low.dtype)) * scale
    return _as(np.clip(made, 0, largest(a.dtype)), a.dtype)


def equalize(a: np.ndarray) -> np.ndarray:
    """All values about equally frequent, by channel."""
    if not 3 <= a.ndim <= 4:
        raise TypeError(f"Input image tensor should have 3 or 4 dimensions, but found {a.ndim}")
    _check_bytes(a)
    _check_channels(a)
    planes = a.reshape(-1, a.shape[-2] * a.shape[-1])
    return np.stack([_equalized(plane) for plane in planes]).reshape(a.shape)


def _equalized(plane: np.ndarray) -> np.ndarray:
    counts = np.bincount(plane, minlength=256)
    step = counts[counts != 0][:-1].sum() // 255
    if step == 0:
        return plane
    table = (np.cumsum(counts) + step // 2) // step
    return np.clip(np.concatenate([[0], table[:-1]]), 0, 255).astype(np.uint8)[plane]


def adjust_sharpness(a: np.ndarray, sharpness_factor: float) -> np.ndarray:
    """0 is blurred, 1 the image."""
    _check_factor("sharpness_factor", sharpness_factor)
    _check_channels(a)
    h, w = a.shape[-2:]
    if h <= 2 or w <= 2:
        return a
    kind = _float(a).type
    weights = np.full((3, 3), 1 / 13, kind)
    weights[1, 1] = kind(5) / kind(13)
    inner = np.zeros((*a.shape[:-2], h - 2, w - 2), kind)
    for y in range(3):
        for x in range(3):
            inner += a[..., y : h - 2 + y, x : w - 2 + x] * weights[y, x]
    blurred = a.copy()
    blurred[..., 1:-1, 1:-1] = _as(inner, a.dtype, rounded=True)
    return _blend(a, blurred, float(sharpness_factor))


def gaussian_kernel(size: int, sigma: float, kind: Any) -> np.ndarray:
    """Weights exp(-(x / sigma)² / 2) that sum to one."""
    x = np.linspace(-(size - 1) * 0.5, (size - 1) * 0.5, size, dtype=np.float64)
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    return (weights / weights.sum()).astype(kind)


def gaussian_blur(a: np.ndarray, kernel_size: list[int], sigma: list[float]) -> np.ndarray:
    """Weighted means along both axes, the border mirrored. kernel_size and sigma are (x, y)."""
    dtype, kind = a.dtype, _float(a)
    (kx, ky), (sx, sy) = kernel_size, sigma
    widths = [(0, 0)] * (a.ndim - 2) + [(ky // 2, ky // 2), (kx // 2, kx // 2)]
    if any(before >= n for (before, _), n in zip(widths[-2:], a.shape[-2:], strict=True)):
        raise RuntimeError(
            f"Padding size should be less than the corresponding input dimension, but got: padding {widths[-2:]} "
            f"for an image of {list(a.shape)}"
        )
    padded = np.pad(a.astype(kind, copy=False), widths, mode="reflect")
    h, w = a.shape[-2:]
    rows = sum(padded[..., i : i + h, :] * weight for i, weight in enumerate(gaussian_kernel(ky, sy, kind)))
    made = sum(rows[..., i : i + w] * weight for i, weight in enumerate(gaussian_kernel(kx, sx, kind)))
    return _as(made, dtype, rounded=True)
