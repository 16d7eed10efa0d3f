"""Track: whether some roots lead where a Walk went before, asked by code that was written for that walk alone.

A loop flushes the same program in every turn. A Walk writes down what it meets, so that it can be compared with what was met before;
a track compares on the way, node by node, and stops at the first that differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .node import ALIAS, GRAD, HELD, Boundary, Bundle, Node
from .walk import Walk

Track = Callable[[list[Node]], "tuple[list[Node], list[Any]] | None"]
LONGEST = 512
"""Nodes of a walk that code is written for; that of more would take longer to write than a few walks."""


def track_of(walk: Walk, recorded: list[int]) -> Track | None:
    """What gives the nodes and contents of every walk with this one's signature, and None for the roots of any other.

    recorded: positions of Nodes that were recorded in this order; walks where they were not are others, too. To be made while the Nodes are as they were met. None for walks through the tapes behind computed Nodes, and for very long ones.
    """
    nodes = walk.nodes
    if walk.goes_deep or len(nodes) > LONGEST:
        return None
    at = {id(node): position for position, node in enumerate(nodes)}
    written = _Written()
    written.unpacks("roots", [at[id(root)] for root in walk.roots])
    arrays: dict[int, int] = {}
    contents = []
    for position, node in enumerate(nodes):
        if node.value is None:
            written.is_waiting(position, node, [at[id(n)] for n in node.inputs])
            contents.append(f"n{position}.attrs")
        else:
            written.is_computed(position, node, arrays.setdefault(id(node.value), position))
            contents.append(f"n{position}.type")
    if len(recorded) > 1:
        written.refuse(f"not {' <= '.join([f'n{i}.order' for i in recorded])}")
    return written.function(len(nodes), sorted(arrays.values()), contents)


def grads_at(walk: Walk) -> list[int]:
    """Positions of the derivatives that are still to be computed."""
    return [position for position, node in enumerate(walk.nodes) if node.value is None and node.op == GRAD]


def walked(roots: list[Node], nodes: list[Node], contents: list[Any], signature: list[Any], grads: list[int]) -> Walk:
    """The walk a track found, which refers to Nodes as one that went there does; no Schedule can be made of it."""
    walk = object.__new__(Walk)
    walk.roots, walk.nodes, walk.contents, walk.signature = roots, nodes, contents, signature
    walk.grads, walk.goes_deep, walk.mark = [nodes[i] for i in grads], False, 0
    return walk


class _Written:
    """The source of a track: node ``n3`` is the one at position 3, ``v3`` its array."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.named: set[int] = set()
        self.names: dict[str, Any] = {"Boundary": Boundary, "Bundle": Bundle}
        self.ops: dict[str, str] = {}
        self.bundles: list[int] = []

    def refuse(self, *conditions: str) -> None:
        """Lines that give up where one of the conditions holds."""
        if conditions:
            self.lines += [f"if {' or '.join(conditions)}:", "    return None"]

    def unpacks(self, what: str, positions: list[int]) -> None:
        """Names for the Nodes of a list or tuple; those that have one must be the same Nodes."""
        targets, conditions = [], []
        for k, position in enumerate(positions):
            if position in self.named:
                targets.append(f"m{k}")
                conditions.append(f"m{k} is not n{position}")
            else:
                self.named.add(position)
                targets.append(f"n{position}")
        if not targets:
            self.refuse(what)
            return
        self.lines.append(f"{', '.join(targets)}, = {what}")  # another number of them is a ValueError
        self.refuse(*conditions)

    def is_waiting(self, position: int, node: Node, inputs: list[int]) -> None:
        """A Node that is still to be computed."""
        name = f"n{position}"
        op = self.ops.setdefault(str(node.op), f"op{len(self.ops)}")
        self.names[op] = node.op
        conditions = [f"{name}.value is not None", f"{name}.op != {op}", *_flags(name, node)]
        if node.op is ALIAS:
            conditions += _ends(name, node)
        self.refuse(*conditions)
        self.unpacks(f"{name}.inputs", inputs)

    def is_computed(self, position: int, node: Node, holder: int) -> None:
        """A Node with an array; holder: the first with the same one."""
        name = f"n{position}"
        conditions = [f"v{position} is None", *_flags(name, node), f"not {name}.inputs" if node.inputs else f"{name}.inputs"]
        if node.requires_grad:
            conditions += _ends(name, node)
        if holder != position:
            conditions.append(f"v{position} is not v{holder}")
        if type(node) is Bundle:
            self.bundles.append(position)
        if node.op == HELD:
            conditions.append(f"type({name}) is {'not ' if type(node) is Bundle else ''}Bundle")
        self.lines.append(f"v{position} = {name}.value")
        self.refuse(*conditions)

    def function(self, count: int, arrays: list[int], contents: list[str]) -> Track:
        """The code, compiled. arrays: the Nodes whose arrays are different ones."""
        for k, i in enumerate(self.bundles):  # nobody else has an array of theirs
            others = [f"n{j}.ids" for j in self.bundles[:k]] + [f"({', '.join([f'id(v{j})' for j in arrays if j not in self.bundles])},)"]
            self.refuse(*[f"not n{i}.ids.isdisjoint({other})" for other in others if other != "(,)"])
        if len(arrays) > 1:
            self.refuse(f"len({{{', '.join([f'id(v{i})' for i in arrays])}}}) != {len(arrays)}")
        self.lines.append(f"nodes = [{', '.join([f'n{i}' for i in range(count)])}]")
        if count > 1:
            self.refuse(f"len(set(nodes)) != {count}")
        self.lines.append(f"return nodes, [{', '.join(contents)}]")
        body = "".join(f"        {line}\n" for line in self.lines)
        source = f"def track(roots):\n    try:\n{body}    except ValueError:\n        return None\n"
        exec(compile(source, "<string>", "exec"), self.names)  # noqa: S102  # names and numbers of this file only, nothing of the user's
        return self.names["track"]


def _flags(name: str, node: Node) -> list[str]:
    """What a Node's own flags must not be."""
    return [f"{'not ' if node.requires_grad else ''}{name}.requires_grad", f"{'not ' if node.freed else ''}{name}.freed"]


def _ends(name: str, node: Node) -> list[str]:
    """What a Node must not be where it matters whether a derivative ends there."""
    if type(node) is not Boundary:
        return [f"type({name}) is Boundary"]
    return [f"type({name}) is not Boundary", f"{'not ' if node.leaf else ''}{name}.leaf"]
