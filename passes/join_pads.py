"""Join pads: parts that are padded to one size and added are put side by side instead."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ..dialects.ops import BookOp, XdslBuilder, attrs_of, type_of
from .base import Pass
from .program import origin_of, program_blocks


@dataclass(frozen=True)
class JoinPads(Pass):
    """Make a concat of a sum of pads with zeros whose parts do not overlap along the one axis they are padded along.

    before  %1 = prim.pad %a {low = [0, 0], high = [0, 2], interior = [0, 0], fill = 0}
            %2 = prim.pad %b {low = [0, 4], high = [0, 0], interior = [0, 0], fill = 0}
            %3 = prim.add %1, %2
    after   %3 = prim.concat %a, %b {axis = 1}

    The gradient of a value that is read in slices is such a sum.
    """

    name = "join-pads"
    takes = "primitive"

    def run(self, module: ModuleOp) -> int:
        """Number of sums replaced."""
        return sum(_join(block) for block in program_blocks(module))


def _join(block: Block) -> int:
    count = 0
    for op in reversed(list(block.ops)):
        if op.parent is block and isinstance(op, BookOp) and op.op_name == "add":  # else it was joined with another one
            count += _join_sum(block, op)
    return count


def _join_sum(block: Block, root: BookOp) -> int:
    """1 if pads among the terms of a sum became a concat."""
    if _is_term(root):
        return 0
    terms: list[SSAValue] = []
    sums: list[BookOp] = [root]
    todo = list(reversed(root.operands))
    while todo:
        value = todo.pop()
        maker = value.owner
        if isinstance(maker, BookOp) and maker.op_name == "add" and value.has_one_use():
            sums.append(maker)
            todo.extend(reversed(maker.operands))
        else:
            terms.append(value)
    pads = _side_by_side(terms)
    if pads is None:
        return 0
    axis, parts = pads
    build = XdslBuilder(root, origin_of(root))
    total = _concat(build, axis, parts, type_of(root.results[0]))
    for value in terms:
        if all(value is not part for _, part in parts):
            (total,) = build("add", (total, value), ())
    root.results[0].replace_all_uses_with(total)
    for op in (*sums, *(part.owner for _, part in parts)):
        if not op.results[0].first_use:
            block.erase_op(op)
    return 1


def _is_term(op: BookOp) -> bool:
    """Whether a sum is only a term of another one, which is looked at instead."""
    users = [use.operation for use in op.results[0].uses]
    return len(users) == 1 and isinstance(users[0], BookOp) and users[0].op_name == "add"


def _side_by_side(terms: list[SSAValue]) -> tuple[int, list[tuple[int, SSAValue]]] | None:
    """An axis, and at least two pads along it that do not overlap, each with the place where its part begins."""
    by_axis: dict[int, list[tuple[int, SSAValue]]] = {}
    for value in terms:
        axis = _padded_axis(value)
        if axis is not None:
            by_axis.setdefault(axis, []).append((attrs_of(value.owner)[0][axis], value))
    for axis, parts in by_axis.items():
        parts.sort(key=lambda part: part[0])
        ends = [low + type_of(value.owner.operands[0])[0][axis] for low, value in parts]
        if len(parts) > 1 and all(end <= low for end, (low, _) in zip(ends, parts[1:], strict=False)):
            return axis, parts
    return None


def _padded_axis(value: SSAValue) -> int | None:
    """The one axis along which a value is padded with zeros, and used nowhere else; None if it is not."""
    op = value.owner
    if not isinstance(op, BookOp) or op.op_name != "pad" or not value.has_one_use():
        return None
    low, high, interior, fill = attrs_of(op)
    axes = [k for k, (a, b) in enumerate(zip(low, high, strict=True)) if a or b]
    plain = fill == 0 and not any(interior) and min((*low, *high), default=0) >= 0
    return axes[0] if plain and len(axes) == 1 else None


def _concat(build: XdslBuilder, axis: int, parts: list[tuple[int, SSAValue]], whole: tuple) -> SSAValue:
    shape, dtype = whole
    pieces: list[SSAValue] = []
    reached = 0
    for low, value in [*parts, (shape[axis], None)]:
        if low > reached:
            gap = (*shape[:axis], low - reached, *shape[axis + 1 :])
            pieces.append(build("full", (), (gap, 0.0 if dtype.is_floating_point else 0, dtype))[0])
        if value is not None:
            pieces.append(value.owner.operands[0])
            reached = low + type_of(value.owner.operands[0])[0][axis]
    return build("concat", tuple(pieces), (axis,))[0]
