"""A chain as launches: one per sweep, on warpgroups, on warps or by threads."""

from __future__ import annotations

from xdsl.dialects import func

from ..dialects.target import GpuTarget
from .chain_reader import read_chain
from .gpu_chain_groups import GroupSweepLaunch
from .gpu_chain_plan import ChainPlan, plan_chain
from .gpu_chain_shape import choose_shape
from .gpu_chain_sweep import SweepLaunch


def match_chain(function: func.FuncOp, target: GpuTarget) -> ChainPlan | None:
    """The kernel as sweeps over a chain; None when it is no chain, or the target cannot keep its tiles on chip."""
    chain = read_chain(function)
    plans = (plan_chain(chain, target, apart) for apart in (False, True)) if chain is not None else ()
    fitting = (p for p in plans if p is not None and all(choose_shape(p, sweep, target) is not None for sweep in p.sweeps))
    return next(fitting, None)


def chain_launches(function: func.FuncOp, name: str, plan: ChainPlan, target: GpuTarget) -> list[func.FuncOp]:
    """The launches of a chain, in order."""
    launches = []
    for number, sweep in enumerate(plan.sweeps):
        shape = choose_shape(plan, sweep, target)
        assert shape is not None
        kind = GroupSweepLaunch if shape.groups else SweepLaunch
        launches.append(kind(function, f"{name}_{number}", plan, sweep, shape).write())
    return launches
