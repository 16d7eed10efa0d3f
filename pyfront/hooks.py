"""Hooks: what programs have called with a gradient: of a leaf, or of a computed tensor, whose Node is then watched."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from . import leaves
from .node import Node
from .tensor import Tensor, wrap

Hook = Callable[[Tensor], Tensor | None]


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


_hooks: dict[int, dict[int, Hook]] = {}  # by id of a Watched Node, which clears its entry when it goes


class Watched(Node):
    """A Node whose gradient Python sees: backward stops there, calls the hooks, and goes on with what they return."""

    __slots__ = ()
    leaf = False

    def __del__(self, hooks: dict[int, dict[int, Hook]] = _hooks) -> None:  # at exit the module's names are gone before this
        hooks.pop(id(self), None)

    def deliver(self, gradient: Node) -> list[tuple[Node, Node]]:
        """The gradient after the hooks, on its way through the step itself."""
        return [(self, seen_by(_hooks.get(id(self), {}), gradient))]


retaining: dict[int, weakref.ref[Tensor]] = {}  # tensors that keep their gradient, by id


def watch(node: Node) -> dict[int, Hook]:
    """The hooks of a Node, which is watched from now on."""
    if type(node) is Node:
        node.__class__ = Watched
        _hooks[id(node)] = {}
    return _hooks[id(node)]


def hooks_of(node: Node) -> list[Hook]:
    """The hooks of a Node."""
    return list(_hooks.get(id(node), {}).values())


def seen_by(hooks: dict[int, Hook], gradient: leaves.Gradient) -> leaves.Gradient:
    """A gradient after hooks: each sees what the one before returned."""
    if not hooks:
        return gradient
    arrived = leaves.seen(gradient)
    for hook in list(hooks.values()):
        arrived = leaves.after(hook, arrived)
    return arrived if arrived.is_sparse else arrived._read()


def register_hook(self: Tensor, hook: Hook) -> RemovableHandle:
    """Call ``hook`` with the gradient of this tensor; what it returns replaces the gradient.

    RuntimeError when the tensor has none.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self.is_leaf:
        if self._hooks is None:
            self._hooks = {}
        hooks: dict[int, Any] = self._hooks
    else:
        hooks = _hooks_of_computed(self)
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _hooks_of_computed(tensor: Tensor) -> dict[int, Hook]:
    """Hooks of the Node a tensor has now. One with hooks of another kind (a Function's result) gets a name of its own."""
    node = tensor._read()
    if type(node) is Node or type(node) is Watched:
        return watch(node)
    leaves.renamed(tensor)
    return watch(tensor._read())


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Call ``hook`` with this leaf after its gradient was accumulated. RuntimeError for computed tensors."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not self.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    handle = RemovableHandle(self.__dict__.setdefault("_post_hooks", {}))
    handle.hooks[handle.id] = hook
    return handle


def retain_grad(self: Tensor) -> None:
    """Keep ``.grad`` of a computed tensor too."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if not self.is_leaf:
        key = id(self)
        retaining[key] = weakref.ref(self, lambda _: retaining.pop(key, None))
        watch_retaining()


def retains_grad(self: Tensor) -> bool:
    """True for a computed tensor whose gradient is kept."""
    return id(self) in retaining


def watch_retaining() -> None:
    """Watch the Nodes that retaining tensors have now: called before each backward, as writes give them new ones."""
    for reference in list(retaining.values()):
        tensor = reference()
        if tensor is not None and tensor.requires_grad and not tensor.is_leaf:
            hooks = _hooks_of_computed(tensor)
            hooks[-1 - id(tensor)] = _keeper(weakref.ref(tensor), hooks)


def _keeper(owner: weakref.ref, hooks: dict[int, Hook]) -> Hook:
    """A hook that keeps the gradient; only that of the Node the tensor has at backward."""

    def keep(gradient: Tensor) -> None:
        tensor = owner()
        if tensor is not None and _hooks.get(id(tensor._read())) is hooks:
            tensor._grad = gradient if tensor.grad is None else tensor.grad + gradient

    return keep


def install() -> None:
    """Put hooks on Tensor."""
    Tensor.retains_grad = property(retains_grad)
    for function in (register_hook, register_post_accumulate_grad_hook, retain_grad):
        setattr(Tensor, function.__name__, function)


install()
