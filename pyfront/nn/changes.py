"""Changes: a count of changes to any module's make-up, so that what was derived from one can tell that it must look again."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

CHANGES = [0]
"""How many changes there were."""

class Table(dict[str, Any]):
    """A module's parameters, buffers or children by name: every change of it is a change."""

    __slots__ = ()


def _telling(name: str) -> Callable[..., Any]:
    """A dict's method that changes it, counted."""
    method = getattr(dict, name)

    @functools.wraps(method)
    def told(self: Table, *args: Any, **kwargs: Any) -> Any:
        CHANGES[0] += 1
        return method(self, *args, **kwargs)

    return told


for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(Table, _name, _telling(_name))

BUNDLED: dict[int, weakref.ref] = {}
"""Kept calls that refer to the arrays of all parameters they read (see calls.py), by id."""


def let_go() -> None:
    """Have no kept call refer to arrays of parameters: they are about to be written to, in place if nobody else refers to them."""
    for reference in list(BUNDLED.values()):
        call = reference()
        if call is not None:
            call.let_go()
    BUNDLED.clear()


class Calls(dict[Any, Any]):
    """What a module recorded when it was called, by what it was called with (see calls.py), until the module changes.

    owner: the module; a shallow copy of it refers to the same object, which is none of the copy's. made: which change was the
    last. left: how many more calls are worth looking at; -1: the module is always called. modes: what was recorded in evaluation while the module trains, or the other way round, with the
    change that was the last then. Copies and pickles of a module carry an empty dict along.
    """

    __slots__ = ("owner", "made", "left", "modes")

    def __init__(self, owner: Any, left: int) -> None:
        super().__init__()
        self.owner = weakref.ref(owner)
        self.made = CHANGES[0]
        self.left = left
        self.modes: dict[bool, tuple[dict[Any, Any], int]] = {}

    def __reduce__(self) -> tuple:
        return dict, ()


def changed(module: Any = None) -> None:
    """An attribute, a table or a hook of some module changed; of this one, if it is known."""
    CHANGES[0] += 1
    if module is not None:
        calls = module.__dict__.get("_calls_")
        if type(calls) is Calls:
            calls.clear()
            calls.modes.clear()
            calls.made = CHANGES[0]


def turned(module: Any, mode: bool) -> None:
    """A module trains from now on (or does no longer): what it recorded in the other mode is for later."""
    CHANGES[0] += 1
    calls = module.__dict__.get("_calls_")
    if type(calls) is Calls and calls.owner() is module:
        for call in calls.values():
            if call is not None:
                call.let_go()
        calls.modes[not mode] = dict(calls), calls.made
        entries, made = calls.modes.get(mode, ({}, CHANGES[0]))
        calls.clear()
        calls.update(entries)
        calls.made = made
