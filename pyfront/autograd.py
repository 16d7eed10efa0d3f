"""Autograd: modes, leaves, and backward as ONE recorded ``autodiff.grad`` node per root.

Backward walks the tracked Nodes once, in Python, only to find the leaves and to raise PyTorch's errors; derivatives are
written out by the compiler on a cache miss. Where Python must have its say (a hook on an intermediate tensor) a Boundary
ends differentiation, and backward goes on behind it with what Python returned.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..dialects.types import Type, show_type
from . import recorder, views
from .node import GRAD, RESULT, Boundary, Node
from .promote import cast, full
from .residuals import differentiable_again, overwritten
from .tensor import Tensor, wrap
from .views import DETACHED, LeafMark

# -- modes ----------------------------------------------------------------------------------------------------------


class _Mode:
    """A grad mode: context manager, decorator (also of generators), and usable without parentheses."""

    enabled = False

    def __new__(cls, function: Callable | None = None) -> Any:
        mode = object.__new__(cls)
        mode._before = []
        return mode(function) if function is not None else mode

    def __init__(self, function: Callable | None = None) -> None:
        pass

    def __enter__(self) -> None:
        self._before.append(recorder.state.grad)
        recorder.state.grad = self.enabled

    def __exit__(self, *_: object) -> None:
        recorder.state.grad = self._before.pop()

    def __call__(self, function: Callable) -> Callable:
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            with self:
                return function(*args, **options)

        return wrapped

    def _generator(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            with self:
                running = function(*args, **options)
            while True:
                with self:
                    try:
                        item = next(running)
                    except StopIteration as stop:
                        return stop.value
                yield item

        return wrapped


class no_grad(_Mode):
    """Nothing recorded inside is tracked."""


class enable_grad(_Mode):
    """Tracked again, inside ``no_grad``."""

    enabled = True


class inference_mode(_Mode):
    """As ``no_grad``."""

    def __new__(cls, mode: Callable | bool = True) -> Any:
        made = _Mode.__new__(cls, mode if callable(mode) else None)
        if not callable(mode):
            made.enabled = not mode
        return made


class set_grad_enabled(_Mode):
    """``set_grad_enabled(flag)``: takes effect at once; as context manager it is undone at the end."""

    def __new__(cls, mode: bool) -> Any:
        return _Mode.__new__(cls)

    def __init__(self, mode: bool) -> None:
        self.enabled = bool(mode)
        self._outer = recorder.state.grad
        recorder.state.grad = self.enabled

    def __enter__(self) -> None:
        self._before.append(self._outer)
        recorder.state.grad = self.enabled

    def __call__(self, function: Callable) -> Callable:
        recorder.state.grad = self._outer
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """True outside ``no_grad``."""
    return recorder.state.grad


# -- leaves ---------------------------------------------------------------------------------------------------------


def requires_grad(self: Tensor) -> bool:
    """True when backward reaches this tensor."""
    if self._storage.host is not None:
        return views.leaf_mark(self._chain) is not None
    return self._read().requires_grad


def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Make a leaf collect its gradient (or stop it). RuntimeError for non-leaves and integers."""
    if requires_grad:
        if self.requires_grad:
            return self
        if self.dtype.kind != "f":
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        me = weakref.ref(self)
        self._mark = LeafMark(lambda gradient: _accumulate(me(), gradient), True, lambda: _name_of(me()))
        _rechain(self, (*self._chain, self._mark))
    elif self._mark is not None and self._mark.leaf:
        _rechain(self, tuple([link for link in self._chain if link is not self._mark]))
        self._mark = None
    elif self.requires_grad:
        raise RuntimeError(
            "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
            "subgraph that doesn't require differentiation use var_no_grad = var.detach()."
        )
    return self


def _rechain(tensor: Tensor, chain: views.Chain) -> None:
    tensor._chain = chain
    tensor._seen = -1
    if tensor._storage.host is None:
        tensor._read()


def _name_of(tensor: Tensor | None) -> str | None:
    return tensor.name if tensor is not None else None


def _accumulate(leaf: Tensor | None, gradient: Node) -> list:
    """Deliver ``gradient`` to ``leaf.grad``, after the leaf's hooks."""
    if leaf is None:
        return []
    arrived = wrap(gradient)
    for hook in list((leaf._hooks or {}).values()):
        changed = hook(arrived)
        arrived = arrived if changed is None else changed
    if leaf._grad is None:
        leaf._grad = arrived
    elif recorder.state.grad:
        leaf._grad = leaf._grad + arrived
    else:
        start = recorder.state.order
        total = recorder.record("add", (leaf._grad._read(), arrived._read()))
        views.write(leaf._grad._storage, leaf._grad._chain, total, start)
    for hook in list(leaf.__dict__.get("_post_hooks", {}).values()):
        hook(leaf)
    return []


def is_leaf(self: Tensor) -> bool:
    """True for tensors the user made (or that require no grad)."""
    return self._mark is not None and self._mark.leaf or not self.requires_grad


def grad_of(self: Tensor) -> Tensor | None:
    """The accumulated gradient."""
    return self._grad


def set_grad(self: Tensor, gradient: Tensor | None) -> None:
    """Replace the gradient. TypeError/RuntimeError when it does not fit."""
    if gradient is not None:
        if not isinstance(gradient, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(gradient).__name__}")
        if gradient.shape != self.shape:
            raise RuntimeError(
                f"assigned grad has data of a different size: expected {list(self.shape)}, got {list(gradient.shape)}"
            )
        if gradient.dtype is not self.dtype:
            raise RuntimeError(f"assigned grad has data of a different type: {gradient.dtype} for {self.dtype}")
    self._grad = gradient


def detach(self: Tensor) -> Tensor:
    """The same memory without history."""
    return self._through(DETACHED) if self.requires_grad else self._through()


def detach_(self: Tensor) -> Tensor:
    """Forget the history of this tensor itself."""
    if self.requires_grad:
        _rechain(self, (*self._chain, DETACHED))
        self._mark = None
    return self


def data(self: Tensor) -> Tensor:
    """``detach()``: writes through it are not seen by autograd."""
    return detach(self)


def set_data(self: Tensor, new: Tensor) -> None:
    """Let this tensor hold the memory of ``new``; what it is for autograd stays."""
    tracked = self._mark is not None and self._mark.leaf
    self._storage = new._storage
    chain = new._chain if not new.requires_grad else (*new._chain, DETACHED)
    self._chain = (*chain, self._mark) if tracked else chain
    self._seen = -1
    from .tensor import _fill

    _fill(self, self._storage, self._chain)


# -- hooks ----------------------------------------------------------------------------------------------------------


class RemovableHandle:
    """What registering a hook returns: ``remove()`` takes it away again."""

    _next = 0

    def __init__(self, hooks: dict) -> None:
        self.hooks = hooks
        self.id = RemovableHandle._next
        RemovableHandle._next += 1

    def remove(self) -> None:
        """Take the hook away."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call ``hook`` with the gradient of this tensor; what it returns replaces the gradient.

    For a computed tensor this takes effect for uses after the registration.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self._hooks is None:
        self._hooks = {}
    if self._mark is None:
        _cut(self)
    handle = RemovableHandle(self._hooks)
    self._hooks[handle.id] = hook
    return handle


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call ``hook`` with this leaf after its gradient was accumulated."""
    if not self.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    handle = RemovableHandle(self.__dict__.setdefault("_post_hooks", {}))
    handle.hooks[handle.id] = hook
    return handle


def retain_grad(self: Tensor) -> None:
    """Keep ``.grad`` of a computed tensor too."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self.is_leaf or self.__dict__.get("_retains"):
        return
    self._retains = True
    if self._mark is None:
        _cut(self)


def _cut(tensor: Tensor) -> None:
    """End differentiation at a computed tensor, so that Python sees its gradient."""
    source = tensor._read()
    me = weakref.ref(tensor)
    hooks = tensor._hooks if tensor._hooks is not None else {}
    tensor._hooks = hooks

    def deliver(gradient: Node) -> list[tuple[Node, Node]]:
        arrived = wrap(gradient)
        for hook in list(hooks.values()):
            changed = hook(arrived)
            arrived = arrived if changed is None else changed
        owner = me()
        if owner is not None and owner.__dict__.get("_retains"):
            owner._grad = arrived if owner._grad is None else owner._grad + arrived
        return [(source, arrived._read())]

    tensor._mark = LeafMark(deliver, leaf=False)
    _rechain(tensor, (*tensor._chain, tensor._mark))


# -- backward -------------------------------------------------------------------------------------------------------

_FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


def _check(node: Node) -> None:
    """PyTorch's errors for a step whose saved values are gone."""
    if node.freed and not differentiable_again(node):
        raise RuntimeError(_FREED)
    stale = overwritten(node)
    if stale is not None:
        shape, dtype = stale.type
        kind = "torch." + {"float32": "Float", "float64": "Double", "int64": "Long"}.get(dtype.name, dtype.name) + "Tensor"
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[{kind} {list(shape)}], made at {stale.origin} and used by {node.op} at {node.origin}, was overwritten since. "
            "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
            "torch.autograd.set_detect_anomaly(True)."
        )


def _tape(root: Node, stop: set[int]) -> tuple[list[Node], list[Boundary | Node]]:
    """Tracked steps behind ``root``, and where differentiation ends: Boundaries, and Nodes whose id is in ``stop``."""
    seen = {id(root)}
    stack = [root]
    steps: list[Node] = []
    ends: list[Node] = []
    while stack:
        node = stack.pop()
        if id(node) in stop:
            ends.append(node)
        if type(node) is Boundary:
            if id(node) not in stop:
                ends.append(node)
            continue
        steps.append(node)
        for n in node.inputs:
            if n.requires_grad and id(n) not in seen:
                seen.add(id(n))
                stack.append(n)
        if node.op == RESULT and node.inputs[0].op == GRAD and id(node.inputs[0].inputs[0]) not in seen:
            seen.add(id(node.inputs[0].inputs[0]))
    return steps, ends  # in the order the walk meets them: the same for the same program, however old the leaves are


def _gradients(root: Node, seed: Node, wrt: Sequence[Node], create_graph: bool) -> list[Node]:
    """One ``autodiff.grad`` step."""
    types: tuple[Type, ...] = tuple([n.type for n in wrt])
    if root in wrt and len(wrt) == 1:
        return [seed]
    return recorder.step(GRAD, (root, seed, *wrt), (), types, create_graph)


def run_backward(
    roots: Sequence[Node], seeds: Sequence[Node], retain_graph: bool, create_graph: bool, wanted: Sequence[Node] | None = None
) -> dict[int, Node]:
    """Gradients of the roots: delivered to Boundaries, or collected per id() of ``wanted`` Nodes and returned."""
    stop = {id(n) for n in wanted} if wanted is not None else set()
    collected: dict[int, Node] = {}
    arrived: dict[int, tuple[Node, Node]] = {}
    freed: list[Node] = []
    before, recorder.state.grad = recorder.state.grad, create_graph
    try:
        work = list(zip(roots, seeds, strict=True))
        while work or arrived:
            if not work:
                inner = [k for k, (end, _) in arrived.items() if not end.leaf]
                end, gradient = arrived.pop(max(inner, key=lambda k: arrived[k][0].order) if inner else next(iter(arrived)))
                work.extend(end.deliver(gradient))
                continue
            root, seed = work.pop()
            steps, ends = _tape(root, stop)
            for node in steps:
                _check(node)
            freed.extend(steps)
            if wanted is not None:
                ends = [e for e in ends if id(e) in stop or not e.leaf]
            if not ends:
                continue
            for end, gradient in zip(ends, _gradients(root, seed, ends, create_graph), strict=True):
                _add(collected if id(end) in stop else arrived, end, gradient)
        return {key: gradient for key, (_, gradient) in collected.items()}
    finally:
        recorder.state.grad = before
        if not retain_graph:
            for node in freed:
                node.freed = True


def _add(into: dict, end: Node, gradient: Node) -> None:
    before = into.get(id(end))
    into[id(end)] = (end, gradient if before is None else recorder.record("add", (before[1], gradient)))


def _seed(root: Tensor, gradient: Tensor | None) -> Node:
    node = root._read()
    if not node.requires_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if root.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return full(1.0, *node.type)
    if gradient.shape != root.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a shape of {root.shape}."
        )
    return cast(gradient._read(), node.type[1])


def backward(
    tensors: Tensor | Sequence[Tensor], grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None, create_graph: bool = False, inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Accumulate gradients of ``tensors`` into the ``.grad`` of the leaves they were computed from."""
    roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    given = [grad_tensors] if isinstance(grad_tensors, Tensor) else list(grad_tensors or [None] * len(roots))
    keep = create_graph if retain_graph is None else retain_graph
    seeds = [_seed(t, g) for t, g in zip(roots, given, strict=True)]
    if inputs is None:
        run_backward([t._read() for t in roots], seeds, keep, create_graph)
        return
    chosen = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    nodes = [t._read() for t in chosen]
    found = run_backward([t._read() for t in roots], seeds, keep, create_graph, nodes)
    for t, n in zip(chosen, nodes, strict=True):
        if id(n) in found:
            _accumulate(t, found[id(n)])


def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor], grad_outputs: Any = None,
    retain_graph: bool | None = None, create_graph: bool = False, only_inputs: bool = True,
    allow_unused: bool | None = None, is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of ``outputs`` with respect to ``inputs``, returned instead of accumulated."""
    roots = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    chosen = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    given = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs or [None] * len(roots))
    nodes = [t._read() for t in chosen]
    if not all(n.requires_grad for n in nodes):
        raise RuntimeError("One of the differentiated Tensors does not require grad")
    seeds = [_seed(t, g) for t, g in zip(roots, given, strict=True)]
    keep = create_graph if retain_graph is None else retain_graph
    found = run_backward([t._read() for t in roots], seeds, keep, create_graph, nodes)
    result: list[Tensor | None] = []
    for node in nodes:
        gradient = found.get(id(node))
        if gradient is None and materialize_grads:
            gradient = full(0.0, *node.type)
        elif gradient is None and not allow_unused:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if "
                f"this is the desired behavior. ({show_type(node.type)}, made at {node.origin})"
            )
        result.append(None if gradient is None else wrap(gradient))
    return tuple(result)


def backward_method(
    self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate gradients of this tensor into the leaves it was computed from."""
    backward(self, gradient, retain_graph, create_graph, inputs)


def install() -> None:
    """Put autograd's side of Tensor on the class."""
    Tensor.requires_grad = property(requires_grad, requires_grad_)
    Tensor.grad = property(grad_of, set_grad, lambda self: set_grad(self, None))
    Tensor.is_leaf = property(is_leaf)
    Tensor.data = property(data, set_data)
    Tensor.retains_grad = property(lambda self: bool(self.__dict__.get("_retains")))
    for function in (requires_grad_, detach, detach_, register_hook, register_post_accumulate_grad_hook, retain_grad):
        setattr(Tensor, function.__name__, function)
    Tensor.backward = backward_method


install()
