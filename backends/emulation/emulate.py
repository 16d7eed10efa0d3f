"""Runs the kernels of a CUDA source on the CPU: g++ compiles the same text against the emulation's header."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...dialects.errors import BackendError
from ...dialects.types import DTYPES
from ...lowering.cuda_source import CudaSource
from ...lowering.gpu_launches import Launch, LaunchTable, TensorMap

FLAGS = (
    "-O1", "-std=c++17", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing", "-fPIC",
    "-shared", "-w",
)  # fmt: skip
_WAITS = re.compile(r"__syncthreads|__syncwarp|lm_shuffle|lm_ldmatrix|lm_mma|lm_cp_async|lm_mbarrier|lm_wgmma|lm_group_barrier|lm_stmatrix|lm_tma|lm_cluster")
_WGMMA = re.compile(r"lm_wgmma_(bf16|f16|tf32|s8|u8)_(bf16|f16|tf32|s8|u8)_n(\d+)_([ktr])([kt])(_fresh)?\(")
_ERRORS = {
    1: "some threads wait where others never come (a barrier in a branch?)",
    2: "a thread wrote outside the shared memory of its block",
    3: "an access to 16 bytes was not aligned",
    4: "copies or products were started and never waited for",
    5: "a barrier was used before it was made, or arrived at too often",
    6: "the threads of a warpgroup multiply different matrices",
    8: "a block of a cluster was told something after its end, or is none of the cluster",
    7: "shared memory was given to the copy engine before a fence showed it what was written there",
}
_ALIGNMENT, _GUARD, _POISON, _GUARDED = 256, 4096, 0xFF, 0xA5


def available() -> bool:
    """Whether there is a C++ compiler."""
    return shutil.which("g++") is not None


def build_library(source: CudaSource, library: Path) -> None:
    """The kernels of a source as a shared library for `Kernels`. BackendError without g++ or when it refuses them."""
    with tempfile.TemporaryDirectory(prefix="lamina-emulation-") as folder:
        path = Path(folder) / "program.cpp"
        path.write_text(emulated_text(source), encoding="utf-8")
        _build(path, library)


class _TensorMap(ctypes.Structure):
    """lm_tensor_map of device.h."""

    _fields_ = (
        ("base", ctypes.c_void_p), ("sizes", ctypes.c_int64 * 5), ("strides", ctypes.c_int64 * 5),
        ("box", ctypes.c_short * 5), ("every", ctypes.c_short * 5), ("rank", ctypes.c_short), ("size", ctypes.c_short),
        ("tf32", ctypes.c_short),
    )  # fmt: skip


def tensor_map(view: TensorMap, address: int) -> _TensorMap:
    """What the emulation has in the place of cuTensorMapEncodeTiled's."""
    size = view.element_bytes
    strides = [size, *(s * size for s in view.strides)]
    return _TensorMap(address, view.sizes, tuple(strides), view.box, view.every, len(view.sizes), size, view.element == "tf32")


class Kernels:
    """The kernels of a program in a library made by `build_library`."""

    def __init__(self, library: Path, table: LaunchTable) -> None:
        try:
            self._launch = ctypes.CDLL(str(library)).lm_run
        except OSError as error:
            raise BackendError(f"the emulated kernels cannot be loaded: {error}") from error
        self._launch.restype = ctypes.c_int
        self._number = {name: k for k, name in enumerate(table.kernels())}

    def run(self, launch: Launch, addresses: Sequence[int], seed: int = 1) -> None:
        """One launch. addresses: of every buffer. BackendError when the kernel deadlocks or leaves its shared memory."""
        pointers = [addresses[p.buffer] + p.offset for p in launch.arguments]
        packed = (ctypes.c_uint64 * len(pointers))(*pointers)
        if launch.packed:
            pointers = [ctypes.addressof(packed)]
        maps = [tensor_map(m, addresses[m.place.buffer] + m.place.offset) for m in launch.maps]
        pointers += [ctypes.addressof(m) for m in maps]
        table = (ctypes.c_void_p * max(1, len(pointers)))(*pointers)
        grid = (ctypes.c_uint * 3)(*launch.shape.grid)
        status = self._launch(
            self._number[launch.kernel], table, grid, launch.shape.threads, ctypes.c_size_t(launch.shape.shared_bytes),
            ctypes.c_uint32(seed),
        )  # fmt: skip
        if status:
            raise BackendError(f"the emulation stopped: {_ERRORS[status]}", [("kernel", launch.kernel, launch.origin)])


class Emulation:
    """A program on emulated threads: call it with its inputs, get its outputs. Its arrays have guards around them.

    BackendError when there is no g++, when it refuses the source, and when a kernel deadlocks or leaves its memory.
    """

    def __init__(self, source: CudaSource) -> None:
        self.table = source.table
        with tempfile.TemporaryDirectory(prefix="lamina-emulation-") as folder:
            library = Path(folder) / "program.so"
            build_library(source, library)
            self._kernels = Kernels(library, self.table)

    def __call__(self, arrays: Sequence[np.ndarray], seed: int = 1) -> list[np.ndarray]:
        """Outputs for these inputs. seed: the order in which threads run; 0: as they are numbered."""
        memory = [_Guarded(buffer.bytes) for buffer in self.table.buffers]
        for place, array in zip(memory, arrays, strict=False):
            place.body[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        first = sum(buffer.kind == "input" for buffer in self.table.buffers)
        for output, given in self.table.donated:
            memory[first + output] = memory[given]
        for launch in self.table.launches:
            self._kernels.run(launch, [place.address for place in memory], seed)
            self._check_guards(memory, launch)
        outputs = []
        for place, buffer in zip(memory, self.table.buffers, strict=True):
            if buffer.kind == "output":
                element = DTYPES[buffer.element].numpy
                outputs.append(place.body.view(element).reshape(buffer.sizes).copy())
        return outputs

    def _check_guards(self, memory: Sequence[_Guarded], launch: Launch) -> None:
        for number, place in enumerate(memory):
            if not place.is_whole():
                where = [("kernel", launch.kernel, launch.origin)]
                raise BackendError(f"the emulation stopped: a kernel wrote outside {self.table.buffers[number].kind} {number}", where)


class _Guarded:
    """Memory of some bytes, filled with NaN bits, with guards around it."""

    def __init__(self, size: int) -> None:
        self.raw = np.full(size + 2 * _GUARD + _ALIGNMENT, _GUARDED, np.uint8)
        self.start = -(self.raw.ctypes.data + _GUARD) % _ALIGNMENT + _GUARD
        self.body = self.raw[self.start : self.start + size]
        self.body[:] = _POISON
        self.address = self.raw.ctypes.data + self.start

    def is_whole(self) -> bool:
        """Whether nobody wrote outside the body."""
        end = self.start + len(self.body)
        before, after = self.raw[self.start - _GUARD : self.start], self.raw[end : end + _GUARD]
        return bool((before == _GUARDED).all() and (after == _GUARDED).all())


def emulated_text(source: CudaSource) -> str:
    """The kernels' own text between the emulation's header and a function that launches one by number."""
    header = (Path(__file__).parent / "device.h").read_text(encoding="utf-8")
    kernels = re.sub(r'^extern "C" __global__', "__global__", source.kernels, flags=re.M)
    clusters = {launch.kernel: launch.shape.cluster for launch in source.table.launches}
    cases = []
    for number, name in enumerate(source.table.kernels()):
        alone = "false" if _WAITS.search(_body_of(source.kernels, name)) else "true"
        call = f"[](void **a) {{ lm_call({name}, a); }}"
        cases.append(f"    case {number}: return lm_launch({call}, arguments, grid, threads, shared, seed, {alone}, {clusters[name]});")
    run = [
        'extern "C" int lm_run(int kernel, void **arguments, const unsigned *grid, int threads, size_t shared, uint32_t seed) {',
        "    switch (kernel) {", *cases, "    }", "    return -1;", "}",
    ]  # fmt: skip
    return "\n\n".join((header, _wgmma_functions(kernels), source.portable, kernels, "\n".join(run))) + "\n"


def _wgmma_functions(kernels: str) -> str:
    """The functions of the kernels' wgmma, one per kinds of operands, width and way they lie."""
    lines = []
    for left, right, columns, a, b, fresh in dict.fromkeys(_WGMMA.findall(kernels)):
        flags = (a == "t", b == "t", bool(fresh))
        facts = f"{columns}, LM_{left.upper()}, LM_{right.upper()}, {', '.join(str(flag).lower() for flag in flags)}"
        sums = "int32_t" if left in ("s8", "u8") else "float"
        first, places = ("const int32_t *a", "0, b, a") if a == "r" else ("int64_t a", "a, b, nullptr")
        name = f"lm_wgmma_{left}_{right}_n{columns}_{a}{b}{fresh}"
        lines.append(f"static void {name}({sums} *d, {first}, int64_t b) {{ lm_wgmma({{d, {places}, {facts}}}); }}")
    return "\n".join(lines)


def build_driver(source: CudaSource, library: Path) -> None:
    """A shared library with the CUDA driver's functions a host program calls, which runs these kernels on the emulation."""
    names = source.table.kernels()
    quoted = ", ".join(f'"{name}"' for name in names)
    counts = {launch.kernel: 0 if launch.packed else len(launch.arguments) for launch in source.table.launches}
    maps = {launch.kernel: len(launch.maps) + launch.packed for launch in source.table.launches}
    facts = [
        f"enum {{ LM_KERNELS = {len(names)} }};",
        f"static const char *const lm_names[] = {{{quoted}}};",
        f"static const int lm_parameters[] = {{{', '.join(str(counts[n]) for n in names)}}}; // pointers",
        f"static const int lm_values[] = {{{', '.join(str(maps[n]) for n in names)}}}; // larger ones behind them",
    ]
    driver = (Path(__file__).parent / "driver.h").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="lamina-emulation-") as folder:
        path = Path(folder) / "driver.cpp"
        path.write_text("\n\n".join((emulated_text(source), *facts, driver)), encoding="utf-8")
        _build(path, library)


def _body_of(kernels: str, name: str) -> str:
    start = re.search(rf"\b{re.escape(name)}\(", kernels)
    assert start is not None
    end = kernels.find("\n}", start.end())
    return kernels[start.end() : end]


def _build(source: Path, library: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        raise BackendError("the emulation needs g++", help="install g++")
    done = subprocess.run([compiler, *FLAGS, "-o", str(library), str(source)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BackendError("g++ refuses the kernels of a CUDA source", [("log", "\n" + done.stderr[:4000], "")])
