"""Known calls: what a public function recorded, recorded again for operands of the same types without running its Python.

What a function of tensors records follows, as a rule, from the types of its operands and from its options. That is not taken for
granted: the first call is looked at, and only kept if all it did was to record steps from its operands to fresh results, and if it
asked nothing that types do not tell (`recorder.state.asked`): values, places in memory. One that only drew random numbers is kept, too, and draws
others (`sampling.Redraw`), and so are one that only made an array of its options (`Anew`), one that made one of those of its operands (`OfArrays`), and one that asked
something of an operand's elements, which is asked again first (`doubts.ask`). A function that asked for the user's
line (numbers beside tensors that change from call to call are inputs of the program, see `promote.operand`) is kept per line.

Of a function that gives views of its operands, or asked where they lie in memory, calls are kept by that, too: by the views that operands without a
history are and by their memory's type. Then a call that gives views is known by the chains of these. A result that is a view of memory made for it
(a product in another shape) is that memory, and the chain.

What a call reads of an array that the host has already would be a part of that array, and no step. Such a call is made once more, with its
views as steps, unless numbers among its arguments say which parts they are: those would be as many programs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from ..dialects.types import DType
from . import promote
from .autocasting import RULED, as_ruled, regions
from .call_results import Seen, Shown, is_fresh, is_seen, part, shows
from .doubts import Look, ask, with_elements
from .node import Node
from .origin import operator_site
from .phrases import Phrase, steps_between
from .recorder import leaf as recorder_leaf
from .recorder import state
from .sampling import Drawn, Redraw
from .size import Size, device
from .strides import is_ordered
from .storage import Storage
from .tensor import Tensor, from_storage, wrap
from .views import is_plain as is_plain_view

_MOST_KEPT = 1024  # calls of one function
_MOST_TRIES = 64  # calls of one function that are looked at in vain
_FEW_TRIES = 4  # of one kind
_FEW = 8  # operands that are looked through for one that comes twice
_MOST_BYTES = 1 << 14  # of an array that is kept to be made again
PLAIN = (int, bool, str, type(None), DType, device)
_PLAIN = frozenset(PLAIN)
_MAY_BE_PLACES = frozenset({int, float, tuple, list, Size, slice})
TENSORS: set[type] = {Tensor}  # and parameters: nobody overrides what functions do with them
BY_LINE, IN_VAIN = object(), object()


class Anew:
    """A call that made an array of its options, and nothing else, made again: a fresh tensor of a copy. full: the step that says what is in it, if
    there is one."""

    __slots__ = ("op", "attrs", "type", "device", "copy")

    def __init__(self, node: Node) -> None:
        self.op, self.attrs, self.type, self.device = node.op, node.attrs, node.type, node.device
        self.copy: Callable[[], np.ndarray] = node.value.copy().copy  # type: ignore[union-attr]  # it has one

    def __call__(self) -> Tensor:
        """A copy, recorded at the running line."""
        state.order += 1
        node = Node(self.op, self.attrs, (), self.type, state.origin(2), False, state.order, self.copy())
        node.device = self.device
        return wrap(node)


class Made(NamedTuple):
    """An array that a call made of others at once. of: whose. asks: see `doubts.Look`."""

    function: Callable[[list[np.ndarray]], np.ndarray]
    of: tuple[Node, ...]
    leaf: Node
    asks: int = 0


def made_at_once(function: Callable[[list[np.ndarray]], np.ndarray], of: tuple[Node, ...], dtype: DType) -> Tensor:
    """A fresh tensor of what a function makes of the arrays that the host has of some values: nothing else may depend on the operands' values."""
    array = function([node.value for node in of])  # type: ignore[misc]  # they have one
    node = recorder_leaf(array, (array.shape, dtype))
    if state.told is not None:
        state.told.append(Made(function, of, node))
    return wrap(node)


class OfArrays:
    """A call that made an array of those of its operands, made again of others of the same types. places: which operands."""

    __slots__ = ("function", "places", "type")

    def __init__(self, function: Callable[[list[np.ndarray]], np.ndarray], places: list[int], type: Any) -> None:
        self.function, self.places, self.type = function, places, type

    def __call__(self, *operands: Node) -> Tensor:
        """The same of the arrays of these."""
        if state.told is not None:
            return made_at_once(self.function, tuple([operands[k] for k in self.places]), self.type[1])
        return state.holding(self.function([operands[k].value for k in self.places]), self.type, None)  # type: ignore[misc]


_everyone: list[KnownCalls] = []


def forget() -> None:
    """What all functions recorded: something they all depend on (the default dtype) is another now."""
    for calls in _everyone:
        calls.clear()


def is_plain(kind: type) -> type:
    """Enters a class of tensors that are nothing but tensors to every function."""
    TENSORS.add(kind)
    return kind


class Public(NamedTuple):
    """A public function that asks its known calls first. at_length: what it does with a call that is not known, or the function itself. label: what its tracked results are
    called after; None: what is kept of the call. follows: whether results lie in memory as the operands do; writes: whether they are written to the
    first of them."""

    function: Callable[..., Any]
    at_length: Callable[..., Any]
    calls: KnownCalls
    label: str | None = None
    follows: bool = False
    writes: bool = False


publics: dict[Callable[..., Any], Public] = {}
"""All of them: once a program flushes again and again, C asks the known calls in their place (quick.py)."""


def publish(public: Public) -> Callable[..., Any]:
    """Enters a public function."""
    publics[public.function] = public
    return public.function


def in_front(outer: Callable[..., Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    """What stands in front of a public function for operands of some class of their own: calls without one are known to it, too."""
    own = publics.get(inner)
    return outer if own is None else publish(own._replace(function=outer, at_length=outer))


def known(function: Callable[..., Any]) -> Callable[..., Any]:
    """A public function that is none of a tensor's methods, whose calls are kept."""
    calls = KnownCalls(function)

    @wraps(function)
    def at_length(*args: Any, **options: Any) -> Any:
        return calls.first(args, options)

    @wraps(function)
    def public(*args: Any, **options: Any) -> Any:
        result = calls.again(args, options) if calls else None
        return calls.first(args, options) if result is None else result

    return publish(Public(public, at_length, calls))


def mark(result: Any, label: str) -> Any:
    """Note which public operation made a tracked result."""
    if type(result) is Tensor:
        if result._node.requires_grad:
            result._label = label
    elif isinstance(result, tuple):
        for part in result:
            mark(part, label)
    return result


class KnownCalls(dict):
    """The calls of one function, by the types of its operands and its options.

    tries: further calls that are looked at and may turn out not to be kept. vain: how often that was so, of kinds that are still looked
    at. skips: the call that was just asked for is of a kind that no one looks at any more. by_place: calls are kept by where operands lie, too;
    tries_by_place: as tries. rule: the public name autocast looks for its rule under; "": it follows none. Within its regions calls are kept as made there.
    """

    __slots__ = ("function", "rule", "tries", "vain", "skips", "by_place", "tries_by_place")

    def __init__(self, function: Callable[..., Any], name: str = "") -> None:
        self.function = function
        self.rule = name if name in RULED else ""
        self.tries = _MOST_TRIES
        self.vain: dict[tuple, int] = {}
        self.skips = False
        self.by_place = False
        self.tries_by_place = _MOST_TRIES
        _everyone.append(self)

    def made(self, *args: Any, **options: Any) -> Any:
        """The function, as whoever stands between it and the user calls it."""
        result = self.again(args, options) if self else None
        return self.first(args, options) if result is None else result

    def in_full(self, args: tuple, options: dict[str, Any]) -> Any:
        """The function, run. Where an autocast region has a rule for it, on operands as that wants them."""
        if self.rule and regions.on:
            with as_ruled(self.rule, args, options) as (given, named):
                return self.function(*given, **named)
        return self.function(*args, **options)

    def made_node(self, args: tuple, options: dict[str, Any]) -> Node:
        """The value `made` gives, for those who want no tensor of it."""
        return self.made(*args, **options)._read()

    def again(self, args: tuple, options: dict[str, Any]) -> Any:
        """What the call gives; None where it must be made in full. To be called by what the user calls."""
        if state.levels or state.duals or state.traces or state.watch is not None:
            return None
        operands: list[Node] = []
        if self.by_place and state.placement is None:
            tensors: list[Tensor] = []
            key = _key_with_options(args, options, tensors, _place)
            found = self.get(regions.keyed(key)) if key is not None else BY_LINE
            if found is None or found is IN_VAIN:
                self.skips = found is not None
                return None
            if not tensors and found is not BY_LINE and type(found) is not tuple:  # kept before: without tensors there are no places
                return found()
            if found is not BY_LINE:
                is_shown = type(found) is Shown
                if found.asks if is_shown else found[3]:  # who looks at what is asked is told each time
                    state.asked += 1
                    state.places += 1
                if is_shown:
                    return found.again(tensors)
                return _made_again(found, [t._read() for t in tensors]) if type(found[0]) is Phrase else found[0]()
        if len(args) == 1 and not options and type(x := args[0]) is Tensor and not x._chain and x._seen == x._storage.version:
            node = x._node  # the same key, without the call
            operands.append(node)
            key = (node.type, state.grad) if node.requires_grad else (node.type,)
        else:
            key = _key(args, operands) if not options else _key_with_options(args, options, operands)
            if key is None:
                self.skips = True
                return None
        if state.placement is not None:
            there = state.placement.together(operands)
            if there is None:
                return None
            key = there.type, key
        if regions.on:
            key = regions.keyed(key)
        found = self.get(key)
        if found is None or found is IN_VAIN:
            self.skips = found is not None
            return None
        if found is BY_LINE:
            found = self._at_line(key)
            if found is None:
                return None
        if type(found) is not tuple:
            return found(*operands) if type(found) is OfArrays else found()
        if found[3] and not _are_answered(found[3], operands):
            self.skips = True
            return None
        return _made_again(found, operands)

    def of_two(self, x: Node, y: Node) -> Tensor | None:
        """`again` for two tensors that are nothing but their Nodes: untracked, and no views."""
        found = self.get((x.type, y.type))
        return wrap(found[0].again((x, y, *found[1]), 3)) if type(found) is tuple and found[2] is None and not found[3] else None

    def _at_line(self, key: tuple) -> Any:
        """The call at the user's line, whose numbers were never others."""
        line = operator_site()
        self.skips = line is not None and promote.changes_at(line)
        return None if line is None or self.skips else self.get((line, key))

    def first(self, args: tuple, options: dict[str, Any]) -> Any:
        """The call in full, kept if it can be."""
        if self.by_place and self.tries_by_place > 0 and not self.skips and not (
            state.levels or state.duals or state.traces or state.placement is not None or state.watch is not None
        ):
            tensors: list[Tensor] = []
            key = _key_with_options(args, options, tensors, _place)
            if key is not None and (key := regions.keyed(key)) not in self:
                return self._first_by_place(key, tensors, args, options)
        if self.skips or self.tries <= 0:
            self.skips = False
            return self.in_full(args, options)
        operands: list[Node] = []
        key = _key_with_options(args, options, operands)
        if key is None or state.levels or state.duals or state.traces or state.watch is not None:
            return self.in_full(args, options)
        if state.placement is not None:
            there = state.placement.together(operands)
            if there is None:
                return self.in_full(args, options)
            key = there.type, key
        key = regions.keyed(key)
        written = _versions(args) + _versions(options.values())
        before, lines, start = _surroundings(), state.lines, state.order
        if not operands and state.noted is None:
            return self._first_of_numbers(key, args, options)
        result, told = self._looked_at(args, options)
        self.tries -= 1
        results = result if isinstance(result, tuple) else (result,)
        given = _tensors((*args, *options.values()))
        sees = is_seen(result, given)
        if not operands or not results or not (sees or all([is_fresh(r, given) for r in results])):  # what makes tensors always does
            self.by_place = self.by_place or any([shows(r, given) for r in results])
            return result
        if not told and _shows_only(before, _surroundings()) and not _has_numbers(args, options) and not any([t._chain and is_ordered(t) for t in given]):
            before = _surroundings()
            result, _ = self._with_views_recorded(args, options)  # nobody has seen the first one
            results = result if isinstance(result, tuple) else (result,)
        roots = [r._storage.node if sees else r._node for r in results]
        after = _surroundings(told)
        self.by_place = self.by_place or after[3] > before[3]
        is_left = before == after and written == _versions(args) + _versions(options.values())
        looks = _looks(told, operands)
        found = steps_between(operands, roots, start) if is_left and looks is not None else None
        made = _maker(result, told, start, operands) if is_left and not sees else None
        labels = {r.__dict__.get("_label") for r in results if r._node.requires_grad}
        if made is None and (found is None or len(labels) > 1 or any([node.overwritten for node in found[0]])):
            self._was_in_vain(key)
            return result
        if len(self) >= _MOST_KEPT:
            self.clear()
        kept: Any = made
        if found is not None and made is None:
            steps, constants = found
            together: Any = None if result is not results else _in_a_tuple if type(result) is tuple else type(result)
            kept = Phrase.of([*operands, *constants], steps, roots), constants, Seen(result._chain) if sees else together, looks, next(iter(labels), None)
        if state.lines != lines:
            line = operator_site()
            if line is None:
                return result
            self[key] = BY_LINE
            key = line, key
        self[key] = kept
        self.tries += 1
        if len(roots) > 1 or roots[0].requires_grad or made is not None:
            return result
        repeated = self.again(args, options)  # so that the first program is that of all calls
        return result if repeated is None else repeated

    def _first_by_place(self, key: tuple, tensors: list[Tensor], args: tuple, options: dict[str, Any]) -> Any:
        """The call in full, kept by where its operands lie if all it did was to show them, or to record steps from them to fresh results."""
        before, lines, start, seen = _surroundings(), state.lines, state.order, [_told(t) for t in tensors]
        nodes = [t._read() for t in tensors]
        read = state.shown
        result, told = self._looked_at(args, options)
        self.tries_by_place -= 1
        results = result if isinstance(result, tuple) else (result,)
        asked, flushed, doubts, places, shown = _surroundings(told)
        only_places = asked - places - shown == before[0] - before[3] - before[4] and (flushed, doubts) == before[1:3]
        kept: Any = None
        if tensors and results and only_places and lines == state.lines and seen == [_told(t) for t in tensors]:
            if all([shows(r, tensors) for r in results]) and not told:
                if type(results) is tuple:
                    kept = Shown(tuple([part(r, tensors) for r in results]), True if result is results else None, places > before[3])
            elif is_fresh(result, tensors) and (made := _maker(result, told, start)) is not None:
                kept = made, [], None, places > before[3], None
            elif (all([is_fresh(r, tensors) for r in results]) or is_seen(result, tensors)) and not told and (shown == read or not _has_numbers(args, options)):
                if shown != read:
                    asked = state.asked - state.places
                    result, nodes = self._with_views_recorded(args, options, chains=True)  # nobody has seen the first one
                    results = result if isinstance(result, tuple) else (result,)
                    if asked != state.asked - state.places:
                        return result
                sees = is_seen(result, tensors)
                roots = [r._storage.node if sees else r._node for r in results]
                found = steps_between(nodes, roots, start)
                if found is not None and not any([node.overwritten for node in found[0]]):
                    together: Any = None if result is not results else _in_a_tuple if type(result) is tuple else type(result)
                    phrase = Phrase.of([*nodes, *found[1]], found[0], roots)
                    kept = phrase, found[1], Seen(result._chain) if sees else together, places > before[3], None
        if kept is None:
            count = self.vain[key] = self.vain.get(key, 0) + 1
            if count == _FEW_TRIES or lines != state.lines:
                self.tries_by_place += count - 1
                self[key] = BY_LINE if lines != state.lines else IN_VAIN  # by the line it is a call of another kind
                del self.vain[key]
            return result
        if len(self) >= _MOST_KEPT:
            self.clear()
        self[key] = kept
        self.tries_by_place += 1
        if type(kept) is Shown or type(kept[0]) is not Phrase or len(results) > 1:
            return result
        repeated = self.again(args, options)  # so that the first program is that of all calls
        return result if repeated is None else repeated

    def _with_views_recorded(self, args: tuple, options: dict[str, Any], chains: bool = False) -> tuple[Any, list[Node]]:
        """The call in full of the same values in memory that nobody has taken views of, and those steps like views of any other operand: then it is the
        same whatever the host has of its operands. Also these, as they were read. chains: operands keep theirs."""
        outer, state.noted = state.noted, []
        operands: list[Node] = []

        def anew(value: Any) -> Any:
            if type(value) not in TENSORS:
                return value
            tensor = from_storage(Storage(value._storage.node), value._chain) if chains else wrap(value._read())
            operands.append(tensor._read())
            return tensor

        try:
            return self.in_full(tuple(map(anew, args)), {name: anew(value) for name, value in options.items()}), operands
        finally:
            state.noted = outer

    def _looked_at(self, args: tuple, options: dict[str, Any]) -> tuple[Any, list[Any]]:
        """The call in full, and what it drew, asked and made at once."""
        outer, state.told = state.told, []
        try:
            result = self.in_full(args, options)
            told = state.told
        finally:
            state.told = outer
        if outer is not None:
            outer += told
        return result, told

    def _first_of_numbers(self, key: tuple, args: tuple, options: dict[str, Any]) -> Any:
        """The call in full of a function that is given no tensors, kept if all it did was to draw, or to make an array of the numbers. Those that are kept count as tries, too: sizes may
        be others each time."""
        before, start, state.noted = _surroundings(), state.order, []
        try:
            result = self.in_full(args, options)
            noted = state.noted
        finally:
            state.noted = None
        self.tries -= 1
        is_one = noted is not None and len(noted) == 1 and type(noted[0]) is Drawn and state.order == start + 1
        if not is_fresh(result, ()) or result.requires_grad or state.placement is not None:
            return result
        if is_one and result._node is noted[0].leaf:
            self[key] = Redraw(noted[0])
        elif noted == [] and state.order == start + 1 and before == _surroundings() and _is_small_array(result._node.value):
            self[key] = Anew(result._node)
        return result

    def _was_in_vain(self, key: tuple) -> None:
        """A kind of calls that is not kept a few times is left alone; other kinds are looked at none the less."""
        count = self.vain[key] = self.vain.get(key, 0) + 1
        if count == _FEW_TRIES and key not in self:
            self.tries += count - 1
            self[key] = IN_VAIN
            del self.vain[key]


def _made_again(kept: tuple, operands: list[Node]) -> Any:
    """What a call that is kept as steps gives."""
    phrase, constants, together, _, label = kept
    if constants:
        operands += constants
    result = wrap(phrase.again(operands, 5)) if together is None else together(*map(wrap, phrase.all_again(operands, 5)))
    return result if label is None else mark(result, label)


def _in_a_tuple(*results: Tensor) -> tuple[Tensor, ...]:
    return results


OfTensor = Callable[[Tensor, list[Any]], list[Any] | None]
"""What a call depends on, of a tensor; what it reads is appended."""


def _value(tensor: Tensor, operands: list[Node]) -> list[Any] | None:
    """A tensor as its Node, by type and history."""
    storage = tensor._storage
    if tensor._seen == storage.version:
        node = tensor._node
    elif storage.host is None:
        node = tensor._read()
    else:
        return None
    parts: list[Any] = []
    chain = tensor._chain
    if chain and is_ordered(tensor):
        if not is_plain_view(chain):
            return None
        parts += (chain, storage.type)  # where its elements lie tells in which order a result's do
    if len(operands) < _FEW and node in operands:  # Nodes are equal to themselves only
        parts.append(operands.index(node))
        return parts
    operands.append(node)
    parts.append(node.type)
    if node.requires_grad:
        parts.append(state.grad)
    return parts


def _place(tensor: Tensor, operands: list[Tensor]) -> list[Any] | None:
    """A tensor itself, of a call that asks where its operands lie: by the chain and the type of memory that no other operand sees. None where
    something has a history, or numpy sees it."""
    storage, chain = tensor._storage, tensor._chain
    if storage.host is not None or storage.node.requires_grad or tensor._node.requires_grad or not is_plain_view(chain):
        return None
    if any([t._storage is storage for t in operands]):
        return None
    operands.append(tensor)
    return [chain, storage.node.type]


def _is_known(operand: Node | Tensor) -> bool:
    return (operand if isinstance(operand, Node) else operand._storage.node).value is not None


def _key(values: Any, operands: list[Any], of: OfTensor = _value) -> tuple | None:
    """What a call depends on, of its arguments; what it reads of them is appended to ``operands``. of: what that is of a tensor. None
    where there is more to them."""
    parts: list[Any] = []
    for value in values:
        kind = type(value)
        if kind in TENSORS:
            found = of(value, operands)
            if found is None:
                return None
            parts += found
        elif kind in _PLAIN:
            parts += (kind, value)
        elif kind is float:
            parts += (kind, value or str(value))  # 0.0 and -0.0 are two
        elif kind is tuple or kind is list or kind is Size:
            before = len(operands)
            inner = _key(value, operands, of)
            if inner is None:
                return None
            are_known = len(operands) > before and all([_is_known(operand) for operand in operands[before:]])
            parts += (kind, len(inner), *inner, are_known)  # what is joined of data is data
        else:
            return None
    return tuple(parts)


def _key_with_options(
    args: tuple, options: dict[str, Any], operands: list[Any], of: OfTensor = _value
) -> tuple | None:
    key = _key(args, operands, of)
    more = _key(options.values(), operands, of) if key is not None and options else ()
    return None if key is None or more is None else (*key, *options, *more)


def argument_key(args: tuple, options: dict[str, Any], operands: list[Node]) -> tuple | None:
    """What the call of a module depends on, of its arguments; their Nodes are appended to ``operands``. None where there is more to
    them than types and names: numbers, of which each would be another program, and lists, which the call may write to."""
    key = _key_with_options(args, options, operands) if options else _key(args, operands)
    return None if key is None or any([part is int or part is float or part is list for part in key]) else key


def _versions(values: Any) -> list[int]:
    """How often the memory of the tensors among some arguments was written."""
    return [v._storage.version for v in values if isinstance(v, Tensor)]


def _surroundings(told: Iterable[Any] = ()) -> tuple[int, int, int, int, int]:
    """What a call that only records, and does what is told, leaves alone; the last two: of what was asked, places in memory, and what views of arrays show."""
    return state.asked - sum([note.asks for note in told if note is not None]), state.flushed, len(state.doubts), state.places, state.shown


def _shows_only(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether a call left all alone but for views of arrays that it read."""
    read = after[4] - before[4]
    return read > 0 and after == (before[0] + read, *before[1:4], after[4])


def _has_numbers(args: tuple, options: dict[str, Any]) -> bool:
    """Whether there are numbers among what a call is given: a view that they say where to take (one row after the other) is no step, so that it is one
    program."""
    return any([type(value) in _MAY_BE_PLACES for value in (*args, *options.values())])


def _told(tensor: Tensor) -> tuple:
    """What a call that only shows a tensor, or reads it, leaves alone."""
    return tensor._storage, tensor._storage.version, tensor._chain, {name: id(value) for name, value in tensor.__dict__.items()}


def _tensors(values: Any) -> list[Tensor]:
    return [v for v in values if isinstance(v, Tensor)]


def _is_small_array(value: Any) -> bool:
    return type(value) is np.ndarray and value.nbytes <= _MOST_BYTES


def _maker(result: Tensor, told: list[Any], start: int, operands: Sequence[Node] = ()) -> Any:
    """What makes a fresh result again that is no step of operands: random numbers, what was made of their arrays, or one number everywhere, as its
    step says."""
    node = result._node if type(result) is Tensor else None
    if node is None or node.order <= start or len(told) > 1:
        return None
    if not told:
        return Anew(node) if node.op == "full" and _is_small_array(node.value) else None
    only = told[0]
    if type(only) is Drawn:
        return Redraw(only) if only.leaf is node else None
    if type(only) is not Made or only.leaf is not node:
        return None
    at = {id(operand): k for k, operand in enumerate(operands)}
    places = [at.get(id(n), -1) for n in only.of]
    return OfArrays(only.function, places, node.type) if min(places) >= 0 else None


def _looks(told: list[Any], operands: list[Node]) -> tuple[tuple[int, Any, bool], ...] | None:
    """The questions a call asked: number of the operand, question, answer. None where it did more, or asked of something else."""
    found = []
    for note in told:
        place = next((k for k, n in enumerate(operands) if with_elements(n) is note.node), None) if type(note) is Look else None
        if place is None:
            return None
        found.append((place, note.question, note.answer))
    return tuple(found)


def _are_answered(looks: tuple[tuple[int, Any, bool], ...], operands: list[Node]) -> bool:
    """Whether the questions have the same answers still."""
    return all([ask(operands[place], question) is answer for place, question, answer in looks])
