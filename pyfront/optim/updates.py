"""Updates: what the optimizers record: numbers of a step, new contents of parameters and of their state."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...dialects.types import DTYPES, Type
from .. import recorder, views
from ..node import ANYWHERE, RESULT, Node
from ..phrases import Phrase
from ..promote import cast
from ..tensor import Tensor, wrap

_FLOAT32, _FLOAT64 = DTYPES["float32"], DTYPES["float64"]
_SCALAR = (), _FLOAT64


def rate_of(group: dict[str, Any]) -> Any:
    """The learning rate of a group: a number, or, while a step is recorded, the tensor it is."""
    rate = group["lr"]
    return rate.double() if recorder.state.fresh is not None and isinstance(rate, Tensor) else float(rate)


def scalar(value: Any, where: str | None = None) -> Node:
    """A number that changes from step to step: an input of the program, not a constant in it. where: the user's line, if known.
    A step that is recorded computes it (`Counter`): then it is a tensor.

    The numbers of a step go where those of the last one were, if nobody refers to these any more: a program knows the place.
    """
    state = recorder.state
    if isinstance(value, Tensor):
        return cast(value._read(), _FLOAT64)
    if state.placement is not None or state.watch is not None or state.traces:
        return recorder.constant(np.array(value, np.float64), _SCALAR, where)
    if _numbers.since != state.flushed:
        _numbers.since, _numbers.count = state.flushed, 0
    i = _numbers.count
    _numbers.count = i + 1
    if i == len(_numbers.used):
        _numbers.used.append((np.array(value, np.float64), _gone))
    array, user = _numbers.used[i]
    if user() is not None:
        array = np.array(value, np.float64)
    else:
        array[()] = value
    state.order = order = state.order + 1
    made = Node(None, (), (), _SCALAR, where or state.origin(1), False, order, array)  # `constant`, without the calls
    made.device = ANYWHERE
    _numbers.used[i] = array, weakref.ref(made)
    return made


def _gone() -> None:
    """What refers to nothing any more."""


class _Numbers:
    """Where the numbers of the last steps were, by their place in the step, and the Nodes that have them there."""

    def __init__(self) -> None:
        self.used: list[tuple[np.ndarray, Callable[[], Node | None]]] = []
        self.since = self.count = 0


_numbers = _Numbers()


def zeros_of(p: Tensor, value: float = 0.0) -> Tensor:
    """Fresh state of a parameter's type. It is data, so that the first step is the same program as all others."""
    array = np.full(p.shape, value, p.dtype.numpy)
    return wrap(recorder.constant(array, p._type)) if recorder.state.fresh is None else recorder.state.fresh(array)


class Counter:
    """Counts steps; parameters at the same step share one tensor."""

    def __init__(self) -> None:
        self._before: tuple[Any, int] = (None, 0)  # the tensor the last parameter had, and its version
        self._number = 0  # the step after that one, and its tensor
        self._tensor: Tensor | None = None
        self._start: tuple[Any, dict[int, Tensor]] = (None, {})  # the recording in which counting began, and its counts by what they were
        self._counted_on: list[Tensor] = []  # in the recorded step

    def next(self, state: dict[str, Any]) -> Any:
        """The step that begins now, 1 the first time; while a step is recorded a tensor, whose memory counts on."""
        now = state.get("step")
        if recorder.state.fresh is not None:
            return self._counted(state, now)
        before, version = self._before
        if now is None or now is not before or now._storage.version != version:
            self._look_up(now)
        state["step"] = self._tensor
        return self._number

    def _counted(self, state: dict[str, Any], now: Any) -> Tensor:
        if not is_of_recording(now):
            before = int(now or 0)
            if self._start[0] is not recorder.state.fresh:
                self._start = recorder.state.fresh, {}
            counts = self._start[1]
            if before not in counts:
                counts[before] = recorder.state.fresh(np.array(before, np.float32))
            now = state["step"] = counts[before]
        if all(now is not t for t in self._counted_on):
            now += 1
            self._counted_on.append(now)
        return now.double()

    def begin(self) -> None:
        """A recorded step begins: every count is counted on once."""
        self._counted_on.clear()

    def _look_up(self, now: Any) -> None:
        """Read a count that is not the one of the last parameter."""
        is_tensor = isinstance(now, Tensor)
        if is_tensor and now is self._tensor and now._storage.version == 0 and now._storage.host is None:
            number = self._number + 1  # as this counter made it
        else:
            number = 1 + (int(now.item()) if is_tensor else int(now or 0))
        if number != self._number or self._tensor is None:
            self._number = number
            self._tensor = wrap(recorder.constant(np.array(number, np.float32), ((), _FLOAT32)))
        self._before = (now, now._storage.version) if is_tensor else (None, 0)


def is_of_recording(entry: Any) -> bool:
    """Whether an entry of the state is memory that a recorded step goes on from; what the host keeps would be a number of every such step."""
    return isinstance(entry, Tensor) and recorder.known(entry._storage.node) is None


Row = tuple[tuple[Tensor, ...], tuple[Node, ...]]
_phrases: dict[Any, tuple[str, tuple, list[Type], Phrase]] = {}
_MOST_PHRASES = 1 << 8


def update(targets: tuple[Tensor, ...], op: str, operands: tuple[Node, ...], attrs: tuple, where: str | None = None) -> None:
    """Record one step of one parameter: the first results of `op` become the contents of `targets`.

    where: the user's line, if known.
    """
    start = recorder.state.order
    for target, node in zip(targets, recorder.record_many(op, operands, attrs, where)):  # noqa: B905  # the first results
        write(target, node, start)


def is_plain() -> bool:
    """Whether steps can be recorded as one Node on the CPU: nothing looks at what each of them is."""
    return recorder.state.placement is None and _is_unseen()


def _is_unseen() -> bool:
    state = recorder.state
    return not (state.grad or state.watch is not None or state.levels or state.duals or state.traces)


def update_all(key: Any, op: str, rows: list[Row], changing: tuple[Node, ...], attrs: tuple, where: str) -> None:
    """`update` of several parameters, each given as targets and operands; the last operands are the same for all.

    They are one Node. key: where what it stands for is kept.
    """
    state = recorder.state
    if not _is_unseen() or state.placement is not None and state.placement.together([n for _, own in rows for n in own]) is None:
        for targets, own in rows:
            update(targets, op, (*own, *changing), attrs, where)
        return
    operands = [n for _, own in rows for n in own]
    operands += changing
    types, start, known = [n.type for n in operands], state.order, _phrases.get(key)
    if known is None or known[0] != op or known[1] != attrs or known[2] != types:
        if len(_phrases) >= _MOST_PHRASES:
            _phrases.clear()
        known = _phrases[key] = op, attrs, types, _all_at_once(op, rows, changing, attrs)
    written = iter(known[3].as_one(operands, where))
    for targets, _ in rows:
        for target in targets:
            write(target, next(written), start)


def _all_at_once(op: str, rows: list[Row], changing: tuple[Node, ...], attrs: tuple) -> Phrase:
    """The steps of several parameters, from all their operands to all their results."""
    at, shared = 0, sum(len(own) for _, own in rows)
    place = shared + len(changing)
    steps: list[tuple[str, tuple, Sequence[int], Any, bool]] = []
    results: list[int] = []
    for targets, own in rows:
        types = recorder.infer(op, (*own, *changing), attrs)
        steps.append((op, attrs, [*range(at, at + len(own)), *range(shared, shared + len(changing))], types, False))
        steps += [(RESULT, (k,), [place], type, False) for k, type in enumerate(types)]
        results += range(place + 1, place + 1 + len(targets))
        place, at = place + 1 + len(types), at + len(own)
    return Phrase.once(steps, results)


def write(target: Tensor, node: Node, start: int) -> None:
    storage = target._storage
    if target._chain or storage.host is not None or recorder.state.watchers:
        views.write(storage, target._chain, node, start)
        target._forget()
    else:  # the same for memory that nobody sees another part of
        storage.replace(node, start)
        target._node, target._seen = node, storage.version
