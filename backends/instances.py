"""Instances: whether a graph is a template with numbers in it, asked in a fraction of the time taking it apart needs.

The frontend says of which graphs this one is kin (`Graph.kin`): it was made of one of them, with other types and attributes. Where a
program for many sizes serves one, the symbols' values are read where the template says that they are, and what it has at these values
is compared with the graph, all of it: kin is where to look, not what is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from ..dialects.graph import Graph, Step
from ..dialects.sizes import SMALLEST, value_of
from .families import Template, mapped

Pick = Callable[[Sequence[Any]], Any]
_step = tuple.__new__  # a Step without the detour of its constructor


class _Place:
    """A number of a template that has its own place. key: of its terms, where it differs."""

    def __init__(self, place: int, number: int, key: str | None) -> None:
        self.place, self.number, self.key = place, number, key


class Instances:
    """A template, ready to be compared with graphs. `of` gives None for one that has symbols in the body of a loop."""

    @classmethod
    def of(cls, template: Template) -> Instances | None:
        """Of a template."""
        made = cls()
        return made if made._reads(template) else None

    def _reads(self, template: Template) -> bool:
        places = iter(range(len(template.numbers)))

        def replace(n: int) -> Any:
            if n < SMALLEST:
                return n
            place = next(places)
            hole = template.holes.get(place)
            return _Place(place, n, None if hole is None else repr(hole))

        graph = mapped(template.graph, replace)
        self.template = template
        self._terms = {repr(hole): hole for hole in template.holes.values()}
        self._index = {key: k for k, key in enumerate(self._terms)}
        self._constants: list[Any] = []
        self._found: dict[int, tuple[Any, ...]] = {}  # where a graph has the number of a place
        self._inputs = list(template.graph.inputs)
        self._steps = list(template.graph.steps)
        self._sized_inputs = []
        for i, (shape, dtype) in enumerate(graph.inputs):
            self._note(shape, ("inputs", i, 0))
            if _differs(shape):
                self._sized_inputs.append((i, self._tuple(shape), dtype))
        attributes: dict[Any, int] = {}
        self._attributes: list[list[Pick]] = []  # those that differ, each once
        self._sized_steps = []
        for i, step in enumerate(graph.steps):
            for a, attr in enumerate(step.attrs):
                if isinstance(attr, Graph) and attr != self._steps[i].attrs[a]:
                    if _has_holes(attr):
                        return False
                    continue
                self._note(attr if isinstance(attr, tuple) else (attr,), ("steps", i, 1, a), isinstance(attr, tuple))
            if any(_differs(attr if isinstance(attr, tuple) else (attr,)) for attr in step.attrs):
                spelled = tuple(_spelled(attr) for attr in step.attrs)
                if spelled not in attributes:
                    attributes[spelled] = len(self._attributes)
                    self._attributes.append([self._attribute(attr, own) for attr, own in zip(step.attrs, self._steps[i].attrs, strict=True)])
                self._sized_steps.append((i, step.op, attributes[spelled], step.operands))
        self._outputs = template.graph.outputs
        if not all(place in self._found for place, _ in template.sources):
            return False
        self._sources = [(*self._found[place], divisor) for place, divisor in template.sources]
        return True

    def _note(self, numbers: Sequence[Any], where: tuple[Any, ...], inside: bool = True) -> None:
        for d, n in enumerate(numbers):
            if isinstance(n, _Place):
                self._found[n.place] = (*where, d) if inside else where

    def _attribute(self, attr: Any, own: Any) -> Pick:
        if isinstance(attr, tuple) and any(isinstance(n, _Place) for n in attr):
            return self._tuple(attr)
        return itemgetter(self._at(attr) if isinstance(attr, _Place) else self._constant(own))

    def _tuple(self, numbers: Sequence[Any]) -> Pick:
        at = [self._at(n) for n in numbers]
        return itemgetter(*at) if len(at) > 1 else lambda pool, k=at[0]: (pool[k],)

    def _at(self, n: Any) -> int:
        if not isinstance(n, _Place):
            return self._constant(n)
        return self._constant(n.number) if n.key is None else self._index[n.key]

    def _constant(self, value: Any) -> int:
        self._constants.append(value)
        return len(self._terms) + len(self._constants) - 1

    def values(self, graph: Graph) -> tuple[int, ...] | None:
        """The symbols' values of an instance; None for a graph that is none."""
        values = []
        for kind, *path, divisor in self._sources:
            at: Any = getattr(graph, kind)
            try:
                for part in path:
                    at = at[part]
            except (IndexError, TypeError):
                return None
            if type(at) is not int:
                return None
            values.append(at // divisor)
        numbers = [value_of(terms, values) for terms in self._terms.values()]
        if min(numbers, default=SMALLEST) < SMALLEST:
            return None
        pool = numbers + self._constants
        inputs, steps = self._inputs.copy(), self._steps.copy()
        for i, pick, dtype in self._sized_inputs:
            inputs[i] = pick(pool), dtype
        if tuple(inputs) != graph.inputs:
            return None
        made = [tuple([pick(pool) for pick in picks]) for picks in self._attributes]
        for i, op, k, operands in self._sized_steps:
            steps[i] = _step(Step, (op, made[k], operands))
        return tuple(values) if tuple(steps) == graph.steps and self._outputs == graph.outputs else None


def _differs(numbers: Sequence[Any]) -> bool:
    return any(isinstance(n, _Place) and n.key is not None for n in numbers)


def _spelled(attr: Any) -> Any:
    """An attribute as a key."""
    return tuple(map(_spelled, attr)) if isinstance(attr, tuple) else (attr.number, attr.key) if isinstance(attr, _Place) else (type(attr), attr)


def _has_holes(body: Graph) -> bool:
    parts = [shape for shape, _ in body.inputs]
    parts += [attr if isinstance(attr, tuple) else (attr,) for step in body.steps for attr in step.attrs]
    return any(_differs(part) or any(isinstance(n, Graph) and _has_holes(n) for n in part) for part in parts)
