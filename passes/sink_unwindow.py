"""Sink unwindow: elementwise work on windows that were put side by side is done window by window, and its results are put there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue, Use

from ..dialects.ops import BookOp, XdslBuilder, attrs_of, stanza_of, type_of
from ..dialects.types import bool_
from .base import Pass
from .placement import only_moves
from .program import origin_of, program_blocks


@dataclass(frozen=True)
class SinkUnwindow(Pass):
    """Do elementwise work and sums on windows, not on what an unwindow makes of them, where windows are all there is, side by side.

    before  %1 = prim.unwindow %w {to = [4], size = [2], stride = [2], dilation = [1]}
            %2 = prim.mul %1, %x
            %3 = prim.sum %2 {axes = [0]}
            %4 = prim.neg %3
    after   %1 = prim.unwindow %w {to = [4], size = [2], stride = [2], dilation = [1]}
            %2 = prim.window %x {size = [2], stride = [2], dilation = [1]}
            %3 = prim.mul %w, %2
            %4 = prim.mul %1, %x
            %5 = prim.sum %3 {axes = [0, 1]}
            %6 = prim.reshape %5 {to = [1]}
            %7 = prim.sum %4 {axes = [0]}
            %8 = prim.neg %6

    %w is [2, 2]. What nobody reads any more (%1, %4, %7) goes with the next `dce`. The gradient of a pooling is such an unwindow: of a
    few elements a tensor as large as the pooling's input is written. Who reads it can read those instead, and there is one pass over
    memory less. A value that others read, too (a convolution, the program's end), is where it ends: there the windows are put
    side by side.
    """

    name = "sink-unwindow"
    takes = "primitive"

    def run(self, module: ModuleOp) -> int:
        """Number of unwindows that nobody reads any more."""
        return sum(_sink_all(block) for block in program_blocks(module))


def _sink_all(block: Block) -> int:
    count = 0
    op = block.first_op
    while op is not None:
        after = op.next_op
        if isinstance(op, BookOp) and op.op_name == "unwindow" and only_moves(op):
            sinking = _Sinking(op)
            if not sinking.ends_at(op.results[0]):
                sinking.run()
                count += 1
        op = after
    return count


class _Sinking:
    """One unwindow on its way down. moved: value -> the same elements window by window."""

    def __init__(self, op: BookOp) -> None:
        self.op = op
        self.to, *self.windows = attrs_of(op)
        rank = len(type_of(op.results[0])[0])
        self.axes = range(rank - len(self.to), rank)
        self.moved: dict[SSAValue, SSAValue] = {op.results[0]: op.operands[0]}
        self.read: dict[SSAValue, SSAValue] = {}
        self.truths: dict[SSAValue, bool] = {}

    def ends_at(self, value: SSAValue) -> bool:
        """Whether something reads the value that cannot do so window by window."""
        return any(not self._follows(use) for use in value.uses)

    def _follows(self, use: Use) -> bool:
        op = use.operation
        if not isinstance(op, BookOp) or op.parent is not self.op.parent:
            return False
        if self._is_window(op):
            return True
        family = stanza_of(op).family
        if family == "each":  # truth values cannot be put together: who reads them has to follow
            return type_of(op.results[0])[1] is not bool_ or not self._truths_end(op.results[0])
        return family == "fold" and set(self.axes) <= set(attrs_of(op)[0])

    def _truths_end(self, value: SSAValue) -> bool:
        if value not in self.truths:
            self.truths[value] = self.ends_at(value)
        return self.truths[value]

    def _is_window(self, op: BookOp) -> bool:
        """Whether it reads windows as the unwindow wrote them."""
        return op.op_name == "window" and list(attrs_of(op)) == self.windows

    def run(self) -> None:
        for op in list(self._behind()):
            values = [self.moved.get(v) for v in op.operands]
            if not any(values):
                continue
            build = XdslBuilder(op, origin_of(op))
            result = op.results[0]
            if self._is_window(op):
                result.replace_all_uses_with(self.moved[op.operands[0]])
                continue
            if stanza_of(op).family == "fold":
                folded = build(op.op_name, (self.moved[op.operands[0]],), self._all_axes(op))[0]
                result.replace_all_uses_with(build("reshape", (folded,), (type_of(result)[0],))[0])
                continue
            operands = tuple(v or self._windows_of(build, w) for v, w in zip(values, op.operands, strict=True))
            made = build(op.op_name, operands, attrs_of(op))[0]
            if self.ends_at(result):
                result.replace_all_uses_with(build("unwindow", (made,), (self.to, *self.windows))[0])
            else:
                self.moved[result] = made

    def _behind(self) -> Iterator[BookOp]:
        op = self.op.next_op
        while op is not None:
            if isinstance(op, BookOp) and (stanza_of(op).family in ("each", "fold") or self._is_window(op)):
                yield op
            op = op.next_op

    def _all_axes(self, op: BookOp) -> tuple:
        axes, *others = attrs_of(op)
        first = self.axes.stop
        return ((*axes, *range(first, first + len(self.to))), *others)

    def _windows_of(self, build: XdslBuilder, value: SSAValue) -> SSAValue:
        """An operand of the same shape, window by window: constants as they are, the others through the views that max pooling has."""
        maker = value.owner
        if isinstance(maker, BookOp) and maker.op_name == "full":
            _, number, dtype = attrs_of(maker)
            return build("full", (), (type_of(self.op.operands[0])[0], number, dtype))[0]
        if isinstance(maker, BookOp) and maker.op_name == "unwindow" and attrs_of(maker) == attrs_of(self.op):
            return maker.operands[0]
        if value not in self.read:
            self.read[value] = build("window", (value,), tuple(self.windows))[0]
        return self.read[value]
