"""May a kernel's output be given the memory of one of its operands? Decided from the kernel's index maps."""

from __future__ import annotations

from xdsl.dialects import func
from xdsl.dialects.builtin import MemRefType
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Operation, SSAValue
from xdsl.ir.affine import AffineExpr, AffineMap


def may_overwrite(function: func.FuncOp, operand: int, output: int) -> bool:
    """Whether element i of the operand is read only while element i of the output is made, and never after.

    True when a single stage uses both, at one place of its loops, and neither accumulates nor reads what it
    overwrites. The elements of both buffers must lie in the same places (`places_of`: the caller checks).
    """
    args = function.body.block.args
    source, target = args[operand], args[function.attributes["lamina.inputs"].value.data + output]
    stage = _only_user(source)
    if stage is None or stage is not _only_user(target):
        return False
    reads = [i for i, v in enumerate(stage.inputs) if v is source]
    writes = [i for i, v in enumerate(stage.outputs) if v is target]
    if len(reads) != 1 or len(writes) != 1:
        return False
    maps = stage.indexing_maps.data
    out = len(stage.inputs) + writes[0]
    if _moving(source, maps[reads[0]].data) != _moving(target, maps[out].data) or stage.body.block.args[out].first_use is not None:
        return False
    return all(kind.data is IteratorType.PARALLEL for kind in stage.iterator_types.data)


def is_made_from(function: func.FuncOp, operand: int, output: int) -> bool:
    """Whether an element of the output is computed from that of the operand, in the stage `may_overwrite` found."""
    args = function.body.block.args
    stage = _only_user(args[operand])
    assert stage is not None
    body, position = stage.body.block, list(stage.inputs).index(args[operand])
    made = list(stage.outputs).index(args[function.attributes["lamina.inputs"].value.data + output])
    stack, seen = [body.last_op.operands[made]], set()
    while stack:
        value = stack.pop()
        if value is body.args[position]:
            return True
        if isinstance(value.owner, Operation) and value not in seen:
            seen.add(value)
            stack += value.owner.operands
    return False


def _moving(value: SSAValue, map: AffineMap) -> tuple[AffineExpr, ...]:
    """Where an index map leads, along the dims that are more than one element long."""
    assert isinstance(value.type, MemRefType)
    return tuple(expr for expr, n in zip(map.results, value.type.get_shape(), strict=True) if n != 1)


def _only_user(value: SSAValue) -> GenericOp | None:
    users = [use.operation for use in value.uses]
    if len(users) != 1 or not isinstance(users[0], GenericOp):
        return None
    return users[0]
