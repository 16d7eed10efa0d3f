"""A Graph as a program that can be called: found in the disk cache, or emitted, built and loaded."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dialects import flags
from ..dialects.errors import BackendError
from ..dialects.graph import Graph
from ..dialects.kept import Kept
from . import background, emission
from .cache import cache_folder, discard, key_of, lookup, source_version, store
from .emission import emit, keeps, without_collector
from .executable import Executable, types_from_json, types_to_json
from .graph_text import graph_to_json
from .stats import show, stats
from .toolchain import INSTALL, build_shared, find_compiler

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from .edited_stages import Edited
    from .profiler import Profiler

UNIT_BYTES = 1 << 16
"""C text worth a compiler process of its own: programs twice as large and larger are compiled in parts, side by side, and their
kernels are found again by other programs."""

MOST_UNITS = 8


class Programs(dict[Graph, Callable[..., Any]]):
    """Programs by what they compute. A Graph remembers what was found for it as long as nothing changes here: the same one comes again and again.
    It does not hold it: what is forgotten here is gone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changes: object = object()

    def of(self, graph: Graph) -> Callable[..., Any] | None:
        """The program of a graph."""
        reference, changes = graph.found
        if changes is self.changes:
            return reference()
        found = self.get(graph)
        graph.found = _nothing if found is None else weakref.ref(found), self.changes
        return found

    def __setitem__(self, graph: Graph, program: Callable[..., Any]) -> None:
        self.changes = object()
        super().__setitem__(graph, program)

    def pop(self, graph: Graph, *default: Any) -> Any:
        self.changes = object()
        return super().pop(graph, *default)

    def clear(self) -> None:
        self.changes = object()
        super().clear()


def _nothing() -> None:
    """What stands for no program."""


programs = Programs()  # those in memory
profiler: Profiler | None = None  # set before the first program: what is loaded from then on is timed


class Program(Executable):
    """A compiled graph: call it with its inputs. ``module(level)`` shows what it went through."""

    graph: Graph

    def at(self, graph: Graph, sizes: Sequence[int]) -> Program:
        """This program for other sizes, which make it that of another graph."""
        made = self.beside(graph.inputs, [graph.types[i] for i in graph.outputs], sizes)
        made.graph = graph
        return made

    def module(self, level: str) -> ModuleOp:
        """The module of this program at a level (captured … loops), made anew."""
        from ..lowering.capture import capture
        from .pipelines import standard_pipeline

        module = capture(self.graph)
        standard_pipeline(emission.cpu_target(flags.f32.value), keep=keeps(self.graph)).until(level).run(module)
        return module


def compile_graph(graph: Graph, *, dump: str | Path | None = None, check: int = 0, elsewhere: bool = False) -> Program:
    """A callable program for a graph, from the disk cache if it is there.

    dump: a folder for one IR file per stage. check: 1 verifies, 2 compares with the oracle, after every pass; both
    compile anew. elsewhere: another process may compile it, Making says that it does. BackendError without a C compiler or when it
    fails, PassError from a check.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BackendError("there is no C compiler to compile with", help=INSTALL)
    key = key_of(
        "program", source_version(), compiler.identity, compiler.flags, flags.fast.value, flags.winograd.value, emission.cpu_target(flags.f32.value),
        graph.inputs, graph.steps, graph.outputs, *(["clocked", graph.origins] if profiler is not None else []),
    )  # fmt: skip
    edit = emission.edit_of(graph, emission.cpu_target(flags.f32.value), keeps(graph), _plans(0))
    if edit is not None:
        key = key_of("edited", key, edit.stage.file, edit.digest)
    if elsewhere:
        background.leave(key, lambda: {"graph": graph_to_json(graph)})
    found = None if dump or check else lookup(key)
    if found is not None:
        stats.disk_hits += 1
        show("cache", f"found {key} in {cache_folder()}")
    else:
        with without_collector():
            found = store(key, lambda folder: build(graph, folder, dump, check, edit=edit), replace=bool(dump or check))
        stats.compiles += 1
        show("cache", f"compiled {key} into {found[0]}")
    if flags.tune.value and not (dump or check or profiler or edit):
        from .tuner import finds_better

        if finds_better(graph, key):
            found = store(key, lambda folder: build(graph, folder, None, 0), replace=True)
    with stats.timed("load"):
        try:
            program = load(*found, graph)
        except BackendError:
            discard(key)  # what cannot be loaded now will not load next time
            raise
    if profiler is not None:
        profiler.watch(program, found[1]["costs"])
    show("code", program.source)
    return program


def load(folder: Path, facts: dict[str, Any], graph: Graph, sizes: Sequence[int] = ()) -> Program:
    """The program of a cache entry, as that of a graph. sizes: see `Executable`."""
    outputs = [graph.types[i] for i in graph.outputs]
    reusable = tuple((int(k), int(i)) for k, i in facts["reusable"])
    kept = [Kept(tuple(map(int, inputs)), types_from_json([held])[0], str(form)) for inputs, held, form in facts["kept"]]
    program = Program(folder / facts["library"], graph.inputs, outputs, int(facts["arena_bytes"]), reusable=reusable, kept=kept, sizes=sizes)
    program.graph = graph
    return program


def build(graph: Graph, folder: Path, dump: str | Path | None, check: int, symbols: int = 0, edit: Edited | None = None) -> dict[str, Any]:
    """Compile into a cache entry; returns its facts. symbols: sizes the program gets to know at the call. edit: a stage to go on from."""
    from . import kernel_objects  # reads the emitter

    compiler = find_compiler()
    assert compiler is not None  # compile_graph asked
    processors = min(MOST_UNITS, flags.available_processors())
    with kernel_objects.Building(compiler, processors, UNIT_BYTES, symbols) as building:
        made = emit(
            graph, target=emission.cpu_target(flags.f32.value), dump=dump, check=check, keep=keeps(graph), clocked=profiler is not None,
            symbols=symbols, plans=_plans(symbols), texts=kernel_objects.Texts() if cache_folder() is not None else None,
            gets=building.add if edit is None else None, edit=edit,
        )  # fmt: skip
        source, text = made.source, made.edited or made.source.text
        (folder / "program.c").write_text(text, encoding="utf-8")
        before = time.perf_counter()
        with stats.timed("build"):
            if made.edited or (len(text) < 2 * UNIT_BYTES and not building.has_begun):
                build_shared(compiler, folder / "program.c", folder / "program.so")
            else:
                kernels, found = building.finish(source, folder / "program.so")
                stats.kernels_found += found
                show("cache", f"{found} of {kernels} kernels were compiled before")
    show("time", f"C compiler {time.perf_counter() - before:.2f} s for {len(text)} bytes of C")
    facts = {"arena_bytes": made.arena_bytes}
    kept = [[list(k.inputs), types_to_json([k.type])[0], k.form] for k in source.kept]
    return facts | {"library": "program.so", "reusable": made.reusable, "kept": kept, "costs": made.costs}


def _plans(symbols: int) -> str:
    """The file of measured plans; none for sizes known only at the call."""
    from .tuned_plans import plans_path

    return "" if symbols else plans_path()


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
