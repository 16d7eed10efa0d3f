"""Kernel cost: what each call of a buffered module has to move and to compute, read from its stages."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

from xdsl.dialects import arith, func, math, scf
from xdsl.dialects.builtin import MemRefType, ModuleOp, StringAttr
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp

from .memref_layout import bytes_of

_FLOATING = (
    arith.AddfOp, arith.SubfOp, arith.MulfOp, arith.DivfOp, arith.NegfOp, arith.MaximumfOp, arith.MinimumfOp, arith.MaxnumfOp,
    arith.MinnumfOp,
)  # fmt: skip


class Cost(NamedTuple):
    """One kernel call, or a loop around some. bytes: all memory it is given, but for scratch. operations: on floats, a function of math counts as one.
    what: its widest stage in words."""

    kernel: str
    origin: str
    bytes: int
    operations: int
    what: str


def costs_of(module: ModuleOp) -> list[Cost]:
    """The calls of a buffered module's @main, in order; a loop around calls is one entry."""
    functions = {f.sym_name.data: f for f in module.ops if isinstance(f, func.FuncOp)}
    work = {name: _work(function, functions) for name, function in functions.items() if name != "main"}

    def cost(call: func.CallOp) -> Cost:
        name = call.callee.string_value()
        given = functions[name].attributes
        count = sum(int(given[f"lamina.{side}"].value.data) for side in ("inputs", "outputs"))  # type: ignore[union-attr]  # integers
        held = sum(bytes_of(v.type) for v in list(call.arguments)[:count] if isinstance(v.type, MemRefType))
        origin = call.attributes.get("origin")
        operations, what = work[name]
        return Cost(name, origin.data if isinstance(origin, StringAttr) else "", held, operations, what)

    found = []
    for op in functions["main"].body.block.ops:
        if isinstance(op, func.CallOp):
            found.append(cost(op))
        elif isinstance(op, scf.ForOp):
            found.append(_repeated(op, [cost(inner) for inner in op.walk() if isinstance(inner, func.CallOp)]))
    return found


def _repeated(loop: scf.ForOp, calls: list[Cost]) -> Cost:
    """The calls of a loop, as often as it runs."""
    steps = _steps(loop) or 1
    origin = next((call.origin for call in calls if call.origin), "")
    what = f"{steps} steps of " + ", ".join(call.what for call in calls)
    return Cost("+".join(call.kernel for call in calls), origin, steps * sum(c.bytes for c in calls), steps * sum(c.operations for c in calls), what)


def timed(costs: list[Cost], loops: ModuleOp) -> list[Cost]:
    """The costs of what a clocked program times, one after the other: its calls, and the copies it keeps, filled when they are stale."""
    main = next(f for f in loops.ops if isinstance(f, func.FuncOp) and f.sym_name.data == "main")
    calls, found = iter(costs), []
    for op in main.body.block.ops:
        if isinstance(op, (func.CallOp, scf.ForOp)):
            found.append(next(calls))
        elif isinstance(op, scf.IfOp):
            inner = [c for c in op.walk() if isinstance(c, func.CallOp)]
            held = sum(bytes_of(v.type) for c in inner for v in c.arguments if isinstance(v.type, MemRefType))
            found.append(Cost(inner[0].callee.string_value() if inner else "", "", held, 0, "a packed copy, when its source changed"))
    return found


def _steps(loop: scf.ForOp | scf.ParallelOp) -> int | None:
    """How often a loop runs; None where its bounds are no constants."""
    bounds = (loop.lb, loop.ub, loop.step) if isinstance(loop, scf.ForOp) else (loop.lowerBound[0], loop.upperBound[0], loop.step[0])
    if not all(isinstance(bound.owner, arith.ConstantOp) for bound in bounds):
        return None
    return len(range(*(bound.owner.value.value.data for bound in bounds)))  # type: ignore[union-attr]  # integers


def _called(function: func.FuncOp, functions: Mapping[str, func.FuncOp]) -> tuple[int, str] | None:
    """The same of a function that calls others: in equal parts, each in steps; None where nobody knows how often."""
    calls = [op for op in function.walk() if isinstance(op, func.CallOp)]
    total, words, times = 0, [], {}
    for call in calls:
        parts = steps = 1
        around = call.parent_op()
        while isinstance(around, scf.ForOp | scf.ParallelOp):
            count = _steps(around)
            if count is None:
                return None
            parts, steps = (parts * count, steps) if isinstance(around, scf.ParallelOp) else (parts, steps * count)
            around = around.parent_op()
        operations, what = _work(functions[call.callee.string_value()], functions)
        total += parts * steps * operations
        times[parts, steps] = None
        words.append(what)
    if around is not function or len(times) != 1:
        return None
    (parts, steps), *_ = times
    return total, (f"{parts} parts, " if parts > 1 else "") + (f"{steps} steps of " if steps > 1 else "") + ", ".join(words)


def _work(function: func.FuncOp, functions: Mapping[str, func.FuncOp]) -> tuple[int, str]:
    """Operations of a kernel, and its widest stage in words."""
    if any(isinstance(op, func.CallOp) for op in function.walk()):
        return _called(function, functions) or (0, "loops")
    total, widest, stages = 0, (-1, "loops"), 0
    for stage in function.walk():
        if isinstance(stage, GenericOp):
            stages += 1
            sizes = stage.get_static_loop_ranges()
            body = list(stage.body.block.ops)
            each = sum(isinstance(op, _FLOATING) + 2 * isinstance(op, math.FmaOp) or op.name.startswith("math.") for op in body)
            total += prod(sizes) * each
            widest = max(widest, (prod(sizes) * max(1, each), _described(stage, sizes)))
    return total, widest[1] + (f" and {stages - 1} more" if stages > 1 else "")


def _described(stage: GenericOp, sizes: tuple[int, ...]) -> str:
    folded = [n for n, kind in zip(sizes, stage.iterator_types.data, strict=True) if kind.data is IteratorType.REDUCTION]
    kept = [n for n, kind in zip(sizes, stage.iterator_types.data, strict=True) if kind.data is not IteratorType.REDUCTION]
    shape = "x".join(str(n) for n in kept if n != 1) or "1"
    if not folded:
        return f"each {shape}"
    is_product = len(stage.inputs) >= 2 and any(isinstance(op, arith.MulfOp) for op in stage.body.block.ops)
    return f"{'contract' if is_product else 'fold'} {shape} over {'x'.join(map(str, folded))}"
