"""Node: one step of a graph: what is called with what, and who uses the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .arguments import leaves, map_aggregate
from .targets import qualified_name

if TYPE_CHECKING:
    from .graph import Graph

Target = Callable[..., Any] | str
"""What a Node calls: a function, or the name of a method, a module or an attribute."""

Argument = Any
"""What a Node is given: Nodes, numbers, names, dtypes, and tuples, lists, slices and dicts of them."""

OPS = ("placeholder", "get_attr", "call_function", "call_method", "call_module", "output", "root")
_side_effects: set[Callable] = set()


def has_side_effect(fn: Callable) -> Callable:
    """Declare that calls of ``fn`` are there for what they do: they are not removed when nobody uses the result."""
    _side_effects.add(fn)
    return fn


def map_arg(a: Any, fn: Callable[[Node], Any]) -> Any:
    """``a`` with ``fn`` applied to each Node in it."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


class Node:
    """op: one of `OPS`. name: of its value, unique in the graph. target: what is called (a function, or the name of a method, module,
    attribute or parameter). args, kwargs: what with; Nodes stand for their values. users: Nodes that are given this one. meta: notes of
    passes. type: an annotation of the value."""

    def __init__(
        self, graph: Graph, name: str, op: str, target: Any, args: tuple = (), kwargs: dict | None = None, return_type: Any = None
    ) -> None:  # fmt: skip
        if op not in OPS:
            raise AssertionError(f"op must be one of {OPS}, got {op!r}")
        if op == "call_function" and not callable(target):
            raise ValueError(f"Node [graph = {graph}, name = '{name}'] target {target} has type {type(target).__name__} but a Callable is expected")
        if op != "call_function" and not isinstance(target, str):
            raise ValueError(f"Node [graph = {graph}, name = '{name}'] target {target} has type {type(target).__name__} but a str is expected")
        self.graph, self.name, self.op, self.target, self.type = graph, name, op, target, return_type
        self._args: tuple = ()
        self._kwargs: dict = {}
        self._input_nodes: dict[Node, None] = {}
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._prev = self._next = self
        self._erased = False
        self._set(args, kwargs or {})

    # -- order

    @property
    def next(self) -> Node:
        """The Node behind it."""
        return self._next

    @property
    def prev(self) -> Node:
        """The Node in front of it."""
        return self._prev

    def prepend(self, x: Node) -> None:
        """Put ``x`` (of this graph) in front of this Node."""
        if self.graph is not x.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if x is self:
            return
        x._unlink()
        p = self._prev
        p._next, x._prev, x._next, self._prev = x, p, self, x

    def append(self, x: Node) -> None:
        """Put ``x`` (of this graph) behind this Node."""
        self._next.prepend(x)

    def _unlink(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    def __lt__(self, other: Node) -> bool:
        order = list(self.graph.nodes)
        return order.index(self) < order.index(other)

    # -- arguments

    @property
    def args(self) -> tuple:
        """Positional arguments; assign a tuple to change them."""
        return self._args

    @args.setter
    def args(self, value: tuple) -> None:
        self._set(tuple(value), self._kwargs)

    @property
    def kwargs(self) -> dict:
        """Named arguments; assign a dict to change them."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, value: dict) -> None:
        self._set(self._args, value)

    def _set(self, args: tuple, kwargs: dict) -> None:
        for used in self._input_nodes:
            used.users.pop(self, None)
        self._args = map_aggregate(tuple(args), lambda x: x)
        self._kwargs = map_aggregate(dict(kwargs), lambda x: x)
        self._input_nodes = {x: None for x in leaves((self._args, self._kwargs)) if isinstance(x, Node)}
        for used in self._input_nodes:
            used.users.setdefault(self)

    @property
    def all_input_nodes(self) -> list[Node]:
        """The Nodes among the arguments, each once."""
        return list(self._input_nodes)

    def update_arg(self, idx: int, arg: Any) -> None:
        """Another positional argument at a place."""
        args = list(self._args)
        args[idx] = arg
        self.args = tuple(args)

    def insert_arg(self, idx: int, arg: Any) -> None:
        """A positional argument more."""
        if not 0 <= idx <= len(self._args):
            raise AssertionError("insert_args index must be between 0 and len(self.args)")
        self.args = (*self._args[:idx], arg, *self._args[idx:])

    def update_kwarg(self, key: str, arg: Any) -> None:
        """Another named argument."""
        self.kwargs = {**self._kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """``new_input`` wherever an argument was ``old_input``."""
        swap = lambda n: new_input if n is old_input else n  # noqa: E731
        self._set(map_arg(self._args, swap), map_arg(self._kwargs, swap))

    def replace_all_uses_with(
        self, replace_with: Node, delete_user_cb: Callable[[Node], bool] = lambda user: True, *, propagate_meta: bool = False
    ) -> list[Node]:  # fmt: skip
        """Give ``replace_with`` to all users (for which the callback is True) in place of this Node; those users."""
        if propagate_meta:
            if replace_with.meta:
                raise AssertionError("Called node.replace_all_uses_with(replace_with, propagate_meta=True), but replace_with already has .meta keys")
            replace_with.meta.update(self.meta)
        changed = [user for user in list(self.users) if delete_user_cb(user)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether it does something besides giving a value: inputs, outputs, writes in place, what was declared so."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            name = getattr(self.target, "__name__", "")
            if self.target in _side_effects or name in ("_assert", "_assert_is_none", "setitem"):
                return True
            if name.endswith("_") and not name.endswith("__"):
                return True
            return impure_random and name in _RANDOM
        if self.op == "call_method":
            return self.target.endswith("_") and not self.target.endswith("__")
        if self.op == "call_module":
            module = self.graph.owning_module
            return getattr(module.get_submodule(self.target), "_is_impure", False) if module is not None else False
        return False

    # -- text

    @property
    def stack_trace(self) -> str | None:
        """The lines that recorded it, where the tracer kept them."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    def _rename(self, candidate: str) -> None:
        self.name = self.graph._namespace.create_name(candidate)

    def __repr__(self) -> str:
        return self.name

    def format_node(self, placeholder_names: list[str] | None = None, maybe_return_typename: list[str] | None = None) -> str | None:
        """One line, as in ``print(graph)``."""
        noted = f"[num_users={len(self.users)}]"
        kind = _type_name(self.type)
        if self.op == "placeholder":
            default = f"(default={self._args[0]})" if self._args else ""
            return f"%{self.name} : {kind}{noted} = {self.op}[target={self.target}]{default}"
        if self.op == "get_attr":
            return f"%{self.name} : {kind}{noted} = {self.op}[target={self.target}]"
        if self.op == "output":
            return f"return {self._args[0]}"
        target = qualified_name(self.target) if self.op == "call_function" else self.target
        return f"%{self.name} : {kind}{noted} = {self.op}[target={target}](args = {_shown(self._args)}, kwargs = {_shown(self._kwargs)})"

    def __reduce__(self) -> tuple:
        raise TypeError("a torch.fx.Node belongs to its graph and is not pickled alone")


_RANDOM = frozenset("bernoulli multinomial normal poisson rand rand_like randint randint_like randn randn_like randperm dropout".split())


def _type_name(kind: Any) -> str:
    if kind is None:
        return ""
    from .code import type_repr

    return f"{type_repr(kind)} "


def _shown(a: Any) -> str:
    """Arguments as text, Nodes as %name, words as they are."""
    if isinstance(a, tuple):
        return f"({', '.join(map(_shown, a))}{',' if len(a) == 1 else ''})"
    if isinstance(a, list):
        return f"[{', '.join(map(_shown, a))}]"
    if isinstance(a, dict):
        return "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in a.items()) + "}"
    return f"%{a}" if isinstance(a, Node) else str(a)


def chained(root: Node, backwards: bool = False) -> Iterator[Node]:
    """The Nodes of a graph from its root on; may be changed while it runs."""
    at = root._prev if backwards else root._next
    while at is not root:
        if not at._erased:
            yield at
        at = at._prev if backwards else at._next
