"""Reverse-mode differentiation: every `autodiff.grad` becomes the ops that compute it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.autodiff import GradOp, SavedOp
from ..dialects.book import OPS, Batched, Batching
from ..dialects.errors import UnsupportedError
from ..dialects.ops import BookOp, XdslBuilder, attrs_of, stanza_of, type_of
from .base import Pass
from .program import before_all, main_block, origin_of, origin_text, program_blocks


@dataclass(frozen=True)
class Differentiate(Pass):
    """Spell gradients out: reverse mode from each `autodiff.grad`'s loss to its wrt values.

    before  %y = prim.tanh %x
            %dx = autodiff.grad %y, %seed, %x
    after   %y = prim.tanh %x
            %1 = prim.mul %y, %y
            %2 = prim.full {shape = [4], value = 1}
            %3 = prim.sub %2, %1
            %dx = prim.mul %seed, %3

    Only ops between a wrt value and the loss are differentiated, each by its stanza's `d` lines; composites
    without are opened first. A wrt value the loss does not depend on gets zeros. New ops carry the origin of
    the forward op. Several grads are expanded in program order, so a later one may differentiate an earlier
    one's result. Several seeds at once are a batch: the walk is the same, and only what depends on the seed gets
    one more dimension (`dialects/book/batching.py`).
    """

    name = "autodiff"
    takes = "captured"
    gives = "differentiated"

    def run(self, module: ModuleOp) -> int:
        """Number of autodiff ops replaced. UnsupportedError (with the line) for an op without derivative."""
        block = main_block(module)
        saved = _prepare_saved(block)
        grads = [op for op in block.ops if isinstance(op, GradOp)]
        for grad in grads:
            _Reverse(block, grad, saved).expand()
        return len(grads) + sum(map(_replace_saved, program_blocks(module)))


def _replace_saved(block: Block) -> int:
    """Nothing is differentiated any more: contents are contents."""
    saved = [op for op in block.ops if isinstance(op, SavedOp)]
    for op in saved:
        op.results[0].replace_all_uses_with(op.operands[1])
        block.erase_op(op)
    return len(saved)


def _prepare_saved(block: Block) -> dict[SSAValue, SSAValue]:
    """Let readers of a value that was already computed read `autodiff.saved`; value -> saved result.

    The saved contents are program inputs, so the op can move right behind the value, before all of its
    readers.
    """
    found: dict[SSAValue, SSAValue] = {}
    for op in [op for op in block.ops if isinstance(op, SavedOp)]:
        value, contents = op.operands
        if not isinstance(contents.owner, Block) or value in found or not _has_history(value):
            continue
        op.detach()
        block.insert_op_after(op, value.owner)
        value.replace_uses_with_if(op.results[0], lambda use, op=op: use.operation is not op)
        found[value] = op.results[0]
    return found


def _has_history(value: SSAValue) -> bool:
    """Whether a value was computed from others; a saved constant is a detached value, without history."""
    return isinstance(value.owner, Operation) and bool(value.owner.operands)


class _Reverse:
    """The backward walk of one `autodiff.grad`."""

    def __init__(self, block: Block, grad: GradOp, saved: dict[SSAValue, SSAValue]) -> None:
        self.block = block
        self.grad = grad
        self.saved = saved
        self.loss, self.seed, *self.wrt = grad.operands
        self.seeds = grad.seeds
        self.active: set[SSAValue] = set(self.wrt)
        self.cotangents: dict[SSAValue, SSAValue | Batched] = {}

    def expand(self) -> None:
        """Replace the grad op by the ops that compute its results."""
        edge = before_all(self.wrt, self.grad)  # nothing before depends on a wrt value
        self.spread(self.block.first_op if edge is None else edge.next_op, self.grad)
        if self.loss in self.active:
            self.cotangents[self.loss] = self.seed if self.seeds is None else Batched(self.seed)
            op = self.grad.prev_op
            while op is not edge:
                op = self.step(op)
        for result, value in zip(self.grad.results, self.wrt, strict=True):
            result.replace_all_uses_with(self.result(value))
        self.block.erase_op(self.grad)

    def spread(self, op: Operation | None, end: Operation | None) -> None:
        """Mark the floating-point results of ops from `op` up to `end` that depend on a wrt value."""
        active = self.active
        while op is not None and op is not end:
            operands = op._operands[:1] if isinstance(op, SavedOp) else op._operands
            if not isinstance(op, GradOp) and any(value in active for value in operands):
                active.update(r for r in op.results if type_of(r)[1].is_floating_point)
            op = op.next_op

    def step(self, op: Operation) -> Operation | None:
        """Push the cotangents of an op's results to its operands; returns the op to look at next."""
        arrived = [self.cotangents.get(result) for result in op.results]
        if not any(arrived) or not any(result in self.active for result in op.results):
            return op.prev_op
        if isinstance(op, SavedOp):
            self.add(op.operands[0], arrived[0], op)
            return op.prev_op
        assert isinstance(op, BookOp)
        if not stanza_of(op).derives(tuple(g is not None for g in arrived)):
            return self.open(op, arrived)
        wanted = tuple(value in self.active for value in op._operands)
        if any(wanted):
            build = self.builder(origin_of(op))
            results = [self.saved.get(r, r) for r in op.results]
            found = stanza_of(op).gradients(
                build, tuple(op._operands), results, arrived, attrs_of(op), wanted
            )
            for value, g in zip(op._operands, found, strict=True):
                if g is not None:
                    self.add(value, g, op)
        return op.prev_op

    def open(self, op: BookOp, arrived: Sequence[SSAValue | None]) -> Operation | None:
        """Spell a composite out where it stands, and go on with its last op."""
        if stanza_of(op).family != "is":
            name = stanza_of(op).name
            raise UnsupportedError(
                f"{name} has no derivative",
                at=origin_text(op),
                help=f"detach() its input, or give {name} `d` lines in the op book",
            )
        build = XdslBuilder(op, origin_of(op))
        before, after = op.prev_op, op.next_op
        values = stanza_of(op).open(build, tuple(op._operands), attrs_of(op))
        for old, new, g in zip(list(op.results), values, arrived, strict=True):
            old.replace_all_uses_with(new)
            if old in self.active:
                self.active.add(new)
            if old in self.saved:
                self.saved[new] = self.saved.pop(old)
            if g is not None:
                self.add(new, g, op)
        self.block.erase_op(op)
        self.spread(self.block.first_op if before is None else before.next_op, after)
        return None if after is None else after.prev_op

    def add(self, value: SSAValue, g: SSAValue | None, op: Operation) -> None:
        """Add to the cotangent of a value."""
        if g is None:
            return
        known = self.cotangents.get(value)
        if known is not None:
            (g,) = self.builder(origin_of(op))("add", (known, g), ())
        self.cotangents[value] = g

    def builder(self, origin: StringAttr | None) -> XdslBuilder | Batching:
        """What derivatives are spelled out with; a batch of them for several seeds."""
        build = XdslBuilder(self.grad, origin)
        return build if self.seeds is None else Batching(build, OPS, self.seeds)

    def result(self, value: SSAValue) -> SSAValue:
        """The gradient of a wrt value; zeros where nothing arrived."""
        build, found = self.builder(origin_of(self.grad)), self.cotangents.get(value)
        if found is None:
            shape, dtype = type_of(value)
            (found,) = build("full", (), (shape, 0.0, dtype))
        return build.spread(found) if isinstance(build, Batching) else found
