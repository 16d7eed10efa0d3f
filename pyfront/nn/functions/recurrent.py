"""Recurrent steps and layers: RNN, LSTM and GRU over a sequence of rows; a layer is a scan of its step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np

from ....dialects.graph import Graph
from ....dialects.types import Type, dtype_of
from ...autocasting import autocasts
from ... import recorder
from ...joining import cat, stack
from ...node import Node
from ...origin import origin
from ...phrases import Phrases
from ...scanning import scan, trace
from ...selection import where
from ...tensor import Tensor, wrap
from .dropping import dropout
from .linear import linear

State = tuple[Tensor, ...]  # (h,) or (h, c); float[batch, hidden]


class Product(NamedTuple):
    """What rows are multiplied by: ``apply(rows, *operands)``. apply: a function that is the same object for the same computation; with an
    attribute ``mixes_rows`` where a row's result depends on others, too, of which zeros do not count.
    """

    apply: Callable[..., Tensor]
    operands: tuple[Tensor, ...]

    def __call__(self, rows: Tensor) -> Tensor:
        return self.apply(rows, *self.operands)


class Weights(NamedTuple):
    """What a layer multiplies its input, its state and (LSTM with a projection) its output by."""

    of_input: Product
    of_state: Product
    projection: Product | None = None

    @staticmethod
    def of(of_input: Tensor, of_state: Tensor, input_bias: Tensor | None = None, state_bias: Tensor | None = None, projection: Tensor | None = None) -> Weights:
        """Those of numbers."""
        pairs = ((of_input, input_bias), (of_state, state_bias), (projection, None))
        return Weights(*[Product(linear, (w,) if b is None else (w, b)) if w is not None else None for w, b in pairs])  # type: ignore[arg-type]  # only the last


Step = Callable[[Tensor, State, Weights], State]


def _elman(activation: Callable[[Tensor], Tensor]) -> Step:
    def step(x: Tensor, state: State, weights: Weights) -> State:
        return (activation(x + weights.of_state(state[0])),)

    return step


def _lstm(x: Tensor, state: State, weights: Weights) -> State:
    h, c = state
    enter, forget, candidate, leave = (x + weights.of_state(h)).chunk(4, -1)
    c = forget.sigmoid() * c + enter.sigmoid() * candidate.tanh()
    h = leave.sigmoid() * c.tanh()
    return (h if weights.projection is None else weights.projection(h)), c


def _gru(x: Tensor, state: State, weights: Weights) -> State:
    (h,) = state
    x_reset, x_update, x_new = x.chunk(3, -1)
    h_reset, h_update, h_new = weights.of_state(h).chunk(3, -1)
    candidate = (x_new + (x_reset + h_reset).sigmoid() * h_new).tanh()
    return (candidate + (x_update + h_update).sigmoid() * (h - candidate),)


STEPS: dict[str, Step] = {
    "RNN_TANH": _elman(lambda x: x.tanh()),
    "RNN_RELU": _elman(lambda x: x.relu()),
    "LSTM": _lstm,
    "GRU": _gru,
}


def cell(mode: str, x: Tensor, state: State, weights: Weights) -> State:
    """One step: float[batch, inputs] and the state before it give the state after it."""
    return STEPS[mode](weights.of_input(x), state, weights)


@autocasts("rnn_layer")
def layers(
    mode: str, x: Tensor, sizes: Sequence[int], state: State | None, weights: Sequence[Weights], *, widths: Sequence[int],
    directions: int, p: float,
) -> tuple[Tensor, State]:  # fmt: skip
    """All layers over a sequence; every layer and direction is one scan.

    x: float[sum(sizes), inputs], the rows of step 0, then of step 1, ...; sizes: rows of each step, never growing.
    state: float[layers * directions, batch, hidden] each, or None for zeros; widths: its last sizes. weights: one entry per
    layer and direction. p: dropout between layers. Gives float[sum(sizes), directions * hidden] and the final state.
    """
    drops = bool(p) and len(weights) > directions
    # Outside of what is recorded again: the part of a state that is known already is a value of its own.
    starts = None if state is None else [tuple([part[i] for part in state]) for i in range(len(weights))]
    if drops or sizes[0] != sizes[-1]:  # masks and places are values that come along
        return _layers(mode, x, sizes, starts, weights, widths, directions, p)
    given = [*[t for parts in starts or () for t in parts], *[t for parts in weights for p in parts if p is not None for t in p.operands]]
    there = tuple([tuple([p and (p.apply, len(p.operands)) for p in parts]) for parts in weights])

    def again(*nodes: Node) -> list[Node]:
        x, *rest = map(wrap, nodes)
        left = iter(rest)
        parts = None if starts is None else [tuple(islice(left, len(start))) for start in starts]
        y, final = _layers(mode, x, sizes, parts, [Weights(*[_taken(kind, left) for kind in kinds]) for kinds in there], widths, directions, p)
        return [t._read() for t in (y, *final)]

    key = mode, len(sizes), state is None, there, tuple(widths), directions, origin()
    y, *final = map(wrap, _phrases.recorded(key, [t._read() for t in (x, *given)], again))
    return y, tuple(final)


_phrases = Phrases()


def _taken(kind: tuple[Callable[..., Tensor], int] | None, operands: Iterator[Tensor]) -> Product | None:
    """The product of a kind with the next of the operands."""
    return kind and Product(kind[0], tuple(islice(operands, kind[1])))


def _layers(
    mode: str, x: Tensor, sizes: Sequence[int], starts: Sequence[State] | None, weights: Sequence[Weights], widths: Sequence[int],
    directions: int, p: float,
) -> tuple[Tensor, State]:  # fmt: skip
    ragged = None if sizes[0] == sizes[-1] else _Ragged(sizes)
    finals: list[State] = []
    for first in range(0, len(weights), directions):
        outputs = []
        for k in range(directions):
            start = [((sizes[0], n), x.dtype) for n in widths] if starts is None else starts[first + k]
            y, final = _one_direction(mode, x, len(sizes), ragged, start, weights[first + k], reverse=k == 1)
            outputs.append(y)
            finals.append(final)
        x = outputs[0] if directions == 1 else cat(outputs, -1)
        if p and first + directions < len(weights):
            x = dropout(x, p, True)
    return x, tuple(stack(part) for part in zip(*finals, strict=True))


def _reshaped(x: Tensor, *shape: int) -> Tensor:
    return wrap(recorder.record("reshape", (x._read(),), (shape,)))


class _Ragged:
    """Where the rows of steps of unequal size lie in a box [steps, batch], and which places of the box hold none."""

    def __init__(self, sizes: Sequence[int]) -> None:
        counts = np.asarray(sizes, np.int64)
        columns = np.arange(counts[0])
        there = columns < counts[:, None]
        rows = (np.cumsum(counts) - counts)[:, None] + np.minimum(columns, counts[:, None] - 1)
        self.shape = there.shape
        self.rows, self.places = _constant(rows.reshape(-1)), _constant(np.flatnonzero(there))
        self.there = _constant(there[:, :, None])

    def boxed(self, rows: Tensor) -> Tensor:
        """float[rows, n] -> float[steps, batch, n]; places without a row repeat the step's last."""
        return rows.index_select(0, self.rows).reshape(*self.shape, rows.shape[-1])

    def packed(self, box: Tensor) -> Tensor:
        """float[steps, batch, n] -> float[rows, n]."""
        return box.reshape(-1, box.shape[-1]).index_select(0, self.places)


def _constant(array: np.ndarray) -> Tensor:
    return wrap(recorder.constant(array, (array.shape, dtype_of(array))))


def _one_direction(
    mode: str, x: Tensor, steps: int, ragged: _Ragged | None, start: Sequence[Tensor | Type], weights: Weights, reverse: bool
) -> tuple[Tensor, State]:
    rows = weights.of_input(x)
    if ragged is None:
        count, width = rows._type[0]
        scanned = [_reshaped(rows, steps, count // steps, width)]
    else:
        scanned = [ragged.boxed(rows), ragged.there]
    given = tuple(p and (p.apply, len(p.operands)) for p in weights[1:])
    whole = [t for p in weights[1:] if p is not None for t in p.operands]
    types = (*(s._type if isinstance(s, Tensor) else s for s in start), *((t._type[0][1:], t._type[1]) for t in scanned), *(w._type for w in whole))
    body = _body(mode, types, len(start), given, ragged is not None, origin())
    *final, y = scan(body, start, scanned, whole, steps, reverse)
    if ragged is not None:
        return ragged.packed(y), tuple(final)
    return _reshaped(y, count, y._type[0][-1]), tuple(final)


@lru_cache(maxsize=512)
def _body(mode: str, types: tuple[Type, ...], parts: int, given: tuple, ragged: bool, line: str) -> Graph:
    """One step: the state, the step's rows, where there are rows (of a ragged batch), weights; the state after, and h again.

    given: the kinds of the products by the state and by the projection. line: the user's line, which the steps carry.
    """

    def step(*values: Tensor) -> State:
        state, x, there = values[:parts], values[parts], values[parts + 1]
        rest = iter(values[parts + 1 + ragged :])
        weights = Weights(None, *[_taken(kind, rest) for kind in given])  # type: ignore[arg-type]  # the input is multiplied already
        mixes = ragged and getattr(weights.of_state.apply, "mixes_rows", False)
        seen = tuple(where(there, part, 0.0) for part in state) if mixes else state
        after = STEPS[mode](x, seen, weights)
        if ragged:
            after = tuple(where(there, new, old) for new, old in zip(after, state, strict=True))
        return (*after, after[0])

    return trace(step, types)
