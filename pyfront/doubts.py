"""Doubts: what a value must not be (an index outside, a divisor of 0), refused at once where the host has it, else when computed.

A doubt is one truth value, computed together with everything else at the next flush; programs never wait for it. On a GPU the host asks for
it when it waits for something else, or at the flush after it (`recorder.settle`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from ..dialects.errors import LaminaError
from . import recorder
from .node import Node
from .origin import origin, source_line
from .promote import full
from .recorder import record

_SAME_ELEMENTS = frozenset({"expand", "reshape", "permute"})


class Look(NamedTuple):
    """A question about the elements of a value, and the answer. asks: how often `recorder.state.asked` counted it."""

    node: Node
    question: Callable[[Node], bool]
    answer: bool
    asks: int


def ask(node: Node, question: Callable[[Node], bool]) -> bool:
    """The answer to a question about a value, which goes on to what has the same elements. Noted for a call that is to be kept: it
    asks again before it is recorded without running (see nn/calls.py, known_calls.py)."""
    state = recorder.state
    before, node = state.asked, with_elements(node)
    answer = question(node)
    if is_noted():
        look = Look(node, question, answer, state.asked - before)
        for notes in (state.noted, state.told):
            if notes is not None:
                notes.append(look)
    return answer


def is_noted() -> bool:
    """Whether a call that is running may be kept, if it is noted what it asks."""
    return recorder.state.noted is not None or recorder.state.told is not None


def with_elements(node: Node) -> Node:
    """Where the elements of a value come from, perhaps in another shape."""
    while node.value is None and node.op in _SAME_ELEMENTS and node.inputs[0].type[1] is node.type[1]:
        node = node.inputs[0]
    return node


def _known(node: Node) -> np.ndarray | None:
    """The elements of a value, perhaps in another shape, where the host has them."""
    recorder.state.asked += 1
    node = with_elements(node)
    if node.op == "full":
        return np.asarray(node.attrs[1])
    return recorder.known(node)


def _later(wrong: Node, error: Callable[[], Exception]) -> None:
    """Have the error raised when any element turns out true."""
    axes = tuple(range(len(wrong.type[0])))
    whole = record("reshape", (record("any", (wrong,), (axes,)),), ((),)) if axes else wrong
    recorder.doubt(whole, error)


def refuse_where(wrong: Node, error: Callable[[], Exception]) -> None:
    """``error()`` when any of these truth values turns out true."""
    if not recorder.state.traces and recorder.can_doubt():
        _later(wrong, error)


def _compared(op: str, node: Node, number: int) -> Node:
    return record(op, (node, full(number, *node.type)))


def refuse_zeros(divisor: Node) -> None:
    """RuntimeError for an integer divisor of 0, as PyTorch has it."""
    if recorder.state.traces:
        return
    where = origin()

    def error() -> Exception:
        return LaminaError("ZeroDivisionError", [("divisor", "0", "")], at=source_line(where))

    values = _known(divisor)
    if values is None:
        if recorder.can_doubt():
            _later(_compared("equal", divisor, 0), error)
    elif not values.all():
        raise error()


def refuse_outside(index: Node, n: int, error: Callable[[int | None], Exception], ignored: int | None = None) -> None:
    """``error(number)`` for an index that is not in 0 … n-1 (``ignored`` is none). number: None where it is not known."""
    if recorder.state.traces:
        return
    if is_noted() and are_places(index, n, ignored):
        return
    values = _known(index)
    if values is not None:
        if _all_below(values, n):
            return
        wrong = (values < 0) | (values >= n)
        if ignored is not None:
            wrong &= values != ignored
        if wrong.any():
            raise error(int(values[wrong].flat[0]) if values.ndim else int(values))
        return
    if not recorder.can_doubt():
        return
    wrong = record("logical_or", (_compared("less", index, 0), _compared("greater_equal", index, n)))
    if ignored is not None:
        wrong = record("logical_and", (wrong, _compared("not_equal", index, ignored)))
    _later(wrong, lambda: error(None))


def are_places(index: Node, n: int, ignored: int | None = None) -> bool:
    """`ask` whether all numbers are known, and in 0 … n-1 (or ``ignored``)."""
    return ask(index, partial(_are_inside, n, ignored))


_FEW = 64  # numbers that Python looks through sooner than numpy


def _all_below(values: np.ndarray, n: int) -> bool:
    """Whether all are in 0 … n-1, in one pass: without their sign negative numbers are larger than any size. False for kinds that have none."""
    unsigned = _UNSIGNED.get(values.dtype)
    return unsigned is not None and values.size > 0 and int(values.view(unsigned).max()) < min(n, 1 << 8 * unsigned.itemsize - 1)


_UNSIGNED = {np.dtype(f"i{size}"): np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def _are_inside(n: int, ignored: int | None, index: Node) -> bool:
    values = _known(index)
    if values is None:
        return False
    if 0 < values.size <= _FEW:
        numbers = values.reshape(-1).tolist()
        if 0 <= min(numbers) and max(numbers) < n:
            return True
    elif _all_below(values, n):
        return True
    inside = (values >= 0) & (values < n)
    return bool((inside if ignored is None else inside | (values == ignored)).all())
