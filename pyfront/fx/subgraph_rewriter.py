"""Rewriting: every place where a graph does what a pattern does, done another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..nn.module import Module
from .arguments import leaves
from .graph import Graph
from .graph_module import GraphModule, _put
from .node import Node
from .tracer import symbolic_trace


class Match(NamedTuple):
    """anchor: the Node that gives the pattern's result. nodes_map: from Nodes of the pattern to those of the graph."""

    anchor: Node
    nodes_map: dict[Node, Any]


def replace_pattern(gm: GraphModule, pattern: Callable | GraphModule, replacement: Callable | GraphModule) -> list[Match]:
    """In ``gm``, every match of ``pattern`` (no two of which share a step) becomes ``replacement``; the matches.

    Parameters of the pattern match anything, those of the replacement are the same in order. Values inside of a match that something else
    uses, too, are no match.
    """
    wanted, new = _graph_of(pattern), _graph_of(replacement)
    for part in (pattern, replacement):
        if isinstance(part, Module):
            _keep_attributes(gm, part)
    found: list[Match] = []
    replaced: dict[Node, Any] = {}
    taken: set[Node] = set()
    outputs = _outputs(wanted)
    for node in list(gm.graph.nodes):
        match = _matched(node, outputs, wanted)
        if match is not None and not taken & set(_inner(match)):
            taken.update(_inner(match))
            found.append(Match(outputs[0], match))
    for match in found:
        _put_in_place(gm.graph, match, wanted, new, replaced)
    gm.recompile()
    return found


def _graph_of(part: Any) -> Graph:
    return part.graph if isinstance(part, GraphModule) else part if isinstance(part, Graph) else symbolic_trace(part).graph


def _keep_attributes(gm: GraphModule, part: Module) -> None:
    for name, module in part.named_modules():
        if name and not hasattr(gm, name.split(".")[0]):
            _put(gm, name, module)


def _outputs(graph: Graph) -> list[Node]:
    return [x for x in leaves(graph.output_node().args) if isinstance(x, Node)]


def _inner(nodes: dict[Node, Any]) -> list[Node]:
    """The graph's Nodes that a match replaces."""
    return [g for p, g in nodes.items() if p.op not in ("placeholder", "output")]


def _matched(node: Node, outputs: list[Node], pattern: Graph) -> dict[Node, Any] | None:
    """Nodes of the pattern to those of the graph where ``node`` is its (first) result."""
    if not outputs or outputs[0].op == "placeholder":
        return None
    nodes: dict[Node, Any] = {}
    if not _agree(outputs[0], node, nodes):
        return None
    for other in outputs[1:]:  # further results: the first Node of the graph that agrees with what is known
        if other not in nodes and not any(_tried(other, candidate, nodes) for candidate in list(node.graph.nodes)):
            return None
    inner, results = set(_inner(nodes)), {nodes[o] for o in outputs}
    closed = all(user in inner for n in inner - results for user in n.users)
    return nodes if closed else None


def _tried(pattern: Node, node: Node, nodes: dict[Node, Any]) -> bool:
    before = dict(nodes)
    if node not in nodes.values() and _agree(pattern, node, nodes):
        return True
    nodes.clear()
    nodes.update(before)
    return False


def _agree(p: Any, g: Any, nodes: dict[Node, Any]) -> bool:
    """Whether an argument of the graph is what the pattern has there; notes which Nodes are which."""
    if isinstance(p, Node):
        if p in nodes:
            return nodes[p] is g or not isinstance(g, Node) and nodes[p] == g
        if p.op == "placeholder":
            nodes[p] = g
            return True
        if not isinstance(g, Node) or p.op != g.op or p.op == "output" or p.target != g.target:
            return False
        nodes[p] = g
        return _agree(p.args, g.args, nodes) and _agree(dict(p.kwargs), dict(g.kwargs), nodes)
    if isinstance(p, (tuple, list)):
        same = isinstance(g, (tuple, list)) and len(p) == len(g)
        return same and all(_agree(a, b, nodes) for a, b in zip(p, g, strict=True))
    if isinstance(p, dict):
        return isinstance(g, dict) and p.keys() == g.keys() and all(_agree(p[k], g[k], nodes) for k in p)
    return not isinstance(g, Node) and type(p) is type(g) and p == g


def _put_in_place(graph: Graph, match: Match, pattern: Graph, replacement: Graph, replaced: dict[Node, Any]) -> None:
    given = [replaced.get(v, v) if isinstance(v, Node) else v for v in (match.nodes_map.get(p) for p in pattern.find_nodes(op="placeholder"))]
    values: dict[Node, Any] = dict(zip(replacement.find_nodes(op="placeholder"), given, strict=True))
    first = max([v for v in given if isinstance(v, Node)], key=list(graph.nodes).index, default=None)
    at = min(_inner(match.nodes_map), key=list(graph.nodes).index)
    results = [match.nodes_map[p] for p in _outputs(pattern)]
    place = graph.inserting_before(at if first is None or list(graph.nodes).index(first) < list(graph.nodes).index(at) else match.nodes_map[match.anchor])
    with place:
        made = graph.graph_copy(replacement, values)
    made = [x for x in leaves(made) if isinstance(x, Node)]
    if len(made) != len(results):
        raise RuntimeError(f"the pattern gives {len(results)} values and its replacement {len(made)}")
    for old, new in zip(results, made, strict=True):
        old.replace_all_uses_with(new)
        replaced[old] = new
    for node in sorted(_inner(match.nodes_map), key=list(graph.nodes).index, reverse=True):
        if not node.users:
            graph.erase_node(node)
