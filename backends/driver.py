"""The one door from the frontend: a recorded Graph and its arrays go in, results come out.

A small graph seen for the first time runs on the numpy oracle; seen again, or large, it is compiled (or found in the
disk cache) and called. Nothing here imports xDSL before the first graph that needs it.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dialects import flags
from ..dialects.errors import BackendError
from ..dialects.graph import Graph, is_complex
from ..dialects.kept import Kept
from ..dialects.types import size_of
from . import background
from .cache import cache_folder, discard, key_of, lookup, source_version, store
from .complex_program import ComplexProgram, as_parts
from .executable import Executable, set_num_threads, types_from_json, types_to_json
from .graph_text import graph_to_json
from .known_loops import with_scans
from .moving_windows import WindowedProgram, windows_of
from .rolled_program import RolledProgram
from .symbolic import Relatives
from .toolchain import build_shared, find_compiler

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..lowering.kernel_cost import Cost
    from ..lowering.loops_to_c import Source
    from .cuda.runtime import Runtime
    from .dump import Dump
    from .recorded_program import RecordedProgram
    from .dump_index import DumpIndex
    from .profiler import Profiler

__all__ = ["Program", "compile_graph", "run", "set_num_threads", "stats", "write_c"]

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

UNIT_BYTES = 1 << 16
"""C text worth a compiler process of its own: programs twice as large and larger are compiled in parts, side by side, and their
kernels are found again by other programs."""

MOST_UNITS = 8

_SEEN_LIMIT = 4096
_WINDOWED_LIMIT = 64


@dataclass
class Stats:
    """What the driver did in this process. kernels_found: of compiled programs, those another program had compiled before.
    symbolic: of the compiles, those of programs for more than one size; refused: programs that would not be compiled so.
    seconds: per stage (capture, passes, source, build, load, oracle)."""

    compiles: int = 0
    disk_hits: int = 0
    kernels_found: int = 0
    hits: int = 0
    oracle_runs: int = 0
    symbolic: int = 0
    refused: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def reset(self) -> None:
        """Start counting anew."""
        self.__init__()  # type: ignore[misc]  # the dataclass's own defaults

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


stats = Stats()
profiler: Profiler | None = None  # set before the first program: what is loaded from then on is timed
_programs: dict[Graph, Executable | RolledProgram | ComplexProgram] = {}
_f32 = "ieee"  # how those multiply float32
_windowed: OrderedDict[tuple[Graph, ...], None] = OrderedDict()  # graphs with windows, the one met last at the end
_seen: OrderedDict[int, int] = OrderedDict()  # how often a graph came, by its hash
_dumps: dict[str, DumpIndex] = {}
_lock = threading.RLock()


def run(graph: Graph, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None = None) -> list[np.ndarray]:
    """The graph's outputs for these inputs (one array per input, of its shape and dtype).

    spare: inputs nobody reads afterwards, each with the references the caller itself holds to its array: outputs may be made in
    their memory, see `Executable`.
    """
    if flags.f32.value != _f32:
        _multiply_as_asked()
    program = _programs.get(graph)
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


def cpu_target(f32: str) -> str:
    """The name of the target programs on CPU tensors are made for."""
    from ..dialects.target import native_target, with_f32

    return with_f32(native_target().name, f32)


@contextmanager
def profiled(traced: bool = False) -> Iterator[Profiler]:
    """Time every kernel of the programs made in a block, see `profiler.py`. traced: keep every event, too."""
    from .profiler import Profiler

    global profiler
    before, profiler = profiler, Profiler(traced)
    try:
        yield profiler
    finally:
        profiler = before


def bound(graph: Graph, arrays: Sequence[np.ndarray | None]) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]] | None:
    """The compiled graph as a function of the inputs that are None here, see `Executable.bind`; None while it is not compiled."""
    program = _programs.get(graph)
    return program.bind(arrays) if program is not None and flags.device.value != "numpy" else None


def _run_cold(graph: Graph, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None) -> list[np.ndarray]:
    """A graph without a program in memory: oracle, disk cache or compiler."""
    with _lock:
        before = _seen[hash(graph)] = _seen.get(hash(graph), -1) + 1
        if len(_seen) > _SEEN_LIMIT:
            _seen.popitem(last=False)
        asked = bool(flags.dump.value or flags.check.value or profiler)  # to see, check or time the stages: there must be some
        compiles = flags.device.value != "numpy" and find_compiler() is not None
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
    if program is None and not asked and _is_small(graph, before) and (relatives is None or relatives.few):
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
    from .dump_index import DumpIndex

    index = _dumps.setdefault(flags.dump.value, DumpIndex(flags.dump.value))
    program = compile_graph(graph, dump=index.next_folder(), check=flags.check.value)
    index.add(graph, len(program.source.encode()), program.arena_bytes)
    return program


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
    """Element operations of a graph, roughly; a gradient costs about twice what is before it."""
    from ..dialects.book import OPS

    work, value = 0, len(graph.inputs)
    for step in graph.steps:
        if step.op.startswith("autodiff."):
            value += len(step.operands) - 2 if step.op == "autodiff.grad" else 1
            work *= 3 if step.op == "autodiff.grad" else 1
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
    return work


def draws_library(build: bool = True) -> Any:
    """Random numbers in C, see `native_draws`; None where programs are not compiled, this one cannot be, or is not built yet and
    not to be. Before a program was compiled the disk is not looked at, either: that takes the compiler's name."""
    from .native_draws import draws_library as made, is_built

    try:
        return made() if flags.device.value != "numpy" and (build or _programs and is_built()) else None
    except BackendError:
        return None


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


class Program(Executable):
    """A compiled graph: call it with its inputs. ``module(level)`` shows what it went through."""

    graph: Graph

    def module(self, level: str) -> ModuleOp:
        """The module of this program at a level (captured … loops), made anew."""
        from ..lowering.capture import capture
        from .pipelines import standard_pipeline

        module = capture(self.graph)
        standard_pipeline(cpu_target(flags.f32.value), keep=keeps(self.graph)).until(level).run(module)
        return module


def compile_graph(graph: Graph, *, dump: str | Path | None = None, check: int = 0, elsewhere: bool = False) -> Program:
    """A callable program for a graph, from the disk cache if it is there.

    dump: a folder for one IR file per stage. check: 1 verifies, 2 compares with the oracle, after every pass; both
    compile anew. elsewhere: another process may compile it, Making says that it does. BackendError without a C compiler or when it
    fails, PassError from a check.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BackendError("there is no C compiler to compile with", help="install gcc or clang, or `pip install ziglang`")
    key = key_of(
        "program", source_version(), compiler.identity, compiler.flags, flags.fast.value, cpu_target(flags.f32.value),
        graph.inputs, graph.steps, graph.outputs, *(["clocked", graph.origins] if profiler is not None else []),
    )  # fmt: skip
    if elsewhere:
        background.leave(key, lambda: {"graph": graph_to_json(graph)})
    found = None if dump or check else lookup(key)
    if found is not None:
        stats.disk_hits += 1
        _show("cache", f"found {key} in {cache_folder()}")
    else:
        with without_collector():
            found = store(key, lambda folder: _build(graph, folder, dump, check), replace=bool(dump or check))
        stats.compiles += 1
        _show("cache", f"compiled {key} into {found[0]}")
    if flags.tune.value and not (dump or check or profiler):
        from .tuner import finds_better

        if finds_better(graph, key):
            found = store(key, lambda folder: _build(graph, folder, None, 0), replace=True)
    with stats.timed("load"):
        try:
            program = _load(*found, graph)
        except BackendError:
            discard(key)  # what cannot be loaded now will not load next time
            raise
    if profiler is not None:
        profiler.watch(program, found[1]["costs"])
    _show("code", program.source)
    return program


def _load(folder: Path, facts: dict[str, Any], graph: Graph, sizes: Sequence[int] = (), beside: Program | None = None) -> Program:
    """The program of a cache entry, as that of a graph. sizes, beside: see `Executable`."""
    outputs = [graph.types[i] for i in graph.outputs]
    reusable = tuple((int(k), int(i)) for k, i in facts["reusable"])
    kept = [Kept(int(i), types_from_json([held])[0], str(form)) for i, held, form in facts["kept"]]
    program = Program(
        folder / facts["library"], graph.inputs, outputs, int(facts["arena_bytes"]), reusable=reusable, kept=kept, sizes=sizes,
        beside=beside,
    )  # fmt: skip
    program.graph = graph
    return program


def _build(graph: Graph, folder: Path, dump: str | Path | None, check: int, symbols: int = 0) -> dict[str, Any]:
    """Compile into a cache entry; returns its facts. symbols: sizes the program gets to know at the call."""
    from .tuned_plans import plans_path

    plans = "" if symbols else plans_path()
    made = emit(
        graph, target=cpu_target(flags.f32.value), dump=dump, check=check, keep=keeps(graph), clocked=profiler is not None,
        symbols=symbols, plans=plans,
    )  # fmt: skip
    source, text = made.source, made.source.text
    (folder / "program.c").write_text(text, encoding="utf-8")
    compiler = find_compiler()
    assert compiler is not None  # compile_graph asked
    before = time.perf_counter()
    with stats.timed("build"):
        if len(text) < 2 * UNIT_BYTES:
            build_shared(compiler, folder / "program.c", folder / "program.so")
        else:
            from .kernel_objects import build_units

            processors = min(MOST_UNITS, flags.available_processors())
            kernels, found = build_units(compiler, source, folder / "program.so", processors, UNIT_BYTES)
            stats.kernels_found += found
            _show("cache", f"{found} of {kernels} kernels were compiled before")
    _show("time", f"C compiler {time.perf_counter() - before:.2f} s for {len(text)} bytes of C")
    facts = {"arena_bytes": made.arena_bytes}
    kept = [[k.input, types_to_json([k.type])[0], k.form] for k in source.kept]
    return facts | {"library": "program.so", "reusable": made.reusable, "kept": kept, "costs": made.costs}


def source_of(graph: Graph, **options: Any) -> tuple[str, int]:
    """C text of a graph in one file, and its arena's bytes; options as `emit` has them."""
    made = emit(graph, **options)
    return made.source.text, made.arena_bytes


@dataclass(frozen=True)
class Emission:
    """A graph as C. arena_bytes: working memory. reusable: (output, input) pairs that may be one array. costs: of its kernel
    calls, when it is clocked."""

    source: Source
    arena_bytes: int
    reusable: list[tuple[int, int]]
    costs: list[Cost]


def emit(
    graph: Graph, *, target: str = "native", dump: str | Path | None = None, check: int = 0, entry: str = "lamina_main",
    pool: bool = True, shared: bool = True, keep: bool = False, clocked: bool = False, symbols: int = 0, plans: str = "",
) -> Emission:  # fmt: skip
    """C source of a graph for a target. dump: a folder for every stage, the C included.

    keep: the caller keeps packed copies of inputs between calls (`Source.kept`). clocked: the program notes the time of every kernel.
    symbols: sizes known at the call only, the last entries of the table. plans: a file of known plans.
    """
    from ..lowering.kernel_cost import timed
    from ..lowering.loops_to_c import emit_c
    from .dump import Dump

    dumper = Dump(dump) if dump else None
    costs: list[Cost] | None = [] if clocked else None
    module = loops_of(graph, target=target, dump=dumper, check=check, keep=keep, costs=costs, plans=plans)
    with stats.timed("source"):
        source = emit_c(module, entry, pool=pool, shared=shared, clocked=clocked, symbols=symbols)
    if dumper is not None:
        dumper.add("program.c", source.text, "the C emitter")
        dumper.finish()
    found = module.attributes.get("lamina.reusable")
    pairs = list(found.get_values()) if found is not None else []  # type: ignore[attr-defined]  # a dense array
    return Emission(source, arena_bytes_of(module), list(zip(pairs[::2], pairs[1::2], strict=True)), timed(costs, module) if costs else [])


def keeps(graph: Graph) -> bool:
    """Whether the program keeps packed copies of its inputs: not where gradients are taken, weights change at each step."""
    return all(step.op != "autodiff.grad" for step in graph.steps)


def arena_bytes_of(module: ModuleOp) -> int:
    """Working memory of a buffered or loops module."""
    return int(module.attributes["lamina.arena_bytes"].value.data)  # type: ignore[union-attr]  # an integer attribute


def write_c(
    graph: Graph, weights: Mapping[int, np.ndarray], names: Sequence[str | None] | None, directory: str | Path, **options: Any
) -> list[Path]:
    """The graph as files ahead of time; see ``ahead_of_time.write_c`` for the options.

    Complex inputs and outputs are real ones with a last dimension of 2. target ``cuda:sm_90a`` (any architecture of `dialects/target.py`) writes GPU kernels and a host program instead, see
    ``cuda.files.write_cuda``; of the options it takes `dump` only. BackendError for a target it does not know.
    """
    from ..passes.roll_graph import rolled, rolled_if_long
    from ..passes.split_complex import split_complex

    weights = {i: as_parts(array, graph.inputs[i]) for i, array in weights.items()}
    graph = split_complex(graph)
    target = str(options.get("target", "native"))
    if target.startswith("cuda:"):
        from .cuda.files import write_cuda

        return write_cuda(rolled_if_long(graph), weights, names, directory, arch=gpu_arch(target), dump=options.get("dump"))
    from . import ahead_of_time

    return ahead_of_time.write_c(rolled(graph, rows=False).graph, weights, names, directory, **options)


def recorded_program(recordings: Sequence[tuple[Graph, Mapping[int, np.ndarray]]]) -> tuple[RecordedProgram, Mapping[int, np.ndarray]]:
    """A program recorded at one or several sizes, and the weights of the first recording by its inputs. BackendError for constants
    that depend on sizes in a way that is not seen from the recordings."""
    from .recorded_program import RecordedProgram
    from .sized_constants import constants_as_steps

    recordings = constants_as_steps(recordings)
    return RecordedProgram([graph for graph, _ in recordings]), recordings[0][1]


def recorded_program_of_text(text: str, where: str) -> RecordedProgram:
    """The program a text holds. FileError where it holds none; where: what the error calls it."""
    from .recorded_program import RecordedProgram

    return RecordedProgram.from_text(text, where)


def make_onnx(recordings: Sequence[tuple[Graph, Mapping[int, np.ndarray]]], outputs: Sequence[str], **options: Any) -> Any:
    """A program, recorded at several sizes with its weights, as an ``onnx.ModelProto``; see ``onnx.model.onnx_model`` for the options.

    Complex inputs and outputs are real ones with a last dimension of 2. BackendError where the onnx package is missing.
    """
    from ..passes.split_complex import split_complex
    from .sized_constants import constants_as_steps

    recordings = constants_as_steps(recordings)
    graph, weights = recordings[0]
    weights = {i: as_parts(array, graph.inputs[i]) for i, array in weights.items()}
    return _onnx_room().onnx_model([split_complex(g) for g, _ in recordings], weights, outputs, **options)


def save_onnx(model: Any, path: str | Path) -> list[Path]:
    """Write an ``onnx.ModelProto``; the files it became."""
    return _onnx_room().write_model(model, path)


def _onnx_room() -> Any:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise BackendError("the onnx package is not installed", help="pip install lamina[onnx]") from None
    from .onnx import model

    return model


def gpu_arch(target: str) -> str:
    """The architecture of ``cuda:sm_90a``. BackendError for one that is not known."""
    from ..dialects.target import GPU_TARGETS, gpu_target_named

    arch = target.removeprefix("cuda:")
    try:
        return gpu_target_named(arch).name
    except KeyError:
        known = ", ".join(f"cuda:{name}" for name in GPU_TARGETS)
        help = f"known targets: native, portable, {known}; from sm_80 on with _tf32 or _3xtf32 behind"
        raise BackendError(f"no GPU architecture is called {arch!r}", help=help) from None


def loops_of(
    graph: Graph, *, target: str = "native", dump: Dump | None = None, check: int = 0, keep: bool = False,
    costs: list[Cost] | None = None, plans: str = "", until: str = "loops",
) -> ModuleOp:  # fmt: skip
    """The module of a graph at a level, through the standard pipeline. costs: gets the cost of every kernel call. plans: as in `emit`."""
    from ..lowering.capture import capture
    from ..lowering.kernel_cost import costs_of
    from .pipelines import standard_pipeline

    with without_collector():
        with stats.timed("capture"):
            module = capture(graph)
            pipeline = standard_pipeline(target, keep, plans).until(until)
        if "graph" in flags.show.value:
            from ..dialects.text import print_module

            _show("graph", print_module(module))
        watchers = _watchers(module, dump, check)
        if costs is not None:
            watchers.append(lambda ran, m: costs.extend(costs_of(m)) if ran.step.gives == "buffered" else None)
        with stats.timed("passes"):
            history = pipeline.run(module, (lambda ran, m: [w(ran, m) for w in watchers]) if watchers else None)
    if check:
        did = "verify" if check == 1 else "agree with the oracle"
        where = f" from {graph.origins[0]}" if graph.origins else ""
        print(f"check: {len(history)} stages {did}: {len(graph.steps)} ops{where}", file=sys.stderr)
    for ran in history:
        _show("time", f"{ran.step.name:<18} {1e3 * ran.seconds:8.1f} ms {int(ran.changes):6} changes")
        for line in getattr(ran.changes, "details", ()):
            _show("rules", line)
    if "kernels" in flags.show.value:
        _show("kernels", kernel_table(module))
    return module


def kernel_table(module: ModuleOp) -> str:
    """One line per kernel call of a buffered or loops module: the kernel, the user's line, the buffers it gets."""
    from xdsl.dialects.func import CallOp

    lines = []
    for op in module.walk():
        if isinstance(op, CallOp):
            origin = op.attributes.get("origin")
            types = ", ".join(str(v.type).removeprefix("memref") for v in op.arguments)
            lines.append(f"{op.callee.string_value():<6} {getattr(origin, 'data', ''):<20} {types}")
    return "\n".join(lines)


def _watchers(module: ModuleOp, dump: Dump | None, check: int) -> list[Callable[..., object]]:
    """What looks at the module after each pass: the dump and the checks."""
    watchers: list[Callable[..., object]] = []
    if dump is not None:
        dump.start(module)
        watchers.append(dump.after)
    if check:
        from .check import Checker

        watchers.append(Checker(module, level=check, dump=dump).after)
    return watchers


@contextmanager
def without_collector() -> Iterator[None]:
    """IR is full of cycles that all die together; collecting while it is there costs a quarter of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _show(artifact: str, text: str) -> None:
    if artifact in flags.show.value:
        print(text, file=sys.stderr)
