"""Batching: any op on a batch of its operands, derived from what its stanza says.

A ``Batching`` is a ``build`` like any other. Values it was given as ``Batched`` carry one dimension more than they
show, in front; an op of such values becomes the op, or the few ops, that do the same for each of them. So whatever is
written against a build (the opening of a composite, a derivative, a recorded program) can be run on a batch.

Where the rule comes from, by family:

- ``each``, ``fold``, ``view``, and everything else whose operands begin with ``..``: the batch is one more of those
  dimensions. Attributes that name dimensions (``axes``, ``perm``, an int called ``axis``) move up by one; tuples with
  one entry per dimension get one for the batch. The shape rule of the stanza decides whether that is a reading of it.
- ``contract``: where not every operand is a batch, the batch joins an index that exactly those operands and the
  result have, as the index maps show.
- ``is``: as above where the shape rule allows it, else opened and batched step by step.
- ``take``, ``put`` and ``put_add`` read one dimension by numbers that are data: batches of both become one dimension,
  and the numbers move to their own part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from ..errors import LaminaError, UnsupportedError
from ..types import Type
from .expr import Build, Name
from .stanza import Stanza


class Batched:
    """A value with the batch as its first dimension, standing for one of its examples."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Batching:
    """A build on batches of ``size`` examples: types are those of one example."""

    def __init__(self, build: Build, book: Mapping[str, Stanza], size: int) -> None:
        self.build = build
        self.book = book
        self.size = size

    def type(self, value: Any) -> Type:
        """(shape, dtype) of one example."""
        if type(value) is not Batched:
            return self.build.type(value)
        shape, dtype = self.build.type(value.value)
        return shape[1:], dtype

    def __call__(self, op: str, operands: tuple, attrs: tuple) -> tuple:
        """The results of one op: plain where no operand is a batch, else ``Batched``."""
        if not any([type(v) is Batched for v in operands]):
            return self.build(op, operands, attrs)
        stanza = self.book[op]
        if stanza.in_code:
            return stanza.on_batch(self, operands, attrs)
        if op in _INDEXED:
            return (Batched(_INDEXED[op](self, op, operands, *attrs)),)
        types = tuple([self.type(v) for v in operands])
        flags = tuple([type(v) is Batched for v in operands])
        joined = _joined_index(stanza, types, attrs, flags) if stanza.family == "contract" and not all(flags) else None
        if joined is not None and all(at == 0 for at in joined if at is not None):
            return (Batched(self._contract(op, operands, attrs, joined)),)
        reading = _leading(stanza, types, attrs, flags, self.size)
        if reading is not None:
            spread, moved = reading
            values = [self.spread(v) if s or type(v) is Batched else v for v, s in zip(operands, spread)]
            return tuple([Batched(r) for r in self.build(op, tuple(values), moved)])
        if stanza.family == "is":
            return tuple([v if type(v) is Batched else Batched(self.spread(v)) for v in stanza.open(self, operands, attrs)])
        if stanza.family == "contract":
            joined = joined or _joined_index(stanza, types, attrs, flags)
            if joined is None:
                operands = tuple([Batched(self.spread(v)) for v in operands])
                joined = _joined_index(stanza, types, attrs, (True,) * len(operands))
            if joined is not None:
                return (Batched(self._contract(op, operands, attrs, joined)),)
        raise UnsupportedError(f"{op} has no reading on a batch of its operands")

    # -- pieces the rules are made of

    def spread(self, value: Any) -> Any:
        """The value of every example, batch in front: a plain value is repeated."""
        if type(value) is Batched:
            return value.value
        shape, _ = self.build.type(value)
        return self.op("expand", self.op("reshape", value, (1, *shape)), (self.size, *shape))

    def op(self, op: str, *args: Any) -> Any:
        count = len(self.book[op].tensors)
        return self.build(op, args[:count], args[count:])[0]

    def permuted(self, value: Any, order: Sequence[int]) -> Any:
        """A permute, where it does something."""
        return value if tuple(order) == tuple(range(len(order))) else self.op("permute", value, tuple(order))

    def reshaped(self, value: Any, shape: Sequence[int]) -> Any:
        """A reshape, where it does something."""
        return value if self.build.type(value)[0] == tuple(shape) else self.op("reshape", value, tuple(shape))

    def merged(self, value: Any, at: int) -> Any:
        """A batch made part of dimension ``at`` of its examples: ``[b, m, n]`` to ``[m, b * n]`` for 1."""
        shape = self.build.type(value)[0]
        order = [*range(1, at + 1), 0, *range(at + 1, len(shape))]
        return self.reshaped(self.permuted(value, order), [*shape[1 : at + 1], shape[0] * shape[at + 1], *shape[at + 2 :]])

    def parted(self, value: Any, at: int) -> Any:
        """The inverse of ``merged``."""
        shape = self.build.type(value)[0]
        value = self.reshaped(value, [*shape[:at], self.size, shape[at] // self.size, *shape[at + 1 :]])
        return self.permuted(value, [at, *range(at), *range(at + 1, len(shape) + 1)])

    def _contract(self, op: str, operands: tuple, attrs: tuple, joined: tuple[int | None, ...]) -> Any:
        *reads, written = joined
        values = [self.merged(v.value, at) if at is not None else v for v, at in zip(operands, reads)]
        return self.parted(self.op(op, *values, *attrs), written)


# -- one more leading dimension


def _starts_open(stanza: Stanza, i: int) -> str | None:
    """The name of the ``..`` an operand's signature begins with, None where it does not."""
    dims = stanza.tensors[min(i, len(stanza.tensors) - 1)].dims
    return dims[0].expr.name if dims and dims[0].rest and isinstance(dims[0].expr, Name) else None


@lru_cache(maxsize=1 << 14)
def _leading(
    stanza: Stanza, types: tuple[Type, ...], attrs: tuple, flags: tuple[bool, ...], size: int
) -> tuple[tuple[bool, ...], tuple] | None:
    """How the batch becomes one more leading dimension: which plain operands are spread, and the attributes.

    First only the operands that share their ``..`` with a batch are spread, then all that have one. None when the
    shape rule refuses both.
    """
    names = [_starts_open(stanza, i) for i in range(len(types))]
    if any(flag and name is None for flag, name in zip(flags, names)):
        return None
    wanted = tuple([((size, *shape), dtype) for shape, dtype in stanza.infer(types, attrs)])
    shared = {name for flag, name in zip(flags, names) if flag}
    for spread in dict.fromkeys([tuple([n in shared for n in names]), tuple([n is not None for n in names])]):
        moved = tuple([((size, *s), d) if f or p else (s, d) for (s, d), f, p in zip(types, flags, spread)])
        for candidate in _attributes(stanza, attrs, size):
            if _infers(stanza, moved, candidate, wanted):
                return spread, candidate
    return None


def _infers(stanza: Stanza, types: tuple[Type, ...], attrs: tuple, wanted: tuple[Type, ...]) -> bool:
    try:
        return stanza.infer(types, attrs) == wanted
    except (LaminaError, ValueError, IndexError):
        return False


def _attributes(stanza: Stanza, attrs: tuple, size: int) -> list[tuple]:
    """Attributes for one more leading dimension, most likely reading first: tuples that speak of the last dimensions
    stay; those with an entry per dimension get the batch's, a size for shapes, and 0 or 1 for others."""
    kept: list[Any] = []
    longer: list[tuple] = []
    for param, value in zip(stanza.attributes, attrs):
        if param.kind == "axes":
            value = tuple([a + 1 for a in value])
        elif param.kind == "perm":
            value = (0, *[a + 1 for a in value])
        elif param.kind == "int" and param.name == "axis":
            value += 1
        kept.append(value)
        if param.kind == "shape":
            longer.append(((size, *value),))
        else:
            longer.append(((0, *value), (1, *value)) if param.kind == "ints" else (value,))
    return [tuple(kept), *product(*longer)]


# -- contractions


@lru_cache(maxsize=1 << 12)
def _joined_index(
    stanza: Stanza, types: tuple[Type, ...], attrs: tuple, flags: tuple[bool, ...]
) -> tuple[int | None, ...] | None:
    """Dimensions of the operands (None for plain ones) and of the result that read one index, which no plain operand
    has: where the batch can join. The first such index of the result."""
    maps = stanza.contraction(types, attrs)
    for written, index in enumerate(maps.result):
        if len(index) != 1 or next(iter(index.values())) != 1:
            continue
        (name,) = index
        places = [[d for d, form in enumerate(read) if name in form] for read in maps.operands]
        alone = [len(p) == 1 and read[p[0]] == {name: 1} for p, read in zip(places, maps.operands)]
        if all(a if flag else not p for a, flag, p in zip(alone, flags, places)):
            return (*[p[0] if flag else None for p, flag in zip(places, flags)], written)
    return None


# -- reading and writing by numbers that are data


def _take(b: Batching, op: str, operands: tuple, axis: int) -> Any:
    x, index = operands
    rank = len(b.type(index)[0])
    if type(index) is not Batched:
        return b.op("take", x.value, index, axis + 1)
    if type(x) is not Batched:
        y = b.op("take", x, index.value, axis)
        return b.permuted(y, [axis, *range(axis), *range(axis + 1, len(b.build.type(y)[0]))])
    y = b.op("take", *_one_dimension(b, x, index, axis), 0)  # [b, i, before, after]
    count = len(b.build.type(y)[0])
    return b.permuted(y, [0, *range(1 + rank, 1 + rank + axis), *range(1, 1 + rank), *range(1 + rank + axis, count)])


def _put(b: Batching, op: str, operands: tuple, axis: int) -> Any:
    x, index, src = operands
    if type(index) is not Batched:
        return b.op(op, b.spread(x), index, b.spread(src), axis + 1)
    rank, shape = len(b.type(index)[0]), b.type(x)[0]
    flat, numbers = _one_dimension(b, x, index, axis)
    src = b.spread(src)  # [b, before, i, after]
    count = len(b.build.type(src)[0])
    order = [0, *range(1 + axis, 1 + axis + rank), *range(1, 1 + axis), *range(1 + axis + rank, count)]
    y = b.op(op, flat, numbers, b.permuted(src, order), 0)
    y = b.reshaped(y, [b.size, shape[axis], *shape[:axis], *shape[axis + 1 :]])
    return b.permuted(y, [0, *range(2, axis + 2), 1, *range(axis + 2, len(shape) + 1)])


def _one_dimension(b: Batching, x: Any, index: Batched, axis: int) -> tuple[Any, Any]:
    """``x`` as ``[batch * its axis, other dimensions]``, and the numbers that find each example's own rows."""
    shape = b.type(x)[0]
    n, rest = shape[axis], [*shape[:axis], *shape[axis + 1 :]]
    order = [0, axis + 1, *range(1, axis + 1), *range(axis + 2, len(shape) + 1)]
    flat = b.reshaped(b.permuted(b.spread(x), order), [b.size * n, *rest])
    whole, dtype = b.build.type(index.value)

    def same(number: int) -> Any:
        return b.op("full", whole, number, dtype)

    inside = b.op("minimum", b.op("maximum", index.value, same(0)), same(max(n - 1, 0))) if prod(whole) else index.value
    start = b.op("mul", b.op("iota", whole, 0, dtype), same(n))
    return flat, b.op("add", inside, start)


_INDEXED = {"take": _take, "put": _put, "put_add": _put}

__all__ = ["Batched", "Batching"]
