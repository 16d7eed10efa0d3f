"""Limits of a reduction: steps that meet a factor's zero margin are left out.

A padded convolution sums over taps, and at an image's border some of them meet nothing but zeros. Where such a step begins and ends
follows from a position, a sum of loop counters: the tap counts while the position lies in the factor's box.

    for y: for x: for ky in max(0, 1 - y) … min(3, 8 - y): for kx in …: sums of a tile of images, which all have the same taps

Loops that move the position give more when they are outside the tiles (`apart` in a plan): a tile has the taps that any of its rows has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple, Protocol

MOST_KEPT = 0.95  # of a reduction's steps: where more are left, plans keep their loops whole
MOST_PLACES = 4096  # that are counted one by one


class Loop(Protocol):
    """A loop: iterations, and what a step moves each access."""

    @property
    def size(self) -> int: ...

    @property
    def strides(self) -> tuple[int, ...]: ...


class Limit(NamedTuple):
    """A step counts where 0 <= position < extent. number: the access that is the position (no memory), starting at ``start``.
    unit: iterations of the reduction's loop that are one step, as an inner loop is part of it.
    """

    number: int
    start: int
    extent: int
    unit: int = 1


class Way(NamedTuple):
    """What moves a position: steps of loops outside a tile, what a tile's rows and lanes add to it, and the reduction's loop."""

    outside: tuple[tuple[int, int], ...]  # iterations, step
    least: int
    most: int
    size: int
    step: int


def way_of(limit: Limit, outside: Sequence[Loop], inside: Sequence[Loop], reduction: Sequence[Loop]) -> Way:
    """What moves a limit's position, where these loops are outside a tile and these make one."""
    k = limit.number
    spans = [(d.size - 1) * d.strides[k] for d in inside]
    loop = next(d for d in reduction if d.strides[k])
    moves = tuple((d.size, d.strides[k]) for d in outside if d.strides[k])
    return Way(moves, sum(min(s, 0) for s in spans), sum(max(s, 0) for s in spans), loop.size // limit.unit, loop.strides[k])


def kept(limit: Limit, way: Way) -> float:
    """The share of the reduction loop's steps that are left, over all places of a tile."""
    if prod(n for n, _ in way.outside) > MOST_PLACES:
        return 1.0
    counts = [_count(limit, way, sum(p)) for p in product(*([i * s for i in range(n)] for n, s in way.outside))]
    return sum(counts) / (len(counts) * way.size)


def _count(limit: Limit, way: Way, moved: int) -> int:
    at = limit.start + moved
    low, high = steps_within(at + way.least, at + way.most, limit.extent, way.step)
    return max(0, min(high, way.size) - max(low, 0))


def steps_within(least: int, most: int, extent: int, step: int) -> tuple[int, int]:
    """The steps of a loop at which a position between these two, and ``step`` more each time, is within the extent."""
    if step > 0:
        return -(most // step), -((least - extent) // step)
    return (least - extent) // -step + 1, most // -step + 1
