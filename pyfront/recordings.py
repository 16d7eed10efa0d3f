"""Recordings: one call of a model, recorded at the sizes of its example and, where sizes are to stay open, at others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..dialects.errors import LaminaError
from ..dialects.types import show_type
from . import recorder
from .dynamic_shapes import Labels, examples
from .export import Example, Exported, export_call
from .nn.module import Module
from .node import Node
from .storage import Storage
from .tensor import Tensor


class SizeError(LaminaError):
    """A model that does not run at other sizes than its example's."""


def record_at_sizes(
    model: Module | None, function: Callable[..., Any], example: Example, arrays: Sequence[np.ndarray], names: Sequence[str], labels: Labels
) -> list[Exported]:  # fmt: skip
    """``function`` called as the example says: once, or where sizes have labels three times. model: whose parameters are named.

    Raises SizeError when it fails at other sizes.
    """

    def record(arrays: Sequence[np.ndarray]) -> Exported:
        with _state_as_inputs(model) as written:
            return export_call(model, lambda tensors: example.call(function, tensors), arrays, example.tensors, names, written)

    if not labels:
        return [record(arrays)]
    base, *larger = examples(arrays, labels)
    first = record(base)
    try:
        return [first, *map(record, larger)]
    except Exception as error:  # the model's own, whatever it is
        try:
            return [first, *map(record, examples(arrays, labels, shrink=True)[1:])]
        except Exception:  # what it says of larger sizes is told
            sizes = ", ".join(dict.fromkeys(labels.values()))
            raise SizeError(f"the model does not run with other sizes of {sizes}: {error}", help="sizes without a name stay the example's") from error


def export(model: Module, examples: Sequence[Tensor], names: Sequence[str] | None = None) -> Exported:
    """Record ``model(*examples)`` once. The examples' shapes are the program's; their values do not matter.

    names: one per example ("x", "x2", … otherwise). LaminaError when the result depends on values read on the way
    (``.item()``, ``if x.sum() > 0``) or is not made of tensors.
    """
    labels = list(names) if names is not None else ["x" if i == 0 else f"x{i + 1}" for i in range(len(examples))]
    example = Example(list(examples), labels, lambda function, tensors: function(*tensors))
    return record_at_sizes(model, model, example, [np.array(t._value()) for t in examples], labels, {})[0]


@contextmanager
def _state_as_inputs(model: Module | None) -> Iterator[Callable[[], list[tuple[np.ndarray, Node]]]]:
    """Parameters and buffers have no value meanwhile, as arguments have none: what is done with them is recorded, not done on the
    host. Afterwards they are what they were, whatever the call wrote; gives what tells that: arrays and what they were replaced by."""
    buffers = [(module._buffers, dict(module._buffers)) for module in model.modules()] if model is not None else []
    tensors = [*model.parameters(), *model.buffers()] if model is not None else []
    storages = {id(t._storage): t._storage for t in tensors}
    before = [_contents(storage) for storage in storages.values()]
    held: list[tuple[Storage, np.ndarray, Node]] = []
    for storage, _, _, array in before:
        unknown = recorder.alias(recorder.leaf(array, storage.type), requires_grad=False)
        unknown.value = None
        storage.host = None
        _put(storage, unknown)
        held.append((storage, array, unknown))

    def written() -> list[tuple[np.ndarray, Node]]:
        found = {id(storage): (array, storage.node) for storage, array, node in held if storage.node is not node}
        for now, was in buffers:
            for name, tensor in was.items():
                if tensor is not None and now.get(name) is not tensor:
                    array = next(array for storage, array, _ in held if storage is tensor._storage)
                    found[id(tensor._storage)] = array, _new_contents(name, tensor, now.get(name))
        return [(array, node) for array, node in found.values() if node is not None]

    try:
        yield written
    finally:
        for now, was in buffers:
            now.clear()
            now.update(was)
        for storage, node, host, _ in before:
            storage.host = host
            _put(storage, node)


def _new_contents(name: str, old: Tensor, new: Tensor | None) -> Node:
    """What a buffer was replaced by. LaminaError for a tensor of another type: a program has its state where it is."""
    if new is None or new._type != old._type:
        shown = "nothing" if new is None else show_type(new._type)
        raise LaminaError(
            f"the call makes the buffer {name}, {show_type(old._type)}, {shown}", help="keep its shape and dtype: write into it, or return what grows",
        )  # fmt: skip
    return new._read()


def _contents(storage: Storage) -> tuple[Storage, Node | None, np.ndarray | None, np.ndarray]:
    """What a Storage holds (a Node, or memory numpy sees), and its numbers."""
    shared = storage.is_shared()
    node = storage.snapshot() if shared else storage.node
    return storage, storage.node, storage.host, recorder.value(node)


def _put(storage: Storage, node: Node | None) -> None:
    """Contents nobody wrote: what was read before is read again."""
    storage.node, storage.views = node, None
    storage.version += 1
