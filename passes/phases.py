"""Phases: a result whose every second element along its last dims was made by itself, and what follows those parts element by element.

    %w = (phases put together); %y = relu(%w + bias)        =>        (relu(phase + bias) put together)

The phase's own kernel does it then, and what puts them together only has to say where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xdsl.ir import SSAValue

from ..dialects.ops import BookOp, XdslBuilder, attrs_of, type_of
from .access import EACH, role_of
from .program import origin_of

LEADING = 3
"""Dimensions of a convolution in front of the spatial ones: batch, groups, channels."""


class Part(NamedTuple):
    """A part of a result, and where its first element is along the spatial dims."""

    value: SSAValue
    first: Sequence[int]


def zero(like: SSAValue) -> float | int:
    """The zero of its dtype."""
    return 0.0 if type_of(like)[1].is_floating_point else 0


def empty(build: XdslBuilder, like: SSAValue, sizes: Sequence[int] = ()) -> SSAValue:
    """Zeros of the same type, or with these sizes along the last dims."""
    shape, dtype = type_of(like)
    return build("full", (), ((*shape[: len(shape) - len(sizes)], *sizes), zero(like), dtype))[0]


def part(build: XdslBuilder, value: SSAValue, start: Sequence[int], size: Sequence[int], step: Sequence[int]) -> SSAValue:
    """A slice of the spatial dimensions, the last ones."""
    shape = type_of(value)[0]
    leading = len(shape) - len(size)
    if tuple(size) == shape[leading:] and not any(start):
        return value
    attrs = ((0,) * leading + tuple(start), shape[:leading] + tuple(size), (1,) * leading + tuple(step))
    return build("slice", (value,), attrs)[0]


def kernel_of_conv(build: XdslBuilder, kernel: SSAValue) -> SSAValue:
    """The kernel `conv` takes for one of `conv_input`, which reads it from the end, and whose results are its second channels."""
    rank = len(type_of(kernel)[0])
    kernel = build("flip", (kernel,), (tuple(range(LEADING, rank)),))[0]
    return build("permute", (kernel,), ((0, 2, 1, *range(LEADING, rank)),))[0]


def padded(build: XdslBuilder, value: SSAValue, sizes: Sequence[int]) -> SSAValue:
    """The value with zeros behind it along the spatial dimensions, up to these sizes."""
    shape = type_of(value)[0]
    if tuple(sizes) == shape[LEADING:]:
        return value
    nothing, behind = (0,) * len(shape), [size - n for size, n in zip(sizes, shape[LEADING:], strict=True)]
    return build("pad", (value,), (nothing, (*nothing[:LEADING], *behind), nothing, zero(value)))[0]


def put(build: XdslBuilder, whole: SSAValue, part: SSAValue, start: Sequence[int], step: Sequence[int]) -> SSAValue:
    """The whole with a part in it."""
    leading = len(type_of(whole)[0]) - len(step)
    return build("update", (whole, part), ((0,) * leading + tuple(start), (1,) * leading + tuple(step)))[0]


def together(build: XdslBuilder, like: SSAValue, parts: Sequence[Part], step: Sequence[int], sizes: Sequence[int] = ()) -> SSAValue:
    """Parts, `step` apart, as one value, of these sizes along the last dims where they are another's than `like` has; zero where there is none."""
    whole = empty(build, like, sizes)
    for part in parts:
        whole = put(build, whole, part.value, part.first, step)
    return whole


def carried_on(op: BookOp, parts: Sequence[Part], step: Sequence[int], channels_last: bool = False) -> SSAValue:
    """What replaces a result that parts are all of: what follows is done on each, and then they are put together.

    channels_last: parts are made with channels innermost. Then parts of other images are read with them, and what the program returns is
    turned at the end. Parts may reach beyond the end of the result by less than a step: so they are one kernel's work, where parts that were cut off would be
    several's, each of which reads everything; the result is then a slice of what they are put together to. What the program returns is cut off part by part.
    """
    value, rank = op.results[0], len(step)
    behind = _followers(value, rank, channels_last)
    sizes = type_of(value)[0][-rank:]
    reached = [max(at + (n - 1) * by + 1 for n, at in zip(along, firsts, strict=True)) for along, firsts, by in _by_dim(parts, step)]
    overhang = any(end > size for end, size in zip(reached, sizes, strict=True))
    if overhang and _is_returned(behind[-1].results[0] if behind else value):
        parts, overhang = [cut for p in parts if (cut := _cut_off(op, p, sizes, step)) is not None], False
    elif overhang:
        behind = _followers(value, rank, False)
    for follower in behind:
        parts = [Part(_carried(follower, value, part, step), part.first) for part in parts]
        value = follower.results[0]
    last = behind[-1] if behind else op
    build = XdslBuilder(last, origin_of(last))
    if overhang:
        whole = part(build, together(build, value, parts, step, reached), [0] * rank, sizes, [1] * rank)
    else:
        whole = _channels_last(build, value, parts, step) if channels_last and _is_returned(value) else together(build, value, parts, step)
    if behind:
        value.replace_all_uses_with(whole)
        block = last.parent
        assert block is not None
        for follower in reversed(behind):
            block.erase_op(follower)
    return whole


def _by_dim(parts: Sequence[Part], step: Sequence[int]) -> list[tuple[list[int], list[int], int]]:
    """Per spatial dim the parts' sizes, where they begin, and the step."""
    rank = len(step)
    shapes = [type_of(p.value)[0][-rank:] for p in parts]
    return [([s[d] for s in shapes], [p.first[d] for p in parts], step[d]) for d in range(rank)]


def _cut_off(op: BookOp, whole: Part, sizes: Sequence[int], step: Sequence[int]) -> Part | None:
    """What of a part lies in a result; None where nothing does."""
    fitting = [-(-(size - at) // by) for size, at, by in zip(sizes, whole.first, step, strict=True)]
    if 0 in fitting:
        return None
    build = XdslBuilder(op, origin_of(op))
    return Part(part(build, whole.value, [0] * len(step), fitting, [1] * len(step)), whole.first)


def _is_returned(value: SSAValue) -> bool:
    """Whether the program's end or a reshape in front of it reads it."""
    readers = [use.operation for use in value.uses]
    return any(r.name == "func.return" or isinstance(r, BookOp) and r.op_name == "reshape" and _is_returned(r.results[0]) for r in readers)


def _channels_last(build: XdslBuilder, like: SSAValue, parts: Sequence[Part], step: Sequence[int]) -> SSAValue:
    """Parts put together with channels behind the spatial dims, and then turned: a program's result is row-major, and turning it costs less in
    one piece."""
    shape, dtype = type_of(like)
    rank = len(step)
    front = len(shape) - rank - 1
    there = (*range(front), *range(front + 1, len(shape)), front)
    back = (*range(front), len(shape) - 1, *range(front, len(shape) - 1))
    whole = build("full", (), (tuple(shape[d] for d in there), zero(like), dtype))[0]
    for one in parts:
        turned = build("permute", (one.value,), (there,))[0]
        whole = build("update", (whole, turned), ((*(0,) * front, *one.first, 0), (*(1,) * front, *step, 1)))[0]
    return build("permute", (whole,), (back,))[0]


def _followers(value: SSAValue, rank: int, images: bool) -> list[BookOp]:
    """The ops behind a value, each the only reader of the one before, that mean the same on a part of its last ``rank`` dims. images: other
    operands may differ along these dims.
    """
    found: list[BookOp] = []
    while value.has_one_use():
        op = next(iter(value.uses)).operation
        if not isinstance(op, BookOp) or op.parent is not value.owner.parent or not (_keeps(op, rank) or _is_elementwise(op, value, rank, images)):
            break
        found.append(op)
        value = op.results[0]
    while found and role_of(found[-1]) != EACH:
        found.pop()
    return found


def _carried(op: BookOp, value: SSAValue, done: Part, step: Sequence[int]) -> SSAValue:
    """A follower of a value on a part of it."""
    build, rank = XdslBuilder(op, origin_of(op)), len(step)
    shape = type_of(op.results[0])[0][:-rank] + type_of(done.value)[0][-rank:]
    if op.op_name == "reshape":
        return build("reshape", (done.value,), (shape,))[0]
    operands = tuple(done.value if v is value else _beside(build, v, shape, done.first, step) for v in op.operands)
    return build(op.op_name, operands, attrs_of(op))[0]


def _keeps(op: BookOp, rank: int) -> bool:
    """Whether it is a reshape of the leading dims."""
    return op.op_name == "reshape" and type_of(op.operands[0])[0][-rank:] == type_of(op.results[0])[0][-rank:]


def _is_elementwise(op: BookOp, value: SSAValue, rank: int, images: bool) -> bool:
    """Whether it computes floats element by element, with what is the same all along the last dims, or images."""
    if role_of(op) != EACH or len(op.results) != 1 or type_of(op.results[0])[0] != type_of(value)[0]:
        return False
    if not type_of(op.results[0])[1].is_floating_point:
        return False
    return images or all(v is value or _is_full(v) or _is_spread(v, rank) for v in op.operands)


def _is_full(value: SSAValue) -> bool:
    return isinstance(value.owner, BookOp) and value.owner.op_name == "full"


def _is_spread(value: SSAValue, rank: int) -> bool:
    """Whether it is the same all along the last dims."""
    maker = value.owner
    return isinstance(maker, BookOp) and maker.op_name == "expand" and all(n == 1 for n in type_of(maker.operands[0])[0][-rank:])


def _beside(build: XdslBuilder, value: SSAValue, shape: tuple, first: Sequence[int], step: Sequence[int]) -> SSAValue:
    """The same part of another operand."""
    maker, leading = value.owner, len(shape) - len(step)
    if _is_full(value):
        return build("full", (), (shape, *attrs_of(maker)[1:]))[0]  # type: ignore[arg-type]  # a book op
    if _is_spread(value, len(step)):
        return build("expand", (maker.operands[0],), (shape,))[0]  # type: ignore[union-attr]
    return build("slice", (value,), ((0,) * leading + tuple(first), shape, (1,) * leading + tuple(step)))[0]
