"""Sweeps: a kernel begins where the one before left off, at the end of a large buffer that both go over.

    k3: mean of x             x[0], x[1], … x[63]        x is larger than the second cache: its last part is there when k3 ends
    k4: variance of x         x[63], x[62], … x[0]       … so k4 takes its tasks in the other order (`lamina.backwards`)

Tasks are independent of each other, so that their order changes nothing but what is found in the caches. It is chosen per function: a
function that is called several times has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import IndexType, IntegerAttr, UnitAttr

from ..dialects.sizes import estimate
from ..dialects.target import Target
from .contraction_schedule import schedule
from .storage import Call, Loop, Storage

BACKWARDS = "lamina.backwards"

_INDEX = IndexType()
_NO_OVERFLOW = {"overflowFlags": arith.IntegerOverflowAttr("none")}


class _Sweep(NamedTuple):
    """The last call that went over a buffer: which way, and how many bytes were touched until its end."""

    backwards: bool
    end: int


def choose_sweeps(calls: Sequence[Call | Loop], target: Target) -> None:
    """Marks the functions of calls that had better go over their buffers from the end."""
    last: dict[int, _Sweep] = {}
    chosen: dict[func.FuncOp, bool] = {}
    clock = 0
    for item in calls:
        if not isinstance(item, Call):
            last.clear()
            continue
        sizes = {id(s): estimate(s.size) for s in _touched(item)}
        large = {key: size for key, size in sizes.items() if size >= target.l2_bytes}
        near = [key for key in large if key in last and clock - last[key].end <= target.l2_bytes]
        votes = sum(-large[key] if last[key].backwards else large[key] for key in near)
        if item.function not in chosen:
            chosen[item.function] = votes > 0 and _may_turn(item.function, target)
        clock += sum(sizes.values())
        last.update((key, _Sweep(chosen[item.function], clock)) for key in large)
    for function, backwards in chosen.items():
        if backwards:
            function.attributes[BACKWARDS] = UnitAttr()


def _touched(call: Call) -> list[Storage]:
    """The memory a call reads and writes, parts of something larger as the whole of it."""
    return [getattr(s, "base", s) for s, _ in (*call.operands, *call.results)]


def _may_turn(function: func.FuncOp, target: Target) -> bool:
    """Not what fetches for the tile behind its own, which would be the one before."""
    scheduled = schedule(function, target)
    return scheduled is None or not (scheduled.plan.next_panel or scheduled.plan.next_rows)


def turn_tasks(function: func.FuncOp) -> None:
    """Loops-level tasks in the other order, where the function asks for it."""
    if BACKWARDS not in function.attributes:
        return
    block = function.body.block
    for op in [op for op in block.ops if isinstance(op, scf.ParallelOp)]:
        one = arith.ConstantOp.create(result_types=(_INDEX,), properties={"value": IntegerAttr(1, _INDEX)})
        last = arith.SubiOp.create(operands=(op.upperBound[0], one.results[0]), result_types=(_INDEX,), properties=_NO_OVERFLOW)
        block.insert_ops_before([one, last], op)
        body = op.body.block
        task = body.args[0]
        uses = list(task.uses)
        turned = arith.SubiOp.create(operands=(last.results[0], task), result_types=(_INDEX,), properties=_NO_OVERFLOW)
        assert body.first_op is not None
        body.insert_op_before(turned, body.first_op)
        for use in uses:
            use.operation.operands[use.index] = turned.results[0]
