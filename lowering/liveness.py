"""Facts about the values of one loops-level function: which are needed, which memory is written, what a loop captures."""

from __future__ import annotations

from xdsl.dialects import func, memref, scf, vector
from xdsl.ir import Operation, SSAValue

from ..dialects import nv
from ..dialects.nv_hopper import HOPPER_EFFECTS

_POINTER_OPS = (
    memref.ViewOp, memref.ReinterpretCastOp, memref.SubviewOp, memref.CastOp, memref.CollapseShapeOp, memref.ExpandShapeOp,
    nv.BitsOp,
)  # fmt: skip
_EFFECTS = (
    memref.StoreOp, vector.StoreOp, nv.StoreOp, nv.CpAsyncOp, func.CallOp, func.ReturnOp, scf.YieldOp, scf.ReduceOp,
    *HOPPER_EFFECTS,
)  # fmt: skip


def live_values(function: func.FuncOp) -> dict[SSAValue, None]:
    """Values that reach a store, a call or a loop: the others are not printed."""
    live: dict[SSAValue, None] = {}
    for op in function.walk(reverse=True):
        if op.regions or isinstance(op, _EFFECTS) or any(result in live for result in op.results):
            for value in op.operands:
                live[value] = None
    return live


def root_of(value: SSAValue) -> SSAValue:
    """The memory a memref points into: an argument, an alloca, or a view of the arena."""
    while isinstance(value.owner, _POINTER_OPS):
        value = value.owner.operands[0]
    return value


def written_roots(function: func.FuncOp) -> dict[SSAValue, None]:
    """Memory a function stores to, or hands to a call."""
    found: dict[SSAValue, None] = {}
    for op in function.walk():
        if isinstance(op, memref.StoreOp):
            found[root_of(op.memref)] = None
        elif isinstance(op, vector.StoreOp):
            found[root_of(op.base)] = None
        elif isinstance(op, nv.StoreOp):
            found[root_of(op.memory)] = None
        elif isinstance(op, nv.CpAsyncOp):
            found[root_of(op.target)] = None
        elif isinstance(op, func.CallOp):
            for value in op.arguments:
                found[root_of(value)] = None
        elif isinstance(op, memref.AllocaOp):
            found[op.memref] = None
    return found


def captured_values(loop: Operation) -> list[SSAValue]:
    """Values used inside a region op and made outside, in order of first use."""
    inside: dict[SSAValue, None] = {}
    found: dict[SSAValue, None] = {}
    for op in loop.walk():
        for region in op.regions:
            for block in region.blocks:
                inside.update(dict.fromkeys(block.args))
        inside.update(dict.fromkeys(op.results))
    for op in loop.walk():
        if op is not loop:
            for value in op.operands:
                if value not in inside:
                    found[value] = None
    return list(found)
