"""Hub: several results whose backward is one piece of Python.

Each result stands behind a Boundary, all of them in front of one more, the hub: the results only put their gradient aside,
and the hub, which backward reaches after all of them, goes on once with everything that arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..dialects.types import float32
from . import recorder
from .node import Boundary, Node
from .origin import origin
from .promote import full

Pairs = list[tuple[Node, Node]]

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


class Running:
    """One run of backward: a number of its own, whether the graph is kept, whether gradients are collected rather than
    accumulated, and what is called when it ends."""

    _last = 0

    def __init__(self, retains: bool, collects: bool) -> None:
        Running._last += 1
        self.number = Running._last
        self.retains = retains
        self.collects = collects
        self.at_end: list[Callable[[], None]] = []


running: list[Running] = []  # innermost last
afterwards: list[Callable[[], None]] = []  # what is called, once, when the outermost backward has delivered everything


def call_afterwards() -> None:
    """The end of the outermost backward."""
    while afterwards:
        afterwards.pop(0)()


def behind_hub(
    sources: Sequence[Node], behind: tuple[Node, ...], go_on: Callable[[list[Node | None]], Pairs]
) -> list[Boundary]:
    """The results as tracked Nodes. go_on: called with the gradient of each (None: none came), gives the Nodes to go on at,
    which are among ``behind``, and their gradients."""
    gradients: list[Node | None] = [None] * len(sources)

    def deliver(_: Node) -> Pairs:
        arrived, gradients[:] = list(gradients), [None] * len(gradients)
        return go_on(arrived)

    recorder.state.order += 1
    start = Node("full", ((), 0.0, float32), (), ((), float32), origin(), False, recorder.state.order)
    recorder.state.order += 1
    # Inside of vmap the hub differs between examples where a result does, so that its gradients are everyone's.
    under = tuple(sources) if recorder.state.levels else (start,)
    hub = Boundary(under, start.type, start.origin, recorder.state.order, deliver, False, None, behind)

    def put_aside(k: int) -> Callable[[Node], Pairs]:
        def put(gradient: Node) -> Pairs:
            gradients[k] = gradient
            return [(hub, full(0.0, *hub.type))]  # the hub's turn comes when all results have had theirs

        return put

    made = []
    for k, source in enumerate(sources):
        recorder.state.order += 1
        node = Boundary((source,), source.type, origin(), recorder.state.order, put_aside(k), False, None, (hub,))
        node.value = source.value
        made.append(node)
    return made
