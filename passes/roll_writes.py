"""Writes side by side are one write: a buffer that a loop fills part by part is filled once, with the parts behind each other.

    %1 = update %0, %a, start 0        %p = concat %a, %b, %c
    %2 = update %1, %b, start 2   ->   %3 = update %0, %p, start 0
    %3 = update %2, %c, start 4

Only where nothing else reads the buffer in between. Then the turns of the loop no longer hand the buffer on.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dialects.graph import Graph, Step
from ..dialects.types import Type
from .roll_spine import GRAD, results_of

LEAST_WRITES = 4


@dataclass
class _Chain:
    """Writes along an axis: their steps and what they write, from the first on, and whether the places rise or fall."""

    axis: int
    by: int
    steps: list[int]
    parts: list[int]


def joined_writes(graph: Graph) -> Graph:
    """The graph with every chain of writes as one; the graph itself where there are none."""
    chains = {chain.steps[-1]: chain for chain in _chains(graph) if len(chain.steps) >= LEAST_WRITES}
    if not chains:
        return graph
    gone = {number for chain in chains.values() for number in chain.steps[:-1]}
    number_of = list(range(len(graph.inputs)))  # of a value, in the new graph
    types: list[Type] = list(graph.inputs)
    steps: list[Step] = []
    origins: list[str] = []
    value = len(graph.inputs)
    for number, step in enumerate(graph.steps):
        count = results_of(step)
        made = graph.types[value : value + count]
        value += count
        if number in gone:
            number_of.append(number_of[step.operands[0]])  # what the chain starts from
            continue
        operands, attrs = tuple([number_of[i] for i in step.operands]), step.attrs
        chain = chains.get(number)
        if chain is not None:
            first = chain.steps[0 if chain.by > 0 else -1]
            parts = [number_of[i] for i in chain.parts[:: 1 if chain.by > 0 else -1]]
            shape, dtype = graph.types[chain.parts[0]]
            size = sum(graph.types[i][0][chain.axis] for i in chain.parts)
            steps.append(Step("concat", (chain.axis,), tuple(parts)))
            origins.append(graph.origins[number])
            types.append(((*shape[: chain.axis], size, *shape[chain.axis + 1 :]), dtype))
            operands, attrs = (operands[0], len(types) - 1), graph.steps[first].attrs
        number_of += range(len(types), len(types) + count)
        steps.append(Step(step.op, attrs, operands))
        origins.append(graph.origins[number])
        types += made
    outputs = tuple([number_of[i] for i in graph.outputs])
    return Graph(graph.inputs, tuple(steps), outputs, tuple(origins), graph.names, tuple(types))


def _chains(graph: Graph) -> list[_Chain]:
    """Chains of writes, each of which only the next one reads."""
    reads = [0] * len(graph.types)
    for step in graph.steps:
        for i in step.operands:
            reads[i] += 1
            if step.op == GRAD:
                reads[i] += 1
    for i in graph.outputs:
        reads[i] += 1
    ends: dict[int, _Chain] = {}  # by the value of the last write
    found: list[_Chain] = []
    value = len(graph.inputs)
    for number, step in enumerate(graph.steps):
        if step.op == "update" and all(n == 1 for n in step.attrs[1]):
            chain = ends.pop(step.operands[0], None) if reads[step.operands[0]] == 1 else None
            if chain is None or not _goes_on(graph, chain, step):
                chain = _Chain(-1, 0, [], [])
                found.append(chain)
            chain.steps.append(number)
            chain.parts.append(step.operands[1])
            ends[value] = chain
        value += results_of(step)
    return found


def _goes_on(graph: Graph, chain: _Chain, step: Step) -> bool:
    """Whether a write lies beside the last one of a chain, on the side where the chain grows; notes that side."""
    before, shape = graph.steps[chain.steps[-1]].attrs[0], graph.types[chain.parts[-1]][0]
    if graph.types[step.operands[1]] != graph.types[chain.parts[-1]]:
        return False
    moved = [(axis, b - a) for axis, (a, b) in enumerate(zip(before, step.attrs[0], strict=True)) if a != b]
    if len(moved) != 1 or abs(moved[0][1]) != shape[moved[0][0]]:
        return False
    if len(chain.steps) > 1:
        return moved[0] == (chain.axis, chain.by)
    chain.axis, chain.by = moved[0]
    return True
