"""Remove ops whose results nobody uses."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation
from xdsl.traits import is_side_effect_free

from ..dialects.ops import BookOp, ScanOp
from .base import Pass
from .scan_region import without_unused


@dataclass(frozen=True)
class RemoveDead(Pass):
    """Remove ops whose results nobody uses, and what scans carry, stack or read for nobody.

    before  %1 = prim.exp %x
            %2 = prim.neg %x
    after   %2 = prim.neg %x
    """

    name = "dce"
    takes = ("captured", "differentiated", "primitive", "fused", "linalg")

    def run(self, module: ModuleOp) -> int:
        """Number of ops removed."""
        return sum(remove_dead(block) for region in module.regions for block in region.blocks)


def remove_dead(block: Block) -> int:
    """Remove the dead ops of a block and of the regions in it, last op first; returns how many."""
    count = 0
    op = block.last_op
    while op is not None:
        before = op.prev_op
        if is_dead(op):
            block.erase_op(op)
            count += 1
        elif isinstance(op, ScanOp):
            op, changed = without_unused(op)
            count += changed + remove_dead(op.body)
            before = op.prev_op
        elif op.regions:
            count += sum(remove_dead(inner) for region in op.regions for inner in region.blocks)
        op = before
    return count


def is_dead(op: Operation) -> bool:
    """Whether an op can go: its results are unused and it does nothing else."""
    if any(result.first_use is not None for result in op.results):
        return False
    return bool(op.results) and (isinstance(op, BookOp) or is_side_effect_free(op))
