"""Memory plan: byte offsets in one arena for buffers with known lifetimes (greedy by size, best fit)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ALIGNMENT = 64


class Lifetime(NamedTuple):
    """A buffer: its bytes, and the first and last step (both counted) at which its contents matter."""

    size: int
    first: int
    last: int


def aligned(size: int) -> int:
    """The next multiple of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def plan(buffers: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Offsets, one per buffer, and the arena's size in bytes.

    Buffers alive at the same step never overlap. Large ones are placed first, each into the smallest gap that
    holds it between the buffers already placed that live at the same time; the result depends on the list
    only.
    """
    offsets = [0] * len(buffers)
    placed: list[tuple[int, int, int, int]] = []  # (offset, end, first, last), sorted by offset
    total = 0
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, buffers[i].first, i))
    for i in order:
        size = aligned(buffers[i].size)
        if size == 0:
            continue
        offset = _best_gap(placed, size, buffers[i])
        offsets[i] = offset
        _insert(placed, (offset, offset + size, buffers[i].first, buffers[i].last))
        total = max(total, offset + size)
    return offsets, total


def _best_gap(placed: list[tuple[int, int, int, int]], size: int, new: Lifetime) -> int:
    best, best_room, reached = -1, 0, 0
    for offset, end, first, last in placed:
        if last < new.first or first > new.last:
            continue
        room = offset - reached
        if room >= size and (best < 0 or room < best_room):
            best, best_room = reached, room
        reached = max(reached, end)
    return reached if best < 0 else best


def _insert(placed: list[tuple[int, int, int, int]], entry: tuple[int, int, int, int]) -> None:
    at = len(placed)
    while at and placed[at - 1] > entry:
        at -= 1
    placed.insert(at, entry)
