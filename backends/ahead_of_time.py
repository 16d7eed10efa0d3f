"""Ahead of time: a graph and its weights as C files that need nothing but a C compiler and libm.

``model.c`` and ``model.h`` (a versioned ABI: one call, no allocation, every error a code), ``model.weights`` (raw, aligned,
with version and checksum), optionally a shared library and a ``main.c`` that runs raw input files through the model.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..dialects.errors import BackendError, FileError
from ..dialects.graph import Graph
from ..dialects.target import target_named
from ..dialects.types import Type, show_type, size_of
from ..lowering.c_function import is_reserved
from ..lowering.c_helpers import DOT_FEATURES
from ..lowering.c_tiles import NO_TILES
from ..lowering.loops_to_c import FOUND
from .ahead_of_time_main import main_source
from .emission import Emission, edit_of, emit
from .toolchain import BASE_FLAGS, INSTALL, MISSING, installed_compiler, run_compiler

ABI_VERSION = 1
ALIGNMENT = 64
_HEADER = struct.Struct("<8sIIQQ")  # magic, version, weights, bytes of the file, checksum of what follows the header
_MAGIC = b"LAMINAW\0"
_C_TYPES = {
    "f64": "double", "f32": "float", "f16": "uint16_t", "bf16": "uint16_t", "i64": "int64_t", "i32": "int32_t",
    "i16": "int16_t", "i8": "int8_t", "ui8": "uint8_t", "i1": "uint8_t",
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One array of the model's C call."""

    name: str
    type: Type

    @property
    def c_type(self) -> str:
        """C element type: 16-bit floats are their bits, bool is one byte."""
        return _C_TYPES[self.type[1].code]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return size_of(self.type[0])


@dataclass(frozen=True)
class Interface:
    """What the C files of one model agree on."""

    prefix: str
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]
    arena_bytes: int
    weights_bytes: int
    weight_count: int
    state: tuple[Parameter, ...] = ()

    @property
    def macro(self) -> str:
        """The prefix of macros."""
        return self.prefix.upper()


def write_c(
    graph: Graph, weights: Mapping[int, np.ndarray], names: Sequence[str | None] | None, directory: str | Path, *,
    main: bool = False, shared: bool = True, target: str = "native", prefix: str = "model", updates: Sequence[int] = (),
    dump: str | Path | None = None, check: int = 0,
) -> list[Path]:  # fmt: skip
    """Write the model's files into a folder and return their paths.

    weights: graph input index -> its contents; the other inputs stay arguments of the call. Of weights that no call writes the file holds what the
    program reads: packed copies, sums that are multiplied in place of kernels. names: one per graph input
    (None: the graph's own). updates: weights the last results are the new contents of: each call writes them. target: "native" uses this machine's vector width, "portable" 128-bit vectors and plain
    flags. FileError if the folder cannot be written, BackendError for weights that do not fit or a failing compiler.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", prefix):
        raise BackendError(f"{prefix!r} cannot start C names", help="use letters, digits and underscores")
    folder = Path(directory)
    fit_weights(graph, weights)
    entry = f"{prefix}_program"
    with _draft_of(folder) as draft:
        bound = () if updates or not _makes_copies(target) else tuple(weights)
        made = emit(graph, target=target, dump=dump, check=check, entry=entry, pool=False, shared=False, bound=bound, edit=edit_of(graph, target, bound=bound))
        copies = _filled(made, graph, weights, entry, target)
        blob, offsets = pack_weights({i: w for i, w in weights.items() if i not in made.unread}, copies)
        state = State(graph, weights.keys(), offsets, tuple(updates), made)
        face = _interface(graph, weights, names or graph.names, prefix, state, len(blob))
        files: dict[str, bytes] = {
            f"{prefix}.h": header_source(face).encode(),
            f"{prefix}.c": model_source(face, graph, state, made.edited or made.source.text, entry, target).encode(),
            f"{prefix}.weights": blob,
        }
        if main:
            files["main.c"] = main_source(face).encode()
        for name, data in files.items():
            (draft / name).write_bytes(data)
        written = [*files, *([_build_library(draft, prefix, target)] if shared else [])]
    return [folder / name for name in written]


class State:
    """Weights that each call writes. What the compiler allows is made in place; the rest behind the arena, and copied when the call
    is done."""

    def __init__(self, graph: Graph, weights: Collection[int], offsets: Mapping[int, int], updates: tuple[int, ...], made: Emission) -> None:
        self.weights, self.offsets, self.updates = weights, offsets, updates
        self.first = len(graph.outputs) - len(updates)
        self.arena_bytes = made.arena_bytes
        allowed = set(made.reusable)
        self.copies: list[tuple[int, int, int]] = []  # weight, place in the arena, bytes
        self.places: list[str] = []
        for k, i in enumerate(updates, self.first):
            if (k, i) in allowed and graph.outputs.count(graph.outputs[k]) == 1:
                self.places.append(f"(char *)weights + {offsets[i]}")
                continue
            shape, dtype = graph.inputs[i]
            place = -(-self.arena_bytes // ALIGNMENT) * ALIGNMENT
            self.copies.append((i, place, size_of(shape) * dtype.itemsize))
            self.arena_bytes = place + self.copies[-1][2]
            self.places.append(f"(char *)arena + {place}")

    def copying(self) -> str:
        """The lines behind the program."""
        return "".join(f"    memcpy((char *)weights + {self.offsets[i]}, (char *)arena + {place}, {size});\n" for i, place, size in self.copies)


def fit_weights(graph: Graph, weights: Mapping[int, np.ndarray]) -> None:
    """BackendError where a weight does not fit its input."""
    for i in sorted(weights):
        array = np.asarray(weights[i])
        if not 0 <= i < len(graph.inputs):
            raise BackendError(f"there is no input {i} to bind weights to; the graph has {len(graph.inputs)}")
        shape, dtype = graph.inputs[i]
        if array.shape != shape or array.dtype != dtype.numpy:
            got = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
            raise BackendError(f"the weights for {graph.names[i] or f'input {i}'} are {got}, not {show_type(graph.inputs[i])}")


def pack_weights(weights: Mapping[int, np.ndarray], copies: Sequence[np.ndarray] = ()) -> tuple[bytes, dict[int, int]]:
    """The weights file, and each weight's byte offset in it; those of copies are under -1, -2, …"""
    body, offsets = bytearray(), {}
    for i, array in [*sorted(weights.items()), *((-1 - k, copy) for k, copy in enumerate(copies))]:
        offsets[i] = ALIGNMENT + len(body)
        body += np.ascontiguousarray(array).tobytes()
        body += bytes(-len(body) % ALIGNMENT)
    head = _HEADER.pack(_MAGIC, ABI_VERSION, len(offsets), ALIGNMENT + len(body), checksum(bytes(body)))
    return head.ljust(ALIGNMENT, b"\0") + bytes(body), offsets


def _makes_copies(target: str) -> bool:
    """Whether this machine can build and run what is made for a target."""
    try:
        if installed_compiler() is None:
            return False
    except BackendError:  # whoever asks for a library hears of it
        return False
    return target in ("native", "portable") or target_named(target).name == target_named("native").name


def _filled(made: Emission, graph: Graph, weights: Mapping[int, np.ndarray], entry: str, target: str) -> list[np.ndarray]:
    """The copies that the program keeps of weights, made by a run of the program that fills them."""
    if made.filling is None:
        return []
    compiler = installed_compiler()
    assert compiler is not None  # else nothing was bound
    with tempfile.TemporaryDirectory(prefix="lamina-") as name:
        source, library = Path(name) / "filling.c", Path(name) / "filling.so"
        source.write_text(_features_source(target) + made.filling.text, encoding="utf-8")
        flags = compiler.flags if target == "native" else BASE_FLAGS
        run_compiler(compiler, [*flags, "-fPIC", "-shared", "-o", str(library), str(source), "-lm"], source)
        program = getattr(ctypes.CDLL(str(library)), entry)
        types = [*graph.inputs, *(graph.types[i] for i in graph.outputs), *(k.type for k in made.filling.kept)]
        arrays = [np.ascontiguousarray(weights[i]) if i in weights else np.zeros(shape, dtype.numpy) for i, (shape, dtype) in enumerate(types)]
        arrays += [np.ones(len(made.filling.kept), np.uint8), np.zeros(max(1, made.arena_bytes) + ALIGNMENT, np.uint8)]
        places = [a.ctypes.data for a in arrays]
        places[-1] += -places[-1] % ALIGNMENT
        status = program((ctypes.c_void_p * len(places))(*places))
        if status:
            raise BackendError(f"the program that packs the weights ended with {status}")
        first = len(graph.inputs) + len(graph.outputs)
        return arrays[first : first + len(made.filling.kept)]


def checksum(body: bytes) -> int:
    """Two running sums of the 32-bit words (Fletcher's), as ``<prefix>_check_weights`` computes them."""
    words = np.frombuffer(body, "<u4").astype(np.uint64)
    count = np.arange(len(words), 0, -1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        first, second = int(words.sum(dtype=np.uint64)), int((words * count).sum(dtype=np.uint64))
    return (first & 0xFFFFFFFF) | (second & 0xFFFFFFFF) << 32


def _interface(
    graph: Graph, weights: Mapping[int, np.ndarray], names: Sequence[str | None], prefix: str, state: State, blob: int
) -> Interface:
    taken = {"weights", "arena", "status", "table", "main", prefix, *(f"{prefix}_{end}" for end in _OWN_NAMES)}
    given = [i for i in range(len(graph.inputs)) if i not in weights]
    inputs = tuple(Parameter(_c_name(names[i] or "x", taken), graph.inputs[i]) for i in given)
    outputs = tuple(Parameter(_c_name("y", taken), graph.types[i]) for i in graph.outputs[: state.first])
    written = tuple(Parameter(names[i] or "x", graph.inputs[i]) for i in state.updates)
    return Interface(prefix, inputs, outputs, state.arena_bytes, blob, len(state.offsets), written)


def _c_name(name: str, taken: set[str]) -> str:
    base = re.sub(r"\W", "_", name)
    base = base if base[0].isalpha() else f"x_{base}"
    base = f"{base}_" if is_reserved(base) else base
    unique, n = base, 0
    while unique in taken:
        n += 1
        unique = f"{base}{n}"
    taken.add(unique)
    return unique


_OWN_NAMES = ("run", "check_weights", "seal_weights", "sum", "program", "pool_run", "pool_threads", "pool_program", "threads")

# What a "native" program needs of an x86-64 processor, so that plain `cc -O2` makes the code it was planned for.
_FEATURES = {
    "avx512": "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    "avx2": "avx2,fma",
}
_FEATURES["avx512_vnni"] = f"{_FEATURES['avx512']},avx512vnni"
_FEATURES["avx512_bf16"] = _FEATURES["avx512_halves"] = f"{_FEATURES['avx512_vnni']},avx512bf16"
_FEATURES["avx512_amx"] = f"{_FEATURES['avx512_vnni']},amx-tile,amx-bf16,amx-int8"
_FEATURES["avx2_vnni"] = f"{_FEATURES['avx2']},avxvnni"


def _features_source(target: str) -> str:
    name = target_named(target).name
    features = _FEATURES.get(name) or _FEATURES.get(name.rpartition("_")[0])
    if features is None:
        return ""
    wide = ",prefer-vector-width=512" if "avx512" in features else ""
    known = "".join(f"\n#define DOTS_{f}" for f in features.split(",") if f in DOT_FEATURES)  # clang's attribute defines no macros
    tiles = "\n#define TILE_REGISTERS" if "amx" in features else ""
    return f"""
/* Made for this kind of processor; --target portable makes C for any. */
#if defined(__x86_64__) && defined(__clang__){known}{tiles}
#pragma clang attribute push(__attribute__((target("{features}"))), apply_to = function)
#elif defined(__x86_64__) && defined(__GNUC__)
#pragma GCC target("{features}{wide}")
#endif
"""


def _arguments(face: Interface) -> str:
    given = [f"const {p.c_type} *{p.name}" for p in face.inputs] + [f"{p.c_type} *{p.name}" for p in face.outputs]
    return ", ".join([*given, f"{'' if face.state else 'const '}void *weights", "void *arena"])


def header_source(face: Interface) -> str:
    """``model.h``: sizes, shapes, error codes and two functions."""
    m, lines = face.macro, []
    for kind, parameters in (("INPUT", face.inputs), ("OUTPUT", face.outputs)):
        lines.append(f"#define {m}_{kind}S {len(parameters)}")
        for i, p in enumerate(parameters):
            shape = ", ".join(map(str, p.type[0])) or "1"
            lines += [
                f"/* {p.name}: {show_type(p.type)} */",
                f'#define {m}_{kind}_{i}_NAME "{p.name}"',
                f"#define {m}_{kind}_{i}_RANK {len(p.type[0])}",
                f"#define {m}_{kind}_{i}_SHAPE {{{shape}}}",
                f"#define {m}_{kind}_{i}_ELEMENTS {p.elements}",
                f"#define {m}_{kind}_{i}_BYTES {p.elements * p.type[1].itemsize}",
            ]
    return f"""\
/* {face.prefix}: made by lamina. Arrays are row-major; 16-bit floats are passed as their bits, bool as one byte. */
#ifndef {m}_H
#define {m}_H

#include <stddef.h>
#include <stdint.h>

#define {m}_ABI_VERSION {ABI_VERSION}
#define {m}_ARENA_BYTES {max(face.arena_bytes, 1)}
#define {m}_WEIGHTS_BYTES {face.weights_bytes}
/* What weights and arena must be aligned to. */
#define {m}_ALIGNMENT {ALIGNMENT}

{chr(10).join(lines)}

enum {{
    {m}_OK = 0,
    {m}_NULL_POINTER = 1,  /* an argument is NULL */
    {m}_UNALIGNED = 2,     /* weights or arena is not {ALIGNMENT}-byte aligned */
    {m}_NOT_WEIGHTS = 3,   /* not a weights file of this byte order, or its size is wrong */
    {m}_OTHER_VERSION = 4, /* weights written for another ABI version or model */
    {m}_DAMAGED = 5,       /* the checksum does not fit */
    {m}_NO_TILES = {NO_TILES}        /* made for a processor with AMX, and the system refuses its tile registers */
}};

#ifdef __cplusplus
extern "C" {{
#endif

/* Check the contents of {face.prefix}.weights once after loading them. */
int {face.prefix}_check_weights(const void *weights, size_t bytes);

/* One run. {_sharing(face)} */
int {face.prefix}_run({_arguments(face)});
{_sealing(face)}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _sharing(face: Interface) -> str:
    m = face.macro
    if not face.state:
        return f"Calls with different arenas may run at the same time (one at a time when built with {m}_THREADS)."
    held = "\n".join(f"     {p.name}: {show_type(p.type)}" for p in face.state)
    return f"Each call writes what the model keeps among its weights, so one call at a time has them:\n{held}\n  "


def _sealing(face: Interface) -> str:
    if not face.state:
        return ""
    return f"""
/* Makes weights that calls have written a weights file again: to be called before they are saved. */
int {face.prefix}_seal_weights(void *weights);
"""


_CHECKSUM = """\
static uint64_t {prefix}_sum(const void *weights) {{
    const uint32_t *word = (const uint32_t *)((const char *)weights + {m}_ALIGNMENT);
    uint32_t first = 0, second = 0;
    const size_t words = ({m}_WEIGHTS_BYTES - {m}_ALIGNMENT) / 4;
    for (size_t i = 0; i < words; i++) {{
        first += word[i];
        second += first;
    }}
    return first | (uint64_t)second << 32;
}}
"""

_SEAL = """
int {prefix}_seal_weights(void *weights) {{
    struct {{ char magic[8]; uint32_t version, count; uint64_t bytes, checksum; }} *head = weights;
    if (!weights) return {m}_NULL_POINTER;
    if ((uintptr_t)weights % {m}_ALIGNMENT) return {m}_UNALIGNED;
    head->checksum = {prefix}_sum(weights);
    return {m}_OK;
}}
"""


def _place(i: int, offsets: Mapping[int, int], weights: Collection[int], inputs: Iterator[Parameter]) -> str:
    """Where an input is: an argument, or among the weights; nowhere, if only copies were made of it."""
    if i in offsets:
        return f"(void *)((const char *)weights + {offsets[i]})"
    return "(void *)0" if i in weights else f"(void *){next(inputs).name}"


def model_source(face: Interface, graph: Graph, state: State, program: str, entry: str, target: str) -> str:
    """``model.c``: the program, the weights check and the call."""
    m, offsets = face.macro, state.offsets
    inputs = iter(face.inputs)
    copies = [f"(void *)((const char *)weights + {place})" for i, place in offsets.items() if i < 0]
    table = [_place(i, offsets, state.weights, inputs) for i in range(len(graph.inputs))]
    table += [*(p.name for p in face.outputs), *state.places, *copies, "arena"]
    copying = state.copying()
    threads = _threads_source(face, entry) if "parallel_for" in program else ("", "", f"{entry}(table)")
    call = f"int status = {threads[2]};\n    if (status) return status;\n{copying}    return {m}_OK;" if copying else f"return {threads[2]};"
    text = "#include <string.h>\n" if copying else ""
    seal = _SEAL.format(prefix=face.prefix, m=m) if face.state else ""
    pointers = " || ".join(f"!{p.name}" for p in (*face.inputs, *face.outputs))
    features = _features_source(target)
    closing = "\n#if defined(__x86_64__) && defined(__clang__)\n#pragma clang attribute pop\n#endif\n" if features else ""
    return f"""\
/* {face.prefix}: made by lamina. Build with any C11 compiler and -lm. */
{threads[0]}#include "{face.prefix}.h"
{text}
/* The same rounding whatever the compiler's defaults: multiply-adds are fused only where fma is written. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
{features}
{program}
{_CHECKSUM.format(prefix=face.prefix, m=m)}
int {face.prefix}_check_weights(const void *weights, size_t bytes) {{
    const struct {{ char magic[8]; uint32_t version, count; uint64_t bytes, checksum; }} *head = weights;
    if (!weights) return {m}_NULL_POINTER;
    if ((uintptr_t)weights % {m}_ALIGNMENT) return {m}_UNALIGNED;
    if (bytes < {m}_ALIGNMENT || head->bytes != bytes) return {m}_NOT_WEIGHTS;
    for (int i = 0; i < 8; i++)
        if (head->magic[i] != "LAMINAW"[i]) return {m}_NOT_WEIGHTS;
    if (head->version != {m}_ABI_VERSION || head->count != {face.weight_count} || bytes != {m}_WEIGHTS_BYTES) return {m}_OTHER_VERSION;
    return head->checksum == {face.prefix}_sum(weights) ? {m}_OK : {m}_DAMAGED;
}}
{seal}
int {face.prefix}_run({_arguments(face)}) {{
    if ({pointers}{' || ' if pointers else ''}!weights || !arena) return {m}_NULL_POINTER;
    if ((uintptr_t)weights % {m}_ALIGNMENT || (uintptr_t)arena % {m}_ALIGNMENT) return {m}_UNALIGNED;
    void *table[] = {{{', '.join(table)}}};
{threads[1]}    {call}
}}
{closing}"""


def _threads_source(face: Interface, entry: str) -> tuple[str, str, str]:
    """The pool, compiled in with -D<PREFIX>_THREADS=n -pthread, the lines that hand it to the program, and the call of that."""
    pool = (Path(__file__).parent / "pool.c").read_text(encoding="utf-8")
    pool = re.sub(r"^(void|int) lamina_pool_", rf"static \1 {face.prefix}_pool_", pool, flags=re.M)
    run = f"{face.macro}_CALL"
    by_pool = f"static int64_t {face.prefix}_threads[{FOUND}];\n#define {run}(table) {face.prefix}_pool_program({entry}, table, {face.prefix}_threads)\n"
    guard = f"#ifdef {face.macro}_THREADS"
    use = f"    {face.prefix}_pool_threads({face.macro}_THREADS);\n    parallel_for = {face.prefix}_pool_run;\n"
    return f"{guard}\n{pool}{by_pool}#else\n#define {run}(table) {entry}(table)\n#endif\n", f"{guard}\n{use}#endif\n", f"{run}(table)"


@contextmanager
def _draft_of(folder: Path) -> Iterator[Path]:
    """A folder to write into; what it holds moves to ``folder`` at the end, or nothing does. FileError if that refuses."""
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    except OSError as error:
        raise _refused(folder, error) from error
    try:
        yield draft
        for path in sorted(draft.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise _refused(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if not existed and not any(folder.iterdir()):
            folder.rmdir()


def _refused(folder: Path, error: OSError) -> FileError:
    return FileError(f"cannot write the model into {folder}: {error.strerror or error}", help="choose another folder")


def _build_library(folder: Path, prefix: str, target: str) -> str:
    """Build ``lib<prefix>.so`` beside the source, without paths of this machine in it; its name."""
    compiler = installed_compiler()
    if compiler is None:
        raise BackendError(f"{MISSING}: the shared library needs one", help=f"{INSTALL}; --no-shared (shared=False) writes the C files alone")
    flags, source, name = compiler.flags if target == "native" else BASE_FLAGS, folder / f"{prefix}.c", f"lib{prefix}.so"
    run_compiler(compiler, [*flags, "-fPIC", "-shared", "-o", str(folder / name), str(source), "-lm"], source)
    return name
