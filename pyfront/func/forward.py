"""Derivatives of functions by forward mode: jvp, linearize, jacfwd, hessian.

A pull-back is linear in what it is given, so the derivative of the pull-back by that is the push-forward: exact, and what
the compiler is left with once nobody uses the pull-back itself is the forward sweep alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .. import recorder
from ..promote import full
from ..pytree import tree_flatten, tree_unflatten
from ..tensor import Tensor, wrap
from .batch import vmap
from .reverse import (
    Argnums,
    Differentiation,
    chosen,
    identity,
    jacrev,
    left,
    pulled_back,
    split_aux,
    tensors_of,
    with_arguments,
)


class Tangents:
    """The push-forward of some tensors that were computed from ``fresh``: tangents of these in, of those out."""

    def __init__(self, level: Differentiation, fresh: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        self.level = level
        self.results = results
        self._seeds = [level.argument(wrap(full(0.0, *r._type))) if r.dtype.has_gradient else None for r in results]
        pairs = [(r, s) for r, s in zip(results, self._seeds, strict=True) if s is not None]
        self._pulled = pulled_back([r for r, _ in pairs], [s for _, s in pairs], fresh)

    def of(self, tangents: Sequence[Tensor]) -> list[Tensor]:
        """The tangent of each result."""
        seeds = [s for s in self._seeds if s is not None]
        found = iter(pulled_back(self._pulled, tangents, seeds))
        return [
            self.level.outside(next(found)) if s is not None else wrap(full(0, *r._type))
            for r, s in zip(self.results, self._seeds, strict=True)
        ]


def _check_size(primal: Tensor, tangent: Tensor) -> None:
    if tangent.shape != primal.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(primal.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )


def jvp(func: Callable[..., Any], primals: tuple, tangents: tuple, *, strict: bool = False, has_aux: bool = False) -> tuple:
    """``(output, tangent of the output)``, and ``aux``: the derivative of ``func`` at the primals, along the tangents."""
    start = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{start}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    leaves, spec = tree_flatten(primals)
    given, other = tree_flatten(tangents)
    if spec != other:
        raise RuntimeError(
            f"{start}: Expected primals and tangents to have the same python structure. For example, if primals is a tuple "
            f"of 3 tensors, tangents also must be. Got primals with structure {spec} and tangents with structure {other}"
        )
    for what, tensors in (("primals", leaves), ("tangents", given)):
        if not tensors:
            raise RuntimeError(f"{start}: Expected {what} to be a non-empty tuple")
        for t in tensors:
            if not isinstance(t, Tensor):
                raise RuntimeError(f"{start}: Expected {what} to be a tuple of Tensors, got unsupported type {type(t)}")
    for primal, tangent in zip(leaves, given, strict=True):
        _check_size(primal, tangent)
    with Differentiation((primals, tangents)) as level:
        fresh = [level.argument(leaf) for leaf in leaves]
        output = func(*tree_unflatten(fresh, spec))
        aux = None
        if has_aux:
            output, aux = split_aux(start, output)
        results, structure = tensors_of(start, output)
        moved = Tangents(level, fresh, results).of(given)
        if strict and any([not r.requires_grad for r in results]):
            raise RuntimeError(
                "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed "
                "with strict=True."
            )
        found = (left(level, output), tree_unflatten(moved, structure))
        return (*found, left(level, aux)) if has_aux else found


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """``(output, jvp_fn)``: ``jvp_fn(*tangents)`` is the push-forward at the primals; ``func`` itself runs once."""
    leaves, spec = tree_flatten(primals)
    with Differentiation(primals) as level:
        fresh = [level.argument(leaf) for leaf in leaves]
        output = func(*tree_unflatten(fresh, spec))
        results, structure = tensors_of("linearize(f, *primals)", output)
        push = Tangents(level, fresh, results)
        outside = left(level, output)

    def push_forward(*tangents: Any) -> Any:
        given, other = tree_flatten(tangents)
        if other != spec:
            raise RuntimeError(
                "Expected the tangents to have the same structure as the primals the function was linearized at: "
                f"{spec.shown()}, got {other.shown()}"
            )
        for i, (tangent, leaf) in enumerate(zip(given, leaves, strict=True)):
            if tangent.shape != leaf.shape:
                raise RuntimeError(
                    f"tangent:{i} with shape {tangent.shape} in flattened pytree doesn't match the shape {leaf.shape} of "
                    "the corresponding primal."
                )
            if tangent.dtype is not leaf.dtype:
                raise RuntimeError(
                    f"tangent:{i} with dtype {tangent.dtype} in flattened pytree doesn't match the dtype {leaf.dtype} of "
                    "the corresponding primal."
                )
        level._outer = recorder.state.grad
        with level:
            return tree_unflatten(push.of(given), structure)

    return outside, push_forward


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The Jacobian by forward mode: all columns of the identity pushed forward at once. Shapes as ``jacrev``'s."""

    @functools.wraps(func, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        places = chosen(args, argnums)
        primals = tuple([args[p] for p in places])
        aux: list[Any] = []

        def of_chosen(*values: Any) -> Any:
            output = func(*with_arguments(args, places, values), **kwargs)
            if has_aux:
                output, more = split_aux("jacfwd", output)
                aux.append(more)
            tensors_of("jvp(f, primals, tangents)", output)
            return output

        leaves, inner = tree_flatten(primals)
        with Differentiation(args) as level:
            fresh = [level.argument(leaf) for leaf in leaves]
            output = of_chosen(*tree_unflatten(fresh, inner))
            results, spec = tree_flatten(output)
            push = Tangents(level, fresh, results)
            kept = left(level, aux[0]) if has_aux else None
            sizes = [leaf.numel() for leaf in leaves]
            columns = identity([leaf._type for leaf in leaves], 0, sum(sizes))
            found = vmap(lambda *tangents: tuple(push.of(tangents)), out_dims=-1, randomness=randomness)(*columns)
            rows = [_columns_of(f, leaves, sizes) for f in found]
        trees = [tree_unflatten(parts, inner) for parts in rows]
        jacobian = tree_unflatten([t if isinstance(argnums, tuple) else t[0] for t in trees], spec)
        return (jacobian, kept) if has_aux else jacobian

    return wrapped


def _columns_of(found: Tensor, leaves: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """``[*output, all arguments]`` cut into one ``[*output, *argument]`` per argument."""
    front, start, parts = tuple(found.shape[:-1]), 0, []
    for leaf, size in zip(leaves, sizes, strict=True):
        parts.append(found.narrow(-1, start, size).reshape((*front, *leaf.shape)))
        start += size
    return parts


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The Hessian: forward mode over reverse mode."""
    return jacfwd(jacrev(func, argnums), argnums)
