"""Applying one book op to tensors, and the small conversions all of torch.nn.functional shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....dialects.errors import DTypeError
from ....dialects.types import DType, show_type
from ... import recorder
from ...assignment import check_in_place, store, title
from ...origin import origin, source_line
from ...storage import Storage
from ...tensor import Tensor, from_storage, wrap


def apply(op: str, tensors: Sequence[Tensor], attrs: tuple = (), label: str | None = None) -> Tensor:
    """The one result of a book op on tensors. label: what grad_fn calls it."""
    nodes = recorder.state.nodes_of(list(tensors))
    result = wrap(recorder.record(op, tuple(nodes), attrs))
    result._label = label or op
    return result


def apply_to(input: Tensor, op: str, attrs: tuple, inplace: bool) -> Tensor:
    """`apply` to one tensor, into its own memory where that is asked."""
    if not inplace:
        return apply(op, (input,), attrs)
    check_in_place(input)
    made = recorder.record(op, (input._read(),), attrs)
    store(input, made, made.order - 1)
    if made.requires_grad:
        input._label = op
    return input


def apply_many(op: str, tensors: Sequence[Tensor], attrs: tuple = (), label: str | None = None) -> list[Tensor]:
    """All results of a book op on tensors."""
    results = [wrap(node) for node in recorder.record_many(op, tuple([t._read() for t in tensors]), attrs)]
    for result in results:
        result._label = label or op
    return results


def finish(input: Tensor, y: Tensor, inplace: bool) -> Tensor:
    """``y``, computed from ``input``; or ``input`` with it written in. What the operation itself saved of its input is kept."""
    if not inplace:
        return y
    check_in_place(input)
    source, made = input._read(), y._read()
    first, stack, seen = made.order, [made], {id(made)}
    while stack:  # the first step that read the input: older readers lose what they saved
        node = stack.pop()
        if any(n is source for n in node.inputs):
            first = min(first, node.order)
        for n in node.inputs:
            if n.order > source.order and id(n) not in seen:
                seen.add(id(n))
                stack.append(n)
    store(input, made, first - 1)
    if made.requires_grad:
        input._label = y._label
    return input


def filled(shape: tuple[int, ...], value: float, dtype: DType) -> Tensor:
    """A tensor of one value to compute with: a constant of the program, which takes no memory."""
    return from_storage(Storage(recorder.record("full", (), (tuple(shape), value, dtype)), is_memory=False), ())


def each(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """One number for every spatial dimension, or as many as there are. ValueError otherwise."""
    if isinstance(value, (int, np.integer)) or isinstance(value, Tensor) and not value.dim():
        return (int(value),) * rank
    values = tuple(int(v) for v in value)
    if len(values) == 1:
        return values * rank
    if len(values) != rank:
        raise ValueError(f"{name} must be one int or {rank} ints, got {values}")
    return values


def check_same_dtype(what: str, **tensors: Tensor | None) -> None:
    """DTypeError naming the operands when their element types differ."""
    if len({t._node.type[1] for t in tensors.values() if t is not None}) == 1:
        return
    given = {name: t for name, t in tensors.items() if t is not None}
    first, *rest = given.values()
    odd = next(t for t in rest if t.dtype is not first.dtype)
    raise DTypeError(
        f"{what} needs one dtype, got {title(first.dtype)} and {title(odd.dtype)}",
        [(name, show_type(t._type), t._node.origin) for name, t in given.items()],
        at=source_line(origin()),
        help="convert with .to(dtype), .float() or .long()",
    )


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """mean, sum or none. ValueError for anything else."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


def dimension(dim: int | None, rank: int, name: str) -> int:
    """`dim` counted from the front; None picks PyTorch's old default."""
    if dim is None:
        return 0 if rank in (0, 1, 3) else 1
    if not -max(rank, 1) <= dim < max(rank, 1):
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-max(rank, 1)}, {max(rank, 1) - 1}], but got {dim})"
        )
    del name
    return int(dim) % max(rank, 1)
