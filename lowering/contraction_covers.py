"""Covers: rows of a contraction by tiles of registers, columns by panels of vectors, balanced, in few sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..dialects.sizes import Size, same

MOST_PIECES = 2  # that a vector which is filled in part is moved in


class Tiles(NamedTuple):
    """``count`` equal tiles of ``size`` units, the first one at unit ``start``."""

    size: int
    count: int
    start: int


class Panel(NamedTuple):
    """``count`` equal panels of ``vectors`` vectors, the first at vector ``start``.

    ``tail``: valid lanes of the last vector. A packed panel is read from a copy, another one where it lies. ``cut``: how far its one
    vector is filled is known at the call only. ``run``: how many of its vectors lie side by side in the copy, which is several runs then,
    each one all steps long (0: all).
    """

    vectors: int
    count: int
    start: int
    tail: int
    packed: bool
    cut: bool = False
    run: int = 0

    @property
    def near(self) -> int:
        """Vectors that lie side by side in the copy."""
        return self.run or self.vectors

    def place(self, j: int, lanes: int, steps: int) -> int:
        """Elements of the copy from a step of its first vector to the same of the ``j``-th."""
        return (j // self.near * self.near * steps + j % self.near) * lanes


def split(n: int | Size, most: int) -> tuple[Tiles, ...]:
    """Balanced tiles of at most ``most`` that cover ``n``: one size, or two that differ by one. Where ``n`` is known at the call
    only: tiles of ``most``, then of the powers of two below it, as many of each as are left.
    """
    if isinstance(n, Size):
        return tuple(_split_at_the_call(n, most))
    count = -(-n // most)
    low = n // count
    high_count = n - low * count
    if not high_count:
        return (Tiles(low, count, 0),)
    return (Tiles(low + 1, high_count, 0), Tiles(low, count - high_count, (low + 1) * high_count))


def _split_at_the_call(n: Size, most: int) -> Iterator[Tiles]:
    size, start, left = most, 0, n
    while size:
        count = left // size
        yield Tiles(size, count, start)
        start, left = start + count * size, left % size
        size = (1 << (size - 1).bit_length()) // 2 if size > 1 else 0


def panels_of(columns: int | Size, most: int, lanes: int) -> tuple[Panel, ...]:
    """Balanced panels; the one with the partly filled vector stands alone. Where ``columns`` is known at the call only: panels of
    ``most`` vectors, then of the powers of two below it, then of what is left of a vector, which may be all of one.
    """
    if isinstance(columns, Size):
        return tuple(_panels_at_the_call(columns, most, lanes))
    vectors = -(-columns // lanes)
    tail = columns - (vectors - 1) * lanes
    out = [Panel(t.size, t.count, t.start, lanes, True) for t in split(vectors, most)]
    if tail == lanes:
        return tuple(out)
    last = out.pop()
    if last.count > 1:
        out.append(last._replace(count=last.count - 1))
        last = last._replace(count=1, start=last.start + last.vectors * (last.count - 1))
    out.append(last._replace(tail=tail))
    return tuple(out)


def _panels_at_the_call(columns: Size, most: int, lanes: int) -> Iterator[Panel]:
    end = 0
    for tiles in _split_at_the_call(columns // lanes, most):
        if tiles.size > 1 and not same(tiles.count, 0):
            yield Panel(tiles.size, tiles.count, tiles.start, lanes, True)
            end = tiles.start + tiles.count * tiles.size
    left = -(-columns // lanes) - end
    if not same(left, 0):
        yield Panel(1, left, end, lanes, True, cut=True)


def tail_pieces(valid: int) -> tuple[int, ...]:
    """Two or more lanes as lengths of one or two vectors; empty where it takes more."""
    sizes = tuple(1 << k for k in range(valid.bit_length() - 1, -1, -1) if valid >> k & 1)
    return sizes if valid % 2 == 0 and len(sizes) <= MOST_PIECES else ()
