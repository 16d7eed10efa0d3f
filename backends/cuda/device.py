"""The GPU through cuda.bindings: is there one, load a program, run it on arrays, time its launches with events."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...dialects.errors import BackendError
from ...dialects.types import DTYPES
from .program import CudaProgram

STATIC_SHARED_BYTES = 48 << 10


class Device:
    """The first CUDA device. BackendError when there is no driver, no device, or cuda-python is not installed."""

    def __init__(self) -> None:
        try:
            from cuda.bindings import driver
        except ImportError as error:
            raise BackendError(f"no GPU can be used: {error}", help="pip install lamina[cuda]") from None
        self.driver = driver
        try:
            self.call("cuInit", 0)
        except RuntimeError as error:  # the bindings' way to say that libcuda is not there
            raise BackendError(f"no GPU can be used: {error}", help="install NVIDIA's driver") from None
        handle = self.call("cuDeviceGet", 0)
        self.name = self.call("cuDeviceGetName", 100, handle).rstrip(b"\0").decode()
        kinds = driver.CUdevice_attribute
        major = self.call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, handle)
        minor = self.call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, handle)
        self.compute = 10 * major + minor
        self.context = self.call("cuDevicePrimaryCtxRetain", handle)
        self.call("cuCtxSetCurrent", self.context)

    def call(self, name: str, *arguments: Any) -> Any:
        """A function of the driver API; its result without the status. BackendError with the driver's words."""
        status, *values = getattr(self.driver, name)(*arguments)
        if status != self.driver.CUresult.CUDA_SUCCESS:
            text = self.driver.cuGetErrorString(status)[1]
            words = text.decode() if isinstance(text, bytes) else status.name
            raise BackendError(f"{name}: {words} ({status.name})")
        return values[0] if len(values) == 1 else tuple(values) or None


class DeviceProgram:
    """A program in the device's memory: set inputs, run, get outputs."""

    def __init__(self, device: Device, program: CudaProgram) -> None:
        self.device, self.table = device, program.source.table
        self.module = device.call("cuModuleLoadData", program.compiled.cubin)
        self.memory = [device.call("cuMemAlloc", max(1, b.bytes)) for b in self.table.buffers]
        first = sum(b.kind == "input" for b in self.table.buffers)
        self.used = list(self.memory)
        for output, given in self.table.donated:
            self.used[first + output] = self.memory[given]
        self._keep: list[Any] = []
        self._launches = [self._prepared(launch) for launch in self.table.launches]

    def _prepared(self, launch: Any) -> tuple[Any, ...]:
        """The launch with its arguments packed once."""
        function = self.device.call("cuModuleGetFunction", self.module, launch.kernel.encode())
        shape = launch.shape
        if shape.shared_bytes > STATIC_SHARED_BYTES:
            kind = self.device.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self.device.call("cuFuncSetAttribute", function, kind, shape.shared_bytes)
        values = [ctypes.c_void_p(int(self.used[p.buffer]) + p.offset) for p in launch.arguments]
        packed = (ctypes.c_void_p * max(1, len(values)))(*[ctypes.addressof(v) for v in values])
        self._keep += [values, packed]
        return (function, *shape.grid, shape.threads, 1, 1, shape.shared_bytes, 0, ctypes.addressof(packed), 0)

    def set_inputs(self, arrays: Sequence[np.ndarray]) -> None:
        """Copy the inputs to the device."""
        for place, array in zip(self.memory, arrays, strict=False):
            data = np.ascontiguousarray(array)
            if data.nbytes:
                self.device.call("cuMemcpyHtoD", place, data.ctypes.data, data.nbytes)

    def launch(self) -> None:
        """Every launch in order; does not wait. BackendError names the kernel and the user's line."""
        for prepared, launch in zip(self._launches, self.table.launches, strict=True):
            try:
                self.device.call("cuLaunchKernel", *prepared)
            except BackendError as error:
                raise BackendError(f"a launch failed: {error}", [("kernel", launch.kernel, launch.origin)]) from None

    def wait(self) -> None:
        """Until everything launched is done. BackendError when a kernel failed."""
        self.device.call("cuCtxSynchronize")

    def outputs(self) -> list[np.ndarray]:
        """The outputs, copied to the host."""
        found = []
        for place, buffer in zip(self.used, self.table.buffers, strict=True):
            if buffer.kind == "output":
                data = np.empty(buffer.sizes, DTYPES[buffer.element].numpy)
                if data.nbytes:
                    self.device.call("cuMemcpyDtoH", data.ctypes.data, place, data.nbytes)
                found.append(data)
        return found

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Outputs for these inputs."""
        self.set_inputs(arrays)
        self.launch()
        self.wait()
        return self.outputs()

    def milliseconds(self, rounds: int = 20) -> float:
        """The median time of one run of all launches, measured with events."""
        call = self.device.call
        start, stop = call("cuEventCreate", 0), call("cuEventCreate", 0)
        times = []
        for _ in range(rounds + 3):
            call("cuEventRecord", start, 0)
            self.launch()
            call("cuEventRecord", stop, 0)
            call("cuEventSynchronize", stop)
            times.append(call("cuEventElapsedTime", start, stop))
        return float(np.median(times[3:]))

    def close(self) -> None:
        """Give the memory and the module back."""
        for place in self.memory:
            self.device.call("cuMemFree", place)
        self.device.call("cuModuleUnload", self.module)
