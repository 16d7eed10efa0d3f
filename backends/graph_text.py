"""Graphs and templates as JSON, for another process: everything a compiler needs to know of one, and nothing that runs when it is read."""

from __future__ import annotations

from typing import Any

from ..dialects.graph import Graph, Step
from ..dialects.types import DTYPES, DType
from .executable import types_from_json, types_to_json
from .families import Template


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """A graph as plain data. TypeError for attributes of a kind that text does not hold."""
    steps = [[step.op, [_plain(a) for a in step.attrs], list(step.operands)] for step in graph.steps]
    types, inputs = types_to_json(graph.types), types_to_json(graph.inputs)
    return {
        "inputs": inputs, "steps": steps, "outputs": list(graph.outputs), "origins": list(graph.origins), "names": list(graph.names),
        "types": types,
    }  # fmt: skip


def graph_from_json(data: dict[str, Any]) -> Graph:
    """What `graph_to_json` made into plain data."""
    steps = tuple(Step(op, tuple(map(_attribute, attrs)), tuple(operands)) for op, attrs, operands in data["steps"])
    outputs, origins, names = (tuple(data[part]) for part in ("outputs", "origins", "names"))
    return Graph(types_from_json(data["inputs"]), steps, outputs, origins, names, types_from_json(data["types"]))


def template_to_json(template: Template) -> dict[str, Any]:
    """A template as plain data, without the programs made for it."""
    holes, numbers = list(template.holes.items()), list(template.numbers)
    return {"graph": graph_to_json(template.graph), "numbers": numbers, "holes": holes, "sources": template.sources}


def template_from_json(data: dict[str, Any]) -> Template:
    """What `template_to_json` made into plain data."""
    holes, sources = dict(data["holes"]), tuple(map(tuple, data["sources"]))
    return Template(graph_from_json(data["graph"]), tuple(data["numbers"]), holes, sources)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, DType):
        return {"dtype": value.code}
    if isinstance(value, Graph):
        return {"graph": graph_to_json(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"{type(value).__name__} is not an attribute that text holds")


def _attribute(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_attribute, value))
    if isinstance(value, dict):
        return DTYPES[value["dtype"]] if "dtype" in value else graph_from_json(value["graph"])
    return value
