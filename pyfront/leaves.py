"""Leaves: which tensors collect gradients, how one arrives, and the hooks that see it."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from . import recorder, views
from .node import Node
from .tensor import Tensor, _fill, wrap
from .views import DETACHED, LeafMark


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
        self._mark = LeafMark(lambda gradient: accumulate(me(), gradient), True, lambda: _name_of(me()))
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


def accumulate(leaf: Tensor | None, gradient: Node) -> list:
    """Deliver ``gradient`` to ``leaf.grad``, after the leaf's hooks."""
    if leaf is None:
        return []
    arrived = wrap(gradient)
    if leaf._hooks:
        for hook in list(leaf._hooks.values()):
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
    after = leaf.__dict__.get("_post_hooks")
    if after:
        for hook in list(after.values()):
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
            raise TypeError(
                f"assigned grad expected to be a Tensor or None but got grad of type {type(gradient).__name__}"
            )
        if gradient.shape != self.shape:
            raise RuntimeError(
                f"assigned grad has data of a different size: expected {list(self.shape)}, got {list(gradient.shape)}"
            )
        if gradient.dtype is not self.dtype:
            raise RuntimeError(
                f"assigned grad has data of a different type: {gradient.dtype} for {self.dtype}"
            )
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
    _fill(self, self._storage, self._chain)


# -- hooks
# ----------------------------------------------------------------------------------------------------------


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


def install() -> None:
    """Put this side of autograd on Tensor."""
    Tensor.requires_grad = property(requires_grad, requires_grad_)
    Tensor.grad = property(grad_of, set_grad, lambda self: set_grad(self, None))
    Tensor.is_leaf = property(is_leaf)
    Tensor.data = property(data, set_data)
    Tensor.retains_grad = property(lambda self: bool(self.__dict__.get("_retains")))
    for function in (
        requires_grad_,
        detach,
        detach_,
        register_hook,
        register_post_accumulate_grad_hook,
        retain_grad,
    ):
        setattr(Tensor, function.__name__, function)


install()
