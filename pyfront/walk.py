"""Walk: everything some roots need, found in an order that only the program decides, with a signature of it.

Runs at every flush of every training step, so it is written for speed: marks on the Nodes instead of sets,
positions on the Nodes instead of dictionaries.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from .node import ALIAS, GRAD, Boundary, Node

by_order = attrgetter("order")
_last_mark = 0


def fresh_mark() -> int:
    """A number no Node is marked with yet; neither is the next one."""
    global _last_mark
    _last_mark += 2
    return _last_mark


class Walk:
    """nodes: in the order they were met, roots last to first. Computed Nodes are leaves, except under a
    derivative.

    signature, contents: two walks with both equal met the same program: the same ops over the same operands, the same buffers shared,
    the same tracked, freed and computed Nodes (signature); the same attributes, and types of leaves (contents, one for each Node that is
    spelled out). The signature is a prefix code of the walk: a Node met before is its position, a new one spells itself out.
    mark: what the Nodes are marked with; one more where a derivative goes through.
    grads: the ``autodiff.grad`` Nodes still to be computed. goes_deep: some derivative goes through computed Nodes.
    """

    __slots__ = ("roots", "nodes", "signature", "contents", "mark", "grads", "goes_deep", "_buffers")

    def __init__(self, roots: list[Node]) -> None:
        self.roots = roots
        self.mark = fresh_mark()
        self.nodes: list[Node] = []
        self.signature: list[Any] = [len(roots)]
        self.contents: list[Any] = []
        self.grads: list[Node] = []
        self.goes_deep = False
        self._buffers: dict[int, int] = {}
        self._meet(list(roots))
        self.goes_deep = self.goes_deep and bool(self.grads)
        if self.goes_deep:
            self._follow_tapes()

    def _meet(self, stack: list[Node]) -> None:
        """Go down from the Nodes on the stack to what is computed."""
        mark, nodes, signature, contents, buffers = self.mark, self.nodes, self.signature, self.contents, self._buffers
        while stack:
            node = stack.pop()
            if node.mark >= mark:
                signature.append(node.id)
                continue
            node.mark = mark
            node.id = at = len(nodes)
            nodes.append(node)
            if node.value is None:
                op, inputs = node.op, node.inputs
                signature += (op, node.requires_grad, node.freed, len(inputs))
                contents.append(node.attrs)
                stack += inputs
                if op is ALIAS:
                    signature.append(node.leaf if type(node) is Boundary else None)
                elif op == GRAD:
                    self.grads.append(node)
                continue
            tracked, inner = node.requires_grad, bool(node.inputs)
            signature += (None, buffers.setdefault(id(node.value), at), tracked, node.freed, inner)
            contents.append(node.type)
            if tracked:
                boundary = type(node) is Boundary
                signature.append(node.leaf if boundary else None)
                if inner and not boundary:
                    self.goes_deep = True

    def _follow_tapes(self) -> None:
        """The steps behind computed Nodes that derivatives go through."""
        tape, signature, grads = self.mark + 1, self.signature, self.grads
        followed = 0
        while followed < len(grads):  # the tapes may show more of them
            stack = [grads[followed].inputs[0]]
            followed += 1
            while stack:
                node = stack.pop()
                self._meet([node])
                if node.mark == tape or not node.requires_grad:
                    continue
                node.mark = tape
                if type(node) is Boundary:
                    continue
                if node.value is not None:
                    signature += (node.op, len(node.inputs))
                    self.contents.append(node.attrs)
                stack += node.inputs
