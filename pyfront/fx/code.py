"""Code: a graph as the Python of a ``forward``: one line a Node, in names that are valid and values that can be written."""

from __future__ import annotations

import builtins
import copy
import enum
import operator
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...dialects.types import DType, bfloat16
from ..size import Size, device
from .namespace import TAKEN, Namespace
from .node import Node, chained
from .targets import package, qualified_name

if TYPE_CHECKING:
    from .graph import Graph

_MAGIC = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "truediv": "{} / {}", "floordiv": "{} // {}", "mod": "{} % {}", "pow": "{} ** {}",
    "matmul": "{} @ {}", "eq": "{} == {}", "ne": "{} != {}", "lt": "{} < {}", "gt": "{} > {}", "le": "{} <= {}", "ge": "{} >= {}",
    "and_": "{} & {}", "or_": "{} | {}", "xor": "{} ^ {}", "lshift": "{} << {}", "rshift": "{} >> {}", "getitem": "{}[{}]", "pos": "+{}",
    "neg": "-{}", "invert": "~{}",
}  # fmt: skip
_SAME_IN_PLACE = {f"i{name.rstrip('_')}": name for name in _MAGIC}
"""`iadd` and its kin: the text is a statement."""
_ATTRIBUTE = re.compile(r"[A-Za-z_]\w*\Z")


@dataclass
class PythonCode:
    """src: the text. globals: what its names mean."""

    src: str
    globals: dict[str, Any]


class CodeGen:
    """Writes a graph's Python."""

    def __init__(self) -> None:
        self._body_transformer: Callable[[list[str]], list[str]] | None = None

    def copied(self) -> CodeGen:
        """One that writes the same."""
        return copy.copy(self)

    def python(self, graph: Graph, root: str, verbose: bool = False) -> PythonCode:
        """``def forward(self, ...)`` with ``root`` for self. verbose: with what is known of shapes, as annotations."""
        return _Writer(graph, root, verbose).written(self._body_transformer)


class _Writer:
    def __init__(self, graph: Graph, root: str, verbose: bool) -> None:
        self.graph, self.root, self.verbose = graph, root, verbose
        self.globals: dict[str, Any] = {}
        self.names = Namespace()
        for node in graph.nodes:
            self.names.associate(node.name, node)
        self.parameters: list[str] = []
        self.returns = ""
        self.lines: list[str] = []
        self.last_uses = self._last_uses()

    def _last_uses(self) -> dict[Node, list[Node]]:
        """Which values are used for the last time by each Node."""
        done: set[Node] = set()
        found: dict[Node, list[Node]] = {}
        for node in chained(self.graph._root, backwards=True):
            for used in node.all_input_nodes:
                if used not in done:
                    done.add(used)
                    found.setdefault(node, []).append(used)
        return found

    def written(self, transformer: Callable[[list[str]], list[str]] | None) -> PythonCode:
        for node in self.graph.nodes:
            self._write(node)
        if not self.lines:
            self.lines.append("pass\n")
        lines = transformer(self.lines) if transformer is not None else self.lines
        body = "".join(f"    {line}\n" for line in "".join(lines).rstrip("\n").split("\n"))
        head = f"def forward({', '.join([self.root, *self.parameters])}){self.returns}:\n"
        return PythonCode(f"\n\n\n{head}{body}    ", self.globals)

    # -- names

    def known(self, hint: str, obj: Any) -> str:
        """A global name for an object."""
        if hint.startswith("torch."):
            self.globals["torch"] = package()
            return hint
        if hint.startswith("builtins."):
            return hint.partition(".")[2]
        if hint in TAKEN or hint == "device":
            self.globals[hint] = TAKEN.get(hint, obj)
            return hint
        plain = hint.replace(".", "_") if not hint.startswith("operator.") else f"_{hint.replace('.', '_')}"
        for name, value in self.globals.items():
            if value is obj and name.startswith(plain):
                return name
        name = self.names.create_name(plain)
        self.globals[name] = obj
        return name

    def kind(self, annotation: Any) -> str:
        """An annotation as text."""
        if annotation is None:
            return ""
        text = type_repr(annotation)
        if text.startswith("torch."):
            self.globals["torch"] = package()
            return text
        if annotation in vars(builtins).values():
            return text
        return self.known(text, annotation) if _ATTRIBUTE.match(text.replace(".", "_")) else self.known("type_hint", annotation)

    # -- lines

    def _write(self, node: Node) -> None:
        if node.op == "placeholder":
            self._parameter(node)
        elif node.op == "output":
            self.returns = f" -> {self.kind(node.type)}" if node.type is not None else ""
            self.lines.append(f"return {self.value(node.args[0])}")
        else:
            kind = self._noted(node)
            self.lines.append(self._call(node, f"{node.name}{kind}") + self._forget(node) + "\n")

    def _parameter(self, node: Node) -> None:
        if not _ATTRIBUTE.match(node.target.lstrip("*")):
            raise RuntimeError(f"a parameter cannot be called {node.target!r}")
        kind = self._noted(node)
        default = f" = {self.value(node.args[0])}" if node.args else ""
        self.parameters.append(f"{node.target}{kind}{default}")
        raw = node.target.lstrip("*")
        if raw != node.name:
            self.lines.append(f"{node.name} = {raw}\n")

    def _noted(self, node: Node) -> str:
        """The annotation of a value."""
        meta = node.meta.get("tensor_meta") if self.verbose else None
        if meta is not None and hasattr(meta, "dtype"):
            return f': "{_short(meta.dtype)}{list(meta.shape)}"'
        return f" : {self.kind(node.type)}" if node.type is not None else ""

    def _forget(self, node: Node) -> str:
        """What lets go of values that nobody uses any more."""
        gone = list(self.last_uses.get(node, ()))
        if not node.users and node.op not in ("output", "placeholder"):
            gone.append(node)
        return f";  {' = '.join([n.name for n in gone] + ['None'])}" if gone else ""

    def _call(self, node: Node, left: str) -> str:
        args = self.arguments(node.args, node.kwargs)
        if node.op == "get_attr":
            return f"{left} = {attribute_path(self.root, node.target)}"
        if node.op == "call_module":
            return f"{left} = {attribute_path(self.root, node.target)}({args})"
        if node.op == "call_method":
            if not _ATTRIBUTE.match(node.target):
                raise RuntimeError(f"a method cannot be called {node.target!r}")
            first, rest = node.args[0], self.arguments(node.args[1:], node.kwargs)
            return f"{left} = {self.value(first)}.{node.target}({rest})"
        name = getattr(node.target, "__name__", "")
        if not node.kwargs and getattr(operator, name, None) is node.target:
            if name in _MAGIC and len(node.args) == _MAGIC[name].count("{}"):
                return f"{left} = {_MAGIC[name].format(*(self.value(a) for a in node.args))}"
            if name in _SAME_IN_PLACE and isinstance(node.args[0], Node):
                sign = _MAGIC[_SAME_IN_PLACE[name]].split()[1]
                return f"{node.args[0].name} {sign}= {self.value(node.args[1])};  {left} = {node.args[0].name}"
        if node.target is getattr and len(node.args) == 2 and isinstance(node.args[1], str) and _ATTRIBUTE.match(node.args[1]):
            return f"{left} = {self.value(node.args[0])}.{node.args[1]}"
        return f"{left} = {self.known(qualified_name(node.target), node.target)}({args})"

    # -- values

    def arguments(self, args: tuple, kwargs: dict) -> str:
        """What stands between the parentheses of a call."""
        return ", ".join([*map(self.value, args), *[f"{k} = {self.value(v)}" for k, v in kwargs.items()]])

    def value(self, a: Any) -> str:
        """An argument as text."""
        if isinstance(a, Node):
            return a.name
        if isinstance(a, Size):
            self.globals["torch"] = package()
            return f"torch.Size([{', '.join(map(self.value, a))}])"
        if isinstance(a, tuple):
            inside = ", ".join(map(self.value, a))
            if hasattr(a, "_fields"):
                return f"{self.known(type_repr(type(a)), type(a))}({inside})"
            return f"({inside}{',' if len(a) == 1 else ''})"
        if isinstance(a, list):
            return f"[{', '.join(map(self.value, a))}]"
        if isinstance(a, dict):
            return "{" + ", ".join(f"{k!r}: {self.value(v)}" for k, v in a.items()) + "}"
        if isinstance(a, slice):
            return f"slice({', '.join(map(self.value, (a.start, a.stop, a.step)))})"
        return self._constant(a)

    def _constant(self, a: Any) -> str:
        if isinstance(a, DType):
            self.globals["torch"] = package()
            return repr(a)
        if isinstance(a, device):
            self.globals["device"] = device
            return repr(a)
        if isinstance(a, enum.Enum):
            return f"{self.known(type_repr(type(a)), type(a))}.{a.name}"
        if isinstance(a, float) and repr(a).lstrip("-") in TAKEN:
            self.globals[repr(a).lstrip("-")] = TAKEN[repr(a).lstrip("-")]
            return repr(a)
        if a is None or a is ... or isinstance(a, (bool, int, float, complex, str, bytes, range)):
            return repr(a) if a is not ... else "Ellipsis"
        if callable(a):
            return self.known(qualified_name(a), a)
        return self.known(f"constant_{type(a).__name__}", a)


def _short(dtype: DType) -> str:
    """``f32``, ``i64``, ``b8``."""
    return "bf16" if dtype is bfloat16 else f"{dtype.kind}{8 * dtype.itemsize}"


def attribute_path(root: str, target: str) -> str:
    """``self.layers`` and, where a part is no name, ``getattr(self.layers, "0")``."""
    text = root
    for part in target.split("."):
        text = f"{text}.{part}" if _ATTRIBUTE.match(part) else f'getattr({text}, "{part}")' if re.match(r"[\w ]+\Z", part) else f"getattr({text}, {part!r})"
    return text


def type_repr(kind: Any) -> str:
    """An annotation as text: ``int``, ``torch.Tensor``, ``module.Name``."""
    from ..tensor import Tensor

    if kind is Tensor:
        return "torch.Tensor"
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias):
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if kind is ...:
        return "..."
    if isinstance(kind, types.FunctionType):
        return kind.__name__
    return repr(kind) if typing.get_origin(kind) is not None else str(kind)
