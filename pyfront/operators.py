"""Python's operators on tensors: those of one kind of floats take a short way, the others that of their functions."""

from __future__ import annotations

from collections.abc import Callable
from sys import _getframe
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from ..dialects.types import Type, bool_
from . import overrides, recorder
from .arithmetic import absolute, add, binary, bitwise_not, div, floor_divide, mul, neg, number, positive, pow, remainder, sub
from .known_calls import KnownCalls, Public, mark, publish
from .node import Node
from .origin import Site, is_own, site_of, text_of
from .promote import Scalar, number_at
from .strides import follow
from .tensor import Tensor, wrap

_MOST_SITES = 4096


class Short(NamedTuple):
    """An operator that has a short way."""

    name: str
    method: Callable[[Tensor, Any], Any]
    op: str
    label: str
    calls: KnownCalls
    flipped: bool
    compares: bool


short_operators: list[Short] = []


def _operator(
    name: str, function: Callable, label: str, flipped: bool = False, op: str | None = None, compares: bool = False
) -> Callable[[Tensor, Any], Any]:
    """A method for Python's operator. op: what it is on floats of one dtype; that case, the most frequent, takes a short way.
    compares: the result is truth values."""
    shown = _FLIPPED.get(label, label) if flipped else label
    calls = KnownCalls(function)
    at_length, state = _operator_at_length(calls, shown, flipped), recorder.state
    if op is None:
        return at_length

    def method(self: Tensor, other: Any) -> Any:
        x = self._node if self._seen == self._storage.version else self._read()
        shape, dtype = own = x.type
        kind = type(other)
        if kind is float or kind is int:
            if dtype.kind != "f" or other == 0 and kind is float or state.placement is not None:  # -0.0 is equal to 0.0
                return at_length(self, other)
            frame = _getframe(1)
            known = numbers_at.get((id(frame.f_code), frame.f_lasti))
            if known is not None and known[0] is other and known[1] == own:
                y, text = known[2], known[3]
            else:
                if is_own(frame.f_code.co_filename):
                    return at_length(self, other)
                y, text = _number_at(frame.f_code, frame.f_lasti, other, own)
            tracked = x.requires_grad
        elif isinstance(other, Tensor):
            y = other._node if other._seen == other._storage.version else other._read()
            if y.type != own or dtype.kind != "f" or state.placement is not None:
                plain = not (x.requires_grad or y.requires_grad or self._chain or other._chain) and kind is Tensor is type(self)
                result = calls.of_two(*((y, x) if flipped else (x, y))) if plain else None
                return at_length(self, other) if result is None else result
            text = state.origin(1)
            tracked = x.requires_grad or y.requires_grad
        else:
            return at_length(self, other)
        state.order = order = state.order + 1
        if compares:
            own, tracked = truth.get(own) or truth.setdefault(own, (shape, bool_)), False
        else:
            tracked = tracked and state.grad
        result = wrap(Node(op, (), (y, x) if flipped else (x, y), own, text, tracked, order))
        if tracked:
            result._label = shown
        if self._chain or self._storage.host is not None or kind is Tensor and (other._chain or other._storage.host is not None):
            follow(result, (other, self) if flipped else (self, other))
        return result

    short_operators.append(Short(name, method, op, shown, calls, flipped, compares))
    return method


truth: dict[Type, Type] = {}  # by the type of what is compared
# Operators with a constant: the number, the operand's type, its Node, the line, and the code, which is kept so that its id stays its own.
numbers_at: dict[Site, tuple[Scalar, Type, Node, str, CodeType]] = {}


def _number_at(code: CodeType, offset: int, number: Scalar, own: Type) -> tuple[Node, str]:
    """The number of an operator as a Node, and the operator's line; remembered while the number is always the same."""
    where = site_of(code, offset)
    y, text = number_at(where, number, *own), text_of(where)
    if y.op == "full":
        if len(numbers_at) >= _MOST_SITES:
            numbers_at.clear()
        numbers_at[where] = number, own, y, text, code
    else:
        numbers_at.pop(where, None)
    return y, text


def _operator_at_length(calls: KnownCalls, shown: str, flipped: bool) -> Callable[[Tensor, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        operands = (other, self) if flipped else (self, other)
        result = calls.again(operands, _NO_OPTIONS) if calls else None
        if result is None:
            if not isinstance(other, Tensor) and number(other) is None:
                if not flipped and (found := overrides.asked((other,))):
                    return overrides.answer(getattr(Tensor, shown), found, operands, {})
                return _with_array(calls.function, self, other, flipped)
            result = calls.first(operands, _NO_OPTIONS)
        if self._chain or self._storage.host is not None or isinstance(other, Tensor):
            follow(result, operands)
        if result._node.requires_grad:
            result._label = shown
        return result

    return method


_NO_OPTIONS: dict[str, Any] = {}
_FLIPPED = {"sub": "rsub", "div": "mul"}  # PyTorch computes 1 / x as reciprocal and product


def _with_array(function: Callable, self: Tensor, other: Any, flipped: bool) -> Any:
    """numpy arrays count as tensors next to one; anything else is somebody else's business."""
    if not isinstance(other, np.ndarray):
        return NotImplemented
    from .creation import from_numpy

    array = from_numpy(np.ascontiguousarray(other))
    return function(array, self) if flipped else function(self, array)


def _in_place_operator(function: Callable, label: str) -> Callable[[Tensor, Any], Tensor]:
    calls, state = KnownCalls(function), recorder.state

    def method(self: Tensor, other: Any) -> Tensor:
        return state.in_place(self, calls.made_node, (other,), _NO_OPTIONS, -1, label)

    return publish(Public(method, method, calls, label, writes=True))


_bit_and, _bit_or, _bit_xor = binary("bitwise_and"), binary("bitwise_or"), binary("bitwise_xor")
_left, _right = binary("shift_left"), binary("shift_right")

_SHORT = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "pow": "pow"}  # one step on floats
_OPERATORS: dict[str, tuple[Callable, str]] = {
    "add": (add, "add"),
    "sub": (sub, "sub"),
    "mul": (mul, "mul"),
    "truediv": (div, "div"),
    "floordiv": (floor_divide, "floor_divide"),
    "mod": (remainder, "remainder"),
    "pow": (pow, "pow"),
    "and": (_bit_and, "bitwise_and"),
    "or": (_bit_or, "bitwise_or"),
    "xor": (_bit_xor, "bitwise_xor"),
    "lshift": (_left, "shift_left"),
    "rshift": (_right, "shift_right"),
}
_COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}


def install_operators() -> None:
    """Python's operators on Tensor."""
    for name, (function, label) in _OPERATORS.items():
        for own, flipped in ((f"__{name}__", False), (f"__r{name}__", True)):
            setattr(Tensor, own, _operator(own, function, label, flipped, _SHORT.get(name)))
        setattr(Tensor, f"__i{name}__", _in_place_operator(function, label))
    for name, op in _COMPARISONS.items():
        setattr(Tensor, f"__{name}__", _operator(f"__{name}__", binary(op), op, op=op, compares=True))
    Tensor.__hash__ = lambda self: id(self)
    Tensor.__neg__ = _operator_of_one(neg, "neg")
    Tensor.__pos__ = positive
    Tensor.__abs__ = _operator_of_one(absolute, "abs")
    Tensor.__invert__ = _operator_of_one(bitwise_not, "bitwise_not")


def _operator_of_one(function: Callable, label: str) -> Callable[[Tensor], Tensor]:
    calls = KnownCalls(function)

    def method(self: Tensor) -> Tensor:
        result = calls.again((self,), _NO_OPTIONS) if calls else None
        return at_length(self) if result is None else mark(follow(result, (self,)), label)

    def at_length(self: Tensor) -> Tensor:
        return mark(follow(calls.first((self,), _NO_OPTIONS), (self,)), label)

    return publish(Public(method, at_length, calls, label, follows=True))


install_operators()
