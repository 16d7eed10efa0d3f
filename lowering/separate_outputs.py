"""A stage of several outputs as one stage per output, each with what it reads: loops of one then mean nothing for those of another."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.dialects.linalg.ops import GenericOp
from xdsl.dialects.linalg.ops import YieldOp as LinalgYieldOp
from xdsl.ir import Block, BlockArgument, Operation, Region, SSAValue


def separated(stage: GenericOp) -> Iterator[GenericOp]:
    """New stages on the same memory, in the order of the outputs. The stage reads none of its outputs and asks for no index."""
    block, count = stage.body.block, len(stage.inputs)
    last = block.last_op
    assert last is not None
    for k, value in enumerate(last.operands):
        body = _needed(value)
        read = sorted({v.index for op in body for v in op.operands if isinstance(v, BlockArgument)} | ({value.index} if isinstance(value, BlockArgument) else set()))
        places = [*read, count + k]
        new = Block(arg_types=[block.args[i].type for i in places])
        mapped: dict[SSAValue, SSAValue] = {block.args[i]: arg for i, arg in zip(places, new.args, strict=True)}
        new.add_ops([op.clone(mapped) for op in body])
        new.add_op(LinalgYieldOp(mapped[value]))
        made = GenericOp(
            [stage.inputs[i] for i in read], [stage.outputs[k]], Region(new), [stage.indexing_maps.data[i] for i in places],
            list(stage.iterator_types.data),
        )  # fmt: skip
        made.attributes.update(stage.attributes)
        yield made


def _needed(value: SSAValue) -> list[Operation]:
    """The ops of a body that make a value, in order."""
    found: dict[Operation, None] = {}
    waiting = [value]
    while waiting:
        op = waiting.pop().owner
        if isinstance(op, Operation) and op not in found:
            found[op] = None
            waiting += op.operands
    return [op for op in value.owner.parent.ops if op in found] if isinstance(value.owner, Operation) else []
