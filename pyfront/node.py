"""Node: one recorded value, slotted and typed; it only ever gets its value and lets go of its inputs.

A leaf has ``op`` None and a ``value``. A step with several results is one Node whose ``type`` is a tuple of
types; each result is a Node with op ``result``. An ``alias`` is the same value under another autograd
identity (clone, detach, a leaf that requires grad); a ``Boundary`` is an alias where backward stops and
Python takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dialects.types import Type

ALIAS = "alias"
RESULT = "result"
GRAD = "autodiff.grad"
SAVED = "autodiff.saved"
HELD = "held"  # several arrays as one Node: what a phrase made of those its last operand holds
PHRASE = "phrase"  # several steps as one Node, which a Schedule writes out (see phrases.py)
ANYWHERE = "anywhere"
FIXED = ("fixed",)  # attrs of a leaf that follows from types and options alone
EXAMPLE = "vmap.example"  # a value of one example of a vmap that is running; it has no contents


class Node:
    """One value of the recorded program.

    op, attrs, inputs: the step (book op, its attributes, operand Nodes). type: ``(shape, dtype)``.
    origin: "file.py:12" of the user's code. order: position in the recording.
    value: the array once computed (numpy's, or one in a device's memory; of a ``held`` Node a list of them). device: where it is, once placement
    has asked; ANYWHERE: it goes where it is used. overwritten: the order at which an in-place write replaced it, or 0.
    freed: backward went through it and nobody asked to keep it. place: the memory it was read from, as a Storage and a chain, once that
    was written without autograd's knowing; else the slot is empty.
    """

    __slots__ = (
        "op",
        "attrs",
        "inputs",
        "type",
        "origin",
        "requires_grad",
        "order",
        "value",
        "overwritten",
        "freed",
        "mark",
        "id",
        "device",
        "place",
        "__weakref__",
    )

    def __init__(
        self,
        op: str | None,
        attrs: tuple,
        inputs: tuple[Node, ...],
        type: Type | tuple[Type, ...],
        origin: str,
        requires_grad: bool,
        order: int,
        value: np.ndarray | None = None,
    ) -> None:
        self.op = op
        self.attrs = attrs
        self.inputs = inputs
        self.type = type
        self.origin = origin
        self.requires_grad = requires_grad
        self.order = order
        self.value = value
        self.overwritten = 0
        self.freed = False
        self.mark = 0
        self.id = -1
        self.device = None

    def __repr__(self) -> str:
        what = self.op or "leaf"
        return f"<{what} #{self.order} {self.type} {self.origin}>"


class Bundle(Node):
    """Nodes with values as one ``held`` Node, which stands for them as the last operand of a phrase, call after call.

    nodes: those, whose arrays are different ones. ids: of the arrays. bases: the inputs of flushes that read it, by Plan.
    """

    __slots__ = ("nodes", "ids", "bases")

    def __init__(self, nodes: list[Node]) -> None:
        arrays = [n.value for n in nodes]
        super().__init__(HELD, (), (), tuple([n.type for n in nodes]), "", False, 0, arrays)  # type: ignore[arg-type]  # several arrays
        self.nodes = nodes
        self.ids = frozenset(map(id, arrays))
        self.bases: dict[Any, Any] = {}


class Boundary(Node):
    """An alias that ends differentiation: a leaf that accumulates a gradient, or a tensor with Python hooks.

    deliver: called by backward with the gradient node; returns the (node, gradient node) pairs to go on with.
    label: the name a reader of the IR sees for it ("fc1.weight"), or None.
    behind: the Nodes that ``deliver`` goes on at; none for a leaf.
    """

    __slots__ = ("deliver", "leaf", "label", "behind")

    def __init__(
        self,
        source: tuple[Node, ...],
        type: Type,
        origin: str,
        order: int,
        deliver: Callable[[Any], Any],
        leaf: bool,
        label: Callable[[], str | None] | None = None,
        behind: tuple[Node, ...] = (),
        value: np.ndarray | None = None,
    ) -> None:
        self.op = ALIAS  # as Node does it, without the call: every parameter has one per step
        self.attrs = ()
        self.inputs = source
        self.type = type
        self.origin = origin
        self.requires_grad = True
        self.order = order
        self.value = value
        self.overwritten = 0
        self.freed = False
        self.mark = 0
        self.id = -1
        self.device = None
        self.deliver = deliver
        self.leaf = leaf
        self.label = label
        self.behind = behind


def open_bundle(node: Node) -> None:
    """Make a phrase that reads a bundle read what is in it."""
    if node.inputs and type(node.inputs[-1]) is Bundle:
        node.inputs = (*node.inputs[:-1], *node.inputs[-1].nodes)


def reads_several(node: Node) -> bool:
    """Whether the last operand of a Node that is to be computed stands for several."""
    return node.op == PHRASE and node.value is None and (bool(node.attrs[0].held) or bool(node.inputs) and type(node.inputs[-1]) is Bundle)
