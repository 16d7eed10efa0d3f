"""Present contents: what backward reads of memory that was written through ``.data`` since: what is there now.

Such a write counts for nobody: PyTorch's derivatives read the memory itself and find the new numbers. Nodes keep the old
ones, so the steps behind them are recorded again, from values that have the history they always had and the contents of today.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from ...dialects.book import OPS
from ...dialects.types import DType, Type
from .. import recorder, views
from ..node import ALIAS, GRAD, RESULT, SAVED, Boundary, Node
from ..residuals import reads
from ..storage import is_rewritten
from ..walk import by_order

_SAME_MEMORY = frozenset({"reshape", "permute", "expand", "slice"})


def with_present_contents(root: Node, steps: Sequence[Node], stop: Set[int]) -> Node | None:
    """A root with the same history, whose derivative reads what memory holds now; None where nothing was rewritten.

    stop: ids of Nodes that gradients are wanted by, which stay the Nodes they are.
    """
    if not reads_rewritten(steps):
        return None
    before, recorder.state.grad = recorder.state.grad, True
    try:
        return _Renewal(stop).of(root, steps)
    finally:
        recorder.state.grad = before


def reads_rewritten(steps: Sequence[Node]) -> bool:
    """Whether some step made, or has as an operand, what was read from memory that was rewritten."""
    for step in steps:
        if is_rewritten(step):
            return True
        for n in step.inputs:
            if is_rewritten(n) or not n.requires_grad and _shown(n) is not None:
                return True
    return False


def _shown(node: Node) -> Node | None:
    """The rewritten value that an untracked view shows (broadcasting is no copy)."""
    while not node.requires_grad and node.op in _SAME_MEMORY and node.inputs:
        node = node.inputs[0]
        if is_rewritten(node):
            return node
    return None


class _Renewal:
    """Steps of one tape, recorded again where their derivatives read memory that was rewritten."""

    def __init__(self, stop: Set[int]) -> None:
        self.stop = stop
        self.table: dict[int, Node | list[Node]] = {}
        self.contents: dict[int, Node] = {}

    def of(self, root: Node, steps: Sequence[Node]) -> Node | None:
        """What stands for the root afterwards."""
        for node in sorted(steps, key=by_order):
            if id(node) not in self.stop and (made := self.again(node)) is not None:
                self.table[id(node)] = made
        return self.table.get(id(root))

    def again(self, node: Node) -> Node | list[Node] | None:
        """A step anew; None where it may stay what it is."""
        op, inputs = node.op, node.inputs
        if op == ALIAS:
            return self.table.get(id(inputs[0]))
        if op == RESULT:
            results = self.table.get(id(inputs[0]))
            return None if results is None else self.pinned(results[node.attrs[0]], node)
        if op == SAVED:
            value = self.table.get(id(inputs[0]))
            return None if value is None else recorder.saved(value, inputs[1])
        if op == GRAD:
            operands = tuple([self.history(n) for n in inputs])
            same = all([a is b for a, b in zip(operands, inputs, strict=True)])
            return None if same else recorder.step(op, operands, node.attrs, node.type, True)
        needed = reads(op, tuple([n.type for n in inputs]), node.attrs, tuple([n.requires_grad for n in inputs]))
        present = op in _SAME_MEMORY
        operands = tuple([self.now(n) if present or i in needed else self.history(n) for i, n in enumerate(inputs)])
        if all([a is b for a, b in zip(operands, inputs, strict=True)]) and not is_rewritten(node):
            return None
        if not isinstance(node.type[-1], DType):
            return recorder.record_many(op, operands, node.attrs, node.origin)
        if len(inputs) in needed:
            return self.by_result(node, operands)
        made = recorder.record(op, operands, node.attrs, node.origin)
        return made if present and not is_rewritten(node) else self.pinned(made, node)

    def by_result(self, node: Node, operands: tuple[Node, ...]) -> Node:
        """A step whose derivative reads what it made, which is not what it would make now: Python spells the derivative out."""
        there = self.memory(node) if is_rewritten(node) else node
        wanted = tuple([n.requires_grad for n in operands])

        def deliver(gradient: Node) -> list[tuple[Node, Node]]:
            found = OPS[node.op].gradients(_Recording(), operands, (there,), (gradient,), node.attrs, wanted)
            return [(n, g) for n, g in zip(operands, found, strict=True) if g is not None]

        recorder.state.order += 1
        behind = tuple([n for n in operands if n.requires_grad])
        return Boundary((there,), node.type, node.origin, recorder.state.order, deliver, False, None, behind, there.value)

    def pinned(self, made: Node, node: Node) -> Node:
        """A step recorded again, with the contents that its readers are to see."""
        return recorder.saved(made, self.memory(node) if is_rewritten(node) else node)

    def history(self, node: Node) -> Node:
        """An operand whose contents do not matter."""
        return self.table.get(id(node), node)

    def now(self, node: Node) -> Node:
        """An operand with what its memory holds now."""
        if is_rewritten(node):
            there = self.memory(node)
            return recorder.saved(self.history(node), there) if node.requires_grad else there
        if _shown(node) is not None:
            return recorder.record(node.op, (self.now(node.inputs[0]),), node.attrs, node.origin)
        return self.history(node)

    def memory(self, node: Node) -> Node:
        """What the memory that was read as ``node`` holds now, computed: a value of the program, not a step of it."""
        there = self.contents.get(id(node))
        if there is None:
            storage, chain = node.place
            there = recorder.alias(views.read(storage, tuple([link for link in chain if type(link) is tuple])), False)
            recorder.flush((there,))
            self.contents[id(node)] = there = recorder.leaf(there.value, node.type, node.origin)
        return there


class _Recording:
    """What the book's derivatives are spelled out with: steps of the program."""

    def type(self, node: Node) -> Type:
        """Shape and dtype."""
        return node.type

    def __call__(self, op: str, operands: Sequence[Node], attrs: tuple) -> tuple[Node, ...]:
        inputs = tuple(operands)
        several = len(recorder.infer(op, inputs, attrs)) > 1
        return tuple(recorder.record_many(op, inputs, attrs)) if several else (recorder.record(op, inputs, attrs),)
