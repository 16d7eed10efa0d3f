"""Products: multiply-adds of recorded steps and of their derivatives, read off what the op book makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..dialects.book import OPS
from ..dialects.graph import Graph
from ..dialects.types import Type
from .node import PHRASE, Node
from .tensor import Tensor


class Sized:
    """A value of which only the type counts. spread: how many elements it has without the zeros between them, where there are some."""

    __slots__ = ("type", "spread")

    def __init__(self, type: Type, spread: int | None = None) -> None:
        self.type, self.spread = type, spread


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors in what a call gave: one, or in tuples, lists and dictionaries."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        result = list(result.values())
    return [t for part in result for t in tensors_of(part)] if isinstance(result, (list, tuple)) else []


def steps_of(node: Node) -> list[tuple[str, tuple, list[Sized]]]:
    """The steps of the book that a Node stands for: op, attributes, what they read."""
    if node.op == PHRASE:
        return [step for inner in node.attrs[0].spelled(node) for step in steps_of(inner)]
    if node.op not in OPS or any(n.type is None for n in node.inputs):
        return []
    return [(node.op, node.attrs, [Sized(n.type, _spread(n.op, n.attrs, [i.type for i in n.inputs])) for n in node.inputs])]


def _spread(op: str | None, attrs: tuple, types: Sequence[Type]) -> int | None:
    return prod(types[0][0]) if op == "pad" and any(attrs[2]) else None


class _Counting:
    """The op book's Build that computes nothing and counts products."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, op: str, operands: tuple, attrs: tuple) -> tuple:
        self.total += multiply_adds(op, attrs, operands)
        types = [x.type for x in operands]
        return tuple([Sized(t, _spread(op, attrs, types)) for t in OPS[op].infer(tuple(types), attrs)])

    def type(self, value: Sized) -> Type:
        """Type of a value."""
        return value.type


def multiply_adds(op: str, attrs: tuple, operands: Sequence[Sized]) -> int:
    """Multiply-adds of one step: of a sum of products, of what an op is made of, of all steps of a scan's body."""
    types = tuple([x.type for x in operands])
    if op == "scan":
        body: Graph = attrs[0]
        return attrs[3] * sum(multiply_adds(o, a, [Sized(body.types[i]) for i in x]) for o, a, x in body.steps)
    stanza = OPS[op]
    if op == "conv" and operands[0].spread is not None:  # a transposed one, which multiplies what its stride put zeros between
        _, outputs, _, *window = types[1][0]
        return operands[0].spread * outputs * prod(window)
    if stanza.family == "contract":
        return prod(stanza.contraction(types, attrs).sizes.values())
    if stanza.family != "is":
        return 0
    counting = _Counting()
    stanza.open(counting, list(operands), attrs)
    return counting.total


def multiply_adds_of_gradients(op: str, attrs: tuple, operands: Sequence[Sized], wanted: Sequence[bool]) -> int:
    """Multiply-adds of one step's derivative by the wanted operands: a product's by each are as many as its own."""
    if OPS[op].family == "contract":
        return sum(wanted) * multiply_adds(op, attrs, operands)
    counting = _Counting()
    given = [Sized(t) for t in OPS[op].infer(tuple([x.type for x in operands]), attrs)]
    OPS[op].gradients(counting, list(operands), given, given, attrs, wanted)
    return counting.total
