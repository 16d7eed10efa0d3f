"""Kernels that are loops already (irregular ops) as launches: what threads may share becomes threads, the rest is one thread."""

from __future__ import annotations

from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Block, Operation, SSAValue

from .gpu_launch import LaunchBuilder

THREADS = 64
"""Of a block: iterations are long and few."""


def loop_launches(function: func.FuncOp, name: str) -> list[func.FuncOp]:
    """One launch for every `scf.parallel` of a kernel function, one of a single thread for what stands between them."""
    pieces: list[list[Operation]] = []
    for op in function.body.block.ops:
        if op.regions and isinstance(op, scf.ParallelOp):
            pieces.append([op])
        elif not isinstance(op, func.ReturnOp) and (op.regions or not op.results):
            if not pieces or isinstance(pieces[-1][0], scf.ParallelOp):
                pieces.append([])
            pieces[-1].append(op)
    return [_launch(function, f"{name}_{k}" if len(pieces) > 1 else name, piece) for k, piece in enumerate(pieces)]


def _launch(function: func.FuncOp, name: str, piece: list[Operation]) -> func.FuncOp:
    origin = function.attributes.get("origin")
    launch = LaunchBuilder(function, name, origin.data if isinstance(origin, StringAttr) else "")
    known: dict[SSAValue, SSAValue] = dict(zip(function.body.block.args, launch.args, strict=True))
    whole = piece[0] if isinstance(piece[0], scf.ParallelOp) else None
    for op in function.body.block.ops:
        if op in piece or (not op.regions and op.results):
            if op is whole:
                count = _parallel(launch, op, known)
                return launch.finish([-(-count // THREADS)], THREADS if count > 1 else 1)
            launch.b.do(op.clone(known))
    return launch.finish([1], 1)


def _parallel(launch: LaunchBuilder, loop: scf.ParallelOp, known: dict[SSAValue, SSAValue]) -> int:
    """The loop's body for the iteration that is the thread's number. Returns the number of iterations."""
    count = loop.upperBound[0].owner
    assert isinstance(count, arith.ConstantOp)
    iterations = count.value.value.data
    b = launch.b
    number = b.add(b.scaled(b.block(), THREADS), b.thread())
    known[loop.body.block.args[0]] = number
    with b.when(b.less(number, b.index(iterations))):
        _clone_into(b.blocks[-1], loop.body.block, known)
    return iterations


def _clone_into(target: Block, source: Block, known: dict[SSAValue, SSAValue]) -> None:
    for op in source.ops:
        if not isinstance(op, scf.ReduceOp):
            target.add_op(op.clone(known))


