"""Small operands that a nest reads again and again across its vectors are turned first, so that lanes lie side by side.

    y[h, w, c] = sum x[h + i, w + j, c] * k[c, i, j]      sixteen loads of single numbers for a vector of k
    t[i, j, c] = k[c, i, j]                               once
    y[h, w, c] = sum x[h + i, w + j, c] * t[i, j, c]
"""

from __future__ import annotations

from math import prod

from xdsl.dialects.linalg.ops import YieldOp
from xdsl.ir import Block

from ..dialects.sizes import estimate
from .memref_layout import row_major
from .nest_stages import Access, Buffer, Kernel, Stage

LEAST_REUSE = 16
"""Times every element must be read: turning it costs about as much as reading it across the lanes."""


def turn_operands(kernel: Kernel) -> None:
    """Adds the stages that turn operands, in front of their segment, and lets the others read the copies."""
    turned: dict[tuple[object, ...], Buffer] = {}
    result: list[Stage] = []
    for stage in kernel.stages:
        along = _vector_dim(stage)
        for k, access in enumerate(stage.reads):
            if along is None or access is None or not _crosses(stage, access, along):
                continue
            dims = sorted((d for d, _ in access.linear()[1] if d != along), key=lambda d: d)
            order = (*dims, along)
            key = (access.buffer, stage.segment, access.dims, tuple(stage.sizes[d] for d in order), order)
            if key not in turned:
                turned[key] = _turned(kernel, stage, access, order, result)
            stage.reads[k] = Access(turned[key], tuple((0, ((d, 1),)) for d in order))
        result.append(stage)
    kernel.stages = result


def _vector_dim(stage: Stage) -> int | None:
    """The parallel loop along which the argument that most loops move in is contiguous; temporaries have no strides yet."""
    if stage.block is None:
        return None
    given = [a.linear()[1] for a in (*stage.writes, *stage.reads) if a is not None and not a.buffer.is_temporary]
    for terms in sorted(given, key=len, reverse=True):
        found = next((d for d, c in terms if c == 1 and stage.kinds[d] == "p" and stage.sizes[d] > 1), None)
        if found is not None:
            return found
    return None


def _crosses(stage: Stage, access: Access, along: int) -> bool:
    """Whether an operand nobody writes is read with a stride along the vectors, often, and at places of its own."""
    terms = dict(access.linear()[1])
    count = estimate(prod(stage.sizes[d] for d in terms))
    buffer = access.buffer
    if buffer.written or buffer.is_temporary or abs(estimate(terms.get(along, 0))) <= 1 or count > estimate(prod(buffer.sizes)):
        return False
    return estimate(stage.work) >= LEAST_REUSE * count


def _turned(kernel: Kernel, stage: Stage, access: Access, order: tuple[int, ...], result: list[Stage]) -> Buffer:
    """A temporary with these loops of the stage as its dims, and the stage that fills it."""
    sizes = tuple(stage.sizes[d] for d in order)
    buffer = Buffer(
        access.buffer.value, access.buffer.element, sizes, row_major(sizes), True, len(kernel.buffers), written=True,
        settled=True,
    )  # fmt: skip
    kernel.buffers.append(buffer)
    place = {d: k for k, d in enumerate(order)}
    block = Block(arg_types=[buffer.element, buffer.element])
    block.add_op(YieldOp(block.args[0]))
    copy = Stage(
        sizes, ["p"] * len(sizes),
        [Access(access.buffer, tuple((c, tuple((place[d], n) for d, n in terms)) for c, terms in access.dims))],
        [Access(buffer, tuple((0, ((k, 1),)) for k in range(len(order))))], block, uses_out=[False], combiners=[None],
        starts=[None], origin=stage.origin, segment=stage.segment, alone=True,
    )  # fmt: skip
    first = next((k for k, s in enumerate(result) if s.segment == stage.segment), len(result))
    (result[first] if first < len(result) else stage).alone = True
    result.insert(first, copy)
    return buffer
