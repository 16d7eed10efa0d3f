"""Shorten sums: where rows of a product are weighed and summed, what was summed with the same weights is taken instead."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.ops import BookOp, XdslBuilder, attrs_of, type_of
from .base import Pass
from .dce import remove_dead
from .program import origin_of, program_blocks


@dataclass(frozen=True)
class ShortenSums(Pass):
    """Sum the rows of `g * (w v)` where rows of `w * (g v^T)` were summed, if `w v` is there and its rows are no longer.

    before  %y = prim.matmul %w, %v
            %t = prim.permute %v {order = [0, 2, 1]}
            %d = prim.matmul %g, %t
            %m = prim.mul %d, %w
            %s = prim.sum %m {axes = [2]}
    after   %y = prim.matmul %w, %v
            %m = prim.mul %g, %y
            %s = prim.sum %m {axes = [2]}

    sum_j w[i, j] * (sum_k g[i, k] * v[j, k]) is sum_k g[i, k] * (sum_j w[i, j] * v[j, k]): the gradient of attention's weights
    takes it from every row, and nothing as large as the weights is gone over for it. `y` is read where memory has it: rounded, and
    in the order it is kept in, where only that is read otherwise.
    """

    name = "shorten-sums"
    takes = "primitive"
    rounds = True

    def run(self, module: ModuleOp) -> int:
        """Number of sums replaced."""
        return sum(_shorten(block) for block in program_blocks(module))


def _shorten(block: Block) -> int:
    place = {op: k for k, op in enumerate(block.ops)}
    count = sum(_shorten_sum(op, place) for op in list(block.ops) if _is(op, "sum"))
    if count:
        remove_dead(block)
    return count


def _is(op: object, name: str) -> bool:
    return isinstance(op, BookOp) and op.op_name == name


def _shorten_sum(op: Operation, place: dict[Operation, int]) -> int:
    """1 if the sum was replaced."""
    (axes,) = attrs_of(op)
    shape, dtype = type_of(op.operands[0])
    if not dtype.is_floating_point or tuple(axes) != (len(shape) - 1,):
        return 0
    factors = _factors(op.operands[0])
    for product in factors:
        if _is(product.owner, "matmul"):
            left, right = product.owner.operands
            whole = _weighed(right, factors - Counter([product])) if type_of(left)[0][-1] <= shape[-1] else None
            if whole is not None and place.get(whole.owner, len(place)) < place[op]:
                build = XdslBuilder(op, origin_of(op))
                rows = _as_kept(build, whole, place, place[op])
                (each,) = build("mul", (_widened_here(build, left), rows), ())
                (total,) = build("sum", (each,), (axes,))
                op.results[0].replace_all_uses_with(total)
                return 1
    return 0


def _factors(value: SSAValue) -> Counter[SSAValue]:
    """What is multiplied, element by element."""
    if not _is(value.owner, "mul"):
        return Counter([value])
    a, b = value.owner.operands
    return _factors(a) + _factors(b)


def _weighed(right: SSAValue, weights: Counter[SSAValue]) -> SSAValue | None:
    """The product of these weights and what `right` is turned from, or turned to; None where nobody made it."""
    turned = [use.operation.results[0] for use in right.uses if _turns(use.operation)]
    if _turns(right.owner):
        turned.append(right.owner.operands[0])
    for other in turned:
        for use in other.uses:
            if use.index == 1 and _is(use.operation, "matmul") and _factors(use.operation.operands[0]) == weights:
                return use.operation.results[0]
    return None


def _turns(op: object) -> bool:
    """Whether the last two dimensions change places."""
    if not isinstance(op, BookOp) or op.op_name != "permute":
        return False
    (order,) = attrs_of(op)
    n = len(order)
    return tuple(order) == (*range(n - 2), n - 1, n - 2)


def _widened_here(build: XdslBuilder, value: SSAValue) -> SSAValue:
    """The value, cast for this sum alone where it is a cast: a product reads what was cast."""
    if not _is(value.owner, "cast"):
        return value
    return build("cast", tuple(value.owner.operands), attrs_of(value.owner))[0]


def _as_kept(build: XdslBuilder, value: SSAValue, place: dict[Operation, int], end: int) -> SSAValue:
    """The value, read from what alone is made of it: rounded, in another order."""
    back: list[tuple[str, tuple]] = []
    while len(users := {use.operation for use in value.uses}) == 1:
        (user,) = users
        if not isinstance(user, BookOp) or place.get(user, end) >= end:
            break
        shape, dtype = type_of(value)
        if user.op_name == "cast" and (narrow := type_of(user.results[0])[1]).is_floating_point and narrow.itemsize < dtype.itemsize:
            back.append(("cast", (dtype,)))
        elif user.op_name == "permute":
            order = list(attrs_of(user)[0])
            back.append(("permute", (tuple(order.index(d) for d in range(len(order))),)))
        elif user.op_name == "reshape":
            back.append(("reshape", (shape,)))
        else:
            break
        value = user.results[0]
    for name, attrs in reversed(back):
        (value,) = build(name, (value,), attrs)
    return value
