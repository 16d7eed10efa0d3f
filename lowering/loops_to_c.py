"""loops level to C11 source: one static function per kernel, ``int lamina_main(void **table)`` for @main.

Every SSA value is a named variable, constants stand where they are used, ``/* model.py:12 */`` tells the user's line.
A ``scf.parallel`` becomes a function over a range, handed to ``parallel_for`` (plain call until a pool is set). A program with such, of fixed sizes, is
run by its pool, which finds out how many threads pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from xdsl.dialects import func, scf
from xdsl.dialects.builtin import ModuleOp, StringAttr

from ..dialects import arith_vectors as arith_vectors  # vector comparisons
from ..dialects.amx import TileConfigOp
from ..dialects.errors import BackendError
from ..dialects.kept import Kept
from .c_function import FunctionPrinter, symbol_of
from .c_helpers import Prelude
from .kept_copies import kept_copies
from .known_kernels import HEAD, SYMBOL, Asked, KnownKernels, Printed, ask, calls_of, named
from .liveness import ops_within

RANGES = """\
typedef void (*range_body)(void *task, int64_t begin, int64_t end);
typedef void (*range_runner)(range_body body, void *task, int64_t count);"""

_RUN_HERE = """\
static void run_here(range_body body, void *task, int64_t count) { body(task, 0, count); }
static range_runner parallel_for = run_here;"""

FOUND = 8
"""Words a program keeps for its pool: how many threads pay for it (``lamina_pool_program``)."""

_RUN_BY_POOL = """\
typedef int (*program_runner)(int (*body)(void **table), void **table, void *found);
static program_runner run_program;
int {entry}(void **table) {{
    static int64_t found[{found}];
    return run_program ? run_program({entry}_body, table, found) : {entry}_body(table);
}}
void {entry}_pool(range_runner runner, program_runner whole) {{
    parallel_for = runner ? runner : run_here;
    run_program = whole;
}}"""

_RANGES_BY_POOL = """\
void {entry}_pool(range_runner runner, void *whole) {{
    parallel_for = runner ? runner : run_here;
    (void)whole;
}}"""

_NO_POOL = "void {entry}_pool(void *runner, void *whole) {{ (void)runner, (void)whole; }}"

# Nanoseconds; kernels are timed from @main, one after the other.
_NOW = """\
#include <time.h>
static int64_t lamina_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}"""


@dataclass(frozen=True)
class Source:
    """C text of a program, in the pieces it is made of.

    prelude: includes, types, helper functions. ranges, run_here: the door to threads ("" without). kernels: (C declaration,
    text) of each. main: the entry point, and the function that sets the pool. kept: the copies of inputs main reads.
    """

    prelude: str
    ranges: str
    run_here: str
    kernels: tuple[tuple[str, str], ...]
    main: str
    entry: str
    arguments: int
    kept: tuple[Kept, ...] = ()
    symbols: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The program as one file."""
        symbols = "\n".join(f"static int64_t {name};" for name in self.symbols)
        return joined(self.prelude, self.ranges, self.run_here, symbols, *(text for _, text in self.kernels), self.main)


def joined(*parts: str) -> str:
    """Pieces of C with an empty line between them."""
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


class KernelPrinter:
    """The C of a module's kernels, each printed once, at any time after it was lowered.

    known: has the text of the module's declarations, and keeps that of others. gets: is given every kernel as soon as it is printed:
    what the program calls it, its C, and the kernels it calls, which were printed before.
    """

    def __init__(self, known: KnownKernels | None = None, gets: Callable[[str, Printed, Collection[str]], None] | None = None) -> None:
        self._known = known
        self._gets = gets
        self._prelude = Prelude()  # of no file: a file asks its own for what its kernels asked
        self._printed: dict[str, Printed] = {}

    def of(self, function: func.FuncOp) -> Printed | None:
        """A kernel's C under the name `SYMBOL`; None of a declaration nobody knows."""
        name = function.sym_name.data
        if name in self._printed:
            return self._printed[name]
        if function.is_declaration:
            made = self._known.of(name) if self._known is not None else None
            if made is None:
                return None
        else:
            made = self._print(function)
            if self._known is not None and self._known.keeps(name):
                self._known.keep(name, made)
        self._printed[name] = made
        if self._gets is not None:
            self._gets(symbol_of(name), made, [symbol_of(called) for called in calls_of(function)])  # what is known calls none
        return made

    def _print(self, function: func.FuncOp) -> Printed:
        asked = Asked(self._prelude)
        printer = FunctionPrinter(asked, function, SYMBOL)
        text = printer.kernel(HEAD)
        kinds = {*map(type, printer.ops)}
        return Printed(printer.declaration, text, tuple(asked.asks), scf.ParallelOp in kinds, TileConfigOp in kinds)


def emit_c(
    module: ModuleOp, entry: str = "lamina_main", *, pool: bool = True, shared: bool = True, clocked: bool = False, symbols: int = 0,
    printer: KernelPrinter | None = None,
) -> Source:  # fmt: skip
    """The C11 source of a loops-level module.

    entry: name of the function made from @main. pool: emit ``<entry>_pool``, which sets ``parallel_for`` and what the whole program is run by.
    shared: give entry external linkage. clocked: ``int64_t <entry>_clock[]`` gets the time before the first kernel and after
    each, in nanoseconds. symbols: sizes known at the call only; they are behind the arguments in the table. printer: has printed
    some of the kernels before. BackendError names an op that has no C.
    """
    prelude, printer = Prelude(), printer or KernelPrinter()
    kernels: list[tuple[str, str]] = []
    main, count = "", 0
    functions = [f for f in module.ops if isinstance(f, func.FuncOp)]
    if len(functions) != len(module.ops):
        odd = next(op for op in module.ops if not isinstance(op, func.FuncOp))
        raise BackendError(f"the loops level holds functions only, got {odd.name}")
    printed = [None if f.sym_name.data == "main" else printer.of(f) for f in functions]
    has_parallel = any(p.parallel for p in printed if p is not None)
    has_tiles = any(p.tiles for p in printed if p is not None)
    by_pool = pool and has_parallel and not symbols and not clocked  # the time of such a program is that of its sizes; a clock's is of all threads
    origins = _origins(module)
    for function, made in zip(functions, printed, strict=True):
        name = function.sym_name.data
        if made is not None:
            ask(prelude, made)
            kernels.append(named(made, symbol_of(name), origins.get(name)))
        elif name == "main":
            count = len(function.body.block.args)
            writer = FunctionPrinter(prelude, function)
            writer.clock = f"{entry}_clock" if clocked else None
            main = writer.main(f"{entry}_body" if by_pool else entry, "" if shared and not by_pool else "static ", symbols, has_tiles)
            if clocked:
                main = joined(_NOW, f"int64_t {entry}_clock[{max(1, writer.calls)}];", main)
    setter = _RUN_BY_POOL if by_pool else _RANGES_BY_POOL if pool and has_parallel else _NO_POOL if pool else ""
    ranges = (RANGES, _RUN_HERE) if has_parallel else ("", "")
    monotonic = "#define _POSIX_C_SOURCE 199309L\n" if clocked else ""
    return Source(monotonic + prelude.text(), *ranges, tuple(kernels), joined(main, setter.format(entry=entry, found=FOUND)), entry, count, kept_copies(module), symbol_variables(symbols))


def symbol_variables(symbols: int) -> tuple[str, ...]:
    """What C calls the sizes known at the call only."""
    return tuple(f"lamina_s{k}" for k in range(symbols))


def _origins(module: ModuleOp) -> dict[str, str]:
    """Kernel name -> the user's lines of its calls, for the comment above the kernel."""
    found: dict[str, dict[str, None]] = {}
    for function in module.ops:
        for op in ops_within(function):
            if type(op) is func.CallOp and isinstance(origin := op.attributes.get("origin"), StringAttr):
                found.setdefault(op.callee.string_value(), {})[origin.data] = None
    return {name: ", ".join(list(lines)[:4]) + (", ..." if len(lines) > 4 else "") for name, lines in found.items()}
