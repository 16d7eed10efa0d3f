"""An emulated GPU: memory is the host's, kernels run on emulated threads. What it computes is what a GPU would."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...dialects.errors import BackendError
from ...lowering.cuda_source import CudaSource
from ...lowering.gpu_launches import LaunchTable
from .emulate import Kernels, available, build_library

MEMORY_BYTES = 8 << 30


class EmulatedDevice:
    """The interface of `cuda.device.Device` without a GPU. BackendError without g++."""

    name, arch, compute, processors, total_bytes = "emulated sm_90a", "sm_90a", 90, 132, MEMORY_BYTES
    kind = "emulated"

    def __init__(self) -> None:
        if not available():
            raise BackendError("the emulated GPU needs g++", help="install g++")
        self._memory: dict[int, np.ndarray] = {}
        self._used = 0
        self.stream: Any = 0

    def allocate(self, size: int) -> int:
        """The address of some bytes, full of NaN bits; 0 when there is no memory left."""
        if self._used + size > self.total_bytes:
            return 0
        raw = np.full(size + 256, 0xFF, np.uint8)
        address = raw.ctypes.data + -raw.ctypes.data % 256
        self._memory[address] = raw
        self._used += size
        return address

    def free_bytes(self) -> int:
        """What is left of the memory."""
        return self.total_bytes - self._used

    def release(self, address: int) -> None:
        """Give allocated bytes back."""
        self._used -= len(self._memory.pop(address)) - 256

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a row-major array to the device."""
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def fill(self, address: int, element: np.ndarray, count: int) -> None:
        """Write an element (of rank 0) so many times."""
        self.upload(address, np.full(count, element))

    def download(self, array: np.ndarray, address: int) -> None:
        """Copy from the device into a row-major array."""
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def copy(self, to: int, source: int, size: int) -> None:
        """Copy within the device."""
        ctypes.memmove(to, source, size)

    def synchronize(self) -> None:
        """Everything is done already."""

    def build(self, source: CudaSource, folder: Path) -> None:
        """Compile a program's kernels into a folder: the CUDA C++ to read, and a library."""
        (folder / "program.cu").write_text(source.text, encoding="utf-8")
        build_library(source, folder / "program.so")

    def load(self, folder: Path, table: LaunchTable) -> EmulatedProgram:
        """A built program, ready to run."""
        return EmulatedProgram(folder / "program.so", table)

    def new_stream(self) -> Any:
        """A name for a stream: everything runs in order."""
        return object()

    def use_stream(self, stream: Any) -> Any:
        """Launch on another stream; the stream before."""
        before, self.stream = self.stream, stream
        return before

    def wait_stream(self, stream: Any) -> None:
        """Everything is done already."""

    def new_event(self) -> Any:
        """An event that can be recorded and timed."""
        return [0.0]

    def drop_event(self, event: Any) -> None:
        """Nothing to give back."""

    def drop_stream(self, stream: Any) -> None:
        """Nothing to give back."""

    def record(self, event: Any) -> None:
        """The event happens now."""
        event[0] = time.perf_counter()

    def wait(self, event: Any) -> None:
        """It has happened already."""

    def has_happened(self, event: Any) -> bool:
        """It has."""
        return True

    def milliseconds(self, start: Any, end: Any) -> float:
        """The time between two events."""
        return 1e3 * (end[0] - start[0])


class EmulatedProgram:
    """A program's kernels as a library."""

    def __init__(self, library: Path, table: LaunchTable) -> None:
        self.table, self._kernels = table, Kernels(library, table)

    def run(self, addresses: Sequence[int]) -> None:
        """addresses: of every buffer of the launch table. BackendError names the kernel that goes wrong."""
        for launch in self.table.launches:
            self._kernels.run(launch, addresses)
