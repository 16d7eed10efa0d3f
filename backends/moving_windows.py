"""Moving windows: boxes that start somewhere else in every call (a random crop) are read and written at places that come along as an input.

    %1 = slice %x, start (0, 3), size (8, 32)        %1 = take %x, %places, axis 1      places: 3, 4, ..., 34
    %2 = update %x, %y, start (5, 0)                 %2 = put %x, %places, %y, axis 0   places: 5 (a row of a table, of a ring buffer)

Where a slice or an update starts is part of the recorded graph. Of graphs that differ in nothing else the first is compiled as it is;
when another start comes, the boxes that moved so far become `take` and `put`, and one program serves all starts from then on. What moved at some
sizes moves at others, too (a picture shifted by a few pixels is written into a box that gets smaller the farther it goes): then a template serves
them (`families.py`). Starts that only change with sizes are the template's business alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dialects.book import OPS
from ..dialects.graph import Graph, Step
from ..dialects.types import Type, int64
from ..passes.roll_spine import results_of
from .families import take_apart
from .wrapped_program import WrappedProgram

if TYPE_CHECKING:
    from .executable import Executable

MOST_KNOWN = 256

_BOXES = ("slice", "update")  # their first attribute is where they start

Starts = tuple[tuple[int, ...], ...]  # of every box of a graph


_known: OrderedDict[object, tuple[Starts, bool]] = OrderedDict()
"""Graphs that differ in where boxes start only: the starts of the first, and whether that was opened, too."""

_moved: OrderedDict[object, frozenset[tuple[int, int]]] = OrderedDict()
"""Graphs that differ in sizes, too: (box, dimension) of those that moved while no size was another one."""


@dataclass(frozen=True, eq=False)
class Windows:
    """A graph whose moving boxes are at places that come along, and the places of the graph it was made of: its last inputs."""

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
    """The graph with its moving boxes opened; None where none is known to move."""
    starts = tuple(s.attrs[0] for s in graph.steps if s.op in _BOXES)
    if not starts:
        return None
    fixed = tuple(Step(s.op, ((0,) * len(s.attrs[0]), *s.attrs[1:]), s.operands) if s.op in _BOXES else s for s in graph.steps)
    at_start = Graph(graph.inputs, fixed, graph.outputs, graph.origins, graph.names, graph.types)
    skeleton = take_apart(at_start)[0] if _moved or at_start in _known else None
    moved = _moved.get(skeleton, frozenset())
    first, is_opened = _known.get(at_start, (starts, bool(moved)))
    _note(_known, at_start, (first, is_opened))
    if starts == first and not is_opened:
        return None
    moved |= frozenset(_differing(first, starts))
    _note(_moved, skeleton, moved)
    return _opened(graph, moved)


def _note(table: OrderedDict[object, Any], key: object, value: Any) -> None:
    """Enter something as what was met last."""
    table.pop(key, None)
    table[key] = value
    if len(table) > MOST_KNOWN:
        table.popitem(last=False)


def _differing(old: Starts, new: Starts) -> Iterator[tuple[int, int]]:
    for n, (before, after) in enumerate(zip(old, new, strict=True)):
        yield from ((n, d) for d, (a, b) in enumerate(zip(before, after, strict=True)) if a != b)


def forget() -> None:
    """What is known of graphs."""
    _known.clear()
    _moved.clear()


def _box(graph: Graph, step: Step) -> tuple[tuple[int, ...], ...]:
    """Start, size and step of what is read or written."""
    return step.attrs if step.op == "slice" else (step.attrs[0], graph.types[step.operands[1]][0], step.attrs[1])


def _opened(graph: Graph, moved: frozenset[tuple[int, int]]) -> Windows:
    places: list[np.ndarray] = []
    dims: dict[int, list[int]] = {}
    boxes = [number for number, step in enumerate(graph.steps) if step.op in _BOXES]
    for n, d in sorted(moved):
        start, size, by = (part[d] for part in _box(graph, graph.steps[boxes[n]]))
        places.append(np.arange(start, start + size * by, by, dtype=np.int64))
        dims.setdefault(boxes[n], []).append(d)
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
        if number in dims:
            start, size, by = _box(graph, graph.steps[number])
            part, sources = read[0], []
            for d in dims[number]:
                sources.append((part, place, d))
                part = add(Step("take", (d,), (part, place)), OPS["take"].infer((types[part], inputs[place]), (d,)), origin)
                start, by = (*start[:d], 0, *start[d + 1 :]), (*by[:d], 1, *by[d + 1 :])
                place += 1
            is_whole = not any(start) and size == types[part][0]
            if op == "slice":
                part = part if is_whole else add(Step(op, (start, size, by), (part,)), graph.types[value : value + 1], origin)
            else:
                part = read[1] if is_whole else add(Step(op, (start, by), (part, read[1])), [types[part]], origin)
                for source, at, d in reversed(sources):
                    part = add(Step("put", (d,), (source, at, part)), [types[source]], origin)
            number_of.append(part)
            value += count
            continue
        made = add(Step(op, attrs, read), graph.types[value : value + count], origin)
        number_of += range(made, made + count)
        value += count
    outputs = tuple(number_of[i] for i in graph.outputs)
    names = (*graph.names, *(None,) * len(places))
    return Windows(Graph(inputs, tuple(steps), outputs, tuple(origins), names, tuple(types)), tuple(places))

