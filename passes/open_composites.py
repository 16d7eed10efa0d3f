"""Spell composites out in primitive ops."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation

from ..dialects.ops import BookOp, XdslBuilder, attrs_of, stanza_of
from .base import Pass
from .program import origin_of, program_blocks


@dataclass(frozen=True)
class OpenComposites(Pass):
    """Spell composites (family `is`, the nn dialect) out in primitive ops.

    before  %1 = nn.silu %x
    after   %1 = prim.sigmoid %x
            %2 = prim.mul %x, %1

    keep: names of composites to leave as they are.
    """

    name = "open-composites"
    takes = "differentiated"
    gives = "primitive"

    keep: tuple[str, ...] = ()

    def run(self, module: ModuleOp) -> int:
        """Number of composites opened (those inside others count too)."""
        return sum(self.open_block(block) for block in program_blocks(module))

    def open_block(self, block: Block) -> int:
        """Number of composites of a block opened."""
        count = 0
        op = block.first_op
        while op is not None:
            if (
                isinstance(op, BookOp)
                and stanza_of(op).family == "is"
                and stanza_of(op).name not in self.keep
            ):
                op = open_composite(block, op)
                count += 1
            else:
                op = op.next_op
        return count


def open_composite(block: Block, op: BookOp) -> Operation | None:
    """Replace a composite by the ops it stands for; returns the first of them (or the op after it)."""
    before = op.prev_op
    build = XdslBuilder(op, origin_of(op))
    values = stanza_of(op).open(build, tuple(op.operands), attrs_of(op))
    for old, new in zip(op.results, values, strict=True):
        old.replace_all_uses_with(new)
    block.erase_op(op)
    return block.first_op if before is None else before.next_op
