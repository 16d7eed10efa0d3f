"""Rows that the folds of a kernel make are kept for kernels that make the rest of it again: a softmax's are one number each, the
logarithm of its sum.

    m = max(x); e = exp(x - m); s = sum(e); r = 1 / s; y = e * r      is made by who keeps      l = m + log(s)
    y = exp(x - l)                                                    by who reads l
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, func, math, memref
from xdsl.dialects.builtin import AffineMapAttr, FloatAttr, MemRefType
from xdsl.dialects.linalg.ops import FillOp, GenericOp
from xdsl.dialects.linalg.ops import YieldOp as LinalgYieldOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineExpr, AffineMap

from .chain_reader import contraction_of
from .kernel_functions import PARALLEL, make_function


@dataclass(frozen=True)
class KeptRows:
    """making: the kernel with a further result for every kept array of rows; reading: the kernel with a further operand for each, and no
    fold. types: of these arrays.
    """

    making: func.FuncOp
    reading: func.FuncOp
    types: tuple[MemRefType, ...]


def kept_rows(function: func.FuncOp, inputs: int, outputs: int) -> KeptRows | None:
    """The kernel by halves; None when it has no folds, or one that is no array of its own."""
    making, reading = _copy(function, inputs + outputs), _copy(function, inputs + outputs)
    folds = _folds(making)
    if not folds or any(_made_here(fold) is None for fold in folds):
        return None
    types = [fold.outputs[0].type for fold in folds]
    if len(set(types)) != 1 or not isinstance(types[0], MemRefType) or all(n == 1 for n in types[0].get_shape()):
        return None
    softmax = _Softmax.read(reading)
    if softmax is not None:
        _add_result(making, [fold.outputs[0] for fold in folds], types[0], logarithm=True)
        softmax.read_from(reading.insert_arg(types[0], inputs))
        count = 1
    else:
        for fold in folds:
            _add_result(making, [fold.outputs[0]], types[0], logarithm=False)
        for k, fold in enumerate(_folds(reading)):
            _read_instead(fold, reading.insert_arg(types[0], inputs + k))
        count = len(folds)
    name = function.sym_name.data
    own = [arg.type for arg in function.body.block.args]
    kept = (types[0],) * count
    return KeptRows(
        make_function(f"{name}_keeps", own[:inputs], [*own[inputs : inputs + outputs], *kept], Region(making)),
        make_function(f"{name}_kept", [*own[:inputs], *kept], own[inputs : inputs + outputs], Region(reading)),
        kept,
    )


def _copy(function: func.FuncOp, count: int) -> Block:
    """The kernel's body without scratch memory."""
    old = function.body.block
    block = Block(arg_types=[arg.type for arg in old.args[:count]])
    mapped: dict[SSAValue, SSAValue] = dict(zip(old.args[:count], block.args, strict=True))
    block.add_ops([op.clone(mapped) for op in old.ops])
    return block


def _folds(block: Block) -> list[GenericOp]:
    stages = [op for op in block.ops if isinstance(op, GenericOp)]
    return [op for op in stages if contraction_of(op) is None and any(k.data.value == "reduction" for k in op.iterator_types.data)]


def _made_here(fold: GenericOp) -> Operation | None:
    """The temporary a fold writes; None when it writes something else."""
    owner = fold.outputs[0].owner
    return owner if len(fold.outputs) == 1 and isinstance(owner, memref.AllocaOp) else None


def _add_result(block: Block, rows: Sequence[SSAValue], held: MemRefType, logarithm: bool) -> None:
    """A further result: the rows, or the first of them and the logarithm of the second together."""
    result = block.insert_arg(held, len(block.args))
    body = Block(arg_types=[held.element_type] * (len(rows) + 1))
    value: SSAValue = body.args[0]
    if logarithm:
        log = math.LogOp(body.args[1])
        total = arith.AddfOp(body.args[0], log.results[0])
        body.add_ops([log, total])
        value = total.results[0]
    body.add_op(LinalgYieldOp(value))
    sizes = held.get_shape()
    loops = [d for d, n in enumerate(sizes) if n != 1]
    places: list[AffineExpr] = [AffineDimExpr(loops.index(d)) if d in loops else AffineConstantExpr(0) for d in range(len(sizes))]
    at = AffineMapAttr(AffineMap(len(loops), 0, tuple(places)))
    stage = GenericOp(rows, [result], Region(body), [at] * (len(rows) + 1), [PARALLEL] * len(loops))
    last = block.last_op
    assert last is not None
    block.insert_op_before(stage, last)


def _read_instead(fold: GenericOp, rows: SSAValue) -> None:
    """What a fold makes is there."""
    made = fold.outputs[0]
    _forget(fold)
    made.replace_all_uses_with(rows)
    _forget_memory(made)


def _forget(stage: GenericOp) -> None:
    """Takes out a stage, and the fills of what it writes."""
    for made in stage.outputs:
        for use in list(made.uses):
            if isinstance(use.operation, FillOp):
                _take_out(use.operation)
    _take_out(stage)


def _take_out(op: Operation) -> None:
    block = op.parent
    assert block is not None
    block.erase_op(op)


def _forget_memory(memory: SSAValue) -> None:
    if not memory.first_use and isinstance(memory.owner, Operation):
        _take_out(memory.owner)


@dataclass(frozen=True)
class _Softmax:
    """Stages of a kernel: the maximum, exponentials, their sum, its reciprocal (where it is a stage), and who multiplies both."""

    largest: GenericOp
    powers: GenericOp
    total: GenericOp
    reciprocal: GenericOp | None
    weights: tuple[GenericOp, ...]

    @classmethod
    def read(cls, block: Block) -> _Softmax | None:
        """The stages, where nobody else looks at what goes."""
        folds = _folds(block)
        if len(folds) != 2:
            return None
        largest, total = folds
        powers = _writer(total.inputs[0]) if len(total.inputs) == 1 else None
        if powers is None or not _combines(largest, arith.MaximumfOp) or not _combines(total, arith.AddfOp) or not _adds_as_it_is(total):
            return None
        if not _is_distance_from(powers, largest.outputs[0]) or _readers(largest.outputs[0]) != [powers]:
            return None
        near = _readers(total.outputs[0])
        reciprocal = near[0] if len(near) == 1 and _is_reciprocal(near[0]) else None
        divisor = reciprocal.outputs[0] if reciprocal is not None else total.outputs[0]
        weights = _readers(divisor)
        if sorted(map(id, [*weights, total])) != sorted(map(id, _readers(powers.outputs[0]))):
            return None
        if any(_scaled(w, powers.outputs[0], divisor, reciprocal is not None) is None for w in weights):
            return None
        return cls(largest, powers, total, reciprocal, tuple(weights))

    def read_from(self, rows: SSAValue) -> None:
        """Exponentials of distances from `rows` are the weights."""
        divisor = (self.reciprocal or self.total).outputs[0]
        for stage in self.weights:
            scaled = _scaled(stage, self.powers.outputs[0], divisor, self.reciprocal is not None)
            assert scaled is not None
            inner, number = scaled.results[0], list(stage.inputs).index(self.powers.outputs[0])
            inner.replace_all_uses_with(stage.body.block.args[number])
            _take_out(scaled)
            _drop_input(stage, list(stage.inputs).index(divisor))
        made = [self.largest.outputs[0], self.total.outputs[0], divisor]
        if self.reciprocal is not None:
            _take_out(self.reciprocal)
        _forget(self.total)
        _read_instead(self.largest, rows)
        for memory in dict.fromkeys(made[1:]):
            _forget_memory(memory)


def _readers(memory: SSAValue) -> list[GenericOp]:
    """The stages that read it, once for each time."""
    return [use.operation for use in memory.uses if isinstance(use.operation, GenericOp) and use.index < len(use.operation.inputs)]


def _writer(memory: SSAValue) -> GenericOp | None:
    """The one stage that writes a temporary, and nothing else."""
    found = [use.operation for use in memory.uses if isinstance(use.operation, GenericOp) and use.index >= len(use.operation.inputs)]
    here = isinstance(memory.owner, memref.AllocaOp) and len(found) == 1 and len(found[0].outputs) == 1
    return found[0] if here and all(k.data.value == "parallel" for k in found[0].iterator_types.data) else None


def _yielded(stage: GenericOp) -> SSAValue:
    last = stage.body.block.last_op
    assert last is not None
    return last.operands[0]


def _combines(fold: GenericOp, combiner: type[Operation]) -> bool:
    return isinstance(_yielded(fold).owner, combiner)


def _adds_as_it_is(fold: GenericOp) -> bool:
    op = _yielded(fold).owner
    return isinstance(op, Operation) and set(op.operands) == set(fold.body.block.args)


def _is_distance_from(stage: GenericOp, rows: SSAValue) -> bool:
    """Whether a stage writes `exp(something - rows)`, and reads the rows for nothing else."""
    power = _yielded(stage).owner
    distance = power.operands[0].owner if isinstance(power, math.ExpOp) else None
    arg = _argument(stage, rows)
    return arg is not None and isinstance(distance, arith.SubfOp) and distance.operands[1] is arg and arg.has_one_use()


def _argument(stage: GenericOp, memory: SSAValue) -> SSAValue | None:
    """What a stage's body has of it; None when it is read more than once."""
    places = [k for k, value in enumerate(stage.inputs) if value is memory]
    return stage.body.block.args[places[0]] if len(places) == 1 else None


def _is_reciprocal(stage: GenericOp) -> bool:
    op = _yielded(stage).owner
    if not isinstance(op, arith.DivfOp) or _writer(stage.outputs[0]) is not stage:
        return False
    one = op.operands[0].owner
    return isinstance(one, arith.ConstantOp) and isinstance(one.value, FloatAttr) and one.value.value.data == 1 and op.operands[1] in stage.body.block.args


def _scaled(stage: GenericOp, powers: SSAValue, divisor: SSAValue, is_reciprocal: bool) -> Operation | None:
    """The op that scales the exponentials in a stage, which reads either for nothing else."""
    power, by = _argument(stage, powers), _argument(stage, divisor)
    if power is None or by is None or not power.has_one_use() or not by.has_one_use():
        return None
    (use,) = power.uses
    op = use.operation
    if is_reciprocal:
        return op if isinstance(op, arith.MulfOp) and set(op.operands) == {power, by} else None
    return op if isinstance(op, arith.DivfOp) and list(op.operands) == [power, by] else None


def _drop_input(stage: GenericOp, number: int) -> None:
    """The stage without an input its body does not read any more."""
    body = stage.body.clone()
    body.block.erase_arg(body.block.args[number])
    kept = [k for k in range(len(stage.operands)) if k != number]
    made = GenericOp(
        [v for k, v in enumerate(stage.inputs) if k != number], list(stage.outputs), body,
        [stage.indexing_maps.data[k] for k in kept], list(stage.iterator_types.data),
    )  # fmt: skip
    made.attributes.update(stage.attributes)
    block = stage.parent
    assert block is not None
    block.insert_op_before(made, stage)
    block.erase_op(stage)
