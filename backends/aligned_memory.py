"""Aligned memory: arrays that begin where vectors do, and where arrays are."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dialects.types import size_of
from . import huge_pages

ALIGNMENT = 64
_address, _array = ctypes.addressof, np.ndarray
_SMALL = 4096  # bytes up to which Python's own memory is made faster than numpy's


def aligned_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised row-major array whose memory starts at a multiple of 64 bytes.

    Every view of it refers to this very object: its reference count tells whether anybody can still see the memory.
    """
    return maker_of(shape, dtype)()[0]


def maker_of(shape: tuple[int, ...], dtype: np.dtype) -> Callable[[], tuple[np.ndarray, int]]:
    """What gives such an array, another one each time, and the address of its memory."""
    count = size_of(shape) * dtype.itemsize
    if count >= huge_pages.LARGE:
        return lambda: _large(shape, dtype, count)
    memory_of = (ctypes.c_char * (count + ALIGNMENT)).from_buffer  # not an ndarray: numpy gives views the last ndarray as base
    raw: Callable[[int], Any] = bytearray if count < _SMALL else _bytes

    def make() -> tuple[np.ndarray, int]:
        memory = memory_of(raw(count + ALIGNMENT))
        at = _address(memory)
        start = -at % ALIGNMENT
        return _array(shape, dtype, memory, start), at + start

    return make


def _bytes(count: int) -> np.ndarray:
    return np.empty(count, np.uint8)


def _large(shape: tuple[int, ...], dtype: np.dtype, count: int) -> tuple[np.ndarray, int]:
    start = -1
    if huge_pages.are_allowed():
        raw, start = huge_pages.large_memory(count)
    else:
        raw = _bytes(count + ALIGNMENT)
    memory = (ctypes.c_char * len(raw)).from_buffer(raw)
    at = ctypes.addressof(memory)
    if start < 0:
        start = -at % ALIGNMENT
    return np.ndarray(shape, dtype, memory, start), at + start


def address_of(array: np.ndarray) -> int:
    """Where the elements of a row-major array start."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # a sixth of the time numpy's own answer takes
    except (TypeError, ValueError):  # read only, empty, or of a dtype that buffers do not know
        return array.__array_interface__["data"][0]
