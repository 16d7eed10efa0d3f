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

MOST_ROLLS = 16
MOST_FLAT = 256

_rolls: OrderedDict[Graph, Rolled | None] = OrderedDict()
_flat: OrderedDict[object, int] = OrderedDict()  # skeletons of graphs without loops: of how many sizes that is known


def with_scans(graph: Graph, timed: Callable[[str], AbstractContextManager]) -> Rolled | None:
    """The graph with its loops as scans; None where it has none. timed: the clock of a search."""
    if len(graph.steps) < FEW_STEPS:
        return None
    from ..passes.roll_graph import rolled

    if graph in _rolls:
        found = _rolls.pop(graph)
    else:
        skeleton = take_apart(graph)[0]
        if _flat.get(skeleton, 0) >= FLAT_RELATIVES:
            return None
        with timed("roll"):
            found = rolled(graph)
        found = None if found.graph is graph else found
        if found is None:
            _flat[skeleton] = _flat.pop(skeleton, 0) + 1
            if len(_flat) > MOST_FLAT:
                _flat.popitem(last=False)
    _rolls[graph] = found
    if len(_rolls) > MOST_ROLLS:
        _rolls.popitem(last=False)
    return found


def forget() -> None:
    """What is known of graphs."""
    _rolls.clear()
    _flat.clear()
