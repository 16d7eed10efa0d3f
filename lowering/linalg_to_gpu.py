"""buffered level to gpu level: every kernel becomes one launch or several, functions of one thread with a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from ..dialects.errors import PassError
from ..dialects.target import GPU_TARGETS, GpuTarget, gpu_target_named
from ..passes.base import Pass
from .alike_kernels import PARTS
from .contraction_match import Contraction, match_contraction
from .gpu_calls import alignments
from .gpu_chain import chain_launches, match_chain
from .gpu_contraction import contraction_launches
from .gpu_contraction_plan import Tiling, Way, is_of_a_vector, plan_contraction
from .gpu_loops import loop_launches
from .gpu_nest import GroupLaunch, rows_in_scratch
from .gpu_parts import parts_launch
from .gpu_teams import LARGEST_ROW, fold_cuts
from .linalg_to_loops import has_stages
from .memory_plan import aligned
from .nest_plan import KernelPlan, plan_loops
from .nest_rewrites import rewrite_stages
from .nest_stages import read_kernel


@dataclass(frozen=True)
class LinalgToGpu(Pass):
    """Turn every kernel function into launches for an NVIDIA architecture; @main calls them in order.

    A launch is a private function with the kernel's arguments and the attributes `nv.grid` (blocks along x, y, z),
    `nv.block` (threads) and `nv.shared_bytes`; its body is what one thread does.
    """

    name: ClassVar[str] = "linalg-to-gpu"
    takes: ClassVar[str] = "buffered"
    gives: ClassVar[str] = "gpu"

    target: str = "sm_90a"

    def run(self, module: ModuleOp) -> int:
        """Rewrites the module; returns the number of launch functions. PassError for an unknown architecture."""
        machine = gpu_target(self.target)
        top = module.body.block
        made: dict[str, list[str]] = {}
        functions = {op.sym_name.data: op for op in top.ops if isinstance(op, func.FuncOp)}
        main = functions.pop("main", None)
        aligned = alignments(main) if main is not None else {}
        for op in functions.values():
            access = min(machine.access_bytes, aligned.get(op.sym_name.data, machine.access_bytes))
            launches = lower_kernel(op, replace(machine, access_bytes=access))
            for launch in launches:
                top.insert_op_before(launch, op)
            made[op.sym_name.data] = [launch.sym_name.data for launch in launches]
            op.detach()
            op.erase()
        if main is not None:
            _call_launches(main, made)
        return sum(len(names) for names in made.values())


def gpu_target(name: str) -> GpuTarget:
    """The architecture called that. PassError for an unknown one."""
    try:
        return gpu_target_named(name)
    except KeyError:
        known = f"{', '.join(GPU_TARGETS)}; with _p114 behind for a GPU of 114 processors, from sm_80 on with _tf32 or _3xtf32 behind that"
        raise PassError(f"no GPU architecture is called {name!r}", help=f"known: {known}") from None


def _call_launches(main: func.FuncOp, made: dict[str, list[str]]) -> None:
    for op in [op for op in main.walk() if isinstance(op, func.CallOp)]:
        block = op.parent
        assert block is not None
        for name in made[op.callee.string_value()]:
            call = func.CallOp(name, op.arguments, [])
            call.attributes.update(op.attributes)
            block.insert_op_before(call, op)
        op.detach()
        op.erase()


def lower_kernel(function: func.FuncOp, target: GpuTarget) -> list[func.FuncOp]:
    """The launches of one buffered kernel function, in order."""
    name = function.sym_name.data
    if not has_stages(function):
        return loop_launches(function, name)
    if PARTS in function.attributes:
        return [parts_launch(function, name, target)]
    chain = match_chain(function, target)
    if chain is not None:
        return _alone(function, chain_launches(function, name, chain, target))
    planned = _planned(function, target)
    pieces: list[list[func.FuncOp]] = []
    made = _Names(name)
    for segment in sorted({*planned.plan.kernel.others, *(g.segment for g in planned.plan.groups)}):
        for op in planned.plan.kernel.others.get(segment, ()):
            pieces.append(_other(op, function, planned, made))
        rows_from = planned.rows_from
        for group in planned.plan.groups:
            if group.segment == segment:
                writer = GroupLaunch(function, made.next(), planned.plan, group, target, rows_from)
                pieces.append([writer.write()])
    return _alone(function, [launch for piece in pieces for launch in piece])


def _alone(function: func.FuncOp, launches: list[func.FuncOp]) -> list[func.FuncOp]:
    """The launches; an only one is called what the kernel is."""
    if len(launches) == 1:
        launches[0].properties["sym_name"] = function.sym_name
    return launches


def gpu_scratch_bytes(function: func.FuncOp, target: GpuTarget) -> int:
    """Bytes of scratch memory a kernel function needs as its last argument (0: none)."""
    if not has_stages(function) or PARTS in function.attributes:
        return 0
    chain = match_chain(function, target)
    if chain is not None:
        return chain.scratch_bytes
    plans = [_planned(function, target)]
    if plans[0].tiling is not None and plans[0].tiling.way is not Way.FMA:
        plans.append(_planned(function, replace(target, access_bytes=1)))  # where its arguments lie is not known yet
    return max(p.rows_from + max((rows_in_scratch(g, target) for g in p.plan.groups), default=0) for p in plans)


class _Names:
    """Names of a kernel's launches."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self.count = 0

    def next(self) -> str:
        self.count += 1
        return f"{self.kernel}_{self.count - 1}"


@dataclass(slots=True)
class _Planned:
    """tiling: of the kernel's contraction, with the ops it replaces; rows_from: where scratch is free for row buffers."""

    plan: KernelPlan
    tiling: Tiling | None
    taken: Sequence[Operation]
    rows_from: int


def _planned(function: func.FuncOp, target: GpuTarget) -> _Planned:
    found = match_contraction(function)
    if found is not None and (_is_fold(found) or is_of_a_vector(found)):
        found = None
    tiling = plan_contraction(found, target) if found is not None else None
    taken = found.consumed if found is not None else ()
    kernel = read_kernel(function, taken)
    rewrite_stages(kernel, target, fold_cuts)
    taken_bytes = tiling.partial_bytes if tiling is not None else 0
    plan = plan_loops(kernel, taken_bytes, LARGEST_ROW)
    needs_scratch = plan.scratch_bytes > aligned(taken_bytes)
    return _Planned(plan, tiling, taken, plan.scratch_bytes if needs_scratch else aligned(taken_bytes))


def _is_fold(found: Contraction) -> bool:
    """Whether rows of both operands are multiplied and summed: a tile would be one number."""
    return bool(found.parallel) and all(found.left.access.strides[d] and found.right.access.strides[d] for d in found.parallel)


def _is_consumed(op: Operation, taken: Sequence[Operation]) -> bool:
    """Whether the op is memory that only the contraction touches: its sums are in registers."""
    return isinstance(op, memref.AllocaOp) and all(use.operation in taken for use in op.results[0].uses)


def _other(op: Operation, function: func.FuncOp, planned: _Planned, made: _Names) -> list[func.FuncOp]:
    if planned.tiling is not None and op is planned.taken[-1]:
        return contraction_launches(function, made.next(), planned.tiling)
    if isinstance(op, arith.ConstantOp) or _is_consumed(op, planned.taken):
        return []
    raise PassError(f"{op.name} has no place at the gpu level", [("kernel", function.sym_name.data, "")])
