"""buffered level to loops level: a kernel goes to the contraction scheduler, else to the nest scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.linalg.ops import FillOp, GenericOp

from ..dialects.target import Target, target_named
from ..passes.base import Pass
from . import contraction, contraction_schedule
from .contraction_decision import PLAN, Decision
from .invariant_divisors import mark_divisions
from .nest import lower_nest, nest_scratch_bytes
from .sweeps import turn_tasks


@dataclass(frozen=True)
class LinalgToLoops(Pass):
    """Turn the stages of every kernel function into loops for a target (its name, or "native")."""

    name: ClassVar[str] = "linalg-to-loops"
    takes: ClassVar[str] = "buffered"
    gives: ClassVar[str] = "loops"

    target: str = "native"

    def run(self, module: ModuleOp, done: Callable[[func.FuncOp], object] | None = None) -> int:
        """Lowers the functions in place; returns how many had stages. done: is given each as soon as it is loops, in order."""
        machine, changes = target_named(self.target), 0
        for function in module.body.block.ops:
            if not isinstance(function, func.FuncOp):
                continue
            if has_stages(function):
                lower_kernel(function, machine)
                changes += 1
            if done is not None:
                done(function)
        return changes


def has_stages(function: func.FuncOp) -> bool:
    """Whether the function still holds linalg ops."""
    return not function.is_declaration and any(isinstance(op, GenericOp | FillOp) for op in function.body.block.ops)


def lower_kernel(function: func.FuncOp, target: Target) -> None:
    """One kernel function to loops."""
    target = target_for(function, target)
    taken = contraction.scratch_bytes(function, target)
    contraction.lower_contraction(function, target)
    if has_stages(function):
        lower_nest(function, target, taken)
    mark_divisions(function, target)
    turn_tasks(function)


def plan_kernel(function: func.FuncOp, target: Target, known: Mapping[str, Decision]) -> None:
    """Writes the plan of a kernel's contraction on its function (`lamina.plan`), unless it is there. known: plans by problem."""
    if PLAN not in function.attributes and has_stages(function):
        contraction_schedule.settle(function, target_for(function, target), known)


def scratch_bytes(function: func.FuncOp, target: Target) -> int:
    """Bytes of scratch memory a kernel function needs as its last argument to be lowered (0: none)."""
    if not has_stages(function):
        return 0
    target = target_for(function, target)
    scheduled = contraction_schedule.schedule(function, target)
    if scheduled is None:
        return nest_scratch_bytes(function, target)
    taken = scheduled.contraction.consumed
    return nest_scratch_bytes(function, target, scheduled.scratch_bytes, taken)


def target_for(function: func.FuncOp, target: Target) -> Target:
    """The target; as if it had one thread for a function that is called for blocks which threads share (`lamina.serial`)."""
    return replace(target, tasks=1, parallel_work=1 << 62) if "lamina.serial" in function.attributes else target
