"""Moving windows: slices that start somewhere else in every call (a random crop) are read at places that come along as an input.

    %1 = slice %x, start (0, 3), size (8, 32)        %1 = take %x, %places, axis 1      places: 3, 4, ..., 34

Where a slice starts is part of the recorded graph. Of graphs that differ in nothing else the first is compiled as it is; when another
start comes, the slices that moved so far become `take`, and one program serves all starts from then on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..dialects.book import OPS
from ..dialects.graph import Graph, Step
from ..dialects.types import Type, int64
from ..passes.roll_spine import results_of
from .wrapped_program import WrappedProgram

if TYPE_CHECKING:
    from .executable import Executable

MOST_KNOWN = 256

Starts = tuple[tuple[int, ...], ...]  # of every slice of a graph


@dataclass(eq=False)
class _Known:
    """Graphs that differ in where slices start: the starts of the first, and (slice, dimension) of those that moved."""

    first: Starts
    moved: frozenset[tuple[int, int]] = frozenset()


_known: OrderedDict[object, _Known] = OrderedDict()


@dataclass(frozen=True, eq=False)
class Windows:
    """A graph whose moving slices read places that come along, and the places of the graph it was made of: its last inputs."""

    graph: Graph
    places: tuple[np.ndarray, ...]


class WindowedProgram(WrappedProgram):
    """A program of `Windows`, called as the graph they were made of."""

    def __init__(self, program: Executable, windows: Windows) -> None:
        super().__init__(program)
        self.places = windows.places

    def __call__(self, arrays: Sequence[np.ndarray], spare: Mapping[int, int] | None = None) -> list[np.ndarray]:
        """Run on the inputs of the graph; see `Executable`."""
        return self.program([*arrays, *self.places], spare)

    def bind(self, arrays: Sequence[np.ndarray | None]) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
        """This program as a function of the inputs that are None here; see `Executable.bind`."""
        return self.program.bind([*arrays, *self.places])


def windows_of(graph: Graph) -> Windows | None:
    """The graph with its moving slices opened; None where none is known to move."""
    starts = tuple(s.attrs[0] for s in graph.steps if s.op == "slice")
    if not starts:
        return None
    fixed = tuple(Step(s.op, s.attrs[1:], s.operands) if s.op == "slice" else s for s in graph.steps)
    key = graph.inputs, fixed, graph.outputs
    known = _known.pop(key, None) or _Known(starts)
    _known[key] = known
    if len(_known) > MOST_KNOWN:
        _known.popitem(last=False)
    if starts == known.first:
        return None
    known.moved |= frozenset(_differing(known.first, starts))
    return _opened(graph, known.moved)


def _differing(old: Starts, new: Starts) -> Iterator[tuple[int, int]]:
    for n, (before, after) in enumerate(zip(old, new, strict=True)):
        yield from ((n, d) for d, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)


def forget() -> None:
    """What is known of graphs."""
    _known.clear()


def _opened(graph: Graph, moved: frozenset[tuple[int, int]]) -> Windows:
    places: list[np.ndarray] = []
    dims: dict[int, list[int]] = {}
    slices = [number for number, step in enumerate(graph.steps) if step.op == "slice"]
    for n, d in sorted(moved):
        start, size, by = (part[d] for part in graph.steps[slices[n]].attrs)
        places.append(np.arange(start, start + size * by, by, dtype=np.int64))
        dims.setdefault(slices[n], []).append(d)
    first = len(graph.inputs)
    inputs: tuple[Type, ...] = (*graph.inputs, *(((len(p),), int64) for p in places))
    number_of = list(range(first))  # of a value, in the new graph
    types, steps, origins = list(inputs), [], []
    place, value = first, first

    def add(step: Step, made: Sequence[Type], origin: str) -> int:
        steps.append(step)
        origins.append(origin)
        types.extend(made)
        return len(types) - len(made)

    for number, (op, attrs, operands) in enumerate(graph.steps):
        count, origin = results_of(graph.steps[number]), graph.origins[number]
        read = tuple(number_of[i] for i in operands)
        for d in dims.get(number, ()):
            took = OPS["take"].infer((types[read[0]], inputs[place]), (d,))
            read = (add(Step("take", (d,), (read[0], place)), took, origin),)
            attrs = tuple((*part[:d], whole, *part[d + 1 :]) for part, whole in zip(attrs, (0, attrs[1][d], 1), strict=True))
            place += 1
        if number in dims and not any(attrs[0]) and attrs[1] == types[read[0]][0]:
            number_of.append(read[0])
            value += count
            continue
        made = add(Step(op, attrs, read), graph.types[value : value + count], origin)
        number_of += range(made, made + count)
        value += count
    outputs = tuple(number_of[i] for i in graph.outputs)
    names = (*graph.names, *(None,) * len(places))
    return Windows(Graph(inputs, tuple(steps), outputs, tuple(origins), names, tuple(types)), tuple(places))

