"""Calls: what a layer recorded when it was called, recorded again for an argument of the same type without running its Python.

What a layer of ours records follows from its options, from the types of what it reads and from nothing else. That is not taken for
granted: the first call is looked at, and is only kept if all it did was to record steps from its argument, parameters and buffers
to a fresh result, and to new contents of buffers. A Sequential of such layers is such a layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from operator import itemgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .. import views
from ..autocasting import regions
from ..node import Node
from ..origin import is_own
from ..phrases import Phrase, steps_between
from ..recorder import state
from ..tensor import Tensor, wrap
from . import functional, hooks
from .changes import CHANGES, Calls

if TYPE_CHECKING:
    from .module import Module

_PACKAGE = __name__.partition(".")[0] + "."
_MOST = 16  # calls one module keeps or tries to keep: other sizes again and again are not worth it
_NEW = object()
_forwards: set[Callable] = set()
_are_global = hooks._are_global
_functions = vars(functional)


def remembered(forward: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    """A layer's ``forward(self, input)`` that records what it did before without doing it again."""

    @functools.wraps(forward)
    def call(self: Module, input: Tensor) -> Any:
        if type(input) is Tensor and not input._chain:
            calls = self.__dict__.get("_calls")
            if type(calls) is not Calls or calls.owner() is not self:
                calls = self.__dict__["_calls"] = Calls(self, _MOST)
            key = input._node.type, state.grad
            known = calls.get(key, _NEW)
            if known is not None and not (state.levels or state.duals or state.traces or regions.on or _are_global[0]):
                result = known.again(input) if known is not _NEW else None
                return _first(self, input, forward, calls, key) if result is None else result
        return forward(self, input)

    _forwards.add(call)
    return call


class Call:
    """One call of a module, by where its parameters are found and what was recorded of them.

    count: changes of modules there were at the last look. below: the modules further down, as (calls, how often each had changed).
    parents: tables of children, with the children; childless: tables of those that have none. classes: theirs, with what is run when they are called. functional: what their forwards look up
    in torch.nn.functional, where programs may put their own. reads: (table, name) of the
    parameters and buffers. types: of the argument and of these. constants: further operands. writes: something tracked would be
    overwritten on the way. written: (table, name) of the buffers that get new contents. tracked: whether an operand was. version, label:
    of the result.
    """

    __slots__ = (
        "count", "below", "parents", "childless", "classes", "look_up", "functional", "reads", "types", "constants", "phrase", "writes", "written", "tracked", "version", "label",
    )  # fmt: skip

    def __init__(self, modules: list[Module], reads: list[tuple[dict, str]], operands: list[Node], constants: list[Node]) -> None:
        self.count = CHANGES[0]
        self.below = [(m.__dict__["_calls"], m.__dict__["_calls"].made) for m in modules]
        self.parents = [(m._modules, tuple(m._modules.values())) for m in modules if m._modules]
        self.childless = [m._modules for m in modules if not m._modules]
        self.classes = [(kind, kind.forward, kind.__call__) for kind in dict.fromkeys(map(type, modules[1:]))]
        names = sorted({name for m in modules for name in _looked_up(type(m))})
        self.look_up = itemgetter(*names) if names else None
        self.functional = self.look_up(_functions) if names else None
        self.reads = reads
        self.types = [node.type for node in operands]
        self.constants = constants

    def again(self, input: Tensor) -> Tensor | None:
        """What the call gives now; None where it must be made in full."""
        if self.look_up is not None and self.look_up(_functions) != self.functional:
            return None
        if self.classes:
            for kind, forward, called in self.classes:
                if kind.forward is not forward or kind.__call__ is not called:
                    return None
            for children, before in self.parents:
                if tuple(children.values()) != before:
                    return None
            if any(self.childless):
                return None
        if CHANGES[0] != self.count:
            for calls, made in self.below:
                if calls.made != made:
                    return None
            self.count = CHANGES[0]
        nodes = [input._node if input._seen == input._storage.version else input._read()]
        for table, name in self.reads:
            t = table.get(name)
            if t is None:
                return None
            nodes.append(t._node if t._seen == t._storage.version else t._read())
        types = [n.type for n in nodes]
        if types != self.types:
            return None
        self.types = types  # the next ones are likely to be the same objects
        if self.writes and state.grad and any([n.requires_grad for n in nodes]):
            return None
        nodes += self.constants
        result = wrap(self.phrase.again(nodes, 4)) if not self.written else self._again_with_writes(nodes)
        if result is None:
            return None
        if self.version:
            result._storage.version = result._seen = self.version
        if result._node.requires_grad:
            result._label = self.label
        return result

    def _again_with_writes(self, nodes: list[Node]) -> Tensor | None:
        """The result, and the buffers with their new contents: in the order it was the first time, so that it is the same program."""
        tracked = state.grad and any([n.requires_grad for n in nodes])
        targets = [table[name] for table, name in self.written]  # all of them were read just now
        if tracked is not self.tracked or any([t._chain or t._storage.host is not None for t in targets]):
            return None
        node, *contents = self.phrase.all_again(nodes, 5)
        result = None
        for target, now in zip(targets, contents, strict=True):
            if result is None and node.order < now.order:
                result = wrap(node)
            views.write(target._storage, (), now, now.order - 1)
            target._forget()
        return wrap(node) if result is None else result


def _first(module: Module, input: Tensor, forward: Callable, calls: Calls, key: tuple) -> Any:
    """A call in full, kept if it can be."""
    modules = list(_below(module))
    if calls.left <= 0 or not all(map(_is_layer, modules)):
        calls[key] = None
        return forward(module, input)
    calls.left -= 1
    for m in modules[1:]:
        own = m.__dict__.get("_calls")
        if type(own) is not Calls or own.owner() is not m:
            m.__dict__["_calls"] = Calls(m, _MOST)
    places = [(t, n) for m in modules for t in (m._parameters, m._buffers) for n in t if t[n] is not None]
    given = [input, *[table[name] for table, name in places]]
    operands = [t._read() for t in given]
    storages = [t._storage for t in given]
    before, versions = _surroundings(), [s.version for s in storages]
    start = state.order
    result = forward(module, input)
    if _surroundings() == before:
        written = [i for i, s in enumerate(storages) if s.version != versions[i]]
        good = _is_fresh(result, storages) and all([_is_rewritten(given[i], versions[i]) and i for i in written])
        kept = calls[key] = _kept(modules, places, operands, result, start, written) if good else None
        if kept is not None and not written and not result._node.requires_grad:
            return kept.again(input)  # so that the first program is the one of all calls
    return result


def _below(module: Module) -> Iterator[Module]:
    yield module
    for child in module._modules.values():
        if child is not None:
            yield from _below(child)


def _is_layer(module: Module) -> bool:
    """A module of ours as it was written, with options that do not change unnoticed."""
    kind = type(module)
    return (
        kind.__module__.startswith(_PACKAGE)
        and kind.forward in _forwards
        and all(map(_is_ours, (kind.__call__, *[_functions[name] for name in _looked_up(kind)])))
        and module._plain_call
        and not any([type(value) is list for value in module.__dict__.values()])
        and None not in module._modules.values()
    )


def _looked_up(kind: type[Module]) -> list[str]:
    """What a layer's forward finds in torch.nn.functional."""
    return [name for name in kind.forward.__wrapped__.__code__.co_names if name in _functions]


def _is_ours(function: Any) -> bool:
    return isinstance(function, FunctionType) and is_own(function.__code__.co_filename)


def _surroundings() -> tuple:
    """What a call that only records leaves alone."""
    return CHANGES[0], state.flushed, len(state.doubts)


def _is_rewritten(tensor: Tensor, version: int) -> bool:
    """A buffer whose whole memory was written once."""
    storage = tensor._storage
    return not tensor._chain and storage.host is None and storage.version == version + 1


def _is_fresh(result: Any, storages: list[Any]) -> bool:
    """A tensor with memory of its own, about which there is nothing more to know."""
    return (
        type(result) is Tensor
        and not result._chain
        and result._storage.host is None
        and not any([result._storage is s for s in storages])
        and result.__dict__.keys() <= {"_label"}
    )


def _kept(
    modules: list[Module], places: list[tuple[dict, str]], operands: list[Node], result: Tensor, start: int, written: list[int]
) -> Call | None:
    """The call, if what it recorded leads from the operands to the result and to the contents of what was written."""
    root = result._read()
    targets = sorted([places[i - 1] for i in written], key=lambda place: place[0][place[1]]._storage.node.order)
    roots = [root, *[table[name]._storage.node for table, name in targets]]
    found = steps_between(operands, roots, start)
    if found is None:
        return None
    steps, constants = found
    writes = any([node.overwritten for node in steps])
    read = {id(node) for step in steps for node in step.inputs}
    if writes and root.requires_grad or not read.issuperset([id(operands[i]) for i in written]):
        return None
    used = [i for i, node in enumerate(operands) if not i or id(node) in read]
    call = Call(modules, [places[i - 1] for i in used[1:]], [operands[i] for i in used], constants)
    call.phrase = Phrase.of([*[operands[i] for i in used], *constants], steps, roots)
    call.writes, call.version, call.label = writes, result._storage.version, result._label
    call.written, call.tracked = targets, state.grad and any([n.requires_grad for n in operands])
    return call
