"""torch.fx: modules and functions as graphs that Python can read, change and run again."""

from . import arguments as immutable_collections
from . import code, graph, graph_module, interpreter, node, passes, proxy, subgraph_rewriter
from .code import CodeGen
from .graph import Graph
from .graph_module import GraphModule
from .interpreter import Interpreter, Transformer
from .node import Node, has_side_effect, map_arg
from .proxy import Proxy
from .subgraph_rewriter import replace_pattern
from .tracer import PH, Tracer, symbolic_trace, wrap

__all__ = [
    "PH", "CodeGen", "Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer", "code", "graph", "graph_module",
    "has_side_effect", "immutable_collections", "interpreter", "map_arg", "node", "passes", "proxy", "replace_pattern", "subgraph_rewriter",
    "symbolic_trace", "wrap",
]  # fmt: skip
