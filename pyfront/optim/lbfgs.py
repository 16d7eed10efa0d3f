"""L-BFGS: quasi-Newton steps from the last differences of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...dialects.types import float32, float64, size_of
from .. import recorder
from ..assignment import assign
from ..autograd import enable_grad, no_grad
from ..creation import of_array
from ..joining import cat
from ..tensor import Tensor, wrap
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer, check_range
from .recorded import number
from .updates import zeros_of

Vector = Tensor | np.ndarray

_MANY = 1 << 14
"""Elements from which on vectors are computed with by programs."""


class LBFGS(Optimizer):
    """Limited-memory BFGS, with fixed steps or a strong Wolfe line search. One parameter group only.

    ``step(closure)`` evaluates the closure several times. What is done with the vectors between is looked at number by number: few
    elements are numpy arrays there (`_vector`), many are tensors, and every direction is then computed difference by difference in
    programs that do not depend on how long the history is. Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4,
    7.5, 3.5 and 3.6.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        defaults = {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    @no_grad
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # the closure is not optional
        """Up to max_iter iterations; the loss at the start is returned."""
        group, state = self.param_groups[0], self._table_[self._params[0]]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first, loss, g = self._evaluate(closure)
        evaluations = 1
        state["func_evals"] += 1
        if _largest(g) <= group["tolerance_grad"]:
            return first
        for i in range(1, group["max_iter"] + 1):
            d, slope = self._direction(state, g, group["history_size"])
            state["prev_flat_grad"], state["prev_loss"] = _tensor(g), loss
            size = float(group["lr"])
            if state["n_iter"] == 1:
                size *= min(1.0, 1.0 / float(abs(g).sum()))
            state["t"] = size
            if slope > -group["tolerance_change"]:
                break
            used = 0
            if group["line_search_fn"] is not None:
                found, used = self._search(closure, d, Point(size, loss, g, slope), group, group["max_eval"] - evaluations)
                state["t"], loss, g = found.t, found.loss, found.gradient
                self._move(d, found.t)
            else:
                self._move(d, size)
                if i != group["max_iter"]:
                    (_, loss, g), used = self._evaluate(closure), 1
            evaluations += used
            state["func_evals"] += used
            if i == group["max_iter"] or evaluations >= group["max_eval"] or _largest(g) <= group["tolerance_grad"]:
                break
            if _largest(d) * abs(state["t"]) <= group["tolerance_change"]:
                break
            if abs(loss - state["prev_loss"]) < group["tolerance_change"]:
                break
        return first

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, float, Vector]:
        """The closure's result, the loss as a number, and all gradients in one row."""
        with enable_grad():
            result = closure()
        rows = [zeros_of(p).reshape(-1) if p.grad is None else p.grad.detach().to_dense().reshape(-1) for p in self._params]
        flat = cat(rows).clone()
        return result, float(result), _vector(flat)

    def _move(self, d: Vector, t: float) -> None:
        """All parameters along `d`, by `t`."""
        at = 0
        for p in self._params:
            part = d[at : at + p.numel()].reshape(tuple(p.shape))
            if isinstance(part, Tensor):
                assign(p, (p.detach() + part * number(t, p))._read())
            else:
                assign(p, of_array((p._value() + part * part.dtype.type(t)).astype(p.dtype.numpy, copy=False))._read())
            at += p.numel()
        recorder.flush()

    def _search(
        self, closure: Callable[[], Any], d: Vector, start: Point, group: dict[str, Any], most: int
    ) -> tuple[Point, int]:
        before = [wrap(p._read()) for p in self._params]

        def at(t: float) -> Point:
            self._move(d, t)
            _, loss, g = self._evaluate(closure)
            for p, value in zip(self._params, before, strict=True):
                assign(p, value._read())
            return Point(t, loss, g, float(g.dot(d)))

        return strong_wolfe(at, start, _largest(d), group["tolerance_change"], most)

    def _direction(self, state: dict[str, Any], g: Vector, history: int) -> tuple[Vector, float]:
        """Where to go from here, and the slope that way; takes the last difference into the history."""
        state["n_iter"] += 1
        if state["n_iter"] == 1:
            d = -g
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
        else:
            self._remember(state, g, history)
            d = _two_loops(state, g, history)
        state["d"] = _tensor(d)
        return d, float(g.dot(d))

    def _remember(self, state: dict[str, Any], g: Vector, history: int) -> None:
        before, d = _vector(state["prev_flat_grad"]), _vector(state["d"])
        t = float(state["t"])
        change, step = g - before, d * (number(t, d) if isinstance(d, Tensor) else d.dtype.type(t))
        curvature = change.dot(step)
        if float(curvature) <= 1e-10:
            return
        for name, value in (("old_dirs", change), ("old_stps", step), ("ro", 1 / curvature)):
            if len(state[name]) == history:
                state[name].pop(0)
            state[name].append(_tensor(value))
        state["H_diag"] = _tensor(curvature / change.dot(change))


def _two_loops(state: dict[str, Any], g: Vector, history: int) -> Vector:
    """Minus the inverse Hessian of the history times `g`. Of tensors each difference is a program of its own, and all are alike."""
    changes, steps, ro = [[_vector(v) for v in state[name]] for name in ("old_dirs", "old_stps", "ro")]
    al = state.setdefault("al", [None] * history)
    q = -g
    for i in range(len(changes) - 1, -1, -1):
        al[i] = steps[i].dot(q) * ro[i]
        q = _computed(q - changes[i] * al[i])
    q = _computed(q * _vector(state["H_diag"]))
    for i in range(len(changes)):
        q = _computed(q + steps[i] * (al[i] - changes[i].dot(q) * ro[i]))
    al[: len(changes)] = map(_tensor, al[: len(changes)])
    return q


def _computed(x: Vector) -> Vector:
    if isinstance(x, Tensor):
        recorder.flush()
    return x


def _largest(x: Vector) -> float:
    return float(abs(x).max())


def _vector(x: Any) -> Vector:
    """What a step computes with: the values themselves where Python has done with them before a program is called."""
    if not isinstance(x, Tensor) or recorder.state.placement is not None:
        return x
    shape, dtype = x._type
    return x._value() if dtype in (float32, float64) and size_of(shape) < _MANY else x


def _tensor(x: Vector) -> Tensor:
    """The same as the state keeps it."""
    return x if isinstance(x, Tensor) else of_array(np.asarray(x))
