"""The loops of a recorded Graph as scans: found one after the other, those within others too. Needs no IR."""

from __future__ import annotations

import numpy as np

from ..dialects.graph import Graph
from .roll_loop import LEAST_TURNS, Loop, loop_in
from .roll_periods import periods, stretches
from .roll_spine import GRAD, Spine
from .roll_writer import Rolled, Source, write
from .roll_writes import joined_writes

LEAST_SAVED = 64
"""Steps of the spine a loop must save."""
LONG = 1024
"""Steps from which a GPU's program is rolled."""
MOST_ROUNDS = 32
"""How often a graph is searched: loops around loops, and loops of other lengths, are found one after the other."""


def rolled(graph: Graph, rows: bool = True, least: int | None = None) -> Rolled:
    """A graph with its loops as scans; the graph itself where there is none that pays.

    rows: inputs that differ from turn to turn may be stacked, outputs of single turns may be rows of an output; else inputs and
    outputs are those of the graph. least: steps a loop must save.
    """
    least = LEAST_SAVED if least is None else least
    if len(graph.steps) < least:
        return _unchanged(graph)
    found = _unchanged(joined_writes(graph))
    loops: list[Loop] = []
    for _ in range(MOST_ROUNDS):
        if len(found.graph.steps) < least:
            break
        spine = Spine(found.graph)
        more = _best(spine, _free(found, rows), least)
        if not more:
            break
        loops += more
        found = _after(found, write(spine, more, lambda body: rolled(body, False, least).graph, rows))
    return found if loops else _unchanged(graph)


def rolled_if_long(graph: Graph) -> Graph:
    """For a GPU, inputs and outputs unchanged: the turns of a scan are launched one by one like any kernels, and what they carry is
    copied besides, so only what would take long to compile is rolled.
    """
    return rolled(graph, rows=False).graph if len(graph.steps) >= LONG else graph


def _unchanged(graph: Graph) -> Rolled:
    return Rolled(graph, tuple(range(len(graph.inputs))), tuple((k,) for k in range(len(graph.outputs))))


def _free(found: Rolled, rows: bool) -> np.ndarray:
    """Of each input, whether it may be another one in every turn: nothing a derivative is taken by, nothing that is stacked already."""
    wrt = {i for s in found.graph.steps if s.op == GRAD for i in s.operands[2:]}
    free = [rows and isinstance(source, int) and i not in wrt for i, source in enumerate(found.inputs)]
    return np.array(free or [False], bool)


def _best(spine: Spine, free: np.ndarray, least: int) -> list[Loop]:
    """The loops of the period that saves most steps."""
    tries = []
    for period in periods(spine):
        parts = [(first, end) for first, end in stretches(spine, period, free) if end - first >= (LEAST_TURNS - 1) * period]
        most = sum(end - first for first, end in parts)
        if most >= least:
            tries.append((-most, period, parts))
    best: list[Loop] = []
    for most, period, parts in sorted(tries):
        if -most <= _saved(best):
            break
        loops: list[Loop] = []
        for first, end in parts:
            floor = loops[-1].end if loops else 0
            loop = loop_in(spine, max(first, floor), end, period, floor, free, least) if end - max(first, floor) > period else None
            if loop is not None:
                loops.append(loop)
        if _saved(loops) > _saved(best):
            best = loops
    return best


def _saved(loops: list[Loop]) -> int:
    return sum((loop.turns - 1) * loop.period for loop in loops)


def _after(first: Rolled, second: Rolled) -> Rolled:
    """What two rounds made of a graph."""

    def source(i: Source) -> Source:
        return first.inputs[i] if isinstance(i, int) else tuple([first.inputs[k] for k in i])  # type: ignore[misc]  # those are ints

    outputs = tuple((*second.outputs[k], *rows) for k, *rows in first.outputs)
    return Rolled(second.graph, tuple(map(source, second.inputs)), outputs)
