"""Derivatives of functions by reverse mode: grad, grad_and_value, vjp, jacrev."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .. import recorder
from ..autograd.backward import run_backward
from ..node import EXAMPLE, Boundary, Node
from ..promote import full
from ..pytree import TreeSpec, tree_flatten, tree_unflatten
from ..storage import Storage
from ..tensor import Tensor, from_storage, wrap
from ..views import LeafMark
from .level import nowhere

Argnums = int | tuple[int, ...]

_CAPTURED = (
    "During a grad (vjp, jvp, grad, etc) transform, the function provided attempted to call in-place operation that would "
    "mutate a captured Tensor. This is not supported; please rewrite the function being transformed to explicitly accept "
    "the mutated Tensor(s) as inputs."
)


class Differentiation:
    """One derivative of a function: its arguments as fresh values that others know nothing of, and what leaves again.

    Inside, everything is tracked. What leaves is tracked only by what was tracked outside.
    """

    def __init__(self, args: Any = ()) -> None:
        self.start = recorder.state.order
        self._given = {id(t._storage) for t in tree_flatten(args)[0] if isinstance(t, Tensor)}
        self._outer = recorder.state.grad

    def __enter__(self) -> Differentiation:
        recorder.state.watchers.append(self)
        self._before, recorder.state.grad = recorder.state.grad, True
        return self

    def __exit__(self, *_: object) -> None:
        recorder.state.grad = self._before
        recorder.state.watchers.remove(self)

    def check_write(self, storage: Storage, node: Node) -> None:
        """RuntimeError when memory would be written that the function was not given."""
        if storage.born <= self.start and id(storage) not in self._given:
            raise RuntimeError(_CAPTURED)

    def argument(self, tensor: Any) -> Tensor:
        """The argument as a value of its own. Its gradient goes on to the tensor where that is tracked."""
        if not isinstance(tensor, Tensor):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(tensor)}")
        if not tensor.dtype.has_gradient:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        source = tensor._read()
        passes_on = source.requires_grad and self._outer
        mark = LeafMark((lambda gradient: [(source, gradient)]) if passes_on else nowhere, leaf=not passes_on)
        made = from_storage(Storage(source), (mark,))
        made._mark = mark
        return made

    def outside(self, tensor: Tensor) -> Tensor:
        """A result as it leaves: without history, unless something outside is part of it."""
        node = tensor._read()
        if not node.requires_grad or self._outer and self._is_tracked_outside(node):
            return tensor
        return wrap(recorder.alias(node, requires_grad=False))

    def _is_tracked_outside(self, node: Node) -> bool:
        seen: set[int] = set()
        stack = [node]
        while stack:
            at = stack.pop()
            if id(at) in seen or not at.requires_grad:
                continue
            seen.add(id(at))
            if at.order <= self.start or at.op == EXAMPLE:
                return True
            if type(at) is not Boundary:
                stack += at.inputs
            elif not at.leaf:
                stack += at.behind
            elif at.deliver is not nowhere:
                return True
        return False


def pulled_back(roots: Sequence[Tensor], seeds: Sequence[Tensor], wrt: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the roots, weighted by the seeds, to each of ``wrt``: zeros where there is no way."""
    pairs = [(r._read(), s._read()) for r, s in zip(roots, seeds, strict=True)]
    pairs = [pair for pair in pairs if pair[0].requires_grad]
    nodes = [w._read() for w in wrt]
    found = run_backward([r for r, _ in pairs], [s for _, s in pairs], True, True, nodes) if pairs else {}
    return [wrap(g if (g := found.get(id(n))) is not None else full(0.0, *n.type)) for n in nodes]


def chosen(args: tuple, argnums: Argnums) -> tuple[int, ...]:
    """The argument numbers, counted from the front. RuntimeError where they are none of the arguments'."""
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    if not all(isinstance(n, int) for n in numbers):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if isinstance(argnums, tuple) and not argnums:
        raise RuntimeError("argnums must be non-empty")
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    places = tuple([n % len(args) for n in numbers])
    if len(set(places)) != len(places):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return places


def with_arguments(args: tuple, places: tuple[int, ...], values: Sequence[Any]) -> tuple:
    """``args`` with some of them replaced."""
    changed = list(args)
    for place, value in zip(places, values, strict=True):
        changed[place] = value
    return tuple(changed)


def split_aux(name: str, output: Any) -> tuple[Any, Any]:
    """``(output, aux)``. RuntimeError where a function returned something else."""
    if not (isinstance(output, tuple) and len(output) == 2):
        raise RuntimeError(f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return output


def left(level: Differentiation, tree: Any) -> Any:
    """A tree whose Tensors leave a differentiation."""
    leaves, spec = tree_flatten(tree)
    return tree_unflatten([level.outside(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)


def ones_of(tensor: Tensor) -> Tensor:
    """The seed of a scalar."""
    return wrap(full(1.0, *tensor._type))


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Gives ``(gradient, value)`` of a function with a scalar result, or ``(gradient, (value, aux))``."""

    @functools.wraps(func, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        places = chosen(args, argnums)
        with Differentiation(args) as level:
            leaves, spec = tree_flatten(tuple([args[p] for p in places]))
            fresh = [level.argument(leaf) for leaf in leaves]
            output = func(*with_arguments(args, places, tree_unflatten(fresh, spec)), **kwargs)
            aux = None
            if has_aux:
                output, aux = split_aux("grad_and_value(f)(*args)", output)
            _check_scalar(output)
            found = pulled_back([output], [ones_of(output)], fresh)
            gradients = tree_unflatten([level.outside(g) for g in found], spec)
            gradient = gradients if isinstance(argnums, tuple) else gradients[0]
            value = level.outside(output)
            return (gradient, (value, left(level, aux))) if has_aux else (gradient, value)

    return wrapped


def _check_scalar(output: Any) -> None:
    start = "grad_and_value(f)(*args): Expected f(*args) to return a "
    if not isinstance(output, Tensor):
        raise RuntimeError(f"{start}Tensor, got {type(output)}")
    if output.dim() != 0:
        raise RuntimeError(
            f"{start}scalar Tensor, got tensor with {output.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
        )


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of a function with a scalar result, as a function of the same arguments.

    argnums: which argument (each a Tensor or a tree of them), or a tuple. has_aux: ``func`` returns ``(value, aux)``,
    and the result is ``(gradient, aux)``. RuntimeError for results that are no scalar.
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple:
    """``(output, vjp_fn)`` or ``(output, vjp_fn, aux)``: ``vjp_fn(cotangents)`` gives one gradient per primal."""
    with Differentiation(primals) as level:
        leaves, spec = tree_flatten(primals)
        fresh = [level.argument(leaf) for leaf in leaves]
        output = func(*tree_unflatten(fresh, spec))
        aux = None
        if has_aux:
            output, aux = split_aux("vjp(f, *primals)", output)
        roots, structure = tensors_of("vjp(f, *primals)", output)
        outside = (left(level, output), left(level, aux))

    def pull_back(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> tuple:
        seeds = _checked_cotangents(cotangents, roots, structure)
        level.start = min(level.start, recorder.state.order)
        level._outer = recorder.state.grad if create_graph is None else create_graph
        with level:
            found = [level.outside(g) for g in pulled_back(roots, seeds, fresh)]
        return tree_unflatten(found, spec)

    return (outside[0], pull_back, outside[1]) if has_aux else (outside[0], pull_back)


def tensors_of(name: str, output: Any) -> tuple[list[Tensor], TreeSpec]:
    """The Tensors of a result. RuntimeError where it holds anything else."""
    leaves, spec = tree_flatten(output)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            where = "f(*primals)" if name.startswith("vjp") else "f(*primals)"
            raise RuntimeError(f"{name}: expected {where} to return only tensors, got unsupported type {type(leaf)}")
    return leaves, spec


def _checked_cotangents(cotangents: Any, roots: Sequence[Tensor], structure: TreeSpec) -> list[Tensor]:
    seeds, given = tree_flatten(cotangents)
    if given != structure:
        raise RuntimeError(
            "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. "
            f"cotangents: {given.shown()}, primal output: {structure.shown()}"
        )
    for i, (seed, root) in enumerate(zip(seeds, roots, strict=True)):
        if seed.shape != root.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {seed.shape} and output[{i}] has a shape of {root.shape}."
            )
    return seeds


# -- Jacobians


def jacrev(
    func: Callable[..., Any], argnums: Argnums = 0, *, has_aux: bool = False, chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:  # fmt: skip
    """The Jacobian by reverse mode: the forward program once, and its backward on all rows of the identity at once.

    The result has, for each tensor of the output, a tree like the chosen arguments with shapes ``[*output, *argument]``.
    chunk_size: how many rows at a time.
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        places = chosen(args, argnums)

        def of_chosen(*values: Any) -> Any:
            return func(*with_arguments(args, places, values), **kwargs)

        primals = tuple([args[p] for p in places])
        output, pull_back, *aux = vjp(of_chosen, *primals, has_aux=has_aux)
        rows, spec = tree_flatten(output)
        leaves, inner = tree_flatten(primals)
        found = _rows(pull_back, rows, spec, chunk_size)
        columns = [tree_flatten(part)[0] for part in found]
        sizes = [row.numel() for row in rows]
        results = []
        for k, row in enumerate(rows):
            start = sum(sizes[:k])
            parts = [
                c.narrow(0, start, sizes[k]).reshape((*row.shape, *leaf.shape))
                for c, leaf in zip(_joined(columns), leaves, strict=True)
            ]
            tree = tree_unflatten(parts, inner)
            results.append(tree if isinstance(argnums, tuple) else tree[0])
        jacobian = tree_unflatten(results, spec)
        return (jacobian, aux[0]) if has_aux else jacobian

    return wrapped


def _joined(columns: list[list[Tensor]]) -> list[Tensor]:
    from ..joining import cat

    return columns[0] if len(columns) == 1 else [cat(list(parts), 0) for parts in zip(*columns, strict=True)]


def _rows(pull_back: Callable, rows: Sequence[Tensor], spec: TreeSpec, chunk_size: int | None) -> list[Any]:
    """Gradients by every row of the identity over all outputs, in chunks."""
    from .batch import vmap

    total = sum([row.numel() for row in rows])
    step = chunk_size or max(total, 1)
    found = []
    for start in range(0, max(total, 1), step):
        seeds = identity([row._type for row in rows], start, min(start + step, total))
        found.append(vmap(lambda *flat: pull_back(tree_unflatten(flat, spec)))(*seeds))
    return found


def identity(types: Sequence[Any], start: int, stop: int) -> list[Tensor]:
    """Rows ``start`` to ``stop`` of the identity over several tensors laid end to end, as one batch per tensor."""
    from ..sequences import eye

    made, before = [], 0
    for shape, dtype in types:
        count = 1
        for n in shape:
            count *= n
        total = eye(stop - start, count, dtype=dtype) if start == before else _shifted(stop - start, count, start - before, dtype)
        made.append(total.reshape((stop - start, *shape)))
        before += count
    return made


def _shifted(rows: int, columns: int, offset: int, dtype: Any) -> Tensor:
    import numpy as np

    return wrap(recorder.leaf(np.eye(rows, columns, offset, dtype.numpy), ((rows, columns), dtype)))
