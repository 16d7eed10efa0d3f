"""How much arithmetic the stages and leaves of a nest are: operations of their bodies, heavy ones counted several times."""

from __future__ import annotations

from xdsl.ir import Block

from .nest_plan import LeafPlan
from .nest_stages import Stage

HEAVY = 12
"""Scalar operations one math.* call is worth."""


def leaf_operations(leaf: LeafPlan) -> int:
    """Operations of all bodies of a leaf at one point."""
    return sum(body_operations(plan.stage) for plan in leaf.stages)


def body_operations(stage: Stage) -> int:
    """Operations of the body."""
    if stage.block is None:
        return 1
    if stage.operations < 0:
        stage.operations = _count_operations(stage.block)
    return stage.operations


def _count_operations(block: Block) -> int:
    count = 0
    for op in block.ops:
        if op.name.startswith("math."):
            count += HEAVY
        elif op.name in ("arith.divf", "arith.remf", "memref.load"):
            count += 4
        elif not op.name.startswith(("linalg.", "arith.constant")):
            count += 1
    return count
