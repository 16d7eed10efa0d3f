"""Compute every value once."""

from __future__ import annotations

from dataclasses import dataclass
from math import copysign

from xdsl.dialects.builtin import ModuleOp

from ..dialects.ops import BookOp, attrs_of, stanza_of
from .base import Pass
from .program import main_block


@dataclass(frozen=True)
class ComputeOnce(Pass):
    """Compute every value once: an op with the attributes and operands of an earlier one is replaced by it.

    before  %1 = prim.mul %a, %b
            %2 = prim.mul %b, %a
            %3 = prim.add %1, %2
    after   %1 = prim.mul %a, %b
            %3 = prim.add %1, %1
    """

    name = "cse"
    takes = ("differentiated", "primitive")

    def run(self, module: ModuleOp) -> int:
        """Number of ops replaced."""
        block = main_block(module)
        seen: dict[tuple[object, ...], BookOp] = {}
        count = 0
        op = block.first_op
        while op is not None:
            following = op.next_op
            if isinstance(op, BookOp):
                known = seen.setdefault(_key(op), op)
                if known is not op:
                    for old, new in zip(op.results, known.results, strict=True):
                        old.replace_all_uses_with(new)
                    block.erase_op(op)
                    count += 1
            op = following
        return count


def _key(op: BookOp) -> tuple[object, ...]:
    operands = tuple(map(id, op.operands))
    if len(operands) == 2 and operands[0] > operands[1] and stanza_of(op).commutes:
        operands = operands[::-1]
    attrs = attrs_of(op)
    if 0 in attrs:  # 0.0 == -0.0, but they are not the same constant
        attrs = tuple(
            "-0.0" if a == 0 and isinstance(a, float) and copysign(1.0, a) < 0 else a for a in attrs
        )
    return (op.name, attrs, operands)
