"""Dependence: what a call of a program's own module depends on besides its arguments, if that can be told (see plain.py).

Modules tell when an attribute is set or a table changes (changes.py), and who keeps a call looks at the tables of children again. What is
left are names of other places, options in objects that are no modules (a configuration), and attributes of classes: found again before
every call that is not made.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..origin import is_own
from ..tensor import Tensor
from . import module as bases
from .plain import Facts, facts_of, is_option, is_recording

if TYPE_CHECKING:
    from .module import Module

_ASKED = frozenset({"forward", "children", "named_children", "items", "values", "keys"})
"""Methods of modules that programs may call on the way: they only ask."""


class Dependence(NamedTuple):
    """users: modules below (the module itself among them) that the program wrote. places: (table, name) of parameters, buffers and other tensors. found,
    cells: as in Facts. options: (object, name, value)."""

    users: list[Module]
    places: list[tuple[dict, str]]
    found: list[tuple[Mapping[str, Any], str, Any]]
    cells: list[tuple[Any, Any]]
    options: list[tuple[Any, str, Any]]


def is_users(kind: type) -> bool:
    """A class of modules that the package did not write."""
    return not is_own(getattr(inspect.getattr_static(kind, "forward", None), "__code__", is_users.__code__).co_filename)


def facts_of_forward(kind: type) -> Facts | None:
    """What the forward of a program's class depends on; None where it may do more than to give a result."""
    base = bases.Module
    ours = all(inspect.getattr_static(kind, name, None) is inspect.getattr_static(base, name, None) for name in _ACCESS)
    ours = ours and not any(_is_programs(inspect.getattr_static(kind, name, None)) for name in _SYNTAX)
    facts = facts_of(kind.forward, kind) if ours else None
    return facts if facts is not None and not facts.gives else None


def _is_programs(value: Any) -> bool:
    return value is not None and not is_own(getattr(value, "__code__", is_users.__code__).co_filename)


_SYNTAX = ("__len__", "__iter__", "__getitem__", "__contains__", "__bool__", "__eq__", "__hash__")
"""What expressions call without naming it."""
_ACCESS = ("__call__", "__getattr__", "__getattribute__", "__setattr__", "__delattr__")


def dependence(modules: list[Module]) -> Dependence | None:
    """That of the first of some modules, which are all there are below it; None where something cannot be told."""
    users = [m for m in modules if is_users(type(m))]
    known: dict[Any, Facts] = {}
    for kind in {type(m) for m in users}:
        facts = facts_of_forward(kind)
        if facts is None:
            return None
        known[kind.forward] = facts
    looked: tuple[set[str], set[str]] = set(), set()
    found = _Found()
    while (together := _together(known.values())) != looked:
        looked = names, used = together
        for m in modules:
            for name in names:
                if not _enter(m, name, names, used, known, found):
                    return None
    places = {(id(table), name): (table, name) for table, name in found.places}
    options = {(id(thing), name): (thing, name, value) for thing, name, value in found.options}
    tables = {(id(table), name): (table, name, value) for facts in known.values() for table, name, value in facts.found}
    cells = {id(cell): (cell, value) for facts in known.values() for cell, value in facts.cells}
    return Dependence(users, list(places.values()), list(tables.values()), list(cells.values()), list(options.values()))


class _Found:
    def __init__(self) -> None:
        self.places: list[tuple[dict, str]] = []
        self.options: list[tuple[Any, str, Any]] = []


def _together(facts: Iterable[Facts]) -> tuple[set[str], set[str]]:
    names, used = set(), set()
    for each in facts:
        names |= each.names
        used |= each.options
    return names, used


def _enter(m: Module, name: str, names: set[str], used: set[str], known: dict[Any, Facts], found: _Found) -> bool:
    """Note what a name stands for on a module; False where that cannot be told."""
    own = m.__dict__
    if name in own:
        return _enter_value(own, name, own[name], names, used, known, found)
    if any([name in own[table] for table in ("_parameters", "_buffers", "_modules")]):
        return True  # gathered, and looked at, in any case
    kind = type(m)
    value = inspect.getattr_static(kind, name, None)
    if value is None:
        return not hasattr(kind, name) or _is_kept(found, kind, name, None)
    if isinstance(value, staticmethod):
        return _is_kept(found, kind, name, value.__func__) and _enter_function(value.__func__, None, known)
    if type(value) is FunctionType:
        if is_own(value.__code__.co_filename):
            return name in _ASKED
        return _is_kept(found, kind, name, value) and (name == "forward" or _enter_function(value, kind, known))
    if isinstance(value, bases.Entry):
        return True  # an entry that is not there
    return is_option(value) and _is_kept(found, kind, name, value)


def _is_kept(found: _Found, thing: Any, name: str, value: Any) -> bool:
    found.options.append((thing, name, value))
    return True


def _enter_function(function: Any, owner: type | None, known: dict[Any, Facts]) -> bool:
    facts = facts_of(function, owner)
    if facts is None or facts.gives:
        return False
    known[function] = facts
    return True


def _finds_more(kind: type) -> bool:
    """Whether objects of a class have attributes that nobody put there."""
    return hasattr(kind, "__getattr__") or type(kind.__getattribute__) is FunctionType


def _enter_value(
    own: dict, name: str, value: Any, names: set[str], used: set[str], known: dict[Any, Facts], found: _Found
) -> bool:
    if is_option(value):
        return True  # setting it is noticed
    if isinstance(value, Tensor):
        found.places.append((own, name))
        return True
    if type(value) is FunctionType:
        return is_recording(value) or _enter_function(value, None, known)
    if name in used or callable(value) or isinstance(value, list | tuple | dict | set) or _finds_more(type(value)):
        return False
    for inner in names:
        if inspect.getattr_static(value, inner, None) is None:
            continue
        seen = vars(value).get(inner, inspect.getattr_static(type(value), inner, None)) if hasattr(value, "__dict__") else None
        if seen is None or not is_option(seen):
            return False
        found.options.append((value, inner, seen))
    return True
