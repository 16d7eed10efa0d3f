"""Views: the chain of ops between a Storage and a Tensor; reading goes down the chain, writing goes back up."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ..dialects.errors import UnsupportedError
from ..dialects.types import DType, bool_, int64, size_of
from . import recorder
from .bits import recorded as recorded_bits
from .links import (
    NO_GRAD, RENAMED, RETYPED, Chain, Detached, LeafMark, Link, Mark, after_detaching, contiguous_strides, diagonal_box,
    dtype_through, extended, extent, is_dense, is_of_no_grad, is_run, is_row_major, is_tracked, layout, leaf_mark, places, reshaped_strides,
)  # fmt: skip  # some only for who reads chains through this module
from .node import Boundary, Node
from .origin import origin, source_line
from .phrases import Phrases
from .storage import Storage

_MOST_READ = 256  # views of one version that are remembered

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
        source, link = storage.node, chain[-1]
        if source.value is not None and (node := _selected(source, chain)) is not None:
            pass
        elif len(chain) > 1 and source.value is None and not source.requires_grad and is_plain(chain):
            node = _reads.recorded(chain, (source,), lambda whole: (_shown(whole, chain),))[0]
        else:
            source = source if len(chain) == 1 else read(storage, chain[:-1])
            node = boundary(source, link) if type(link) is LeafMark else _follow(source, link)
        # What no_grad recorded of something tracked is for now only: the next training step needs the
        # history.
        if node is not source and (recorder.state.grad or node.requires_grad or not _has_history(storage, chain)):
            if len(views) >= _MOST_READ:
                del views[next(iter(views))]
            views[chain] = node
    return node


def read_of_leaf(storage: Storage, chain: Chain, source: Node) -> Node:
    """`read` where a chain's last link makes a leaf of what was read as ``source``."""
    views = storage.views
    if views is None:
        views = storage.views = {}
    elif len(views) >= _MOST_READ:
        del views[next(iter(views))]
    node = views[chain] = boundary(source, chain[-1])  # type: ignore[arg-type]  # a LeafMark
    return node


def own_chain(storage: Storage, chain: Chain, start: int, count: int, tensor: object) -> Chain | None:
    """Where a view with history equals another one, which gradients may be taken by, too: a chain that tells them apart, from ``start`` on.

    A view of a leaf that nobody refers to any more is no reason: programs transpose one weight again in every turn of a loop. Nor is
    one of views without end (whose ``count`` links were joined with those before), nor of memory that is read anew each time.
    """
    owners = storage.owners
    owner = owners.get(chain)
    if owner is not None and storage.host is None and len(chain) == start + count:
        if owner() is not None or not start or type(chain[start - 1]) is not LeafMark:
            return (*chain[:start], Mark(), *chain[start:])
    if owner is None:
        owners.clear()
    owners[chain] = weakref.ref(tensor)
    return None


_reads = Phrases()  # of parts of memory that have no history, by the chain


def _shown(node: Node, chain: Chain) -> Node:
    for link in chain:
        node = _record(node, *link)
    return node


def _has_history(storage: Storage, chain: Chain) -> bool:
    """Whether autograd asks for more than the contents. What no_grad took a view of has none: that view is read again in the
    next call, and a program keeps what it made of an array for as long as it is given the same."""
    for link in reversed(chain):
        if type(link) is not tuple:
            if type(link) is Detached:
                return link.node is not None
            if isinstance(link, LeafMark):
                return True
    return storage.node.requires_grad


_selections: dict[Chain, tuple[tuple, ...] | None] = {}  # what numpy finds a view's elements by, one index after the other
_MOST_SELECTIONS = 1 << 14


def _selected(source: Node, chain: Chain) -> Node | None:
    """A part of memory whose contents the host has, as the same memory: no step, and no index in a cache key. None where it is more than slices
    that lie side by side."""
    if source.requires_grad or recorder.state.noted is not None or not is_plain(chain):  # marks are others each time: nothing is remembered by them
        return None
    if chain in _selections:
        indices = _selections[chain]
    else:
        if len(_selections) >= _MOST_SELECTIONS:
            _selections.clear()
        indices = _selections[chain] = _selection(chain)
    if indices is None:
        return None
    recorder.state.shown += 1
    array = recorder.known(source)
    if array is None:
        return None
    for index in indices:
        array = array[index]
    return _part(array, source, source.type[1]) if array.flags.c_contiguous else None


def _part(array: np.ndarray, source: Node, dtype: DType) -> Node:
    """Elements of a value the host has, as a value of their own, where that one is."""
    made = recorder.leaf(array, (array.shape, dtype), source.origin)
    made.device = source.device
    return made


def _selection(chain: Chain) -> tuple[tuple, ...] | None:
    """What shows the same as a chain of slices, each of which may be followed by a reshape that drops dimensions of size 1."""
    indices: list[tuple] = []
    links = list(chain)
    while links:
        link = links.pop(0)
        if type(link) is not tuple or link[0] != "slice":
            return None
        start, size, step = link[1]
        shape = list(size)
        if links and type(links[0]) is tuple and links[0][0] == "reshape":
            shape = list(links.pop(0)[1][0])
        index: list[Any] = []
        for b, n, s in zip(start, size, step, strict=True):
            if shape and shape[0] == n:
                del shape[0]
                index.append(slice(b, b + (n - 1) * s + 1 if n else b, s))
            elif n == 1:
                index.append(b)
            else:
                return None
        if shape:
            return None
        indices.append((*index, ...))  # also of no dimensions it is an array
    return tuple(indices)


def _follow(source: Node, link: Link) -> Node:
    if type(link) is tuple:
        known = None
        if not (source.requires_grad or recorder.state.noted is not None):
            recorder.state.shown += 1
            known = recorder.known(source)
        if known is not None:
            array = _numpy_view(known, *link)
            if array.flags.c_contiguous:  # the same memory under another shape: no step, and no index in a cache key
                return _part(array, source, link[1][0] if link[0] in RETYPED else source.type[1])
        return _record(source, *link)
    if type(link) is Detached:
        if link.node is None and not source.requires_grad:
            return source
        contents = recorder.alias(source, requires_grad=False)
        return _with_history(link.node, contents) if link.node is not None else contents
    if type(link) is Mark:  # RENAMED, or one of a view that is told apart from an equal one
        return recorder.alias(source)
    return boundary(source, link)


def _with_history(value: Node, contents: Node) -> Node:
    node = recorder.saved(value, contents)
    node.value = contents.value
    return node


def _record(source: Node, op: str, attrs: tuple) -> Node:
    if op == "bits":
        return recorded_bits(source, attrs[0])
    if op == "strided":
        row = recorder.record("reshape", (source,), ((size_of(source.type[0]),),))
        place = places(*attrs)
        return recorder.record("take", (row, recorder.constant(place, (attrs[0], int64))), (0,))
    if op != "diagonal":
        return recorder.record(op, (source,), attrs)
    flat, box = diagonal_box(source.type[0], attrs[0])
    return recorder.record("slice", (recorder.record("reshape", (source,), (flat,)),), box)


def boundary(source: Node, link: LeafMark) -> Boundary:
    """The value at a LeafMark: where differentiation ends."""
    recorder.state.order = order = recorder.state.order + 1
    behind = () if source.value is not None and not source.requires_grad else (source,)
    goes_on = () if link.leaf else (source,)
    return Boundary(behind, source.type, source.origin, order, link.deliver, link.leaf, link.label, goes_on, source.value)


def _read_shared(storage: Storage, chain: Chain) -> Node:
    """A snapshot of what numpy sees: it may change behind our back, so nothing is cached."""
    if storage.history is not None:
        node = storage.snapshot()
        for link in chain:
            node = _follow(node, link)
        return node
    gains = [isinstance(link, LeafMark) or type(link) is Detached and link.node is not None for link in chain]
    count = gains.index(True) if True in gains else len(chain)
    array = host_view(storage.host, chain[:count])
    dtype = dtype_through(storage.type[1], chain[:count])
    node = recorder.leaf(np.array(array, order="C"), (tuple(array.shape), dtype))
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
    if op == "strided":
        size, stride, offset = attrs
        row = np.lib.stride_tricks.as_strided(array, (offset + 1,), (array.itemsize,), writeable=array.flags.writeable)
        strides = tuple([s * array.itemsize for s in stride])
        return np.lib.stride_tricks.as_strided(row[offset:], size, strides, writeable=array.flags.writeable)
    if op == "as_parts":
        return array[..., None].view(attrs[0].numpy)
    if op == "from_parts":
        return array.view(attrs[0].numpy)[..., 0]
    if op == "bits":
        return array.view(attrs[0].numpy)
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
        if node.requires_grad or not storage.node.requires_grad:  # the whole memory, and no history to keep: most writes
            storage.replace(node, start)
            return
    elif storage.host is None and not (node.requires_grad or storage.node.requires_grad) and is_plain(chain):
        storage.replace(_with_part(storage.node, chain, node), start)
        return
    if recorder.state.grad and chain:
        cut = len(chain) - len(after_detaching(chain)) - 1
        if cut >= 0 and (node.requires_grad or chain[cut].node is not None):
            _write_behind(storage, chain, cut, node, start)
            return
    _write(storage, chain, node, start)


def _write_behind(storage: Storage, chain: Chain, cut: int, node: Node, start: int) -> None:
    """A write that leaves history behind a Detached, at ``cut``, and only contents in front of it."""
    check_writable(storage, chain)
    mark = chain[cut]
    if mark is NO_GRAD:
        raise RuntimeError("A view was created in no_grad mode and is being modified inplace with grad mode enabled.")
    node = _up_to(storage, chain, cut + 1, node)
    mark.node = node if node.requires_grad else None
    before, recorder.state.grad = recorder.state.grad, False
    try:
        _write(storage, chain[: cut + 1], recorder.alias(node, False), start)
    finally:
        recorder.state.grad = before


def _write(storage: Storage, chain: Chain, node: Node, start: int) -> None:
    if chain:
        check_writable(storage, chain)
    if storage.host is not None and storage.is_shared():
        if storage.history is None and not (node.requires_grad and recorder.state.grad):
            np.copyto(host_view(storage.host, chain), recorder.value(node), casting="unsafe")
            storage.written()
            return
        whole = _back(storage, chain, node)
        np.copyto(storage.host, recorder.value(whole), casting="unsafe")
        storage.written(whole if whole.requires_grad else None)
        return
    storage.replace(_back(storage, chain, node), start, _is_counted(chain))
    if node.requires_grad:
        storage.last = node  # what its own derivative saved is gone with the next write


def _is_counted(chain: Chain) -> bool:
    return all([link.counted for link in chain if type(link) is Detached])


def check_writable(storage: Storage, chain: Chain) -> None:
    """RuntimeError when several elements of the view are the same memory."""
    if _repeats(chain) and any(n > 1 and s == 0 for n, s in zip(*layout(storage, chain)[:2], strict=True)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )


def _repeats(chain: Chain) -> bool:
    """True when some link of a chain may show an element several times."""
    for link in chain:
        if type(link) is tuple and link[0] in _REPEATING:
            return True
    return False


def _back(storage: Storage, chain: Chain, node: Node) -> Node:
    """The storage's new contents when the value at the end of ``chain`` becomes ``node``."""
    if storage.host is None and not (node.requires_grad or storage.node.requires_grad) and is_plain(chain):
        return _with_part(storage.node, chain, node)
    unseen = any([type(link) is Detached for link in chain]) or not recorder.state.grad
    before = recorder.state.grad
    recorder.state.grad = before and (node.requires_grad or not unseen)  # contents alone, also of what is tracked around them
    try:
        node = _scattered(storage, chain, node) if _repeats(chain) else _up_to(storage, chain, 0, node)
    finally:
        recorder.state.grad = before
    old = storage.node if storage.node is not None else storage.snapshot()
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


def _with_part(whole: Node, chain: Chain, part: Node) -> Node:
    """`_put_back` where nothing has a history."""
    return _writes.recorded(chain, (whole, part), lambda old, new: (_put_back(old, chain, new),))[0]


_writes = Phrases()  # into parts of memory, by the chain: such parts have no history
_PLAIN = frozenset({"slice", "reshape", "permute"})
_REPEATING = frozenset({"expand", "window", "strided"})


def is_plain(chain: Chain) -> bool:
    """Whether a chain only shows a part of the memory, or all of it in another order: nothing that autograd knows."""
    for link in chain:
        if type(link) is not tuple or link[0] not in _PLAIN:
            return False
    return True


def _put_back(source: Node, chain: Chain, node: Node) -> Node:
    """``source`` with ``node`` as what a chain of plain views shows of it."""
    seen = [source]
    for link in chain[:-1]:
        seen.append(_record(seen[-1], *link))
    for link in reversed(chain):
        node = _inverse(seen.pop(), link, node)
    return node


def _up_to(storage: Storage, chain: Chain, length: int, node: Node) -> Node:
    """The value at the end of the first ``length`` links when the value at the end of ``chain`` becomes ``node``."""
    if _repeats(chain[length:]):
        return _scattered_in(storage, chain, length, node)
    while len(chain) > length:
        link, chain = chain[-1], chain[:-1]
        if type(link) is tuple:
            node = _inverse(read(storage, chain), link, node)
    return node


def _scattered_in(storage: Storage, chain: Chain, length: int, node: Node) -> Node:
    """`_up_to` where a link in between shows elements several times: the whole memory changes, and is looked at."""
    whole = _scattered(storage, chain, node)
    for link in chain[:length]:
        whole = _follow(whole, link) if type(link) is tuple else whole
    return whole


def _inverse(source: Node, link: tuple[str, tuple], node: Node) -> Node:
    op, attrs = link
    if op == "reshape":
        return recorder.record("reshape", (node,), (source.type[0],))
    if op == "permute":
        order = attrs[0]
        return recorder.record("permute", (node,), (tuple([order.index(i) for i in range(len(order))]),))
    if op == "diagonal":
        flat, (start, _, step) = diagonal_box(source.type[0], attrs[0])
        whole = recorder.record(
            "update", (recorder.record("reshape", (source,), (flat,)), node), (start, step)
        )
        return recorder.record("reshape", (whole,), (source.type[0],))
    if op == "bits":
        return recorded_bits(node, source.type[1])
    if op in RETYPED:
        return recorder.record("from_parts" if op == "as_parts" else "as_parts", (node,), (source.type[1],))
    start, _, step = attrs
    return recorder.record("update", (source, node), (start, step))


def _scattered(storage: Storage, chain: Chain, node: Node) -> Node:
    """The storage with the elements of a view (found by its strides) taken from ``node``; of equal places the
    last wins."""
    if dtype_through(storage.type[1], chain) is not storage.type[1]:
        raise UnsupportedError("a write through a view that repeats elements of a complex tensor's parts", at=source_line(origin()))
    shape, strides, offset = layout(storage, chain)
    place = places(shape, strides, offset)
    whole, dtype = storage.type
    if not place.size:
        return recorder.alias(read(storage, whole_memory(storage, chain) or ()))
    count = size_of(whole)
    hit, source = np.zeros(whole, bool), np.zeros(count, np.int64)
    hit.reshape(-1)[place.reshape(-1)] = True
    source[place.reshape(-1)] = np.arange(place.size)
    row = recorder.record("reshape", (node,), ((place.size,),))
    taken = recorder.record("take", (row, recorder.constant(source, ((count,), int64))), (0,))
    fitted = recorder.record("reshape", (taken,), (whole,))
    before = read(storage, whole_memory(storage, chain) or ())
    if before.type[0] != whole:
        before = recorder.record("reshape", (before,), (whole,))
    return recorder.record("select", (recorder.constant(hit, (whole, bool_)), fitted, before))


def whole_memory(storage: Storage, chain: Chain) -> Chain | None:
    """The start of a chain that shows all of the storage, row by row, with the history the chain's end has.

    None when a part of the memory became a leaf: the rest has no history there.
    """
    marks = [i for i, link in enumerate(chain) if isinstance(link, LeafMark)]
    if not marks:
        return tuple([link for link in chain if isinstance(link, Mark)])
    head = chain[: marks[-1] + 1]
    shape, strides, offset = layout(storage, head)
    if offset or size_of(shape) != size_of(storage.type[0]) or not is_dense(shape, strides):
        return None
    later = [link for link in chain[len(head) :] if isinstance(link, Mark)]
    if is_row_major(shape, strides):
        return (*head, *later)
    order = tuple(sorted(range(len(shape)), key=lambda i: (-strides[i], i)))
    return (*head, ("permute", (order,)), *later)
