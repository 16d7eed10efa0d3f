"""Control flow that data decides, as functions: ``torch.cond`` and ``torch.while_loop``; and ``sym_…``, which sizes as Python numbers need not be told from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import recorder
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
