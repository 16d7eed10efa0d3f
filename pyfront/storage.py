"""Storage: mutable memory. Holds the Node that is its contents now; a write replaces it.

When numpy sees the same memory (``from_numpy``, ``.numpy()``), ``host`` is that array and the only truth:
reads take a snapshot when an op records them, writes are computed at once and copied into it. What autograd knows
of the contents stays in ``history``: a snapshot has the values of the memory and the history of that Node.
"""

from __future__ import annotations

import sys
import weakref

import numpy as np

from ..dialects.types import Type, dtype_of
from . import recorder
from .node import Node

# References to `host` when nobody outside shares it: the slot, and getrefcount's own argument.
_UNSHARED = 2
_weakly = weakref.ref

rewrites = 0  # how many Nodes were told that the memory they were read from has been written without autograd's knowing

# Storages that were asked for their address: contents may be one array under several names until then.
_at: weakref.WeakValueDictionary[int, Storage] = weakref.WeakValueDictionary()


class Storage:
    """node: the contents (None while ``host`` is shared). history: where shared contents came from, if tracked.
    version: number of writes. views: Nodes read this version. owners: the tensor, weakly, that each view with history is. last: what the last write to a part put there, if tracked.
    born: the recording position at which it was made. inference: made in inference mode. unheard: Nodes read before
    writes that autograd did not hear of."""

    __slots__ = ("node", "host", "history", "version", "views", "owners", "last", "born", "inference", "unheard", "__weakref__")

    def __init__(self, node: Node | None, host: np.ndarray | None = None, is_memory: bool = True) -> None:
        """is_memory: a constant is filled in at once; else it is part of programs, and computed for who looks at it."""
        state = recorder.state
        self.node = node
        self.host = host
        self.history: Node | None = None
        self.version = 0
        self.born = state.order
        self.inference = state.inference
        self.views: dict[tuple, Node] | None = None
        self.owners: dict[tuple, weakref.ref] | None = None
        self.last: Node | None = None
        self.unheard: weakref.WeakSet[Node] | None = None
        if host is None and node.value is None:
            if node.op == "full":
                if is_memory:
                    fill_in(node)
            else:  # `wait_for`, without the call
                state.pending.append(_weakly(self))
                if state.order > state.bound:
                    recorder.at_bound()

    @property
    def type(self) -> Type:
        """Shape and dtype of the whole memory."""
        if self.node is not None:
            return self.node.type
        return tuple(self.host.shape), dtype_of(self.host)

    def is_shared(self) -> bool:
        """True while numpy code may hold the memory; takes it back when this was the last reference."""
        host = self.host
        if host is None:
            return False
        del host
        if (
            sys.getrefcount(self.host) > _UNSHARED
            or self.host.base is not None
            or not self.host.flags.c_contiguous
        ):
            return True
        self.node = self._remembered(recorder.leaf(self.host, self.type))
        self.host = self.history = None
        return False

    def snapshot(self) -> Node:
        """What the shared memory holds now, with its history."""
        return self._remembered(recorder.leaf(np.array(self.host, order="C"), self.type))

    def _remembered(self, contents: Node) -> Node:
        if self.history is None:
            return contents
        node = recorder.saved(self.history, contents)
        node.value = contents.value
        return node

    def share(self) -> np.ndarray:
        """The memory as numpy sees it from now on, writable. Computes the contents first."""
        if recorder.state.watch is not None:
            recorder.state.watch.looked = True
        if self.host is None:
            contents = recorder.value(self.node)
            self.host = np.array(contents, order="C")
            self.history = self.node if self.node.requires_grad else None
            self.node = None
            self.views = None
            self.version += 1
        return self.host

    def replace(self, node: Node, start: int, counted: bool = True) -> None:
        """New contents. Values read up to recording position ``start`` count as overwritten from then on.

        counted: False for a write autograd never hears of: what was saved stays good.
        """
        old, state = self.node, recorder.state
        if state.placement is not None and old is not None:
            node = state.placement.settled(old, node)
        if state.watch is not None:
            state.watch.writes.append((self, old.order if old is not None else 0))
        if not counted:
            self._keep_in_mind(old)
        elif old is not None:
            old.overwritten = start + 1
        if counted and self.unheard is not None:
            for earlier in self.unheard:
                earlier.overwritten = start + 1
            self.unheard = None
        if self.views is not None:
            if counted:
                for view in self.views.values():
                    view.overwritten = start + 1
            self.views = None
        if self.last is not None:
            if counted:
                self.last.overwritten = start + 1
            self.last = None
        self.node = node
        self.version += 1
        if node.value is None:
            if node.op == "full":
                fill_in(node)
            else:  # `wait_for`, without the call
                state.pending.append(_weakly(self))
                if state.order > state.bound:
                    recorder.at_bound()

    def _keep_in_mind(self, old: Node | None) -> None:
        """What is here before a write autograd does not hear of is overwritten by the next one it does hear of."""
        if self.unheard is None:
            self.unheard = weakref.WeakSet()
        self.unheard.update([n for n in (old, self.last, *(self.views or {}).values()) if n is not None])
        for chain, node in ((), old), *(self.views or {}).items():
            if node is not None:
                rewrite(node, self, chain)

    def address(self) -> int:
        """Where the contents are; computed if need be. No two Storages that were asked have the same address."""
        array = self.host if self.is_shared() else recorder.value(self.node)
        place = array.ctypes.data
        other = _at.get(place)
        shown = other.node.value if other is not None and other is not self and other.node is not None else None
        if shown is not None and shown.ctypes.data == place:
            copy = recorder.alias(self.node, self.node.requires_grad)
            copy.value = np.array(array, order="C")
            self.node = copy
            place = copy.value.ctypes.data
        _at[place] = self
        return place

    def touch(self) -> None:
        """A write to autograd though no element changes: a tensor got another shape in place."""
        if self.host is None:
            self.replace(recorder.alias(self.node, self.node.requires_grad), recorder.state.order)

    def written(self, node: Node | None = None) -> None:
        """The shared memory itself was written. node: what autograd knows of the new contents."""
        if recorder.state.watch is not None:
            recorder.state.watch.looked = True  # numpy's memory: what a replay would not write
        self.history = node
        self.version += 1


def rewrite(node: Node, storage: Storage, chain: tuple) -> None:
    """What was read as ``node`` is something else from now on, and autograd has not heard of it."""
    global rewrites
    node.place = storage, chain
    rewrites += 1


def is_rewritten(node: Node) -> bool:
    """Whether `rewrite` was told of it."""
    return hasattr(node, "place")


def fill_in(node: Node) -> None:
    """A constant in memory is filled in at once: memory is memory from the start, so the first step of a
    training run (fresh weights, fresh statistics) is the same program as the second."""
    shape, number, dtype = node.attrs
    try:
        node.value = np.full(shape, number, dtype.numpy) if number else np.zeros(shape, dtype.numpy)
    except MemoryError as error:
        raise recorder.no_memory(error) from None
