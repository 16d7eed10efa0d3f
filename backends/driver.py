"""The one door from the frontend: a recorded Graph and its arrays go in, results come out.

A small graph seen for the first time runs on the numpy oracle; seen again, or large, it is compiled (or found in the
disk cache) and called. Nothing here imports xDSL before the first graph that needs it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dialects import flags
from ..dialects.errors import BackendError
from ..dialects.graph import Graph, is_complex
from ..dialects.types import FLOAT8, size_of
from . import background, compiled_program
from .compiled_program import Program, compile_graph, profiled
from .compiled_program import programs as _programs
from .complex_program import ComplexProgram
from .emission import cpu_target, loops_of, source_of
from .executable import Executable, few_draws, quicken, set_num_threads
from .exports import gpu_arch, make_onnx, recorded_program, recorded_program_of_text, save_onnx, write_c
from .known_loops import with_scans
from .moving_windows import WindowedProgram, windows_of
from .rolled_program import RolledProgram
from .stats import stats
from .symbolic import Relatives, program_of_kin
from .toolchain import find_compiler

if TYPE_CHECKING:
    from .cuda.runtime import Runtime

__all__ = [
    "Program", "accelerator", "bound", "compile_graph", "draws_library", "few_draws", "gpu_arch", "has_accelerator", "loops_of", "make_onnx", "profiled",
    "recorded_program", "recorded_program_of_text", "recording_libraries", "rolls", "run", "save_onnx", "set_num_threads", "source_of", "stats", "tuning_report",
    "work_of", "write_c",
]

ORACLE_WORK = 1 << 22
"""Element operations below which a first-seen graph is not worth a compiler run."""

ORACLE_STEPS = 256
"""A graph of small steps runs on the oracle once more for every so many of them: a compile takes as long as some twenty oracle
runs however long the graph is, and a long graph is often one of many that never come back (episodes of a game, a loop cut somewhere).
"""

MANY_STEPS = 1024
"""Steps from which on a graph of small steps is more likely a long loop without synchronisation, cut somewhere, than a step
of one."""

STEP_WORK = 4096
"""Element operations per step up to which the steps of such a graph are small."""

PASSING_WORK = 64 * ORACLE_WORK
"""Element operations below which a graph of other sizes each time runs on the oracle once, where no program for any size serves it."""

STRAY_WORK = 64
"""One of many graphs that do not come back runs on the oracle below so many times `ORACLE_WORK`."""

_SEEN_LIMIT = 4096
_WINDOWED_LIMIT = 64

_f32 = "ieee"  # how those multiply float32
_windowed: OrderedDict[tuple[Graph, ...], None] = OrderedDict()  # graphs with windows, the one met last at the end
_seen: OrderedDict[int, int] = OrderedDict()  # how often a graph came, by its hash
_lock = threading.RLock()


def run(graph: Graph, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None = None) -> list[np.ndarray]:
    """The graph's outputs for these inputs (one array per input, of its shape and dtype).

    spare: inputs nobody reads afterwards, each with the references the caller itself holds to its array: outputs may be made in
    their memory, see `Executable`.
    """
    if flags.f32.value != _f32:
        _multiply_as_asked()
    program = _programs.of(graph)
    if program is not None and flags.device.value != "numpy":
        stats.hits += 1
        return program(arrays, spare)
    return _run_cold(graph, arrays, spare)


def _multiply_as_asked() -> None:
    """Forgets the programs that multiply float32 otherwise than the flag says now."""
    global _f32
    from .symbolic import forget

    with _lock:
        before, _f32 = cpu_target(_f32), flags.f32.value
        if cpu_target(_f32) != before:
            _programs.clear()
            forget()


def bound(graph: Graph, arrays: Sequence[np.ndarray | None]) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]] | None:
    """The compiled graph as a function of the inputs that are None here, see `Executable.bind`; None while it is not compiled."""
    program = _programs.get(graph)
    return program.bind(arrays) if program is not None and flags.device.value != "numpy" else None


def _run_cold(graph: Graph, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None) -> list[np.ndarray]:
    """A graph without a program in memory: oracle, disk cache or compiler."""
    with _lock:
        if graph.kin is not None and (known := _program_of_kin(graph)) is not None:
            return known(arrays, spare)
        before = _seen[hash(graph)] = _seen.get(hash(graph), -1) + 1
        if len(_seen) > _SEEN_LIMIT:
            _seen.popitem(last=False)
        asked = _is_asked()
        compiles = flags.device.value != "numpy" and find_compiler() is not None and not any(t[1] in FLOAT8 for t in graph.types)
        if not compiles:
            return _run_complex(graph, arrays) if is_complex(graph) else _run_oracle(graph, arrays)
        program = _programs.get(graph)
        if program is None and is_complex(graph):
            return _run_complex(graph, arrays)
        if program is None:
            rolled = with_scans(graph, stats.timed)
            own = graph if rolled is None else rolled.graph
            windows = None if asked or not flags.symbolic.value else windows_of(own)
            program = _program_of(own if windows is None else windows.graph, before, asked)
            if program is None and rolled is None:
                return _run_oracle(graph, arrays)
            if program is None:
                return RolledProgram(lambda given, _: _run_oracle(own, given), rolled)(arrays)
            if windows is not None:
                _programs[windows.graph] = program
                program = WindowedProgram(program, windows)
                _keep_few(own, graph)
            _programs[own] = program
            _programs[graph] = program = program if rolled is None else RolledProgram(program, rolled)
    return program(arrays, spare)


def _program_of_kin(graph: Graph) -> Program | None:
    """A program for many sizes that served a graph this one was made of, where no stage of it is to be seen."""
    if not flags.symbolic.value or _is_asked() or flags.device.value == "numpy":
        return None
    program = program_of_kin(graph)
    if program is not None:
        stats.hits += 1
        _programs[graph] = program
    return program


def _is_asked() -> bool:
    """Whether stages are to be seen, checked, timed or taken from files: there must be some."""
    return bool(flags.dump.value or flags.override.value or flags.check.value or compiled_program.profiler)


def _keep_few(*graphs: Graph) -> None:
    """Forget the programs of windows met long ago: they are the one program of all of them, called with other places."""
    _windowed[graphs] = None
    if len(_windowed) > _WINDOWED_LIMIT:
        for old in _windowed.popitem(last=False)[0]:
            _programs.pop(old, None)


def _run_complex(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A graph of complex numbers: as the one on their parts, whose program it gets as soon as there is one."""
    from ..passes.split_complex import split_complex

    own = split_complex(graph)
    found = ComplexProgram(lambda given, spare: run(own, given, spare), graph)(arrays)
    if own in _programs:
        _programs[graph] = ComplexProgram(_programs[own], graph)
    return found


def _program_of(graph: Graph, before: int, asked: bool) -> Executable | None:
    """A program for a graph, made or found; None where the oracle is to run it. before: how often it came."""
    relatives = Relatives.of(graph) if not asked and flags.symbolic.value else None
    program = _programs.get(graph) or (relatives.program() if relatives is not None else None)
    if program is None and before == 0 and relatives is not None:
        relatives.stray()
    if program is None and not asked and _is_small(graph, before):
        if relatives is None or relatives.few:
            return None
        return relatives.compiled()  # one for all of them or none: its own sizes hardly come again
    if program is None and not asked and before == 0 and relatives is not None and _is_met_in_passing(graph, relatives):
        return None
    elsewhere = program is None and not asked and flags.background.value and background.pays(work_of(graph), len(graph.steps))
    try:
        return program or (relatives.compiled(elsewhere) if relatives is not None else None) or _compile_as_asked(graph, elsewhere)
    except background.Making:
        return None


def rolls(graph: Graph) -> bool:
    """Whether most of a graph is turns of loops that become scans: more turns of them cost the compiler nothing."""
    found = with_scans(graph, stats.timed)
    return found is not None and 2 * len(found.graph.steps) <= len(graph.steps)


def _compile_as_asked(graph: Graph, elsewhere: bool) -> Program:
    """Compile with the dump and the checks the flags ask for. elsewhere: see `compile_graph`."""
    if not flags.dump.value:
        return compile_graph(graph, check=flags.check.value, elsewhere=elsewhere)
    from .dump_index import index_of

    index = index_of(flags.dump.value)
    program = compile_graph(graph, dump=index.next_folder(), check=flags.check.value)
    index.add(graph, len(program.source.encode()), program.arena_bytes)
    return program


def _is_met_in_passing(graph: Graph, relatives: Relatives) -> bool:
    """True for a graph that comes for the first time, is not expected to come again, and is not worth a compiler run then."""
    return relatives.is_passing and work_of(graph) < PASSING_WORK or relatives.is_stray and work_of(graph) < STRAY_WORK * ORACLE_WORK


def _is_small(graph: Graph, before: int) -> bool:
    """True for a graph that is not worth a compiler run, having come so often before."""
    steps = len(graph.steps)
    if before > steps // ORACLE_STEPS:
        return False
    return work_of(graph) < max(ORACLE_WORK, STEP_WORK * steps if steps > MANY_STEPS else 0)


def _run_oracle(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    from .oracle_graph import evaluate_graph

    with stats.timed("oracle"):
        stats.oracle_runs += 1
        return [np.asarray(a, order="C") for a in evaluate_graph(graph, arrays)]  # as a compiled program's are


def work_of(graph: Graph) -> int:
    """Element operations of a graph, roughly; a gradient costs about twice what is recorded before it."""
    from ..dialects.book import OPS

    work, gradients, value = 0, 0, len(graph.inputs)
    for step in graph.steps:
        if step.op.startswith("autodiff."):
            value += len(step.operands) - 2 if step.op == "autodiff.grad" else 1
            gradients += 2 * work if step.op == "autodiff.grad" else 0
            continue
        stanza = OPS[step.op]
        if stanza.family == "contract":
            sizes = stanza.contraction(tuple(graph.types[i] for i in step.operands), step.attrs).sizes.values()
            work += 2 * size_of(tuple(sizes))
        else:
            work += max((size_of(graph.types[i][0]) for i in step.operands), default=0)
        count = stanza.result_count(len(step.operands), step.attrs)
        if step.op == "scan":
            work += step.attrs[3] * work_of(step.attrs[0])
        work += sum(size_of(graph.types[value + r][0]) for r in range(count))
        value += count
    return work + gradients


def draws_library(build: bool = True) -> Any:
    """Random numbers in C, see `native_draws`; None where programs are not compiled, this one cannot be, or is not built yet and
    not to be. Before a program was compiled the disk is not looked at, either: that takes the compiler's name."""
    from .native_draws import NAME, draws_library as made
    from .native_library import is_built

    try:
        return made() if flags.device.value != "numpy" and (build or _programs and is_built(NAME)) else None
    except BackendError:
        return None


def recording_libraries() -> tuple[Any, ...]:
    """What records steps (recording.c) and does the rest of a step (stepping.c), for a process that flushes again and again; none where
    programs are not compiled, or these cannot be."""
    from .native_library import library_of

    try:
        if flags.device.value == "numpy":
            return ()
        calls, *others = [library_of(name) for name in ("calling", "recording", "stepping")]
        if calls is not None:
            quicken(calls)
        return tuple(others) if None not in others else ()
    except BackendError:
        return ()


def tuning_report() -> str:
    """What measuring found in this process, problem by problem."""
    from .tuner import tuner

    return tuner().report()


def accelerator() -> Runtime:
    """The GPU tensors are moved to. BackendError says why there is none."""
    from .cuda.runtime import runtime

    return runtime()


def has_accelerator() -> bool:
    """Whether there is a GPU tensors can be moved to."""
    from .cuda.runtime import available

    return available()
