"""A recorded Graph to C text: through the standard pipeline to the loops level, then the emitter.

Nothing is built or loaded here; dumps and checks look on after each pass.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dialects import flags
from ..dialects.errors import PassError
from ..dialects.graph import Graph
from .stats import show, stats

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..lowering.kernel_cost import Cost
    from ..lowering.known_kernels import KnownKernels, Printed, Texts
    from ..lowering.loops_to_c import KernelPrinter, Source
    from ..passes.base import Pass, Pipeline, Ran
    from .dump import Dump
    from .edited_stages import Edited


@dataclass(frozen=True)
class Emission:
    """A graph as C. arena_bytes: working memory. reusable: (output, input) pairs that may be one array. costs: of its kernel
    calls, when it is clocked. filling: where some inputs are bound, the program with what makes the copies it keeps of them (`Source.kept`),
    which the source itself expects behind the outputs. unread: bound inputs that only copies are made of. edited: the C to compile in the
    source's place, where somebody changed it."""

    source: Source
    arena_bytes: int
    reusable: list[tuple[int, int]]
    costs: list[Cost]
    filling: Source | None = None
    unread: frozenset[int] = frozenset()
    edited: str | None = None


def source_of(graph: Graph, **options: Any) -> tuple[str, int]:
    """C text of a graph in one file, and its arena's bytes; options as `emit` has them."""
    made = emit(graph, **options)
    return made.source.text, made.arena_bytes


def emit(
    graph: Graph, *, target: str = "native", dump: str | Path | None = None, check: int = 0, entry: str = "lamina_main",
    pool: bool = True, shared: bool = True, keep: bool = False, clocked: bool = False, symbols: int = 0, plans: str = "", texts: Texts | None = None,
    bound: Collection[int] = (), gets: Callable[[str, Printed, Collection[str]], None] | None = None, edit: Edited | None = None,
) -> Emission:  # fmt: skip
    """C source of a graph for a target. dump: a folder for every stage, the C included.

    keep: the caller keeps packed copies of inputs between calls (`Source.kept`). clocked: the program notes the time of every kernel.
    symbols: sizes known at the call only, the last entries of the table. plans: a file of known plans. texts: of kernels printed before,
    which are not lowered again (not with a dump or checks, which are to see all of it). bound: inputs that are the same in every call: what
    is made of them alone is made before the first. gets: is given every kernel while others are still to be lowered, see `KernelPrinter`.
    edit: a stage to go on from (`edit_of`).
    """
    from ..dialects.target import target_named
    from ..lowering.kernel_cost import timed
    from ..lowering.kept_copies import kept_copies, without_fills
    from ..lowering.known_kernels import KnownKernels
    from ..lowering.loops_to_c import KernelPrinter, emit_c
    from .dump import Dump

    dumper = Dump(dump) if dump else None
    costs: list[Cost] | None = [] if clocked else None
    known = KnownKernels(texts, target_named(target)) if texts is not None and not (dump or check or edit) else None
    printer = KernelPrinter(known, gets)
    module = loops_of(
        graph, target=target, dump=dumper, check=check, keep=keep, costs=costs, plans=plans, known=known, bound=bound,
        printer=None if dump or check or edit else printer, edit=edit,
    )  # fmt: skip
    filling, unread = None, frozenset[int]()
    with stats.timed("source"):
        if bound and kept_copies(module):
            filling = emit_c(module, entry, pool=False, printer=printer)
            unread = without_fills(module) & frozenset(bound)
        source = emit_c(module, entry, pool=pool, shared=shared, clocked=clocked, symbols=symbols, printer=printer)
    changed = edit.text if edit is not None and edit.stage.is_source else None
    if dumper is not None:
        dumper.add_source("program.c", changed or source.text, "the C emitter", len(_pipeline(target, keep, plans, bound).passes), replayed=pool and shared and not clocked)
        dumper.finish()
    found = module.attributes.get("lamina.reusable")
    pairs = list(found.get_values()) if found is not None else []  # type: ignore[attr-defined]  # a dense array
    return Emission(source, arena_bytes_of(module), list(zip(pairs[::2], pairs[1::2], strict=True)), timed(costs, module) if costs else [], filling, unread, changed)


def _pipeline(target: str, keep: bool, plans: str, bound: Collection[int]) -> Pipeline:
    from .pipelines import standard_pipeline

    return standard_pipeline(target, keep or bool(bound), plans)


def edit_of(graph: Graph, target: str, keep: bool = False, plans: str = "", bound: Collection[int] = ()) -> Edited | None:
    """The edited stage a program goes on from (LAMINA_OVERRIDE); options as those of `emit`."""
    if not flags.override.value:
        return None
    from .edited_stages import edited

    return edited(graph, _pipeline(target, keep, plans, bound))


def loops_of(
    graph: Graph, *, target: str = "native", dump: Dump | None = None, check: int = 0, keep: bool = False,
    costs: list[Cost] | None = None, plans: str = "", until: str = "loops", known: KnownKernels | None = None, bound: Collection[int] = (),
    printer: KernelPrinter | None = None, edit: Edited | None = None,
) -> ModuleOp:  # fmt: skip
    """The module of a graph at a level, through the standard pipeline. costs: gets the cost of every kernel call. plans, bound: as in `emit`.
    known: kernels that are declarations from the buffered level on. printer: prints each kernel as soon as it is loops, and nobody is to look on.
    edit: a stage in place of the recorded graph; PassError where costs are asked of what is loops already."""
    from xdsl.dialects.builtin import DenseArrayBase, i64

    from ..lowering.kernel_cost import costs_of
    from ..passes.program import BOUND
    from .edited_stages import begun

    with without_collector():
        with stats.timed("capture"):
            attributes = {BOUND: DenseArrayBase.from_list(i64, sorted(bound))} if bound else {}
            module, pipeline = begun(graph, _pipeline(target, keep, plans, bound).until(until), edit, dump, attributes)
        if edit is not None and costs is not None and (edit.stage.is_source or all(step.gives != "buffered" for step in pipeline.passes)):
            raise PassError(f"{edit.path} is behind the stage at which a kernel's work is counted", help="edit an earlier stage, or run without the profiler")
        if "graph" in flags.show.value:
            from ..dialects.text import print_module

            show("graph", print_module(module))
        watchers = watchers_of(module, dump, check)
        if costs is not None:
            watchers.append(lambda ran, m: costs.extend(costs_of(m)) if ran.step.gives == "buffered" else None)
        if known is not None:
            watchers.append(lambda ran, m: known.set_aside(m) if ran.step.gives == "buffered" else None)
        looks = (lambda ran, m: [w(ran, m) for w in watchers]) if watchers else None
        with stats.timed("passes"):
            if printer is None:
                history = pipeline.run(module, looks)
            else:
                history = pipeline.until("buffered").run(module, looks)
                history.append(_printed_loops(pipeline.passes[-1], module, printer, len(history) + 1))
    if check:
        report_check(history, graph, check)
    for ran in history:
        show("time", f"{ran.step.name:<18} {1e3 * ran.seconds:8.1f} ms {int(ran.changes):6} changes")
        for line in getattr(ran.changes, "details", ()):
            show("rules", line)
    if "kernels" in flags.show.value:
        show("kernels", kernel_table(module))
    return module


def _printed_loops(last: Pass, module: ModuleOp, printer: KernelPrinter, index: int) -> Ran:
    """The last pass of the standard pipeline, kernel by kernel: each is printed as soon as it is loops."""
    from ..lowering.linalg_to_loops import LinalgToLoops
    from ..passes.base import Ran

    assert isinstance(last, LinalgToLoops)
    start = time.perf_counter()
    changes = last.run(module, lambda function: None if function.sym_name.data == "main" else printer.of(function))
    return Ran(index, last, changes, time.perf_counter() - start)


def cpu_target(f32: str) -> str:
    """The name of the target programs on CPU tensors are made for."""
    from ..dialects.target import native_target, with_f32

    return with_f32(native_target().name, f32)


def keeps(graph: Graph) -> bool:
    """Whether the program keeps packed copies of its inputs: not where gradients are taken, weights change at each step."""
    return all(step.op != "autodiff.grad" for step in graph.steps)


def arena_bytes_of(module: ModuleOp) -> int:
    """Working memory of a buffered or loops module."""
    return int(module.attributes["lamina.arena_bytes"].value.data)  # type: ignore[union-attr]  # an integer attribute


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


def report_check(history: Sequence[Ran], graph: Graph, check: int) -> None:
    """Say on stderr that all stages were looked at and nothing was wrong."""
    did = "verify" if check == 1 else "agree with the oracle"
    where = f" from {graph.origins[0]}" if graph.origins else ""
    print(f"check: {len(history)} stages {did}: {len(graph.steps)} ops{where}", file=sys.stderr)


def watchers_of(module: ModuleOp, dump: Dump | None, check: int) -> list[Callable[..., object]]:
    """What looks at the module after each pass: the dump and the checks."""
    watchers: list[Callable[..., object]] = []
    if dump is not None:
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
