"""Simplify: the rewrite rules of `*.rules` applied to a fixed point."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp

from ..dialects import flags
from .base import Changes, Pass
from .program import program_blocks
from .rule_language import Rule
from .rules import algebra, apply_rules


@dataclass(frozen=True)
class Simplify(Pass):
    """Apply the algebra of `algebra.rules` until no rule fits.

    before  %1 = prim.neg %x
            %2 = prim.neg %1
            %3 = prim.add %2, %y
    after   %3 = prim.add %x, %y

    Every rule lowers the cost published in `order.py`, so this ends.

    fast: also apply the rules written with `~>`, which may change rounding (LAMINA_FAST=1 does the same).
    """

    name = "simplify"
    takes = ("differentiated", "primitive")

    fast: bool = False

    def run(self, module: ModuleOp) -> int:
        """Number of rules applied; the details say which."""
        rules = tuple(r for r in algebra() if r.exact or self.fast or flags.fast.value)
        fired: Counter[Rule] = Counter()
        for block in program_blocks(module):
            fired += apply_rules(block, rules)
        lines = [
            f"{rule.name} x{fired[rule]}, {rule.origin.rpartition('/')[2]}" for rule in rules if fired[rule]
        ]
        return Changes(fired.total(), lines)
