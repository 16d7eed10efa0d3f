"""What follows the phases of a convolution element by element is done on each of them: a bias, a norm's scale, an activation.

    %w = (phases put together); %y = relu(%w + bias)        =>        (relu(phase + bias) put together)

The phase's own kernel does it then, and what puts them together only has to say where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ..dialects.ops import BookOp, XdslBuilder, attrs_of, type_of
from .access import EACH, role_of
from .program import origin_of


def followers(value: SSAValue, rank: int) -> list[BookOp]:
    """The ops behind a value, each the only reader of the one before, that mean the same on a part of its last ``rank`` dims."""
    found: list[BookOp] = []
    while value.has_one_use():
        op = next(iter(value.uses)).operation
        if not isinstance(op, BookOp) or op.parent is not value.owner.parent or not (_keeps(op, rank) or _is_uniform(op, value, rank)):
            break
        found.append(op)
        value = op.results[0]
    while found and role_of(found[-1]) != EACH:
        found.pop()
    return found


def carried(op: BookOp, value: SSAValue, part: SSAValue, rank: int) -> SSAValue:
    """A follower of a value on a part of it."""
    build = XdslBuilder(op, origin_of(op))
    shape = type_of(op.results[0])[0][:-rank] + type_of(part)[0][-rank:]
    if op.op_name == "reshape":
        return build("reshape", (part,), (shape,))[0]
    return build(op.op_name, tuple(part if v is value else _spread(build, v, shape) for v in op.operands), attrs_of(op))[0]


def _keeps(op: BookOp, rank: int) -> bool:
    """Whether it is a reshape of the leading dims."""
    return op.op_name == "reshape" and type_of(op.operands[0])[0][-rank:] == type_of(op.results[0])[0][-rank:]


def _is_uniform(op: BookOp, value: SSAValue, rank: int) -> bool:
    """Whether it computes element by element, with what is the same all along the last dims."""
    if role_of(op) != EACH or len(op.results) != 1 or type_of(op.results[0])[0] != type_of(value)[0]:
        return False
    if not type_of(op.results[0])[1].is_floating_point:
        return False
    return all(v is value or _is_spread(v, rank) for v in op.operands)


def _is_spread(value: SSAValue, rank: int) -> bool:
    maker = value.owner
    if not isinstance(maker, BookOp) or maker.op_name != "expand":
        return isinstance(maker, BookOp) and maker.op_name == "full"
    source: Sequence[object] = type_of(maker.operands[0])[0]
    return all(n == 1 for n in source[-rank:])


def _spread(build: XdslBuilder, value: SSAValue, shape: tuple) -> SSAValue:
    """A number, or numbers of the leading dims, as a value of this shape."""
    maker = value.owner
    assert isinstance(maker, BookOp)
    if maker.op_name == "full":
        return build("full", (), (shape, *attrs_of(maker)[1:]))[0]
    return build("expand", (maker.operands[0],), (shape,))[0]
