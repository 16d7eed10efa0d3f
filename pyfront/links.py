"""Links: what a chain between a Storage and a Tensor is made of, and where in memory a view's elements lie.

A link is ``(op, attrs)`` for the view ops of the book, or a Mark for the places where only the autograd identity
changes: a ``Detached`` and a ``LeafMark``. The link ``("strided", (size, stride, offset))`` starts at the storage itself,
whatever came before it. Chains are tuples, so they are keys of a Storage's cache of read views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dialects.types import DType, Shape
from . import recorder
from .node import Node
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


class Detached(Mark):
    """From here on the values have no history, until something tracked is written behind it: ``node``'s then, while
    the memory in front keeps its own. ``counted``: whether a write through it counts as one for autograd."""

    __slots__ = ("counted", "node")

    def __init__(self, counted: bool = True) -> None:
        self.counted = counted
        self.node: Node | None = None


RENAMED = Mark()  # from here on the values are another tensor to autograd, with the same history
RETYPED = ("as_parts", "from_parts", "bits")  # links after which the dtype is another one: complex numbers as pairs, pairs as them, memory as it is; attrs: it
NO_GRAD = Detached()  # in front of every view made under no_grad
Link = Mark | tuple[str, tuple]
Chain = tuple[Link, ...]


def leaf_mark(chain: Chain) -> LeafMark | None:
    """The leaf a chain's values belong to, unless a later link detaches them."""
    for link in reversed(chain):
        if type(link) is Detached:
            return None
        if isinstance(link, LeafMark) and link.leaf:
            return link
    return None


def is_of_no_grad(chain: Chain) -> bool:
    """Whether a chain shows something tracked as no_grad saw it, and was not detached since."""
    return next((link is NO_GRAD for link in reversed(chain) if type(link) is Detached), False)


def is_tracked(storage: Storage, chain: Chain) -> bool:
    """Whether what a chain shows of shared memory requires grad."""
    own = after_detaching(chain)
    if any([isinstance(link, LeafMark) for link in own]):
        return True
    return (storage.history if len(own) == len(chain) else chain[-len(own) - 1].node) is not None


def after_detaching(chain: Chain) -> Chain:
    """The links behind the last one that detaches."""
    cut = max([i + 1 for i, link in enumerate(chain) if type(link) is Detached], default=0)
    return chain[cut:]


def extended(chain: Chain, links: Chain) -> Chain:
    """``chain`` followed by ``links``; a link of the kind of the last one becomes one with it."""
    for link in links:
        last = chain[-1] if chain else None
        if type(last) is tuple and type(link) is tuple and last[0] == link[0] and last[0] in _JOINED:
            chain = (*chain[:-1], (link[0], _JOINED[link[0]](last[1], link[1])))
        else:
            chain = (*chain, link)
    return chain


LONGEST_RUN = 8
"""Links of one kind, one behind the other, that stay apart."""


def is_run(chain: Chain) -> bool:
    """Whether a chain ends in as many links of one kind as are kept apart."""
    if len(chain) < LONGEST_RUN:
        return False
    kinds = {link[0] if type(link) is tuple else None for link in chain[-LONGEST_RUN:]}
    return len(kinds) == 1 and None not in kinds


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


# -- memory
# --------------------------------------------------------------------------------------------------


def diagonal_box(shape: Shape, offset: int) -> tuple[Shape, tuple[Shape, Shape, Shape]]:
    """The diagonal of the last two dimensions: every (n+1)-th element of both as one. (flattened shape, slice
    attributes)"""
    *z, m, n = shape
    count = max(min(m, n - offset) if offset >= 0 else min(m + offset, n), 0)
    first = (offset if offset >= 0 else -offset * n) if count else 0
    return (*z, m * n), ((*[0] * len(z), first), (*z, count), (*[1] * len(z), n + 1))


def extent(storage: Storage) -> int:
    """Elements of memory a storage spans."""
    shape, strides, _ = layout(storage, ())
    return 1 + sum([(n - 1) * s for n, s in zip(shape, strides, strict=True)]) if 0 not in shape else 0


def is_row_major(shape: Shape, strides: Strides) -> bool:
    wanted = contiguous_strides(shape)
    return all([n == 1 or s == t for n, s, t in zip(shape, strides, wanted, strict=True)])


def places(shape: Shape, strides: Strides, offset: int) -> np.ndarray:
    """The position in memory of every element of a view."""
    place = np.full((), offset, np.int64)
    for n, s in zip(shape, strides, strict=True):
        place = place[..., None] + np.arange(n) * s
    return np.array(place, order="C")


def contiguous_strides(shape: Shape) -> Strides:
    """Row-major strides in elements, as PyTorch counts them (a dimension of size 0 counts as 1)."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)


def layout(storage: Storage, chain: Chain) -> tuple[Shape, Strides, int]:
    """Shape, strides and offset (in elements) of a view in its storage."""
    state = recorder.state
    state.asked += 1
    state.places += 1
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
    if op == "strided":
        return attrs
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
    if op == "as_parts":
        return (*shape, 2), (*[2 * s for s in strides], 1), 2 * offset
    if op == "from_parts":
        return shape[:-1], tuple([s // 2 for s in strides[:-1]]), offset // 2
    if op == "bits":
        return _through_bits(attrs, shape, strides, offset)
    if op == "window":
        return _through_window(attrs, shape, strides, offset)
    if op == "diagonal":
        size, (a, b), k = diagonal_box(shape, attrs[0])[1][1], strides[-2:], attrs[0]
        return size, (*strides[:-2], a + b), offset + (k * b if k >= 0 else -k * a) * (size[-1] > 0)
    to = attrs[0]
    return to, reshaped_strides(shape, strides, to) or contiguous_strides(to), offset


def _through_bits(attrs: tuple, shape: Shape, strides: Strides, offset: int) -> tuple[Shape, Strides, int]:
    new, old = attrs[0].itemsize, attrs[1].itemsize
    if new == old:
        return shape, strides, offset
    return (*shape[:-1], shape[-1] * old // new), (*[s * old // new for s in strides[:-1]], 1), offset * old // new


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


def dtype_through(dtype: DType, chain: Chain) -> DType:
    """The dtype at the end of a chain that begins in memory of a dtype: that of the last link that changes it."""
    return next((link[1][0] for link in reversed(chain) if type(link) is tuple and link[0] in RETYPED), dtype)


def is_dense(shape: Shape, strides: Strides) -> bool:
    """True when the elements fill their stretch of memory, each place once, in any order of dimensions."""
    expected = 1
    for s, n in sorted([(s, n) for n, s in zip(shape, strides, strict=True) if n != 1]):
        if s != expected:
            return False
        expected *= n
    return True


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
