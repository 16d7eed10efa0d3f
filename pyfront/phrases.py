"""Phrases: steps that always come together, recorded again without asking the book about each.

Where no derivative can go through them they are one Node, which only a Schedule looks into: a warm step never writes them out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Sequence
from operator import itemgetter
from typing import Any

from .node import ALIAS, EXAMPLE, FIXED, GRAD, HELD, PHRASE, RESULT, SAVED, Bundle, Node, open_bundle, reads_several
from .recorder import constants as shared, state
from .walk import by_order

_MOST = 4096
_forms: dict[tuple, tuple] = {}
_once: dict[tuple, Phrase] = {}
_DATA = frozenset({None, "full"})  # arrays: given ones, and memory that was filled
_NO_STEPS = frozenset({None, ALIAS, SAVED, GRAD, EXAMPLE})  # whether they are tracked, their operands do not tell

BESIDE = -2
"""In the place of what a step reads: the tuple of the result before it. Results of a step share one, however they were recorded: who looks
at reference counts (`dying.py`) sees the same each time.
"""


class Phrase:
    """The steps between some operands and some results."""

    __slots__ = ("_steps", "_results", "held", "form", "_as_one", "_overwritten")

    def __init__(
        self, steps: Sequence[tuple[str, tuple, Sequence[int], Any, bool]], results: Sequence[int], held: Sequence[int] = (),
        lines: Sequence[str] | None = None,
    ) -> None:
        """steps: (op, attributes, places of what it reads, type, whether it is tracked when that is) of each; places count the
        operands first, then the steps. held: numbers of results that take the places of the arrays of the last operand, one Node
        that holds them all; each array counts as an operand. lines: the user's of each step; without them it is the one that is running
        when they are recorded."""
        self._results = results
        self._overwritten: list[tuple[int, int]] = []  # steps, and how many steps are recorded before they are written over
        self.held = tuple(held)
        spelled = [(op, *read, attrs if op is RESULT else len(type) if _is_several(type) else 1) for op, attrs, read, type, _ in steps]
        form = (*spelled, tuple(results), self.held)
        self.form = _forms.setdefault(form, form)  # one object for phrases that differ in attributes and types only
        self._as_one: tuple[tuple, list[tuple[tuple[int], Any, int]]] | None = None  # types of all results; those that are Nodes
        self._steps = []
        before: tuple[str, list[int]] | None = None
        for (op, attrs, read, type, may_be), line in zip(steps, lines or (None,) * len(steps), strict=True):
            pick = itemgetter(*read) if len(read) > 1 else None
            only = BESIDE if op is RESULT and before == (op, list(read)) else read[0] if read else -1
            self._steps.append((op, attrs, pick, only, type, may_be, line))
            before = op, list(read)

    @staticmethod
    def once(
        steps: Sequence[tuple[str, tuple, Sequence[int], Any, bool]], results: Sequence[int], held: Sequence[int] = ()
    ) -> Phrase:
        """The phrase of these steps, the same object each time: whoever is made anew (an optimizer) records the same program."""
        key = tuple([(op, repr(attrs), *read, type, may_be) for op, attrs, read, type, may_be in steps]), tuple(results), tuple(held)
        made = _once.get(key)
        if made is None:
            if len(_once) >= _MOST:
                _once.clear()
            made = _once[key] = Phrase(steps, results, held)
        return made

    @staticmethod
    def of(operands: Sequence[Node], steps: Sequence[Node], results: Sequence[Node], with_lines: bool = False) -> Phrase:
        """What was just recorded: the steps in their order. with_lines: they stay those of the lines they were recorded at."""
        place = {id(node): i for i, node in enumerate((*operands, *steps))}
        spelled = [(node.op, node.attrs, [place[id(n)] for n in node.inputs], node.type, _may_be_tracked(node)) for node in steps]
        made = Phrase(spelled, [place[id(node)] for node in results], (), [node.origin for node in steps] if with_lines else None)
        orders = [node.order for node in steps]
        made._overwritten = [(k, bisect_left(orders, node.overwritten)) for k, node in enumerate(steps) if node.overwritten]
        return made

    def again(self, operands: Sequence[Node], up: int = 2) -> Node:
        """The one result for other operands of the same types. up: see `origin`, as the caller would give it."""
        steps, placement = self._steps, state.placement
        if len(steps) == 1 or placement is not None and placement.together(operands) is None or state.watch is not None or state.levels or state.duals or state.traces:
            return self._record(operands, up + 1)[self._results[0]]
        if state.grad:
            for n in operands:
                if n.requires_grad:
                    return self._record(operands, up + 1, True)[self._results[0]]
        state.order += len(steps)
        return Node(PHRASE, (self,), tuple(operands), steps[-1][4], state.origin(up), False, state.order)

    def of_bundle(self, operands: list[Node], bundle: Bundle, up: int = 2) -> Node:
        """The one result for untracked operands, the last of which are those in a bundle."""
        steps = self._steps
        state.order += len(steps)
        return Node(PHRASE, (self,), (*operands, bundle), steps[-1][4], state.origin(up), False, state.order)

    def step(self, k: int) -> tuple[tuple, Any]:
        """Attributes and type of a step."""
        return self._steps[k][1], self._steps[k][4]

    def write_out(self, node: Node) -> list[Node]:
        """Make a Node that stands for the whole phrase its last step, as if each had been recorded; gives the others."""
        open_bundle(node)
        *inner, last = self._append(list(node.inputs), node.origin, node.order - len(self._steps), False)[len(node.inputs) :]
        node.op, node.attrs, node.inputs = last.op, last.attrs, last.inputs
        return inner

    def all_again(self, operands: Sequence[Node], up: int = 2) -> list[Node]:
        """The results for other operands of the same types. up: see `origin`, as the caller would give it."""
        if len(self._results) == 1:
            return [self.again(operands, up + 1)]
        nodes = self._record(operands, up + 1)
        return [nodes[i] for i in self._results]

    def as_one(self, operands: Sequence[Node], where: str, bundle: Bundle | None = None) -> list[Node]:
        """The results, which other steps gave, for other operands of the same types, none of them tracked: one Node has them all. bundle:
        the last of the operands, if they are one."""
        if self._as_one is None:
            made = self._made(len(operands) - bool(self.held) + len(self.held) + (0 if bundle is None else len(bundle.nodes)))
            self._as_one = tuple([type for _, type, _ in made]), [m for k, m in enumerate(made) if k not in self.held]
        types, results = self._as_one
        order = state.order + 1
        state.order += len(self._steps)
        read = tuple(operands) if bundle is None else (*operands, bundle)
        whole = (Node(PHRASE, (self,), read, types, where, False, order),)
        return [Node(RESULT, number, whole, type, self._steps[behind][6] or where, False, order + behind) for number, type, behind in results]

    def _made(self, count: int) -> list[tuple[tuple[int], Any, int]]:
        """Number, type and how far behind the Node that stands for the phrase, of each result. count: of operands."""
        return [((k,), self._steps[i - count][4], i - count) for k, i in enumerate(self._results)]

    def with_held(self, operands: Sequence[Node], where: str) -> list[Node]:
        """`as_one`; the last is the Node that holds what the arrays of the last operand become."""
        results = self.as_one(operands, where)
        whole = results[0].inputs
        return [*results, Node(HELD, (), whole, operands[-1].type, where, False, whole[0].order)]

    def spread(self, whole: Node) -> tuple[list[Node], list[Node]]:
        """A leaf for every array the last operand holds, and a Node for what it becomes."""
        source = whole.inputs[-1]
        if type(source) is Bundle:
            return source.nodes, []
        leaves = [
            Node(None, (), (), type, source.origin, False, source.order, array)
            for type, array in zip(source.type, source.value, strict=True)
        ]
        made = self._made(len(whole.inputs) - 1 + len(leaves))
        read = (whole,)
        results = [Node(RESULT, *made[k][:1], read, made[k][1], whole.origin, False, whole.order + made[k][2]) for k in self.held]
        return leaves, results

    def spelled(self, node: Node) -> list[Node]:
        """The steps that a Node with this phrase stands for; it stays what it is."""
        operands = node.inputs if not reads_several(node) else (*node.inputs[:-1], *self.spread(node)[0])
        return self._append(list(operands), node.origin, node.order - len(self._steps), False)[len(operands) :]

    def write_out_all(self, whole: Node, results: Sequence[Node]) -> list[tuple[int, Node]]:
        """Make ``results`` of a Node that has several what the phrase's own steps would have given; gives the steps that are none but lead
        to them, with their numbers."""
        nodes = self._append(list(whole.inputs), whole.origin, whole.order - 1, False)
        instead: dict[int, Node] = {}
        for node in results:
            step = nodes[self._results[node.attrs[0]]]
            instead[id(step)] = node
            node.op, node.attrs, node.inputs = step.op, step.attrs, step.inputs
        for node in (*nodes, *results):
            if any([id(n) in instead for n in node.inputs]):
                node.inputs = tuple([instead.get(id(n), n) for n in node.inputs])
        first, leads, stack = len(whole.inputs), set[int](), list(results)
        while stack:
            for n in stack.pop().inputs:
                if id(n) not in leads:
                    leads.add(id(n))
                    stack.append(n)
        return [(i - first, node) for i, node in enumerate(nodes[first:], first) if id(node) not in instead and id(node) in leads]

    def _record(self, operands: Sequence[Node], up: int, may_be: bool = False) -> list[Node]:
        may_be = may_be or state.grad and any([n.requires_grad for n in operands])
        start = state.order
        nodes = self._append(list(operands), state.origin(up), start, may_be)
        for k, before in self._overwritten:
            nodes[k - len(self._steps)].overwritten = start + before + 1
        state.order += len(self._steps)
        return nodes

    def _append(self, nodes: list[Node], where: str, order: int, may_be: bool) -> list[Node]:
        """The operands and the steps behind them. may_be: some may be tracked."""
        placement = state.placement
        for op, attrs, pick, only, type, is_float, line in self._steps:
            inputs = pick(nodes) if pick is not None else (nodes[only],) if only >= 0 else nodes[-1].inputs if only == BESIDE else ()
            there = None if placement is None or op is RESULT else placement.check(op, inputs)
            tracked = False
            if may_be and is_float:
                for n in inputs:
                    if n.requires_grad:
                        tracked = True
                        break
            order += 1
            made = Node(op, attrs, inputs, type, line or where, tracked, order)
            if there is not None:
                made.device = there
            nodes.append(made)
        return nodes


def _is_several(type: Any) -> bool:
    return isinstance(type[-1], tuple)


def _may_be_tracked(node: Node) -> bool:
    """Whether a step is tracked when an operand is: not if that was switched off where it was recorded."""
    if node.op is ALIAS or state.grad and not node.requires_grad and any([n.requires_grad for n in node.inputs]):
        return False  # an alias that is a step is what `detach` gave
    return type(node.type[-1]) is tuple or node.type[1].kind in "fc"  # several results are tracked as a whole


class Phrases(dict[Hashable, Phrase]):
    """Phrases by what they depend on: the operands' types, options, or whatever else the caller tells them apart by."""

    def keep(self, key: Hashable, operands: Sequence[Node], result: Node) -> Node:
        """Note what was just recorded; gives ``result``, as it will be recorded from now on."""
        self._keep(key, operands, (result,))
        phrase = self.get(key)
        return result if phrase is None or result.requires_grad else phrase.again(operands)

    def recorded(self, key: Hashable, operands: Sequence[Node], function: Callable[..., Sequence[Node]]) -> Sequence[Node]:
        """``function(*operands)``: Nodes that are recorded from these alone, depending on ``key`` and the operands' types only."""
        key = key, tuple([n.type for n in operands])
        phrase = self.get(key)
        if phrase is None:
            results = function(*operands)
            self._keep(key, operands, results)
            phrase = self.get(key)
            if phrase is None or len(results) > 1 or results[0].requires_grad:
                return results
        return phrase.all_again(operands)

    def _keep(self, key: Hashable, operands: Sequence[Node], results: Sequence[Node]) -> None:
        found = steps_between(operands, results)
        if found is not None:
            if len(self) >= _MOST:
                self.clear()
            self[key] = Phrase.of(operands, found[0], results)


def steps_between(
    operands: Sequence[Node], results: Sequence[Node], since: int = -1, data: Collection[Node] | None = None
) -> tuple[list[Node], list[Node]] | None:
    """The steps from the operands to the results, in the order they were recorded, and what is shared among programs: constants
    that were recorded before position ``since``, or will be the same Nodes for whoever asks next, and fixed numbers. data: arrays are constants, too, if they are
    among these, or were made since; what was recorded of the operands before is a step as any other.

    None where they are no phrase: operands that are the same Node (what is read cannot be told apart), values from elsewhere,
    identities of autograd."""
    met, found, constants, stack = {id(node) for node in operands}, [], [], list(results)
    if len(met) < len(operands):
        return None
    while stack:
        node = stack.pop()
        if id(node) not in met:
            if data is not None and node.op in _DATA and node.value is not None and (node.order > since or node in data):
                met.add(id(node))
                constants.append(node)
                continue
            if node.attrs is FIXED and node.order > since >= 0:
                met.add(id(node))
                constants.append(node)
                continue
            if data is None or not _is_bare(node):
                if node.value is not None and (node.op != "full" or since >= 0) or node.op in _NO_STEPS:
                    return None  # a constant that was computed somewhere is one still
            met.add(id(node))
            if (node.order > since or data is not None and node.op != "full") and not (since >= 0 and _is_shared(node)):
                found.append(node)
            elif node.op == "full":
                constants.append(node)
            else:
                return None
            if node.op == PHRASE:
                if _is_several(node.type):  # what its results are is known when they are computed
                    return None
                node.attrs[0].write_out(node)
            stack += node.inputs
    return (sorted(found, key=by_order), constants) if found else None


def _is_bare(node: Node) -> bool:
    """The same value without its history: what is read of a parameter where no gradients are asked for."""
    return node.op is ALIAS and type(node) is Node and not node.requires_grad and len(node.inputs) == 1


def _is_shared(node: Node) -> bool:
    if node.op != "full":
        return False
    shape, number, dtype = node.attrs
    return shared.get((number, shape, dtype)) is node
