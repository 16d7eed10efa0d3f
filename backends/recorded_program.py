"""A recorded program for inputs of several sizes, as text and back: what an exported model is between processes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ..dialects.book import OPS
from ..dialects.errors import FileError, LaminaError, ShapeError
from ..dialects.graph import Graph, Step
from ..dialects.types import Type, show_type
from .graph_text import graph_from_json, graph_to_json
from .template_search import common_template

_ORIGIN = re.compile(r"[\w ./+-]*:\d+|\?|")
_MOST_SIZES = 64
_DERIVED = {"autodiff.grad": lambda known: known[2:], "autodiff.saved": lambda known: known[:1]}
"""Types of the results of steps that are not in the book."""


class RecordedProgram:
    """graphs: the program at the sizes it was recorded at, and at others if it may be called with others.

    Graphs that have no template in common serve the sizes of the first.
    """

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.graphs = tuple(graphs)
        self.template = common_template(self.graphs)
        self._at: dict[tuple[Type, ...], Graph] = {self.graphs[0].inputs: self.graphs[0]}

    def at(self, inputs: tuple[Type, ...]) -> Graph:
        """The program for inputs of these types. ShapeError where it has none."""
        found = self._at.get(inputs)
        if found is None:
            found = self.template and self.template.instance(inputs)
            if found is None:
                raise self._complaint(inputs)
            if len(self._at) >= _MOST_SIZES:
                self._at.clear()
            self._at[inputs] = found
        return found

    def _complaint(self, inputs: tuple[Type, ...]) -> ShapeError:
        graph = self.graphs[0]
        pairs = [(i, have, want) for i, (have, want) in enumerate(zip(inputs, graph.inputs, strict=True)) if have != want]
        facts = [(graph.names[i] or f"input {i}", show_type(have), f"recorded with {show_type(want)}") for i, have, want in pairs]
        return ShapeError("the program was not recorded for these inputs", facts, help="export it with these sizes, or with dynamic ones")

    def text(self) -> str:
        """The program as JSON."""
        return json.dumps([graph_to_json(graph) for graph in self.graphs])

    @classmethod
    def from_text(cls, text: str, where: str) -> RecordedProgram:
        """The program of a text. FileError if it is none: every step is checked as if it were recorded, and nothing is taken on trust."""
        try:
            graphs = [_checked(graph_from_json(data)) for data in json.loads(text)]
            if not graphs:
                raise ValueError("it holds no graph")
        except (LaminaError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            sentence = error.sentence if isinstance(error, LaminaError) else str(error)
            raise FileError(f"{where} holds a damaged program: {sentence}", help="export it again") from None
        return cls(graphs)


def _checked(graph: Graph) -> Graph:
    """The graph with types that follow from its steps, and origins that are lines of files: they end in comments of programs."""
    types: list[Any] = list(graph.inputs)
    steps: list[Step] = []
    if len(graph.names) != len(types) or len(graph.origins) != len(graph.steps):
        raise ValueError("names or origins are missing")
    for step in graph.steps:
        if any(type(i) is not int or not 0 <= i < len(types) for i in step.operands):
            raise ValueError(f"{step.op} reads what is not there")
        attrs = tuple(_checked(a) if isinstance(a, Graph) else a for a in step.attrs)
        steps.append(Step(step.op, attrs, step.operands))
        known = tuple(types[i] for i in step.operands)
        types += _DERIVED[step.op](known) if step.op in _DERIVED else OPS[step.op].infer(known, attrs)
    if any(type(i) is not int or not 0 <= i < len(types) for i in graph.outputs):
        raise ValueError("a result is not there")
    origins = tuple(o if isinstance(o, str) and _ORIGIN.fullmatch(o) else "?" for o in graph.origins)
    names = tuple(n if isinstance(n, str) else None for n in graph.names)
    return Graph(graph.inputs, tuple(steps), graph.outputs, origins, names, tuple(types))
