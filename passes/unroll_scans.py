"""Unroll scans: every step spelled out, for targets whose programs have no loop around kernels."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..dialects.ops import ScanOp, XdslBuilder, type_of
from .base import Pass
from .program import main_block, origin_of


@dataclass(frozen=True)
class UnrollScans(Pass):
    """Replace every scan by the ops of its steps, one after the other; what it stacks is put together by a concat.

    GPU programs are tables of launches without loops: their pipeline has this pass, and their size grows with the steps.
    """

    name = "unroll-scans"
    takes = "primitive"

    def run(self, module: ModuleOp) -> int:
        """Number of scans unrolled, those inside others once per step."""
        block = main_block(module)
        count = 0
        op = block.first_op
        while op is not None:
            before, following = op.prev_op, op.next_op
            if isinstance(op, ScanOp):
                _unroll(op)
                count += 1
                following = block.first_op if before is None else before.next_op  # it may hold scans itself
            op = following
        return count


def _unroll(op: ScanOp) -> None:
    build, counts, block = XdslBuilder(op, origin_of(op)), op.counts, op.parent
    assert block is not None
    first, last = counts.carried, counts.carried + counts.scanned
    state: list[SSAValue] = list(op.operands[:first])
    stacks: list[list[SSAValue]] = [[] for _ in op.results[first:]]
    for t in counts.order():
        slices = [_slice(build, v, t) for v in op.operands[first:last]]
        values: dict[SSAValue, SSAValue] = dict(zip(op.body.args, [*state, *slices, *op.operands[last:]], strict=True))
        yielded = op.body.last_op
        for inner in op.body.ops:
            if inner is not yielded:
                copy = inner.clone(values)
                block.insert_op_before(copy, op)
                values.update(zip(inner.results, copy.results, strict=True))
        made = [values[v] for v in yielded.operands]  # type: ignore[union-attr]  # a body ends in its yield
        state = made[:first]
        for stack, value in zip(stacks, made[first:], strict=True):
            stack.append(build("reshape", (value,), ((1, *type_of(value)[0]),))[0])
    if counts.reverse:
        stacks = [stack[::-1] for stack in stacks]
    for result, stack in zip(op.results[first:], stacks, strict=True):
        shape, dtype = type_of(result)
        made_of = build("concat", tuple(stack), (0,)) if stack else build("full", (), (shape, 0, dtype))
        result.replace_all_uses_with(made_of[0])
    for result, value in zip(op.results[:first], state, strict=True):
        result.replace_all_uses_with(value)
    block.erase_op(op)


def _slice(build: XdslBuilder, value: SSAValue, t: int) -> SSAValue:
    shape = type_of(value)[0]
    rest = shape[1:]
    (part,) = build("slice", (value,), ((t, *(0 for _ in rest)), (1, *rest), (1,) * len(shape)))
    return build("reshape", (part,), (rest,))[0]
