"""Known loops: what rolling made of the graphs that came lately, and which programs have no loops at any size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from .families import take_apart

if TYPE_CHECKING:
    from ..dialects.graph import Graph
    from ..passes.roll_writer import Rolled

FEW_STEPS = 64
"""Steps from which on a graph is searched for loops."""

FLAT_RELATIVES = 2
"""Graphs that differ in sizes only, and have no loops, after which such graphs are not searched for any: one token more in each step of a
decoder is a new graph every time."""

OFTEN = 3
"""Lengths of one program after which it is one whose loops go on for another number of turns each time."""

SHORT_STEPS, SHORT_SAVED = 24, 8
"""Steps from which on such a program is searched, and steps that a loop of it must save: rolled, it is one program for any number of
turns, where each number would be compiled."""

MOST_ROLLS = 16
MOST_FLAT = 256
MOST_LENGTHS = 256

_rolls: OrderedDict[Graph, Rolled | None] = OrderedDict()
_flat: OrderedDict[object, int] = OrderedDict()  # skeletons of graphs without loops: of how many sizes that is known
_lengths: OrderedDict[object, set[int]] = OrderedDict()  # by what is done at which lines: numbers of steps it was done in


def with_scans(graph: Graph, timed: Callable[[str], AbstractContextManager]) -> Rolled | None:
    """The graph with its loops as scans; None where it has none. timed: the clock of a search."""
    if len(graph.steps) < SHORT_STEPS:
        return None
    from ..passes.roll_graph import rolled

    if graph in _rolls:
        found = _rolls.pop(graph)
    else:
        changing = _changes(graph)
        if len(graph.steps) < FEW_STEPS and not changing:
            return None
        skeleton = take_apart(graph)[0]
        if _flat.get(skeleton, 0) >= FLAT_RELATIVES:
            return None
        with timed("roll"):
            found = rolled(graph)
            if found.graph is graph and changing:
                found = rolled(graph, least=SHORT_SAVED)
        found = None if found.graph is graph else found
        if found is None:
            _flat[skeleton] = _flat.pop(skeleton, 0) + 1
            if len(_flat) > MOST_FLAT:
                _flat.popitem(last=False)
    _rolls[graph] = found
    if len(_rolls) > MOST_ROLLS:
        _rolls.popitem(last=False)
    return found


def _changes(graph: Graph) -> bool:
    """Whether the same is done at the same lines in other numbers of steps."""
    done = frozenset(zip([step.op for step in graph.steps], graph.origins, strict=False))
    lengths = _lengths.pop(done, set())
    lengths.add(len(graph.steps))
    _lengths[done] = lengths
    if len(_lengths) > MOST_LENGTHS:
        _lengths.popitem(last=False)
    return len(lengths) > OFTEN


def forget() -> None:
    """What is known of graphs."""
    _rolls.clear()
    _lengths.clear()
    _flat.clear()
