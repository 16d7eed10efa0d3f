"""Track: whether some roots lead where a Walk went before, asked by code that was written for that walk alone, or of C.

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
    roots = [at[id(root)] for root in walk.roots]
    holders: dict[int, int] = {}
    rows = [
        _Met(node, [at[id(n)] for n in node.inputs]) if node.value is None else _Met(node, [], holders.setdefault(id(node.value), position))
        for position, node in enumerate(nodes)
    ]
    if Native.track is not None and not any([type(node) is Bundle for node in nodes]):
        return _native(roots, rows, recorded)
    return _written(roots, rows, recorded, holders)


class Native:
    """What makes tracks in C (stepping.c), once a program flushes again and again."""

    track: Callable[[int, list[tuple], list[int], list[int]], Track | None] | None = None


class _Met:
    """A Node as it was met. inputs: positions of what it is to be computed from; holder: the first Node with the same array, if it is computed."""

    def __init__(self, node: Node, inputs: list[int], holder: int = -1) -> None:
        self.node, self.inputs, self.holder = node, inputs, holder

    def end(self) -> int:
        """Whether it matters if a derivative ends there (0: no), and what did (1: none, 2: one that goes on behind it, 3: one at a leaf)."""
        node = self.node
        if not (node.op is ALIAS if self.holder < 0 else node.requires_grad):
            return 0
        return 1 if type(node) is not Boundary else 3 if node.leaf else 2


def _native(roots: list[int], rows: list[_Met], recorded: list[int]) -> Track | None:
    """As lists of numbers, for C: places are positions, or, below 0, -1 minus that of a Node which was met before."""
    assert Native.track is not None
    places: list[int] = []
    named: set[int] = set()

    def name(positions: list[int]) -> int:
        start = len(places)
        for position in positions:
            places.append(-1 - position if position in named else position)
            named.add(position)
        return start

    name(roots)
    told = []
    for row in rows:
        node = row.node
        is_waiting = row.holder < 0
        count = len(row.inputs) if is_waiting else int(bool(node.inputs))
        told.append((node.op if is_waiting else None, count, name(row.inputs), int(node.requires_grad), int(node.freed), row.end(), row.holder))
    return Native.track(len(roots), told, places, recorded)


def _written(roots: list[int], rows: list[_Met], recorded: list[int], arrays: dict[int, int]) -> Track:
    """As Python. arrays: the Nodes whose arrays are different ones, by the array."""
    written = _Written()
    written.unpacks("roots", roots)
    contents = []
    for position, row in enumerate(rows):
        if row.holder < 0:
            written.is_waiting(position, row)
            contents.append(f"n{position}.attrs")
        else:
            written.is_computed(position, row)
            contents.append(f"n{position}.type")
    if len(recorded) > 1:
        written.refuse(f"not {' <= '.join([f'n{i}.order' for i in recorded])}")
    return written.function(len(rows), sorted(arrays.values()), contents)


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

    def is_waiting(self, position: int, row: _Met) -> None:
        """A Node that is still to be computed."""
        name, node = f"n{position}", row.node
        op = self.ops.setdefault(str(node.op), f"op{len(self.ops)}")
        self.names[op] = node.op
        self.refuse(f"{name}.value is not None", f"{name}.op != {op}", *_flags(name, node), *_ENDS[row.end()](name))
        self.unpacks(f"{name}.inputs", row.inputs)

    def is_computed(self, position: int, row: _Met) -> None:
        """A Node with an array."""
        name, node = f"n{position}", row.node
        conditions = [f"v{position} is None", *_flags(name, node), f"not {name}.inputs" if node.inputs else f"{name}.inputs", *_ENDS[row.end()](name)]
        if row.holder != position:
            conditions.append(f"v{position} is not v{row.holder}")
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


_ENDS: tuple[Callable[[str], list[str]], ...] = (
    lambda _: [],
    lambda name: [f"type({name}) is Boundary"],
    lambda name: [f"type({name}) is not Boundary", f"{name}.leaf"],
    lambda name: [f"type({name}) is not Boundary", f"not {name}.leaf"],
)
"""What a Node must not be where it matters whether a derivative ends there, by `_Met.end`."""
