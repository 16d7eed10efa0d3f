"""Proxy: stands for a value while a function is traced: whatever is done with it becomes a Node, recorded by its tracer."""

from __future__ import annotations

import dis
import operator
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

from ...dialects.types import DType
from .. import overrides, traits
from ..nn.module import Module
from ..size import Size, device
from .node import Node

if TYPE_CHECKING:
    from .graph import Graph

_WRITABLE = (str, int, float, bool, complex, bytes, range, DType, device, Enum, type(None), type(...), traits.layout, traits.memory_format)

_ITERATED = (
    "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a loop or as a *args or **kwargs function argument. "
    "See the torch.fx docs on pytorch.org for a more detailed explanation of what types of control flow can be traced, and check out the "
    "Proxy docstring for help troubleshooting Proxy iteration errors"
)


class TraceError(ValueError):
    """The program wants to know what only a run can tell."""


class Proxy:
    """node: the Node whose value it stands for. tracer: what records; without one, what is done with it is appended to the node's graph."""

    def __init__(self, node: Node, tracer: TracerBase | None = None) -> None:
        self.node, self.tracer = node, GraphAppendingTracer(node.graph) if tracer is None else tracer

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, name: str) -> Attribute:
        if name.startswith("__") and name.endswith("__"):  # what Python asks of every object
            raise AttributeError(name)
        return Attribute(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        """A function that is given a Proxy outside of a trace: a Node, as within one."""
        from .patching import recorded  # it asks what a Proxy is

        return recorded(func, args, kwargs or {})

    def __iter__(self) -> Iterator[Proxy]:
        frame = sys._getframe(1)
        wanted = _unpacked(frame.f_code, frame.f_lasti)
        if wanted is not None:  # `a, b = x`: the program says how many there are
            return iter([self[i] for i in range(wanted)])
        return self.tracer.iter(self)

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def __len__(self) -> int:
        raise RuntimeError(
            "'len' is not supported in symbolic tracing by default. If you want this call to be recorded, please call torch.fx.wrap('len') at module scope"
        )

    def __contains__(self, item: Any) -> bool:
        raise TraceError(_ITERATED)

    def __hash__(self) -> int:
        return id(self)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("'Proxy' object does not support item assignment")

    def keys(self) -> Any:
        """What ``**proxy`` asks for."""
        return self.tracer.keys(self)


class Attribute(Proxy):
    """``proxy.name``: a method once it is called, else an attribute that is looked up when the graph runs."""

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]  # recorded when somebody wants it as a value
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class TracerBase:
    """What records Nodes for Proxies."""

    graph: Graph

    def create_node(self, kind: str, target: Any, args: tuple, kwargs: dict, name: str | None = None, type_expr: Any = None) -> Node:
        """A Node at the end of the graph."""
        return self.graph.create_node(kind, target, args, kwargs, name, type_expr)

    def proxy(self, node: Node) -> Proxy:
        """What stands for a Node."""
        return Proxy(node, self)

    def create_proxy(
        self, kind: str, target: Any, args: tuple, kwargs: dict, name: str | None = None, type_expr: Any = None,
        proxy_factory_fn: Callable[[Node], Proxy] | None = None,
    ) -> Any:  # fmt: skip
        """A Node with these arguments, and what stands for it."""
        node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs), name, type_expr)
        return (proxy_factory_fn or self.proxy)(node)

    def create_arg(self, a: Any) -> Any:
        """What a program passes, as an argument of a Node. NotImplementedError for what has no place in a graph."""
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, Node) or isinstance(a, Size):
            return a
        if isinstance(a, tuple):
            parts = [self.create_arg(item) for item in a]
            return type(a)(*parts) if hasattr(a, "_fields") else tuple(parts)
        if isinstance(a, list):
            return [self.create_arg(item) for item in a]
        if isinstance(a, dict):
            return {self._key(key): self.create_arg(value) for key, value in a.items()}
        if isinstance(a, slice):
            return slice(*(self.create_arg(item) for item in (a.start, a.stop, a.step)))
        if isinstance(a, _WRITABLE) or callable(a) and not isinstance(a, Module):
            return a
        raise NotImplementedError(f"argument of type: {type(a)}")

    def _key(self, key: Any) -> Any:
        if isinstance(key, Proxy):
            raise RuntimeError("Keys for dictionaries used as an argument cannot contain a Node.")
        return key

    def to_bool(self, obj: Proxy) -> bool:
        """A Proxy's truth."""
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow")

    def iter(self, obj: Proxy) -> Iterator:
        """A Proxy's elements."""
        raise iterated()

    def keys(self, obj: Proxy) -> Any:
        """A Proxy's keys."""
        return Attribute(obj, "keys")()


class GraphAppendingTracer(TracerBase):
    """Adds to a graph that is there: nothing is exchanged meanwhile, functions ask their Proxies."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        overrides.activate()


def _unpacked(code: Any, at: int) -> int | None:
    for step in dis.get_instructions(code):
        if step.offset == at:
            return step.argval if step.opname == "UNPACK_SEQUENCE" else None
    return None


def iterated() -> TraceError:
    """What is raised where a Proxy would have to say how many elements it has."""
    return TraceError(_ITERATED)


_OPERATORS = (
    "add sub mul floordiv truediv mod pow lshift rshift matmul getitem eq ne lt gt le ge pos neg invert and_ or_ xor abs"
).split()
_REFLECTED = "add sub mul floordiv truediv mod pow lshift rshift and_ or_ xor matmul".split()


def _direct(name: str) -> Any:
    target = getattr(operator, name)

    def apply(self: Proxy, *args: Any) -> Any:
        return self.tracer.create_proxy("call_function", target, (self, *args), {})

    return apply


def _reflected(name: str) -> Any:
    target = getattr(operator, name)

    def apply(self: Proxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", target, (other, self), {})

    return apply


for _name in _OPERATORS:
    setattr(Proxy, f"__{_name.strip('_')}__", _direct(_name))
for _name in _REFLECTED:
    setattr(Proxy, f"__r{_name.strip('_')}__", _reflected(_name))
