"""Operands of contractions packed before a kernel runs: the argument for the copy, and the function that fills it.

A weight is the same in every call of a program, its packed copy as well. The kernel gets one more operand, the
copy; `lamina.packed = array<i64: operand, argument>` says whose. The schedule is made for a copy that costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType

from xdsl.dialects import func
from xdsl.dialects.builtin import DenseArrayBase, FunctionType, IntegerAttr, MemRefType, StringAttr, i64
from xdsl.ir import Block, Region, SSAValue

from ..dialects.sizes import any_symbolic, estimate
from ..dialects.target import GpuTarget, Target
from .contraction_choice import like
from .contraction_decision import PLAN, Decision, read_decision
from .contraction_schedule import Schedule, posed, schedule, settle
from .kernel_functions import make_function, unplanned
from .loop_writer import LoopWriter
from .packing import Packing, write_packing
from .storage import Call

LEAST_REUSE = 4
"""Uses of an element (per call, or per loop) below which reading the copy costs as much as reading the operand does."""


@dataclass(frozen=True)
class Prepacking:
    """What one kernel wants packed: which operand, the copy's type, and how (equal texts: equal copies)."""

    operand: int
    copy: MemRefType
    form: str
    scheduled: Schedule

    def function(self, name: str) -> func.FuncOp:
        """``name(operand, copy)``: loops that fill the copy."""
        packing = self.scheduled.packing
        assert packing is not None
        source = packing.source.type
        assert isinstance(source, MemRefType)
        block = Block(arg_types=[source, self.copy])
        block.add_op(end := func.ReturnOp())
        w = LoopWriter(end, self.scheduled.contraction.origin)
        convert = self.scheduled.tile(w, [])

        def converted(value: SSAValue) -> SSAValue:
            return convert.converted(value, self.scheduled.contraction.right)

        pack = replace(packing, source=w.flat(block.args[0]))
        write_packing(w, pack, block.args[1], converted, self.scheduled.threads)
        return make_function(name, [source], [self.copy], Region(block))


def packed_ahead(
    kernel: func.FuncOp, operands: Sequence[int], target: Target, times: int = 1, known: Mapping[str, Decision] = MappingProxyType({})
) -> Prepacking | None:
    """Gives a buffered kernel an operand for the packed copy of one of these operands; None where none is worth it.

    times: how often the kernel runs with one copy, as far as the program says (the steps of a loop). known: plans by problem, for
    kernels that get such an operand.
    """
    if not operands or isinstance(target, GpuTarget):  # a GPU's blocks stage their tiles themselves
        return None
    scheduled = schedule(kernel, target, operands)
    if scheduled is None or scheduled.packing is None or any_symbolic(n for d in _dims(scheduled.packing) for n in d):
        return None
    operand = _packed_operand(kernel, scheduled, operands)
    if operand is None or estimate(times) * _reuse(scheduled) < _least_reuse(scheduled, target):
        return None
    settle(kernel, target, known, [operand])
    scheduled = schedule(kernel, target, [operand])
    if scheduled is None or scheduled.packing is None or _packed_operand(kernel, scheduled, [operand]) is None:
        return None  # the known plan does without
    copy = MemRefType(scheduled.packing.element, [scheduled.packing.elements])
    count = kernel.attributes["lamina.inputs"]
    assert isinstance(count, IntegerAttr)
    block = kernel.body.block
    block.insert_arg(copy, count.value.data).name_hint = "packed"
    kernel.properties["function_type"] = FunctionType.from_lists([a.type for a in block.args], [])
    kernel.attributes["lamina.inputs"] = IntegerAttr(count.value.data + 1, i64)
    kernel.attributes["lamina.packed"] = DenseArrayBase.from_list(i64, [operand, count.value.data])
    return Prepacking(operand, copy, _form(scheduled), scheduled)


def reads_same_copy(kernel: func.FuncOp, part: func.FuncOp, target: Target) -> bool:
    """Whether a kernel that does a part of another one's work has a plan that reads the packed copy which was made for that one."""
    if "lamina.packed" not in kernel.attributes:
        return True
    found, plan = posed(part, target), part.attributes.get(PLAN)
    if found is None or not isinstance(plan, StringAttr) or like(found[2], target, read_decision(plan.data)) is None:
        return False
    copies = [schedule(k, target) for k in (kernel, part)]
    return all(s is not None and s.packing is not None for s in copies) and len({_form(s) for s in copies if s is not None}) == 1


def _packed_operand(kernel: func.FuncOp, scheduled: Schedule, operands: Sequence[int]) -> int | None:
    """Which of these operands the schedule packs."""
    assert scheduled.packing is not None
    source = scheduled.packing.source
    return next((k for k in operands if kernel.body.block.args[k] is source), None)


def without_copy(call: Call) -> tuple[Call, int | None]:
    """The call of the kernel as it was before it got a packed copy, and of which operand that is; the call itself where it has none."""
    packed = call.function.attributes.get("lamina.packed")
    if not isinstance(packed, DenseArrayBase):
        return call, None
    operand, number = packed.get_values()
    function = unplanned(call.function)
    function.body.block.erase_arg(function.body.block.args[number])
    function.attributes["lamina.inputs"] = IntegerAttr(len(call.operands) - 1, i64)
    del function.attributes["lamina.packed"]
    function.properties["function_type"] = FunctionType.from_lists([a.type for a in function.body.block.args], [])
    return replace(call, function=function, operands=[h for k, h in enumerate(call.operands) if k != number]), operand


def _least_reuse(scheduled: Schedule, target: Target) -> int:
    """What is multiplied in groups of depths is read from a copy in any case; where a processor follows several runs of memory, which only
    a copy has, it pays for two rows.
    """
    return 1 if scheduled.plan.blocks is not None else LEAST_REUSE if target.streams == 1 else LEAST_REUSE // 2


def _reuse(scheduled: Schedule) -> float:
    """How often a call uses each element of the packed copy."""
    contraction, packing = scheduled.contraction, scheduled.packing
    assert packing is not None
    return prod(map(estimate, contraction.sizes)) / max(1, packing.elements)


def _dims(packing: Packing) -> list[tuple[int, int]]:
    """Size and stride of every loop over the source."""
    return [(d.size, d.strides[1]) for d in (*packing.slots, packing.columns, *packing.reduction)]


def _form(scheduled: Schedule) -> str:
    """Everything the contents of a copy depend on beside its source."""
    packing, right = scheduled.packing, scheduled.contraction.right
    assert packing is not None
    dims = _dims(packing)
    panels = [tuple(p) for p in packing.panels]
    casts = [(op.name, str(op.results[0].type)) for op in right.casts]
    return f"{packing.form} {packing.offset} {packing.element} {packing.lanes} {len(packing.slots)} {dims} {panels} {casts}"
