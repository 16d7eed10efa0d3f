"""Pytrees: nested tuples, lists, dicts and named tuples as a flat list of leaves and the structure around them.

Other classes are nodes once they are registered (`register_pytree_node`); everything else is a leaf, None included, as in
``torch.utils._pytree``.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple


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
PyTree = Any
Context = Any


class MappingKey(NamedTuple):
    """The step from a dict to its entry."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"


class SequenceKey(NamedTuple):
    """The step from a list or tuple to its entry."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx}]"


class GetAttrKey(NamedTuple):
    """The step from an object to its attribute."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


class _Registered(NamedTuple):
    """How a class that programs registered is taken apart and put together; named: the children with the keys of their steps."""

    flatten: Callable[[Any], tuple[Iterable[Any], Any]]
    unflatten: Callable[[Iterable[Any], Any], Any]
    named: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]] | None


_registered: dict[type, _Registered] = {}


def register_pytree_node(
    cls: type, flatten_fn: Callable[[Any], tuple[Iterable[Any], Any]], unflatten_fn: Callable[[Iterable[Any], Any], Any], *,
    serialized_type_name: str | None = None, to_dumpable_context: Any = None, from_dumpable_context: Any = None,
    flatten_with_keys_fn: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]] | None = None,
) -> None:  # fmt: skip
    """Make instances of a class nodes: ``flatten_fn(node)`` gives children and a context, ``unflatten_fn(children, context)`` a node.
    Of the other arguments only `flatten_with_keys_fn` is read: trees are not written to files by it. ValueError when it is registered already."""
    if cls in _registered:
        raise ValueError(f"{cls} is already registered as pytree node.")
    _registered[cls] = _Registered(flatten_fn, unflatten_fn, flatten_with_keys_fn)


_register_pytree_node = register_pytree_node


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
    found = _registered.get(kind)
    if found is not None:
        children, context = found.flatten(tree)
        return kind, context, list(children)
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
    if spec.kind is namedtuple:  # as `_get_node_type` calls all of them
        return spec.context(*children)
    found = _registered.get(spec.kind)
    return spec.kind(*children) if found is None else found.unflatten(children, spec.context)


def tree_map(function: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The tree with ``function`` applied to each leaf (and to the leaves at the same place of more trees)."""
    leaves, spec = tree_flatten(tree, is_leaf)
    others = [tree_flatten(r, is_leaf)[0] for r in rest]
    return tree_unflatten([function(*each) for each in zip(leaves, *others, strict=True)], spec)


def tree_map_(function: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """``function`` called for each leaf; the tree itself."""
    tree_map(function, tree, *rest, is_leaf=is_leaf)
    return tree


def _asks(what: Any) -> Callable[[Any], bool]:
    """A test of leaves: of a class, of one of several, or the function that is given."""
    return (lambda leaf: isinstance(leaf, what)) if isinstance(what, (type, tuple)) or not callable(what) else what


def tree_map_only(which: Any, function: Callable[[Any], Any], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """`tree_map` where leaves are of a class (or one of several, or pass a test); others stay."""
    asked = _asks(which)
    return tree_map(lambda leaf: function(leaf) if asked(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_all(test: Callable[[Any], bool], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether all leaves pass a test."""
    return all(test(leaf) for leaf in tree_iter(tree, is_leaf))


def tree_any(test: Callable[[Any], bool], tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> bool:
    """Whether a leaf passes a test."""
    return any(test(leaf) for leaf in tree_iter(tree, is_leaf))


def tree_iter(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Iterable[Any]:
    """The leaves, one after the other."""
    return iter(tree_flatten(tree, is_leaf)[0])


def tree_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves in order."""
    return tree_flatten(tree, is_leaf)[0]


def tree_structure(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> TreeSpec:
    """The structure alone."""
    return tree_flatten(tree, is_leaf)[1]


def _dict_flatten(tree: dict[Any, Any]) -> tuple[list[Any], list[Any]]:
    """Values and keys: what a library registers for its dict-like classes."""
    return list(tree.values()), list(tree)


def _dict_unflatten(values: Iterable[Any], context: list[Any]) -> dict[Any, Any]:
    return dict(zip(context, values, strict=True))


def _tuple_flatten(tree: tuple[Any, ...]) -> tuple[list[Any], None]:
    return list(tree), None


def _tuple_unflatten(values: Iterable[Any], context: None) -> tuple[Any, ...]:
    return tuple(values)


_list_flatten, _list_unflatten = _tuple_flatten, lambda values, context: list(values)


def _namedtuple_flatten(tree: Any) -> tuple[list[Any], type]:
    return list(tree), type(tree)


def _namedtuple_unflatten(values: Iterable[Any], context: type) -> Any:
    return context(*values)


def _dict_flatten_with_keys(tree: dict[Any, Any]) -> tuple[list[tuple[MappingKey, Any]], list[Any]]:
    return [(MappingKey(key), value) for key, value in tree.items()], list(tree)


def _steps(tree: Any, count: int) -> list[Any]:
    """The keys of the steps to the children of a node."""
    found = _registered.get(type(tree))
    if found is not None and found.named is not None:
        return [key for key, _ in found.named(tree)[0]]
    if isinstance(tree, dict):
        return [MappingKey(key) for key in tree]
    return [GetAttrKey(name) for name in tree._fields] if _is_named(tree) else [SequenceKey(i) for i in range(count)]


def tree_flatten_with_path(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[tuple[tuple[Any, ...], Any]], TreeSpec]:
    """(steps to it, leaf) of each leaf, and the structure."""
    found: list[tuple[tuple[Any, ...], Any]] = []

    def go(part: Any, path: tuple[Any, ...]) -> TreeSpec:
        node = None if is_leaf is not None and is_leaf(part) else _children(part)
        if node is None:
            found.append((path, part))
            return LEAF
        kind, context, children = node
        return TreeSpec(kind, context, [go(child, (*path, step)) for child, step in zip(children, _steps(part, len(children)), strict=True)])

    spec = go(tree, ())
    return found, spec


def tree_leaves_with_path(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[tuple[tuple[Any, ...], Any]]:
    """(steps to it, leaf) of each leaf."""
    return tree_flatten_with_path(tree, is_leaf)[0]


def tree_map_with_path(function: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """`tree_map` with a function that gets the steps to each leaf first."""
    leaves, spec = tree_flatten_with_path(tree, is_leaf)
    others = [tree_flatten(r, is_leaf)[0] for r in rest]
    return tree_unflatten([function(path, leaf, *more) for (path, leaf), *more in zip(leaves, *others, strict=True)], spec)


def keystr(path: Iterable[Any]) -> str:
    """Steps as text: ``['weights'][0]``."""
    return "".join(map(str, path))


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


def _get_node_type(tree: Any) -> Any:
    """The kind of node something is: what `SUPPORTED_NODES` is asked about. Named tuples are one kind."""
    return namedtuple if _is_named(tree) else type(tree)


class NodeDef(NamedTuple):
    """How one kind of node is taken apart (children, context) and built."""

    type: Any
    flatten_fn: Callable[[Any], tuple[list[Any], Any]]
    unflatten_fn: Callable[[Iterable[Any], Any], Any]


class _Nodes(Mapping):
    """The kinds of nodes there are, those registered later among them."""

    def __getitem__(self, kind: Any) -> NodeDef:
        if kind not in _BUILT_IN and kind not in _registered:
            raise KeyError(kind)
        return NodeDef(kind, _apart, lambda children, context: _put_together(kind, list(children), context))

    def __iter__(self) -> Iterator[Any]:
        return iter([*_BUILT_IN, *_registered])

    def __len__(self) -> int:
        return len(_BUILT_IN) + len(_registered)


_BUILT_IN = (tuple, list, dict, namedtuple, OrderedDict, defaultdict)
SUPPORTED_NODES = _Nodes()


def _apart(tree: Any) -> tuple[list[Any], Any]:
    found = _children(tree)
    if found is None:
        raise ValueError(f"a {type(tree).__name__} is a leaf of pytrees")
    return found[2], found[1]


def _put_together(kind: Any, children: list[Any], context: Any) -> Any:
    return tree_unflatten(children, TreeSpec(kind, context, [LEAF] * len(children)))


def LeafSpec() -> TreeSpec:  # noqa: N802  # a class in PyTorch
    """The structure of one leaf."""
    return LEAF
