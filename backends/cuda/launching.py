"""Launching: a loaded program with its arguments packed once, replayed as a CUDA graph where its addresses come back."""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...dialects import flags
from ...lowering.gpu_launches import Launch, LaunchTable

if TYPE_CHECKING:
    from .device import Device
    from .units import Module

STATIC_SHARED_BYTES = 48 << 10
MAP_BYTES, MAP_ALIGNMENT = 128, 128  # CUtensorMap's since CUDA 13; before it was 64
GRAPHS, WORTH_A_GRAPH = 8, 3
"""Graphs a program keeps (a training loop comes back to a few sets of addresses), and launches from which one pays."""


class DriverProgram:
    """Modules in a device. `run` launches every kernel in order on the arrays at some addresses; it does not wait."""

    def __init__(self, device: Device, modules: Sequence[Module], table: LaunchTable) -> None:
        self.device, self.table = device, table
        self.modules = [device.call("cuModuleLoadData", module.cubin) for module in modules]
        held = {own: (loaded, name) for loaded, module in zip(self.modules, modules, strict=True) for own, name in module.kernels.items()}
        self._functions = {own: self._function(*held[own], shared) for own, shared in table.shared_bytes().items()}
        places = [place for launch in table.launches for place in launch.arguments]
        self._buffer = np.array([p.buffer for p in places], np.intp)
        self._offset = np.array([p.offset for p in places], np.uint64)
        self._values = (ctypes.c_uint64 * max(1, len(places)))()
        self._seen = np.frombuffer(self._values, np.uint64)[: len(places)]
        self._maps = [(view, MAP_BYTES * i) for i, view in enumerate(v for launch in table.launches for v in launch.maps)]
        self._map_memory = (ctypes.c_uint8 * (MAP_BYTES * len(self._maps) + MAP_ALIGNMENT))()
        self._maps_at = -(-ctypes.addressof(self._map_memory) // MAP_ALIGNMENT) * MAP_ALIGNMENT
        self._encoded: dict[int, int] = {}
        self._tables: list[Any] = []
        places_at, maps_at = ctypes.addressof(self._values), self._maps_at
        self._launches = []
        for launch in table.launches:
            pointers = [places_at + 8 * i for i in range(1 if launch.packed else len(launch.arguments))]
            pointers += [maps_at + MAP_BYTES * i for i in range(len(launch.maps))]
            self._tables.append((ctypes.c_void_p * max(1, len(pointers)))(*pointers))
            self._launches.append(self._prepared(launch, ctypes.addressof(self._tables[-1])))
            places_at, maps_at = places_at + 8 * len(launch.arguments), maps_at + MAP_BYTES * len(launch.maps)
        self._graphs: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def _function(self, module: Any, name: str, shared_bytes: int) -> Any:
        """A kernel, allowed to have its shared memory."""
        function = self.device.call("cuModuleGetFunction", module, name.encode())
        if shared_bytes > STATIC_SHARED_BYTES:
            kind = self.device.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self.device.call("cuFuncSetAttribute", function, kind, shared_bytes)
        return function

    def _prepared(self, launch: Launch, arguments: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What cuLaunchKernel gets before and behind the stream."""
        shape = launch.shape
        return (self._functions[launch.kernel], *shape.grid, shape.threads, 1, 1, shape.shared_bytes), (arguments, 0)

    def run(self, addresses: Sequence[int]) -> None:
        """addresses: of every buffer of the launch table. BackendError names the kernel a launch fails at."""
        self.device.enter()
        key = tuple(addresses)
        graph = self._graphs.get(key)
        if graph is not None:
            self._graphs.move_to_end(key)
            self.device.recent.append((f"a graph of {len(self._launches)} kernels", self.table.launches[0].origin))
            self.device.call("cuGraphLaunch", graph, self.device.stream)
            return
        self._seen[:] = np.array(key, np.uint64)[self._buffer] + self._offset
        self._encode_maps(key)
        if key in self._graphs and len(self._launches) >= WORTH_A_GRAPH and not flags.check.value:
            self._graphs[key] = self._captured()
            self.run(addresses)
            return
        self._remember(key)
        self._launch(self.device.stream)

    def _encode_maps(self, addresses: Sequence[int]) -> None:
        """The tensor maps of arrays that are elsewhere than last time."""
        for view, at in self._maps:
            address = addresses[view.place.buffer] + view.place.offset
            if self._encoded.get(at) != address:
                self.device.encode_map(self._maps_at + at, view, address)
                self._encoded[at] = address

    def _remember(self, key: tuple[int, ...]) -> None:
        """These addresses were used once: the second time they get a graph."""
        self._graphs[key] = None
        self._graphs.move_to_end(key)
        if len(self._graphs) > GRAPHS:
            _, oldest = self._graphs.popitem(last=False)
            if oldest is not None:
                self.device.call("cuGraphExecDestroy", oldest)

    def _launch(self, stream: Any) -> None:
        device, launch_kernel = self.device, self.device.driver.cuLaunchKernel
        success = device.driver.CUresult.CUDA_SUCCESS
        for (before, behind), launch in zip(self._launches, self.table.launches, strict=True):
            (status,) = launch_kernel(*before, stream, *behind)
            device.recent.append((launch.kernel, launch.origin))
            if status != success:
                raise device.failure("cuLaunchKernel", status)
            if flags.check.value:
                device.synchronize()

    def _captured(self) -> Any:
        """The launches as one executable graph, with the addresses packed now."""
        device = self.device
        stream = device.new_stream()
        try:
            device.call("cuStreamBeginCapture", stream, device.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            self._launch(stream)
            graph = device.call("cuStreamEndCapture", stream)
            ready = device.call("cuGraphInstantiate", graph, 0)
            device.call("cuGraphDestroy", graph)
            return ready
        finally:
            device.call("cuStreamDestroy", stream)

    def close(self) -> None:
        """Give the modules and the graphs back."""
        for graph in self._graphs.values():
            if graph is not None:
                self.device.call("cuGraphExecDestroy", graph)
        self._graphs.clear()
        for module in self.modules:
            self.device.call("cuModuleUnload", module)
