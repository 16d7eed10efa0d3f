"""The GPU through cuda.bindings: memory, copies, streams, events; what fails is said with the kernels it can have been."""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...dialects.errors import BackendError
from ...dialects.target import GPU_TARGETS, gpu_target_named, with_processors
from ...lowering.cuda_source import CudaSource
from ...lowering.gpu_launches import LaunchTable, TensorMap
from .confirmation import is_confirmed
from .launching import DriverProgram
from .nvrtc import available, version
from .units import build_units, read_modules

STAGING_SLOTS, STAGING_BYTES = 4, 32 << 20
"""Pinned buffers that uploads pass through, and the largest of them: larger arrays are copied while the host waits."""

FILL_BYTES = 1 << 16
"""Of elements the driver cannot set, what is sent before copies within the device."""
_MEMSET = {1: "cuMemsetD8Async", 2: "cuMemsetD16Async", 4: "cuMemsetD32Async"}

REMEMBERED = 8
INSTALL = "pip install lamina[cuda]"
LEAST_DRIVER = 12010
"""Of CUDA 12.1: from it on a kernel takes more than 4 KiB of arguments (an optimizer's table of arrays)."""


class Device:
    """The first CUDA device. BackendError when there is no driver, no device, or cuda-python is not installed."""

    kind = "gpu"
    """What the disk cache calls programs of any GPU of a target: they can be made on another machine."""

    def __init__(self, wgmma: bool | None = False) -> None:
        """wgmma: products by wgmma and the copy engine where the GPU has them. None: where it was confirmed that this GPU makes them right."""
        self._wgmma = wgmma
        try:
            from cuda.bindings import driver
        except ImportError as error:
            raise BackendError(f"no GPU can be used: {error}", help=INSTALL) from None
        self.driver = driver
        self.recent: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)  # kernels launched since the last wait
        self.stream: Any = 0
        self.context: Any = None
        self._thread = threading.local()
        try:
            self.call("cuInit", 0)
        except BackendError as error:
            raise BackendError(f"no GPU can be used: {error}", help="look at nvidia-smi and CUDA_VISIBLE_DEVICES") from None
        except RuntimeError as error:  # the bindings' way to say that libcuda is not there
            raise BackendError(f"no GPU can be used: {error}", help="install NVIDIA's driver") from None
        self.version = self.call("cuDriverGetVersion")
        if self.version < LEAST_DRIVER:
            known = f"the driver knows CUDA {_spelled(self.version)}, lamina needs {_spelled(LEAST_DRIVER)}"
            raise BackendError(f"no GPU can be used: {known}", help="install a newer NVIDIA driver")
        if not self.call("cuDeviceGetCount"):
            raise BackendError("no GPU can be used: the driver sees none", help="look at CUDA_VISIBLE_DEVICES")
        handle = self.call("cuDeviceGet", 0)
        self.name = self.call("cuDeviceGetName", 100, handle).rstrip(b"\0").decode()
        kinds = driver.CUdevice_attribute
        major = self.call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, handle)
        minor = self.call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, handle)
        self.compute = 10 * major + minor
        self.processors = self.call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, handle)
        self.total_bytes = self.call("cuDeviceTotalMem", handle)
        self.context = self.call("cuDevicePrimaryCtxRetain", handle)
        self.enter()
        self._staging = [_Pinned(self) for _ in range(STAGING_SLOTS)]
        self._turn = 0

    @property
    def wgmma(self) -> bool:
        """Whether products are by wgmma where the GPU has it. Who leaves that to the GPU asks it at the first program."""
        if self._wgmma is None:
            self._wgmma = native_arch(self.compute, True) != native_arch(self.compute) and is_confirmed(self)
        return self._wgmma

    @property
    def arch(self) -> str:
        """The target programs are compiled for, with this GPU's number of processors. BackendError when it is older than all of them."""
        return with_processors(native_arch(self.compute, self.wgmma), self.processors)

    def enter(self) -> None:
        """Before a thread's first call: the driver keeps the current context per thread."""
        if self.context is not None and not getattr(self._thread, "entered", False):
            self._thread.entered = True
            self.call("cuCtxSetCurrent", self.context)

    def call(self, name: str, *arguments: Any) -> Any:
        """A function of the driver API; its result without the status. BackendError with the driver's words."""
        self.enter()
        status, *values = getattr(self.driver, name)(*arguments)
        if status != self.driver.CUresult.CUDA_SUCCESS:
            raise self.failure(name, status)
        return values[0] if len(values) == 1 else tuple(values) or None

    def is_lost(self) -> bool:
        """Whether a kernel's failure has left the context without use: every call fails from then on."""
        try:
            self.call("cuCtxSynchronize")
        except BackendError:
            return True
        return False

    def failure(self, name: str, status: Any) -> BackendError:
        """What a status means, with the kernels that may have failed: launches report errors later, at any call."""
        text = self.driver.cuGetErrorString(status)[1]
        words = text.decode() if isinstance(text, bytes) else status.name
        facts = [("launched before" if i == 0 else "", kernel, origin) for i, (kernel, origin) in enumerate(self.recent)]
        help = "LAMINA_CHECK=1 waits after every launch and names the kernel; start the program anew: the device's state is lost"
        return BackendError(f"{name}: {words} ({status.name})", facts, help=help if facts else None)

    # -- memory

    def allocate(self, size: int) -> int:
        """The address of some bytes; 0 when there is no memory left."""
        self.enter()
        status, address = self.driver.cuMemAlloc(size)
        if status == self.driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            return 0
        if status != self.driver.CUresult.CUDA_SUCCESS:
            raise self.failure("cuMemAlloc", status)
        return int(address)

    def free_bytes(self) -> int:
        """What nobody has of the device's memory, other programs included."""
        free, _ = self.call("cuMemGetInfo")
        return int(free)

    def release(self, address: int) -> None:
        """Give allocated bytes back, after everything launched so far: that cuMemFree waits for what uses them no document says."""
        self.call("cuCtxSynchronize")
        self.call("cuMemFree", address)

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copy a row-major array to the device, in the order of launches. The array may change afterwards."""
        if not array.nbytes:
            return
        if array.nbytes > STAGING_BYTES:
            self.call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, self.stream)
            self.call("cuStreamSynchronize", self.stream)
            return
        self._turn = (self._turn + 1) % STAGING_SLOTS
        self._staging[self._turn].send(address, array)

    def download(self, array: np.ndarray, address: int) -> None:
        """Copy from the device into a row-major array, after everything launched so far."""
        if array.nbytes:
            self.call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, self.stream)
        self.synchronize()

    def fill(self, address: int, element: np.ndarray, count: int) -> None:
        """Write an element (of rank 0) so many times, in the order of launches."""
        pattern, size = element.tobytes(), element.nbytes * count
        width = next((w for w in _MEMSET if pattern == pattern[:w] * (len(pattern) // w)), None)
        if width is not None:
            if size:
                self.call(_MEMSET[width], address, int.from_bytes(pattern[:width], "little"), size // width, self.stream)
            return
        done = min(size, FILL_BYTES)
        self.upload(address, np.full(done // element.nbytes, element))
        while done < size:  # the driver sets up to four bytes: longer elements double what is there
            more = min(done, size - done)
            self.copy(address + done, address, more)
            done += more

    def copy(self, to: int, source: int, size: int) -> None:
        """Copy within the device, in the order of launches."""
        if size:
            self.call("cuMemcpyDtoDAsync", to, source, size, self.stream)

    def synchronize(self) -> None:
        """Until everything launched is done. BackendError when a kernel failed."""
        self.call("cuCtxSynchronize")
        self.recent.clear()

    # -- programs

    def build(self, source: CudaSource, folder: Path) -> None:
        """Compile a program's kernels into a folder: the source, PTX to read, modules."""
        build_units(source, folder, gpu_target_named(self.arch).arch)

    def load(self, folder: Path, table: LaunchTable) -> DriverProgram:
        """A built program, ready to run. BackendError when the driver does not take it."""
        try:
            return DriverProgram(self, read_modules(folder), table)
        except BackendError as error:
            facts = [("driver", f"CUDA {_spelled(self.version)}", ""), ("compiled by", f"NVRTC {version()}" if available() else "NVRTC", "")]
            raise BackendError(f"the driver does not load a program: {error}", facts, help="install a driver as new as NVRTC") from None

    def encode_map(self, at: int, view: TensorMap, address: int) -> None:
        """Write the tensor map of an array at an address to 128 bytes of the host (128-byte aligned)."""
        d = self.driver
        rank = len(view.sizes)
        kind = getattr(d.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{_MAP_TYPES[view.element]}")
        status = self._encode_tiled(
            ctypes.c_void_p(at), int(kind), rank, ctypes.c_void_p(address), (ctypes.c_uint64 * rank)(*view.sizes),
            (ctypes.c_uint64 * rank)(*[view.element_bytes * s for s in view.strides]), (ctypes.c_uint32 * rank)(*view.reach),
            (ctypes.c_uint32 * rank)(*view.every), int(d.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE),
            int(d.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B), int(d.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B),
            int(d.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
        )  # fmt: skip
        if status:
            raise BackendError(f"cuTensorMapEncodeTiled: error {status} for {view}", help="this is a bug of lamina's gpu lowering")

    @cached_property
    def _encode_tiled(self) -> Any:
        """The driver's function itself: the bindings' maps are not aligned as it asks."""
        return ctypes.CDLL("libcuda.so.1").cuTensorMapEncodeTiled

    # -- streams and events

    def new_stream(self) -> Any:
        """A stream that waits for no other."""
        return self.call("cuStreamCreate", self.driver.CUstream_flags.CU_STREAM_NON_BLOCKING)

    def use_stream(self, stream: Any) -> Any:
        """Launch on another stream, behind everything launched so far; the stream before."""
        before = self.stream
        event = self.new_event()
        self.call("cuEventRecord", event, before)
        self.call("cuStreamWaitEvent", stream, event, 0)
        self.call("cuEventDestroy", event)
        self.stream = stream
        return before

    def wait_stream(self, stream: Any) -> None:
        """Until everything on a stream is done."""
        self.call("cuStreamSynchronize", stream)

    def new_event(self) -> Any:
        """An event that can be recorded and timed."""
        return self.call("cuEventCreate", 0)

    def drop_event(self, event: Any) -> None:
        """Give an event back. At a program's end the driver may be gone: nothing is raised."""
        self.driver.cuEventDestroy(event)

    def drop_stream(self, stream: Any) -> None:
        """Give a stream back once its work is done; nothing is raised."""
        self.driver.cuStreamDestroy(stream)

    def record(self, event: Any) -> None:
        """The event happens when everything launched so far is done."""
        self.call("cuEventRecord", event, self.stream)

    def wait(self, event: Any) -> None:
        """Until an event has happened."""
        self.call("cuEventSynchronize", event)

    def has_happened(self, event: Any) -> bool:
        """Whether an event has happened."""
        self.enter()
        (status,) = self.driver.cuEventQuery(event)
        if status == self.driver.CUresult.CUDA_ERROR_NOT_READY:
            return False
        if status != self.driver.CUresult.CUDA_SUCCESS:
            raise self.failure("cuEventQuery", status)
        return True

    def milliseconds(self, start: Any, end: Any) -> float:
        """The time between two events."""
        return float(self.call("cuEventElapsedTime", start, end))


class _Pinned:
    """One pinned buffer: the host writes it, the device reads it some time later."""

    def __init__(self, device: Device) -> None:
        self.device, self.size, self.memory, self.sent = device, 0, 0, None

    def send(self, address: int, array: np.ndarray) -> None:
        """Copy an array here and from here to the device, without waiting for the device."""
        device = self.device
        if self.sent is None:
            self.sent = device.new_event()
        else:
            device.wait(self.sent)  # until what was here before has been read
        if self.size < array.nbytes:
            if self.size:
                device.call("cuMemFreeHost", self.memory)
            self.size = max(1 << 16, 1 << (array.nbytes - 1).bit_length())
            self.memory = int(device.call("cuMemHostAlloc", self.size, 0))
        ctypes.memmove(self.memory, array.ctypes.data, array.nbytes)
        device.call("cuMemcpyHtoDAsync", address, self.memory, array.nbytes, device.stream)
        device.record(self.sent)


def _spelled(version: int) -> str:
    """12.4 for 12040."""
    return f"{version // 1000}.{version % 1000 // 10}"


_MAP_TYPES = {"i8": "UINT8", "i32": "INT32", "f16": "FLOAT16", "f32": "FLOAT32", "bf16": "BFLOAT16", "tf32": "TFLOAT32"}
"""CUtensorMapDataType's names."""


def native_arch(compute: int, wgmma: bool = False) -> str:
    """The newest known target a device of this compute capability runs. BackendError when it is too old.

    wgmma: the one with products on warpgroups, where there is one.
    """
    able = [
        t for t in GPU_TARGETS.values()
        if t.compute == compute or t.compute // 10 == compute // 10 and not t.arch.endswith("a") and t.compute <= compute
    ]  # fmt: skip
    able = [t for t in able if t.wgmma == wgmma] or able
    if not able:
        known = ", ".join(GPU_TARGETS)
        raise BackendError(f"no architecture lamina knows runs on compute capability {compute / 10}", help=f"known: {known}")
    return max(able, key=lambda t: t.compute).name
