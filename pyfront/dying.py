"""Dying: the inputs of a flush that nobody can read after it, so that results may be made in their memory.

An array may be overwritten when all that refers to it is Nodes of this walk that go away with it. Which Nodes stay is known
beforehand, from the program, for all but what user code may hold without a Storage knowing (a Tensor whose memory has moved on, a
hook, a Function's context): that shows in reference counts, which are compared with what the walk itself accounts for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter
from sys import getrefcount

from .node import Bundle, Node
from .walk import Walk

_MOST_PATTERNS = 32


def _looking() -> int:
    """What looking through a list and a tuple adds to a reference count; interpreters differ."""
    nodes = [Node(None, (), (), (), "", False, 0) for _ in range(2)]  # type: ignore[arg-type]  # never read
    return list(map(getrefcount, itemgetter(0, 1)(nodes)))[0] - 1


LOOKING = _looking()
"""That number."""


class Dying:
    """For the walks one Plan fits. spare: input -> how many Nodes of the walk hold its array."""

    __slots__ = ("spare", "holders", "inputs_of", "looked_at", "expected", "_pick", "_known")

    def __init__(self, walk: Walk, inputs: list[int], roots: set[int], staying: set[int], cleared: set[int]) -> None:
        """inputs: positions of Nodes whose values are the arrays. roots: get their values now. staying: keep their own inputs
        afterwards. cleared: lose them."""
        nodes = walk.nodes
        at = {id(node): position for position, node in enumerate(nodes)}
        self.inputs_of = [tuple(at[id(n)] for n in node.inputs if id(n) in at) for node in nodes]
        alive = self._reached(staying)
        holders: dict[int, list[int]] = {}
        for position, node in enumerate(nodes):
            if node.value is not None:
                holders.setdefault(id(node.value), []).append(position)
        self.holders = {i: holders[id(nodes[position].value)] for i, position in enumerate(inputs)}
        self.spare = {i: len(held) for i, held in self.holders.items() if not alive.intersection(held) and not any([type(nodes[p]) is Bundle for p in held])}
        held = {position for i in self.spare for position in self.holders[i]}
        inner = {p for p, before in enumerate(self.inputs_of) if before and p not in alive and p not in roots and p not in cleared}
        self.looked_at = sorted(held | inner)
        tuples = {id(node.inputs): node.inputs for node in nodes}  # the results of a step share one
        uses = Counter(id(n) for inputs in tuples.values() for n in inputs)
        self.expected = tuple([LOOKING + 1 + uses[id(nodes[p])] for p in self.looked_at])
        self._pick = itemgetter(*self.looked_at) if len(self.looked_at) > 1 else None
        self._known = {self.expected: self.spare}

    def _reached(self, positions: Iterable[int]) -> set[int]:
        """The positions, and all that their Nodes are computed from."""
        reached, stack = set(), list(positions)
        while stack:
            position = stack.pop()
            if position not in reached:
                reached.add(position)
                stack += self.inputs_of[position]
        return reached

    def of(self, nodes: list[Node]) -> dict[int, int]:
        """``spare`` for a walk that is about to be computed."""
        if self._pick is None:
            return {}
        counts = tuple(map(getrefcount, self._pick(nodes)))
        found = self._known.get(counts)
        if found is None:
            held = [p for p, count, expected in zip(self.looked_at, counts, self.expected, strict=True) if count != expected]
            alive = self._reached(held)
            found = {i: n for i, n in self.spare.items() if not alive.intersection(self.holders[i])}
            if len(self._known) > _MOST_PATTERNS:
                self._known = {self.expected: self.spare}
            self._known[counts] = found
        return found
