"""GraphModule: a module whose forward is the Python of a graph."""

from __future__ import annotations

import copy
import itertools
import linecache
from typing import Any

from ...dialects.errors import UnsupportedError
from ..nn.module import Module
from ..tensor import Tensor
from .graph import Graph

_numbers = itertools.count()


class GraphModule(Module):
    """root: where the attributes are that the graph names (a module, or a dict by qualified name); they are taken over.

    ``graph`` may be edited; `recompile` makes it the forward. The generated text is in ``code``.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> GraphModule:
        for kind in cls.__mro__:  # each instance has a class of its own: its forward is its own
            if "_is_of_one" not in vars(kind):
                return object.__new__(type("GraphModule" if kind is GraphModule else kind.__name__, (kind,), {"_is_of_one": True, "__module__": kind.__module__}))
        raise AssertionError("a GraphModule has a class that is not of one instance")

    def __init__(self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__()
        type(self).__name__ = class_name
        self.training = getattr(root, "training", True)
        for node in graph.nodes:
            if node.op not in ("get_attr", "call_module"):
                continue
            if isinstance(root, Module):
                _take_over(root, self, node.target)
            elif node.target not in root:
                raise RuntimeError(f"Node {node} referenced target {node.target} but that target was not provided in ``root``!")
        for target in sorted(root, key=lambda name: name.count(".")) if isinstance(root, dict) else ():
            _put(self, target, root[target])
        self.meta: dict[str, Any] = dict(getattr(root, "meta", {}))
        self.graph = graph

    @property
    def graph(self) -> Graph:
        """What it computes; assigning another recompiles."""
        return self._graph

    @graph.setter
    def graph(self, g: Graph) -> None:
        if not isinstance(g, Graph):
            raise AssertionError(f"Expected a Graph instance, but got {type(g)}")
        self._graph = g
        g.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The Python of the forward."""
        if "_code" not in self.__dict__:
            raise RuntimeError("Code has not been generated! Please report a bug to PyTorch")
        return self._code

    def recompile(self) -> Any:
        """Make the graph, as it is now, the forward."""
        python = self._graph.python_code("self")
        file = f"<eval_with_key>.{next(_numbers)}"
        linecache.cache[file] = (len(python.src), None, python.src.splitlines(True), file)  # so that errors show its lines
        space = dict(python.globals)
        exec(compile(python.src, file, "exec"), space)  # written a moment ago, of Nodes whose names and values were checked
        self._code = python.src
        type(self).forward = space["forward"]
        return python

    # -- submodules

    def add_submodule(self, target: str, m: Module) -> bool:
        """Put a module under a name; False where something else is in the way."""
        *path, last = target.split(".")
        home: Module = self
        for part in path:
            found = getattr(home, part, None)
            if found is None:
                found = Module()
                setattr(home, part, found)
            if not isinstance(found, Module):
                return False
            home = found
        home.add_module(last, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Take a module away; False where there is none."""
        *path, last = target.split(".")
        try:
            home = self.get_submodule(".".join(path))
        except AttributeError:
            return False
        if not isinstance(getattr(home, last, None), Module):
            return False
        delattr(home, last)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Take all modules away that no Node calls or reads from."""
        used = set()
        for node in self.graph.nodes:
            if node.op in ("call_module", "get_attr"):
                parts = node.target.split(".")
                used.update(".".join(parts[:i]) for i in range(1, len(parts) + 1))
                if node.op == "call_module":
                    used.update(f"{node.target}.{name}" for name, _ in self.get_submodule(node.target).named_modules() if name)
        for name in [name for name, _ in self.named_modules() if name and name not in used]:
            self.delete_submodule(name)

    # -- text and copies

    def print_readable(
        self, print_output: bool = True, include_stride: bool = False, include_device: bool = False, colored: bool = False, **_: Any
    ) -> str:  # fmt: skip
        """The forward as a class, with the GraphModules below it; printed, and returned."""
        text = _readable(self, type(self).__name__)
        if print_output:
            print(text)
        return text

    def to_folder(self, folder: Any, module_name: str = "FxModule") -> None:
        """UnsupportedError: programs are not written as Python that another program would run."""
        raise UnsupportedError("a GraphModule is not written as Python files", help="save its state_dict(), and trace the model again; or lamina.export")

    def __str__(self) -> str:
        return "\n".join([super().__repr__(), self._code, "# To see more debug info, please use `graph_module.print_readable()`"])

    def __repr__(self) -> str:
        return super().__repr__()

    def __deepcopy__(self, memo: dict) -> GraphModule:
        held = Module()
        held.__dict__.update(copy.deepcopy({k: v for k, v in self.__dict__.items() if k not in ("_graph", "_calls_")}, memo))
        return self._like(held, copy.deepcopy(self.graph))

    def __copy__(self) -> GraphModule:
        return self._like(self, copy.deepcopy(self.graph))

    def _like(self, held: Module, graph: Graph) -> GraphModule:
        made = GraphModule(held, graph, type(self).__name__)
        made.__dict__.update({k: v for k, v in held.__dict__.items() if k not in ("_graph", "_code", "_calls_")})
        return made

    def __reduce__(self) -> tuple:
        raise UnsupportedError("a GraphModule is not pickled: reading it would run the Python in the file", help="save its state_dict(), and trace the model again")


def _readable(module: GraphModule, name: str) -> str:
    body = module.graph.python_code("self", verbose=True).src.strip("\n").rstrip().split("\n")
    lines = [body[0], "    # No stacktrace found for following nodes", *body[1:]]
    text = f"class {name}(torch.nn.Module):\n" + "\n".join(f"    {line}" for line in lines) + "\n"
    for child, below in module.named_children():
        if isinstance(below, GraphModule):
            text += "\n" + "\n".join(f"    {line}" for line in _readable(below, child).rstrip("\n").split("\n")) + "\n"
    return text


def _take_over(source: Module, to: Module, target: str) -> None:
    """An attribute of one module under the same name in another."""
    found: Any = source
    for part in target.split("."):
        if not hasattr(found, part):
            return
        found = getattr(found, part)
    _put(to, target, found)


def _put(to: Module, target: str, value: Any) -> None:
    *path, last = target.split(".")
    for part in path:
        below = getattr(to, part, None)
        if below is None:
            below = Module()
            setattr(to, part, below)
        to = below
    if getattr(to, last, None) is value:
        return
    if type(value) is Tensor:
        to.register_buffer(last, value)
    else:
        setattr(to, last, value)
