"""A stand-in for cuda.bindings.driver: memory is the host's, kernels run on the emulation, every call is noted."""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lamina.backends.emulation.emulate import build_library, tensor_map
from lamina.lowering.cuda_source import CudaSource
from lamina.lowering.gpu_launches import TensorMap


class Status:
    """A CUresult."""

    def __init__(self, name: str) -> None:
        self.name = name


FINE, NO_MEMORY, NOT_READY, LAUNCH_FAILED = map(
    Status, ("CUDA_SUCCESS", "CUDA_ERROR_OUT_OF_MEMORY", "CUDA_ERROR_NOT_READY", "CUDA_ERROR_LAUNCH_FAILED")
)


class FakeDriver:
    """The functions `backends.cuda.device` and `launching` call, with the bindings' way of answering in tuples.

    total: bytes of memory. fails_at: a launch of this kernel leaves an error that the next wait reports, as on a GPU.
    """

    CUresult = SimpleNamespace(CUDA_SUCCESS=FINE, CUDA_ERROR_OUT_OF_MEMORY=NO_MEMORY, CUDA_ERROR_NOT_READY=NOT_READY)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major", CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor",
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT="processors",
    )  # fmt: skip
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="shared")
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self, total: int = 1 << 30, count: int = 1, compute: tuple[int, int] = (9, 0), fails_at: str = "") -> None:
        self.calls: list[str] = []
        self.total, self.count, self.compute, self.fails_at = total, count, compute, fails_at
        self.used, self.sticky = 0, False  # bytes; whether a kernel has failed
        self.busy = False  # whether nobody has waited for what was begun last
        self.memory: dict[int, np.ndarray] = {}
        self.capturing: list[Any] | None = None

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("cu"):
            return found

        def noted(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            if name in ("cuLaunchKernel", "cuGraphLaunch") or name.endswith("Async"):
                self.busy = True
            return found(*arguments)

        return noted

    def times(self, name: str) -> int:
        """How often a function was called."""
        return self.calls.count(name)

    # -- the device

    def cuInit(self, flags):
        return (FINE,)

    def cuDriverGetVersion(self):
        return FINE, 13000

    def cuDeviceGetCount(self):
        return FINE, self.count

    def cuDeviceGet(self, number):
        return FINE, number

    def cuDeviceGetName(self, length, device):
        return FINE, b"Fake GPU\0\0"

    def cuDeviceGetAttribute(self, which, device):
        return FINE, {"major": self.compute[0], "minor": self.compute[1], "processors": 4}[which]

    def cuDeviceTotalMem(self, device):
        return FINE, self.total

    def cuDevicePrimaryCtxRetain(self, device):
        return FINE, "context"

    def cuCtxSetCurrent(self, context):
        return (FINE,)

    def cuCtxSynchronize(self):
        self.busy = False
        return (LAUNCH_FAILED if self.sticky else FINE,)

    def cuGetErrorString(self, status):
        return FINE, {LAUNCH_FAILED: b"unspecified launch failure"}.get(status, b"out of memory")

    def cuMemGetInfo(self):
        return FINE, self.total - self.used, self.total

    # -- memory

    def _new(self, size):
        raw = np.full(size + 256, 0xFF, np.uint8)
        address = raw.ctypes.data + -raw.ctypes.data % 256
        self.memory[address] = raw
        return FINE, address

    def cuMemAlloc(self, size):
        if self.used + size > self.total:
            return NO_MEMORY, 0
        self.used += size
        return self._new(size)

    def cuMemFree(self, address):
        assert not self.busy, "memory is given back that a kernel may still use"
        self.used -= len(self.memory.pop(address)) - 256
        return (FINE,)

    def cuMemHostAlloc(self, size, flags):
        return self._new(size)

    def cuMemFreeHost(self, address):
        self.memory.pop(address)
        return (FINE,)

    def cuMemcpyHtoDAsync(self, to, source, size, stream):
        ctypes.memmove(to, source, size)
        return (FINE,)

    def cuMemcpyDtoHAsync(self, to, source, size, stream):
        ctypes.memmove(to, source, size)
        return (LAUNCH_FAILED if self.sticky else FINE,)

    def cuMemcpyDtoDAsync(self, to, source, size, stream):
        ctypes.memmove(to, source, size)
        return (FINE,)

    def _set(self, to, value, count, width):
        assert count > 0 and 0 <= value < 1 << 8 * width and to % width == 0
        ctypes.memmove(to, value.to_bytes(width, "little") * count, width * count)
        return (FINE,)

    def cuMemsetD8Async(self, to, value, count, stream):
        return self._set(to, value, count, 1)

    def cuMemsetD16Async(self, to, value, count, stream):
        return self._set(to, value, count, 2)

    def cuMemsetD32Async(self, to, value, count, stream):
        return self._set(to, value, count, 4)

    # -- programs: a "cubin" is the names of its kernels and an emulated library

    def cuModuleLoadData(self, cubin):
        names, _, library = cubin.partition(b"\n")
        with tempfile.NamedTemporaryFile(suffix=".so") as file:
            file.write(library)
            file.flush()
            run = ctypes.CDLL(file.name).lm_run
        kernels = [line.split(":") for line in names.decode().split()]
        return FINE, {n: (run, k, n, *map(int, counts)) for k, (n, *counts) in enumerate(kernels)}

    def cuModuleUnload(self, module):
        return (FINE,)

    def cuModuleGetFunction(self, module, name):
        return FINE, module[name.decode()]

    def cuFuncSetAttribute(self, function, kind, value):
        return (FINE,)

    def cuLaunchKernel(self, function, x, y, z, threads, one, two, shared, stream, arguments, extra):
        launch = (function, (x, y, z), threads, shared, self._arguments(arguments, *function[3:6]))
        if self.capturing is not None:
            self.capturing.append(launch)
        else:
            self._run(launch)
        return (FINE,)

    @staticmethod
    def _arguments(table: int, pointers: int, maps: int, packed: int) -> tuple[list[int], list[Any]]:
        """What the driver copies during the call: the values of pointers, or the table of them, and the 128 bytes of tensor maps."""
        if packed:
            size = 8 * pointers
            return [], [(ctypes.c_uint8 * size).from_buffer_copy(ctypes.string_at(ctypes.c_uint64.from_address(table).value, size))]
        at = [ctypes.c_uint64.from_address(table + 8 * i).value for i in range(pointers + maps)]
        values = [ctypes.c_uint64.from_address(a).value for a in at[:pointers]]
        return values, [(ctypes.c_uint8 * 128).from_buffer_copy(ctypes.string_at(a, 128)) for a in at[pointers:]]

    def _run(self, launch: tuple[Any, ...]) -> None:
        (run, number, name, *_), grid, threads, shared, (values, maps) = launch
        if name == self.fails_at:
            self.sticky = True
            return
        pointers = [*values, *[ctypes.addressof(m) for m in maps]]
        table = (ctypes.c_void_p * max(1, len(pointers)))(*pointers)
        assert run(number, table, (ctypes.c_uint * 3)(*grid), threads, ctypes.c_size_t(shared), ctypes.c_uint32(1)) == 0

    # -- streams, graphs, events

    def cuStreamCreate(self, flags):
        return FINE, object()

    def cuStreamDestroy(self, stream):
        return (FINE,)

    def cuStreamSynchronize(self, stream):
        return (FINE,)

    def cuStreamWaitEvent(self, stream, event, flags):
        return (FINE,)

    def cuStreamBeginCapture(self, stream, mode):
        self.capturing = []
        return (FINE,)

    def cuStreamEndCapture(self, stream):
        made, self.capturing = self.capturing, None
        return FINE, made

    def cuGraphInstantiate(self, graph, flags):
        return FINE, list(graph)

    def cuGraphDestroy(self, graph):
        return (FINE,)

    def cuGraphExecDestroy(self, graph):
        return (FINE,)

    def cuGraphLaunch(self, graph, stream):
        for launch in graph:
            self._run(launch)
        return (FINE,)

    def cuEventCreate(self, flags):
        return FINE, [0]

    def cuEventDestroy(self, event):
        return (FINE,)

    def cuEventRecord(self, event, stream):
        event[0] = len(self.calls)
        return (FINE,)

    def cuEventSynchronize(self, event):
        return (FINE,)

    def cuEventQuery(self, event):
        return (FINE,)

    def cuEventElapsedTime(self, start, end):
        return FINE, float(end[0] - start[0])


def cubin_of(source: CudaSource, folder: Path) -> bytes:
    """What `FakeDriver.cuModuleLoadData` loads."""
    build_library(source, folder / "program.so")
    counts = {
        launch.kernel: f"{len(launch.arguments)}:{len(launch.maps)}:{int(launch.packed)}:{launch.shape.cluster}" for launch in source.table.launches
    }  # fmt: skip
    kernels = " ".join(f"{name}:{counts[name]}" for name in source.table.kernels())
    return kernels.encode() + b"\n" + (folder / "program.so").read_bytes()


def install(monkeypatch: Any, driver: FakeDriver) -> None:
    """Let ``from cuda.bindings import driver`` find this one, and let NVRTC's part be done by g++, a driver's maps of tensors be the emulation's."""
    from lamina.backends.cuda import device
    from lamina.backends.cuda.units import Module, write_modules

    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(driver=driver))

    def build(self: Any, source: CudaSource, folder: Path) -> None:
        write_modules(folder, [Module(cubin_of(source, folder), {name: name for name in source.table.kernels()})])

    def encode_map(self: Any, at: int, view: TensorMap, address: int) -> None:
        made = tensor_map(view, address)
        ctypes.memmove(at, ctypes.addressof(made), ctypes.sizeof(made))

    monkeypatch.setattr(device.Device, "build", build)
    monkeypatch.setattr(device.Device, "encode_map", encode_map)
    monkeypatch.setattr(device.Device, "kind", "fake")  # what it builds is no GPU's


def same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    """Bit for bit."""
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))
