"""Recordings: one call of a model, recorded at the sizes of its example and, where sizes are to stay open, at others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..dialects.errors import LaminaError
from . import recorder
from .dynamic_shapes import Labels, examples
from .export import Example, Exported, export_call
from .nn.module import Module
from .node import Node
from .storage import Storage


class SizeError(LaminaError):
    """A model that does not run at other sizes than its example's."""


def record_at_sizes(
    model: Module | None, function: Callable[..., Any], example: Example, arrays: Sequence[np.ndarray], names: Sequence[str], labels: Labels
) -> list[Exported]:  # fmt: skip
    """``function`` called as the example says: once, or where sizes have labels three times. model: whose parameters are named.

    Raises SizeError when it fails at other sizes.
    """

    def record(arrays: Sequence[np.ndarray]) -> Exported:
        with _state_as_inputs(model):
            return export_call(model, lambda tensors: example.call(function, tensors), arrays, example.tensors, names)

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


@contextmanager
def _state_as_inputs(model: Module | None) -> Iterator[None]:
    """Parameters and buffers have no value meanwhile, as arguments have none: what is done with them is recorded, not done on the
    host. Afterwards they are what they were, whatever the call wrote."""
    tensors = [*model.parameters(), *model.buffers()] if model is not None else []
    storages = {id(t._storage): t._storage for t in tensors}
    before = [_contents(storage) for storage in storages.values()]
    for storage, _, _, array in before:
        unknown = recorder.alias(recorder.leaf(array, storage.type), requires_grad=False)
        unknown.value = None
        storage.host = None
        _put(storage, unknown)
    try:
        yield
    finally:
        for storage, node, host, _ in before:
            storage.host = host
            _put(storage, node)


def _contents(storage: Storage) -> tuple[Storage, Node | None, np.ndarray | None, np.ndarray]:
    """What a Storage holds (a Node, or memory numpy sees), and its numbers."""
    shared = storage.is_shared()
    node = storage.snapshot() if shared else storage.node
    return storage, storage.node, storage.host, recorder.value(node)


def _put(storage: Storage, node: Node | None) -> None:
    """Contents nobody wrote: what was read before is read again."""
    storage.node, storage.views = node, None
    storage.version += 1
