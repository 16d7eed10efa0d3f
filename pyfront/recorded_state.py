"""Recorded state: what a call reads and writes besides its arguments, without a value while the call is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dialects.errors import LaminaError
from ..dialects.types import Type, dtype_of, show_type
from . import recorder, views
from .nn.module import Module
from .node import Node
from .optim.optimizer import Optimizer
from .storage import Storage
from .tensor import Tensor, wrap


class RecordedState:
    """Parameters, buffers and what optimizers keep: what is done with them within the context is recorded, not done on the host.
    Afterwards they are what they were, whatever the call wrote.

    trains: derivatives are taken within the call. A step begins without gradients; what its optimizers keep begins with it, if they
    took no step before.
    """

    def __init__(self, model: Module | None, optimizers: Sequence[Optimizer]) -> None:
        self.trains, self.optimizers = bool(optimizers), optimizers
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        tables = [(state, {k: v for k, v in state.items()}) for optimizer in optimizers for state in optimizer.state.values()]
        self.entries = [*tables, *((m._buffers, dict(m._buffers)) for m in (model.modules() if model is not None else ()))]
        self.options = [(group, {k: v for k, v in group.items() if k != "params"}) for group in groups]
        self.known = [(optimizer, list(optimizer.state)) for optimizer in optimizers]
        self.grads = [(p, p._grad) for group in groups for p in group["params"]]
        kept = [(t, name) for state, _ in tables for name, t in state.items() if isinstance(t, Tensor)]
        self.named = [*model.named_parameters(), *model.named_buffers()] if model is not None else []
        own = [t for _, t in self.named]
        self.storages = list({id(t._storage): t._storage for t in (*own, *(t for t, _ in kept))}.values())
        self.kept = {id(t._storage): name for t, name in kept}
        self.held: list[tuple[Storage, np.ndarray, Node]] = []

    def __enter__(self) -> RecordedState:
        self.before = [_contents(storage) for storage in self.storages]
        for storage, _, _, array in self.before:
            unknown = _unknown(array, storage.type)
            storage.host = None
            _put(storage, unknown)
            self.held.append((storage, array, unknown))
        for p, _ in self.grads:
            p._grad = None
        self.fresh, recorder.state.fresh = recorder.state.fresh, self._begin
        return self

    def __exit__(self, *_: object) -> None:
        recorder.state.fresh = self.fresh
        for now, was in (*self.entries, *self.options):
            for name in [name for name in now if name not in was and name != "params"]:
                del now[name]
            now.update(was)
        for optimizer, known in self.known:
            table = optimizer.state
            for p in [p for p in table if not any(p is q for q in known)]:
                del table[p]
        for p, grad in self.grads:
            p._grad = grad
        for storage, node, host, _ in self.before:
            storage.host = host
            _put(storage, node)

    def _begin(self, array: np.ndarray) -> Tensor:
        """State that begins in the call, with these contents."""
        unknown = _unknown(array, (array.shape, dtype_of(array)))
        made = wrap(unknown)
        self.held.append((made._storage, array, unknown))
        self.kept[id(made._storage)] = "state"
        return made

    def hides(self, array: Any) -> bool:
        """Whether an array is what an optimizer keeps: calls change it, so nobody may look at it on the way."""
        return any(array is a for storage, a, _ in self.held if id(storage) in self.kept)

    def names(self) -> list[tuple[np.ndarray, str]]:
        """What parameters, buffers (also those that show part of another's memory) and what optimizers keep are called."""
        arrays, names = {id(storage): array for storage, array, _ in self.held}, dict(self.kept)
        found = [(views.host_view(arrays[id(t._storage)], t._chain), name) for name, t in self.named]
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                names.update({id(t._storage): name for name, t in state.items() if isinstance(t, Tensor) and id(t._storage) in names})
        found += [(array, names[id(storage)]) for storage, array, _ in self.held if id(storage) in names]
        return [(array, name) for array, name in found if array.size]

    def written(self) -> list[tuple[np.ndarray, Node]]:
        """Arrays the call wrote over, and what with. LaminaError for options of an optimizer it changed, and for state whose first
        contents are not known."""
        found = {id(storage): (array, storage.node) for storage, array, node in self.held if storage.node is not node}
        arrays = {id(storage): array for storage, array, _ in self.held}
        for now, was in self.entries:
            for name, tensor in was.items():
                if isinstance(tensor, Tensor) and now.get(name) is not tensor:
                    found[id(tensor._storage)] = arrays[id(tensor._storage)], _new_contents(name, tensor, now.get(name))
        for group, was in self.options:
            _refuse_changes(group, was)
        replaced = {id(t) for now, was in self.entries for name, t in now.items() if name in was}
        for optimizer in self.optimizers:
            for name, tensor in [entry for state in optimizer.state.values() for entry in state.items()]:
                if isinstance(tensor, Tensor) and id(tensor._storage) not in arrays and id(tensor) not in replaced:
                    raise LaminaError(f"the optimizer begins to keep {name} in the step", help="let it take a step before the step is recorded")
        return [(array, node) for array, node in found.values() if node is not None]


def _refuse_changes(group: dict[str, Any], was: dict[str, Any]) -> None:
    for name, value in was.items():
        if not isinstance(group[name], Tensor) and group[name] is not value and group[name] != value:
            raise LaminaError(
                f"the step makes the optimizer's {name} {group[name]}; it was {value}",
                help="change it between steps and record the step again, or set lr to a tensor that the step is given",
            )


def _new_contents(name: str, old: Tensor, new: Any) -> Node:
    """What a buffer was replaced by. LaminaError for a tensor of another type: a program has its state where it is."""
    if not isinstance(new, Tensor) or new._type != old._type:
        shown = show_type(new._type) if isinstance(new, Tensor) else type(new).__name__
        raise LaminaError(
            f"the call makes the buffer {name}, {show_type(old._type)}, {shown}", help="keep its shape and dtype: write into it, or return what grows",
        )  # fmt: skip
    return new._read()


def _unknown(array: np.ndarray, type: Type) -> Node:
    """A value of these contents that nobody knows."""
    node = recorder.alias(recorder.leaf(array, type), requires_grad=False)
    node.value = None
    return node


def _contents(storage: Storage) -> tuple[Storage, Node | None, np.ndarray | None, np.ndarray]:
    """What a Storage holds (a Node, or memory numpy sees), and its numbers."""
    shared = storage.is_shared()
    node = storage.snapshot() if shared else storage.node
    assert node is not None
    return storage, storage.node, storage.host, recorder.value(node)


def _put(storage: Storage, node: Node | None) -> None:
    """Contents nobody wrote: what was read before is read again."""
    storage.node, storage.views = node, None
    storage.version += 1
