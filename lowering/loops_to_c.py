"""loops level to C11 source: one static function per kernel, ``int lamina_main(void **table)`` for @main.

Every SSA value is a named variable, constants stand where they are used, ``/* model.py:12 */`` tells the user's line.
A ``scf.parallel`` becomes a function over a range, handed to ``parallel_for`` (plain call until a pool is set).
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, StringAttr

from ..dialects import arith_vectors as arith_vectors  # vector comparisons
from ..dialects.errors import BackendError
from ..dialects.kept import Kept
from .c_function import FunctionPrinter, symbol_of
from .c_helpers import Prelude
from .kept_copies import kept_copies
from .known_kernels import HEAD, SYMBOL, Asked, KnownKernels, Printed, ask, named, uses_threads, uses_tiles
from .liveness import ops_within

_RANGES = """\
typedef void (*range_body)(void *task, int64_t begin, int64_t end);
typedef void (*range_runner)(range_body body, void *task, int64_t count);"""

_RUN_HERE = """\
static void run_here(range_body body, void *task, int64_t count) { body(task, 0, count); }
static range_runner parallel_for = run_here;"""

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


def emit_c(
    module: ModuleOp, entry: str = "lamina_main", *, pool: bool = True, shared: bool = True, clocked: bool = False, symbols: int = 0,
    known: KnownKernels | None = None,
) -> Source:  # fmt: skip
    """The C11 source of a loops-level module.

    entry: name of the function made from @main. pool: emit ``parallel_for`` and ``<entry>_pool`` to set it.
    shared: give entry external linkage. clocked: ``int64_t <entry>_clock[]`` gets the time before the first kernel and after
    each, in nanoseconds. symbols: sizes known at the call only; they are behind the arguments in the table. known: has the text of
    the module's declarations. BackendError names an op that has no C.
    """
    prelude = Prelude()
    kernels: list[tuple[str, str]] = []
    main, count = "", 0
    functions = [f for f in module.ops if isinstance(f, func.FuncOp)]
    if len(functions) != len(module.ops):
        odd = next(op for op in module.ops if not isinstance(op, func.FuncOp))
        raise BackendError(f"the loops level holds functions only, got {odd.name}")
    printed = [known.of(f.sym_name.data) if known is not None and f.is_declaration else None for f in functions]
    has_parallel = any(p.parallel for p in printed if p is not None) or any(map(uses_threads, functions))
    has_tiles = any(p.tiles for p in printed if p is not None) or any(map(uses_tiles, functions))
    origins = _origins(module)
    for function, found in zip(functions, printed, strict=True):
        name = function.sym_name.data
        if name == "main":
            count = len(function.body.block.args)
            printer = FunctionPrinter(prelude, function)
            printer.clock = f"{entry}_clock" if clocked else None
            main = printer.main(entry, "" if shared else "static ", symbols, has_tiles)
            if clocked:
                main = joined(_NOW, f"int64_t {entry}_clock[{max(1, printer.calls)}];", main)
        elif found is not None:
            ask(prelude, found)
            kernels.append(named(found, symbol_of(name), origins.get(name)))
        elif not function.is_declaration:
            made = _printed(prelude, function)
            if known is not None and known.keeps(name):
                known.keep(name, made)
            kernels.append(named(made, symbol_of(name), origins.get(name)))
    if pool and has_parallel:
        setter = f"void {entry}_pool(range_runner runner) {{ parallel_for = runner ? runner : run_here; }}"
    else:
        setter = f"void {entry}_pool(void *runner) {{ (void)runner; }}" if pool else ""
    ranges = (_RANGES, _RUN_HERE) if has_parallel else ("", "")
    monotonic = "#define _POSIX_C_SOURCE 199309L\n" if clocked else ""
    variables = tuple(f"lamina_s{k}" for k in range(symbols))
    return Source(monotonic + prelude.text(), *ranges, tuple(kernels), joined(setter, main), entry, count, kept_copies(module), variables)


def _printed(prelude: Prelude, function: func.FuncOp) -> Printed:
    """A kernel's C under the name `SYMBOL`."""
    asked = Asked(prelude)
    printer = FunctionPrinter(asked, function, SYMBOL)
    text = printer.kernel(HEAD)
    return Printed(printer.declaration, text, tuple(asked.asks), uses_threads(function), uses_tiles(function))


def _origins(module: ModuleOp) -> dict[str, str]:
    """Kernel name -> the user's lines of its calls, for the comment above the kernel."""
    found: dict[str, dict[str, None]] = {}
    for function in module.ops:
        for op in ops_within(function):
            if type(op) is func.CallOp and isinstance(origin := op.attributes.get("origin"), StringAttr):
                found.setdefault(op.callee.string_value(), {})[origin.data] = None
    return {name: ", ".join(list(lines)[:4]) + (", ..." if len(lines) > 4 else "") for name, lines in found.items()}
