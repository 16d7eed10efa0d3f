"""Narrow: do not compute the part of a contraction that is cropped away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.errors import DTypeError, ShapeError
from ..dialects.ops import BookOp, XdslBuilder, attrs_of, stanza_of, type_of
from ..dialects.types import Shape
from .base import Pass
from .program import origin_of, program_blocks

Crop = tuple[tuple[int, ...], tuple[int, ...]]
"""Per dimension: how much is cut off at the low and at the high end."""


@dataclass(frozen=True)
class Narrow(Pass):
    """Move a slice in front of the contraction it crops (through reshapes that add or drop sizes of 1).

    before  %1 = prim.matmul %a, %b
            %2 = prim.slice %1 {start = [1, 0], size = [2, 5], step = [1, 1]}
    after   %1 = prim.slice %a {start = [1, 0], size = [2, 3], step = [1, 1]}
            %2 = prim.matmul %1, %b

    where %a is [4, 3] and %b is [3, 5]. The gradient of a convolution that keeps the size is the case that
    matters: what falls into the padding is not computed. An operand is cut where its index map reads the
    cropped index.
    """

    name = "narrow"
    takes = ("differentiated", "primitive")

    def run(self, module: ModuleOp) -> int:
        """Number of slices moved."""
        return sum(self.narrow(block) for block in program_blocks(module))

    def narrow(self, block: Block) -> int:
        """Number of slices of a block that moved."""
        count = 0
        op = block.last_op
        while op is not None:  # backwards: a slice that moved up is met again
            before = op.prev_op
            if isinstance(op, BookOp) and op.op_name == "slice":
                moved = _move_up(op)
                if moved is not None:
                    count += 1
                    before = moved
            op = before
        return count


def _move_up(op: BookOp) -> Operation | None:
    """Move a slice above the maker of its operand; returns the op to look at next, None when it stays."""
    maker = _single_use_maker(op._operands[0])
    crop = _crop_of(op)
    if maker is None or crop is None or not _ends_in_contraction(maker):
        return None
    shape = type_of(op.results[0])[0]
    plan = (
        _through_reshape(maker, crop)
        if maker.op_name == "reshape"
        else _through_contraction(maker, crop, shape)
    )
    if plan is None:
        return None
    build = XdslBuilder(maker, origin_of(maker))
    operands = tuple(_cropped(build, value, cut) for value, cut in zip(maker._operands, plan, strict=True))
    attrs = (shape,) if maker.op_name == "reshape" else attrs_of(maker)
    (value,) = build(stanza_of(maker).name, operands, attrs)
    op.results[0].replace_all_uses_with(value)
    block = op.parent
    assert block is not None
    block.erase_op(op)
    block.erase_op(maker)
    return value.owner if isinstance(value.owner, Operation) else None


def _single_use_maker(value: SSAValue) -> BookOp | None:
    maker = value.owner
    return maker if isinstance(maker, BookOp) and value.has_one_use() and len(maker.results) == 1 else None


def _ends_in_contraction(maker: BookOp) -> bool:
    """Whether a contraction is reached through reshapes nobody else reads."""
    current: BookOp | None = maker
    while current is not None and current.op_name == "reshape":
        current = _single_use_maker(current._operands[0])
    return current is not None and stanza_of(current).family == "contract"


def _crop_of(op: BookOp) -> Crop | None:
    """What a slice cuts off; None when it skips elements or cuts everything."""
    start, size, step = attrs_of(op)
    shape = type_of(op._operands[0])[0]
    if any(k != 1 for k in step) or 0 in size:
        return None
    return start, tuple(d - a - n for d, a, n in zip(shape, start, size, strict=True))


def _through_reshape(op: BookOp, crop: Crop) -> list[Crop] | None:
    """The crop of the operand of a reshape that only adds or drops sizes of 1."""
    source, target = type_of(op._operands[0])[0], type_of(op.results[0])[0]
    inner = [k for k, d in enumerate(source) if d != 1]
    outer = [k for k, d in enumerate(target) if d != 1]
    if [source[k] for k in inner] != [target[k] for k in outer]:
        return None
    place = dict(zip(inner, outer, strict=True))
    low, high = (tuple(side[place[k]] if k in place else 0 for k in range(len(source))) for side in crop)
    return [(low, high)]


def _through_contraction(op: BookOp, crop: Crop, wanted: Shape) -> list[Crop] | None:
    """Crops of a contraction's operands; None where they do not give exactly the cropped result."""
    stanza, attrs = stanza_of(op), attrs_of(op)
    types = tuple(type_of(value) for value in op._operands)
    reading = stanza.contraction(types, attrs)
    cuts: dict[str, tuple[int, int]] = {}
    for form, low, high in zip(reading.result, *crop, strict=True):
        names = [name for name in form if name != 1]
        if (low or high) and (len(names) != 1 or form[names[0]] != 1):
            return None
        cuts.update((name, (low, high)) for name in names)
    plan = [_operand_crop(index, cuts) for index in reading.operands]
    shapes = [_shrunk(t[0], cut) for t, cut in zip(types, plan, strict=True)]
    try:
        (result,) = stanza.infer(tuple((s, t[1]) for s, t in zip(shapes, types, strict=True)), attrs)
    except (ShapeError, DTypeError):
        return None
    return plan if result[0] == wanted else None


def _operand_crop(index: Sequence[dict[object, int]], cuts: dict[str, tuple[int, int]]) -> Crop:
    sides = []
    for side in (0, 1):
        sides.append(
            tuple(sum(c * cuts[n][side] for n, c in form.items() if n in cuts and c > 0) for form in index)
        )
    return sides[0], sides[1]


def _shrunk(shape: Shape, crop: Crop) -> Shape:
    return tuple(d - a - b for d, a, b in zip(shape, *crop, strict=True))


def _cropped(build: XdslBuilder, value: SSAValue, crop: Crop) -> SSAValue:
    if not any(crop[0]) and not any(crop[1]):
        return value
    shape = _shrunk(type_of(value)[0], crop)
    return build("slice", (value,), (crop[0], shape, (1,) * len(shape)))[0]
