"""Backward and grad: backward as ONE recorded ``autodiff.grad`` node per root.

Backward walks the tracked Nodes once, in Python, only to find the leaves and to raise PyTorch's errors;
derivatives are written out by the compiler on a cache miss. Where Python must have its say (a hook on an
intermediate tensor) a Boundary ends differentiation, and backward goes on behind it with what Python
returned.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from ...dialects.types import Type, show_type, size_of
from .. import recorder, storage
from ..assignment import title
from ..grad_fn import GradientEdge
from ..hub import FREED, Running, afterwards, call_afterwards, running
from ..hooks import Watched, retaining, seen_by, watch_retaining
from ..leaves import Accumulation, Gradient, accumulate, added, seen
from ..origin import origin
from ..node import ALIAS, GRAD, RESULT, SAVED, Boundary, Node
from ..promote import cast, full
from ..residuals import differentiable_again, overwritten, reads, saves, was_overwritten
from ..size import Size
from ..tensor import Tensor, wrap
from ..walk import by_order, fresh_mark
from .anomaly_mode import examine, is_on
from .present_contents import reads_rewritten, with_present_contents

_ones: dict[Type, Node] = {}
_MOST_ONES = 64


def _check(node: Node) -> None:
    """PyTorch's errors for a step whose saved values are gone."""
    if node.freed and (saves(node) or not differentiable_again(node, recorder.state.flushed)):
        raise RuntimeError(FREED)
    stale = overwritten(node)
    if stale is not None and not recorder.state.keeps_old:
        shape, dtype = stale.type
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[torch.{title(dtype)}Tensor {list(shape)}], made at {stale.origin} and used by {node.op} at {node.origin}, was overwritten since. "
            "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
            "torch.autograd.set_detect_anomaly(True)."
        )


def _tape(root: Node, stop: Set[int]) -> tuple[list[Node], list[Boundary | Node]]:
    """Tracked steps behind ``root``, and where differentiation ends: Boundaries, and Nodes whose id is in
    ``stop``. RuntimeError when values a derivative needs are gone.

    Both come in the order the walk meets them: the same for the same program, however old the leaves are.
    """
    mark = fresh_mark()
    root.mark = mark
    stack = [root]
    steps: list[Node] = []
    ends: list[Node] = []
    doubtful: list[Node] = []
    while stack:
        node = stack.pop()
        resumed = node is root and type(node) is Watched  # its hooks were called: this is the way on
        stopped = bool(stop) and _identity(node) in stop and not resumed
        watched = type(node) is Watched and not resumed
        if stopped or watched or type(node) is Boundary:
            ends.append(node)
        if watched or type(node) is Boundary:
            continue
        steps.append(node)
        order, suspicious = node.order, node.freed or node.overwritten
        for n in node.inputs:
            if n.overwritten > order or n.op == "expand" and was_overwritten(n, order):
                suspicious = True
            if n.requires_grad and n.mark != mark:
                n.mark = mark
                stack.append(n)
        if suspicious:
            doubtful.append(node)
    for node in _on_the_way(doubtful, steps, ends, stop) if doubtful and stop else doubtful:
        _check(node)
    return steps, ends


recorder.state.tape = _tape


def _on_the_way(some: list[Node], steps: list[Node], ends: list[Node], stop: set[int]) -> list[Node]:
    """Those of some steps that a gradient goes through when only some ends are wanted."""
    reached = {id(end) for end in ends if _identity(end) in stop or (type(end) is Watched or type(end) is Boundary and not end.leaf)}
    for node in sorted(steps, key=by_order):
        if any([id(n) in reached for n in node.inputs]):
            reached.add(id(node))
    return [node for node in some if any([id(n) in reached for n in node.inputs])]


def _identity(node: Node) -> int:
    """What a gradient arrives at. A leaf stays the same one when its memory is rewritten; any other Node is itself."""
    return id(node.deliver) if type(node) is Boundary and isinstance(node.deliver, Accumulation) else id(node)


def _gradients(root: Node, seed: Node, steps: list[Node], wrt: Sequence[Node], create_graph: bool) -> list[Node]:
    """One ``autodiff.grad`` step; its attributes say which of ``wrt`` a derivative must not go past."""
    ends = tuple([type(n) is Watched for n in wrt])
    attrs = ends if any(ends) else ()
    types: tuple[Type, ...] = tuple([n.type for n in wrt])
    if root in wrt and len(wrt) == 1:
        return [seed]
    if not create_graph:
        made = recorder.step(GRAD, (root, seed, *wrt), attrs, types, False)
        if recorder.state.witness is not None:
            recorder.state.witness(made)
        return made
    tracked = _depending(root, seed, steps)
    made = recorder.step(GRAD, (root, seed, *wrt), attrs, types, any([id(n) in tracked for n in wrt]))
    for node, result in zip(wrt, made, strict=True):
        result.requires_grad = id(node) in tracked
    return made


def _depending(root: Node, seed: Node, steps: list[Node]) -> set[int]:
    """Nodes whose gradient depends on something tracked: on the seed, or on a value that a derivative on the way reads.

    The gradient of a linear function does not, and is no part of any further graph.
    """
    found = {id(root)} if seed.requires_grad else set()
    for node in sorted(steps, key=by_order, reverse=True):
        every = id(node) in found
        whole = node.inputs[0] if node.op == RESULT and node.inputs else node
        for i, n in enumerate(whole.inputs):
            if n.requires_grad and (every or _reads_tracked(whole, i)):
                found.add(id(n))
    return found


def _reads_tracked(node: Node, operand: int) -> bool:
    """True when the derivative of a step by one operand reads a tracked value."""
    if node.op in (ALIAS, SAVED):
        return False
    if node.op == GRAD:
        return True
    wanted = tuple([i == operand for i in range(len(node.inputs))])
    needed = reads(node.op, tuple([n.type for n in node.inputs]), node.attrs, wanted)
    own = len(node.inputs)
    return any([i >= own or node.inputs[i].requires_grad for i in needed])


def run_backward(
    roots: Sequence[Node],
    seeds: Sequence[Node],
    retain_graph: bool,
    create_graph: bool,
    wanted: Sequence[Node] | None = None,
) -> dict[int, Gradient]:
    """Gradients of the roots: delivered to Boundaries, or collected per identity of ``wanted`` Nodes and
    returned."""
    stop = {_identity(n) for n in wanted} if wanted is not None else set()
    collected: dict[int, tuple[Node, Gradient]] = {}
    arrived: dict[int, tuple[Node, Gradient]] = {}  # at leaves
    inner: dict[int, tuple[Node, Node]] = {}  # where Python has its say, and backward goes on behind it
    freed: list[Node] = []
    before, recorder.state.grad = recorder.state.grad, create_graph
    running.append(Running(retain_graph, wanted is not None))
    watch_retaining()
    try:
        work = []
        for root, seed in zip(roots, seeds, strict=True):
            if type(root) is Watched:
                _add(inner, root, seed)
            else:
                work.append((root, seed))
        while work or inner:
            if not work:
                end, gradient = inner.pop(max(inner, key=lambda k: inner[k][0].order))
                pairs = end.deliver(gradient)
                if wanted is not None and id(end) in stop and type(end) is Watched:
                    _add(collected, end, pairs[0][1])
                for node, onwards in pairs:
                    if type(node) is Watched and node is not end:  # its hooks come first
                        _add(inner, node, onwards if isinstance(onwards, Node) else onwards.to_dense()._read())
                    else:
                        work.append((node, onwards))
                continue
            root, seed = work.pop()
            if not isinstance(seed, Node):  # sparse: as it is at a leaf, dense on the way to one
                if type(root) is Boundary and root.leaf:
                    if wanted is None or _identity(root) in stop:
                        _add(arrived if wanted is None else collected, root, seed)
                    continue
                seed = seed.to_dense()._read()
            steps, ends = recorder.state.tape(root, stop)
            freed += _on_the_way(steps, steps, ends, stop) if wanted is not None else steps
            if storage.rewrites and (renewed := with_present_contents(root, steps, stop)) is not None:
                root = renewed
                steps, ends = recorder.state.tape(root, stop)
            if wanted is not None:
                ends = [e for e in ends if _identity(e) in stop or not e.leaf]
            if not ends:
                continue
            if is_on():
                examine(root, seed, steps, ends, create_graph)
            for end, gradient in zip(ends, _gradients(root, seed, steps, ends, create_graph), strict=True):
                wanted_here = bool(stop) and _identity(end) in stop and type(end) is not Watched
                _add(collected if wanted_here else arrived if end.leaf else inner, end, gradient)
        while arrived:
            end, gradient = arrived.pop(next(iter(arrived)))
            end.deliver(gradient)
        for call in running[-1].at_end:
            call()
        if len(running) == 1:
            call_afterwards()
        return {key: _seen_by_leaf(end, gradient) for key, (end, gradient) in collected.items()}
    finally:
        running.pop()
        recorder.state.grad = before
        if not running:
            afterwards.clear()
        if not retain_graph:
            for node in freed:
                node.freed = True


def _seen_by_leaf(end: Node, gradient: Gradient) -> Gradient:
    """A collected gradient after the hooks of the leaf it belongs to."""
    owner = end.deliver.owner() if type(end) is Boundary and isinstance(end.deliver, Accumulation) else None
    return seen_by(owner._hooks, gradient) if owner is not None and owner._hooks else gradient


def _add(into: dict, end: Node, gradient: Node) -> None:
    key = _identity(end)
    if key in into:
        gradient = added(into[key][1], gradient)
    into[key] = end, gradient


def _ends_at_freed(root: Node) -> bool:
    """Whether a way back from ``root`` ends at a step that let go of its operands when a derivative had gone through it."""
    mark, stack = fresh_mark(), [root]
    while stack:
        node = stack.pop()
        if node.freed and not node.inputs:
            return True
        if type(node) is not Boundary:
            ahead = [n for n in node.inputs if n.requires_grad and n.mark != mark]
            for n in ahead:
                n.mark = mark
            stack += ahead
    return False


def _node_of(place: Tensor | GradientEdge) -> Node:
    return place.node._node if isinstance(place, GradientEdge) else place._read()


def _wanted(place: Tensor | GradientEdge) -> Node:
    """Where a gradient that is asked for arrives: for a computed tensor written without autograd's knowing, at the value it was."""
    node = _node_of(place)
    while node.op == SAVED and node.inputs and storage.is_rewritten(node.inputs[0]):
        node = node.inputs[0]
    return node


def _seed(root: Tensor | GradientEdge, gradient: Tensor | None) -> Node:
    node = _node_of(root)
    shape, dtype = node.type
    if not node.requires_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if size_of(shape) != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        if dtype.is_complex:
            raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {dtype}")
        return _one(node.type)
    if not isinstance(gradient, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
    if tuple(gradient.shape) != shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a shape of {Size(shape)}."
        )
    return cast(gradient._read(), dtype)


def _one(type: Type) -> Node:
    """The gradient of a value by itself. A constant may be older than the program that reads it: it is recorded once."""
    state, known = recorder.state, _ones.get(type)
    if known is None or known.value is not None or state.placement is not None or state.watch is not None or state.levels:
        known = recorder.record("full", (), (type[0], 1.0, type[1]))
        if len(_ones) < _MOST_ONES:
            _ones[type] = known
    return known


def _seeds(roots: Sequence[Tensor], given: Sequence[Tensor | None]) -> list[Node]:
    if len(given) < len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(given)} gradients")
    return [_seed(t, g) for t, g in zip(roots, given, strict=False)]


def _batched_grad(
    roots: list[Tensor], inputs: list[Tensor], given: Sequence[Tensor | None], retain_graph: bool | None, create_graph: bool,
    allow_unused: bool | None, materialize_grads: bool,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """``grad`` of a batch of seeds: mapped over them, which the forward program is not part of."""
    from ..func import vmap

    for i, (root, seed) in enumerate(zip(roots, given, strict=False)):
        if seed is not None and seed.shape[1:] != root.shape:
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch dimension. "
                "The sizes of the remaining dimensions are expected to match the shape of corresponding output, but a "
                f"mismatch was detected: grad_output[{i}] has a shape of {seed.shape[1:]} and output[{i}] has a shape of "
                f"{root.shape}. If you only want some tensors in `grad_output` to be considered batched, consider using vmap."
            )
    used: list[bool] = []

    def of_one(*seeds: Tensor) -> tuple[Tensor, ...]:
        found = grad(roots, inputs, list(seeds), retain_graph, create_graph, True, allow_unused, False, materialize_grads)
        used[:] = [g is not None for g in found]
        return tuple([g for g in found if g is not None])

    found = iter(vmap(of_one)(*given))
    return tuple([next(found) if u else None for u in used])


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Accumulate gradients of ``tensors`` into the ``.grad`` of the leaves they were computed from."""
    if recorder.state.watchers:
        raise RuntimeError(
            "backward() called inside a functorch transform. This is not supported, please use functorch.grad or "
            "functorch.vjp instead or call backward() outside of functorch transforms."
        )
    roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    given = [grad_tensors] if isinstance(grad_tensors, Tensor) else list(grad_tensors or [None] * len(roots))
    keep = create_graph if retain_graph is None else retain_graph
    chosen = [inputs] if isinstance(inputs, Tensor) else None if inputs is None else list(inputs)
    if chosen is not None and not chosen:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    seeds = _seeds(roots, given)
    if chosen is None:
        run_backward([t._read() for t in roots], seeds, keep, create_graph)
        return
    if not all(t.requires_grad for t in chosen):
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    nodes = [_wanted(t) for t in chosen]
    found = run_backward([t._read() for t in roots], seeds, keep, create_graph, nodes)
    for t, n in zip(chosen, nodes, strict=True):
        if _identity(n) in found:
            accumulate(t, found[_identity(n)], hooked=True)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of ``outputs`` with respect to ``inputs``, returned instead of accumulated.

    is_grads_batched: the first dimension of each grad_output is a batch of seeds, and so is that of each gradient.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    roots = [outputs] if isinstance(outputs, (Tensor, GradientEdge)) else list(outputs)
    chosen = [inputs] if isinstance(inputs, (Tensor, GradientEdge)) else list(inputs)
    given = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs or [None] * len(roots))
    if is_grads_batched and grad_outputs is not None:
        return _batched_grad(roots, chosen, given, retain_graph, create_graph, allow_unused, materialize_grads)
    if not chosen:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    seeds = _seeds(roots, given)
    nodes = [_wanted(t) for t in chosen]
    if not all(n.requires_grad for n in nodes):
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    found = run_backward([_node_of(t) for t in roots], seeds, keep, create_graph, nodes)
    result: list[Tensor | None] = []
    for i, node in enumerate(nodes):
        gradient = found.get(_identity(node))
        if gradient is None and materialize_grads:
            gradient = full(0.0, *node.type)
        elif gradient is None and not allow_unused:
            if any(_ends_at_freed(_node_of(t)) for t in roots):
                raise RuntimeError(FREED)
            raise RuntimeError(
                f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set allow_unused=True "
                f"if this is the desired behavior. ({show_type(node.type)}, made at {node.origin})"
            )
        result.append(None if gradient is None else seen(gradient))
    return tuple(result)


def backward_method(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate gradients of this tensor into the leaves it was computed from."""
    if gradient is not None or inputs is not None or create_graph or not _plainly(self, bool(retain_graph)):
        backward(self, gradient, retain_graph, create_graph, inputs)


def _plainly(root: Tensor, retain_graph: bool) -> bool:
    """Backward of a number that leads to leaves only, with nothing to be called on the way: what `run_backward` comes to then.

    False, and nothing done, where there is more to it.
    """
    state = recorder.state
    node = root._node if root._seen == root._storage.version else root._read()
    if type(node) is not Node or not node.requires_grad or node.type[0] or node.type[1].is_complex:
        return False
    if state.watchers or state.levels or is_on() or retaining:
        return False
    steps, ends = state.tape(node, _NOWHERE)
    if storage.rewrites and reads_rewritten(steps):
        return False
    met = set()
    for end in ends:
        deliver = end.deliver
        owner = deliver.owner() if type(deliver) is Accumulation else None
        if owner is None or owner._hooks or owner._post_hooks:
            return False
        met.add(deliver)
    if not ends or len(met) < len(ends):
        return False
    before, state.grad = state.grad, False
    try:
        types = tuple([end.type for end in ends])
        for end, gradient in zip(ends, recorder.step(GRAD, (node, _one(node.type), *ends), (), types, False, origin(2)), strict=True):
            end.deliver(gradient)
        if afterwards and not running:
            call_afterwards()
    finally:
        state.grad = before
        if not running:
            afterwards.clear()
        if not retain_graph:
            for node in steps:
                node.freed = True
    return True


_NOWHERE: frozenset[int] = frozenset()


Tensor.backward = backward_method
