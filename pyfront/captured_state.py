"""Captured state: what a function can reach besides its arguments, and whether it is still what it was.

Closures, globals it names, defaults, the object a method belongs to, modules and plain containers below them, and functions of the
user's own they call. Tensors among them are inputs of what the function computes; everything else is part of what it is.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import numpy as np

from .nn import hooks
from .nn.changes import CHANGES, Calls
from .nn.module import Module
from .origin import is_own
from .tensor import Tensor

_PLAIN = (bool, int, float, str, bytes, type(None))
_MOST = 20000
_SKIPPED = (types.ModuleType, type, types.BuiltinFunctionType, types.MethodDescriptorType)
_PACKAGE = __name__.partition(".")[0] + "."
_whereabouts = attrgetter("_storage", "_chain")


class TooMuch(Exception):
    """More is reachable than is worth looking through."""


class CapturedState:
    """tensors: every Tensor in reach, in a fixed order. holds(): whether all of it is what it was when this was made.

    count: changes of modules there were at the last look. has_slots: something besides modules must be looked at each time.
    """

    def __init__(self, root: Any) -> None:
        self.tensors: list[Tensor] = []
        self.has_arrays = False  # numpy's, whose contents change without anybody noticing
        self._slots: list[tuple[Any, Any, Any]] = []  # (where to look, what to look for, what was there)
        self._modules: list[Module] = []
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # ids stay taken
        self._look(root)
        self._contents = self._snapshot()
        self.count = CHANGES[0]
        self._places = list(map(_whereabouts, self.tensors))
        self.has_slots = bool(self._slots)

    def holds(self) -> bool:
        """Cheap when no module was changed since the last look."""
        if CHANGES[0] != self.count:
            if self._snapshot() != self._contents:
                return False
            self.count = CHANGES[0]
        if self.has_slots and not all([_same(_get(where, what), was) for where, what, was in self._slots]):
            return False
        return list(map(_whereabouts, self.tensors)) == self._places

    def _snapshot(self) -> list[tuple]:
        return [hooks.for_all(), *(_contents(module) for module in self._modules)]

    # -- looking -----------------------------------------------------------------------------------------------

    def _look(self, root: Any) -> None:
        stack = [root]
        while stack:
            found = stack.pop()
            if isinstance(found, (*_PLAIN, *_SKIPPED)) or id(found) in self._seen:
                continue
            self._seen.add(id(found))
            self._kept.append(found)
            if len(self._kept) > _MOST:
                raise TooMuch
            if isinstance(found, np.ndarray):
                self.has_arrays = True
                continue
            if isinstance(found, Tensor):
                self.tensors.append(found)
                continue
            if isinstance(found, Module):
                self._modules.append(found)
                stack += [type(found).forward] if not is_own(type(found).forward.__code__.co_filename) else []
            before = len(self._slots)
            for where, what, value in _below(found):
                self._slots.append((where, what, value))
                stack.append(value)
            if isinstance(found, Module):
                del self._slots[before:]  # modules have a look of their own


def _below(found: Any) -> Iterator[tuple[Any, Any, Any]]:
    """(container, key, value) of what an object refers to."""
    if isinstance(found, types.FunctionType):
        if is_own(found.__code__.co_filename):
            return
        for cell in found.__closure__ or ():
            yield cell, None, _get(cell, None)
        space = found.__globals__
        for name in sorted(_names(found.__code__)):
            if name in space:
                yield space, name, space[name]
        for value in (*(found.__defaults__ or ()), *(found.__kwdefaults__ or {}).values()):
            yield (value,), 0, value
    elif isinstance(found, types.MethodType):
        yield (found.__self__,), 0, found.__self__
        yield (found.__func__,), 0, found.__func__
    elif isinstance(found, (list, tuple)):
        yield found, len, len(found)
        for i, value in enumerate(found):
            yield found, i, value
    elif isinstance(found, dict):
        yield found, len, len(found)
        for key, value in list(found.items()):
            yield found, key, value
    elif isinstance(found, Module):
        for name, value in vars(found).items():
            if type(value) is Calls:
                continue
            if isinstance(value, dict):
                yield from ((value, key, entry) for key, entry in value.items())
            else:
                yield vars(found), name, value
    elif not type(found).__module__.startswith(_PACKAGE) and hasattr(found, "__dict__"):
        space = vars(found)
        yield space, len, len(space)
        for key, value in list(space.items()):
            yield space, key, value
        call = getattr(type(found), "__call__", None)
        if isinstance(call, types.FunctionType):
            yield (call,), 0, call


def _names(code: types.CodeType) -> set[str]:
    """Global names a function's code mentions, those of functions inside it included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


_GONE = object()


def _get(where: Any, what: Any) -> Any:
    if type(where) is types.CellType:
        try:
            return where.cell_contents
        except ValueError:
            return _GONE
    if what is len:
        return len(where)
    if type(where) is dict or isinstance(where, dict):
        return where.get(what, _GONE)
    return where[what] if what < len(where) else _GONE


def _same(now: Any, was: Any) -> bool:
    return now is was or (type(now) is type(was) and isinstance(was, _PLAIN) and now == was)


def _contents(module: Module) -> tuple:
    """What a module is made of: plain attributes by value, others by identity."""
    parts: list[Any] = []
    for name, value in module.__dict__.items():
        if type(value) is Calls:
            continue
        if isinstance(value, dict):
            parts.append((name, tuple(value), tuple(map(id, value.values()))))
        elif isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(isinstance(v, _PLAIN) for v in value)):
            parts.append((name, value))
        elif isinstance(value, (list, set)):
            parts.append((name, tuple(map(id, value))))
        else:
            parts.append((name, id(value)))
    return tuple(parts)


