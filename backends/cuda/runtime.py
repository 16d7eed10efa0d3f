"""Runtime: graphs on a GPU. Finds or makes the program, places arguments and results, launches; never waits.

The device is the driver's first GPU, or the emulated one (LAMINA_CUDA=emulated) that runs the same kernels on the CPU.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from ...dialects import flags
from ...dialects.errors import BackendError, LaminaError
from ...dialects.graph import Graph
from ...dialects.target import GPU_TARGETS, with_f32
from ...dialects.types import size_of
from ...lowering.cuda_source import CudaSource
from ...lowering.gpu_launches import LaunchTable
from ..cache import discard, key_of, lookup, source_version, store
from ..dump import Dump
from ..dump_index import index_of
from ..edited_stages import edited
from ..output_pool import LOOKING
from ..pipelines import gpu_pipeline
from .memory import Block, DeviceArray, Pool, rounded
from .program import cuda_source

if TYPE_CHECKING:
    from ..emulation.device import EmulatedDevice
    from .device import Device

ALIGNMENT = 256
NAME = "cuda:0"


class Runtime:
    """One device, its memory, and the programs made for it."""

    def __init__(self, device: Device | EmulatedDevice) -> None:
        self.device = device
        self.pool = Pool(device.allocate, device.release, device.total_bytes)
        self.compiles = 0
        self.architectures = tuple(GPU_TARGETS)
        self._programs: dict[tuple[str, Graph], _Loaded] = {}  # by how float32 is multiplied, too
        self._arena: Block | None = None
        self._lock = threading.RLock()
        self.noted: list[tuple[Graph, list[Any], list[DeviceArray]]] | None = None  # programs, their inputs and results, while none is launched

    def upload(self, array: np.ndarray) -> DeviceArray:
        """A copy of an array in the device's memory."""
        data = np.ascontiguousarray(array).reshape(array.shape)
        with self._lock:
            made = self._new(data.shape, data.dtype)
            self.device.upload(made.address, data)
        return made

    def filled(self, shape: tuple[int, ...], element: np.ndarray) -> DeviceArray:
        """An array whose elements are all this one (of rank 0), made on the device."""
        with self._lock:
            made = self._new(shape, element.dtype)
            self.device.fill(made.address, element, made.nbytes // element.nbytes)
        return made

    def download(self, array: DeviceArray) -> np.ndarray:
        """A copy of an array in the host's memory, once everything before it is done. RuntimeError where nothing is done now."""
        self.refuse_waiting()
        made = np.empty(array.shape, array.dtype)
        with self._lock:
            self.device.download(made, array.address)
        return made

    def copied(self, array: DeviceArray) -> DeviceArray:
        """A copy of an array on the device."""
        with self._lock:
            made = self._new(array.shape, array.dtype)
            self.device.copy(made.address, array.address, array.nbytes)
        return made

    def copied_from(self, address: int, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
        """A copy of what somebody else has on the device."""
        with self._lock:
            made = self._new(shape, dtype)
            self.device.copy(made.address, address, made.nbytes)
        return made

    def copied_to(self, place: DeviceArray | None, array: DeviceArray | np.ndarray) -> DeviceArray:
        """A copy at a place that holds arrays of this type and is nobody else's, or at a new one."""
        if place is None:
            return self.copied(array) if type(array) is DeviceArray else self.upload(array)
        with self._lock:
            if type(array) is DeviceArray:
                self.device.copy(place.address, array.address, array.nbytes)
            else:
                self.device.upload(place.address, np.ascontiguousarray(array))
        return place

    def refuse_waiting(self) -> None:
        """RuntimeError while programs are noted: nobody may wait for what was not launched."""
        if self.noted is not None:
            raise RuntimeError(
                "CUDA error: operation not permitted when stream is capturing. Within torch.cuda.graph(...) nothing is computed, so no value can "
                "be looked at (item(), print, cpu(), a condition): do that before the region, or after a replay"
            )

    def _new(self, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return DeviceArray(shape, dtype, self.pool.take(size, f"an array of {list(shape)} {dtype}"), NAME)

    def arena(self, size: int, of: LaunchTable) -> Block:
        """Working memory for one program: the same for all, since they run one after the other."""
        if self._arena is None or self._arena.size < size:
            self._arena = None  # before the larger one is taken
            origin = of.launches[0].origin if of.launches else ""
            self._arena = self.pool.take(size, f"the working memory of the program of {origin}")
        return self._arena

    def run(
        self, graph: Graph, arrays: Sequence[DeviceArray | np.ndarray], spare: Mapping[int, int] | None = None
    ) -> list[DeviceArray]:
        """The graph's outputs. Arrays of the host are sent along.

        spare: inputs nobody reads afterwards, each with the references the caller itself holds to its array beside the list: outputs
        may be made in their place, so that what a program updates stays where it is and its CUDA graph fits again.
        """
        with self._lock:
            key = flags.f32.value, graph
            program = self._programs.get(key)
            if program is None:
                program = self._programs[key] = self._load(graph)
            if self.noted is not None:
                made = program.made({}, arrays)
                self.noted.append((graph, list(arrays), made))
                return made
            return program(arrays, spare)

    def launches(self, graph: Graph) -> int:
        """Kernel launches of a program that ran."""
        return len(self._programs[flags.f32.value, graph].table.launches)

    def _load(self, graph: Graph) -> _Loaded:
        """A program from the disk cache, or compiled. BackendError when it cannot be."""
        device = self.device
        folder, key, made = program_folder(graph, with_f32(device.arch, flags.f32.value), device.kind, device.build)
        self.compiles += made
        table = LaunchTable.from_json(json.loads((folder / "launches.json").read_text(encoding="utf-8")))
        try:
            return _Loaded(self, graph, table, device.load(folder, table))
        except LaminaError:
            discard(key)
            raise


def program_folder(graph: Graph, target: str, kind: str, build: Callable[[CudaSource, Path], None]) -> tuple[Path, str, bool]:
    """A program's folder in the disk cache, its key, and whether it was made now. kind: what runs it; build: writes the kernels into a folder.

    Stages that are to be seen, checked or taken from files (LAMINA_DUMP, LAMINA_CHECK, LAMINA_OVERRIDE) are made in any case.
    """
    from ...passes.roll_graph import rolled_if_long
    from ...passes.split_complex import split_complex

    graph = rolled_if_long(split_complex(graph))
    edit = edited(graph, gpu_pipeline(target))
    own = () if edit is None else (edit.digest,)
    key = key_of("cuda", source_version(), kind, target, flags.fast.value, graph.inputs, graph.steps, graph.outputs, *own)
    is_asked = bool(flags.dump.value or flags.check.value or flags.override.value)

    def make(folder: Path) -> dict[str, Any]:
        index = index_of(flags.dump.value) if flags.dump.value else None
        source = cuda_source(graph, target, None if index is None else Dump(index.next_folder()), edit, flags.check.value)
        if index is not None:
            index.add(graph, len(source.text.encode()), source.table.arena_bytes)
        build(source, folder)
        (folder / "launches.json").write_text(json.dumps(source.table.as_json()), encoding="utf-8")
        return {}

    found = None if is_asked else lookup(key)
    folder, _ = found or store(key, make, replace=is_asked)
    return folder, key, found is None


class _Loaded:
    """A program on a device: call it with its inputs."""

    def __init__(self, runtime: Runtime, graph: Graph, table: LaunchTable, program: Any) -> None:
        self.runtime, self.table, self.program = runtime, table, program
        self.inputs = len(graph.inputs)
        self.sent: Block | None = None  # where inputs of the host go: the same place each time, so that graphs can be kept
        types = [graph.types[i] for i in graph.outputs]
        self.outputs = [(shape, dtype.numpy, rounded(size_of(shape) * dtype.itemsize)) for shape, dtype in types]
        self.given = sorted({i for _, i in table.reusable})

    def __call__(self, arrays: Sequence[DeviceArray | np.ndarray], spare: Mapping[int, int] | None = None) -> list[DeviceArray]:
        runtime = self.runtime
        if len(arrays) != self.inputs:
            raise BackendError(f"the program takes {self.inputs} arrays, got {len(arrays)}")
        places = self._in_place(arrays, spare) if spare and self.given else {}
        addresses = self._placed(arrays)
        made = self.made(places, arrays)
        arena = runtime.arena(self.table.arena_bytes, self.table)
        self.program.run([*addresses, *[array.block.address for array in made], arena.address])
        return made

    def made(self, places: Mapping[int, int], arrays: Sequence[DeviceArray | np.ndarray]) -> list[DeviceArray]:
        """Arrays for the results. places: results that are made where an input is."""
        take = self.runtime.pool.take_rounded
        return [
            arrays[places[k]] if k in places else DeviceArray(shape, dtype, take(size), NAME)
            for k, (shape, dtype, size) in enumerate(self.outputs)
        ]

    def _in_place(self, arrays: Sequence[DeviceArray | np.ndarray], spare: Mapping[int, int]) -> dict[int, int]:
        """Output -> the input whose array it is made in: one the caller gives away, and nobody else refers to it or its memory."""
        offered = [i for i in self.given if i in spare and type(arrays[i]) is DeviceArray]
        given = [arrays[i] for i in offered]
        held, shared = list(map(getrefcount, given)), list(map(getrefcount, [array.block for array in given]))
        free = {
            i for i, count, blocks in zip(offered, held, shared, strict=True)
            if count == spare[i] + 2 + LOOKING and blocks == 2 + LOOKING  # the lists here, and for a block its array
        }  # fmt: skip
        places: dict[int, int] = {}
        for k, i in self.table.reusable:
            if i in free and k not in places:
                free.discard(i)
                places[k] = i
        return places

    def _placed(self, arrays: Sequence[DeviceArray | np.ndarray]) -> list[int]:
        """The addresses of the inputs; those on the host are sent together."""
        addresses = [a.block.address if type(a) is DeviceArray else -1 for a in arrays]
        if -1 not in addresses:
            return addresses
        hosts = [i for i, address in enumerate(addresses) if address < 0]
        places, size = [], 0
        for i in hosts:
            places.append(size)
            size += -(-max(arrays[i].nbytes, 1) // ALIGNMENT) * ALIGNMENT
        packed = np.zeros(size, np.uint8)
        for i, place in zip(hosts, places, strict=True):
            data = np.ascontiguousarray(arrays[i]).reshape(-1).view(np.uint8)
            packed[place : place + data.nbytes] = data
        if self.sent is None or self.sent.size < size:
            self.sent = self.runtime.pool.take(size, "numbers of the host")
        self.runtime.device.upload(self.sent.address, packed)
        for i, place in zip(hosts, places, strict=True):
            addresses[i] = self.sent.address + place
        return addresses


_runtimes: dict[str, Runtime | BackendError] = {}


def runtime() -> Runtime:
    """The runtime of the device LAMINA_CUDA names. BackendError says why there is none."""
    which = flags.cuda.value
    found = _runtimes.get(which)
    if found is None:
        found = _runtimes[which] = _opened(which)
    if isinstance(found, BackendError):
        raise found.with_traceback(None)
    return found


def _opened(which: str) -> Runtime | BackendError:
    try:
        if which == "off":
            raise BackendError("no GPU can be used: LAMINA_CUDA=off", help="unset LAMINA_CUDA")
        if which == "emulated":
            from ..emulation.device import EmulatedDevice

            return Runtime(EmulatedDevice())
        from .device import Device, native_arch

        device = Device(wgmma={"auto": None, "wgmma": True}.get(which, False))
        native_arch(device.compute)  # too old a GPU is no GPU
        return Runtime(device)
    except BackendError as error:
        return error


def available() -> bool:
    """Whether there is a device."""
    try:
        runtime()
    except BackendError:
        return False
    return True
