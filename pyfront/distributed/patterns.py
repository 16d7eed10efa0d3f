"""Patterns: which process sends what to whom, so that every connection is busy and every result is the same on all ranks.

Large arrays go round a ring (P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009)
or along a chain, block by block; small ones go straight to where they are wanted; on one machine large sums are made in memory all ranks see.
Each element is combined in one order, in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .areas import SLAB, Areas
from .transfer import BLOCK, Combining, Inflow, Lines, Outflow

SMALL = 1 << 16
"""Bytes up to which all ranks' values are sent to all ranks."""

_ALIGNMENT = 64


class Told(NamedTuple):
    """What every stream of one call begins with, and the error for one that begins otherwise."""

    head: bytes
    differs: Callable[[int, bytes], Exception]


class Combination(NamedTuple):
    """``combine(a, b, out=…)``, and what is done in place to the result of all."""

    combine: Callable[..., Any]
    finish: Callable[[np.ndarray], None] | None


class Patterns:
    """The patterns of one group, as its rank `rank` of `size` takes part in them. All arrays are flat and contiguous.

    areas: memory all ranks see, where they are on one machine.
    """

    def __init__(self, lines: Lines, rank: int, size: int, areas: Areas | None = None) -> None:
        self.lines, self.rank, self.size, self.areas = lines, rank, size, areas

    def _in(self, peer: int, told: Told, parts: Sequence[np.ndarray], onward: Sequence[Outflow] = ()) -> Inflow:
        return Inflow(peer, told.head, parts, told.differs, onward)

    def _ring(self, first: int, count: int) -> list[int]:
        """Pieces in the order they go round."""
        return [(first - k) % self.size for k in range(count)]

    def all_reduce(self, told: Told, source: np.ndarray, result: np.ndarray, by: Combination) -> None:
        """result: all ranks' sources combined; it may be the source itself."""
        if source.nbytes * self.size <= SMALL or self.size == 1:
            self._all_reduce_small(told, source, result, by)
            return
        if self.areas is not None:
            step = max(1, SLAB // source.itemsize)
            for at in range(0, source.size, step):
                self._all_reduce_slab(told, source[at : at + step], result[at : at + step], by, self.areas)
            return
        pieces, into = self._pieces(source), self._pieces(result)
        going, coming = self._ring(self.rank, 2 * self.size - 2), self._ring(self.rank - 1, 2 * self.size - 2)
        out = Outflow(
            (self.rank + 1) % self.size, told.head, [pieces[going[0]], *[into[k] for k in going[1:]]], pieces[going[0]].nbytes
        )
        combined, kept = coming[: self.size - 1], coming[self.size - 1 :]
        arriving = Combining(
            (self.rank - 1) % self.size, told.head, [pieces[k] for k in combined], [into[k] for k in combined], by.combine, by.finish,
            [into[k] for k in kept], told.differs, [out],
        )  # fmt: skip
        self.lines.move([arriving], [out])

    def _pieces(self, array: np.ndarray) -> list[np.ndarray]:
        """One piece for each rank, of whole cache lines where there are enough."""
        step = max(1, _ALIGNMENT // array.itemsize)
        length = -(-array.size // (step * self.size)) * step
        return [array[k * length : (k + 1) * length] for k in range(self.size)]

    def _all_reduce_small(self, told: Told, source: np.ndarray, result: np.ndarray, by: Combination) -> None:
        values = [np.empty_like(source) for _ in range(self.size)]
        values[self.rank] = source
        peers = self._others()
        self.lines.move([self._in(p, told, [values[p]]) for p in peers], [Outflow(p, told.head, [source]) for p in peers])
        whole = values[0].copy()
        for value in values[1:]:
            by.combine(whole, value, out=whole)
        if by.finish is not None:
            by.finish(whole)
        np.copyto(result, whole)

    def _all_reduce_slab(self, told: Told, source: np.ndarray, result: np.ndarray, by: Combination, areas: Areas) -> None:
        """Each rank writes what the others need, combines its own piece of all, and copies theirs: all meet twice."""
        areas.begin()
        seen = [self._pieces(areas.array(k, source.dtype, source.size)) for k in range(self.size)]
        pieces, into, mine = self._pieces(source), self._pieces(result), seen[self.rank]
        for k in self._others():
            np.copyto(mine[k], pieces[k])
        self._meet(told)
        values = [row[self.rank] for row in seen]
        values[self.rank] = pieces[self.rank]
        step = max(1, BLOCK // source.itemsize)
        for at in range(0, pieces[self.rank].size, step):
            block = slice(at, at + step)
            whole = mine[self.rank][block]
            by.combine(values[0][block], values[1][block], out=whole)
            for value in values[2:]:
                by.combine(whole, value[block], out=whole)
            if by.finish is not None:
                by.finish(whole)
            np.copyto(into[self.rank][block], whole)
        self._meet(told)
        for k in self._others():
            np.copyto(into[k], seen[k][k])

    def _meet(self, told: Told) -> None:
        """Return once all ranks have come to the same call."""
        peers = self._others()
        self.lines.move([self._in(p, told, []) for p in peers], [Outflow(p, told.head, []) for p in peers])

    def _others(self) -> list[int]:
        return [(self.rank + k) % self.size for k in range(1, self.size)]

    def reduce_scatter(self, told: Told, sources: Sequence[np.ndarray], result: np.ndarray, by: Combination) -> None:
        """result: all ranks' sources for this rank combined. sources: one for each rank."""
        if self.size == 1:
            np.copyto(result, sources[0])
            if by.finish is not None:
                by.finish(result)
            return
        going, coming = self._ring(self.rank - 1, self.size - 1), self._ring(self.rank - 2, self.size - 1)
        made = [np.empty_like(sources[k]) for k in coming[:-1]] + [result]
        out = Outflow((self.rank + 1) % self.size, told.head, [sources[going[0]], *made[:-1]], sources[going[0]].nbytes)
        arriving = Combining(
            (self.rank - 1) % self.size, told.head, [sources[k] for k in coming], made, by.combine, by.finish, [], told.differs, [out]
        )
        self.lines.move([arriving], [out])

    def all_gather(self, told: Told, source: np.ndarray, results: Sequence[np.ndarray]) -> None:
        """results: the source of each rank."""
        np.copyto(results[self.rank], source)
        if self.size == 1:
            return
        going, coming = self._ring(self.rank, self.size - 1), self._ring(self.rank - 1, self.size - 1)
        out = Outflow((self.rank + 1) % self.size, told.head, [results[k] for k in going], source.nbytes)
        self.lines.move([self._in((self.rank - 1) % self.size, told, [results[k] for k in coming], [out])], [out])

    def broadcast(self, told: Told, array: np.ndarray, root: int) -> None:
        """array: that of the root, on all ranks. Small ones go down a binomial tree, large ones along a chain."""
        place = (self.rank - root) % self.size
        parent, children = self._tree(place) if array.nbytes <= SMALL else self._chain(place)
        onward = [Outflow((c + root) % self.size, told.head, [array], None if place == 0 else 0) for c in children]
        arriving = [] if parent is None else [self._in((parent + root) % self.size, told, [array], onward)]
        self.lines.move(arriving, onward)

    def _chain(self, place: int) -> tuple[int | None, list[int]]:
        return (place - 1 if place else None), [place + 1] if place + 1 < self.size else []

    def _tree(self, place: int) -> tuple[int | None, list[int]]:
        """Who is told by whom, the root being 0: in each round everybody who knows tells one more."""
        step = 1 << place.bit_length()
        children = []
        while place + step < self.size:
            children.append(place + step)
            step <<= 1
        return (place - (1 << place.bit_length() - 1) if place else None), children

    def reduce(self, told: Told, source: np.ndarray, result: np.ndarray, root: int, by: Combination) -> None:
        """result, on the root: all ranks' sources combined; on other ranks it holds what has been combined so far."""
        place = (self.rank - root) % self.size
        ends = place == self.size - 1
        sent = source if ends else result
        onward = [Outflow((self.rank - 1) % self.size, told.head, [sent], None if ends else 0)] if place else []
        finish = None if place else by.finish
        if ends and place == 0:
            np.copyto(result, source)
            if finish is not None:
                finish(result)
        arriving = [] if ends else [
            Combining((self.rank + 1) % self.size, told.head, [source], [result], by.combine, finish, [], told.differs, onward)
        ]  # fmt: skip
        self.lines.move(arriving, onward)

    def gather(self, told: Told, source: np.ndarray, results: Sequence[np.ndarray] | None, root: int) -> None:
        """results, on the root: the source of each rank."""
        if results is None:
            self.lines.move([], [Outflow(root, told.head, [source])])
            return
        np.copyto(results[self.rank], source)
        self.lines.move([self._in(p, told, [results[p]]) for p in self._others()], [])

    def scatter(self, told: Told, sources: Sequence[np.ndarray] | None, result: np.ndarray, root: int) -> None:
        """result: the root's source for this rank."""
        if sources is None:
            self.lines.move([self._in(root, told, [result])], [])
            return
        np.copyto(result, sources[self.rank])
        self.lines.move([], [Outflow(p, told.head, [sources[p]]) for p in self._others()])

    def all_to_all(
        self, heads: Callable[[int], Told], sources: Sequence[np.ndarray], results: Sequence[np.ndarray], expected: Callable[[int], Told]
    ) -> None:
        """results: what each rank has for this one. heads, expected: what is said to, and by, each rank: sizes may differ."""
        np.copyto(results[self.rank], sources[self.rank])
        peers = self._others()
        self.lines.move(
            [self._in(p, expected(p), [results[p]]) for p in peers], [Outflow(p, heads(p).head, [sources[p]]) for p in peers]
        )

    def barrier(self, told: Told) -> None:
        """Return once all ranks have come: in round k each tells the one 2^k further (a dissemination barrier)."""
        step = 1
        while step < self.size:
            self.lines.move([self._in((self.rank - step) % self.size, told, [])], [Outflow((self.rank + step) % self.size, told.head, [])])
            step <<= 1
