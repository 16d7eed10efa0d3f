"""Box-Muller as PyTorch's vector kernel rounds it: cephes polynomials in float32, libm in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from . import native_draws
from .fused import multiply_add

_LOG = (-1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1)
_LOG = (*_LOG, -2.4999993993e-1, 3.3333331174e-1)
_PI_OVER_4 = (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)  # minus pi/4 in three parts
_CHUNK = 1 << 15


def box_muller_blocks(uniforms: np.ndarray, mean: float, std: float) -> np.ndarray:
    """float32 or float64 [16 * k]: each block of 16 uniforms becomes 8 cosine and 8 sine samples.

    float32 follows the AVX kernel operation by operation (fused multiply-adds included), so the bits agree.
    """
    blocks = uniforms.reshape(-1, 16)
    if uniforms.dtype == np.float64:
        return _doubles(blocks, mean, std).ravel()
    made = native_draws.box_muller(uniforms, mean, std)
    if made is not None:
        return made
    drawn = np.empty_like(blocks)
    for start in range(0, len(blocks), _CHUNK // 16):
        part = blocks[start : start + _CHUNK // 16]
        radius = np.sqrt(np.float32(-2) * _log(np.float32(1) - part[:, :8]))
        sine, cosine = _sine_cosine(np.float32(2 * math.pi) * part[:, 8:])
        into = drawn[start : start + len(part)]
        into[:, :8] = multiply_add(radius * cosine, np.float32(std), np.float32(mean))
        into[:, 8:] = multiply_add(radius * sine, np.float32(std), np.float32(mean))
    return drawn.ravel()


def _doubles(blocks: np.ndarray, mean: float, std: float) -> np.ndarray:
    """libm element by element: numpy's own vector functions round a few results the other way."""
    radius = np.sqrt(-2.0 * _libm(math.log, 1.0 - blocks[:, :8]))
    angle = (2.0 * math.pi) * blocks[:, 8:]
    return np.concatenate([radius * _libm(math.cos, angle), radius * _libm(math.sin, angle)], axis=1) * std + mean


def _libm(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    return np.fromiter(map(function, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)


def _horner(x: np.ndarray, first: float, rest: tuple[float, ...]) -> np.ndarray:
    value = np.full_like(x, first)
    for coefficient in rest:
        value = multiply_add(value, x, np.float32(coefficient))
    return value


def _log(x: np.ndarray) -> np.ndarray:
    """float32 natural logarithm of x in (0, 1], cephes' logf."""
    bits = x.view(np.int32)
    exponent = ((bits >> 23) - 126).astype(np.float32)
    x = ((bits & 0x007FFFFF) | 0x3F000000).view(np.float32)
    small = x < np.float32(0.707106781186547524)
    x = (x - np.float32(1)) + np.where(small, x, np.float32(0))
    exponent -= small
    square = x * x
    y = _horner(x, 7.0376836292e-2, _LOG) * x
    y = multiply_add(y, square, exponent * np.float32(-2.12194440e-4))
    x = x + multiply_add(square, np.float32(-0.5), y)
    return multiply_add(exponent, np.float32(0.693359375), x)


def _sine_cosine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 sine and cosine of x >= 0, cephes' sincosf."""
    octant = ((x * np.float32(1.27323954473516)).astype(np.int32) + 1) & ~1
    whole = octant.astype(np.float32)
    for part in _PI_OVER_4:
        x = multiply_add(whole, np.float32(part), x)
    square = x * x
    near_axis = _horner(square, 2.443315711809948e-5, (-1.388731625493765e-3, 4.166664568298827e-2)) * square
    near_axis = multiply_add(near_axis, square, -(square * np.float32(0.5))) + np.float32(1)
    off_axis = _horner(square, -1.9515295891e-4, (8.3321608736e-3, -1.6666654611e-1)) * square
    off_axis = multiply_add(off_axis, x, x)
    even = (octant & 2) == 0
    sine_sign, cosine_sign = (octant & 4) << 29, (~(octant - 2) & 4) << 29
    sine, cosine = np.where(even, off_axis, near_axis), np.where(even, near_axis, off_axis)
    return (sine.view(np.int32) ^ sine_sign).view(np.float32), (cosine.view(np.int32) ^ cosine_sign).view(np.float32)
