"""Graph to captured module: every recorded step becomes one op of `@main`, every input an argument."""

from __future__ import annotations

from xdsl.dialects.builtin import ArrayAttr, FunctionType, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region, SSAValue

from ..dialects import autodiff  # noqa: F401  # its ops are steps of graphs
from ..dialects.graph import Graph
from ..dialects.ops import append_graph, ir_type


def capture(graph: Graph) -> ModuleOp:
    """The module of a graph, at level captured.

    `@main` takes the graph's inputs and returns its outputs. The module attribute `lamina.names` holds the
    inputs' names ("" where a name is unknown), every op its user line as `origin`.
    """
    block = Block(arg_types=[ir_type(t) for t in graph.inputs])
    for arg, name in zip(block.args, graph.names, strict=True):
        arg.name_hint = _hint(name)
    values = append_graph(block, graph)
    results = [values[i] for i in graph.outputs]
    block.add_op(ReturnOp(*results))
    kind = FunctionType.from_lists([a.type for a in block.args], [v.type for v in results])
    main = FuncOp("main", kind, Region(block))
    names = ArrayAttr([StringAttr(name or "") for name in graph.names])
    return ModuleOp([main], {"lamina.names": names})


def _hint(name: str | None) -> str | None:
    """An SSA name that reads like the user's: `fc1.weight` is `%fc1_weight`."""
    text = "".join(c if c.isalnum() and c.isascii() else "_" for c in name or "")
    return text if text and not text[0].isdigit() and SSAValue.is_valid_name(text) else None
