"""Pytrees: nested tuples, lists, dicts and named tuples as a flat list of leaves and the structure around them.

Everything else is a leaf, None included, as in ``torch.utils._pytree``.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class TreeSpec:
    """A structure: the kind of node (None for a leaf), what it needs to be built again (keys), its children."""

    __slots__ = ("kind", "context", "children", "num_leaves")

    def __init__(self, kind: type | None, context: Any, children: Sequence[TreeSpec]) -> None:
        self.kind = kind
        self.context = context
        self.children = tuple(children)
        self.num_leaves = 1 if kind is None else sum([c.num_leaves for c in self.children])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TreeSpec)
            and self.kind is other.kind
            and self.context == other.context
            and self.children == other.children
        )

    def __hash__(self) -> int:
        return hash((self.kind, str(self.context), self.children))

    def is_leaf(self) -> bool:
        """True for a structure that is one leaf."""
        return self.kind is None

    def __repr__(self, indent: int = 0) -> str:
        if self.kind is None:
            return "*"
        start = f"TreeSpec({self.kind.__name__}, {self.context}, ["
        inner = ""
        for i, child in enumerate(self.children):
            inner += ("" if i == 0 else ",\n" + " " * (indent + 2)) + child.__repr__(indent + 2)
        return f"{start}{inner}])"

    def shown(self) -> str:
        """``(*, {'a': *})``."""
        parts = [c.shown() for c in self.children]
        if self.kind is None:
            return "*"
        if self.kind in (dict, OrderedDict, defaultdict):
            keys = self.context[1] if self.kind is defaultdict else self.context
            return "{" + ", ".join(f"{k!r}: {p}" for k, p in zip(keys, parts, strict=True)) + "}"
        if self.kind is list:
            return "[" + ", ".join(parts) + "]"
        return "(" + ", ".join(parts) + ("," if len(parts) == 1 else "") + ")"


LEAF = TreeSpec(None, None, ())


def _is_named(tree: Any) -> bool:
    return isinstance(tree, tuple) and type(tree) is not tuple and hasattr(type(tree), "_fields")


def _children(tree: Any) -> tuple[type, Any, list[Any]] | None:
    """Kind, context and children of a node; None for a leaf."""
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind, None, list(tree)
    if kind in (dict, OrderedDict):
        return kind, list(tree), list(tree.values())
    if kind is defaultdict:
        return kind, [tree.default_factory, list(tree)], list(tree.values())
    return (kind, kind, list(tree)) if _is_named(tree) else None


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], TreeSpec]:
    """The leaves in order, and the structure."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree: Any, leaves: list[Any], is_leaf: Callable[[Any], bool] | None) -> TreeSpec:
    node = None if is_leaf is not None and is_leaf(tree) else _children(tree)
    if node is None:
        leaves.append(tree)
        return LEAF
    kind, context, children = node
    return TreeSpec(kind, context, [_flatten(child, leaves, is_leaf) for child in children])


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The tree of a structure with these leaves. ValueError when their number is wrong."""
    given = list(leaves)
    if len(given) != treespec.num_leaves:
        raise ValueError(
            f"tree_unflatten(leaves, treespec): `leaves` has length {len(given)} but the spec refers to a pytree that "
            f"holds {treespec.num_leaves} items ({treespec})."
        )
    return _unflatten(iter(given), treespec)


def _unflatten(leaves: Any, spec: TreeSpec) -> Any:
    if spec.kind is None:
        return next(leaves)
    children = [_unflatten(leaves, child) for child in spec.children]
    if spec.kind is tuple or spec.kind is list:
        return spec.kind(children)
    if spec.kind is defaultdict:
        return defaultdict(spec.context[0], zip(spec.context[1], children, strict=True))
    if spec.kind in (dict, OrderedDict):
        return spec.kind(zip(spec.context, children, strict=True))
    return spec.kind(*children)


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """The tree with ``function`` applied to each leaf (and to the leaves at the same place of more trees)."""
    leaves, spec = tree_flatten(tree)
    others = [tree_flatten(r)[0] for r in rest]
    return tree_unflatten([function(*each) for each in zip(leaves, *others, strict=True)], spec)


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves in order."""
    return tree_flatten(tree)[0]


def broadcast_to(tree: Any, spec: TreeSpec) -> list[Any] | None:
    """One leaf of ``tree`` per leaf of ``spec``: a leaf of the tree stands for all below its place. None when the
    structures do not fit."""
    if spec.kind is None:
        return [tree] if _children(tree) is None else None
    node = _children(tree)
    if node is None:
        return [tree] * spec.num_leaves
    kind, context, children = node
    if kind is not spec.kind or context != spec.context or len(children) != len(spec.children):
        return None
    parts = [broadcast_to(child, inner) for child, inner in zip(children, spec.children, strict=True)]
    return None if any(p is None for p in parts) else [leaf for p in parts for leaf in p]
