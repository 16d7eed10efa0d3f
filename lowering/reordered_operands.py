"""Small operands of products are copied into the order in which tensor cores take them: sums innermost, as the other operand has them.

    W[o, c, y, x] beside X[.., y, x, c]      copied once to W[o][y][x][c], the product reads runs of 16 bytes

Weights of convolutions, and weights whose gradient's product reads them along their rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType, MemRefType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue

from ..dialects.target import GpuTarget
from .block_analysis import is_plain
from .blocked_calls import Register
from .call_values import Item
from .contraction_match import Contraction, Factor, linear_form, loop_sizes, match_contraction
from .gpu_boxes import operand_boxes
from .gpu_contraction_plan import Tiling, Way, in_runs, plan_contraction
from .gpu_teams import product
from .kernel_functions import copy_function, unplanned
from .memref_layout import bytes_of, memref_type, strides_in_order
from .storage import Call, Home, Storage

SHARE = 4
"""How much larger the other operand or the result is at least: the copy is then a small part of the traffic."""


class ReorderedOperands:
    """Rewrites the calls of a program for a GPU."""

    def __init__(self, target: GpuTarget, functions: dict[object, func.FuncOp], register: Register) -> None:
        self.target, self.functions, self.register = target, functions, register

    def rewrite(self, calls: list[Item], storages: list[Storage]) -> None:
        """Puts copies in front of products in place; those of loops stay what they are."""
        found: list[Item] = []
        for item in calls:
            if isinstance(item, Call):
                while (better := self._reordered(item)) is not None:
                    copy, item = better
                    found.append(copy)
                    storages.append(copy.results[0][0])
            found.append(item)
        calls[:] = found
        used = {call.scratch for call in calls if isinstance(call, Call) and call.scratch is not None}
        known = set(storages)
        storages += [s for s in used if s not in known]

    def _reordered(self, call: Call) -> tuple[Call, Call] | None:
        """A copy of an operand and the product that reads it; None where nothing is gained."""
        contraction = match_contraction(call.function) if is_plain(call.function) else None
        tiling = plan_contraction(contraction, self.target) if contraction is not None else None
        if contraction is None or tiling is None or tiling.way is Way.FMA:
            return None
        for factor, other, dims in ((tiling.left, tiling.right, tiling.rows), (tiling.right, tiling.left, tiling.columns)):
            if self._fits(tiling, factor, dims) or not _is_small(contraction, factor, other):
                continue
            place = next((k for k, a in enumerate(call.function.body.block.args) if a is factor.access.buffer), len(call.operands))
            held = _in_better_order(contraction, tiling, factor, other, dims)
            if place < len(call.operands) and held is not None and held != call.operands[place][1]:
                made = self._reading(call, place, held)
                if self._is_better(made, tiling, held):
                    return self._copied(call, place, held, made)
        return None

    def _fits(self, t: Tiling, factor: Factor, dims: Sequence[int]) -> bool:
        """Whether the operand is read in runs, and by the copy engine, as warpgroups take it, where that would do for the other one, too."""
        if self.target.wgmma and operand_boxes(t.contraction, factor, dims, t.batch, t.sums) is None:
            return False
        return t.way is Way.WGMMA or in_runs(t.contraction, factor, dims, t.sums)

    def _is_better(self, made: func.FuncOp, before: Tiling, held: MemRefType) -> bool:
        found = match_contraction(made)
        t = plan_contraction(found, self.target) if found is not None else None
        if found is None or t is None:
            return False
        if t.way is Way.WGMMA and (before.way is not Way.WGMMA or t.turned == 0 < before.turned):
            return True
        sides = ((t.left, t.rows), (t.right, t.columns))
        runs = [in_runs(found, f, dims, t.sums) for f, dims in sides if f.access.buffer.type == held]  # type: ignore[union-attr]  # memory
        olds = sum(in_runs(before.contraction, f, dims, before.sums) for f, dims in ((before.left, before.rows), (before.right, before.columns)))
        return all(runs) and sum(in_runs(found, f, dims, t.sums) for f, dims in sides) > olds

    def _reading(self, call: Call, place: int, held: MemRefType) -> func.FuncOp:
        """The product on an operand that lies otherwise; not yet one of the program's functions."""
        made = unplanned(call.function)
        block = made.body.block
        if call.scratch is not None:
            block.erase_arg(block.args[-1])
        old = block.args[place]
        new = block.insert_arg(held, place)
        new.name_hint = old.name_hint
        old.replace_all_uses_with(new)
        block.erase_arg(old)
        made.properties["function_type"] = FunctionType.from_lists([a.type for a in block.args], [])
        made.attributes.pop("lamina.scratch", None)
        return made

    def _copied(self, call: Call, place: int, held: MemRefType, made: func.FuncOp) -> tuple[Call, Call]:
        source = call.operands[place]
        key = ("copy", source[1], held)
        copying = self.functions.get(key) or self.register(key, copy_function(f"k{len(self.functions)}", source[1], held))
        key = ("reordered", call.function.sym_name.data, place, held)
        function = self.functions.get(key)
        if function is None:
            made.properties["sym_name"] = type(made.sym_name)(f"k{len(self.functions)}")
            function = self.register(key, made)
        home: Home = Storage(bytes_of(held), call.step, call.step), held
        operands = [*call.operands[:place], home, *call.operands[place + 1 :]]
        scratch = None
        if len(function.body.block.args) > len(operands) + len(call.results):
            size = function.body.block.args[-1].type.get_shape()[0]  # type: ignore[attr-defined]  # a memref
            scratch = Storage(size, call.step, call.step)
        copy = Call(copying, [source], [home], call.origin, None, call.step)
        return copy, Call(function, operands, call.results, call.origin, scratch, call.step)


def _is_small(found: Contraction, factor: Factor, other: Factor) -> bool:
    """Whether the operand has few elements beside the other one or the result."""
    counts = [product([n for n, s in zip(found.sizes, a.strides, strict=True) if s]) for a in (factor.access, other.access, found.result)]
    return SHARE * counts[0] <= max(counts[1:])


def _in_better_order(found: Contraction, t: Tiling, factor: Factor, other: Factor, dims: Sequence[int]) -> MemRefType | None:
    """The operand's type with its sums innermost, as they lie in the other operand; None where a loop moves several of its dims.

    Dims that stay where they are (the taps of another phase) are the outermost ones.
    """
    buffer = factor.access.buffer
    uses = list(buffer.uses) if isinstance(buffer, SSAValue) else []
    if buffer is None or len(uses) != 1 or not isinstance(uses[0].operation, GenericOp):
        return None
    kind, stage = buffer.type, uses[0].operation
    assert isinstance(kind, MemRefType)
    sizes = loop_sizes(stage)
    kept = [d for d, n in enumerate(sizes or ()) if n != 1]
    by_loop: dict[int, int] = {}
    for place, expr in enumerate(stage.indexing_maps.data[uses[0].index].data.results):
        form = linear_form(expr, len(sizes or ()))
        loops = [k for k, d in enumerate(kept) if form[d]] if form is not None else [-1, -1]
        if len(loops) > 1 or any(k in by_loop for k in loops):
            return None
        by_loop.update(dict.fromkeys(loops, place))
    if set(by_loop) != {d for d, s in enumerate(factor.access.strides) if s}:
        return None
    shape = kind.get_shape()
    sums = sorted(t.sums, key=lambda d: (-abs(other.access.strides[d]), d))
    inner = [by_loop[d] for d in (*dims, *sums) if d in by_loop]
    outer = [place for place in range(len(shape)) if place not in inner]
    return memref_type(tuple(shape), kind.element_type, strides_in_order(shape, [*outer, *inner]))
