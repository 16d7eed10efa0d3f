"""Plan: what one flush did, by positions instead of Nodes, kept for the next flush of the same program.

A training loop flushes the same program again and again. Its walk has the same signature each time, so the
Graph, the order of its inputs and the places of its results are those of the last time. Plans hold types,
attributes and numbers only: no Node, no array.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np

from ..dialects.graph import Graph
from .dying import Dying
from .node import HELD, Node
from .residuals import needs_values
from .schedule import Schedule, is_done, is_freed, moves
from .walk import Walk, by_order

Run = Callable[[Graph, list[np.ndarray], Mapping[int, int] | None], list[np.ndarray]]
_KEPT = 256
_plans: OrderedDict[int, list[Plan]] = OrderedDict()


class Plan:
    """A Schedule in positions of its walk.

    inputs: whose values are the arrays, in the Graph's order. results: (position, output) pairs. renamed:
    (position, input) pairs of roots that are inputs under another name. done: whose inputs are forgotten
    afterwards, freed steps that cannot be differentiated again among them; maybe_done: whose inputs are if no derivative can
    go through again, which the walk does not tell. recorded: positions in the order
    they were recorded, of the Nodes whose order shows in the Graph. dying: what nobody can read after this flush. held: of each Node
    that holds several arrays its position, that of the Node for what they become (-1: nobody wants it), and the inputs and outputs they are.
    """

    __slots__ = ("signature", "graph", "inputs", "results", "renamed", "done", "maybe_done", "recorded", "dying", "held")

    def __init__(self, schedule: Schedule, walk: Walk) -> None:
        """From a Schedule that was just built and has no values yet."""
        nodes = walk.nodes
        at = {id(node): position for position, node in enumerate(nodes)}
        self.signature = walk.signature
        self.graph = schedule.graph
        holder = {id(node.value): i for i, node in enumerate(nodes) if node.value is not None}
        holder |= {id(leaf.value): at[id(node.inputs[-1])] for node, leaves, _ in schedule.spread for leaf in leaves}
        self.inputs = [holder[id(array)] for array in schedule.arrays]
        output = {number: k for k, number in enumerate(schedule.outputs)}
        kept = [node for node in schedule.kept if node.value is None and id(node) in at]
        become = {id(node.inputs[0]): i for i, node in enumerate(nodes) if node.op == HELD and node.value is None}
        self.held = [
            (at[id(node.inputs[-1])], become.get(id(node), -1), [leaf.id for leaf in leaves], [output.get(made.id, -1) for made in results])
            for node, leaves, results in schedule.spread
        ]
        self.results = [(at[id(node)], output[node.id]) for node in kept if node.id in output]
        fresh = len(schedule.arrays)
        self.renamed = [(at[id(node)], node.id) for node in kept if node.id < fresh]
        computed = {at[id(node)] for node in kept} | {position for _, position, _, _ in self.held if position >= 0}
        behind = [n for n in nodes if n.inputs and (n.value is not None or at[id(n)] in computed)]
        self.done = [at[id(n)] for n in behind if is_done(n) or n.freed and n.value is None and needs_values(n)]
        done = set(self.done)
        self.maybe_done = [at[id(n)] for n in sorted(behind, key=by_order) if n.freed and at[id(n)] not in done]
        emitted = [n for n in nodes if (walk.goes_deep and n.op != "full") or n.value is None and not moves(n)]
        self.recorded = [at[id(n)] for n in sorted(emitted, key=by_order)]
        cleared = {*self.done, *self.maybe_done}
        self.dying = Dying(walk, self.inputs, computed, {at[id(n)] for n in behind} - cleared, cleared)

    def fits(self, walk: Walk) -> bool:
        """True when the walk met the program this plan was made for, recorded in the same order."""
        if self.signature != walk.signature:
            return False
        nodes = walk.nodes
        orders = [nodes[i].order for i in self.recorded]
        return orders == sorted(orders)

    def arrays(self, nodes: list[Node]) -> list[np.ndarray]:
        """The Graph's inputs, of a walk this plan fits."""
        arrays = [nodes[i].value for i in self.inputs]
        for position, _, inputs, _ in self.held:
            for i, array in zip(inputs, nodes[position].value):  # noqa: B905  # as many: the types are the same
                arrays[i] = array
        return arrays

    def run(self, walk: Walk, run: Run) -> None:
        """Compute the roots of a walk this plan fits. run: the driver's."""
        nodes = walk.nodes
        arrays = self.arrays(nodes)
        freed = [i for i in self.maybe_done if is_freed(nodes[i])] if self.maybe_done else self.maybe_done
        if self.graph.outputs:
            spare = self.dying.of(nodes) if len(freed) == len(self.maybe_done) else None
            results = run(self.graph, arrays, spare)
            for position, k in self.results:
                nodes[position].value = results[k]
            for _, position, _, outputs in self.held:
                if position >= 0:
                    nodes[position].value = [results[k] for k in outputs]
        for position, i in self.renamed:
            nodes[position].value = arrays[i]
        for position in self.done:
            nodes[position].inputs = ()
        for position in freed:
            nodes[position].inputs = ()


def plan_of(walk: Walk) -> Plan:
    """The plan for a walk: one that fits, or a new one."""
    size = len(walk.signature)
    alike = _plans.get(size)
    if alike is None:
        alike = _plans[size] = []
        if len(_plans) > _KEPT:
            _plans.popitem(last=False)
    for plan in alike:
        if plan.fits(walk):
            return plan
    plan = Plan(Schedule(walk.roots, walk), walk)
    if len(alike) >= 8:
        alike.pop(0)
    alike.append(plan)
    return plan
