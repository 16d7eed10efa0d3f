"""Kernels that are alike: elementwise work on whole arrays, the same for each element, on arrays of different lengths.

Such a kernel is a part: one loop over its arrays from front to back, beside them single elements that all iterations read.
Several parts are one kernel (`lamina.parts` on its function): their stages one after the other, on arguments of their own or
of all. That is still a plain kernel of stages; gpu_parts.py makes one launch of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import IntegerAttr, MemRefType, i64
from xdsl.dialects.linalg.ops import FillOp, GenericOp
from xdsl.ir import Block, Operation, Region, SSAValue

from ..dialects.errors import PassError
from .block_analysis import is_plain
from .kernel_functions import make_function
from .nest_plan import Flat, KernelPlan, LeafPlan, Loop, plan_loops
from .nest_stages import Buffer, read_kernel

PARTS = "lamina.parts"


@dataclass(eq=False, slots=True)
class Part:
    """One part. loop: over its elements; None where there is one element only.

    roles: its arguments in the order the stages use them; results: those that are written. body: equal for parts that do the
    same; steps: what their accesses advance by per iteration (None: there is one).
    """

    plan: KernelPlan
    leaf: LeafPlan
    loop: Loop | None
    roles: list[int]
    results: frozenset[int]
    body: object
    steps: tuple[int, ...] | None

    @property
    def length(self) -> int:
        return 1 if self.loop is None else self.loop.size

    def is_like(self, other: Part) -> bool:
        """Whether one code can serve both."""
        return self.body == other.body and (self.steps == other.steps or None in (self.steps, other.steps))


def read_part(function: func.FuncOp) -> Part | None:
    """The function as a part; None when it is none."""
    if not _is_elementwise(function):
        return None
    plan = plan_loops(read_kernel(function))
    if len(plan.groups) != 1 or len(plan.groups[0].leaves) != 1 or plan.groups[0].rows or plan.arena:
        return None
    group = plan.groups[0]
    (leaf,) = group.leaves
    loops = [*group.shared, *leaf.own]
    if len(loops) > 1 or any(x.indexed for x in loops):
        return None
    return _part(function, plan, leaf, loops[0] if loops else None)


def _is_elementwise(function: func.FuncOp) -> bool:
    """Whether every element is made of those at its place, without looking anywhere else."""
    if not is_plain(function) or "lamina.scratch" in function.attributes or PARTS in function.attributes:
        return False
    stages = [op for op in function.body.block.ops if isinstance(op, GenericOp)]
    inner = [op.name for stage in stages for op in stage.body.block.ops]
    parallel = all(kind.data.value == "parallel" for stage in stages for kind in stage.iterator_types.data)
    return parallel and not any(name in ("linalg.index", "memref.load") for name in inner)


def _part(function: func.FuncOp, plan: KernelPlan, leaf: LeafPlan, loop: Loop | None) -> Part | None:
    count = len(function.body.block.args)
    roles: dict[Buffer, int] = {}
    steps: list[int] = []

    def access(flat: Flat | None) -> object:
        if flat is None:
            return None
        steps.append(flat.terms.get(loop, 0) if loop is not None else 0)
        return roles.setdefault(flat.buffer, len(roles)), flat.buffer.element, flat.offset

    body = []
    for stage in leaf.stages:
        reads = tuple(access(f) for f in stage.reads)
        writes = tuple(access(f) for f in stage.writes)
        outputs = tuple(roles.setdefault(w.buffer, len(roles)) for w in stage.stage.writes)
        body.append((_body_key(stage.stage.block, stage.stage.fill), reads, writes, outputs, tuple(stage.forwarded)))
    given = {role: buffer.index for buffer, role in roles.items() if buffer.index < count}
    if len(given) != sum(a.first_use is not None for a in function.body.block.args):
        return None  # an argument that is there for its shape
    results = frozenset(role for role in given if next(b for b, r in roles.items() if r == role).written)
    key = (tuple(body), tuple(given), results)
    return Part(plan, leaf, loop, list(given.values()), frozenset(given[r] for r in results), key, tuple(steps) if loop is not None else None)


def _body_key(block: Block | None, fill: SSAValue | None) -> object:
    """Equal for bodies that compute the same."""
    if block is None:
        assert fill is not None
        return _constant_key(fill)
    number: dict[SSAValue, int] = {a: k for k, a in enumerate(block.args)}
    ops = []
    for op in block.ops:
        operands = tuple(number[v] if v in number else _constant_key(v) for v in op.operands)
        for result in op.results:
            number[result] = len(number)
        ops.append((op.name, operands, tuple(r.type for r in op.results), tuple(op.properties.items())))
    return tuple(a.type for a in block.args), tuple(ops)


def _constant_key(value: SSAValue) -> object:
    owner = value.owner
    assert isinstance(owner, arith.ConstantOp)
    return "constant", owner.properties["value"]


# Several parts as one function


def joined(name: str, functions: Sequence[func.FuncOp], arguments: Sequence[Sequence[int]], types: Sequence[MemRefType], inputs: int) -> func.FuncOp:
    """One kernel of several parts. arguments: per part which of the new function's arguments each of its own is."""
    block = Block(arg_types=types)
    for function, places in zip(functions, arguments, strict=True):
        mapped = {old: block.args[k] for old, k in zip(function.body.block.args, places, strict=True) if k >= 0}
        for op in function.body.block.ops:
            if not isinstance(op, func.ReturnOp):
                block.add_op(op.clone(mapped))
    block.add_op(func.ReturnOp())
    made = make_function(name, types[:inputs], types[inputs:], Region(block))
    made.attributes[PARTS] = IntegerAttr(len(functions), i64)
    return made


@dataclass(eq=False, slots=True)
class Joined:
    """A kernel of several parts, read again. arguments: per part and role, which argument of the kernel."""

    parts: list[Part]
    arguments: list[list[SSAValue]]


def read_joined(function: func.FuncOp) -> Joined:
    """The parts of a function that says it has some. PassError when they are not alike."""
    count = function.attributes[PARTS].value.data  # type: ignore[union-attr]  # an integer
    ops = [op for op in function.body.block.ops if not isinstance(op, func.ReturnOp)]
    size = len(ops) // count
    parts, arguments = [], []
    for k in range(count):
        mine = ops[k * size : (k + 1) * size]
        alone, given = _alone(function, mine)
        part = read_part(alone)
        if part is None or parts and not part.is_like(parts[0]) or len(ops) != count * size:
            raise PassError(f"the parts of {function.sym_name.data} are not alike", [("part", str(k), "")])
        parts.append(part)
        arguments.append([given[role] for role in part.roles])
    return Joined(parts, arguments)


def _alone(function: func.FuncOp, ops: Sequence[Operation]) -> tuple[func.FuncOp, list[SSAValue]]:
    """A function of some of another one's ops, and the arguments it has of the other's."""
    held = set(function.body.block.args)
    given = list(dict.fromkeys(v for op in ops for v in op.operands if v in held))
    written = {v for op in ops if isinstance(op, GenericOp | FillOp) for v in op.outputs}
    block = Block(arg_types=[v.type for v in given])
    mapped = dict(zip(given, block.args, strict=True))
    for op in ops:
        block.add_op(op.clone(mapped))
    block.add_op(func.ReturnOp())
    types = [v.type for v in given]
    outputs = sum(v in written for v in given)
    return make_function(function.sym_name.data, types[: len(types) - outputs], types[len(types) - outputs :], Region(block)), given
