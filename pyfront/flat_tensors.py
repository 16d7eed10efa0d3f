"""torch._utils: many tensors as one vector, as programs that average or copy parameters in one go have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from .joining import cat
from .tensor import Tensor

__all__: list[str] = []  # PyTorch's names begin with an underscore: `from torch._utils import _flatten_dense_tensors`


def _flatten_dense_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """All elements behind one another; a single tensor is seen as it is."""
    flat = [tensor.contiguous().view(-1) for tensor in tensors]
    return flat[0] if len(flat) == 1 else cat(flat)


def _unflatten_dense_tensors(flat: Tensor, tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Parts of the vector, with the shapes of the tensors; they share its memory."""
    parts, start = [], 0
    for tensor in tensors:
        count = tensor.numel()
        parts.append(flat.narrow(0, start, count).view(tensor.shape))
        start += count
    return tuple(parts)


def _take_tensors(tensors: Iterable[Tensor], size_limit: int) -> Iterator[list[Tensor]]:
    """Groups of one kind of tensor, each of so many bytes at most (or a single tensor)."""
    waiting: dict[str, tuple[list[Tensor], int]] = {}
    for tensor in tensors:
        kind = tensor.type()
        group, held = waiting.get(kind, ([], 0))
        size = tensor.numel() * tensor.element_size()
        if group and held + size > size_limit:
            yield group
            group, held = [], 0
        waiting[kind] = [*group, tensor], held + size
    yield from (group for group, _ in waiting.values())


_accumulate = accumulate  # running totals, as programs that cut data sets by hand want them
