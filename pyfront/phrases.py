"""Phrases: steps that always come together, recorded again without asking the book about each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import itemgetter

from .node import Node
from .origin import origin
from .recorder import state
from .walk import by_order

_MOST = 4096


class Phrase:
    """The steps between some operands and one result."""

    __slots__ = ("_steps",)

    def __init__(self, operands: Sequence[Node], steps: Sequence[Node]) -> None:
        """steps: as they were recorded the first time; the last one is the result."""
        place = {id(node): i for i, node in enumerate((*operands, *steps))}
        self._steps = []
        for node in steps:
            read = [place[id(n)] for n in node.inputs]
            pick = itemgetter(*read) if len(read) > 1 else itemgetter(slice(read[0], read[0] + 1)) if read else _nothing
            self._steps.append((node.op, node.attrs, pick, node.type, node.type[1].kind == "f"))

    def again(self, operands: Sequence[Node]) -> Node:
        """The result for other operands of the same types."""
        nodes, where = tuple(operands), origin()
        grad, placement = state.grad, state.placement
        for op, attrs, pick, type, is_float in self._steps:
            inputs = pick(nodes)
            if placement is not None:
                placement.check(op, inputs)
            tracked = False
            if is_float and grad:
                for n in inputs:
                    if n.requires_grad:
                        tracked = True
                        break
            state.order = order = state.order + 1
            node = Node(op, attrs, inputs, type, where, tracked, order)
            nodes += (node,)
        return node


def _nothing(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    return ()


class Phrases(dict[Hashable, Phrase]):
    """Phrases by what they depend on: the operands' types, options, or whatever else the caller tells them apart by."""

    def keep(self, key: Hashable, operands: Sequence[Node], result: Node) -> Node:
        """Note what was just recorded; gives ``result``."""
        steps = _between(operands, result)
        if steps is not None:
            if len(self) >= _MOST:
                self.clear()
            self[key] = Phrase(operands, steps)
        return result


def _between(operands: Sequence[Node], result: Node) -> list[Node] | None:
    """The steps from the operands to a result, in the order they were recorded. None where they are no phrase: operands that are the
    same Node (what is read cannot be told apart), values from elsewhere, steps with several results."""
    met, found, stack = {id(node) for node in operands}, [], [result]
    if len(met) < len(operands):
        return None
    while stack:
        node = stack.pop()
        if id(node) not in met:
            if node.value is not None or node.op is None or type(node.type[-1]) is tuple:
                return None
            met.add(id(node))
            found.append(node)
            stack += node.inputs
    return sorted(found, key=by_order) or None
