"""What a kernel widens last of all is stored as narrow as it was on a GPU: whoever reads it widens it again, which costs nothing.

    y = f32(bf16(a @ b))      y is stored as bf16; half the memory, half the traffic
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import FunctionType, MemRefType, f32
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Attribute, SSAValue
from xdsl.rewriter import Rewriter

from .block_analysis import is_plain
from .blocked_calls import Register
from .call_values import CallValues, Item, Value
from .chain_reader import contraction_of
from .chained_calls import drop_unread
from .contraction_body import product_of
from .kernel_functions import unplanned
from .memref_layout import bytes_of, memref_type, strides_of
from .storage import Call, Home, Storage


class NarrowStores:
    """Rewrites the calls of a program for a GPU."""

    def __init__(self, functions: dict[object, func.FuncOp], register: Register) -> None:
        self.functions, self.register = functions, register

    def rewrite(self, calls: list[Item], storages: list[Storage]) -> None:
        """Changes makers and readers in place."""
        values, changed = CallValues(calls), False
        for k in range(len(calls)):
            for number, value in enumerate(values.made[k]):
                narrow = _narrow(calls, values, number, value)
                if narrow is not None:
                    self._store(calls, storages, values, number, value, narrow)
                    changed = True
        if changed:
            drop_unread(calls, storages)

    def _store(self, calls: list[Item], storages: list[Storage], values: CallValues, number: int, value: Value, narrow: Attribute) -> None:
        maker = calls[value.maker]
        assert isinstance(maker, Call) and value.home is not None
        old = value.home[1]
        held = memref_type(tuple(old.get_shape()), narrow, strides_of(old))
        home: Home = Storage(bytes_of(held), maker.step, max(calls[r].step for r in value.readers)), held  # type: ignore[union-attr]  # calls
        storages.append(home[0])
        self._change(calls, value.maker, {len(maker.operands) + number: home}, "stores")
        for r in dict.fromkeys(value.readers):
            self._change(calls, r, {p: home for p, read in enumerate(values.read[r]) if read is value}, "reads")

    def _change(self, calls: list[Item], k: int, homes: dict[int, Home], what: str) -> None:
        call = calls[k]
        assert isinstance(call, Call)
        key = (what, "narrow", call.function.sym_name.data, *((place, held) for place, (_, held) in homes.items()))
        function = self.functions.get(key)
        if function is None:
            made = _with_types(call.function, {place: held for place, (_, held) in homes.items()}, call.scratch is not None)
            made.properties["sym_name"] = type(made.sym_name)(f"k{len(self.functions)}")
            function = self.register(key, made)
        given = [homes.get(place, home) for place, home in enumerate((*call.operands, *call.results))]
        scratch = None
        if len(function.body.block.args) > len(given):
            scratch = Storage(function.body.block.args[-1].type.get_shape()[0], call.step, call.step)  # type: ignore[attr-defined]  # a memref
        calls[k] = Call(function, given[: len(call.operands)], given[len(call.operands) :], call.origin, scratch, call.step)


def _narrow(calls: Sequence[Item], values: CallValues, number: int, value: Value) -> Attribute | None:
    """The type a result is widened from, where every reader can widen it itself."""
    maker = calls[value.maker]
    plain = isinstance(maker, Call) and _is_single(maker.function) and value.home is not None and not value.outlives and value.readers
    if not plain or value.home is None or value.home[1].element_type != f32:
        return None
    assert isinstance(maker, Call)
    stored = _stored(maker.function.body.block.args[len(maker.operands) + number])
    for r in value.readers:
        reader = calls[r]
        if not isinstance(reader, Call) or not _is_single(reader.function):
            return None
        read = [p for p, v in enumerate(values.read[r]) if v is value]
        if any(reader.operands[p][1] != value.home[1] or not _is_read_by_stages(reader.function.body.block.args[p]) for p in read):
            return None
    return stored.operands[0].type if stored is not None else None


def _is_single(function: func.FuncOp) -> bool:
    """Whether a kernel is stages with one sum of products at most: a chain is left as it was found to fit."""
    stages = [op for op in function.body.block.ops if isinstance(op, GenericOp)]
    return is_plain(function) and "lamina.packed" not in function.attributes and sum(contraction_of(op) is not None for op in stages) < 2


def _stored(argument: SSAValue) -> arith.ExtFOp | None:
    """The widening that gives the only thing stored in an argument; None where it is something else."""
    uses = list(argument.uses)
    stage = uses[0].operation if len(uses) == 1 else None
    if not isinstance(stage, GenericOp) or uses[0].index < len(stage.inputs):
        return None
    body = stage.body.block
    last = body.last_op
    op = last.operands[uses[0].index - len(stage.inputs)].owner if last is not None else None
    unread = body.args[uses[0].index].first_use is None
    return op if isinstance(op, arith.ExtFOp) and op.result.type == f32 and unread else None


def _is_read_by_stages(argument: SSAValue) -> bool:
    """Whether only stages read it, and none as a factor: products would be made in another way."""
    for use in argument.uses:
        stage = use.operation
        if not isinstance(stage, GenericOp) or use.index >= len(stage.inputs):
            return False
        product = product_of(stage)
        if product is not None and use.index in (product.left, product.right):
            return False
    return True


def _with_types(function: func.FuncOp, types: dict[int, MemRefType], has_scratch: bool) -> func.FuncOp:
    """A copy with some arguments narrow: what is read of them is widened, what is stored in them is what was widened."""
    made = unplanned(function)
    block = made.body.block
    if has_scratch:
        block.erase_arg(block.args[-1])
    made.attributes.pop("lamina.scratch", None)
    for place, held in types.items():
        argument = Rewriter.replace_value_with_new_type(block.args[place], held)
        for use in list(argument.uses):
            assert isinstance(use.operation, GenericOp)
            _adapt(use.operation, use.index, held.element_type)
    made.properties["function_type"] = FunctionType.from_lists([a.type for a in block.args], [])
    return made


def _adapt(stage: GenericOp, index: int, narrow: Attribute) -> None:
    body = stage.body.block
    argument = Rewriter.replace_value_with_new_type(body.args[index], narrow)
    if index < len(stage.inputs):
        op = arith.ExtFOp(argument, f32)
        argument.replace_uses_with_if(op.result, lambda use: use.operation is not op)
        first = body.first_op
        assert first is not None
        body.insert_op_before(op, first)
        return
    last = body.last_op
    assert last is not None
    widened = last.operands[index - len(stage.inputs)].owner
    assert isinstance(widened, arith.ExtFOp)
    last.operands[index - len(stage.inputs)] = widened.operands[0]
    if widened.result.first_use is None:
        body.erase_op(widened)
