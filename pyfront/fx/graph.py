"""Graph: Nodes in the order in which they run, and how they are added, taken out and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import code
from .namespace import Namespace, snake_case
from .node import Node, chained, map_arg
from .targets import qualified_name


class NodeList:
    """The Nodes of a graph, in order."""

    def __init__(self, graph: Graph, direction: str = "_next") -> None:
        self.graph, self.direction = graph, direction

    def __len__(self) -> int:
        return self.graph._length

    def __iter__(self) -> Iterator[Node]:
        return chained(self.graph._root, self.direction == "_prev")

    def __reversed__(self) -> NodeList:
        return NodeList(self.graph, "_next" if self.direction == "_prev" else "_prev")


class Graph:
    """A function as Nodes: placeholders first, one output last.

    owning_module: the GraphModule it belongs to, if it is one's alone. tracer_cls: what made it.
    """

    def __init__(self, owning_module: Any = None, tracer_cls: type | None = None, tracer_extras: dict | None = None) -> None:
        self._root = Node(self, "", "root", "")
        self._length = 0
        self._insert: Callable[[Node], None] = self._root.prepend
        self._namespace = Namespace()
        self._owning_module, self._owners = owning_module, 0
        self._tracer_cls = tracer_cls
        self._codegen = code.CodeGen()

    @property
    def owning_module(self) -> Any:
        """The module this graph is the forward of; None if several share it."""
        return self._owning_module

    @owning_module.setter
    def owning_module(self, module: Any) -> None:
        self._owners += module is not None
        self._owning_module = module if self._owners <= 1 else None

    @property
    def nodes(self) -> NodeList:
        """All Nodes, in order. Those added while one looks are seen, those erased are not."""
        return NodeList(self)

    def output_node(self) -> Node:
        """The output."""
        last = self._root._prev
        if last.op != "output":
            raise AssertionError("Expected the last node of the graph to be its output")
        return last

    def find_nodes(self, *, op: str, target: Any = None, sort: bool = True) -> list[Node]:
        """The Nodes of a kind, in order; of functions those that call ``target``."""
        return [n for n in self.nodes if n.op == op and (target is None or n.target == target)]

    # -- adding

    def create_node(
        self, op: str, target: Any, args: tuple | None = None, kwargs: dict | None = None, name: str | None = None, type_expr: Any = None
    ) -> Node:  # fmt: skip
        """A Node at the place of insertion (the end, unless within `inserting_before` or `inserting_after`)."""
        args, kwargs = args or (), kwargs or {}
        if not isinstance(args, tuple):
            raise AssertionError("args must be a tuple")
        candidate = name if name is not None else self._target_to_str(target)
        node = Node(self, self._namespace.create_name(candidate), op, target, args, kwargs, type_expr)
        self._namespace.associate(node.name, node)
        self._insert(node)
        self._length += 1
        return node

    @staticmethod
    def _target_to_str(target: Any) -> str:
        name = qualified_name(target).rpartition(".")[2] if callable(target) else target
        if name.startswith("__") and name.endswith("__"):
            name = name[2:-2]
        return snake_case(name)

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """A parameter of the function; names with a star take the rest."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """A parameter, buffer or other attribute of the owning module."""
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(self, module_name: str, args: tuple | None = None, kwargs: dict | None = None, type_expr: Any = None) -> Node:
        """A call of a submodule."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(self, method_name: str, args: tuple | None = None, kwargs: dict | None = None, type_expr: Any = None) -> Node:
        """A call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(
        self, the_function: Callable, args: tuple | None = None, kwargs: dict | None = None, type_expr: Any = None, name: str | None = None
    ) -> Node:  # fmt: skip
        """A call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name=name, type_expr=type_expr)

    def output(self, result: Any, type_expr: Any = None) -> Node:
        """What the function gives."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Any] = lambda x: x) -> Node:
        """A Node like one of another graph, its arguments put through ``arg_transform``."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        made = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        made.meta = dict(node.meta)
        return made

    def graph_copy(self, g: Graph, val_map: dict[Node, Any], return_output_node: bool = False) -> Any:
        """All Nodes of ``g`` but its output, at the place of insertion; what its output would be. val_map: gets old to new."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                found = map_arg(node.args[0], lambda n: val_map[n])
                return (found, node) if return_output_node else found
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def inserting_before(self, n: Node | None = None) -> Any:
        """Within it, Nodes are added in front of ``n`` (the whole graph)."""
        return self._at((n or self._root._next).prepend if n is not None else self._root.append, n)

    def inserting_after(self, n: Node | None = None) -> Any:
        """Within it, Nodes are added behind ``n`` (the whole graph)."""
        return self._at(n.append if n is not None else self._root.prepend, n)

    @contextmanager
    def _at(self, insert: Callable[[Node], None], n: Node | None) -> Iterator[None]:
        if n is not None and n.graph is not self:
            raise AssertionError("Node to insert before is not in graph.")
        before, self._insert = self._insert, insert
        try:
            yield
        finally:
            self._insert = before

    # -- taking out

    def erase_node(self, to_erase: Node) -> None:
        """Take a Node out. RuntimeError while it has users."""
        if to_erase.users:
            raise RuntimeError(f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in the graph: {to_erase.users}!")
        if to_erase.graph is not self:
            raise RuntimeError(f"Attempting to remove {to_erase} from wrong graph!")
        if to_erase._erased:
            return
        to_erase._unlink()
        to_erase._erased = True
        to_erase._set((), {})
        self._length -= 1

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Take out what nobody uses and what does nothing else, from the end to the front; whether there was any."""
        self.lint()
        before = self._length
        for node in reversed(self.nodes):
            if not (is_impure_node or Node.is_impure)(node) and not node.users:
                self.erase_node(node)
        return self._length < before

    def lint(self) -> None:
        """RuntimeError where a Node is used before it is made, belongs to another graph, has a name twice or a target that is not there."""
        seen_names: set[str] = set()
        seen: set[Node] = set()
        for node in self.nodes:
            if node.graph is not self:
                raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
            for used in node.all_input_nodes:
                if used.graph is not self:
                    raise RuntimeError(f"Argument '{used}' of Node '{node}' does not belong to this Graph, but was used as an argument! "
                                       "If you are copying nodes from another graph, make sure to use ``arg_transform`` on node_copy() to remap values")
                if used not in seen:
                    raise RuntimeError(f"Argument '{used}' of Node '{node}' was used before it has been defined! "
                                       f"Please check that Nodes in the graph are topologically ordered\n{self}")
            if node.name in seen_names:
                raise RuntimeError(f"Node redefined name {node.name}!")
            seen.add(node)
            seen_names.add(node.name)
            self._lint_target(node)

    def _lint_target(self, node: Node) -> None:
        if self.owning_module is None or node.op not in ("get_attr", "call_module"):
            return
        at: Any = self.owning_module
        for atom in node.target.split("."):
            if not hasattr(at, atom):
                raise RuntimeError(f"Node {node} target {node.target} references nonexistent attribute {atom} of {type(at).__name__}")
            at = getattr(at, atom)

    # -- text

    def set_codegen(self, codegen: code.CodeGen) -> None:
        """What writes the Python of this graph."""
        self._codegen = codegen

    def on_generate_code(self, make_transformer: Callable) -> Any:
        """Have the lines of the Python go through a function of them: ``make_transformer(the one before)`` gives it."""
        before = self._codegen._body_transformer
        self._codegen._body_transformer = make_transformer(before)

        @contextmanager
        def until() -> Iterator[None]:
            try:
                yield
            finally:
                self._codegen._body_transformer = before

        return until()

    def python_code(self, root_module: str, *, verbose: bool = False, **_: Any) -> code.PythonCode:
        """The Python of this graph, as a ``forward``, and the globals it needs."""
        return self._codegen.python(self, root_module, verbose)

    def print_tabular(self) -> None:
        """A table of all Nodes. Needs the package tabulate."""
        try:
            from tabulate import tabulate  # type: ignore[import-not-found]  # only where somebody installed it
        except ImportError:
            print("`print_tabular` relies on the library `tabulate`, which could not be found on this machine. Run `pip install tabulate` to install the library.")
            raise
        print(tabulate([[n.op, n.name, n.target, n.args, n.kwargs] for n in self.nodes], headers=["opcode", "name", "target", "args", "kwargs"]))

    def __str__(self) -> str:
        lines = [node.format_node() for node in self.nodes]
        return "graph():" + "".join(f"\n    {line}" for line in lines if line)

    def __deepcopy__(self, memo: dict | None = None) -> Graph:
        made = Graph(tracer_cls=self._tracer_cls)
        values: dict[Node, Any] = {}
        found = made.graph_copy(self, values, return_output_node=True)
        made._codegen = self._codegen.copied()
        if found is not None:
            result, old = found
            made.output(result, type_expr=old.type).meta = dict(old.meta)
        return made
