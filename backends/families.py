"""Families of graphs: the same program at other sizes, and the template that all of them are instances of.

A graph's skeleton is the graph without its sizes: graphs of one skeleton are relatives. Where two of them differ, an input's
dimension becomes a symbol, and every other number that differs a linear function of the symbols. Whether a third graph is an
instance is not guessed from the two: it is when the template, with numbers for its symbols, is that graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import prod
from typing import Any

from ..dialects.book import OPS
from ..dialects.graph import Graph, Step
from ..dialects.sizes import SMALLEST, Scope
from ..dialects.types import Type

MOST_SYMBOLS = 3
UNITS = (1, 2, 4, 8, 16, 32)
"""What a symbol may count: dimensions that layers halve several times are read as so many blocks of this size."""

MARGIN = 16
"""The most that padding or a window adds to or takes from a number of blocks."""

_SIZED = frozenset(("int", "ints", "shape"))
"""Kinds of attributes that may hold sizes. Axes and orders of dimensions are structure."""


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

    skeleton = _mapped(graph, replace)
    return (skeleton.inputs, skeleton.steps, skeleton.outputs), tuple(numbers)


def _mapped(graph: Graph, replace: Callable[[int], Any]) -> Graph:
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
            made.append(_mapped(value, replace))
        elif param.kind in _SIZED:
            made.append(tuple(map(replace, value)) if isinstance(value, tuple) else _mapped_int(value, replace))
        else:
            made.append(value)
    return made


def _mapped_int(value: Any, replace: Callable[[int], Any]) -> Any:
    return replace(value) if type(value) is int else value


@dataclass(frozen=True)
class Hole:
    """A number of a template: constant + factor * the product of some symbols."""

    symbols: tuple[int, ...]
    factor: int
    constant: int

    def at(self, values: Sequence[Any]) -> Any:
        """The number for these values of all symbols."""
        return prod(values[s] for s in self.symbols) * self.factor + self.constant


@dataclass(eq=False)
class Template:
    """A graph with symbols among its sizes. numbers: of one member, in order; holes: the places that differ between members.
    sources: of each symbol, the hole that is just it, or it times its unit. programs: those compiled for it. asked: the sizes of one that another process is
    making. refused: none can be.
    """

    graph: Graph
    numbers: tuple[int, ...]
    holes: dict[int, Hole]
    sources: tuple[int, ...]
    units: tuple[int, ...]
    programs: list[Any] = field(default_factory=list)
    asked: list[int] | None = None
    refused: bool = False

    def values(self, numbers: Sequence[int]) -> tuple[int, ...] | None:
        """The symbols' values for a member with these numbers; None for a graph that is no instance."""
        values = tuple(numbers[k] // unit for k, unit in zip(self.sources, self.units, strict=True))
        for k, (mine, theirs) in enumerate(zip(self.numbers, numbers, strict=True)):
            hole = self.holes.get(k)
            if theirs != (mine if hole is None else hole.at(values)):
                return None
        return values

    def in_scope(self, scope: Scope) -> Graph:
        """The graph with a scope's symbols in it, and the types of its values as far as its steps need them."""
        symbols = scope.symbols()
        place = -1

        def replace(n: int) -> Any:
            nonlocal place
            if n < SMALLEST:
                return n
            place += 1
            hole = self.holes.get(place)
            return n if hole is None else hole.at(symbols)

        return _typed(_mapped(self.graph, replace))

    @property
    def text(self) -> str:
        """What the template is, for the key of the cache."""
        return f"{self.graph!r} {sorted(self.holes.items())} {self.units}"


def _typed(graph: Graph) -> Graph:
    """The graph with the types of all values: bodies of scans are asked for theirs."""
    types: list[Any] = list(graph.inputs)
    steps = []
    for step in graph.steps:
        attrs = tuple(_typed(a) if isinstance(a, Graph) else a for a in step.attrs)
        step = Step(step.op, attrs, step.operands)
        steps.append(step)
        if step.op in OPS:
            types += OPS[step.op].infer(tuple(types[i] for i in step.operands), attrs)
        elif step.op == "autodiff.grad":
            types += [types[i] for i in step.operands[2:]]
        else:
            types.append(types[step.operands[-1]])
    return Graph(graph.inputs, tuple(steps), graph.outputs, graph.origins, graph.names, tuple(types))


def template_of(graph: Graph, first: Sequence[int], second: Sequence[int]) -> Template | None:
    """The template of a graph, whose numbers are `second`, and a relative with the numbers `first`; None where numbers differ in
    a way that follows from no input's dimensions, or in too many ways. Symbols are dimensions themselves if that will do, else
    the least power of two of them that does.
    """
    for unit in UNITS:
        template = _template_by(unit, graph, first, second)
        if template is not None:
            return template
    return None


def _template_by(unit: int, graph: Graph, first: Sequence[int], second: Sequence[int]) -> Template | None:
    """The template whose symbols count units, where both dimensions are made of two of them at least; None if it tells nothing new."""
    inputs = sum(1 for shape, _ in graph.inputs for d in shape if d >= SMALLEST)
    differing = [k for k, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    sources: list[int] = []
    units: list[int] = []
    holes: dict[int, Hole] = {}
    dimensions = [k for k in differing if k < inputs]
    for k in [*sorted(dimensions, key=lambda k: (abs(first[k] - second[k]), k)), *differing]:
        if k in holes:
            continue
        counted = [1] * len(units) if k < inputs else units  # dimensions are functions of dimensions
        values = [[numbers[s] // n for s, n in zip(sources, counted, strict=True)] for numbers in (first, second)]
        hole = _hole(values, (first[k], second[k]), k < inputs, MARGIN if unit > 1 else 0)
        if hole is not None and k < inputs:
            hole = Hole(hole.symbols, hole.factor * prod(units[s] for s in hole.symbols), hole.constant)
        if hole is None:
            if k >= inputs or len(sources) == MOST_SYMBOLS:
                return None
            blocks = unit if not (first[k] % unit or second[k] % unit) and min(first[k], second[k]) >= SMALLEST * unit else 1
            hole = Hole((len(sources),), blocks, 0)
            sources.append(k)
            units.append(blocks)
        holes[k] = hole
    return Template(graph, tuple(second), holes, tuple(sources), tuple(units)) if unit == 1 or unit in units else None


def _hole(values: Sequence[Sequence[int]], wanted: tuple[int, int], is_dimension: bool, margin: int) -> Hole | None:
    """How a number that is `wanted[0]` in one member and `wanted[1]` in the other may follow from the symbols so far: a multiple of a
    symbol or of two, or of a symbol and a few more (``(n - 1) * 64``, or up to the margin: ``n * 64 + 2``), or what is left of something
    (``8 - n``). A dimension of
    an input is a multiple or a few more only: two that change independently are no function of each other. Of several the one that
    adds least.
    """
    count = len(values[0])
    found: list[tuple[int, int, Hole]] = []
    for symbols in (*combinations(range(count), 1), *combinations(range(count), 2)):
        have = [prod(symbol[s] for s in symbols) for symbol in values]
        run, rise = have[0] - have[1], wanted[0] - wanted[1]
        if not run or rise % run:
            continue
        factor = rise // run
        constant = wanted[0] - factor * have[0]
        if factor > 0 and not (is_dimension and factor > 1 and constant):
            more, rest = divmod(abs(constant), factor)
            if constant == 0 or len(symbols) == 1 and (rest == 0 or abs(constant) <= margin):
                found.append((more if rest == 0 else abs(constant), len(symbols), Hole(symbols, factor, constant)))
        elif factor == -1 and not is_dimension and len(symbols) == 1:
            found.append((abs(constant), 3, Hole(symbols, factor, constant)))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


@dataclass(eq=False)
class Family:
    """Relatives: the numbers of members seen lately, newest last, and the templates made of them. came: how often one came that
    had no program.
    """

    came: int = 0
    members: list[tuple[int, ...]] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)

    def seen(self, numbers: tuple[int, ...]) -> None:
        """Remember a member."""
        if numbers not in self.members:
            self.members = [*self.members[-3:], numbers]
