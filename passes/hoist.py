"""Hoist: what a scan need not do step by step is done once, outside the loop, for all steps together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.book import OPS, Batched, Batching
from ..dialects.errors import UnsupportedError
from ..dialects.ops import BookOp, ScanOp, ScanYieldOp, XdslBuilder, attrs_of, stanza_of, type_of
from ..dialects.sizes import estimate
from ..dialects.types import Type, size_of
from .access import widens_bytes
from .base import Pass
from .program import origin_of, program_blocks
from .scan_region import with_operands, with_stacks

STACKED = 4
"""Elements a step may stack for every element of a sum that leaves the loop."""


@dataclass(frozen=True)
class Hoist(Pass):
    """Move work out of scans: what is the same in every step in front of the loop, sums over the steps behind it.

    A carried value that only grows by one term per step becomes a sum of the terms. What makes the terms moves along: it
    runs on the stacked values of all steps, so a weight's gradient is one contraction over steps and batch instead of one
    small product per step. A sum stays in the loop when stacking its operands would take more memory than `STACKED` times
    what it gives.
    """

    name = "hoist"
    takes = "primitive"

    def run(self, module: ModuleOp) -> int:
        """Number of ops and sums moved."""
        count = 0
        for block in program_blocks(module):
            for op in [op for op in block.ops if isinstance(op, ScanOp)]:
                op, moved = _hoist_invariant(op)
                op, sums = _Sums(op).move()
                count += moved + sums
        return count


def _hoist_invariant(op: ScanOp) -> tuple[ScanOp, int]:
    """Ops on values that every step sees whole go in front of the loop. Views that only the body reads stay, and bytes that are widened for
    products: they cost nothing there, and what reads a weight through one can read a copy of the weight that is packed once."""
    counts, body = op.counts, op.body
    fixed = set(body.args[counts.carried + counts.scanned :])
    moved: set[Operation] = set()
    for inner in body.ops:
        if inner.operands and isinstance(inner, BookOp) and all(v in fixed for v in inner.operands) and not _grows(inner):
            fixed.update(inner.results)
            moved.add(inner)
    moved_in_order = [inner for inner in body.ops if inner in moved]
    for inner in reversed(moved_in_order):
        if (_is_view(inner) or widens_bytes(inner)) and not any(use.operation in moved for use in inner.results[0].uses):
            moved.discard(inner)
    moved_in_order = [inner for inner in moved_in_order if inner in moved]
    if not moved_in_order:
        return op, 0
    outside: dict[SSAValue, SSAValue] = dict(zip(body.args, op.operands, strict=True))
    for inner in moved_in_order:
        copy = inner.clone({v: outside[v] for v in inner.operands})
        assert op.parent is not None
        op.parent.insert_op_before(copy, op)
        outside.update(zip(inner.results, copy.results, strict=True))
    needed = [r for inner in moved_in_order for r in inner.results if any(use.operation not in moved for use in r.uses)]
    op, fresh = with_operands(op, [outside[v] for v in needed])
    for old, new in zip(needed, fresh, strict=True):
        old.replace_all_uses_with(new)
    for inner in reversed(moved_in_order):
        body.erase_op(inner)
    return op, len(moved_in_order)


def _is_view(op: Operation) -> bool:
    return isinstance(op, BookOp) and stanza_of(op).family == "view" and not stanza_of(op).is_placement


def _grows(op: BookOp) -> bool:
    """Whether an op gives more than it reads (an expand): then reading it anew in every step is the cheaper way."""
    made, read = ([estimate(size_of(type_of(v)[0])) for v in part] for part in (op.results, op.operands))
    return sum(made) > sum(read)


class _Node(NamedTuple):
    """A value of the body, as it will be made outside: by an op on nodes, or (op None) read from a stack or whole."""

    value: SSAValue
    op: BookOp | None
    operands: tuple[_Node, ...]


class _Sums:
    """Moves the sums of one scan behind it."""

    def __init__(self, op: ScanOp) -> None:
        self.op = op
        self.counts = op.counts
        self.body = op.body
        self.place = {arg: i for i, arg in enumerate(self.body.args)}

    def move(self) -> tuple[ScanOp, int]:
        last = self.body.last_op
        assert isinstance(last, ScanYieldOp)
        found = {}
        for i in range(self.counts.carried):
            term = self._term(i, last)
            if term is not None:
                found[i] = term
        self.tail = self._tail({last.operands[i].owner for i in found})
        chosen = {i: node for i, node in ((i, self._node(term)) for i, term in found.items()) if self._pays(node)}
        if not chosen:
            return self.op, 0
        self._stack(chosen.values())
        return self.op, len([self._sum(i, node) for i, node in chosen.items()])

    def _term(self, i: int, last: ScanYieldOp) -> SSAValue | None:
        """What a carried value grows by, when that is all that happens to it."""
        arg, following = self.body.args[i], last.operands[i]
        adds = following.owner
        if not isinstance(adds, BookOp) or adds.op_name != "add" or not arg.has_one_use() or not following.has_one_use():
            return None
        if not type_of(arg)[1].is_floating_point or arg not in adds.operands:
            return None
        return adds.operands[1 - list(adds.operands).index(arg)]

    def _tail(self, ends: set[Operation | Block]) -> set[Operation]:
        """Ops whose results only go into the sums."""
        tail: set[Operation] = set()
        op = self.body.last_op
        while op is not None:
            users = [use.operation for r in op.results for use in r.uses]
            if users and all(user in tail or user in ends for user in users):
                tail.add(op)
            op = op.prev_op
        return tail

    def _node(self, value: SSAValue) -> _Node:
        op = value.owner
        if isinstance(op, BookOp) and op in self.tail and len(op.results) == 1:
            return _Node(value, op, tuple(self._node(v) for v in op.operands))
        return _Node(value, None, ())

    def _leaves(self, node: _Node) -> list[SSAValue]:
        if node.op is None:
            return [node.value]
        return [leaf for operand in node.operands for leaf in self._leaves(operand)]

    def _is_whole(self, value: SSAValue) -> bool:
        return self.place.get(value, -1) >= self.counts.carried + self.counts.scanned

    def _outside(self, value: SSAValue) -> SSAValue | None:
        """The operand or result that holds a value of the body: whole, or for all steps."""
        place = self.place.get(value)
        if place is not None and place >= self.counts.carried:
            return self.op.operands[place]
        last = self.body.last_op
        assert last is not None
        for i in range(self.counts.carried, len(last.operands)):
            if last.operands[i] is value:
                return self.op.results[i]
        return None

    def _pays(self, node: _Node) -> bool:
        if not self._reduces(node) or not self._has_reading(node):
            return False
        fresh = dict.fromkeys(v for v in self._leaves(node) if self._outside(v) is None)
        return sum(estimate(size_of(type_of(v)[0])) for v in fresh) <= STACKED * estimate(size_of(type_of(node.value)[0]))

    def _reduces(self, node: _Node) -> bool:
        """Whether a contraction or a fold leaves the loop: without one there is nothing to win."""
        if node.op is None:
            return False
        return stanza_of(node.op).family in ("contract", "fold") or any(map(self._reduces, node.operands))

    def _has_reading(self, node: _Node) -> bool:
        """Whether all of it can be done for all steps at once."""

        def given(value: SSAValue) -> Any:
            shape, dtype = type_of(value)
            return (shape, dtype) if self._is_whole(value) else Batched(((self.counts.steps, *shape), dtype))

        try:
            _made(Batching(_Types(), OPS, self.counts.steps), node, given)
        except UnsupportedError:
            return False
        return True

    def _stack(self, nodes: Sequence[_Node]) -> None:
        fresh = dict.fromkeys(v for node in nodes for v in self._leaves(node) if self._outside(v) is None)
        if fresh:
            self.op = with_stacks(self.op, list(fresh))

    def _sum(self, i: int, node: _Node) -> None:
        """The carried value's last state, made behind the loop."""
        after = self.op.next_op
        assert after is not None
        origin = origin_of(node.op) if node.op is not None else origin_of(self.op)
        self.build = XdslBuilder(after, origin or origin_of(self.op))
        self.batch = Batching(self.build, OPS, self.counts.steps)
        total = self._summed(node)
        (total,) = self.build("add", (self.op.operands[i], total), ())
        self.op.results[i].replace_all_uses_with(total)

    def _summed(self, node: _Node) -> SSAValue:
        """The sum over all steps."""
        build, op = self.build, node.op
        shape = type_of(node.value)[0]
        if op is not None and op.op_name in ("permute", "reshape") and self._varies(node):
            return build(op.op_name, (self._summed(node.operands[0]),), attrs_of(op))[0]
        if op is not None and op.op_name == "add" and all(self._varies(n) for n in node.operands):
            return build("add", tuple(self._summed(n) for n in node.operands), ())[0]
        if op is not None and op.op_name == "matmul" and len(shape) == 2 and all(self._varies(n) for n in node.operands):
            left, right = node.operands
            return build("matmul", (self._steps_as(left, 1), self._steps_as(right, 0)), ())[0]
        if op is not None and op.op_name == "sum" and self._varies(node):
            axes = (0, *(a + 1 for a in attrs_of(op)[0]))
            total = build("sum", (self._for_all(node.operands[0]),), (axes,))[0]
        else:
            total = build("sum", (self._for_all(node),), ((0,),))[0]
        return build("reshape", (total,), (shape,))[0]

    def _steps_as(self, node: _Node, axis: int) -> SSAValue:
        """A matrix of all steps side by side along one of its two axes."""
        if node.op is not None and node.op.op_name == "permute" and attrs_of(node.op) == ((1, 0),):
            return self.build("permute", (self._steps_as(node.operands[0], 1 - axis),), ((1, 0),))[0]
        return self.batch.merged(self._for_all(node), axis)

    def _varies(self, node: _Node) -> bool:
        return any(not self._is_whole(leaf) for leaf in self._leaves(node))

    def _for_all(self, node: _Node) -> SSAValue:
        """The values of all steps, stacked along a first dimension."""
        return self.batch.spread(_made(self.batch, node, self._given))

    def _given(self, value: SSAValue) -> Any:
        """A value of the body as it is outside: a batch of all steps, or whole."""
        found = self._outside(value)
        assert found is not None
        return found if self._is_whole(value) else Batched(found)


def _made(batch: Batching, node: _Node, given: Callable[[SSAValue], Any]) -> Any:
    """A node, made with a build on batches."""
    if node.op is None:
        return given(node.value)
    return batch(node.op.op_name, tuple(_made(batch, n, given) for n in node.operands), attrs_of(node.op))[0]


class _Types:
    """A build that computes types only: would it work?"""

    def __call__(self, op: str, operands: tuple, attrs: tuple) -> tuple:
        return OPS[op].infer(operands, attrs)

    def type(self, value: Type) -> Type:
        """The type is the value."""
        return value
