"""Scalar bodies and effects of the buffered level's ops: products, elementwise bodies, fills, reads, writes."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import arith, memref
from xdsl.dialects.builtin import FloatAttr, IntegerAttr
from xdsl.dialects.linalg.ops import FillOp, GenericOp, IndexOp
from xdsl.ir import Attribute, Block, Operation, SSAValue

_SCALAR_OPS = ("arith.", "math.", "kernel.")
_CASTS = (arith.ExtFOp, arith.ExtSIOp, arith.ExtUIOp, arith.SIToFPOp, arith.UIToFPOp, arith.TruncFOp)


@dataclass(frozen=True)
class Product:
    """Numbers of the inputs that are multiplied, the casts each goes through, and the type of the sum."""

    left: int
    right: int
    left_casts: tuple[Operation, ...]
    right_casts: tuple[Operation, ...]
    sum_type: Attribute


def product_of(op: GenericOp) -> Product | None:
    """The two inputs multiplied, with their casts, when the body is ``acc + left * right``.
    Other inputs only give loops a size.
    """
    block = op.body.block
    if len(op.inputs) < 2 or len(op.outputs) != 1:
        return None
    yielded = block.last_op
    assert yielded is not None
    total, _ = _through_casts(yielded.operands[0])
    add = total.owner
    if not isinstance(add, (arith.AddfOp, arith.AddiOp)):
        return None
    for product, accumulator in ((add.operands[0], add.operands[1]), (add.operands[1], add.operands[0])):
        mul = _through_casts(product)[0].owner
        if _through_casts(accumulator)[0] is not block.args[-1] or not isinstance(
            mul, (arith.MulfOp, arith.MuliOp)
        ):
            continue
        (a, a_casts), (b, b_casts) = _through_casts(mul.operands[0]), _through_casts(mul.operands[1])
        inputs = block.args[:-1]
        if a in inputs and b in inputs and a is not b:
            return Product(inputs.index(a), inputs.index(b), a_casts, b_casts, add.results[0].type)
    return None


def _through_casts(value: SSAValue) -> tuple[SSAValue, tuple[Operation, ...]]:
    """The value before its casts, and the casts in the order they are applied."""
    casts: list[Operation] = []
    while isinstance(owner := value.owner, _CASTS):
        casts.append(owner)
        value = owner.operands[0]
    return value, tuple(reversed(casts))


def is_elementwise(body: Block, inputs: int) -> bool:
    """Only scalar ops on the inputs, on constants and on the place as an integer: each has a vector form."""
    inside = {id(arg) for arg in body.args[:inputs]}
    for op in body.ops:
        if op is body.last_op:
            return all(id(v) in inside or _is_constant(v) for v in op.operands)
        if isinstance(op, IndexOp):
            if not all(isinstance(use.operation, arith.IndexCastOp) for use in op.results[0].uses):
                return False
            continue
        if isinstance(op, arith.IndexCastOp) and isinstance(op.operands[0].owner, IndexOp):
            inside.add(id(op.results[0]))
            continue
        if isinstance(op, arith.ConstantOp):
            if not isinstance(op.value, (IntegerAttr, FloatAttr)):
                return False
        elif not op.name.startswith(_SCALAR_OPS) or op.regions or len(op.results) != 1:
            return False
        if op.results[0].type.name == "index" or not all(
            id(v) in inside or _is_constant(v) for v in op.operands
        ):
            return False
        inside.update(id(r) for r in op.results)
    return False


def _is_constant(value: SSAValue) -> bool:
    owner = value.owner
    return isinstance(owner, arith.ConstantOp) and isinstance(owner.value, (IntegerAttr, FloatAttr))


def filled_number(op: Operation) -> float | int | None:
    """The number an op writes everywhere, or None."""
    if isinstance(op, FillOp):
        return _number(op.inputs[0])
    if isinstance(op, GenericOp) and not op.inputs and len(op.outputs) == 1:
        last = op.body.block.last_op
        assert last is not None
        return _number(last.operands[0])
    return None


def _number(value: SSAValue) -> float | int | None:
    owner = value.owner
    if isinstance(owner, arith.ConstantOp) and isinstance(owner.value, (IntegerAttr, FloatAttr)):
        return owner.value.value.data
    return None


def written_by(op: Operation) -> list[SSAValue]:
    """The memrefs an op of the buffered level writes."""
    if isinstance(op, (GenericOp, FillOp)):
        return list(op.outputs)
    return []


def read_by(op: Operation) -> list[SSAValue]:
    """The memrefs an op of the buffered level may read."""
    if isinstance(op, GenericOp):
        return list(op.operands)
    return list(op.operands) if isinstance(op, (memref.LoadOp, memref.CopyOp)) else []
