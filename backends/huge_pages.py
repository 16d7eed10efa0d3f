"""Large arrays in huge pages: streams of weights wait for fewer page walks, and prefetchers meet fewer borders of pages.

What is allocated here starts with one and asks for them before it is touched. Arrays of others, which lie where numpy put them, are
moved into huge pages by the kernel, in place (Linux 6.1 and later; elsewhere nothing happens), once they have come to a program twice.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

PAGE = 2 << 20
"""Of x86-64, and of AArch64 with 4 KiB pages: where huge pages are larger, the kernel ignores what is asked."""
LARGE = PAGE
"""Smaller memory is left to numpy: it holds no page of its own."""
_COLLAPSE = 25  # MADV_COLLAPSE, which Python has no name for
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@lru_cache(maxsize=1)
def are_allowed() -> bool:
    """Whether this is a Linux whose administrator lets programs ask for huge pages."""
    try:
        return sys.platform == "linux" and "[never]" not in _SETTING.read_text(encoding="ascii")
    except OSError:
        return False


def large_memory(count: int) -> tuple[mmap.mmap, int]:
    """Memory of at least so many bytes, zeros, and where in it a huge page starts. The last part of a page stays in small ones: nothing
    is resident that is not used.
    """
    memory = mmap.mmap(-1, count + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % PAGE
    memory.madvise(mmap.MADV_HUGEPAGE, start, count // PAGE * PAGE)
    return memory, start


def move_into(array: np.ndarray) -> None:
    """Has the kernel put a large array's memory into huge pages; contents and address stay. Its first and last page may hold what lies
    beside it, too. A part where that cannot be done stays as it is.
    """
    if array.nbytes < LARGE or not are_allowed():
        return
    first, end = array.ctypes.data // PAGE * PAGE, array.ctypes.data + array.nbytes
    for page in range(first, end, PAGE):
        _libc().madvise(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), _COLLAPSE)


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
