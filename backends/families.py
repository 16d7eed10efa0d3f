"""Families of graphs: the same program at other sizes, and the template that all of them are instances of.

A graph's skeleton is the graph without its sizes: graphs of one skeleton are relatives. Where some of them differ, an input's
dimension becomes a symbol, and every other number that differs a function of the symbols (`template_search.py`). Whether another graph
is an instance is not guessed from these: it is when the template, with numbers for its symbols, is that graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..dialects.book import OPS
from ..dialects.errors import ShapeError
from ..dialects.graph import Graph, Step
from ..dialects.sizes import SMALLEST, Scope, value_of
from ..dialects.types import Type

MOST_MEMBERS = 6
"""Of a family, whose numbers are remembered."""

SIZED = frozenset(("int", "ints", "shape"))
"""Kinds of attributes that may hold sizes. Axes and orders of dimensions are structure."""


@lru_cache(maxsize=8)
def take_apart(graph: Graph) -> tuple[object, tuple[int, ...]]:
    """A graph's skeleton (hashable) and its sizes, in order. Sizes below `SMALLEST` are part of the skeleton: a dimension of size
    1 is broadcast, one of size 0 has no elements.
    """
    numbers: list[int] = []

    def replace(n: int) -> object:
        if n < SMALLEST:
            return n
        numbers.append(n)
        return "size"

    skeleton = mapped(graph, replace)
    return (skeleton.inputs, skeleton.steps, skeleton.outputs), tuple(numbers)


def mapped(graph: Graph, replace: Callable[[int], Any]) -> Graph:
    """The graph with every size replaced, in a fixed order; the types of values are not filled in."""
    inputs = tuple(_mapped_type(t, replace) for t in graph.inputs)
    steps = tuple(Step(s.op, tuple(_mapped_attributes(s, replace)), s.operands) for s in graph.steps)
    return Graph(inputs, steps, graph.outputs, graph.origins, graph.names, inputs)


def _mapped_type(t: Type, replace: Callable[[int], Any]) -> Any:
    shape, dtype = t
    return tuple(map(replace, shape)), dtype


def _mapped_attributes(step: Step, replace: Callable[[int], Any]) -> list[Any]:
    stanza = OPS.get(step.op)
    if stanza is None:
        return list(step.attrs)
    made: list[Any] = []
    for param, value in zip(stanza.attributes, step.attrs, strict=True):
        if isinstance(value, Graph):
            made.append(mapped(value, replace))
        elif param.kind in SIZED:
            made.append(tuple(map(replace, value)) if isinstance(value, tuple) else _mapped_int(value, replace))
        else:
            made.append(value)
    return made


def _mapped_int(value: Any, replace: Callable[[int], Any]) -> Any:
    return replace(value) if type(value) is int else value


@dataclass(eq=False)
class Template:
    """A graph with symbols among its sizes. numbers: of one member, in order; holes: the places that differ between members, with what
    is there, as `sizes.plain` spells it. sources: of each symbol, the place of a number and what divides it. programs: those compiled
    for it. asked: the sizes of one that another process is making, and which of them grow. refused: none can be.
    """

    graph: Graph
    numbers: tuple[int, ...]
    holes: dict[int, list[Any]]
    sources: tuple[tuple[int, int], ...]
    programs: list[Any] = field(default_factory=list)
    asked: tuple[list[int], list[bool]] | None = None
    refused: bool = False

    def values(self, numbers: Sequence[int]) -> tuple[int, ...] | None:
        """The symbols' values for a member with these numbers; None for a graph that is no instance."""
        values = tuple(numbers[place] // divisor for place, divisor in self.sources)
        for k, (mine, theirs) in enumerate(zip(self.numbers, numbers, strict=True)):
            hole = self.holes.get(k)
            if theirs != (mine if hole is None else value_of(hole, values)):
                return None
        return values

    def instance(self, inputs: Sequence[Type]) -> Graph | None:
        """The member whose inputs are these; None where there is none, or inputs alone do not say which."""
        pairs = [pair for (shape, _), (own, _) in zip(inputs, self.graph.inputs, strict=True) for pair in zip(shape, own, strict=False)]
        sizes = [given for given, own in pairs if own >= SMALLEST]
        if any(place >= len(sizes) for place, _ in self.sources):
            return None
        found = self._with([sizes[place] // divisor for place, divisor in self.sources])
        return found if found.inputs == tuple(inputs) else None

    def in_scope(self, scope: Scope) -> Graph:
        """The graph with a scope's symbols in it, and the types of its values as far as its steps need them."""
        return self._with(scope.symbols())

    def _with(self, symbols: Sequence[Any]) -> Graph:
        place = -1

        def replace(n: int) -> Any:
            nonlocal place
            if n < SMALLEST:
                return n
            place += 1
            hole = self.holes.get(place)
            return n if hole is None else value_of(hole, symbols)

        return typed(mapped(self.graph, replace))

    @property
    def text(self) -> str:
        """What the template is, for the key of the cache."""
        return f"{self.graph!r} {sorted(self.holes.items())}"


def typed(graph: Graph) -> Graph:
    """The graph with the types of all values: bodies of scans are asked for theirs."""
    types: list[Any] = list(graph.inputs)
    steps = []
    for step in graph.steps:
        step = Step(step.op, tuple(typed(a) if isinstance(a, Graph) else a for a in step.attrs), step.operands)
        steps.append(step)
        types += result_types(step, types)
    return Graph(graph.inputs, tuple(steps), graph.outputs, graph.origins, graph.names, tuple(types))


def result_types(step: Step, types: Sequence[Any]) -> Sequence[Any]:
    """The types of a step's results. types: of the values before it. ShapeError where they do not fit together."""
    given = [types[i] for i in step.operands]
    if step.op in OPS:
        return OPS[step.op].infer(tuple(given), step.attrs)
    first, second, *others = given  # a value and its saved contents, or a loss and its seed
    (shape, dtype), (wanted, _) = first, second
    more = len(wanted) - len(shape) if step.op == "autodiff.grad" else 0
    if wanted[more:] != shape:
        raise ShapeError(f"{step.op} needs equal shapes, got {shape} and {wanted}")
    return [((*wanted[:more], *s), t) for s, t in others] if step.op == "autodiff.grad" else [(shape, dtype)]


@dataclass(eq=False)
class Family:
    """Relatives: the numbers of members seen lately, newest last, and the templates made of them. came: how often one came that
    had no program. searched: searches for a template in vain since the last one was found.
    """

    came: int = 0
    searched: int = 0
    members: list[tuple[int, ...]] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)

    def seen(self, numbers: tuple[int, ...]) -> None:
        """Remember a member."""
        if numbers not in self.members:
            self.members = [*self.members[1 - MOST_MEMBERS :], numbers]
