"""Control flow as functions: ``torch.cond``, ``torch.while_loop`` and scans along a dimension; and ``sym_…``, which sizes as Python numbers need not be told from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import recorder
from .joining import cat, stack
from .pytree import tree_flatten, tree_unflatten
from .selection import where
from .tensor import Tensor


def _is_kept() -> bool:
    """Whether what is recorded will run with other numbers: then both ways have to be in the program."""
    return bool(recorder.state.levels or recorder.state.traces or recorder.state.watch is not None)


def cond(pred: Any, true_fn: Callable, false_fn: Callable, operands: Any = ()) -> Any:
    """What the one function gives of the operands where ``pred`` holds, else what the other does. In a program that is kept both are computed."""
    if not isinstance(pred, (bool, Tensor, int, float)):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    if isinstance(pred, Tensor) and pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    given = tuple(operands)
    if not isinstance(pred, Tensor) or not _is_kept():
        return true_fn(*given) if bool(pred) else false_fn(*given)
    yes, shape = tree_flatten(true_fn(*given))
    no, other = tree_flatten(false_fn(*given))
    if len(yes) != len(no) or shape != other:
        raise RuntimeError("torch.cond needs functions whose results are alike")
    chosen = pred.reshape(()).bool()
    return tree_unflatten([where(chosen, a, b) if isinstance(a, Tensor) else a for a, b in zip(yes, no, strict=True)], shape)


def while_loop(cond_fn: Callable, body_fn: Callable, carried_inputs: Any) -> Any:
    """The carried values after as many turns of ``body_fn`` as ``cond_fn`` holds for."""
    carried = tuple(carried_inputs)
    while bool(cond_fn(*carried)):
        made = body_fn(*carried)
        carried = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    return carried


def scan(combine_fn: Callable, init: Any, xs: Any, *, dim: int = 0, reverse: bool = False) -> tuple[Any, Any]:
    """``carry, y = combine_fn(carry, x)`` for every x along ``dim``: the last carry, and all y stacked along a first dimension."""
    leaves, structure = tree_flatten(xs)
    if not leaves:
        raise RuntimeError("scan() operator doesn't support zero-length xs")
    places = range(leaves[0].shape[dim])
    made: list[list[Tensor]] = []
    carry, shape = init, None
    for i in reversed(places) if reverse else places:
        carry, y = combine_fn(carry, tree_unflatten([x.select(dim, i) for x in leaves], structure))
        parts, shape = tree_flatten(y)
        made.append(parts)
    if reverse:
        made.reverse()
    return carry, tree_unflatten([stack(list(ys)) for ys in zip(*made, strict=True)], shape)


def associative_scan(combine_fn: Callable, xs: Any, dim: int, reverse: bool = False, combine_mode: str = "pointwise") -> Any:
    """What ``combine_fn``, which is associative, makes of all elements up to each one along ``dim``, in a number of steps that grows with
    the logarithm of their count."""
    leaves, structure = tree_flatten(xs)
    if not leaves:
        raise ValueError("Expected at least 1 xs leaf")
    if combine_mode not in ("pointwise", "generic"):
        raise ValueError(f"Combine_mode must either 'pointwise' or 'generic', but got {combine_mode}")
    if combine_mode == "pointwise" and not all(x.is_cuda for x in leaves):
        raise ValueError("For combine_mode='pointwise', all input tensors need to be on CUDA or XPU")
    at = dim % leaves[0].dim()
    if any(x.shape[at] != leaves[0].shape[at] for x in leaves):
        raise ValueError("All xs leaves must at least have the same number of elements along the scan dimension")

    def combined(left: list[Tensor], right: list[Tensor]) -> list[Tensor]:
        return tree_flatten(combine_fn(tree_unflatten(left, structure), tree_unflatten(right, structure)))[0]

    given = [x.flip(at) for x in leaves] if reverse else leaves
    made = _scanned(combined, given, at)
    return tree_unflatten([y.flip(at) for y in made] if reverse else made, structure)


def _scanned(combined: Callable[[list[Tensor], list[Tensor]], list[Tensor]], elements: list[Tensor], dim: int) -> list[Tensor]:
    """Neighbours are combined and scanned, which are the results at odd places; one more step gives those at even places."""
    count = elements[0].shape[dim]
    if count < 2:
        return elements

    def every_second(tensors: list[Tensor], start: int, stop: int) -> list[Tensor]:
        places = (slice(None),) * dim + (slice(start, stop, 2),)
        return [t[places] for t in tensors]

    pairs = combined(every_second(elements, 0, count - 1), every_second(elements, 1, count))
    odd = _scanned(combined, pairs, dim)
    inner = every_second(elements, 2, count)
    even = [e.narrow(dim, 0, 1) for e in elements]
    if inner[0].shape[dim]:
        before = [o.narrow(dim, 0, inner[0].shape[dim]) for o in odd]
        even = [cat([first, rest], dim) for first, rest in zip(even, combined(before, inner), strict=True)]
    return [_interleaved(a, b, dim) for a, b in zip(even, odd, strict=True)]


def _interleaved(even: Tensor, odd: Tensor, dim: int) -> Tensor:
    """Elements along a dimension in turns; the first tensor may have one more."""
    both, more = odd.shape[dim], even.shape[dim] - odd.shape[dim]
    joined = stack([even.narrow(dim, 0, both), odd], dim + 1).flatten(dim, dim + 1)
    return cat([joined, even.narrow(dim, both, 1)], dim) if more else joined


def sym_int(a: Any) -> int:
    """An int, towards 0."""
    return int(a)


def sym_float(a: Any) -> float:
    """A float."""
    return float(a)


def sym_not(a: Any) -> bool:
    """Not."""
    return not a


def sym_max(a: Any, b: Any) -> Any:
    """The larger one; a float as soon as one is."""
    return _joined(max(a, b), a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The smaller one; a float as soon as one is."""
    return _joined(min(a, b), a, b)


def sym_sum(args: Any) -> Any:
    """The sum."""
    return sum(args)


def sym_ite(b: bool, t: Any, f: Any) -> Any:
    """The one or the other."""
    return t if b else f


def sym_sqrt(a: Any) -> float:
    """The square root."""
    return math.sqrt(a)


def _joined(found: Any, a: Any, b: Any) -> Any:
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


PUBLIC: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (cond, while_loop, sym_int, sym_float, sym_not, sym_max, sym_min, sym_sum, sym_ite, sym_sqrt)
}
