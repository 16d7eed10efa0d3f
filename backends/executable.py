"""A compiled program that can be called: one pointer table, one arena, outputs reused when nobody holds them.

The table is an int64 array of addresses (inputs, outputs, arena), handed to C whole; only entries that changed since
the last call are refilled.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..dialects import flags
from ..dialects.errors import BackendError
from ..dialects.types import DTYPES, Type, dtype_of, show_type, size_of
from .cache import key_of, lookup, store
from .toolchain import build_shared, find_compiler

ALIGNMENT = 64
_KEPT_OUTPUTS = 4  # old output arrays per output that are watched for reuse


def aligned_array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised row-major array whose memory starts at a multiple of 64 bytes.

    Every view of it refers to this very object: its reference count tells whether anybody can still see the memory.
    """
    raw = np.empty(size_of(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    memory = (ctypes.c_char * raw.nbytes).from_buffer(raw)  # not an ndarray: numpy gives views the last ndarray as base
    return np.ndarray(shape, dtype, buffer=memory, offset=-raw.ctypes.data % ALIGNMENT)


@lru_cache(maxsize=1)
def _pool() -> ctypes.CDLL | None:
    """The process-wide thread pool, built on first use; None where it cannot be built (programs then run serially)."""
    compiler = find_compiler()
    if compiler is None:
        return None
    source = Path(__file__).parent / "pool.c"
    key = key_of("pool", source.read_text(encoding="utf-8"), compiler.identity, compiler.flags)

    def make(folder: Path) -> dict[str, object]:
        build_shared(compiler, source, folder / "pool.so", ("-pthread",))
        return {"library": "pool.so"}

    folder, _ = lookup(key) or store(key, make)
    library = ctypes.CDLL(str(folder / "pool.so"))
    library.lamina_pool_threads.argtypes = [ctypes.c_int]
    library.lamina_pool_threads.restype = None
    return library


def set_num_threads(count: int) -> None:
    """Threads compiled programs use from the next call on; 1 means plain calls."""
    if count < 1:
        raise BackendError(f"a program runs on at least one thread, got {count}", help="set_num_threads(1) runs serially")
    flags.threads.value = count


class Executable:
    """A loaded program. Call it with its inputs in order; it gives its outputs as new or reused arrays.

    inputs, outputs: their (shape, dtype). arena_bytes: working memory. source: the C text ("" if not kept).
    """

    def __init__(
        self, library: Path, inputs: Sequence[Type], outputs: Sequence[Type], arena_bytes: int, entry: str = "lamina_main"
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.arena_bytes = arena_bytes
        self.library = library
        try:
            self._dll = ctypes.CDLL(str(library))
        except OSError as error:
            raise BackendError(f"the compiled program cannot be loaded: {error}", help="delete the cache entry and run again") from error
        self._main = getattr(self._dll, entry)
        self._main.argtypes = [ctypes.c_void_p]
        self._main.restype = ctypes.c_int
        self._set_pool = getattr(self._dll, f"{entry}_pool")
        self._set_pool.argtypes = [ctypes.c_void_p]
        self._set_pool.restype = None
        self._threads = 0
        count = len(self.inputs) + len(self.outputs) + 1
        self._table = np.zeros(count, np.int64)
        self._table_at = self._table.ctypes.data
        self._held: list[np.ndarray | None] = [None] * len(self.inputs)
        self._expected = [(shape, dtype.numpy) for shape, dtype in self.inputs]
        self._made: list[list[np.ndarray]] = [[] for _ in self.outputs]
        self._addresses: dict[int, int] = {}
        self._made_types = [(shape, dtype.numpy) for shape, dtype in self.outputs]
        self._arena: np.ndarray | None = None
        self._lock = threading.Lock()

    @property
    def source(self) -> str:
        """The C text this program was built from, if it was kept beside the library."""
        path = self.library.with_suffix(".c")
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on arrays of the inputs' types (row-major; others are copied). BackendError on a wrong count or type."""
        with self._lock:
            return self._run(arrays)

    def _run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        if flags.threads.value != self._threads:
            self._use_threads(flags.threads.value)
        if len(arrays) != len(self.inputs):
            raise BackendError(f"the program takes {len(self.inputs)} arrays, got {len(arrays)}")
        held, table, copies = self._held, self._table, None
        for i, array in enumerate(arrays):
            if array is not held[i]:
                copies = self._place(i, array, copies)
        outputs = [self._output(k) for k in range(len(self.outputs))]
        base, addresses = len(held), self._addresses
        for k, array in enumerate(outputs):
            table[base + k] = addresses[id(array)]
        if self._arena is None:
            self._arena = aligned_array((self.arena_bytes,), np.dtype(np.uint8))
            table[base + len(outputs)] = self._arena.ctypes.data
        status = self._main(self._table_at)
        if status:
            raise BackendError(f"the compiled program failed with code {status}", help="LAMINA_DEVICE=numpy runs it on the oracle")
        return outputs

    def _place(self, i: int, array: np.ndarray, copies: list[np.ndarray] | None) -> list[np.ndarray] | None:
        """Put the address of input i into the table; what had to be copied stays alive in ``copies`` for the call."""
        shape, dtype = self._expected[i]
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            got = show_type((np.shape(array), dtype_of(array))) if isinstance(array, np.ndarray) else type(array).__name__
            raise BackendError(f"input {i} of the program is {show_type(self.inputs[i])}, got {got}")
        address = self._addresses.get(id(array))  # an output of an earlier call: still in self._made, so the id is its own
        if address is None and array.flags.c_contiguous and array.flags.aligned:
            address = array.ctypes.data
        if address is not None:
            self._held[i] = array
            self._table[i] = address
            return copies
        self._held[i] = None
        copies = [] if copies is None else copies
        copies.append(np.ascontiguousarray(array).copy() if not array.flags.aligned else np.ascontiguousarray(array))
        self._table[i] = copies[-1].ctypes.data
        return copies

    def _output(self, k: int) -> np.ndarray:
        """An array for output k: one made earlier that only this list knows, or a new one."""
        made = self._made[k]
        for array in made:
            if sys.getrefcount(array) == 3:  # the list, the loop variable, the argument
                return array
        array = aligned_array(*self._made_types[k])
        if len(made) >= _KEPT_OUTPUTS:
            del self._addresses[id(made.pop(0))]
        made.append(array)
        self._addresses[id(array)] = array.ctypes.data
        return array

    def _use_threads(self, count: int) -> None:
        pool = _pool() if count > 1 else None
        if pool is not None:
            pool.lamina_pool_threads(count)
        self._set_pool(ctypes.cast(pool.lamina_pool_run, ctypes.c_void_p) if pool is not None else None)
        self._threads = count


def types_to_json(types: Sequence[Type]) -> list[list[object]]:
    """Types as JSON: ``[[shape], "f32"]``."""
    return [[list(shape), dtype.code] for shape, dtype in types]


def types_from_json(data: Sequence[Sequence[object]]) -> tuple[Type, ...]:
    """Types from JSON."""
    return tuple((tuple(int(d) for d in shape), DTYPES[str(code)]) for shape, code in data)  # type: ignore[attr-defined]
