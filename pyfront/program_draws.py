"""Random numbers of recorded programs: drawn anew at each call, or computed from a state.

While a program is recorded they are its first steps, which make zeros, in the order of drawing: so sizes known only at the call are
found as those of any step. `Draws` says of which distributions they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialects.graph import Graph, Step
from ..dialects.types import Type, int64, size_of
from . import recorder
from .grad_mode import no_grad
from .node import Node
from .philox import Places
from .random import default_generator
from .sampling import DRAWS
from .schedule import Schedule

Draws = tuple[tuple[str, tuple[Any, ...]], ...]
"""The distribution and its numbers, of each of a program's first steps."""

STATE = "random_state"


def stand_in(t: Type) -> Step:
    """The step that stands for random numbers of a type."""
    return Step("full", (t[0], np.zeros((), t[1].numpy).item(), t[1]), ())


def _types(graph: Graph, draws: Draws) -> tuple[Type, ...]:
    return tuple(graph.types[len(graph.inputs) : len(graph.inputs) + len(draws)])


def drawn_now(graph: Graph, draws: Draws) -> list[np.ndarray]:
    """New random numbers from the default generator, as the model would draw them."""
    made = []
    for (shape, dtype), (name, numbers) in zip(_types(graph, draws), draws, strict=True):
        array = DRAWS[name].host(default_generator.engine, size_of(shape), dtype.numpy, *numbers)
        made.append(np.asarray(array).reshape(shape))
    return made


def drawn_as_inputs(graph: Graph, draws: Draws) -> Graph:
    """The program with its random numbers as last inputs: values keep their ids."""
    if not draws:
        return graph
    k = len(draws)
    names = (*graph.names, *(f"random_{i}" for i in range(k)))
    return Graph((*graph.inputs, *_types(graph, draws)), graph.steps[k:], graph.outputs, graph.origins[k:], names, graph.types)


def drawn_by_steps(graph: Graph, draws: Draws) -> tuple[Graph, np.ndarray]:
    """The program with its random numbers computed from a last input, and what that is at first: a key and a place. The last result
    is what the next call is to be given."""
    state = recorder.alias(recorder.leaf(np.zeros(2, np.int64), ((2,), int64)))
    state.value = None
    sequence = Places(state)
    with no_grad():
        numbers = [
            DRAWS[name].gpu(sequence, shape, dtype, *given) for (shape, dtype), (name, given) in zip(_types(graph, draws), draws, strict=True)
        ]
        moved = sequence.moved()
        source = Schedule([*numbers, moved]).graph
    n, k = len(graph.inputs), len(draws)
    made, shift = n + len(source.types), len(source.types) - k
    places = [n + node.id for node in numbers]

    def place(i: int) -> int:
        return i if i < n else places[i - n] if i < n + k else i + shift

    assert source.inputs == (((2,), int64),)
    steps = [Step(op, attrs, tuple(n + i for i in operands)) for op, attrs, operands in source.steps]
    steps += [Step(op, attrs, tuple(map(place, operands))) for op, attrs, operands in graph.steps[k:]]
    types = (*graph.inputs, *source.types, *graph.types[n + k :])
    assert made == n + k + shift
    origins = (graph.origins[0] if graph.origins else "?",) * len(source.steps) + graph.origins[k:]
    outputs = (*map(place, graph.outputs), n + moved.id)
    whole = Graph((*graph.inputs, *source.inputs), tuple(steps), outputs, origins, (*graph.names, STATE), types)
    seed = default_generator.initial_seed()
    return whole, np.array([seed & 0xFFFFFFFF, seed >> 32 << 32], np.uint64).view(np.int64)
