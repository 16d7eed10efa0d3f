"""Strides: the memory order of element-by-element results: that of their operands, as PyTorch chooses it.

Contents are row-major; a result in another order is a permuted view of its own storage. What it costs is one more
recorded step, and only where an operand is not row-major.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..dialects.types import Shape
from . import views
from .links import Strides
from .recorder import record
from .storage import Storage
from .tensor import Tensor

_ORDERED = frozenset({"reshape", "slice"})  # links that leave row-major memory in row-major order


def follow(result: Tensor, operands: Sequence[Any]) -> Tensor:
    """A fresh ``result``, computed element by element from ``operands``, in the memory order PyTorch gives it."""
    for operand in operands:
        if isinstance(operand, Tensor) and (operand._chain or operand._storage.host is not None) and is_ordered(operand):
            return _ordered(result, operands)
    return result


def is_ordered(operand: Tensor) -> bool:
    """True when the elements may lie in memory otherwise than row by row."""
    for link in operand._chain:
        if type(link) is tuple and link[0] not in _ORDERED:
            return True
    host = operand._storage.host
    return host is not None and not host.flags.c_contiguous


def follow_index(result: Tensor, input: Tensor, dims: Sequence[int], common: Shape, at: int) -> Tensor:
    """What index tensors of the shape ``common`` took from ``dims``, standing at ``at``, in PyTorch's memory order."""
    if not is_ordered(input):
        return result
    shape, strides, _ = views.layout(input._storage, input._chain)
    kept = [s for d, s in enumerate(strides) if d not in dims]
    n, m = len(common), len(kept) - at
    taken = views.contiguous_strides(common)
    source = (*kept[:at], *(0,) * n, *kept[at:])
    return _placed(result, memory_order(result._node.type[0], [source, (*(0,) * at, *taken, *(0,) * m)]))


def like(input: Tensor, make: Callable[[Shape], Tensor]) -> Tensor:
    """``make(shape)``, of the shape of ``input`` and in its memory order."""
    if not is_ordered(input):
        return make(input._node.type[0])
    shape, strides, _ = views.layout(input._storage, input._chain)
    order = memory_order(shape, [strides]) if len(shape) > 1 and 0 not in shape else tuple(range(len(shape)))
    if order == tuple(range(len(shape))):
        return make(shape)
    return make(tuple([shape[d] for d in order])).permute([order.index(d) for d in range(len(shape))])


def _ordered(result: Tensor, operands: Sequence[Any]) -> Tensor:
    shape = result._node.type[0]
    if len(shape) < 2 or 0 in shape or result._chain or any([result is operand for operand in operands]):
        return result
    spread = [_spread(operand, shape) for operand in operands if isinstance(operand, Tensor)]
    return _placed(result, memory_order(shape, [s for s in spread if s is not None]))


def _placed(result: Tensor, order: tuple[int, ...]) -> Tensor:
    """A fresh row-major result with its dimensions in ``order`` in memory, outermost first."""
    node = result._node
    if order == tuple(range(len(order))) or 0 in node.type[0]:
        return result
    result._storage = Storage(record("permute", (node,), (order,)))
    result._chain = (("permute", (tuple([order.index(i) for i in range(len(order))]),)),)
    result._seen = 0
    result._owns = True
    result._storage.views = {result._chain: node}  # what is saved of it, so that a write tells
    return result


def _spread(operand: Tensor, shape: Shape) -> Strides | None:
    """Strides of an operand broadcast to ``shape``, 0 where it repeats."""
    own, strides, _ = views.layout(operand._storage, operand._chain)
    missing = len(shape) - len(own)
    if missing < 0:
        return None
    kept = [0 if n == 1 and m != 1 else s for n, m, s in zip(own, shape[missing:], strides, strict=True)]
    return (*(0,) * missing, *kept)


def memory_order(shape: Shape, operands: Sequence[Strides]) -> tuple[int, ...]:
    """Dimensions from outermost to innermost in memory; the first operand that tells two apart decides.

    An insertion sort from the innermost dimension on, as PyTorch's: undecided pairs keep their places.
    """
    order = list(range(len(shape) - 1, -1, -1))
    for i in range(1, len(order)):
        at = i
        for k in range(i - 1, -1, -1):
            wanted = _compared(order[k], order[at], shape, operands)
            if wanted < 0:
                break
            if wanted > 0:
                order[k], order[at] = order[at], order[k]
                at = k
    return tuple(reversed(order))


def _compared(a: int, b: int, shape: Shape, operands: Sequence[Strides]) -> int:
    """Positive when dimension ``a`` is further out than ``b``, negative when further in, 0 when nothing tells."""
    for strides in operands:
        s, t = strides[a], strides[b]
        if s == 0 or t == 0:
            continue
        if s != t:
            return -1 if s < t else 1
        if shape[a] > shape[b]:
            return 1
    return 0
