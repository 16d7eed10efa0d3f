"""Output arrays of programs: used again when nobody else refers to them, as reference counts say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count as numbers_from
from sys import getrefcount
from typing import Any

import numpy as np

from ..dialects.types import Type
from .aligned_memory import aligned_array, maker_of

_ROUNDS = 4  # calls after which a program tries the same output arrays again: what a loop still holds rotates


class Made:
    """Where the arrays are that pools made and refer to: programs that know the same find what one of them gave another.

    addresses: type -> id of an array -> where its memory starts; an array is in there as long as its pool refers to it. changes: another
    number whenever these changed.
    """

    def __init__(self) -> None:
        self.addresses: dict[Type, dict[int, int]] = {}
        self.changes = 0
        self._numbers = numbers_from(1)

    def changed(self) -> None:
        """Whoever remembers where arrays are looks again."""
        self.changes = next(self._numbers)


class OutputPool:
    """Output arrays of one program. Those nobody else refers to are used again, so a loop works in the same memory.

    outputs: the arrays' types. inputs: types whose addresses are looked up in ``addresses``, see `Made`. held: id of an array
    made here -> references pools have to it. Pools of one program share both: those of ``beside`` are used.
    """

    def __init__(
        self, outputs: Sequence[Type], inputs: Sequence[Type] = (), beside: OutputPool | None = None, made: Made | None = None
    ) -> None:
        self.types = tuple(outputs)
        self.made = beside.made if beside else made or Made()
        self.addresses = self.made.addresses
        for held in (*outputs, *inputs):
            self.addresses.setdefault(held, {})
        self.held: dict[int, int] = beside.held if beside else {}
        self._rounds: list[list[np.ndarray | None]] = [[None] * len(self.types) for _ in range(_ROUNDS)]
        self._places: list[list[int]] = [[0] * len(self.types) for _ in range(_ROUNDS)]
        self._free: list[list[int]] = [[0] * len(self.types) for _ in range(_ROUNDS)]  # the counts of unheld arrays
        self._turn = 0
        self._makers = [maker_of(shape, dtype.numpy) for shape, dtype in self.types]
        self.native: Any = None  # the pool as C has it, see executable.py

    @property
    def in_rounds(self) -> tuple[list, list, list]:
        """Arrays, where they are, and the counts of those nobody else refers to: by round and output."""
        return self._rounds, self._places, self._free

    def __del__(self) -> None:
        """Other pools of the program live on; arrays of theirs may get the ids of these."""
        self.release(set())

    def release(self, kept: set[int]) -> None:
        """Forget all arrays but those with these ids."""
        self.made.changed()
        for row, places, free in zip(self._rounds, self._places, self._free, strict=True):
            for k, array in enumerate(row):
                if array is not None and id(array) not in kept:
                    self.addresses[self.types[k]].pop(id(array), None)
                    self._let_go(array)
                    row[k], places[k], free[k] = None, 0, 0

    def take(self) -> tuple[list[np.ndarray], list[int]]:
        """One array per output that nobody else sees, and their addresses."""
        turn = self._turn = (self._turn + 1) % _ROUNDS
        made = self._rounds[turn]
        counts = list(map(getrefcount, made))
        if counts != self._free[turn]:
            for k, (count, free) in enumerate(zip(counts, self._free[turn], strict=True)):
                if count != free:
                    self.replace(turn, k)
        return made.copy(), self._places[turn]  # type: ignore[return-value]  # no None is left

    def replace(self, turn: int, k: int) -> None:
        """Another array for output k in this round: an unheld one of another round, or a new one."""
        self.made.changed()
        addresses, held = self.addresses[self.types[k]], self.held
        column = [made[k] for made in self._rounds]
        counts = list(map(getrefcount, column))  # before anything else here refers to them
        old = column[turn]
        for array, count, free in zip(column, counts, self._free, strict=True):
            if count == free[k] + free[k] - LOOKING:  # each of its rounds has a place in the column, too
                break
        else:
            array, place = self._makers[k]()
            addresses[id(array)] = place
            held[id(array)] = 1
            self._rounds[turn][k], self._places[turn][k], self._free[turn][k] = array, place, 1 + LOOKING
            if old is not None:
                self._let_go(old)
                self._count(old, k)
            return
        self._rounds[turn][k] = array
        held[id(array)] += 1
        if old is not None:
            self._let_go(old)
        self._places[turn][k] = addresses[id(array)]
        for changed in (old, array):
            if changed is not None:
                self._count(changed, k)

    def _let_go(self, array: np.ndarray) -> None:
        """One reference to an array less."""
        left = self.held[id(array)] = self.held[id(array)] - 1
        if not left:
            del self.held[id(array)]

    def _count(self, array: np.ndarray, k: int) -> None:
        """Note how many references an unheld array has now; forget an array no round has any more."""
        rounds = [turn for turn, made in enumerate(self._rounds) if made[k] is array]
        for turn in rounds:
            self._free[turn][k] = len(rounds) + LOOKING
        if not rounds:
            del self.addresses[self.types[k]][id(array)]


def _looking() -> int:
    """What looking adds to a count; interpreters differ."""
    held = [aligned_array((1,), np.dtype(np.uint8))]
    return list(map(getrefcount, held))[0] - 1


LOOKING = _looking()
"""References that looking through a list adds to a count."""
