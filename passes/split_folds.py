"""Folds of much into little become two: chunks that threads can share, then the chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from ..dialects.ops import XdslBuilder, attrs_of, stanza_of
from ..dialects.types import Shape, size_of
from .access import FOLD, fold_of_rows, role_of, shape_of
from .base import Pass
from .program import main_block, origin_of


@dataclass(frozen=True)
class SplitFolds(Pass):
    """Split a fold of many elements into few results, so that its parts can run side by side.

    The number of chunks is a divisor of an axis and does not depend on the machine: neither do the results.

    before  %y = prim.sum %x {axes = [0, 2]} : (tensor<64x16x784xf32>) -> tensor<1x16x1xf32>
    after   %1 = prim.reshape %x {to = [16, 4, 16, 784]} : (tensor<64x16x784xf32>) -> tensor<16x4x16x784xf32>
            %2 = prim.sum %1 {axes = [1, 3]} : (tensor<16x4x16x784xf32>) -> tensor<16x1x16x1xf32>
            %3 = prim.sum %2 {axes = [0]} : (tensor<16x1x16x1xf32>) -> tensor<1x1x16x1xf32>
            %y = prim.reshape %3 {to = [1, 16, 1]} : (tensor<1x1x16x1xf32>) -> tensor<1x16x1xf32>
    """

    name: ClassVar[str] = "split-folds"
    takes: ClassVar[str] = "primitive"

    least: int = 1 << 16
    """Folds of fewer elements stay whole."""
    most: int = 512
    """Folds with more results than this have enough of them to share."""
    chunks: int = 16
    """At most so many chunks."""

    def run(self, module: ModuleOp) -> int:
        return sum(self._split(op) for op in list(main_block(module).ops))

    def _split(self, op: Operation) -> bool:
        if role_of(op) != FOLD or len(op.operands) != 1 or fold_of_rows(op) is not None:
            return False
        shape, (axes,) = shape_of(op.operands[0]), attrs_of(op)  # type: ignore[arg-type]  # a book op
        if size_of(shape) < self.least or size_of(shape_of(op.results[0])) > self.most:
            return False
        found = self._axis(shape, axes)
        if found is None:
            return False
        new = _in_two(op, *found)
        op.results[0].replace_all_uses_with(new)
        op.detach()
        op.erase()
        return True

    def _axis(self, shape: Shape, axes: tuple[int, ...]) -> tuple[int, int] | None:
        """The outermost folded axis that has a fair divisor, and the number of chunks."""
        for axis in axes:
            count = max((k for k in range(2, self.chunks + 1) if shape[axis] % k == 0), default=0)
            if 2 * count > self.chunks // 2:
                return axis, count
        return None


def _in_two(op: Operation, axis: int, count: int) -> SSAValue:
    """The fold over chunks of an axis, then over the chunks; of the old result's shape."""
    (x,), (axes,) = op.operands, attrs_of(op)  # type: ignore[arg-type]  # a book op
    shape, fold = shape_of(x), stanza_of(op).name
    build = XdslBuilder(op, origin_of(op))
    apart = (*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
    (parts,) = build("reshape", (x,), (apart,))
    (partial,) = build(fold, (parts,), (tuple(a + (a >= axis) for a in axes),))
    (whole,) = build(fold, (partial,), ((axis,),))
    return build("reshape", (whole,), (shape_of(op.results[0]),))[0]
