"""Level: one vmap that is running. Its function is recorded for one example, and then for all of them at once.

The function sees tensors of one example's shape. Their memory holds example Nodes, which have no value: what the
function records on them is a program about one example, and ``all_of`` turns it into the same program about all, op by
op, by the rules that the op book implies (``dialects/book/batching.py``). Levels nest: what the inner one records
instead is a program about one example of the outer one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...dialects.book import OPS, Batched, Batching
from ...dialects.types import Type, dtype_of
from .. import recorder
from ..hooks import Watched, hooks_of, watch
from ..node import ALIAS, EXAMPLE, GRAD, RESULT, SAVED, Boundary, Node
from ..storage import Storage
from ..tensor import Tensor, wrap
from ..walk import by_order

_ITEM = (
    "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, "
    "please try to rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch "
    "internals, please file a bug report."
)
_WRITTEN = (
    "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args that "
    "has more elements than `self`. This happened due to `other` being vmapped over but `self` not being vmapped over in "
    "a vmap. Please try to use out-of-place operators instead of inplace arithmetic. If said operator is being called "
    "inside the PyTorch framework, please file a bug report instead."
)
_RANDOM = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' randomness "
    "flags on vmap or perform the randomness operation out of vmap"
)


def nowhere(_: Node) -> list[tuple[Node, Node]]:
    """Where the gradient of an argument goes that only this differentiation knows: it is collected, not delivered."""
    return []


class _Recording:
    """The build that records book ops with the origin and the tracking of the Node they stand for."""

    __slots__ = ("where",)

    def type(self, node: Node) -> Type:
        return node.type

    def __call__(self, op: str, operands: tuple[Node, ...], attrs: tuple) -> tuple[Node, ...]:
        if len(OPS[op].infer(tuple([n.type for n in operands]), tuple(attrs))) > 1:
            made = recorder.record_many(op, operands, tuple(attrs))
            made[0].inputs[0].origin = self.where
        else:
            made = [recorder.record(op, operands, tuple(attrs))]
        for node in made:
            node.origin = self.where
        return tuple(made)


class Level:
    """size: how many examples. randomness: what random numbers are inside: "error", "same" or "different"."""

    def __init__(self, size: int, randomness: str = "error") -> None:
        self.size = size
        self.randomness = randomness
        self.start = recorder.state.order
        self._record = _Recording()
        self._build = Batching(self._record, OPS, size)
        # By id of a Node about one example: the Node (kept alive), and what stands for it.
        self._found: dict[int, tuple[Node, Any]] = {}
        self._depends: dict[int, tuple[Node, bool]] = {}

    def __enter__(self) -> Level:
        recorder.state.levels.append(self)
        recorder.state.watchers.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        recorder.state.watchers.remove(self)
        recorder.state.levels.remove(self)
        recorder.forget_examples()

    # -- examples

    def example(self, every: Node) -> Node:
        """The Node of one example of ``every``, whose first dimension is the batch."""
        shape, dtype = every.type
        recorder.state.order += 1
        node = Node(EXAMPLE, (), (), (shape[1:], dtype), every.origin, every.requires_grad, recorder.state.order)
        if recorder.state.placement is not None:
            node.device = recorder.state.placement.device_of(every)
        self._found[id(node)] = (node, Batched(every))
        self._depends[id(node)] = (node, True)
        return node

    def depends(self, node: Node) -> bool:
        """True when a Node's value differs between the examples of this level."""
        start, known = self.start, self._depends
        if node.order <= start:
            return False
        stack = [node]
        while stack:
            at = stack[-1]
            if id(at) in known:
                stack.pop()
                continue
            inner = [n for n in at.inputs if n.order > start]
            if any([known[id(n)][1] for n in inner if id(n) in known]):
                known[id(at)] = (at, True)
                stack.pop()
                continue
            waiting = [n for n in inner if id(n) not in known]
            if waiting:
                stack += waiting
                continue
            known[id(at)] = (at, False)
            stack.pop()
        return known[id(node)][1]

    def check_write(self, storage: Storage, node: Node) -> None:
        """RuntimeError when memory from outside would get values that differ between the examples."""
        if storage.born <= self.start and self.depends(node):
            raise RuntimeError(_WRITTEN)

    # -- from one example to all

    def all_of(self, nodes: Sequence[Node]) -> list[Node | Batched]:
        """What the Nodes are for all examples: Batched where they differ, else the Node itself."""
        self._translate(nodes)
        return [self._of(n) for n in nodes]

    def every(self, node: Node) -> Node:
        """A Node with the batch in front, repeated where all examples have the same."""
        (found,) = self.all_of([node])
        return self.spread(found, node.origin)

    def _of(self, node: Node) -> Any:
        entry = self._found.get(id(node))
        return entry[1] if entry is not None else node

    def _put(self, node: Node, found: Any) -> None:
        self._found[id(node)] = (node, found)

    def spread(self, found: Node | Batched, where: str) -> Node:
        self._record.where = where
        return self._build.spread(found)

    def _translate(self, roots: Sequence[Node]) -> None:
        nodes = self._program(roots)
        differ, forced = self._differing(nodes)
        before = recorder.state.grad
        overwritten: list[tuple[int, Node]] = []
        try:
            for node in nodes:
                if id(node) in self._found:
                    continue
                while overwritten and overwritten[0][0] < node.order:
                    overwritten.pop(0)[1].overwritten = recorder.state.order
                recorder.state.grad = node.requires_grad
                self._record.where = node.origin
                if id(node) in forced and id(node) not in differ:
                    self._put(node, Batched(self._build.spread(node)))
                elif id(node) in differ:
                    self._put(node, self._one(node))
                    found = self._of(node)
                    if type(found) is Batched:
                        found.value.freed = node.freed
                        if type(node) is Watched:
                            watch(found.value).update({k: self._hook_of_all(h) for k, h in enumerate(hooks_of(node))})
                        if node.overwritten:
                            overwritten.append((node.overwritten, found.value))
                            overwritten.sort(key=lambda pair: pair[0])
        finally:
            recorder.state.grad = before
        for _, node in overwritten:
            node.overwritten = recorder.state.order

    def _hook_of_all(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[Tensor], Tensor | None]:
        """A hook about one example, for the gradients of all of them."""

        def of_all(gradient: Tensor) -> Tensor | None:
            with self:
                changed = hook(wrap(self.example(gradient._read())))
                return None if changed is None else wrap(self.every(changed._read()))

        return of_all

    def _program(self, roots: Sequence[Node]) -> list[Node]:
        """What the roots need, in recording order: Nodes of this level, and older ones between a loss of this level
        and a value outside that it is differentiated by."""
        seen: dict[int, Node] = {}
        bound, stack = self.start, list(roots)
        while True:
            while stack:
                node = stack.pop()
                if id(node) in seen or node.order <= bound:
                    continue
                seen[id(node)] = node
                stack += node.inputs
            outside = [
                w.order for n in seen.values() if n.op == GRAD and n.value is None and self.depends(n.inputs[0])
                for w in n.inputs[2:]
            ]  # fmt: skip
            lowest = min(outside, default=self.start) - 1
            if lowest >= bound:
                return sorted(seen.values(), key=by_order)
            bound = lowest
            stack = list(roots)
            seen = {}

    def _differing(self, nodes: Sequence[Node]) -> tuple[set[int], set[int]]:
        """Which Nodes differ between examples, and which are made to: what a loss that differs is differentiated by."""
        forced: set[int] = set()
        while True:
            differ = {id(n) for n in nodes if type(self._of(n)) is Batched}
            for node in nodes:
                if any([id(n) in differ or id(n) in forced or type(self._of(n)) is Batched for n in node.inputs]):
                    differ.add(id(node))
            more = {
                id(w) for n in nodes if n.op == GRAD and id(n.inputs[0]) in differ | forced for w in n.inputs[2:]
                if id(w) not in differ
            }  # fmt: skip
            if more <= forced:
                return differ, forced
            forced |= more

    def _one(self, node: Node) -> Any:
        """What one Node is for all examples."""
        op = node.op
        if op == ALIAS:
            return self._boundary(node) if type(node) is Boundary else self._alias(node)
        if op == RESULT:
            found = self._of(node.inputs[0])[node.attrs[0]]
            if type(found) is Batched and not node.requires_grad:  # of several gradients each is tracked for itself
                found.value.requires_grad = False
            return found
        if op == GRAD:
            return self._gradient(node)
        if op == SAVED:
            value, contents = [self._build.spread(self._of(n)) for n in node.inputs]
            return Batched(recorder.saved(value, contents))
        results = self._build(op, tuple([self._of(n) for n in node.inputs]), node.attrs)
        return results if type(node.type[-1]) is tuple else results[0]

    def _alias(self, node: Node) -> Batched:
        source = self._build.spread(self._of(node.inputs[0]))
        return Batched(recorder.alias(source, requires_grad=node.requires_grad))

    def _boundary(self, node: Boundary) -> Batched:
        """Where Python goes on with a gradient, for all examples: what it does with one is recorded, and translated."""
        sources = tuple([self._of(n) for n in node.inputs])
        sources = tuple([s.value if type(s) is Batched else s for s in sources])
        if node.deliver is nowhere:
            return Batched(self._at_boundary(node, sources, nowhere))

        def deliver(gradient: Node) -> list[tuple[Node, Node]]:
            with self:
                pairs = node.deliver(self.example(gradient))
                self._translate([n for pair in pairs for n in pair])
                return [self._arriving(*pair) for pair in pairs]

        return Batched(self._at_boundary(node, sources, deliver))

    def _at_boundary(self, node: Boundary, sources: tuple[Node, ...], deliver: Callable) -> Boundary:
        (shape, dtype), known = node.type, [self._of(n) for n in node.behind]
        behind = tuple([n.value if type(n) is Batched else n for n in known])
        recorder.state.order += 1
        order, type_ = recorder.state.order, ((self.size, *shape), dtype)
        return Boundary(sources, type_, node.origin, order, deliver, node.leaf, node.label, behind)

    def _arriving(self, node: Node, gradient: Node) -> tuple[Node, Node]:
        """A gradient on its way to a Node: of each example, or the sum of all where they share the value."""
        target, found = self._of(node), self._of(gradient)
        every = self.spread(found, node.origin)
        if type(target) is Batched:
            return target.value, every
        total = recorder.record("sum", (every,), ((0,),))
        return node, recorder.record("reshape", (total,), (node.type[0],))

    def _gradient(self, node: Node) -> tuple[Batched, ...]:
        """An ``autodiff.grad``. If the loss differs, every example's gradients are those of all losses at once, by
        what is differentiated by, one for each example. If only the seed does, it is several seeds."""
        loss, seed, *wrt = [self._of(n) for n in node.inputs]
        types = [n.type for n in node.inputs[2:]]
        seeds = node.inputs[1].type[0][: len(node.inputs[1].type[0]) - len(node.inputs[0].type[0])]
        every, build, size = self._build.spread(seed), self._build, self.size
        if type(loss) is Batched:
            if seeds:
                every = self._swapped(every)
            values = [build.spread(w) for w in wrt]
            results = self._grad(node, loss.value, every, values, [((*seeds, size, *s), d) for s, d in types])
            return tuple([Batched(self._swapped(r) if seeds else r) for r in results])
        if seeds:
            every = build.reshaped(every, (size * seeds[0], *node.inputs[0].type[0]))
        plain = [n for n, w in zip(node.inputs[2:], wrt, strict=True) if type(w) is not Batched]
        count = size * seeds[0] if seeds else size
        results = iter(self._grad(node, loss, every, plain, [((count, *s), d) for s, d in (n.type for n in plain)]))
        found = []
        for n, w in zip(node.inputs[2:], wrt, strict=True):
            shape = (size, *seeds, *n.type[0])
            made = build.op("full", shape, 0.0, n.type[1]) if type(w) is Batched else build.reshaped(next(results), shape)
            found.append(Batched(made))
        return tuple(found)

    def _grad(self, node: Node, loss: Node, seed: Node, wrt: Sequence[Node], types: Sequence[Type]) -> list[Node]:
        if not wrt:
            return []
        made = recorder.step(GRAD, (loss, seed, *wrt), (), tuple(types), node.requires_grad)
        made[0].inputs[0].origin = node.origin
        for result in made:
            result.origin = node.origin
        return made

    def _swapped(self, node: Node) -> Node:
        """The first two dimensions exchanged: the batch and several seeds."""
        return self._build.permuted(node, (1, 0, *range(2, len(node.type[0]))))


# -- asked by the rest of the frontend while a level runs


def _differs(node: Node) -> bool:
    return any([level.depends(node) for level in recorder.state.levels])


def refuse(node: Node, sentence: str = _ITEM) -> None:
    """RuntimeError when a value that differs between examples is asked for as a number."""
    if _differs(node):
        raise RuntimeError(sentence)


def refuse_control_flow(node: Node) -> None:
    """RuntimeError for ``if x > 0`` about one example."""
    refuse(
        node,
        "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that "
        "yet, please file an issue at https://github.com/pytorch/pytorch/issues .",
    )


def refuse_memory(node: Node) -> None:
    """RuntimeError for the memory of one example."""
    refuse(node, "Cannot access data pointer of Tensor that doesn't have storage")


def refuse_mask(node: Node) -> None:
    """RuntimeError for a selection by a mask, whose size would be another for each example."""
    refuse(
        node,
        "vmap: We do not support batching operators that can support dynamic shape. Attempting to batch over indexing with "
        "a boolean mask.",
    )


def refuse_dynamic(node: Node, what: str) -> None:
    """RuntimeError for a result whose shape would be another for each example."""
    refuse(
        node,
        f"vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over aten::{what}. "
        "Please file an issue at https://github.com/pytorch/pytorch/issues if you need this feature.",
    )


def host(*nodes: Node) -> tuple[list[Level], list[np.ndarray]]:
    """The values of all examples, computed now, for what is done on the host: the levels some Node differs on, and
    arrays with a dimension for each of these in front."""
    levels = [level for level in recorder.state.levels if any([level.depends(n) for n in nodes])]
    arrays = []
    for node in nodes:
        for level in reversed(levels):
            node = level.every(node)
        arrays.append(recorder.value(node))
    return levels, arrays


def from_host(levels: list[Level], array: np.ndarray) -> Tensor:
    """What the host made of them, as a tensor about one example."""
    node = recorder.leaf(array, (array.shape, dtype_of(array.dtype)))
    for level in levels:
        node = level.example(node)
    return wrap(node)


def everything(node: Node) -> np.ndarray:
    """The values of all examples: enough to see whether indices are in range."""
    return host(node)[1][0]


def sample(shape: tuple[int, ...], draw: Callable[[tuple[int, ...]], Node]) -> Node:
    """Random numbers inside of vmap: drawn once for all examples, or once for each."""
    levels: list[Level] = recorder.state.levels
    if any([level.randomness == "error" for level in levels]):
        raise RuntimeError(_RANDOM)
    different = [level for level in levels if level.randomness == "different"]
    node = draw((*[level.size for level in different], *shape))
    for level in different:
        node = level.example(node)
    return node


def show_batch(tensor: Tensor, show: Callable[[Tensor], str]) -> str | None:
    """How a tensor about one example prints: with all of them. None for any other tensor."""
    node = tensor._read()
    for number, level in reversed(list(enumerate(recorder.state.levels, 1))):
        if level.depends(node):
            inner = show(wrap(level.every(node))).replace("\n", "\n    ")
            return f"BatchedTensor(lvl={number}, bdim=0, value=\n    {inner}\n)"
    return None
