"""Gaps behind rows: on a GPU rows of a product's operand start at multiples of 16 bytes, as copies of whole runs want it.

    8192 x 50257 of bf16, read by a product      memref<8192x50257xbf16, strided<[50264, 1]>>

Only what a kernel makes and kernels alone read can have gaps; what they hold nobody reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import f32
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import SSAValue

from ..dialects.kernel import FusedOp
from ..dialects.target import GpuTarget
from .contraction_body import product_of
from .memref_layout import element_bytes, strides_in_order

RUN_BYTES = 16
SHORTEST = 64
"""Elements of a row below which gaps would be a large part of the memory."""


def strides_with_gaps(value: SSAValue, order: Sequence[int], target: GpuTarget) -> tuple[int, ...]:
    """Strides of a kernel's result whose dims lie in memory in `order`: dense ones, unless a product wants gaps."""
    sizes, element = value.type.get_shape(), value.type.element_type  # type: ignore[attr-defined]  # a tensor
    dense = strides_in_order(sizes, order)
    length = sizes[order[-1]] if order else 1
    run = RUN_BYTES // element_bytes(element)
    in_runs = run > RUN_BYTES // 4 or element == f32 and target.f32 != "ieee"  # what threads multiply is fetched one by one
    if not in_runs or length < SHORTEST or length % run == 0 or not _is_read_by_products(value):
        return dense
    wide = [(-(-n // run) * run if d == order[-1] else n) for d, n in enumerate(sizes)]
    return strides_in_order(wide, order)


def _is_read_by_products(value: SSAValue) -> bool:
    """Whether kernels alone read a value, next to where it is made, and one of them multiplies."""
    readers = [use.operation for use in value.uses]
    block = value.owner.parent  # type: ignore[union-attr]  # made by a kernel
    if any(not isinstance(op, FusedOp) or op.parent is not block for op in readers):
        return False
    return any(isinstance(stage, GenericOp) and product_of(stage) is not None for op in readers for stage in op.body.block.ops)
