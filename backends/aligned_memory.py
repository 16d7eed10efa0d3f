"""Aligned memory: arrays that begin where vectors do, and where arrays are."""

from __future__ import annotations

import ctypes

import numpy as np

from ..dialects.types import size_of
from . import huge_pages

ALIGNMENT = 64
_SMALL = 4096  # bytes up to which Python's own memory is made faster than numpy's


def aligned_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised row-major array whose memory starts at a multiple of 64 bytes.

    Every view of it refers to this very object: its reference count tells whether anybody can still see the memory.
    """
    return aligned_array_at(shape, dtype)[0]


def aligned_array_at(shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, int]:
    """`aligned_array`, and the address of its memory."""
    count = size_of(shape) * dtype.itemsize
    start = -1
    if count >= huge_pages.LARGE and huge_pages.are_allowed():
        raw, start = huge_pages.large_memory(count)
    else:
        raw = bytearray(count + ALIGNMENT) if count < _SMALL else np.empty(count + ALIGNMENT, np.uint8)
    memory = (ctypes.c_char * len(raw)).from_buffer(raw)  # not an ndarray: numpy gives views the last ndarray as base
    at = ctypes.addressof(memory)
    if start < 0:
        start = -at % ALIGNMENT
    return np.ndarray(shape, dtype, buffer=memory, offset=start), at + start


def address_of(array: np.ndarray) -> int:
    """Where the elements of a row-major array start."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # a sixth of the time numpy's own answer takes
    except (TypeError, ValueError):  # read only, empty, or of a dtype that buffers do not know
        return array.__array_interface__["data"][0]
