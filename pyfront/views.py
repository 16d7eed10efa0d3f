"""Views: the chain of ops between a Storage and a Tensor; reading goes down the chain, writing goes back up.

A link is ``(op, attrs)`` for the view ops of the book, or a Mark for the two places where only the autograd
identity changes: ``DETACHED``, ``RENAMED`` and a ``LeafMark``. Chains are tuples, so they are keys of a Storage's cache of
read views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dialects.types import Shape, bool_, int64, size_of
from . import recorder
from .node import Boundary, Node
from .storage import Storage

Strides = tuple[int, ...]


class Mark:
    """A link that changes no element."""

    __slots__ = ()


class LeafMark(Mark):
    """From here on the values belong to a tensor that requires grad (or has hooks). ``deliver`` takes its
    gradient."""

    __slots__ = ("deliver", "leaf", "label")

    def __init__(
        self, deliver: Callable[[Any], Any], leaf: bool = True, label: Callable[[], str | None] | None = None
    ) -> None:
        self.deliver = deliver
        self.leaf = leaf
        self.label = label


DETACHED = Mark()
RENAMED = Mark()
Link = Mark | tuple[str, tuple]
Chain = tuple[Link, ...]


def leaf_mark(chain: Chain) -> LeafMark | None:
    """The leaf a chain's values belong to, unless a later link detaches them."""
    for link in reversed(chain):
        if link is DETACHED:
            return None
        if isinstance(link, LeafMark) and link.leaf:
            return link
    return None


def extended(chain: Chain, links: Chain) -> Chain:
    """``chain`` followed by ``links``; a link of the kind of the last one becomes one with it."""
    for link in links:
        last = chain[-1] if chain else None
        if type(last) is tuple and type(link) is tuple and last[0] == link[0] and last[0] in _JOINED:
            chain = (*chain[:-1], (link[0], _JOINED[link[0]](last[1], link[1])))
        else:
            chain = (*chain, link)
    return chain


def _join_slices(first: tuple, second: tuple) -> tuple:
    (b1, _, s1), (b2, n2, s2) = first, second
    return (
        tuple([a + b * s if n else a for a, b, s, n in zip(b1, b2, s1, n2, strict=True)]),
        n2,
        tuple([s * t for s, t in zip(s1, s2, strict=True)]),
    )


_JOINED: dict[str, Callable[[tuple, tuple], tuple]] = {
    "reshape": lambda first, second: second,
    "permute": lambda first, second: (tuple([first[0][i] for i in second[0]]),),
    "slice": _join_slices,
}


# -- reading
# --------------------------------------------------------------------------------------------------------


def read(storage: Storage, chain: Chain) -> Node:
    """The value of a view now, as a Node."""
    if storage.host is not None and storage.is_shared():
        return _read_shared(storage, chain)
    if not chain:
        return storage.node
    views = storage.views
    if views is None:
        views = storage.views = {}
    node = views.get(chain)
    if node is None:
        node = _follow(read(storage, chain[:-1]), chain[-1])
        # What no_grad recorded of something tracked is for now only: the next training step needs the
        # history.
        if recorder.state.grad or node.requires_grad or not _has_history(storage, chain):
            views[chain] = node
    return node


def _has_history(storage: Storage, chain: Chain) -> bool:
    return storage.node.requires_grad or any(isinstance(link, LeafMark) for link in chain)


def _follow(source: Node, link: Link) -> Node:
    if type(link) is tuple:
        known = None if source.requires_grad else recorder.known(source)
        if known is not None:
            array = _numpy_view(known, *link)
            if (
                array.flags.c_contiguous
            ):  # the same memory under another shape: no step, and no index in a cache key
                return recorder.leaf(array, (tuple(array.shape), source.type[1]))
        return _record(source, *link)
    if link is DETACHED:
        return recorder.alias(source, requires_grad=False)
    if link is RENAMED:
        return recorder.alias(source)
    return boundary(source, link)


def _record(source: Node, op: str, attrs: tuple) -> Node:
    if op != "diagonal":
        return recorder.record(op, (source,), attrs)
    flat, box = _diagonal_box(source.type[0], attrs[0])
    return recorder.record("slice", (recorder.record("reshape", (source,), (flat,)),), box)


def _diagonal_box(shape: Shape, offset: int) -> tuple[Shape, tuple[Shape, Shape, Shape]]:
    """The diagonal of the last two dimensions: every (n+1)-th element of both as one. (flattened shape, slice
    attributes)"""
    *z, m, n = shape
    count = max(min(m, n - offset) if offset >= 0 else min(m + offset, n), 0)
    first = (offset if offset >= 0 else -offset * n) if count else 0
    return (*z, m * n), ((*[0] * len(z), first), (*z, count), (*[1] * len(z), n + 1))


def boundary(source: Node, link: LeafMark) -> Boundary:
    """The value at a LeafMark: where differentiation ends."""
    recorder.state.order = order = recorder.state.order + 1
    behind = () if source.value is not None and not source.requires_grad else (source,)
    goes_on = () if link.leaf else (source,)
    node = Boundary(behind, source.type, source.origin, order, link.deliver, link.leaf, link.label, goes_on)
    node.value = source.value
    return node


def _read_shared(storage: Storage, chain: Chain) -> Node:
    """A snapshot of what numpy sees: it may change behind our back, so nothing is cached."""
    count = next((i for i, link in enumerate(chain) if isinstance(link, LeafMark)), len(chain))
    array = host_view(storage.host, chain[:count])
    dtype = storage.type[1]
    node: Node = recorder.leaf(np.array(array, order="C"), (tuple(array.shape), dtype))
    for link in chain[count:]:
        node = _follow(node, link)
    return node


def host_view(array: np.ndarray, chain: Chain) -> np.ndarray:
    """The numpy view of ``array`` a chain describes (same memory wherever numpy can express it)."""
    for link in chain:
        if type(link) is tuple:
            array = _numpy_view(array, *link)
    return array


def _numpy_view(array: np.ndarray, op: str, attrs: tuple) -> np.ndarray:
    if op == "slice":
        start, size, step = attrs
        return array[
            tuple(
                [
                    slice(b, b + (n - 1) * s + 1 if n else b, s)
                    for b, n, s in zip(start, size, step, strict=True)
                ]
            )
        ]
    if op == "reshape":
        return array.reshape(attrs[0])
    if op == "permute":
        return array.transpose(attrs[0])
    if op == "expand":
        strides = [0 if n != m else s for n, m, s in zip(array.shape, attrs[0], array.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(array, attrs[0], strides, writeable=array.flags.writeable)
    if op == "diagonal":
        diagonal = np.diagonal(array, attrs[0], -2, -1)
        diagonal.flags.writeable = array.flags.writeable
        return diagonal
    size, stride, dilation = attrs
    rank, n = array.ndim, len(size)
    reach = tuple([(u - 1) * k + 1 for u, k in zip(size, dilation, strict=True)])
    last = tuple(range(rank - n, rank))
    windows = np.lib.stride_tricks.sliding_window_view(array, reach, last, writeable=array.flags.writeable)
    positions = [slice(None, None, s) for s in stride]
    return windows[(*[slice(None)] * (rank - n), *positions, *[slice(None, None, k) for k in dilation])]


# -- writing
# --------------------------------------------------------------------------------------------------------


def write(storage: Storage, chain: Chain, node: Node, start: int) -> None:
    """Make ``node`` the value of a view: the storage gets the contents that read back as ``node``.

    ``start`` is the recording position when the in-place operation began. RuntimeError for expanded memory.
    """
    if recorder.state.watchers:
        for watcher in recorder.state.watchers:
            watcher.check_write(storage, node)
    if storage.host is None and (not chain or len(chain) == 1 and type(chain[0]) is LeafMark):
        old = storage.node
        if node.requires_grad or not old.requires_grad:  # the whole memory, and no history to keep: most writes
            storage.replace(node, start)
            return
    if chain:
        check_writable(storage, chain)
    if storage.host is not None and storage.is_shared():
        target = host_view(storage.host, chain)
        np.copyto(target, recorder.value(node), casting="unsafe")
        storage.written()
        return
    storage.replace(_back(storage, chain, node), start)


def check_writable(storage: Storage, chain: Chain) -> None:
    """RuntimeError when several elements of the view are the same memory."""
    if _repeats(chain) and any(n > 1 and s == 0 for n, s in zip(*layout(storage, chain)[:2], strict=True)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )


def _repeats(chain: Chain) -> bool:
    """True when some link of a chain may show an element several times."""
    return any(type(link) is tuple and link[0] in ("expand", "window") for link in chain)


def _back(storage: Storage, chain: Chain, node: Node) -> Node:
    """The storage's new contents when the value at the end of ``chain`` becomes ``node``."""
    unseen = DETACHED in chain or not recorder.state.grad
    if _repeats(chain):
        node, chain = _scattered(storage, chain, node), ()
    while chain:
        link, chain = chain[-1], chain[:-1]
        if type(link) is tuple:
            node = _inverse(read(storage, chain), link, node)
    old = storage.node
    if not old.requires_grad or node.requires_grad:
        return node
    if unseen:
        return recorder.saved(
            old, node
        )  # autograd does not see this write: the history of a computed tensor stays as it was
    everywhere = recorder.record("full", (), (node.type[0], True, bool_))
    return recorder.record(
        "select", (everywhere, node, old)
    )  # all overwritten: still tracked, with gradient 0


def _inverse(source: Node, link: tuple[str, tuple], node: Node) -> Node:
    op, attrs = link
    if op == "reshape":
        return recorder.record("reshape", (node,), (source.type[0],))
    if op == "permute":
        order = attrs[0]
        return recorder.record("permute", (node,), (tuple([order.index(i) for i in range(len(order))]),))
    if op == "diagonal":
        flat, (start, _, step) = _diagonal_box(source.type[0], attrs[0])
        whole = recorder.record(
            "update", (recorder.record("reshape", (source,), (flat,)), node), (start, step)
        )
        return recorder.record("reshape", (whole,), (source.type[0],))
    start, _, step = attrs
    return recorder.record("update", (source, node), (start, step))


def _scattered(storage: Storage, chain: Chain, node: Node) -> Node:
    """The storage with the elements of a view (found by its strides) taken from ``node``; of equal places the
    last wins."""
    shape, strides, offset = layout(storage, chain)
    place = np.full((), offset, np.int64)
    for n, s in zip(shape, strides, strict=True):
        place = place[..., None] + np.arange(n) * s
    whole, dtype = storage.type
    count = size_of(whole)
    hit, source = np.zeros(whole, bool), np.zeros(count, np.int64)
    hit.reshape(-1)[place.reshape(-1)] = True
    source[place.reshape(-1)] = np.arange(place.size)
    row = recorder.record("reshape", (node,), ((place.size,),))
    taken = recorder.record("take", (row, recorder.constant(source, ((count,), int64))), (0,))
    marks = tuple([link for link in chain if isinstance(link, LeafMark)])
    fitted = recorder.record("reshape", (taken,), (whole,))
    return recorder.record("select", (recorder.constant(hit, (whole, bool_)), fitted, read(storage, marks)))


# -- memory layout
# --------------------------------------------------------------------------------------------------


def contiguous_strides(shape: Shape) -> Strides:
    """Row-major strides in elements, as PyTorch counts them (a dimension of size 0 counts as 1)."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)


def layout(storage: Storage, chain: Chain) -> tuple[Shape, Strides, int]:
    """Shape, strides and offset (in elements) of a view in its storage."""
    shape = storage.type[0]
    if storage.host is not None:
        size = storage.host.itemsize
        strides: Strides = tuple([s // size for s in storage.host.strides])
    else:
        strides = contiguous_strides(shape)
    offset = 0
    for link in chain:
        if type(link) is tuple:
            shape, strides, offset = _through(link, shape, strides, offset)
    return shape, strides, offset


def _through(
    link: tuple[str, tuple], shape: Shape, strides: Strides, offset: int
) -> tuple[Shape, Strides, int]:
    op, attrs = link
    if op == "permute":
        return tuple([shape[i] for i in attrs[0]]), tuple([strides[i] for i in attrs[0]]), offset
    if op == "slice":
        start, size, step = attrs
        offset += sum(b * s for b, s in zip(start, strides, strict=True))
        return size, tuple([s * k for s, k in zip(strides, step, strict=True)]), offset
    if op == "expand":
        to = attrs[0]
        return (
            to,
            tuple([0 if n == 1 and m != 1 else s for n, m, s in zip(shape, to, strides, strict=True)]),
            offset,
        )
    if op == "window":
        return _through_window(attrs, shape, strides, offset)
    if op == "diagonal":
        size, (a, b), k = _diagonal_box(shape, attrs[0])[1][1], strides[-2:], attrs[0]
        return size, (*strides[:-2], a + b), offset + (k * b if k >= 0 else -k * a) * (size[-1] > 0)
    to = attrs[0]
    return to, reshaped_strides(shape, strides, to) or contiguous_strides(to), offset


def _through_window(attrs: tuple, shape: Shape, strides: Strides, offset: int) -> tuple[Shape, Strides, int]:
    size, stride, dilation = attrs
    n = len(size)
    positions = tuple(
        [
            (d - (u - 1) * k - 1) // s + 1
            for d, u, s, k in zip(shape[-n:], size, stride, dilation, strict=True)
        ]
    )
    outer = tuple([a * s for a, s in zip(strides[-n:], stride, strict=True)])
    inner = tuple([a * k for a, k in zip(strides[-n:], dilation, strict=True)])
    return (*shape[:-n], *positions, *size), (*strides[:-n], *outer, *inner), offset


def reshaped_strides(shape: Shape, strides: Strides, to: Shape) -> Strides | None:
    """Strides that give the same memory the shape ``to``, or None when only a copy can (PyTorch's rule for
    ``view``)."""
    if 0 in shape:
        return strides if to == shape else contiguous_strides(to)
    if not shape:
        return (1,) * len(to)
    result = [0] * len(to)
    at = len(to) - 1
    base, block, filled = strides[-1], 1, 1
    for i in range(len(shape) - 1, -1, -1):
        block *= shape[i]
        if i > 0 and (shape[i - 1] == 1 or strides[i - 1] == block * base):
            continue  # dimension i-1 goes on where this block of memory ends
        while at >= 0 and (filled < block or to[at] == 1):
            result[at] = filled * base
            filled *= to[at]
            at -= 1
        if filled != block:
            return None
        if i > 0:
            base, block, filled = strides[i - 1], 1, 1
    return tuple(result) if at == -1 else None
