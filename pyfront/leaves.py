"""Leaves: which tensors collect gradients, and how one arrives."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from . import recorder, views
from .assignment import title
from .node import Node
from .storage import rewrite
from .strides import follow
from .tensor import Tensor, _fill, from_storage, unread, wrap
from .views import RENAMED, Detached, LeafMark, Mark


def requires_grad(self: Tensor) -> bool:
    """True when backward reaches this tensor."""
    if recorder.state.duals and self._storage.host is None:  # a tangent is no reason
        from .autograd.forward_ad import is_tracked as is_tracked_outside

        return is_tracked_outside(self)
    return is_tracked(self)


def is_tracked(self: Tensor) -> bool:
    """True when a derivative goes through this tensor, be it backward's or that of a tangent."""
    if self._storage.host is not None:
        return views.is_tracked(self._storage, self._chain)
    return self._read().requires_grad


def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Make a leaf collect its gradient (or stop it). RuntimeError for non-leaves and integers."""
    if requires_grad:
        if not isinstance(requires_grad, bool):
            raise RuntimeError("requires_grad must be a bool")
        if self.requires_grad:
            return self
        if self._storage.inference and not recorder.state.inference:
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        if not self.dtype.has_gradient:
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        me = weakref.ref(self)
        mark = self._mark = LeafMark(Accumulation(me), True, lambda: _name_of(me()))
        storage, chain = self._storage, (*self._chain, mark)
        if storage.host is None and self._seen == storage.version:  # asking whether it is tracked has read it
            self._chain, self._node = chain, views.read_of_leaf(storage, chain, self._node)
        else:
            _rechain(self, chain)
    elif self._mark is not None and self._mark.leaf:
        _rechain(self, tuple([link for link in self._chain if link is not self._mark]))
        self._mark = None
    elif self.requires_grad:
        raise RuntimeError(
            "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
            "subgraph that doesn't require differentiation use var_no_grad = var.detach()."
        )
    return self


Gradient = Node | Tensor
"""What arrives at a leaf: the Node of a dense gradient, or a sparse tensor."""


def seen(gradient: Gradient) -> Tensor:
    """A gradient as programs see it."""
    return wrap(gradient) if isinstance(gradient, Node) else gradient


def after(hook: Callable[[Tensor], Tensor | None], gradient: Tensor) -> Tensor:
    """What a hook makes of a gradient. TypeError for what is no tensor, RuntimeError for one of another shape or dtype."""
    changed = hook(gradient)
    if changed is None:
        return gradient
    name = getattr(hook, "__name__", type(hook).__name__)
    if not isinstance(changed, Tensor):
        raise TypeError(f"hook {name!r} should return a Tensor or None, but it returned {type(changed).__name__}")
    if changed.dtype is not gradient.dtype:
        raise RuntimeError(f"hook {name!r} has changed the type of value (was {gradient.type()} got {changed.type()})")
    if changed.shape != gradient.shape:
        raise RuntimeError(f"hook {name!r} has changed the size of value")
    return changed


def added(a: Gradient, b: Gradient) -> Gradient:
    """The sum of two gradients: sparse while both are."""
    if isinstance(a, Node):
        return recorder.record("add", (a, b)) if isinstance(b, Node) else b._onto(wrap(a))._read()
    return a._onto(wrap(b))._read() if isinstance(b, Node) else a._beside(b)


class Accumulation:
    """What a leaf does with its gradient. owner: the leaf, weakly. heard: told of each gradient that has arrived."""

    __slots__ = ("owner", "heard")

    def __init__(self, owner: weakref.ref) -> None:
        self.owner = owner
        self.heard: Callable[[Tensor], None] | None = None

    def __call__(self, gradient: Gradient) -> list:
        leaf, state = self.owner(), recorder.state
        if leaf is None:
            return []
        if self.heard is not None:
            self.heard(leaf)
        if not isinstance(gradient, Node):
            return accumulate(leaf, gradient)
        plain = leaf._grad is None and not leaf._hooks and not leaf._post_hooks and _is_row_by_row(leaf)
        if not plain or gradient.requires_grad or gradient.value is not None or gradient.op == "full":
            return accumulate(leaf, gradient)
        if state.levels or state.escaped or state.watch is not None or state.placement is not None:
            return accumulate(leaf, gradient)
        leaf._grad = gradient
        state.arrived.append(self.owner)
        return []


def _is_row_by_row(leaf: Tensor) -> bool:
    return len(leaf._chain) == 1 and leaf._chain[0] is leaf._mark and leaf._storage.host is None


def gradient_of(leaf: Tensor) -> Node:
    """The gradient of a leaf that has one."""
    gradient = leaf._grad
    return gradient if type(gradient) is Node else gradient._read()


def _rechain(tensor: Tensor, chain: views.Chain) -> None:
    tensor._chain = chain
    tensor._seen = -1
    if tensor._storage.host is None:
        tensor._read()


def _name_of(tensor: Tensor | None) -> str | None:
    return tensor.name if tensor is not None else None


def accumulate(leaf: Tensor | None, gradient: Gradient, hooked: bool = False) -> list:
    """Deliver ``gradient`` to ``leaf.grad``, after the leaf's hooks unless they have seen it."""
    if leaf is None:
        return []
    arrived = seen(gradient)
    if isinstance(gradient, Node) and not _is_row_by_row(leaf):
        follow(arrived, (leaf,))
    if leaf._hooks and not hooked:
        for hook in list(leaf._hooks.values()):
            arrived = after(hook, arrived)
    before = grad_of(leaf)
    if before is None:
        leaf._grad = arrived
    elif before.is_sparse or arrived.is_sparse:
        _add_sparse(leaf, before, arrived)
    elif recorder.state.grad:
        leaf._grad = before + arrived
    else:
        start = recorder.state.order
        total = recorder.record("add", (before._read(), arrived._read()))
        views.write(before._storage, before._chain, total, start)
    if leaf._post_hooks:
        for hook in list(leaf._post_hooks.values()):
            hook(leaf)
    return []


def _add_sparse(leaf: Tensor, before: Tensor, arrived: Tensor) -> None:
    """``leaf.grad`` where it or what arrives is sparse: in its place unless a dense one comes to a sparse one or it is recorded."""
    start = recorder.state.order
    total = added(*[t if t.is_sparse else t._read() for t in (before, arrived)])
    if recorder.state.grad or before.is_sparse and isinstance(total, Node):
        leaf._grad = seen(total)
    elif isinstance(total, Node):
        views.write(before._storage, before._chain, total, start)
    else:
        before._become(total)


def is_leaf(self: Tensor) -> bool:
    """True for tensors the user made (or that require no grad)."""
    return self._mark is not None and self._mark.leaf or not self.requires_grad


def grad_of(self: Tensor) -> Tensor | None:
    """The accumulated gradient: a Tensor of its own from the first time on that somebody asks."""
    gradient = self._grad
    if type(gradient) is Node:
        gradient = self._grad = wrap(gradient)
        gradient._storage.born = gradient._node.order
    return gradient


def set_grad(self: Tensor, gradient: Tensor | None) -> None:
    """Replace the gradient. TypeError/RuntimeError when it does not fit."""
    if gradient is not None:
        if not isinstance(gradient, Tensor):
            raise TypeError(
                f"assigned grad expected to be a Tensor or None but got grad of type {type(gradient).__name__}"
            )
        if gradient is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if gradient.dtype is not self.dtype:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{_c_name(gradient)}' to a tensor with grad_dtype "
                f"'{title(self.dtype)}'. The gradient must match the tensor's grad_dtype (defaults to the tensor's dtype)."
            )
        if gradient.shape != self.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size '{list(gradient.shape)}' to a tensor of size '{list(self.shape)}'. "
                "Please ensure that the gradient and the tensor are the same size"
            )
    self._grad = gradient


def zero_grad(leaf: Tensor) -> None:
    """The gradient of a leaf that has one becomes zero where it is, and loses its history."""
    gradient = grad_of(leaf)
    assert gradient is not None
    if gradient.requires_grad:
        if gradient.is_leaf:
            gradient.requires_grad_(False)
        else:
            gradient.detach_()
    gradient.zero_()


def _c_name(tensor: Tensor) -> str:
    return {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"}.get(
        tensor.dtype.name, tensor.dtype.name
    )


def detach(self: Tensor) -> Tensor:
    """The same memory without history."""
    return _detached(self)


def _detached(tensor: Tensor, counted: bool = True) -> Tensor:
    """The same memory without history. Only where it lies is said again, and that it has none: what was detached before is not passed through."""
    chain = tensor._chain
    if chain and any([isinstance(link, Mark) for link in chain]):
        counted = counted and all([link.counted for link in chain if type(link) is Detached])
        chain = views.extended((), tuple([link for link in chain if type(link) is tuple]))
    chain = (*chain, Detached(counted))
    return from_storage(tensor._storage, chain) if tensor._storage.host is None else unread(tensor._storage, chain, tensor._node.type, False)


def is_view(self: Tensor) -> bool:
    """Whether autograd knows it as a view of another tensor."""
    return not self._owns and any([type(link) is tuple for link in views.after_detaching(self._chain)])


def base(self: Tensor) -> Tensor | None:
    """What a view is a view of: a tensor over all of its memory, with its history. None for what is no view."""
    if not is_view(self):
        return None
    whole = len(self._chain) - len(views.after_detaching(self._chain))
    while type(self._chain[whole]) is not tuple:
        whole += 1
    made = from_storage(self._storage, self._chain[:whole])
    if made._chain and type(made._chain[-1]) is LeafMark:
        made._mark = made._chain[-1]
    return made


def detach_(self: Tensor) -> Tensor:
    """Forget the history of this tensor itself. RuntimeError for views."""
    if is_view(self):
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for training, "
            "and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence detach_() cannot be "
            "called on these gradients. To fix this error, please refer to the Optimizer.zero_grad() function in "
            "torch/optim/optimizer.py as a reference."
        )
    if self.requires_grad:
        _rechain(self, (*self._chain, Detached()))
        self._mark = None
    return self


def data(self: Tensor) -> Tensor:
    """The same memory without history; autograd does not even hear of writes through it."""
    return self._detached(False)


def set_data(self: Tensor, new: Tensor) -> None:
    """Let this tensor hold the memory of ``new``; what it is for autograd stays."""
    tracked = self._mark is not None and self._mark.leaf
    if not new.dtype.has_gradient and self.requires_grad:
        raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
    chain = new._chain if not new.requires_grad else (*new._chain, Detached())
    if tracked:
        if self._storage.host is None and new._node.type == self._node.type:
            rewrite(self._read(), new._storage, chain)
        chain = (*chain, self._mark)
    elif self.requires_grad and new.shape == self.shape:  # computed: the history stays, the contents are new
        history = Detached()
        history.node = self._read()
        chain = (*chain, history)
    _fill(self, new._storage, chain)


def renamed(tensor: Tensor) -> None:
    """Give a computed tensor's value an identity of its own, for uses from now on."""
    tensor._mark = None
    _rechain(tensor, (*tensor._chain, RENAMED))


def install() -> None:
    """Put this side of autograd on Tensor."""
    Tensor.requires_grad = property(requires_grad, requires_grad_)
    Tensor.grad = property(grad_of, set_grad, lambda self: set_grad(self, None))
    Tensor.is_leaf = property(is_leaf)
    Tensor.data = property(data, set_data)
    Tensor._base = property(base)
    Tensor._is_view = is_view
    for function in (
        requires_grad_,
        detach,
        _detached,
        detach_,
    ):
        setattr(Tensor, function.__name__, function)


install()
