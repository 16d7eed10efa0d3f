"""Zero margins: an operand that was padded with zeros says so on the kernel that reads it, and products with them are left out.

    lamina.margins = [array<i64>, array<i64: 0, 0, 1, 1, 64, 32, 7, 7>]     nothing known of %0; of %1 all but this box is zero: starts, sizes

Found at the linalg level: what a kernel yields is one slice put into a tensor filled with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xdsl.dialects import arith, func, tensor
from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, FloatAttr, IntegerAttr
from xdsl.dialects.linalg.ops import FillOp, GenericOp
from xdsl.ir import Block, SSAValue

from ..dialects.attributes import integers
from ..dialects.kernel import FusedOp
from .contraction_body import product_of

MARGINS = "lamina.margins"


class Box(NamedTuple):
    """Where a tensor may be something else than zero."""

    starts: tuple[int, ...]
    sizes: tuple[int, ...]


def padded_values(block: Block) -> dict[SSAValue, Box]:
    """The kernels' results that have zero margins."""
    found: dict[SSAValue, Box] = {}
    for op in block.ops:
        if isinstance(op, FusedOp):
            yielded = op.body.block.last_op
            assert yielded is not None
            boxes = ((result, _box(value)) for result, value in zip(op.results, yielded.operands, strict=True))
            found.update((result, box) for result, box in boxes if box is not None)
    return found


def _box(value: SSAValue) -> Box | None:
    """The slice that is put into zeros to make a tensor."""
    put = value.owner
    if not isinstance(put, tensor.InsertSliceOp) or len(put.operands) > 2 or set(put.static_strides.get_values()) != {1}:
        return None
    fill = put.operands[1].owner
    number = fill.operands[0].owner if isinstance(fill, FillOp) else None
    if not isinstance(number, arith.ConstantOp) or not isinstance(number.value, FloatAttr | IntegerAttr) or number.value.value.data != 0:
        return None
    return Box(tuple(put.static_offsets.get_values()), tuple(put.static_sizes.get_values()))


def multiplies(kernel: FusedOp) -> bool:
    """Whether a kernel has a sum of products."""
    return any(isinstance(op, GenericOp) and product_of(op) is not None for op in kernel.body.block.ops)


def note(function: func.FuncOp, boxes: Sequence[Box | None]) -> None:
    """Writes on a kernel function which of its operands have zero margins; no boxes: none has."""
    if not boxes:
        return
    entries = [integers([] if box is None else [*box.starts, *box.sizes]) for box in boxes]
    function.attributes[MARGINS] = ArrayAttr(entries)


def noted(function: func.FuncOp) -> dict[SSAValue, Box]:
    """The arguments of a kernel function that have zero margins."""
    given = function.attributes.get(MARGINS)
    found: dict[SSAValue, Box] = {}
    for argument, entry in zip(function.body.block.args, given.data if isinstance(given, ArrayAttr) else (), strict=False):
        numbers = tuple(entry.get_values()) if isinstance(entry, DenseArrayBase) else ()
        if numbers:
            found[argument] = Box(numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :])
    return found
