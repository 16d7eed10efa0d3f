"""Arguments: what a Node of a graph is given, nested: walked, mapped, and kept as lists and dicts that do not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def _refused(name: str) -> Callable:
    def refuse(self: Any, *_: Any, **__: Any) -> None:
        raise NotImplementedError(f"'{type(self).__name__}' object does not support mutation. If you are attempting to modify the kwargs or args of a "
                                  "torch.fx.Node object, instead create a new copy of it and assign the copy to the node: node.args = new_args")

    refuse.__name__ = name
    return refuse


class immutable_list(list):  # noqa: N801  # PyTorch's name
    """A list that is an argument of a Node: to be replaced, not changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))

    def __reduce__(self) -> tuple:
        return immutable_list, (tuple(self),)


class immutable_dict(dict):  # noqa: N801  # PyTorch's name
    """The same for dicts."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple:
        return immutable_dict, (list(self.items()),)


for _kind, _names in (
    (immutable_list, "__delitem__ __iadd__ __imul__ __setitem__ append clear extend insert pop remove reverse sort"),
    (immutable_dict, "__delitem__ __ior__ __setitem__ clear pop popitem setdefault update"),
):
    for _name in _names.split():
        setattr(_kind, _name, _refused(_name))


def map_aggregate(a: Any, fn: Callable[[Any], Any]) -> Any:
    """``a`` with ``fn`` applied to everything that is no tuple, list, dict or slice."""
    if isinstance(a, tuple):
        parts = [map_aggregate(item, fn) for item in a]
        return type(a)(*parts) if hasattr(a, "_fields") else tuple(parts)
    if isinstance(a, list):
        return immutable_list([map_aggregate(item, fn) for item in a])
    if isinstance(a, dict):
        return immutable_dict((key, map_aggregate(value, fn)) for key, value in a.items())
    if isinstance(a, slice):
        return slice(*(map_aggregate(item, fn) for item in (a.start, a.stop, a.step)))
    return fn(a)


def leaves(a: Any) -> Iterator[Any]:
    """Everything in ``a`` that is no container, in order."""
    found: list[Any] = []
    map_aggregate(a, found.append)
    return iter(found)
