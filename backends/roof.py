"""The machine's roof, measured once and kept in the cache: operations per second, and bytes per second at several sizes.

A kernel of so many operations on so many bytes cannot take less than the larger of both divisions: that time over its own is the
share of the roof it reaches (Williams, Waterman, Patterson, 2009). Measured for one thread; threads multiply it.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..dialects.target import native_target
from .cache import key_of, lookup, store
from .toolchain import build_shared, find_compiler

_KIB = (16, 256, 4096, 65536)
"""Sizes of all three arrays together: within the first cache, the second, the third, and beyond."""


@dataclass(frozen=True)
class Roof:
    """operations: per second and thread. bandwidths: (bytes, bytes per second) with growing bytes."""

    operations: float
    bandwidths: tuple[tuple[int, float], ...]

    def seconds(self, operations: float, bytes: float) -> float:
        """The least time one thread could take."""
        sizes, speeds = zip(*self.bandwidths, strict=True)
        bandwidth = float(np.interp(np.log(max(bytes, 1)), np.log(sizes), speeds))
        return max(operations / self.operations, bytes / bandwidth)


@lru_cache(maxsize=1)
def roof() -> Roof | None:
    """This machine's; None without a C compiler."""
    compiler = find_compiler()
    if compiler is None:
        return None
    source = Path(__file__).with_name("roof.c")
    key = key_of("roof", source.read_text(encoding="utf-8"), compiler.identity, compiler.flags)

    def make(folder: Path) -> dict[str, object]:
        lanes = f"-DLANES={native_target().lanes(4)}"
        build_shared(compiler, source, folder / "roof.so", ("-O2", "-ffp-contract=fast", lanes))
        operations, bandwidths = _measured(ctypes.CDLL(str(folder / "roof.so")))
        return {"operations": operations, "bandwidths": bandwidths}

    _, facts = lookup(key) or store(key, make)
    return Roof(float(facts["operations"]), tuple((int(size), float(speed)) for size, speed in facts["bandwidths"]))


def _measured(library: ctypes.CDLL) -> tuple[float, list[tuple[int, float]]]:
    """The best of several tries each: others only ever take something away."""
    for function, arguments in ((library.lamina_roof_operations, 1), (library.lamina_roof_bytes, 3)):
        function.restype = ctypes.c_double
        function.argtypes = [ctypes.c_void_p] * arguments + [ctypes.c_int64] * (2 if arguments == 3 else 1)
    seed = np.full(64, 1e-3, np.float32)
    operations = max(library.lamina_roof_operations(seed.ctypes.data, 200_000) for _ in range(15))
    bandwidths = []
    for kib in _KIB:
        count = kib * 1024 // 12
        arrays = [np.zeros(count, np.float32) for _ in range(3)]
        rounds = max(2, 4096 // kib)
        places = [a.ctypes.data for a in arrays]
        bandwidths.append((kib << 10, max(library.lamina_roof_bytes(*places, count, rounds) for _ in range(8))))
    return operations, bandwidths
