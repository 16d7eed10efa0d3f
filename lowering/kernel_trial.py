"""Contraction kernels one by one: which of a buffered program cost most, and each as a program of its own under a given plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import DenseArrayBase, FunctionType, IntegerAttr, MemRefType, ModuleOp, StringAttr, i8, i64
from xdsl.ir import Block, BlockArgument, Region, SSAValue

from ..dialects.attributes import dtype_of_element
from ..dialects.target import Target
from ..dialects.types import DType
from .block_parts import has_scratch
from .contraction_choice import like
from .contraction_decision import PLAN, Decision, read_decision
from .contraction_cost import plain_cost
from .contraction_problem import Problem
from .contraction_schedule import posed, problem_key
from .kernel_functions import unplanned
from .linalg_to_loops import lower_kernel, scratch_bytes
from .memref_layout import bytes_of
from .prepacking import packed_ahead

OFTEN = 1 << 20
"""Calls with one packed copy: a trial has the copy its program has."""


@dataclass(frozen=True)
class Subject:
    """A kernel of a program that can be tried. key: the problem, as files of plans have it. cost: of all its calls, estimated.

    outside: for each argument whether some call gives it memory of the program's own inputs or outputs.
    """

    function: func.FuncOp
    target: Target
    problem: Problem
    key: str
    decision: Decision
    cost: float
    origin: str
    outside: tuple[bool, ...]

    @property
    def packed_operand(self) -> int | None:
        """The operand it reads a kept packed copy of."""
        given = self.function.attributes.get("lamina.packed")
        return int(given.get_values()[0]) if isinstance(given, DenseArrayBase) else None


@dataclass(frozen=True)
class Argument:
    """Memory a trial gets: whole elements of a type. what: "operand" (also results), "packed" or "scratch"; number: of the operand."""

    bytes: int
    dtype: DType
    what: str
    number: int


def subjects(module: ModuleOp, target: Target) -> list[Subject]:
    """The contractions a buffered program calls, those with the largest estimated cost first; equal problems once."""
    functions = {f.sym_name.data: f for f in module.ops if isinstance(f, func.FuncOp)}
    found: dict[str, Subject] = {}
    for call, times in _calls(functions["main"].body.block, 1):
        function = functions[call.callee.string_value()]
        text = function.attributes.get(PLAN)
        problem = posed(function, target) if isinstance(text, StringAttr) else None
        if problem is None or "lamina.serial" in function.attributes:
            continue
        assert isinstance(text, StringAttr)
        key, decision = problem_key(problem[2], target), read_decision(text.data)
        plan = like(problem[2], target, decision)
        cost = times * (plain_cost(problem[2], target) if plan is None else plan.cost)
        outside = tuple(_is_outside(v) for v in call.arguments)
        origin = call.attributes.get("origin")
        if (before := found.get(key)) is not None:
            cost, outside = cost + before.cost, tuple(map(max, outside, before.outside))
        named = origin.data if isinstance(origin, StringAttr) else ""
        found[key] = Subject(function, target, problem[2], key, decision, cost, named, outside)
    return sorted(found.values(), key=lambda s: -s.cost)


def _calls(block: Block, times: int) -> Iterator[tuple[func.CallOp, int]]:
    """Calls, and how often each is made; those that fill kept copies are made when an input changes and do not count."""
    for op in block.ops:
        if isinstance(op, func.CallOp):
            yield op, times
        elif isinstance(op, scf.ForOp):
            bounds = [_number(v) for v in (op.lb, op.ub, op.step)]
            steps = 1 if None in bounds else max(0, -(-(bounds[1] - bounds[0]) // bounds[2]))  # type: ignore[operator]
            yield from _calls(op.body.block, times * steps)


def _number(value: SSAValue) -> int | None:
    owner = value.owner
    held = owner.value if isinstance(owner, arith.ConstantOp) else None
    return held.value.data if isinstance(held, IntegerAttr) else None


def _is_outside(value: SSAValue) -> bool:
    """Whether memory is an argument of @main, and not the arena, the last one."""
    while not isinstance(value, BlockArgument) and isinstance(value.owner, memref.ViewOp | memref.ReinterpretCastOp | memref.CastOp):
        value = value.owner.operands[0]
    return isinstance(value, BlockArgument) and value.index < len(value.owner.args) - 1


def alone(subject: Subject, decision: Decision) -> tuple[ModuleOp, list[Argument]] | None:
    """The loops-level program that calls the kernel once under a plan, and what its table holds; None where the kernel cannot
    have that plan with the packed copy its program keeps.
    """
    kernel, target = _bare(subject.function), subject.target
    kernel.attributes[PLAN] = StringAttr(str(decision))
    count = len(kernel.body.block.args)
    arguments = [Argument(bytes_of(a.type), _dtype(a.type), "operand", k) for k, a in enumerate(kernel.body.block.args)]
    if (operand := subject.packed_operand) is not None:
        copy = packed_ahead(kernel, [operand], target, OFTEN)
        if copy is None:
            return None
        at = int(kernel.attributes["lamina.packed"].get_values()[1])  # type: ignore[attr-defined]  # a dense array
        arguments.insert(at, Argument(bytes_of(copy.copy), _dtype(copy.copy), "packed", operand))
        count += 1
    if scratch := scratch_bytes(kernel, target):
        held = kernel.body.block.insert_arg(MemRefType(i8, [scratch]), count)
        arguments.append(Argument(scratch, _dtype(held.type), "scratch", count))
    types = [a.type for a in kernel.body.block.args]
    kernel.properties["function_type"] = FunctionType.from_lists(types, [])
    lower_kernel(kernel, target)
    block = Block(arg_types=types)
    block.add_ops([func.CallOp(kernel.sym_name.data, list(block.args), []), func.ReturnOp()])
    return ModuleOp([kernel, func.FuncOp("main", (types, []), Region(block))]), arguments


def _bare(function: func.FuncOp) -> func.FuncOp:
    """A copy of a kernel function with its operands and results only."""
    bare = unplanned(function)
    block = bare.body.block
    if has_scratch(bare):
        block.erase_arg(block.args[-1])
    given = bare.attributes.pop("lamina.packed", None)
    if isinstance(given, DenseArrayBase):
        block.erase_arg(block.args[int(given.get_values()[1])])
        inputs = bare.attributes["lamina.inputs"]
        assert isinstance(inputs, IntegerAttr)
        bare.attributes["lamina.inputs"] = IntegerAttr(inputs.value.data - 1, i64)
    return bare


def _dtype(held: object) -> DType:
    assert isinstance(held, MemRefType)
    return dtype_of_element(held.element_type)


def traffic(module: ModuleOp) -> int:
    """Bytes the calls of a program touch, one after the other."""
    main = next(f for f in module.ops if isinstance(f, func.FuncOp) and f.sym_name.data == "main")
    return sum(prod((times, bytes_of(v.type))) for call, times in _calls(main.body.block, 1) for v in call.arguments)
