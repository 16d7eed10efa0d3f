"""A compiled program that can be called: one pointer table, one arena, outputs reused when nobody holds them.

The table holds addresses (inputs, outputs, arena) and is packed whole before each call from lists that rarely change: a
warm call costs one look-up per input and one reference count per output, all in C loops of the interpreter. Where most inputs are those of
the last call, and are known to be (`graph.Arrays`), only what is new is written.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import compress, repeat
from operator import ne, sub
from pathlib import Path
from sys import getrefcount
from typing import Any, NamedTuple, Self

import numpy as np

from ..dialects import flags
from ..dialects.errors import BackendError
from ..dialects.graph import Arrays
from ..dialects.kept import Kept
from ..dialects.types import DTYPES, Type, dtype_of, show_type, size_of
from . import huge_pages
from .aligned_memory import address_of, aligned_array
from .cache import discard, key_of, lookup, store
from .kept_copies import KeptCopies
from .output_pool import LOOKING, Made, OutputPool
from .toolchain import build_shared, find_compiler

_PLAIN = 0x101  # numpy's flag bits of row-major and aligned
_FOREIGN = 1 << 32  # more references than there are: an array no pool made


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
    try:
        library = ctypes.CDLL(str(folder / "pool.so"))
    except OSError:
        discard(key)
        return None
    library.lamina_pool_threads.argtypes = [ctypes.c_int]
    library.lamina_pool_threads.restype = None
    return library


def set_num_threads(count: int) -> None:
    """Threads compiled programs use from the next call on; 1 means plain calls."""
    if count < 1:
        raise BackendError(f"a program runs on at least one thread, got {count}", help="set_num_threads(1) runs serially")
    flags.threads.value = count


_made = Made()  # by all programs of this process


class Places(NamedTuple):
    """Where a call makes its outputs: those not in `pairs` (output, input) in arrays of `pool`, the others in their `inputs`."""

    pairs: tuple[tuple[int, int], ...]
    inputs: tuple[int, ...]
    pool: OutputPool
    order: tuple[int, ...]  # output -> place in the list of what the pool gave and then the inputs of `pairs`


class Quick:
    """Calls of small programs in C (calling.c), once there is the library: a call that only looks where arrays are and
    fills in a table takes Python longer than most such programs."""

    library: Any = None


def quicken(library: Any) -> None:
    """Have small programs called by a library, if numpy's arrays are what it takes them for."""
    if Quick.library is not None or ctypes.sizeof(ctypes.c_void_p) != 8 or not all([_is_laid_out(np.ones(shape, np.float32)) for shape in ((), (5,), (2, 3, 7))]):
        return
    thing = ctypes.py_object
    library.lamina_caller.argtypes = (thing, ctypes.c_size_t, ctypes.c_size_t, thing, ctypes.c_ssize_t, ctypes.c_ssize_t, thing)
    library.lamina_pool.argtypes = (thing, thing, thing, thing, ctypes.c_long)
    library.lamina_few.argtypes = (ctypes.c_size_t, ctypes.c_int, thing, thing, thing, ctypes.c_double, ctypes.c_double)
    library.lamina_caller.restype = library.lamina_pool.restype = library.lamina_few.restype = thing
    Quick.library = library


def few_draws(draws: Any, name: str, shape: tuple[int, ...], kind: np.dtype, first: float, second: float) -> Any:
    """What makes an array of a shape by a function of draws.c (singles; integers: span, smallest; normals, blocks: mean, deviation), from the address of an
    engine and that of what it saved; None until calls are made in C."""
    if Quick.library is None:
        return None
    function = ctypes.cast(getattr(draws, f"lamina_draw_{name}"), ctypes.c_void_p).value
    return Quick.library.lamina_few(function, ("singles", "integers", "normals", "blocks").index(name), np.empty, shape, kind, first, second)


def _is_laid_out(array: np.ndarray) -> bool:
    """Whether an array lies in memory as numpy publishes it: two words of Python's, data, dimensions, shape, strides, base, dtype, flags.
    The first word counts references.
    """
    if array.__class__.__basicsize__ < 72:
        return False
    words = (ctypes.c_uint64 * 9).from_address(id(array))
    if not _are_counted([np.ones(array.shape)]):
        return False
    facts = words[1] == id(type(array)), words[2] == array.ctypes.data, words[3] & 0xFFFFFFFF == array.ndim, words[7] == id(array.dtype)
    if not all(facts) or words[8] & 0xFFFFFFFF != array.flags.num:
        return False
    return not array.ndim or tuple((ctypes.c_ssize_t * array.ndim).from_address(words[4])) == array.shape


def _are_counted(held: list[np.ndarray]) -> bool:
    """Whether the first half of a word says how many refer to an array that this list alone holds."""
    count = ctypes.c_uint64.from_address(id(held[0]))
    alone, more = count.value & 0xFFFFFFFF, held * 3
    return alone == 1 and count.value & 0xFFFFFFFF == 1 + len(more)


class _Table:
    """What a program and those beside it are called with. written_for: who need not write all of it again, as nobody else wrote to it since."""

    __slots__ = ("at", "bytes", "written_for")

    def __init__(self, places: int) -> None:
        self.bytes = bytearray(8 * places)
        self.at = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))
        self.written_for: object = None


_pack_place = struct.Struct("Q").pack_into


def _native(pool: OutputPool) -> Any:
    """A pool as C takes arrays of it."""
    pool.native = Quick.library.lamina_pool(*pool.in_rounds, OutputPool.replace, LOOKING)
    return pool.native


class Executable:
    """A loaded program. Call it with its inputs in order; it gives its outputs as new or reused arrays.

    inputs, outputs: their (shape, dtype). arena_bytes: working memory. source: the C text ("" if not kept). reusable: (output,
    input) pairs that may be one array. A training step so works in place: an output is made in the memory of an input that this
    program once made, when the caller says it will not look again and the reference count says that nobody else can. kept: packed copies
    of inputs that outlive a call; an array that is passed again must hold the same numbers then. sizes: what the program gets to
    know at the call; `beside` gives it for others.
    """

    def __init__(
        self, library: Path, inputs: Sequence[Type], outputs: Sequence[Type], arena_bytes: int, entry: str = "lamina_main",
        *, reusable: Sequence[tuple[int, int]] = (), kept: Sequence[Kept] = (), sizes: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.arena_bytes = arena_bytes
        self.library = library
        self.entry = entry
        try:
            self._dll = ctypes.CDLL(str(library))
        except OSError as error:
            raise BackendError(
                f"the compiled program cannot be loaded: {error}",
                help="the C compiler made no library for this machine: set LAMINA_CC to another one",
            ) from error
        try:
            self._main, self._set_pool = self._dll[entry], self._dll[f"{entry}_pool"]
        except AttributeError as error:
            raise BackendError(f"{library} is not a program of this compiler: {error}", help="set LAMINA_CC to another one") from error
        self._main.argtypes = [ctypes.c_void_p]
        self._main.restype = ctypes.c_int
        self._set_pool.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._set_pool.restype = None
        self._threads = 0
        self._copies = KeptCopies(kept, aligned_array)
        self.sizes = tuple(sizes)
        places = len(self.inputs) + len(self.outputs) + len(self._copies.addresses) + 1 + len(self.sizes)
        self._pack = struct.Struct(f"{places}Q").pack_into
        self._pack_outputs = struct.Struct(f"{len(self.outputs)}Q").pack_into
        self._table = _Table(places)
        self._held: list[np.ndarray | None] = [None] * len(self.inputs)  # of the last call, what no pool made, and where it is
        self._held_at: list[int | None] = [None] * len(self.inputs)
        self._first_seen: set[int] = set()  # inputs that the last call got for the first time
        self._base: Callable[[], Arrays | None] = lambda: None  # what the last call's inputs were taken from, while the table is as that wrote it
        self._outputs_at: list[int] = []  # of that call
        self._copies_at = -1
        self._ids = self._nowhere = [0] * len(self.inputs)  # of the last call: its inputs, where they are, changes of the pools until then
        self._at = [0] * len(self.inputs)
        self._changes = -1
        self._pool = OutputPool(self.outputs, self.inputs, made=_made)
        self._expected = [(shape, dtype.numpy) for shape, dtype in self.inputs]
        self._known = [self._pool.addresses[t] for t in self.inputs]
        copied = {i for k in kept for i in k.inputs}  # what is made in their memory would pass for what the copy was made of
        self._copied = copied
        self.reusable = tuple(pair for pair in reusable if pair[1] not in copied)
        self._given = sorted({i for _, i in self.reusable})
        self._fresh = self._reused = Places((), (), self._pool, tuple(range(len(self.outputs))))
        self._all_places = {(): self._fresh}
        self._looked: tuple[Mapping[int, int] | None, list[int]] = (None, [])
        self._counts: list[int] | None = None  # of the inputs that may be reused, as the last call saw them
        self._arena: np.ndarray | None = None
        self._arena_at = 0
        self._beside: Executable | None = None
        self._call: Callable[..., list[np.ndarray] | int | None] | None = None
        self._is_small = not copied and all([size_of(shape) * dtype.itemsize < huge_pages.LARGE for shape, dtype in self.inputs])
        self._lock: threading.Lock = threading.Lock()

    def beside(self, inputs: Sequence[Type], outputs: Sequence[Type], sizes: Sequence[int]) -> Self:
        """The same program for other sizes. It shares working memory, packed copies and what is known of arrays with this one, and is not
        called while this one is.
        """
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made._beside = self._beside or self
        made.inputs, made.outputs, made.sizes = tuple(inputs), tuple(outputs), tuple(sizes)
        made._held, made._held_at, made._first_seen = self._held.copy(), self._held_at.copy(), set()
        made._at, made._ids, made._nowhere = self._at.copy(), self._nowhere, self._nowhere
        made._expected, made._known = self._expected.copy(), self._known.copy()
        made._call, made._base = None, lambda: None
        made._changes, made._counts, made._looked, made._reused = -1, None, (None, []), None  # type: ignore[assignment]  # set below
        other = [i for i, (theirs, own) in enumerate(zip(made.inputs, self.inputs, strict=True)) if theirs != own]
        made._pool = OutputPool(made.outputs, [made.inputs[i] for i in other], self._pool)
        for i in other:
            shape, dtype = made.inputs[i]
            made._expected[i], made._known[i], made._held[i], made._held_at[i] = (shape, dtype.numpy), self._pool.addresses[shape, dtype], None, None
        made._fresh = made._reused = Places((), (), made._pool, self._fresh.order)
        made._all_places = {(): made._fresh}
        return made

    @property
    def output_bytes(self) -> int:
        """What one set of results takes."""
        return sum([size_of(shape) * dtype.itemsize for shape, dtype in self.outputs])

    @property
    def source(self) -> str:
        """The C text this program was built from, if it was kept beside the library."""
        path = self.library.with_suffix(".c")
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def __call__(self, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None = None) -> list[np.ndarray]:
        """Run on arrays of the inputs' types (row-major; others are copied). BackendError on a wrong count or type.

        spare: inputs the caller does not read afterwards, each with the number of references it holds to the array beside the list.
        """
        with self._lock:
            if flags.threads.value != self._threads or self._arena is None:
                self._prepare()
            if Quick.library is not None and self._is_small and isinstance(arrays, list):
                outputs = self._run_small(arrays, spare)
                if outputs is not None:
                    return outputs
            return self._run(arrays, spare)

    def _run(self, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None) -> list[np.ndarray]:
        if len(arrays) != len(self.inputs):
            raise BackendError(f"the program takes {len(self.inputs)} arrays, got {len(arrays)}")
        if self._first_seen:
            self._settle(arrays)
        if type(arrays) is Arrays and self._table.written_for is self and self._base() is arrays.base:
            outputs = self._run_on(arrays, spare)
            if outputs is not None:
                return outputs
        places, ids, copies = self._at, list(map(id, arrays)), None
        if ids != self._ids or self._changes != _made.changes:
            copies = self._find(arrays, ids)
        reused = self._places(arrays, spare) if spare else self._fresh
        outputs, made_at = reused.pool.take()
        table = self._table
        table.written_for = None
        if reused.pairs:
            outputs += map(arrays.__getitem__, reused.inputs)
            made_at = [*made_at, *map(places.__getitem__, reused.inputs)]
            outputs = list(map(outputs.__getitem__, reused.order))
            made_at = map(made_at.__getitem__, reused.order)
        if self._copied:
            changed = self._copies.follow(arrays)
            self._pack(table.bytes, 0, *places, *made_at, *self._copies.addresses, self._arena_at, *self.sizes)
        else:
            changed = False
            self._pack(table.bytes, 0, *places, *made_at, self._arena_at, *self.sizes)
        status = self._main(table.at)
        if status:
            self._fail(status)
        if changed:
            self._copies.filled()
        if type(arrays) is Arrays and not copies and not reused.pairs:
            self._base, self._outputs_at, self._copies_at = weakref.ref(arrays.base), list(made_at), self._copies.changes
            table.written_for = self
        del copies  # until now what they are copies of was to be read there
        return outputs

    def _run_on(self, arrays: Arrays, spare: Mapping[int, int] | None) -> list[np.ndarray] | None:
        """The same for inputs of which most are those of the last call, which is what the table was written for; None where more is to be done than
        to write what is new. What is not new is held by what both were taken from.
        """
        if self._copies.changes != self._copies_at or not self._copied.isdisjoint(arrays.changing) and self._copies.follow(arrays):
            return None
        if spare and self._places(arrays, spare).pairs:
            return None
        table, places, copies = self._table, self._at, []
        self._ids = self._nowhere
        for i in arrays.changing:
            array = arrays[i]
            at = self._known[i].get(id(array)) or self._place(i, array, copies)
            if at != places[i]:
                places[i] = at
                _pack_place(table.bytes, 8 * i, at)
        outputs, made_at = self._fresh.pool.take()
        if made_at != self._outputs_at:
            self._pack_outputs(table.bytes, 8 * len(places), *made_at)
            self._outputs_at = made_at.copy()
        status = self._main(table.at)
        del copies  # until now what they are copies of was to be read there
        if status:
            table.written_for = None
            self._fail(status)
        return outputs

    def _run_small(self, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None) -> list[np.ndarray] | None:
        """The same in C; None where an array is not what it should be."""
        call = self._call
        if call is None:
            call = self._call = self._caller([0] * len(self.inputs), range(len(self.inputs)))
        reused = self._places(arrays, spare) if spare else self._fresh
        self._table.written_for = None
        outputs = call(arrays, reused.pool.native or _native(reused.pool), reused.pool, reused.inputs, reused.order)
        if type(outputs) is int:
            self._fail(outputs)
        return outputs

    def _caller(self, places: list[int], given: Sequence[int]) -> Callable:
        """This program in C (`call` in calling.c). places: addresses of inputs that do not change; given: numbers of the others."""
        types = tuple([(self._expected[i][1], self._expected[i][0], i) for i in given])
        whole = (*places, *[0] * len(self.outputs), self._arena_at, *self.sizes)
        entry = ctypes.cast(self._main, ctypes.c_void_p).value
        return Quick.library.lamina_caller(np.ndarray, entry, self._table.at, types, len(self.inputs), len(self.outputs), whole)

    def _find(self, arrays: Sequence[np.ndarray], ids: list[int]) -> list[np.ndarray]:
        """Note where the inputs of a call are; gives the copies that had to be made.

        An array that was at its place in the last call is still where it was: it is the same one, as what no program's pools made is
        held, and what they let go of counts as a change.
        """
        before, self._ids, self._counts = self._ids, self._nowhere, None  # should one of them be refused
        changes, copies = _made.changes, []
        every = range(len(ids))
        for i in compress(every, map(ne, ids, before)) if changes == self._changes else every:
            self._at[i] = self._known[i].get(ids[i]) or self._place(i, arrays[i], copies)
        self._changes = changes
        if not copies:
            self._ids = ids
        return copies

    def bind(self, arrays: Sequence[np.ndarray | None]) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
        """This program as a function of the inputs that are None here; the others stay what they are, and are looked at now only."""
        copies: list[np.ndarray] = []
        places = [0 if a is None else self._known[i].get(id(a)) or self._place(i, a, copies) for i, a in enumerate(arrays)]
        self._settle(arrays)
        changing = [(i, self._known[i], k) for k, i in enumerate([i for i, a in enumerate(arrays) if a is None])]
        sizes = self.sizes
        take, pack, table, main = self._pool.take, self._pack, self._table, self._main
        packed, inputs = self._copies if self._copies.addresses else None, list(arrays)

        written: list[int] = []  # where the outputs were when the table was written for this function
        quick: Callable | None = None
        pool, order = self._pool, self._fresh.order

        def call(values: Sequence[np.ndarray]) -> list[np.ndarray]:
            nonlocal written, quick
            with self._lock:
                if flags.threads.value != self._threads or self._arena is None:
                    self._prepare()
                if packed is None and Quick.library is not None:
                    if quick is None:
                        quick = self._caller(places, [i for i, _, _ in changing])
                    table.written_for = None
                    outputs = quick(values, pool.native or _native(pool), pool, (), order)
                    if type(outputs) is int:
                        self._fail(outputs)
                    if outputs is not None:
                        return outputs
                copied: list[np.ndarray] = []
                for i, known, k in changing:
                    at = known.get(id(values[k])) or self._place(i, values[k], copied)
                    if at != places[i]:
                        places[i], table.written_for = at, None
                    inputs[i] = values[k]
                outputs, made_at = take()
                changed = packed is not None and packed.follow(inputs)
                if table.written_for is not places or changed or made_at != written:
                    more = packed.addresses if packed is not None else ()
                    pack(table.bytes, 0, *places, *made_at, *more, self._arena_at, *sizes)
                    table.written_for, written = places, made_at.copy()
                status = main(table.at)
                if changed and not status:
                    packed.filled()  # type: ignore[union-attr]  # what changed is one of its copies
            if status:
                self._fail(status)
            return outputs

        call.kept = [*arrays, *copies]  # type: ignore[attr-defined]  # their memory is what the table points at
        return call

    def _settle(self, arrays: Sequence[np.ndarray | None]) -> None:
        """Large inputs that come again are read again and again: into huge pages with them. A batch of data comes once."""
        for i in self._first_seen:
            array = self._held[i]
            if array is not None and array is arrays[i]:
                huge_pages.move_into(array)
        self._first_seen.clear()

    def forget(self) -> None:
        """Let go of all output arrays."""
        with self._lock:
            for places in self._all_places.values():
                places.pool.release(set())
            self._looked = (None, [])

    def _prepare(self) -> None:
        """Threads and working memory."""
        if flags.threads.value != self._threads:
            self._use_threads(flags.threads.value)
        if self._arena is None:
            if self._beside is not None:
                self._beside._prepare()
                self._arena = self._beside._arena
            else:
                self._arena = aligned_array((self.arena_bytes,), np.dtype(np.uint8))
            assert self._arena is not None
            self._arena_at = self._arena.ctypes.data

    def _fail(self, status: int) -> None:
        raise BackendError(f"the compiled program failed with code {status}", help="LAMINA_DEVICE=numpy runs it on the oracle")

    def _places(self, arrays: Sequence[np.ndarray], spare: Mapping[int, int]) -> Places:
        """What this call works in place on.

        Which arrays hold the inputs may rotate from call to call; who refers to them, beside the pools, mostly does not.
        """
        given = [arrays[i] for i in self._given]
        counts = list(map(getrefcount, given))
        if counts == self._counts and self._looked[0] is spare:
            return self._reused
        self._counts = counts
        others = list(map(sub, counts, map(self._pool.held.get, map(id, given), repeat(_FOREIGN))))
        if self._looked[0] is spare and self._looked[1] == others:
            return self._reused
        # Only what a pool made and holds: it is aligned, and kept alive.
        free = {i for i, count in zip(self._given, others, strict=True) if i in spare and count == spare[i] + 2 + LOOKING}
        pairs: dict[int, int] = {}
        for k, i in self.reusable:
            if i in free and k not in pairs:
                free.discard(i)
                pairs[k] = i
        chosen = tuple(pairs.items())
        self._reused = self._all_places.get(chosen) or self._new_places(chosen)
        kept = {id(arrays[i]) for i in pairs.values()}
        for places in self._all_places.values():
            if places is not self._reused:
                places.pool.release(kept)
        self._looked = spare, others
        return self._reused

    def _new_places(self, pairs: tuple[tuple[int, int], ...]) -> Places:
        given = [k for k, _ in pairs]
        kept = [k for k in range(len(self.outputs)) if k not in given]
        order = [*kept, *given]
        pool = OutputPool([self.outputs[k] for k in kept], beside=self._pool)
        made = self._all_places[pairs] = Places(pairs, tuple(i for _, i in pairs), pool, tuple(order.index(k) for k in range(len(order))))
        return made

    def _place(self, i: int, array: np.ndarray, copies: list[np.ndarray]) -> int:
        """The address of an input this program did not make; what had to be copied stays alive in ``copies``."""
        if array is self._held[i]:
            return self._held_at[i]  # type: ignore[return-value]  # held together
        shape, dtype = self._expected[i]
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            got = show_type((np.shape(array), dtype_of(array))) if isinstance(array, np.ndarray) else type(array).__name__
            raise BackendError(f"input {i} of the program is {show_type(self.inputs[i])}, got {got}")
        self._ids[i] = 0  # who was there is held no longer
        if array.flags.num & _PLAIN == _PLAIN:
            address = address_of(array)
            self._held[i], self._held_at[i] = array, address
            if array.nbytes >= huge_pages.LARGE and i not in self._copied:
                self._first_seen.add(i)
            return address
        self._held[i] = self._held_at[i] = None
        copies.append(np.array(array, order="C"))
        return copies[-1].ctypes.data

    def _use_threads(self, count: int) -> None:
        pool = _pool() if count > 1 else None
        if pool is not None:
            pool.lamina_pool_threads(count)
        runners = (None, None) if pool is None else (pool.lamina_pool_run, pool.lamina_pool_program)
        self._set_pool(*(ctypes.cast(runner, ctypes.c_void_p) for runner in runners))
        self._threads = count


def types_to_json(types: Sequence[Type]) -> list[list[object]]:
    """Types as JSON: ``[[shape], "f32"]``."""
    return [[list(shape), dtype.code] for shape, dtype in types]


def types_from_json(data: Sequence[Sequence[object]]) -> tuple[Type, ...]:
    """Types from JSON."""
    return tuple((tuple(int(d) for d in shape), DTYPES[str(code)]) for shape, code in data)  # type: ignore[attr-defined]
