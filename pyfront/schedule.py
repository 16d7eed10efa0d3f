"""Schedule: from the Nodes somebody still wants to one canonical Graph, and the results back to the Nodes.

Runs when a program is flushed that no kept plan fits (see plan.py). The same program gives an equal Graph
each time: steps in the order they were recorded (views where they are first used), inputs in the order of
their first use, one input per distinct buffer.

Where a derivative is taken, values are kept apart that share contents but not history: an untracked value
that depends on something differentiated enters a tracked step as ``autodiff.saved(0, value)``; a forward
value that an earlier flush computed enters as ``autodiff.saved(step, value)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from operator import attrgetter

import numpy as np

from ..dialects.book import OPS
from ..dialects.graph import Graph, Step
from ..dialects.types import Type, show_type
from .node import ALIAS, GRAD, HELD, PHRASE, RESULT, SAVED, Boundary, Node, reads_several
from .residuals import differentiable_again, needs_values
from .walk import Walk, by_order

_by_position = attrgetter("id")  # of a walk
_step = tuple.__new__  # a Step without the detour of its constructor
_IDENTITIES = frozenset({ALIAS, RESULT, GRAD, SAVED})
# Forward values worth keeping for a backward that comes after a flush; the others are recomputed from these.
_WORTH_KEEPING = frozenset({"contract", "fold", "is", "irregular"})


class Schedule:
    """The Graph of ``roots`` with its arrays. kept: the Nodes that get a value: roots, and what a later
    backward needs."""

    __slots__ = (
        "nodes",
        "roots",
        "graph",
        "arrays",
        "inputs",
        "names",
        "steps",
        "origins",
        "types",
        "tainted",
        "differentiates",
        "outputs",
        "_input_ids",
        "_mark",
        "_wrt",
        "_ends",
        "_before",
        "_leaves",
        "_first_read",
        "_histories",
        "kept",
        "spread",
        "makers",
        "parts",
    )

    def __init__(self, roots: list[Node], walk: Walk | None = None) -> None:
        """walk: that of the roots, when there is one already; its Nodes lose their positions."""
        walk = walk or Walk(roots)
        self._mark = walk.mark
        self.inputs: list[Type] = []
        self.arrays: list[np.ndarray] = []
        self.names: list[str | None] = []
        self.steps: list[Step] = []
        self.origins: list[str] = []
        self._input_ids: dict[int, int] = {}
        self._leaves: set[int] = set()
        self._first_read: dict[int, int] = {}  # by input: the position of the first Node that reads it, not as a leaf
        self.differentiates = bool(walk.grads)
        self._wrt = {id(w) for g in walk.grads for w in g.inputs[2:]}
        self._ends = {id(w) for g in walk.grads for w, ends in zip(g.inputs[2:], g.attrs) if ends}
        self._before: dict[int, int] = {}  # by id of a Node where a derivative ends: its value with its history
        self.spread = [(node, *node.attrs[0].spread(node)) for node in walk.nodes if reads_several(node)]
        self.makers: list[Node | None] = []  # of each step: the Node it was made of, if it is no step of this Schedule's own
        self.parts: dict[int, tuple[Node, int]] = {}  # by id of such a Node that is a step of a phrase: the phrase's, and its number there
        written, nodes = _written_out(walk.nodes, self.spread, self.parts)
        self.nodes = _views_at_first_use(sorted(nodes, key=by_order), walk.mark)
        several = {id(whole): made for whole, _, made in self.spread}
        each = [[node] if node.op != HELD else several[id(node.inputs[0])] for node in roots]
        self.roots = sorted([node for nodes in each for node in nodes], key=by_order)
        for node in self.nodes:
            node.id = -1
        self._emit()
        self._choose_outputs()
        self.graph = Graph(
            tuple(self.inputs),
            tuple(self.steps),
            self.outputs,
            tuple(self.origins),
            tuple(self.names),
            tuple(self.types),
        )
        for node, op, attrs, inputs in reversed(written):  # one Node again: what was written out is no part of the walk
            node.op, node.attrs, node.inputs = op, attrs, inputs

    # -- emitting
    # -----------------------------------------------------------------------------------------------

    def _emit(self) -> None:
        # Inputs first: their ids come before those of every step. They are numbered by their first use, not
        # by when they were made: a buffer written in the last step and one that never changes trade places in
        # age, not in use.
        nodes = self.nodes
        # A Boundary is no use: it may be older than the step that reads it.
        for at, node in enumerate(nodes):
            if node.value is None and type(node) is not Boundary:
                for operand in node.inputs:
                    if operand.id >= 0:
                        continue
                    if operand.value is not None:
                        self._input(operand)
                        if self.differentiates and type(operand) is not Boundary:
                            self._first_read.setdefault(operand.id, at)
                    elif type(operand) is Boundary:
                        self._behind(operand)
        for node in nodes:
            if node.id < 0 and node.value is not None:
                self._input(node)
        self.types = list(self.inputs)
        self.tainted = [False] * len(self.inputs)
        if self.differentiates:
            self._histories = {id(n.value) for n in nodes if n.requires_grad and n.value is not None and type(n) is not Boundary}
            self._emit_differentiated()
            return
        for node in nodes:
            if node.value is None:
                self._emit_plain(node)

    def _behind(self, node: Boundary) -> None:
        """The contents of a Boundary that was made before them, if they are an input."""
        source = node.inputs[0] if node.inputs else None
        if source is not None and source.id < 0 and source.value is not None:
            self._input(source)

    def input_of(self, leaf: Node) -> int:
        """Which input a Node with a value is."""
        return self._input_ids[id(leaf.value)]

    def _input(self, node: Node) -> None:
        key = id(node.value)
        found = self._input_ids.get(key)
        if found is None:
            found = self._input_ids[key] = len(self.inputs)
            self.inputs.append(node.type)
            self.arrays.append(node.value)
            self.names.append(None)
        node.id = found
        if type(node) is Boundary:
            self._name(node)

    def _name(self, node: Boundary) -> None:
        """Inputs are called what the user's parameter is called."""
        if node.label is not None and node.id < len(self.names) and self.names[node.id] is None:
            self.names[node.id] = node.label()

    def _emit_plain(self, node: Node) -> None:
        """A Node of a Graph without derivatives: identities do not matter."""
        op = node.op
        if op is ALIAS:
            node.id = node.inputs[0].id
            if type(node) is Boundary:
                self._name(node)
        elif op is RESULT:
            node.id = node.inputs[0].id + node.attrs[0]
        elif op is SAVED:
            node.id = node.inputs[1].id
        else:
            self._append(node, tuple([n.id for n in node.inputs]))

    def _append(self, node: Node, operands: tuple[int, ...]) -> None:
        types, own = self.types, node.type
        node.id = len(types)
        self.steps.append(_step(Step, (node.op, node.attrs, operands)))
        self.makers.append(node)
        self.origins.append(node.origin)
        if type(own[-1]) is tuple:
            types.extend(own)
        else:
            types.append(own)

    def _emit_differentiated(self) -> None:
        """Every Node of a Graph with derivatives. The body of the loop is the common case: one book op, not
        computed yet."""
        mark, wrt, tainted, append = self._mark, self._wrt, self.tainted, self._append
        for at, node in enumerate(self.nodes):
            if node.value is not None or node.op in _IDENTITIES:
                self._emit_identity(node, mark, at)
                continue
            tracked = node.requires_grad
            taint = False
            operands = []
            for n in node.inputs:
                i = n.id
                if tainted[i]:
                    if tracked and not n.requires_grad:
                        i = self._apart(i, node.origin)
                    else:
                        taint = True
                operands.append(i)
            append(node, tuple(operands))
            if type(node.type[-1]) is tuple:
                tainted.extend([taint] * len(node.type))
            else:
                tainted.append(taint)
            if id(node) in wrt:
                self._differentiate_by(node)

    def _emit_identity(self, node: Node, mark: int, at: int) -> None:
        """Nodes that are another Node's value under their own history, and computed ones a derivative goes
        through."""
        if type(node) is Boundary:
            self._emit_boundary(node, at)
            return
        op, computed = node.op, node.value is not None
        if computed and not (node.mark > mark and node.inputs):
            if id(node) in self._wrt:
                self._differentiate_by(node)
            return
        contents = node.id
        if op is ALIAS:
            source = node.inputs[0]
            if not node.requires_grad:
                node.id = source.id
            elif not source.requires_grad:
                node.id = self._apart(source.id, node.origin)
            else:  # derivatives by it end at it, also where what it is the alias of is used beside it
                node.id = self._step("reshape", (node.type[0],), (source.id,), node.origin) if id(node) in self._wrt else source.id
        elif op is RESULT:
            node.id = node.inputs[0].id + node.attrs[0]
        else:
            self._append_tracked(node)
        if computed:
            node.id = self._saved(node.id, contents, node.origin)
        if id(node) in self._wrt:
            self._differentiate_by(node)

    def _differentiate_by(self, node: Node) -> None:
        """A Node gradients are asked for. Where Python takes over there, what reads it must not lead a derivative past it."""
        if id(node) in self._ends:
            self._before[id(node)] = node.id
            node.id = self._apart(node.id, node.origin)
        self.tainted[node.id] = True

    def _append_tracked(self, node: Node) -> None:
        tainted = self.tainted
        apart = node.requires_grad and node.op != GRAD
        operands = tuple(
            [
                self._apart(n.id, node.origin) if apart and not n.requires_grad and tainted[n.id] else n.id
                for n in node.inputs
            ]
        )
        if node.op == GRAD and id(node.inputs[0]) in self._before:  # goes on where Python gave it back
            operands = (self._before[id(node.inputs[0])], *operands[1:])
        if node.op == SAVED and operands[1] < len(self.inputs):  # other contents than the value's: only `_saved` says that a value was computed
            operands = (self._step("reshape", (node.type[0],), operands[:1], node.origin), operands[1])
        taint = any([tainted[i] for i in operands])
        self._append(node, operands)
        tainted.extend([taint] * (len(self.types) - len(tainted)))

    def _emit_boundary(self, node: Boundary, at: int) -> None:
        """A place where differentiation ends, ``at`` this position; its value is kept apart from other histories of the same
        contents."""
        source = node.id if node.value is not None else node.inputs[0].id
        contents = node.value if node.value is not None else node.inputs[0].value
        # With a value that has another history, or none: what was computed of the same array before is no function of the leaf.
        has_others = contents is None or id(contents) in self._histories or self._first_read.get(source, at) < at
        shared = self.tainted[source] or not node.leaf or source in self._leaves  # two leaves may hold one array
        apart = shared or has_others and id(node) in self._wrt
        node.id = self._apart(source, node.origin) if apart else source
        self._leaves.add(node.id)
        self._name(node)
        if id(node) in self._wrt:
            self.tainted[node.id] = True

    def _apart(self, source: int, where: str) -> int:
        """The contents of ``source`` without its history."""
        shape, dtype = self.types[source]
        zero = self._step("full", (shape, 0.0 if dtype.kind == "f" else 0, dtype), (), where)
        return self._saved(zero, source, where, tainted=False)

    def _saved(self, value: int, contents: int, where: str, tainted: bool | None = None) -> int:
        """A value whose contents are there already: whoever reads it reads them."""
        return self._step(SAVED, (), (value, contents), where, self.tainted[value] if tainted is None else tainted)

    def _step(self, op: str, attrs: tuple, operands: tuple[int, ...], where: str, tainted: bool | None = None) -> int:
        """A step that is no Node's own, like its first operand or, without any, as ``attrs`` says; as tainted as its operands, if nothing is said."""
        self.steps.append(Step(op, attrs, operands))
        self.makers.append(None)
        self.origins.append(where)
        self.types.append(self.types[operands[0]] if operands else (attrs[0], attrs[2]))
        self.tainted.append(any([self.tainted[i] for i in operands]) if tainted is None else tainted)
        return len(self.types) - 1

    # -- results
    # ------------------------------------------------------------------------------------------------

    def _choose_outputs(self) -> None:
        """Roots, and forward values that a later backward would otherwise compute again."""
        kept: list[Node] = []
        taped = any(r.requires_grad and not r.freed for r in self.roots)
        if taped:
            kept = [
                n
                for n in self.nodes
                if n.requires_grad and not n.freed and n.value is None and _worth_keeping(n)
                and type(n.type[-1]) is not tuple  # its results are Nodes of their own
            ]
        self.kept = self.roots + kept
        fresh = len(self.inputs)
        self.outputs = tuple(sorted({n.id for n in self.kept if n.id >= fresh}))

    def describe(self) -> str:
        """The Graph as text, one line per step (``LAMINA_SHOW=nodes``)."""
        graph = self.graph
        lines = [
            f"%{i} = input {show_type(t)} {graph.names[i] or ''}".rstrip() for i, t in enumerate(graph.inputs)
        ]
        next_id = len(graph.inputs)
        for step, where in zip(graph.steps, graph.origins, strict=True):
            operands = ", ".join(f"%{i}" for i in step.operands)
            attrs = f" {step.attrs}" if step.attrs else ""
            lines.append(
                f"%{next_id} = {step.op} {operands}{attrs} : {show_type(graph.types[next_id])}   {where}"
            )
            next_id += (
                (len(step.operands) - 2)
                if step.op == GRAD
                else 1
                if step.op == SAVED
                else OPS[step.op].result_count(len(step.operands), step.attrs)
            )
        lines.append("return " + ", ".join(f"%{i}" for i in graph.outputs))
        return "\n".join(lines) + "\n"


def _written_out(
    nodes: list[Node], spread: list[tuple[Node, list[Node], list[Node]]], parts: dict[int, tuple[Node, int]]
) -> tuple[list[tuple], list[Node]]:
    """Nodes with the steps of each phrase in its place, and what the Nodes that stood for them were. spread: the phrases one of
    whose operands holds several arrays, each with the leaves and the results that are Nodes of their own here. parts: gets which
    step of which phrase a Node is."""
    results: dict[int, list[Node]] = {id(n): [] for n in nodes if n.op == PHRASE and n.value is None}
    if not results:
        return [], nodes
    before, there = [], []
    if spread:
        sources = {id(node.inputs[-1]) for node, _, _ in spread}
        nodes = [n for n in nodes if id(n) not in sources and n.op != HELD]
        for node, leaves, made in spread:
            before.append((node, node.op, node.attrs, node.inputs))
            node.inputs = (*node.inputs[:-1], *leaves)
            nodes += leaves + made
    for node in nodes:
        if node.op is RESULT and node.value is None and id(node.inputs[0]) in results:
            results[id(node.inputs[0])].append(node)
    for node in nodes:
        if id(node) not in results:
            there.append(node)
        elif type(node.type[-1]) is tuple:
            before += [(n, n.op, n.attrs, n.inputs) for n in results[id(node)]]
            for k, part in node.attrs[0].write_out_all(node, results[id(node)]):
                parts[id(part)] = node, k
                there.append(part)
        else:
            before.append((node, node.op, node.attrs, node.inputs))
            inner = node.attrs[0].write_out(node)
            parts.update({id(part): (node, k) for k, part in enumerate((*inner, node))})
            there += [node, *inner]
    return before, there


def moves(node: Node) -> bool:
    """True for a view or a constant still to be computed: it is kept, so it may be older than the program it is used in.

    Its place among the steps must not tell whether it was read before.
    """
    return node.value is None and (node.op == "full" or _is_view(node.op))


@cache
def _is_view(op: str) -> bool:
    return op in OPS and OPS[op].family == "view" and not OPS[op].is_placement


def _views_at_first_use(nodes: list[Node], mark: int) -> list[Node]:
    """Nodes in recording order, views right before the first Node that uses them; those nothing uses last, as they were met.

    A computed Node uses its inputs where a derivative goes through it (marked above ``mark``): what else it was made of no walk tells.
    """
    views = [node for node in nodes if moves(node)]
    if not views:
        return nodes
    waiting = {id(node) for node in views}
    placed: list[Node] = []
    for node in [n for n in nodes if id(n) not in waiting]:
        _place(node, waiting, placed, mark)
    for node in sorted(views, key=_by_position):  # what nothing else uses: when it was recorded must not tell
        if id(node) in waiting:
            _place(node, waiting, placed, mark)
    return placed


def _place(node: Node, waiting: set[int], placed: list[Node], mark: int) -> None:
    """Append a Node, behind those of its inputs that wait for a place."""

    def inputs(node: Node) -> Iterator[Node]:
        return iter(node.inputs if node.value is None or node.mark > mark else ())

    waiting.discard(id(node))
    stack = [(node, inputs(node))]
    while stack:
        node, rest = stack[-1]
        for before in rest:
            if id(before) in waiting:
                waiting.discard(id(before))
                stack.append((before, inputs(before)))
                break
        else:
            placed.append(node)
            stack.pop()


def is_done(node: Node) -> bool:
    """True when no derivative will go through a computed Node."""
    return not node.requires_grad or type(node) is Boundary


def is_freed(node: Node) -> bool:
    """True when a derivative went through a computed Node and none can again."""
    return node.freed and not differentiable_again(node)


def _worth_keeping(node: Node) -> bool:
    op = node.inputs[0].op if node.op is RESULT else node.op
    family = OPS[op].family if op in OPS else ""
    return family in _WORTH_KEEPING and (family != "irregular" or needs_values(node))  # no copies: what is put together, written into
