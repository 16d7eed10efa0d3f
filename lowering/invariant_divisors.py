"""Divisions by what a loop does not change: where a body waits for the divider, an inverse and multiply-adds do some of them.

The bits are those of the division (`quotient` in c_helpers.c): what is marked means what it meant, and scalars after the last
vector are divided as ever. A processor has one divider, which a vector keeps busy for as long as twenty multiply-adds; the inverse is
made in front of the loop.
"""

from __future__ import annotations

from xdsl.dialects import arith, func, math, scf, vector
from xdsl.dialects.builtin import Float32Type, UnitAttr, VectorType
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.sizes import is_symbolic
from ..dialects.target import Target
from .c_expressions import BY_INVERSE, constant_of
from .liveness import ops_within
from .nest_work import HEAVY

QUOTIENT_COST = 7.0
"""Multiply-adds that a marked division and the check of its result take the time of."""
LEAST_TURNS = 4
"""Of a loop, before it is worth an inverse."""
SAFE = 2.0**-20, 2.0**40
"""Divisors that are not divided by after all (as `inverse` in c_helpers.c has it)."""


def mark_divisions(function: func.FuncOp, target: Target) -> None:
    """Marks divisions of a loops-level function (`lamina.by_inverse`), in each body as many as take work from its longest queue."""
    if not target.division_cost:
        return
    found: dict[Block, list[arith.DivfOp]] = {}
    for op in ops_within(function):
        if type(op) is arith.DivfOp and _is_wide(op, target) and _stays(op):
            block = op.parent
            assert block is not None
            found.setdefault(block, []).append(op)
    for block, divisions in found.items():
        _balance(block, divisions, target)


def _balance(block: Block, divisions: list[arith.DivfOp], target: Target) -> None:
    divider, others = 0.0, 0.0
    for op in block.ops:
        if isinstance(op, arith.DivfOp | math.SqrtOp):
            divider += target.division_cost
        elif isinstance(op, math.RsqrtOp):
            divider += 2 * target.division_cost
        elif op.results and isinstance(op.results[0].type, VectorType) and not isinstance(op, (vector.LoadOp, vector.MaskedLoadOp)):
            others += HEAVY if op.name.startswith("math.") else 1
    for op in divisions:
        less, more = divider - target.division_cost, others + QUOTIENT_COST
        if max(less, more) >= max(divider, others):
            return
        op.attributes[BY_INVERSE] = UnitAttr()
        divider, others = less, more


def _is_wide(op: arith.DivfOp, target: Target) -> bool:
    """Whether it divides whole registers of f32."""
    held = op.results[0].type
    return isinstance(held, VectorType) and isinstance(held.element_type, Float32Type) and 4 * held.get_shape()[0] == target.vector_bytes


def _stays(op: arith.DivfOp) -> bool:
    """Whether the divisor is made outside of the loop that the division is in, and could be one with an inverse."""
    loop, divisor = op.parent_op(), op.operands[1]
    if not isinstance(loop, scf.ForOp) or _block_of(divisor) is op.parent:
        return False
    low, high, step = (constant_of(bound) for bound in (loop.lb, loop.ub, loop.step))
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int) and high - low < LEAST_TURNS * step:
        return False
    source = divisor.owner.operands[0] if isinstance(divisor.owner, vector.BroadcastOp) else divisor
    number = constant_of(source)
    return number is None or is_symbolic(number) or SAFE[0] <= float(number) <= SAFE[1]


def _block_of(value: SSAValue) -> Block | None:
    return value.owner.parent if isinstance(value.owner, Operation) else value.owner
