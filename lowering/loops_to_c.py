"""loops level to C11 source: one static function per kernel, ``int lamina_main(void **table)`` for @main.

Every SSA value is a named variable, constants stand where they are used, ``/* model.py:12 */`` tells the user's line.
A ``scf.parallel`` becomes a function over a range, handed to ``parallel_for`` (plain call until a pool is set).
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import func, scf
from xdsl.dialects.builtin import ModuleOp, StringAttr

from ..dialects import arith_vectors as arith_vectors  # vector comparisons
from ..dialects.errors import BackendError
from .c_function import FunctionPrinter
from .c_helpers import Prelude

_PARALLEL_FOR = """\
typedef void (*range_body)(void *task, int64_t begin, int64_t end);
typedef void (*range_runner)(range_body body, void *task, int64_t count);
static void run_here(range_body body, void *task, int64_t count) { body(task, 0, count); }
static range_runner parallel_for = run_here;"""


@dataclass(frozen=True)
class Source:
    """C text of a program and the facts its callers need."""

    text: str
    entry: str
    arguments: int


def emit_c(module: ModuleOp, entry: str = "lamina_main", *, pool: bool = True, shared: bool = True) -> Source:
    """The C11 source of a loops-level module.

    entry: name of the function made from @main. pool: emit ``parallel_for`` and ``<entry>_pool`` to set it.
    shared: give entry external linkage. BackendError names an op that has no C.
    """
    prelude = Prelude()
    bodies: list[str] = []
    count = 0
    has_parallel = any(isinstance(op, scf.ParallelOp) for f in module.ops for op in f.walk())
    origins = _origins(module)
    for function in module.ops:
        if not isinstance(function, func.FuncOp):
            raise BackendError(f"the loops level holds functions only, got {function.name}")
        if function.is_declaration:
            continue
        printer = FunctionPrinter(prelude, function)
        if function.sym_name.data == "main":
            count = len(function.body.block.args)
            bodies.append(printer.main(entry, "" if shared else "static "))
        else:
            bodies.append(printer.kernel(origins.get(function.sym_name.data)))
    parts = [prelude.text()]
    if has_parallel:
        parts.append(_PARALLEL_FOR)
        if pool:
            parts.append(f"void {entry}_pool(range_runner runner) {{ parallel_for = runner ? runner : run_here; }}")
    elif pool:
        parts.append(f"void {entry}_pool(void *runner) {{ (void)runner; }}")
    return Source("\n\n".join(p.rstrip() for p in (*parts, *bodies)) + "\n", entry, count)


def _origins(module: ModuleOp) -> dict[str, str]:
    """Kernel name -> the user's lines of its calls, for the comment above the kernel."""
    found: dict[str, dict[str, None]] = {}
    for function in module.ops:
        for op in function.walk():
            if isinstance(op, func.CallOp) and isinstance(origin := op.attributes.get("origin"), StringAttr):
                found.setdefault(op.callee.string_value(), {})[origin.data] = None
    return {name: ", ".join(list(lines)[:4]) + (", ..." if len(lines) > 4 else "") for name, lines in found.items()}
