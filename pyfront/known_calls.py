"""Known calls: what a public function recorded, recorded again for operands of the same types without running its Python.

What a function of tensors records follows, as a rule, from the types of its operands and from its options. That is not taken for
granted: the first call is looked at, and only kept if all it did was to record steps from its operands to fresh results, and if it
asked nothing that types do not tell (`recorder.state.asked`): values, places in memory. One that only drew random numbers is kept, too, and draws
others (`sampling.Redraw`). A function that asked for the user's
line (numbers beside tensors that change from call to call are inputs of the program, see `promote.operand`) is kept per line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dialects.types import DType
from . import promote
from .autocasting import regions
from .node import Node
from .origin import operator_site
from .phrases import Phrase, steps_between
from .recorder import state
from .sampling import Drawn, Redraw
from .strides import is_ordered
from .tensor import Tensor, wrap
from .views import is_plain as is_plain_view

_MOST_KEPT = 1024  # calls of one function
_MOST_TRIES = 64  # calls of one function that are looked at in vain
_FEW_TRIES = 4  # of one kind
_FEW = 8  # operands that are looked through for one that comes twice
_PLAIN = frozenset({int, bool, str, type(None), DType})
TENSORS: set[type] = {Tensor}  # and parameters: nobody overrides what functions do with them
BY_LINE, IN_VAIN = object(), object()
_everyone: list[KnownCalls] = []


def forget() -> None:
    """What all functions recorded: something they all depend on (the default dtype) is another now."""
    for calls in _everyone:
        calls.clear()


def is_plain(kind: type) -> type:
    """Enters a class of tensors that are nothing but tensors to every function."""
    TENSORS.add(kind)
    return kind


class KnownCalls(dict):
    """The calls of one function, by the types of its operands and its options.

    tries: further calls that are looked at and may turn out not to be kept. vain: how often that was so, of kinds that are still looked
    at. skips: the call that was just asked for is of a kind that no one looks at any more.
    """

    __slots__ = ("function", "tries", "vain", "skips")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.tries = _MOST_TRIES
        self.vain: dict[tuple, int] = {}
        self.skips = False
        _everyone.append(self)

    def made(self, *args: Any, **options: Any) -> Any:
        """The function, as whoever stands between it and the user calls it."""
        result = self.again(args, options) if self else None
        return self.first(args, options) if result is None else result

    def made_node(self, args: tuple, options: dict[str, Any]) -> Node:
        """The value `made` gives, for those who want no tensor of it."""
        return self.made(*args, **options)._read()

    def again(self, args: tuple, options: dict[str, Any]) -> Any:
        """What the call gives; None where it must be made in full. To be called by what the user calls."""
        if state.levels or state.duals or state.traces or state.placement is not None or state.watch is not None or regions.on:
            return None
        operands: list[Node] = []
        if len(args) == 1 and not options and type(x := args[0]) is Tensor and not x._chain and x._seen == x._storage.version:
            node = x._node  # the same key, without the call
            operands.append(node)
            key = (node.type, state.grad) if node.requires_grad else (node.type,)
        else:
            key = _key(args, operands) if not options else _key_with_options(args, options, operands)
            if key is None:
                self.skips = True
                return None
        found = self.get(key)
        if found is None or found is IN_VAIN:
            self.skips = found is not None
            return None
        if type(found) is Redraw:
            return found()
        if found is BY_LINE:
            found = self._at_line(key)
            if found is None:
                return None
        phrase, constants, together = found
        if constants:
            operands += constants
        if together is None:
            return wrap(phrase.again(operands, 4))
        return together(*map(wrap, phrase.all_again(operands, 4)))

    def of_two(self, x: Node, y: Node) -> Tensor | None:
        """`again` for two tensors that are nothing but their Nodes: untracked, and no views."""
        found = self.get((x.type, y.type))
        return wrap(found[0].again((x, y, *found[1]), 3)) if found is not None and found is not IN_VAIN else None

    def _at_line(self, key: tuple) -> Any:
        """The call at the user's line, whose numbers were never others."""
        line = operator_site()
        self.skips = line is not None and promote.changes_at(line)
        return None if line is None or self.skips else self.get((line, key))

    def first(self, args: tuple, options: dict[str, Any]) -> Any:
        """The call in full, kept if it can be."""
        if self.skips or self.tries <= 0:
            self.skips = False
            return self.function(*args, **options)
        operands: list[Node] = []
        key = _key_with_options(args, options, operands)
        if key is None or state.levels or state.duals or state.traces or state.placement is not None or state.watch is not None or regions.on:
            return self.function(*args, **options)
        written = _versions(args) + _versions(options.values())
        before, lines, start = _surroundings(), state.lines, state.order
        if not operands and state.noted is None:
            return self._first_of_numbers(key, args, options)
        result = self.function(*args, **options)
        self.tries -= 1
        results = result if isinstance(result, tuple) else (result,)
        if not operands or not results or not all([_is_fresh(r) for r in results]):  # what makes tensors, or views of them, always does
            return result
        roots = [r._node for r in results]
        is_left = before == _surroundings() and written == _versions(args) + _versions(options.values())
        found = steps_between(operands, roots, start) if is_left else None
        if found is None or any([node.overwritten for node in found[0]]):
            self._was_in_vain(key)
            return result
        steps, constants = found
        if len(self) >= _MOST_KEPT:
            self.clear()
        together = None if result is not results else _in_a_tuple if type(result) is tuple else type(result)
        kept = Phrase.of([*operands, *constants], steps, roots), constants, together
        if state.lines != lines:
            line = operator_site()
            if line is None:
                return result
            self[key] = BY_LINE
            key = line, key
        self[key] = kept
        self.tries += 1
        if len(roots) > 1 or roots[0].requires_grad:
            return result
        repeated = self.again(args, options)  # so that the first program is that of all calls
        return result if repeated is None else repeated

    def _first_of_numbers(self, key: tuple, args: tuple, options: dict[str, Any]) -> Any:
        """The call in full of a function that is given no tensors, kept if all it did was to draw. Those that are kept count as tries, too: sizes may
        be others each time."""
        start, state.noted = state.order, []
        try:
            result = self.function(*args, **options)
            noted = state.noted
        finally:
            state.noted = None
        self.tries -= 1
        is_one = noted is not None and len(noted) == 1 and type(noted[0]) is Drawn and state.order == start + 1
        if is_one and _is_fresh(result) and result._node is noted[0].leaf and not result.requires_grad:
            self[key] = Redraw(noted[0])
        return result

    def _was_in_vain(self, key: tuple) -> None:
        """A kind of calls that is not kept a few times is left alone; other kinds are looked at none the less."""
        count = self.vain[key] = self.vain.get(key, 0) + 1
        if count == _FEW_TRIES and key not in self:
            self.tries += count - 1
            self[key] = IN_VAIN
            del self.vain[key]


def _in_a_tuple(*results: Tensor) -> tuple[Tensor, ...]:
    return results


def _key(values: Any, operands: list[Node]) -> tuple | None:
    """What a call depends on, of its arguments; their Nodes are appended to ``operands``. None where there is more to them."""
    parts: list[Any] = []
    for value in values:
        kind = type(value)
        if kind in TENSORS:
            storage = value._storage
            if value._seen == storage.version:
                node = value._node
            elif storage.host is None:
                node = value._read()
            else:
                return None
            chain = value._chain
            if chain and is_ordered(value):
                if not is_plain_view(chain):
                    return None
                parts += (chain, storage.type)  # where its elements lie tells in which order a result's do
            if len(operands) < _FEW and node in operands:  # Nodes are equal to themselves only
                parts.append(operands.index(node))
                continue
            operands.append(node)
            parts.append(node.type)
            if node.requires_grad:
                parts.append(state.grad)
        elif kind in _PLAIN:
            parts += (kind, value)
        elif kind is float:
            parts += (kind, value or str(value))  # 0.0 and -0.0 are two
        elif kind is tuple or kind is list:
            before = len(operands)
            inner = _key(value, operands)
            if inner is None:
                return None
            are_known = len(operands) > before and all([node.value is not None for node in operands[before:]])
            parts += (kind, len(inner), *inner, are_known)  # what is joined of data is data
        else:
            return None
    return tuple(parts)


def _key_with_options(args: tuple, options: dict[str, Any], operands: list[Node]) -> tuple | None:
    key = _key(args, operands)
    more = _key(options.values(), operands) if key is not None and options else ()
    return None if key is None or more is None else (*key, *options, *more)


def argument_key(args: tuple, options: dict[str, Any], operands: list[Node]) -> tuple | None:
    """What the call of a module depends on, of its arguments; their Nodes are appended to ``operands``. None where there is more to
    them than types and names: numbers, of which each would be another program, and lists, which the call may write to."""
    key = _key_with_options(args, options, operands) if options else _key(args, operands)
    return None if key is None or any([part is int or part is float or part is list for part in key]) else key


def _versions(values: Any) -> list[int]:
    """How often the memory of the tensors among some arguments was written."""
    return [v._storage.version for v in values if isinstance(v, Tensor)]


def _surroundings() -> tuple:
    """What a call that only records leaves alone."""
    return state.asked, state.flushed, len(state.doubts)


def _is_fresh(result: Any) -> bool:
    """A tensor with memory of its own, about which there is nothing more to know."""
    return (
        type(result) is Tensor
        and not result._chain
        and result._storage.host is None
        and result._storage.version == 0
        and result.__dict__.keys() <= {"_label"}
    )
