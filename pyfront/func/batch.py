"""vmap: a function of one example, made one of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ...dialects.book import Batched
from .. import recorder
from ..assignment import check_in_place
from ..node import Node
from ..pytree import TreeSpec, broadcast_to, tree_flatten, tree_unflatten
from ..tensor import Tensor, dimension, wrap
from .level import Level

InDims = Any  # int, None, or a pytree of them like the inputs


def vmap(
    func: Callable[..., Any],
    in_dims: InDims = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """``func`` applied to each slice of its inputs at once: what it records for one example becomes the same program
    about all of them.

    in_dims: which dimension of each input is the batch (None: the input is the same for all). out_dims: where the batch
    goes in each result. randomness: "error", "same" (one draw for all examples) or "different" (one for each).
    chunk_size: how many examples at a time. ValueError for dimensions that do not fit the inputs; RuntimeError for
    values that would have to be known inside (``.item()``, ``if x > 0``).
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = name_of(func)

    @functools.wraps(func, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        dims, leaves, spec = _checked_inputs(name, in_dims, args)
        size = _size_of_batch(dims, leaves)
        if chunk_size is None or size <= chunk_size:
            return _apply(name, func, size, dims, leaves, spec, out_dims, randomness, kwargs)
        parts = [
            _apply(name, func, stop - start, dims, _cut(leaves, dims, start, stop), spec, 0, randomness, kwargs, out_dims)
            for start, stop in _ranges(size, chunk_size)
        ]
        return _concatenated(name, parts, out_dims)

    return wrapped


def name_of(func: Callable) -> str:
    """What errors call a function."""
    return getattr(func, "__name__", None) or repr(func)


def _checked_inputs(name: str, in_dims: InDims, args: tuple) -> tuple[list[int | None], list[Any], TreeSpec]:
    """The batch dimension of every leaf of the inputs (None: not a batch), the leaves, their structure."""
    start = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): "
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{start}expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
            f"got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
            "function with no inputs. The latter is unsupported."
        )
    leaves, spec = tree_flatten(args)
    dims = broadcast_to(in_dims, spec)
    if dims is None:
        raise ValueError(
            f"{start}in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{tree_flatten(in_dims)[1]} but inputs has structure {spec}."
        )
    return [_checked_dim(start, d, leaf) for d, leaf in zip(dims, leaves, strict=True)], leaves, spec


def _checked_dim(start: str, dim: Any, leaf: Any) -> int | None:
    if dim is None:
        return None
    if not isinstance(dim, int):
        raise ValueError(
            f"{start}Got in_dim={dim} for an input but in_dim must be either an integer dimension or None."
        )
    if not isinstance(leaf, Tensor):
        raise ValueError(
            f"{start}Got in_dim={dim} for an input but the input is of type {type(leaf)}. We cannot vmap over non-Tensor "
            "arguments, please use None as the respective in_dim"
        )
    rank = leaf.dim()
    if not -rank <= dim < rank:
        raise ValueError(
            f"{start}Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {rank} so expected "
            f"in_dim to satisfy -{rank} <= in_dim < {rank}."
        )
    return dim % rank


def _size_of_batch(dims: Sequence[int | None], leaves: Sequence[Any]) -> int:
    sizes = [leaf.size(d) for d, leaf in zip(dims, leaves, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any(s != sizes[0] for s in sizes):
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0]


def _apply(
    name: str, func: Callable, size: int, dims: Sequence[int | None], leaves: Sequence[Any], spec: TreeSpec, out_dims: Any,
    randomness: str, kwargs: dict[str, Any], checked: Any = 0,
) -> Any:  # fmt: skip
    """One run: record for one example, then all. checked: the out_dims that outputs must fit, when out_dims is 0."""
    with Level(size, randomness) as level:
        examples = [leaf if d is None else example_of(level, leaf, d) for leaf, d in zip(leaves, dims, strict=True)]
        outputs = func(*tree_unflatten(examples, spec), **kwargs)
        return _batches(name, level, outputs, out_dims if out_dims != 0 else checked, out_dims, leaves, dims, examples)


def example_of(level: Level, tensor: Tensor, dim: int = 0) -> Tensor:
    """The tensor one example of a level sees; ``dim`` is the batch."""
    node = tensor._read()
    if dim:
        order = (dim, *[d for d in range(len(node.type[0])) if d != dim])
        node = recorder.record("permute", (node,), (order,))
    return wrap(level.example(node))


def _batches(
    name: str, level: Level, outputs: Any, checked: Any, out_dims: Any, leaves: Sequence[Any], dims: Sequence[int | None],
    examples: Sequence[Any],
) -> Any:  # fmt: skip
    found, spec = tree_flatten(outputs)
    places = _checked_outputs(name, checked, found, spec)
    written = [
        (leaf, d, example)
        for leaf, d, example in zip(leaves, dims, examples, strict=True)
        if d is not None and example._storage.version
    ]
    nodes = [o._read() for o in found if isinstance(o, Tensor)] + [e._read() for *_, e in written]
    every = dict(zip([id(n) for n in nodes], level.all_of(nodes), strict=True))
    for leaf, d, example in written:  # the function wrote into its input: so does the caller see it
        _write_back(leaf, level.spread(every[id(example._read())], ""), d)
    results = []
    for output, place in zip(found, places, strict=True):
        if not isinstance(output, Tensor):
            results.append(output)
            continue
        whole = every[id(output._read())]
        if place is None:
            if type(whole) is Batched:
                raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
            results.append(output)
            continue
        node = level.spread(whole, output._read().origin)
        results.append(wrap(moved(node, 0 if out_dims == 0 else dimension(place, len(node.type[0])))))
    return tree_unflatten(results, spec)


def moved(node: Node, dim: int) -> Node:
    """The first dimension, put at ``dim``."""
    if not dim:
        return node
    order = (*range(1, dim + 1), 0, *range(dim + 1, len(node.type[0])))
    return recorder.record("permute", (node,), (order,))


def _write_back(tensor: Tensor, node: Node, dim: int) -> None:
    from ..assignment import store

    check_in_place(tensor)
    store(tensor, moved(node, dim), recorder.state.order)


def _checked_outputs(name: str, out_dims: Any, found: list[Any], spec: TreeSpec) -> list[Any]:
    if not isinstance(out_dims, (int, tuple, list, dict, type(None))):
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python collection of ints "
            "representing where in the outputs the vmapped dimension should appear."
        )
    places = broadcast_to(out_dims, spec)
    if places is None and isinstance(out_dims, tuple) and len(out_dims) == 1 and spec.is_leaf():
        places = [out_dims[0]]
    if places is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of `outputs`. "
            f"out_dims has structure {tree_flatten(out_dims)[1]} but outputs has structure {spec}."
        )
    for output, place in zip(found, places, strict=True):
        if place is not None and not isinstance(output, Tensor):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(output)}. Did you mean to set "
                "out_dims= to None for output?"
            )
    return places


# -- chunks


def _ranges(size: int, chunk: int) -> list[tuple[int, int]]:
    return [(start, min(start + chunk, size)) for start in range(0, size, chunk)]


def _cut(leaves: Sequence[Any], dims: Sequence[int | None], start: int, stop: int) -> list[Any]:
    return [leaf if d is None else leaf.narrow(d, start, stop - start) for leaf, d in zip(leaves, dims, strict=True)]


def _concatenated(name: str, parts: list[Any], out_dims: Any) -> Any:
    from ..joining import cat

    flat = [tree_flatten(part)[0] for part in parts]
    found, spec = flat[0], tree_flatten(parts[0])[1]
    places = _checked_outputs(name, out_dims, found, spec)
    results = []
    for i, place in enumerate(places):
        if place is None:
            results.append(found[i])
            continue
        node = cat([leaves[i] for leaves in flat], 0)._read()
        results.append(wrap(moved(node, dimension(place, len(node.type[0])))))
    return tree_unflatten(results, spec)
