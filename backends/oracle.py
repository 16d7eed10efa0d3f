"""The oracle: what a module means, computed with numpy, at every tensor level (captured to linalg)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import ReturnOp
from xdsl.dialects.linalg import ops as linalg
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.autodiff import GradOp, SavedOp
from ..dialects.book.scan import run_steps
from ..dialects.errors import DTypeError, ShapeError, UnsupportedError
from ..dialects.kernel import FusedOp, YieldOp
from ..dialects.ops import BookOp, ScanOp, ScanYieldOp, attrs_of, stanza_of, type_of
from ..dialects.types import show_type
from ..passes.program import main_block, origin_text
from .oracle_gradients import Done, evaluate_grad
from .oracle_linalg import Generic, evaluate_tensor_op
from .oracle_scalars import evaluate_scalar

Env = dict[SSAValue, np.ndarray]
Observe = Callable[[Operation, Env], None]


def evaluate(
    module: ModuleOp, arrays: Sequence[np.ndarray], observe: Observe | None = None
) -> list[np.ndarray]:
    """The outputs of `@main` for these inputs.

    arrays: one per argument, of its shape and dtype (ShapeError, DTypeError). observe(op, values) is called
    after every op of `@main`. UnsupportedError names an op that has no meaning here (it belongs to a lower
    level).
    """
    block = main_block(module)
    env = bind_arguments(block, arrays)
    return run_block(block, env, observe)


def bind_arguments(block: Block, arrays: Sequence[np.ndarray]) -> Env:
    """Arguments and their values; ShapeError or DTypeError where they do not fit."""
    if len(arrays) != len(block.args):
        raise ShapeError(f"the program takes {len(block.args)} inputs, got {len(arrays)}")
    env: Env = {}
    for i, (arg, array) in enumerate(zip(block.args, arrays, strict=True)):
        shape, dtype = type_of(arg)
        if array.shape != shape:
            raise ShapeError(
                f"input {i} has shape {list(array.shape)}", [("expected", show_type((shape, dtype)), "")]
            )
        if array.dtype != dtype.numpy:
            raise DTypeError(f"input {i} holds {array.dtype}", [("expected", show_type((shape, dtype)), "")])
        env[arg] = array
    return env


def run_block(block: Block, env: Env, observe: Observe | None = None) -> list[np.ndarray]:
    """Evaluate ops in order; returns the operands of the terminator."""
    for op in block.ops:
        if isinstance(op, ReturnOp | YieldOp | ScanYieldOp):
            return [env[value] for value in op.operands]
        results = evaluate_op(op, env)
        env.update(zip(op.results, results, strict=True))
        if observe is not None:
            observe(op, env)
    raise UnsupportedError("a block without return or yield has no value")


def evaluate_op(op: Operation, env: Env) -> Sequence[np.ndarray]:
    """The results of one op."""
    operands = [env[value] for value in op.operands]
    if isinstance(op, ScanOp):
        inner = op.body
        stacked = [type_of(r) for r in op.results[op.counts.carried :]]
        return run_steps(lambda values: run_block(inner, dict(zip(inner.args, values, strict=True))), operands, op.counts, stacked)
    if isinstance(op, BookOp):
        return stanza_of(op).evaluate(operands, attrs_of(op))
    if isinstance(op, FusedOp):
        inner = op.body.block
        return run_block(inner, dict(zip(inner.args, operands, strict=True)))
    if isinstance(op, linalg.GenericOp):
        return Generic(op, env).run()
    if isinstance(op, SavedOp):
        return [operands[1]]
    if isinstance(op, GradOp):
        return evaluate_grad(op.operands, _before(op), env)
    value = evaluate_tensor_op(op, operands)
    if value is None:
        value = evaluate_scalar(op, operands)
    if value is None:
        raise UnsupportedError(
            f"the oracle has no meaning for {op.name}", help="it reads the levels captured to linalg"
        )
    return [value]


def _before(grad: GradOp) -> Iterator[Done[SSAValue]]:
    """The steps in front of a gradient, last first."""
    op = grad.prev_op
    while op is not None:
        name, attrs = (op.op_name, attrs_of(op)) if isinstance(op, BookOp) else (op.name, ())
        yield Done(name, attrs, op.operands, op.results, origin_text(op))
        op = op.prev_op
