"""Recurrent steps and layers: RNN, LSTM and GRU over a sequence of rows, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...joining import cat
from ...tensor import Tensor
from .dropping import dropout
from .linear import linear

State = tuple[Tensor, ...]  # (h,) or (h, c); float[batch, hidden]
Weights = Sequence["Tensor | None"]  # input weight, state weight, their biases (or None), projection (or None)
Step = Callable[[Tensor, State, Weights], State]


def _elman(activation: Callable[[Tensor], Tensor]) -> Step:
    def step(x: Tensor, state: State, weights: Weights) -> State:
        return (activation(x + linear(state[0], weights[1], weights[3])),)

    return step


def _lstm(x: Tensor, state: State, weights: Weights) -> State:
    h, c = state
    enter, forget, candidate, leave = (x + linear(h, weights[1], weights[3])).chunk(4, -1)
    c = forget.sigmoid() * c + enter.sigmoid() * candidate.tanh()
    h = leave.sigmoid() * c.tanh()
    return (h if weights[4] is None else linear(h, weights[4])), c


def _gru(x: Tensor, state: State, weights: Weights) -> State:
    (h,) = state
    x_reset, x_update, x_new = x.chunk(3, -1)
    h_reset, h_update, h_new = linear(h, weights[1], weights[3]).chunk(3, -1)
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
    return STEPS[mode](linear(x, weights[0], weights[2]), state, (*weights, None)[:5])


def layers(
    mode: str, x: Tensor, sizes: Sequence[int], state: State, weights: Sequence[Weights], *, directions: int, p: float
) -> tuple[Tensor, State]:
    """All layers over a sequence.

    x: float[sum(sizes), inputs], the rows of step 0, then of step 1, ...; sizes: rows of each step, never growing.
    state: float[layers * directions, batch, hidden] each; weights: one entry per layer and direction.
    p: dropout between layers. Gives float[sum(sizes), directions * hidden] and the final state.
    """
    finals: list[State] = []
    for first in range(0, len(weights), directions):
        outputs = []
        for k in range(directions):
            start = tuple(s[first + k] for s in state)
            y, final = _one_direction(STEPS[mode], x, sizes, start, weights[first + k], reverse=k == 1)
            outputs.append(y)
            finals.append(final)
        x = outputs[0] if directions == 1 else cat(outputs, -1)
        if p and first + directions < len(weights):
            x = dropout(x, p, True)
    return x, tuple(cat([s.unsqueeze(0) for s in part]) for part in zip(*finals, strict=True))


def _one_direction(
    step: Step, x: Tensor, sizes: Sequence[int], start: State, weights: Weights, reverse: bool
) -> tuple[Tensor, State]:
    rows = linear(x, weights[0], weights[2]).split(list(sizes))
    ends: list[State] = []  # states of the sequences that ended, shortest first
    outputs: list[Tensor] = [x] * len(rows)
    state = tuple(s[: sizes[-1]] for s in start) if reverse else start
    for t in reversed(range(len(rows))) if reverse else range(len(rows)):
        count, had = sizes[t], state[0].shape[0]
        if had > count:
            ends.append(tuple(s[count:] for s in state))
            state = tuple(s[:count] for s in state)
        elif had < count:
            state = tuple(cat([s, new[had:count]]) for s, new in zip(state, start, strict=True))
        state = step(rows[t], state, weights)
        outputs[t] = state[0]
    ends.append(state)
    final = state if len(ends) == 1 else tuple(cat(parts) for parts in zip(*reversed(ends), strict=True))
    return cat(outputs), final
