"""Where the program is in a module (the body of `@main`, the bodies of scans in it), and where its ops come from."""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.dialects.builtin import DenseArrayBase, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.errors import PassError
from ..dialects.ops import ScanOp

BOUND = "lamina.bound"
"""Module attribute: inputs of `@main` that are the same in every call (weights of a program made ahead of time)."""


def bound_inputs(module: ModuleOp) -> frozenset[int] | None:
    """The numbers of those; None where nothing is said."""
    numbers = module.attributes.get(BOUND)
    return frozenset(numbers.get_values()) if isinstance(numbers, DenseArrayBase) else None


def main_function(module: ModuleOp) -> FuncOp:
    """The function `@main`. PassError when the module has none."""
    for op in module.body.block.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            return op
    raise PassError(
        "the module has no @main function", help="a program is a func.func @main in a builtin.module"
    )


def main_block(module: ModuleOp) -> Block:
    """The body of `@main`: straight-line code at every tensor level."""
    return main_function(module).body.block


def program_blocks(module: ModuleOp) -> list[Block]:
    """Every block of straight-line code of a tensor-level program: bodies of scans, inner ones first, then `@main`'s."""
    found: list[Block] = []

    def visit(block: Block) -> None:
        for op in block.ops:
            if isinstance(op, ScanOp):
                visit(op.body)
        found.append(block)

    visit(main_block(module))
    return found


def before_all(values: Iterable[SSAValue], end: Operation) -> Operation | None:
    """The op before the first of those that define the values, going back from `end`; None for the start of the block,
    which it also is where a value is an argument."""
    owners = {value.owner for value in values}
    if any(isinstance(owner, Block) for owner in owners):
        return None
    op = end.prev_op
    while op is not None and owners:
        owners.discard(op)
        op = op.prev_op
    return op


def origin_of(op: Operation) -> StringAttr | None:
    """The user's line an op comes from, as the attribute to hand on to new ops; None where it is unknown."""
    found = op.attributes.get("origin")
    return found if isinstance(found, StringAttr) else None


def origin_text(op: Operation) -> str | None:
    """The user's line an op comes from: "train.py:12"."""
    found = origin_of(op)
    return found.data if found is not None else None
