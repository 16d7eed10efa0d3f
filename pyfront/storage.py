"""Storage: mutable memory. Holds the Node that is its contents now; a write replaces it.

When numpy sees the same memory (``from_numpy``, ``.numpy()``), ``host`` is that array and the only truth:
reads take a snapshot when an op records them, writes are computed at once and copied into it.
"""

from __future__ import annotations

import sys

import numpy as np

from ..dialects.types import Type, dtype_of
from . import recorder
from .node import Node

# References to `host` when nobody outside shares it: the slot, and getrefcount's own argument.
_UNSHARED = 2


class Storage:
    """node: the contents (None while ``host`` is shared). version: number of writes. views: Nodes read this
    version. born: the recording position at which it was made. inference: made in inference mode."""

    __slots__ = ("node", "host", "version", "views", "born", "inference", "__weakref__")

    def __init__(self, node: Node | None, host: np.ndarray | None = None) -> None:
        self.node = node
        self.host = host
        self.version = 0
        self.born = recorder.state.order
        self.inference = recorder.state.inference
        self.views: dict[tuple, Node] | None = None
        if host is None and node.value is None:
            if node.op == "full":
                _fill_in(node)
            else:
                recorder.wait_for(self)

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
        self.node = recorder.leaf(self.host, self.type)
        self.host = None
        return False

    def share(self) -> np.ndarray:
        """The memory as numpy sees it from now on, writable. Computes the contents first."""
        if recorder.state.watch is not None:
            recorder.state.watch.looked = True
        if self.host is None:
            contents = recorder.value(self.node)
            self.host = np.array(contents, order="C")
            self.node = None
            self.views = None
            self.version += 1
        return self.host

    def replace(self, node: Node, start: int) -> None:
        """New contents. Values read before recording position ``start`` count as overwritten from then on."""
        old = self.node
        if recorder.state.watch is not None:
            recorder.state.watch.writes.append((self, old.order if old is not None else 0))
        if old is not None:
            old.overwritten = start
        if self.views is not None:
            for view in self.views.values():
                view.overwritten = start
            self.views = None
        self.node = node
        self.version += 1
        if node.value is None:
            if node.op == "full":
                _fill_in(node)
            else:
                recorder.wait_for(self)
        if recorder.state.placement is not None and old is not None:
            recorder.state.placement.settle(old, node)

    def written(self) -> None:
        """The shared memory itself was written."""
        if recorder.state.watch is not None:
            recorder.state.watch.looked = True  # numpy's memory: what a replay would not write
        self.version += 1


def _fill_in(node: Node) -> None:
    """A constant in memory is filled in at once: memory is memory from the start, so the first step of a
    training run (fresh weights, fresh statistics) is the same program as the second."""
    shape, number, dtype = node.attrs
    node.value = np.full(shape, number, dtype.numpy) if number else np.zeros(shape, dtype.numpy)
