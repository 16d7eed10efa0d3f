"""Plan: what one flush did, by positions instead of Nodes, kept for the next flush of the same program.

A training loop flushes the same program again and again. Its walk has the same signature each time, so the
Graph, the order of its inputs and the places of its results are those of the last time. Plans hold types,
attributes and numbers only: no Node, no array.

A text that grows by a word in each turn is the same program at another size: the walk's signature is the same, its contents are not.
Then the positions hold, and the Graph is the last one with these types and attributes in it: no Schedule is made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np

from ..dialects.graph import Arrays, Graph, Step
from .dying import Dying
from .node import ALIAS, HELD, PHRASE, RESULT, Bundle, Node, open_bundle
from .residuals import needs_values
from .schedule import Schedule, is_done, is_freed, moves
from .track import Track, grads_at, track_of, walked
from .walk import Walk, by_order

Run = Callable[[Graph, list[np.ndarray], Mapping[int, int] | None], list[np.ndarray]]
_KEPT = 256
_GRAPHS = 256  # of one Plan, by contents
_step = tuple.__new__  # a Step without the detour of its constructor
_plans: OrderedDict[int, list[Plan]] = OrderedDict()
_WARM = 4  # walks that a plan fits before it gets a track
_MOST_TRACKS = 3  # tried before a walk
_MOST_PLACES = 1024
_tracks: dict[tuple, list[Plan]] = {}  # by what the roots begin with, those that were right last first


class Plan:
    """A Schedule in positions of its walk.

    inputs: whose values are the arrays, in the Graph's order. results: (position, output) pairs. renamed:
    (position, input) pairs of roots that are inputs under another name. done: whose inputs are forgotten
    afterwards, freed steps that cannot be differentiated again among them; maybe_done: whose inputs are if no derivative can
    go through again, which the walk does not tell. recorded: positions in the order
    they were recorded, of the Nodes whose order shows in the Graph. dying: what nobody can read after this flush. held: of each Node
    that holds several arrays its position, that of the Node for what they become (-1: nobody wants it), and the inputs and outputs they are.
    graphs: those of the walks that came lately, by their contents. last: contents and Graph of the last one. met: how many walks it fitted; track: what
    finds them from then on, if there can be one; bundle: where the only Node that holds several arrays is, if it is one that is read; changing: numbers of the other inputs; grads: positions of derivatives. form: how the Graph of other contents is made; None
    where they may change more than it (derivatives).
    """

    __slots__ = ("signature", "graphs", "last", "track", "grads", "met", "form", "inputs", "results", "renamed", "done", "maybe_done", "recorded", "dying", "held", "bundle", "changing")

    def __init__(self, schedule: Schedule, walk: Walk) -> None:
        """From a Schedule that was just built and has no values yet."""
        nodes = walk.nodes
        at = {id(node): position for position, node in enumerate(nodes)}
        self.signature = walk.signature
        self.last = walk.contents, schedule.graph
        self.met, self.track, self.grads = 0, None, grads_at(walk)
        self.graphs = {tuple(walk.contents): schedule.graph}
        holder = {id(node.value): i for i, node in enumerate(nodes) if node.value is not None}
        holder |= {id(leaf.value): at[id(node.inputs[-1])] for node, leaves, _ in schedule.spread for leaf in leaves}
        self.inputs = [holder[id(array)] for array in schedule.arrays]
        output = {number: k for k, number in enumerate(schedule.outputs)}
        kept = [node for node in schedule.kept if node.value is None and id(node) in at]
        become = {id(node.inputs[0]): i for i, node in enumerate(nodes) if node.op == HELD and node.value is None}
        self.held = [
            (at[id(node.inputs[-1])], become.get(id(node), -1), [schedule.input_of(leaf) for leaf in leaves], [output.get(made.id, -1) for made in results])
            for node, leaves, results in schedule.spread
        ]
        sources = {id(source): source for source in [node.inputs[-1] for node, _, _ in schedule.spread]}
        self.bundle = at[id(source)] if len(sources) == 1 and type(source := next(iter(sources.values()))) is Bundle else -1
        still = {i for _, _, inputs, _ in self.held for i in inputs}
        self.changing = tuple([i for i in range(len(self.inputs)) if i not in still])
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
        self.form = GraphForm.of(schedule, walk, at, self.inputs)

    def graph(self, walk: Walk) -> Graph | None:
        """The Graph of a walk of this signature, if it was recorded in the same order, at whatever sizes."""
        nodes = walk.nodes
        orders = [nodes[i].order for i in self.recorded]
        return self.graph_in_order(walk) if orders == sorted(orders) else None

    def graph_in_order(self, walk: Walk) -> Graph | None:
        """The same, where the order is known to be that."""
        contents = walk.contents
        known, graph = self.last
        if known == contents:
            return graph
        if self.form is None:
            return None
        key = tuple(contents)
        found = self.graphs.get(key)
        if found is None:
            found = self.form.graph(walk)
            if found is None:
                return None
            if len(self.graphs) >= _GRAPHS:
                del self.graphs[next(iter(self.graphs))]
            self.graphs[key] = found
        self.last = contents, found
        return found

    def arrays(self, nodes: list[Node]) -> list[np.ndarray]:
        """The Graph's inputs, of a walk this plan fits."""
        if self.bundle >= 0:
            return self._taken_from(nodes[self.bundle].bases, nodes)  # type: ignore[attr-defined]  # it is a Bundle
        arrays = [nodes[i].value for i in self.inputs]
        for position, _, inputs, _ in self.held:
            for i, array in zip(inputs, nodes[position].value):  # noqa: B905  # as many: the types are the same
                arrays[i] = array
        return arrays

    def _taken_from(self, bases: dict[Plan, Arrays], nodes: list[Node]) -> Arrays:
        """The same where most are in a bundle: put together once for each."""
        base = bases.get(self)
        if base is None:
            base = bases[self] = Arrays([None] * len(self.inputs))
            for position, _, inputs, _ in self.held:
                for i, array in zip(inputs, nodes[position].value, strict=True):
                    base[i] = array
        arrays = Arrays(base)
        arrays.base, arrays.changing = base, self.changing
        for i in self.changing:
            arrays[i] = nodes[self.inputs[i]].value
        return arrays

    def run(self, nodes: list[Node], graph: Graph, run: Run) -> None:
        """Compute the roots of a walk this plan fits. nodes, graph: those of the walk. run: the driver's."""
        arrays = self.arrays(nodes)
        freed = [i for i in self.maybe_done if is_freed(nodes[i])] if self.maybe_done else self.maybe_done
        if graph.outputs:
            spare = self.dying.of(nodes) if len(freed) == len(self.maybe_done) else None
            results = run(graph, arrays, spare)
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


class GraphForm:
    """A Graph in positions of its walk's contents, to be made again of others.

    first: the Graph it was found in. inputs: positions of their types. steps: operation, position of its attributes, number in the phrase that is there (-1: none),
    results, operands. exact: positions of contents that are structure. phrases: positions of phrases, with their forms.
    """

    __slots__ = ("first", "inputs", "steps", "exact", "phrases", "contents")

    @classmethod
    def of(cls, schedule: Schedule, walk: Walk, at: Mapping[int, int], inputs: list[int]) -> GraphForm | None:
        """Of a Schedule without derivatives, now or later: which values those keep, and what they read, is no matter of positions."""
        nodes = walk.nodes
        if walk.grads or schedule.spread or any([n.freed or n.requires_grad and n.value is None and n.op != ALIAS for n in nodes]):
            return None
        made = cls()
        made.first, made.contents, made.inputs, made.steps = schedule.graph, walk.contents, inputs, []
        for step, maker in zip(schedule.graph.steps, schedule.makers, strict=True):
            node, k = schedule.parts.get(id(maker), (maker, -1))
            whole = node.type if k < 0 else node.attrs[0].step(k)[1]
            made.steps.append((step.op, at[id(node)], k, len(whole) if isinstance(whole[-1], tuple) else 1, step.operands))
        made.exact = [i for i, n in enumerate(nodes) if n.value is None and n.op is RESULT]
        made.phrases = [(i, n.attrs[0].form) for i, n in enumerate(nodes) if n.value is None and n.op == PHRASE]
        again = made._graph_of(walk)
        if again is None or again != schedule.graph or again.types != schedule.graph.types:
            return None
        schedule.graph.kin = made
        return made

    def graph(self, walk: Walk) -> Graph | None:
        """The Graph of a walk of the same signature; None where other contents make another one than positions tell."""
        contents, before = walk.contents, self.contents
        if any([contents[i] != before[i] for i in self.exact]) or any([contents[i][0].form is not form for i, form in self.phrases]):
            return None
        return self._graph_of(walk)

    def _graph_of(self, walk: Walk) -> Graph | None:
        nodes, contents, own = walk.nodes, walk.contents, self.first
        inputs = tuple([contents[i] for i in self.inputs])
        types, steps = list(inputs), []
        for (op, i, k, count, operands), old in zip(self.steps, own.steps, strict=True):
            if k < 0:
                attrs, type = contents[i], nodes[i].type
            else:
                attrs, type = contents[i][0].step(k)
            steps.append(old if attrs == old[1] else _step(Step, (op, attrs, operands)))
            if count == 1:
                types.append(type)
            elif count == len(type):
                types += type
            else:
                return None
        return Graph(inputs, tuple(steps), own.outputs, own.origins, own.names, tuple(types), self)


def plan_of(roots: list[Node]) -> tuple[list[Node], Plan, Graph]:
    """What a walk from some roots meets, the plan for it, one that fits or a new one, and its Graph."""
    first = roots[-1]
    place = len(roots), first.op, first.origin
    near = _tracks.get(place)
    if near is not None:
        for k, plan in enumerate(near):
            met = plan.track(roots)  # type: ignore[misc]  # those in the table have one
            if met is not None:
                nodes, contents = met
                known, graph = plan.last
                if contents != known:
                    graph = plan.graph_in_order(walked(roots, nodes, contents, plan.signature, plan.grads))
                if graph is not None:
                    if k:
                        near.insert(0, near.pop(k))
                    return nodes, plan, graph
    walk = _walk_of(roots)
    size = len(walk.signature)
    alike = _plans.get(size)
    if alike is None:
        alike = _plans[size] = []
        if len(_plans) > _KEPT:
            _plans.popitem(last=False)
    for plan in alike:
        graph = plan.graph(walk) if plan.signature == walk.signature else None
        if graph is not None:
            plan.met += 1
            if plan.met >= _WARM and (plan.track is not None or plan.met == _WARM):
                _lay(place, plan, walk)
            return walk.nodes, plan, graph
    plan = Plan(Schedule(walk.roots, walk), walk)
    if len(alike) >= 8:
        alike.pop(0)
    alike.append(plan)
    return walk.nodes, plan, plan.last[1]


def _walk_of(roots: list[Node]) -> Walk:
    """A walk in which nobody else has an array of a bundle: what shares an array with what, its signature says of single ones."""
    walk = Walk(roots)
    bundles = [node for node in walk.nodes if type(node) is Bundle]
    if not bundles:
        return walk
    ids = [id(node.value) for node in walk.nodes if node.value is not None]
    ids += [i for bundle in bundles for i in bundle.ids]
    if len({*ids}) == len({id(node.value) for node in walk.nodes if node.value is not None}) + sum([len(bundle.ids) for bundle in bundles]):
        return walk
    for node in walk.nodes:
        if node.value is None and node.op == PHRASE:
            open_bundle(node)
    return Walk(roots)


def _lay(place: tuple, plan: Plan, walk: Walk) -> None:
    """Have a plan found by its track where its walks begin."""
    plan.track = plan.track or track_of(walk, plan.recorded)
    if plan.track is None:
        return
    if place not in _tracks and len(_tracks) >= _MOST_PLACES:
        del _tracks[next(iter(_tracks))]
    near = _tracks.setdefault(place, [])
    if plan not in near:
        near.insert(0, plan)
        del near[_MOST_TRACKS:]


def lay_anew() -> None:
    """Have all tracks made again, when their walks come next: they are made otherwise from now on."""
    _tracks.clear()
    for alike in _plans.values():
        for plan in alike:
            plan.track, plan.met = None, min(plan.met, _WARM - 1)
