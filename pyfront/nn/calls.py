"""Calls: what a module recorded when it was called, recorded again for arguments of the same types without running its Python.

What a layer of ours records follows from its options, from the types of what it reads and from nothing else. That is not taken for
granted: the first call is looked at, and is only kept if all it did was to record steps from its arguments, parameters and buffers
to fresh results, and to new contents of buffers. A Sequential of such layers is such a layer.

A module the program wrote is one as well if its forward, read as source, does nothing else (plain.py), and what it depends on can be looked at before
every call (dependence.py). Such a call may also draw random numbers, which are drawn anew, and look at indices it was given, which are looked at
anew.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import views
from ..autocasting import regions
from ..doubts import Look, ask
from ..known_calls import TENSORS, argument_key
from ..node import Bundle, Node
from ..origin import is_own
from ..overrides import state as overriding
from ..phrases import Phrase, steps_between
from ..promote import Defaults
from ..sampling import Drawn, sample
from ..recorder import state
from ..strides import is_ordered
from ..tensor import Tensor, from_storage, whereabouts, wrap
from ..storage import Storage
from . import functional, hooks
from .changes import BUNDLED, CHANGES, Calls, Table
from .plain import holds
from .dependence import Dependence, dependence, facts_of_forward, is_users

if TYPE_CHECKING:
    from .module import Module

_PACKAGE = __name__.partition(".")[0] + "."
_MOST = 16  # calls one module keeps or tries to keep: other sizes again and again are not worth it
_MANY = 8  # parameters from which on a call reads them as one
_PAUSE = 2  # calls until that is tried, twice as many when they were others before it was worth it
_WORTH = 16  # calls after which it was
_LONGEST = 256
_NEW = object()
_forwards: set[Callable] = set()
_are_global = hooks._are_global
_functions = vars(functional)
_data: weakref.WeakSet[Node] = weakref.WeakSet()  # arrays that calls which are kept made of nothing: the same each time


def remembered(forward: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
    """A layer's ``forward(self, input)`` that records what it did before without doing it again."""

    @functools.wraps(forward)
    def call(self: Module, input: Tensor) -> Any:
        if type(input) is Tensor and not input._chain:
            calls = self.__dict__.get("_calls_")
            if type(calls) is not Calls or calls.owner() is not self:
                calls = self.__dict__["_calls_"] = Calls(self, _MOST)
            key = input._node.type, state.grad
            if regions.on:
                key = regions.keyed(key)
            known = calls.get(key, _NEW)
            if known is not None and not (state.levels or state.duals or state.traces or _are_global[0]):
                if known is _NEW:
                    return _first(self, functools.partial(forward, self, input), calls, key, [input])
                result = known.again([input._node if input._seen == input._storage.version else input._read()])
                if result is None:
                    return _first(self, functools.partial(forward, self, input), calls, key, [input])
                if known.is_new:
                    _was_worth_it(known, calls)
                return result
        return forward(self, input)

    if len(inspect.signature(forward).parameters) > 2:
        once = call

        @functools.wraps(forward)
        def call(self: Module, input: Tensor, *more: Any, **options: Any) -> Any:  # what else it may be given is not what layers are given
            return forward(self, input, *more, **options) if more or options else once(self, input)

    _forwards.add(call)
    return call


def whole(self: Module, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The call of a module that the program wrote, which has no hooks."""
    forward = self.forward
    calls = self.__dict__.get("_calls_")
    if type(calls) is not Calls or calls.owner() is not self:
        if _is_always_called(type(self)):
            return forward(*args, **kwargs)
        calls = self.__dict__["_calls_"] = Calls(self, _MOST)
    if calls.left < 0 or (
        state.levels or state.duals or state.traces or _are_global[0] or state.watch is not None or overriding.modes
    ):
        return forward(*args, **kwargs)
    run = functools.partial(forward, *args, **kwargs)
    if calls.left == 0 and not calls and not calls.modes:
        return _noted(run)[0]
    operands: list[Node] = []
    key = argument_key(args, kwargs, operands)
    if key is None and _are_taken_back(args, kwargs):
        key = argument_key(args, kwargs, operands := [])
    if key is None:
        return forward(*args, **kwargs)
    key = regions.keyed((key, state.grad, Defaults.dtype))
    if state.placement is not None:
        there = state.placement.together(operands)
        if there is None:
            return forward(*args, **kwargs)
        key = there.type, key
    known = calls.get(key)
    result = known.again(operands) if known is not None else None
    if result is None:
        if calls.left == 0:
            return _noted(run)[0]
        return _first(self, run, calls, key, _tensors((*args, *kwargs.values())), True)
    if known.is_new:
        _was_worth_it(known, calls)
    return result


def _was_worth_it(call: Call, calls: Calls) -> None:
    """A call that was kept is made again: one more may be."""
    call.is_new = False
    if len(calls) < _MOST:
        calls.left += 1


def _is_always_called(kind: type) -> bool:
    """Whether a class's calls are never kept by `whole`; it is not asked again."""
    if kind.forward in _forwards or not is_users(kind) or facts_of_forward(kind) is None:
        kind._whole_ = None
        return True
    return False


def _are_taken_back(args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether memory of arguments was numpy's too, and of none is any longer."""
    given = _tensors((*args, *kwargs.values()))
    if any([type(t) not in TENSORS for t in given]):  # sparse ones have no memory of that kind
        return False
    shared = [t._storage for t in given if t._storage.host is not None]
    return bool(shared) and not any([storage.is_shared() for storage in shared])


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among some arguments, each once: those within tuples as well."""
    found: dict[int, Tensor] = {}
    for value in values:
        inner = _tensors(value) if type(value) is tuple else [value] if isinstance(value, Tensor) else []
        found |= {id(t): t for t in inner}
    return list(found.values())


class Call:
    """One call of a module, by where its parameters are found and what was recorded of them.

    count: changes of modules there were at the last look. below: the modules further down, as (calls, how often each had changed).
    parents: tables of children, with the children. classes: theirs, with what is run when they are called. functional: what their forwards look up
    in torch.nn.functional, where programs may put their own. reads: (table, name) of the
    parameters and buffers; ties: the same of those that are one of these, with its place. types: of the arguments and of these; tracks: whether derivatives
    are taken by them, where that may be asked. is_new: nobody made it again yet. looks: what was asked about
    the values of some, with the answer. draws: random numbers, and whether they are operands. constants: further operands. written: (table, name) of the buffers that get new contents. tracked: whether an operand was. results: of each what it shows of
    its memory, version, label; several: they come in a tuple. asks_places: it depends on where elements lie in memory. found, cells, options: see `Dependence`.
    bundle: what all of `reads` and `ties` held when they were last looked at one by one, if it was called with that often: as long as it
    is the same nothing is done for each. are_told: all tables tell when they change; tensors: those of `reads` and `ties`, since then; held: their Nodes; views: where they were when they lay row by row. arguments: how many there are. pause: calls in full until there is one; served: calls with it.
    """

    __slots__ = (
        "count", "below", "parents", "classes", "look_up", "functional", "reads", "ties", "types", "tracks", "is_new", "looks", "draws", "constants", "phrase",
        "written", "tracked", "results", "several", "asks_places", "found", "cells", "options",
        "bundle", "arguments", "pause", "longest", "served", "are_told", "tensors", "held", "views", "__weakref__",
    )  # fmt: skip

    def __init__(self, modules: list[Module], depends: Dependence | None) -> None:
        self.count = CHANGES[0]
        self.below = [(m.__dict__["_calls_"], m.__dict__["_calls_"].made) for m in modules]
        self.parents = [(m._modules, tuple(m._modules.values())) for m in modules]
        self.bundle: Bundle | None = None
        self.held: list[Node] = []
        self.views: list[tuple] = []
        self.tensors: list[Any] | None = None
        self.pause = self.longest = _PAUSE
        self.served = 0
        looked = modules if depends is not None else modules[1:]
        self.classes = [(kind, kind.forward, kind.__call__) for kind in dict.fromkeys(map(type, looked))]
        names = sorted({name for m in modules if depends is None or m not in depends.users for name in _looked_up(type(m))})
        self.look_up = itemgetter(*names) if names else None
        self.functional = self.look_up(_functions) if names else None
        self.found, self.cells, self.options = depends[2:] if depends is not None else ((), (), ())

    def is_as_before(self) -> bool:
        """Whether nothing about the modules is another than it was."""
        if self.look_up is not None and self.look_up(_functions) != self.functional:
            return False
        if self.classes:
            for kind, forward, called in self.classes:
                if kind.forward is not forward or kind.__call__ is not called:
                    return False
        if CHANGES[0] != self.count or not self.are_told:
            for children, before in self.parents if self.classes else ():
                if children if not before else tuple(children.values()) != before:
                    return False
            if CHANGES[0] != self.count:
                for calls, made in self.below:
                    if calls.made != made:
                        return False
                self.count = CHANGES[0]
            self.tensors = None
        for table, name, value in self.found:
            if table.get(name) is not value:
                return False
        for cell, value in self.cells:
            if not holds(cell, value):
                return False
        for thing, name, value in self.options:
            if getattr(thing, name, _NEW) is not value:
                return False
        return True

    def again(self, nodes: list[Node]) -> Any:
        """What the call gives for other arguments now, given their Nodes; None where it must be made in full."""
        if not self.is_as_before():
            return None
        if self.bundle is not None and state.placement is None and state.watch is None and (made := self._again_with_bundle(nodes)) is not None:
            return made
        reads = [table.get(name) for table, name in self.reads]
        if any([t is None for t in reads]):
            return None
        nodes += state.nodes_of(reads)
        types = [n.type for n in nodes]
        if types != self.types:
            return None
        self.types = types  # the next ones are likely to be the same objects
        if state.placement is not None and state.placement.together(nodes) is None:
            return None
        if self.tracks is not None and [n.requires_grad for n in nodes] != self.tracks:
            return None
        for first, name, place in self.ties:
            t = first.get(name)
            if t is None or t._read() is not nodes[place]:
                return None
        if self.asks_places and any([is_ordered(table[name]) for table, name in self.reads]):
            return None
        for place, question, answer in self.looks:
            if ask(nodes[place], question) is not answer:
                return None
        targets = [table[name] for table, name in self.written]  # all of them were read just now
        if targets:
            tracked = state.grad and any([n.requires_grad for n in nodes])
            if tracked is not self.tracked or any([t._chain or t._storage.host is not None for t in targets]):
                return None
        read = nodes[self.arguments :]
        del nodes[self.arguments :]
        self._append_own(nodes)
        if self.pause and state.holds is not None:
            self._bundle(read)
        nodes += read
        if self.written or self.several:
            return self._again_with_more(nodes, targets)
        return self._shown(self.phrase.again(nodes, 4), 0)

    def _append_own(self, nodes: list[Node]) -> None:
        """The operands that are neither arguments nor parameters."""
        for drawn, is_read in self.draws:
            leaf = sample(drawn.draw, drawn.shape, drawn.dtype, *drawn.numbers, **drawn.options)
            if is_read:
                nodes.append(leaf)
        nodes += self.constants

    def _bundle(self, read: list[Node]) -> None:
        """Count down to the call from which on all parameters are read as one, if that can be."""
        self.pause -= 1
        if self.pause or any([n.value.__class__ is not np.ndarray for n in read]) or len({id(n.value) for n in read}) < len(read):
            self.pause = self.pause or self.longest
            return
        if not (state.grad and any([n.requires_grad for n in read])):
            self.bundle = Bundle(read)
            self.held = read + [read[place - self.arguments] for *_, place in self.ties]
            self.served = 0
            BUNDLED[id(self)] = weakref.ref(self)

    def let_go(self) -> None:
        """Refer to no arrays of parameters any longer: they are about to be others."""
        if self.bundle is not None:
            self.bundle, self.held = None, []
            self.pause = self.longest = _PAUSE if self.served >= _WORTH else min(2 * self.longest, _LONGEST)

    def _lie_in_order(self, tensors: list[Tensor]) -> bool:
        """Whether the elements of all parameters lie row by row: looked at when one of them was written to or is another view."""
        assert state.are_at is not None
        if not state.are_at(tensors, self.views):
            if any(map(is_ordered, tensors)):
                return False
            self.views = list(map(whereabouts, tensors))
        return True

    def _again_with_bundle(self, nodes: list[Node]) -> Any:
        """`again` where the parameters are the very Nodes that they were; None where they, or the arguments, must be looked at one by one."""
        bundle = self.bundle
        assert bundle is not None
        tensors = self.tensors  # another thread may look for them again
        if tensors is None:
            tensors = self.tensors = [table.get(name) for table, name in (*self.reads, *[tie[:2] for tie in self.ties])]
        if state.holds is None or not state.holds(tensors, self.held):
            self.let_go()
            return None
        if self.asks_places and not self._lie_in_order(tensors) or self.several and state.noted is not None:
            return None
        count = self.arguments
        if [n.type for n in nodes] != self.types[:count] or state.grad and any([n.requires_grad for n in nodes]):
            return None
        for place, question, answer in self.looks:
            if ask(nodes[place], question) is not answer:
                return None
        self.served += 1
        self._append_own(nodes)
        if not self.several:
            return self._shown(self.phrase.of_bundle(nodes, bundle, 5), 0)
        made = self.phrase.as_one(nodes, state.origin(3), bundle)
        shown = {k: self._shown(made[k], k) for k in sorted(range(len(made)), key=lambda k: made[k].order)}
        return tuple([shown[k] for k in range(len(made))])

    def _shown(self, node: Node, k: int) -> Tensor:
        """A result in its memory."""
        chain, version, label = self.results[k]
        if not chain:
            result = wrap(node)
            if version:
                result._storage.version = result._seen = version
        else:
            storage = Storage(node)
            storage.version = version
            result = from_storage(storage, chain)
        if label is not None and result._node.requires_grad:
            result._label = label
        return result

    def _again_with_more(self, nodes: list[Node], targets: list[Tensor]) -> Any:
        """The results, and the buffers with their new contents: in the order it was the first time, so that it is the same program."""
        made = self.phrase.all_again(nodes, 5)
        count = len(self.results)
        results: list[Tensor | None] = [None] * count
        for at, k in sorted([(node.order, k) for k, node in enumerate(made)]):
            if k < count:
                results[k] = self._shown(made[k], k)
            else:
                target = targets[k - count]
                views.write(target._storage, (), made[k], at - 1)
                target._forget()
        return tuple(results) if self.several else results[0]


def _first(
    module: Module, run: Callable[[], Any], calls: Calls, key: tuple, given: list[Tensor], by_program: bool = False
) -> Any:
    """A call in full, kept if it can be. given: the tensors among its arguments."""
    modules = list(dict.fromkeys(_below(module)))
    depends = dependence(modules) if by_program else None
    users = depends.users if depends is not None else ()
    if calls.left <= 0 or by_program and depends is None or not all([m in users or _is_layer(m, by_program) for m in modules]):
        if by_program:
            calls.left = -1  # this is about the module, not about the arguments: it is always called
            calls.clear()
        else:
            calls[key] = None
        return run()
    calls.left -= 1
    for m in modules[1:]:
        own = m.__dict__.get("_calls_")
        if type(own) is not Calls or own.owner() is not m:
            m.__dict__["_calls_"] = Calls(m, _MOST)
    places = [(t, n) for m in modules for t in (m._parameters, m._buffers) for n in t if t[n] is not None]
    if depends is not None:
        there = {(id(table), name) for table, name in places}
        places += [(table, name) for table, name in depends.places if (id(table), name) not in there]
    given = [*given, *[table[name] for table, name in places]]
    if depends is not None and any([type(t) not in TENSORS or t._storage.host is not None for t in given]):
        return _noted(run)[0]  # what numpy writes to is read anew each time, and other classes may have a say
    operands = [t._read() for t in given]
    storages = [t._storage for t in given]
    before, versions = _surroundings(), [s.version for s in storages]
    start = state.order
    result, seen = _noted(run) if by_program else (run(), [])
    changes, flushed, doubts, asked, places_asked = _surroundings()
    asks_places = by_program and places_asked != before[4]
    asked -= before[3] + sum([look.asks for look in seen if look is not None]) + places_asked - before[4]
    if (changes, flushed, doubts) == before[:3] and (not by_program or None not in seen and not asked and not (asks_places and any(map(is_ordered, given)))):
        written = [i for i, s in enumerate(storages) if s.version != versions[i]]
        count = len(given) - len(places)
        results = list(result) if type(result) is tuple and by_program else [result]
        good = (
            results
            and all([_is_fresh(r, storages, by_program) for r in results])
            and len({id(r._storage) for r in results}) == len(results)
            and all([_is_rewritten(given[i], versions[i]) and i >= count for i in written])
        )
        kept = _kept(modules, places, operands, count, results, start, written, depends, seen) if good else None
        if kept is not None or not by_program:
            calls[key] = kept
        if kept is not None:
            kept.several, kept.asks_places = type(result) is tuple, asks_places
        if kept is not None and not (written or seen or kept.several) and not results[0]._node.requires_grad:
            repeated = kept.again(operands[:count])  # so that the first program is the one of all calls
            return result if repeated is None else repeated
    return result


def _noted(run: Callable[[], Any]) -> tuple[Any, list[Any]]:
    """The result of a call, and what it drew and looked at. What it reads of arrays is recorded, as a call that is kept needs it: those that are not
    are the same program."""
    outer = state.noted
    noted = [] if outer is None else outer
    first = len(noted)
    state.noted = noted
    try:
        return run(), noted[first:]
    finally:
        state.noted = outer


def _below(module: Module) -> Iterator[Module]:
    yield module
    for child in module._modules.values():
        if child is not None:
            yield from _below(child)


def _is_layer(module: Module, within: bool = False) -> bool:
    """A module of ours as it was written, with options that do not change unnoticed. within: a module of the program calls it, and it
    is looked at what it does."""
    kind = type(module)
    return (
        kind.__module__.startswith(_PACKAGE)
        and (within or kind.forward in _forwards)
        and all(map(_is_ours, (kind.forward, kind.__call__, *[_functions[name] for name in _looked_up(kind)])))
        and module._plain_call_
        and not any([type(value) is list and not (within and name.startswith("_")) for name, value in module.__dict__.items()])
        and None not in module._modules.values()
    )


def _looked_up(kind: type[Module]) -> list[str]:
    """What a layer's forward finds in torch.nn.functional."""
    return [name for name in inspect.unwrap(kind.forward).__code__.co_names if name in _functions and not name.startswith("__")]


def _is_ours(function: Any) -> bool:
    return isinstance(function, FunctionType) and is_own(function.__code__.co_filename)


def _surroundings() -> tuple[int, int, int, int, int]:
    """What a call that only records leaves alone, but for what it asks."""
    return CHANGES[0], state.flushed, len(state.doubts), state.asked, state.places


def _is_rewritten(tensor: Tensor, version: int) -> bool:
    """A buffer whose whole memory was written once."""
    storage = tensor._storage
    return not tensor._chain and storage.host is None and storage.version == version + 1


def _is_fresh(result: Any, storages: list[Any], may_show_less: bool) -> bool:
    """A tensor with memory of its own, about which there is nothing more to know."""
    return (
        type(result) is Tensor
        and (not result._chain or may_show_less and views.is_plain(result._chain))
        and result._storage.host is None
        and not any([result._storage is s for s in storages])
        and result.__dict__.keys() <= {"_label"}
    )


def _kept(
    modules: list[Module], places: list[tuple[dict, str]], operands: list[Node], count: int, results: list[Tensor], start: int,
    written: list[int], depends: Dependence | None, seen: Sequence[Look | Drawn],
) -> Call | None:  # fmt: skip
    """The call, if what it recorded leads from the operands to the results and to the contents of what was written. count: of the
    operands that are arguments. seen: what it drew and looked at."""
    roots = [r._read() if not r._chain else r._storage.node for r in results]
    targets = sorted([places[i - count] for i in written], key=lambda place: place[0][place[1]]._storage.node.order)
    roots += [table[name]._storage.node for table, name in targets]
    place_of: dict[int, int] = {}
    ties = []
    for i, node in enumerate(operands):
        if place_of.setdefault(id(node), i) != i:
            if i < count:
                return None
            ties.append((*places[i - count], place_of[id(node)]))
    own = [i for i, node in enumerate(operands) if place_of[id(node)] == i]
    draws = [d for d in seen if isinstance(d, Drawn)]
    leaves = [d.leaf for d in draws]
    found = steps_between([*[operands[i] for i in own], *leaves], roots, start, _data if depends is not None else None)
    if found is None:
        return None
    steps, constants = found
    read = {id(node) for step in steps for node in step.inputs} | {id(root) for root in roots}
    if not read.issuperset([id(operands[i]) for i in written]):
        return None
    is_target = {(id(table), name) for table, name in targets}
    if any([(id(table), name) in is_target for table, name, _ in ties]) or any([node.overwritten for node in constants if node.value is not None]):
        return None
    looked = [place_of.get(id(s.node), -1) for s in seen if isinstance(s, Look)]
    used = [i for i in own if i < count or id(operands[i]) in read or i in looked]
    at = {i: k for k, i in enumerate(used)}
    call = Call(modules, depends)
    call.reads = [places[i - count] for i in used if i >= count]
    call.ties = [(table, name, at[i]) for table, name, i in ties if i in at]
    call.types = [operands[i].type for i in used]
    call.tracks = [operands[i].requires_grad for i in used] if depends is not None and state.grad else None
    call.is_new = True
    call.draws = [(d._replace(leaf=None), id(d.leaf) in read) for d in draws]
    call.constants = constants
    call.looks = []
    for look, i in zip([s for s in seen if isinstance(s, Look)], looked, strict=True):
        if i >= 0:
            call.looks.append((at[i], look.question, look.answer))
        elif look.node not in constants:
            return None
    call.phrase = Phrase.of(
        [
            *[operands[i] for i in used if i < count], *[leaf for leaf in leaves if id(leaf) in read], *constants, *[operands[i] for i in used if i >= count]
        ],
        steps, roots, depends is not None,
    )
    _data.update([node for node in constants if node.value is not None])
    call.results = [(r._chain, r._storage.version, r.__dict__.get("_label")) for r in results]
    call.written = targets
    call.arguments = count
    call.are_told = all([type(table) is Table for table, *_ in (*call.parents, *call.reads, *call.ties)])
    is_short = len(call.reads) < _MANY or targets or len(steps) < 2
    if is_short or any([at >= count for at, *_ in call.looks]) or any([at < count for *_, at in call.ties]):
        call.pause = 0  # they are always read one by one
    call.tracked = state.grad and any([operands[i].requires_grad for i in used])
    return call
