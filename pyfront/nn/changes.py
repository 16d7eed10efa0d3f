"""Changes: a count of changes to any module's make-up, so that what was derived from one can tell that it must look again."""

from __future__ import annotations

import weakref
from typing import Any

CHANGES = [0]
"""How many changes there were."""


class Calls(dict[Any, Any]):
    """What a module recorded when it was called, by what it was called with (see calls.py), until the module changes.

    owner: the module; a shallow copy of it refers to the same object, which is none of the copy's. made: how often the module
    changed. left: how many more calls are worth keeping. Copies and pickles of a module carry an empty dict along.
    """

    __slots__ = ("owner", "made", "left")

    def __init__(self, owner: Any, left: int) -> None:
        super().__init__()
        self.owner = weakref.ref(owner)
        self.made = 0
        self.left = left

    def __reduce__(self) -> tuple:
        return dict, ()


def changed(module: Any = None) -> None:
    """An attribute, a table or a hook of some module changed; of this one, if it is known."""
    CHANGES[0] += 1
    if module is not None:
        calls = module.__dict__.get("_calls")
        if type(calls) is Calls:
            calls.clear()
            calls.made += 1
