"""The calls of a program as makers and readers of values: who wrote what a call finds in a storage."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .storage import Call, Home, Loop, Row, Storage

Item = Call | Loop


@dataclass(eq=False, slots=True)
class Value:
    """The contents one item gives a storage. maker: its place among the calls (-1: they were there before)."""

    maker: int
    home: Home | None
    storage: Storage
    readers: list[int] = field(default_factory=list)
    outlives: bool = False
    """Whether somebody else may look: the caller, a loop, a part of a buffer."""


class CallValues:
    """Values of a list of calls. read[k], made[k]: of its k-th item, one per operand and result."""

    def __init__(self, calls: Sequence[Item]) -> None:
        self.read: list[list[Value]] = []
        self.made: list[list[Value]] = []
        current: dict[Storage, Value] = {}
        for k, item in enumerate(calls):
            reads = [self._current(current, storage) for storage, _ in operands_of(item)]
            for value, (storage, _) in zip(reads, operands_of(item), strict=True):
                value.readers.append(k)
                value.outlives |= isinstance(item, Loop) or type(storage) is not Storage
            self.read.append(reads)
            made = []
            for storage, held in results_of(item):
                whole = isinstance(item, Call) and type(storage) is Storage
                if not whole:  # a part is written: what is there is both the old and the new
                    old = self._current(current, storage)
                    old.readers.append(k)
                    old.outlives = True
                value = Value(k, (storage, held) if whole else None, whole_of(storage), [], not whole or storage.argument is not None)
                current[whole_of(storage)] = value
                made.append(value)
            self.made.append(made)
        for storage, value in current.items():
            value.outlives |= storage.argument is not None

    @staticmethod
    def _current(current: dict[Storage, Value], storage: Storage) -> Value:
        whole = whole_of(storage)
        if whole not in current:
            current[whole] = Value(-1, None, whole, [], True)
        return current[whole]


def whole_of(storage: Storage) -> Storage:
    """The storage itself, or the one it is a part of."""
    while isinstance(storage, Row):
        storage = storage.base
    return storage


def operands_of(item: Item) -> list[Home]:
    """What an item reads; of a loop, all that its calls read or write."""
    if isinstance(item, Call):
        return item.operands
    return [home for inner in item.items for home in (*operands_of(inner), *results_of(inner))]


def results_of(item: Item) -> list[Home]:
    """What an item writes."""
    if isinstance(item, Call):
        return item.results
    return [home for inner in item.items for home in results_of(inner)]


def last_step(item: Item) -> int:
    """The last step of an item's calls."""
    return item.step if isinstance(item, Call) else max((last_step(inner) for inner in item.items), default=0)


def scratches_of(item: Item) -> Iterator[Storage]:
    """Scratch memory of an item's calls."""
    if isinstance(item, Loop):
        for inner in item.items:
            yield from scratches_of(inner)
    elif item.scratch is not None:
        yield item.scratch


@dataclass(eq=False, slots=True)
class Node:
    """An item in a new order. place: where it would stand by itself; reads, makes: values of the old order."""

    item: Item | None
    place: int
    reads: list[Value]
    makes: list[Value]


def in_order(nodes: Sequence[Node]) -> list[Node] | None:
    """The nodes so that every value is made before it is read, each as near to its place as can be; None for a cycle or
    where a storage would hold another value than the reader expects.
    """
    maker = {value: node for node in nodes for value in node.makes}
    waiting = {node: {maker[v] for v in node.reads if v in maker and maker[v] is not node} for node in nodes}
    followers: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node, needed in waiting.items():
        for other in needed:
            followers[other].append(node)
    number = {node: k for k, node in enumerate(nodes)}
    ready = [(node.place, number[node]) for node in nodes if not waiting[node]]
    heapq.heapify(ready)
    found: list[Node] = []
    while ready:
        node = nodes[heapq.heappop(ready)[1]]
        found.append(node)
        for follower in followers[node]:
            waiting[follower].discard(node)
            if not waiting[follower]:
                heapq.heappush(ready, (follower.place, number[follower]))
    return found if len(found) == len(nodes) and _finds_its_values(found, _values_before(nodes)) else None


def _values_before(nodes: Sequence[Node]) -> Mapping[Storage, Value]:
    """What storages hold before all nodes: values that are read, but made by none of them."""
    made = {value for node in nodes for value in node.makes}
    return {v.storage: v for node in nodes for v in node.reads if v not in made}


def _finds_its_values(nodes: Sequence[Node], before: Mapping[Storage, Value]) -> bool:
    current = dict(before)
    last: dict[Storage, Value] = {}
    for node in nodes:
        for value in node.reads:
            if current.get(value.storage) is not value:
                return False
        for value in node.makes:
            current[value.storage] = value
            if value.storage not in last or last[value.storage].maker < value.maker:
                last[value.storage] = value
    return all(current[storage] is value for storage, value in last.items())
