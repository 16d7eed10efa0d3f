"""What a program makes of inputs and keeps between calls, packed copies among it: made once, and again when an input is another array.

Arrays are values: what the frontend hands to a program never changes as long as somebody refers to it, and a copy
refers to its sources. So the same array object means the same contents. Programs that want the same copy share it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from operator import is_
from weakref import WeakValueDictionary

import numpy as np

from ..dialects.kept import Kept


class _Copy:
    """sources: the arrays it was made from. filled: a program has made it. programs: how many use it."""

    __slots__ = ("sources", "array", "address", "filled", "programs", "__weakref__")

    def __init__(self, sources: tuple[np.ndarray, ...], array: np.ndarray) -> None:
        self.sources = sources
        self.array = array
        self.address = array.ctypes.data
        self.filled = False
        self.programs = 0


_copies: WeakValueDictionary[tuple[tuple[int, ...], str], _Copy] = WeakValueDictionary()
_lock = threading.Lock()


class KeptCopies:
    """The copies one program uses. allocate: makes memory for one."""

    def __init__(self, kept: Sequence[Kept], allocate: Callable[[tuple[int, ...], np.dtype], np.ndarray]) -> None:
        self.kept = tuple(kept)
        self.stale = np.zeros(max(1, len(self.kept)), np.uint8)
        self._stale_at = self.stale.ctypes.data
        self.places = [0] * len(self.kept)
        self._allocate = allocate
        self._held: list[_Copy | None] = [None] * len(self.kept)
        self._inputs = sorted({i for k in kept for i in k.inputs})
        self._seen: list[np.ndarray | None] = [None] * len(self._inputs)
        self._unfilled: list[int] = []
        self.changes = 0  # how often what is followed was not what it was before

    @property
    def addresses(self) -> tuple[int, ...]:
        """What the program's table gets: every copy, then which are stale; nothing without copies."""
        return (*self.places, self._stale_at) if self.kept else ()

    def follow(self, arrays: Sequence[np.ndarray]) -> bool:
        """Gets copies of these inputs, shared or to be filled by the next call; whether anything changed."""
        given = list(map(arrays.__getitem__, self._inputs))
        if all(map(is_, given, self._seen)) and not self._unfilled:
            return False
        self.changes += 1
        changed = {i for i, now, was in zip(self._inputs, given, self._seen, strict=True) if now is not was}
        for k, kept in enumerate(self.kept):
            if not changed.isdisjoint(kept.inputs):
                self._replace(k, tuple([arrays[i] for i in kept.inputs]))
        self._seen = given  # type: ignore[assignment]
        return True

    def _replace(self, k: int, sources: tuple[np.ndarray, ...]) -> None:
        with _lock:
            self._replace_alone(k, sources)

    def _replace_alone(self, k: int, sources: tuple[np.ndarray, ...]) -> None:
        old, numbers = self._held[k], tuple(map(id, sources))
        form = self.kept[k].form
        copy = _copies.get((numbers, form))
        if copy is None or not copy.filled or not all(map(is_, copy.sources, sources)):
            shape, dtype = self.kept[k].type
            reusable = old is not None and old.programs == 1
            copy = _Copy(sources, old.array if reusable else self._allocate(shape, dtype.numpy))
            if reusable:  # nobody else reads it, and nobody may find it any more
                _copies.pop((tuple(map(id, old.sources)), form), None)
            _copies[numbers, form] = copy
            self.stale[k] = 1
            self._unfilled.append(k)
        if old is not None:
            old.programs -= 1
        copy.programs += 1
        self._held[k], self.places[k] = copy, copy.address

    def filled(self) -> None:
        """The call is over: what was stale has been filled."""
        for k in self._unfilled:
            self._held[k].filled = True  # type: ignore[union-attr]  # follow() put it there
        self._unfilled.clear()
        self.stale[:] = 0
