"""Gaps between planes: what a kernel touches side by side does not meet in few sets of the caches.

    36 planes of 1024 x 32, a number of each read for a result      memref<36x1024x32xf32, strided<[32784, 32, 1]>>

A cache finds a line's set by the lower bits of its address. Planes that are whole pages apart have the same ones, and more of them than a set has ways push each other out
before the neighbours that came along were used. A line more between them, and they are spread over all sets. Only what kernels
alone touch can have gaps; what they hold nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xdsl.dialects import tensor
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.ir.affine import AffineConstantExpr

from ..dialects.kernel import FusedOp
from ..dialects.sizes import any_symbolic
from .memref_layout import element_bytes, strides_in_order

LINE_BYTES = 64
PAGE_BYTES = 4096
"""Lines so far apart are in the same set of a first-level cache, which has 64 of them."""
WAYS = 8


def strides_with_gaps(value: SSAValue, order: Sequence[int]) -> tuple[int, ...]:
    """Strides of a kernel's result whose dims lie in memory in `order`: dense ones, or with a line more from one of the outermost dim to the next."""
    sizes, element = value.type.get_shape(), value.type.element_type  # type: ignore[attr-defined]  # a tensor
    dense = strides_in_order(sizes, order)
    if not order or any_symbolic(sizes) or sizes[order[0]] < WAYS or dense[order[0]] * element_bytes(element) % PAGE_BYTES:
        return dense
    kernels = _kernels(value, order)
    if kernels is None or all(len(_planes(block, touched, order[0])) < WAYS for block, touched in kernels):
        return dense
    gap = LINE_BYTES // element_bytes(element)
    return tuple(step + gap if d == order[0] else step for d, step in enumerate(dense))


def reshaped(sizes: Sequence[int], strides: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...] | None:
    """Strides of a buffer with gaps between what its first dim counts, in another shape whose first dim counts the same; None where it does not."""
    if not wanted or not sizes or wanted[0] != sizes[0]:
        return None
    return strides[0], *strides_in_order(wanted, range(len(wanted)))[1:]


def _kernels(value: SSAValue, order: Sequence[int]) -> list[tuple[Block, SSAValue]] | None:
    """The bodies of the kernels that make and read a value, and what it is called there; None where others touch it."""
    maker = value.owner
    assert isinstance(maker, FusedOp)
    found = [(maker.body.block, maker.body.block.last_op.operands[list(maker.results).index(value)])]  # type: ignore[union-attr]  # a yield
    return found if _add_readers(value, order, maker.parent, found) else None


def _add_readers(value: SSAValue, order: Sequence[int], block: Block | None, found: list[tuple[Block, SSAValue]]) -> bool:
    for use in value.uses:
        op = use.operation
        if op.parent is not block:
            return False
        if op.name == "prim.reshape":
            before, after = value.type.get_shape(), op.results[0].type.get_shape()  # type: ignore[attr-defined]  # tensors
            if [*order] != [*range(len(order))] or after[:1] != before[:1]:
                return False
            if not _add_readers(op.results[0], range(len(after)), block, found):
                return False
        elif isinstance(op, FusedOp):
            found.append((op.body.block, op.body.block.args[use.index]))
        else:
            return False
    return True


def _planes(block: Block, touched: SSAValue, dim: int) -> set[int]:
    """Which planes of a value stages of a kernel reach by their number."""
    found = {int(part.static_offsets.get_values()[dim]) for part in _boxes(touched)}
    for stage in block.ops:
        if isinstance(stage, GenericOp):
            for operand, mapped in zip(stage.operands, stage.indexing_maps.data, strict=True):
                at = mapped.data.results[dim] if operand is touched else None
                if isinstance(at, AffineConstantExpr):
                    found.add(at.value)
    return found


def _boxes(value: SSAValue) -> Iterator[tensor.InsertSliceOp]:
    """Where boxes of a value were put, the last first."""
    while isinstance(value.owner, Operation) and isinstance(value.owner, tensor.InsertSliceOp):
        yield value.owner
        value = value.owner.dest
