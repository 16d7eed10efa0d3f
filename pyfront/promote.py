"""Promotion and broadcasting: PyTorch's ``result_type``, and the ``cast`` / ``expand`` steps it implies."""

from __future__ import annotations

import math

import numpy as np

from ..dialects.errors import ShapeError
from ..dialects.types import DType, Shape, Type, bool_, complex_of, float32, int64, part_of, promote_types, show_type
from . import recorder
from .node import Node
from .origin import Site, operator_site, origin, source_line, text_of
from .phrases import Phrases

Scalar = bool | int | float | complex


class Defaults:
    """What Python floats become."""

    dtype: DType = float32


def scalar_dtype(number: Scalar) -> DType:
    """The dtype of a Python number: bool, int64, the default floating dtype or the complex one of its parts."""
    if isinstance(number, bool):
        return bool_
    if isinstance(number, complex):
        return complex_of(Defaults.dtype)
    return int64 if isinstance(number, int) else Defaults.dtype


def _combine(higher: DType | None, lower: DType | None) -> DType | None:
    if higher is None or lower is None:
        return higher or lower
    if lower.kind == "c" and higher.kind == "f":
        return complex_of(higher)
    if higher.kind in "fc":
        return higher
    return promote_types(higher, lower) if higher is bool_ or lower.kind in "fc" else higher


def result_type(types: list[Type], scalars: list[Scalar] = ()) -> DType:
    """The dtype of an operation on tensors of these types and these Python numbers.

    Tensors with dimensions decide; rank-0 tensors, then Python numbers, only raise the category (bool < int <
    float < complex).
    """
    sized: DType | None = None
    rank0: DType | None = None
    for shape, dtype in types:
        if shape:
            sized = dtype if sized is None else promote_types(sized, dtype)
        else:
            rank0 = dtype if rank0 is None else promote_types(rank0, dtype)
    number: DType | None = None
    for value in scalars:
        t = scalar_dtype(value)
        number = t if number is None else promote_types(number, t)
    return _combine(sized, _combine(rank0, number))


def broadcast_shape(*shapes: Shape) -> Shape:
    """The common shape. ShapeError naming the last dimension that does not fit, as PyTorch does."""
    rank = max(map(len, shapes))
    result = [1] * rank
    for shape in shapes:
        shift = rank - len(shape)
        for i in reversed(range(len(shape))):
            n = shape[i]
            if n == 1 or result[shift + i] == n:
                continue
            if result[shift + i] != 1:
                raise ShapeError(
                    f"The size of tensor a ({result[shift + i]}) must match the size of tensor b ({n}) "
                    f"at non-singleton dimension {shift + i}"
                )
            result[shift + i] = n
    return tuple(result)


def cast(node: Node, dtype: DType) -> Node:
    """``node`` as ``dtype``; the node itself when it is that already."""
    return node if node.type[1] is dtype else recorder.record("cast", (node,), (dtype,))


def expand(node: Node, shape: Shape) -> Node:
    """``node`` broadcast to ``shape`` (which it is known to fit)."""
    own = node.type[0]
    if own == shape:
        return node
    if len(own) < len(shape):
        ones = (1,) * (len(shape) - len(own)) + own
        if ones == shape:
            return recorder.record("reshape", (node,), (ones,))
        return _spread.recorded(shape, (node,), lambda n: (recorder.record("expand", (recorder.record("reshape", (n,), (ones,)),), (shape,)),))[0]
    return recorder.record("expand", (node,), (shape,))


_spread = Phrases()  # over more dimensions, by the shape


def broadcast(nodes: list[Node]) -> list[Node]:
    """All nodes expanded to their common shape. ShapeError at the user's line."""
    first = nodes[0].type[0]
    if all([n.type[0] == first for n in nodes]):
        return nodes
    try:
        shape = broadcast_shape(*[n.type[0] for n in nodes])
    except ShapeError as error:
        facts = [("ab"[i] if i < 2 else str(i), show_type(n.type), n.origin) for i, n in enumerate(nodes)]
        help = "dimensions are matched from the last; each pair must be equal or one of them 1"
        raise ShapeError(error.sentence, facts, source_line(origin()), help) from None
    return [expand(n, shape) for n in nodes]


def untouched(value: Node, by: Node) -> Node:
    """``value`` as a function of ``by`` (of the same shape and dtype) whose derivative is 0."""
    if not by.requires_grad:
        return value
    everywhere = recorder.record("full", (), (value.type[0], True, bool_))
    return recorder.record("select", (everywhere, value, by))


# -- Python numbers as operands
# -------------------------------------------------------------------------------------

seen: dict[Site, Scalar] = {}
CHANGES = object()


def lowest(dtype: DType) -> Scalar:
    """The smallest value of a dtype: minus infinity for floats."""
    if dtype.kind == "f":
        return -math.inf
    return False if dtype.kind == "b" else int(np.iinfo(dtype.numpy).min)


def highest(dtype: DType) -> Scalar:
    """The largest value of a dtype: infinity for floats."""
    if dtype.kind == "f":
        return math.inf
    return True if dtype.kind == "b" else int(np.iinfo(dtype.numpy).max)


def full(number: Scalar, shape: Shape, dtype: DType) -> Node:
    """A constant: its number is part of the program."""
    value = _as(number, dtype)
    if dtype.kind == "c":
        return _full_complex(value, shape, dtype)
    if value == 0 and dtype.kind == "f" and math.copysign(1.0, value) < 0:  # equal to 0.0 as a cache key
        return recorder.record("neg", (recorder.record("full", (), (shape, 0.0, dtype)),))
    return recorder.record("full", (), (shape, value, dtype))


def _full_complex(value: complex, shape: Shape, dtype: DType) -> Node:
    if value.imag == 0:
        return recorder.record("full", (), (shape, value.real, dtype))
    parts = [full(part, shape, part_of(dtype)) for part in (value.real, value.imag)]
    return recorder.record("to_complex", tuple(parts), (dtype,))


def filled(number: Scalar, shape: Shape, dtype: DType) -> Node:
    """``full`` for a shape that can be: the book need not be asked."""
    value = _as(number, dtype)
    if dtype.kind == "c" or value == 0 and dtype.kind == "f" and math.copysign(1.0, value) < 0:
        return full(number, shape, dtype)
    recorder.state.order = order = recorder.state.order + 1
    return Node("full", (shape, value, dtype), (), (shape, dtype), recorder.state.origin(1), False, order)


_MOST_CONSTANTS = 1024


def shared_constant(number: Scalar, shape: Shape, dtype: DType) -> Node:
    """The one Node of a constant that is only computed with, never kept in memory. Where it stands in a program does not depend on
    when it was made (`schedule.moves`)."""
    key = (_as(number, dtype), shape, dtype)
    node = recorder.constants.get(key)
    if node is None:
        if len(recorder.constants) >= _MOST_CONSTANTS:
            recorder.constants.clear()
        node = recorder.constants[key] = filled(number, shape, dtype)
    return node


def _as(number: Scalar, dtype: DType) -> Scalar:
    if dtype.kind == "f":
        return math.nan if number != number else float(number)  # one NaN object: a cache key equal to itself
    if dtype.kind == "c":
        return complex(number)
    return bool(number) if dtype.kind == "b" else wrapped(int(number), dtype)


def wrapped(number: int, dtype: DType) -> int:
    """An integer as the dtype holds it: modulo its range, as C does."""
    span = 1 << (8 * dtype.itemsize)
    low = -(span >> 1) if dtype.is_signed else 0
    return number if low <= number < low + span else (number - low) % span + low


def operand(number: Scalar, shape: Shape, dtype: DType) -> Node:
    """A number the user wrote next to a tensor.

    A number that is the same each time its operator runs is a constant. One that changes (a decaying rate, a
    loop counter) becomes a run-time scalar from the second value on, so that the program is not compiled for
    every value.
    """
    where = operator_site()
    if where is not None:
        recorder.state.lines += 1
    return filled(number, shape, dtype) if where is None else _at(where, number, shape, dtype) or filled(number, shape, dtype)


def changes_at(where: Site) -> bool:
    """Whether the operator there met different numbers."""
    return seen.get(where) is CHANGES


def number_at(where: Site, number: float, shape: Shape, dtype: DType) -> Node:
    """``operand`` that is only computed with, for an operator of the user's code that is known."""
    return _at(where, number, shape, dtype) or shared_constant(number, shape, dtype)


def _at(where: Site, number: Scalar, shape: Shape, dtype: DType) -> Node | None:
    """The run-time scalar, or None when the number is a constant there."""
    before = seen.get(where)
    if before is None:
        seen[where] = number
    elif before is CHANGES or before != number and before == before:
        seen[where] = CHANGES
        scalar = recorder.constant(np.array(_as(number, dtype), dtype.numpy), ((), dtype), text_of(where))
        return expand(scalar, shape)
    return None
