"""Roll: turns of a loop that were recorded one after the other become one scan."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp

from ..dialects import autodiff  # noqa: F401  # its ops are steps of graphs
from ..dialects.ops import append_graph, graph_of
from .base import Pass
from .program import main_block
from .roll_graph import rolled


@dataclass(frozen=True)
class Roll(Pass):
    """Make one scan of equal turns: what a Python loop recorded step by step.

    Turns are equal when their ops are, and every operand is made in the turn, carried from an earlier one, the same for all, or a
    slice that moves by the same distance. What is read of single turns behind the loop is a row of a stack, rows that are
    concatenated are the stack itself. The driver does the same to a recorded graph, where small inputs that differ from turn to turn
    and outputs of single turns are rows of arrays as well (`rolled`).
    """

    name = "roll"
    takes = "captured"

    def run(self, module: ModuleOp) -> int:
        """Number of steps saved."""
        block = main_block(module)
        before = graph_of(block)
        after = rolled(before, rows=False).graph
        if after is before:
            return 0
        for op in reversed(list(block.ops)):
            block.erase_op(op)
        values = append_graph(block, after)
        block.add_op(ReturnOp(*[values[i] for i in after.outputs]))
        return len(before.steps) - len(after.steps)
