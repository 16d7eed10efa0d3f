"""L-BFGS: quasi-Newton steps from the last differences of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .. import recorder
from ..assignment import assign
from ..autograd import enable_grad, no_grad
from ..joining import cat
from ..tensor import Tensor, wrap
from .line_search import Point, strong_wolfe
from .optimizer import Optimizer, check_range
from .recorded import number
from .updates import zeros_of


class LBFGS(Optimizer):
    """Limited-memory BFGS, with fixed steps or a strong Wolfe line search. One parameter group only.

    ``step(closure)`` evaluates the closure several times. Every direction is computed difference by difference in programs
    that do not depend on how long the history is. Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4,
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
        group, state = self.param_groups[0], self._table[self._params[0]]
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
            state["prev_flat_grad"], state["prev_loss"] = g, loss
            size = float(group["lr"])
            if state["n_iter"] == 1:
                size *= min(1.0, 1.0 / g.abs().sum().item())
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

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[Any, float, Tensor]:
        """The closure's result, the loss as a number, and all gradients in one row."""
        with enable_grad():
            result = closure()
        rows = [zeros_of(p).reshape(-1) if p.grad is None else p.grad.detach().reshape(-1) for p in self._params]
        flat = cat(rows).clone()
        return result, float(result), flat

    def _move(self, d: Tensor, t: float) -> None:
        """All parameters along `d`, by `t`."""
        at = 0
        for p in self._params:
            part = d[at : at + p.numel()].reshape(p.shape)
            assign(p, (p.detach() + part * number(t, p))._read())
            at += p.numel()
        recorder.flush()

    def _search(
        self, closure: Callable[[], Any], d: Tensor, start: Point, group: dict[str, Any], most: int
    ) -> tuple[Point, int]:
        before = [wrap(p._read()) for p in self._params]

        def at(t: float) -> Point:
            self._move(d, t)
            _, loss, g = self._evaluate(closure)
            for p, value in zip(self._params, before, strict=True):
                assign(p, value._read())
            return Point(t, loss, g, g.dot(d).item())

        return strong_wolfe(at, start, _largest(d), group["tolerance_change"], most)

    def _direction(self, state: dict[str, Any], g: Tensor, history: int) -> tuple[Tensor, float]:
        """Where to go from here, and the slope that way; takes the last difference into the history."""
        state["n_iter"] += 1
        if state["n_iter"] == 1:
            state.update(d=-g, old_dirs=[], old_stps=[], ro=[], H_diag=1)
        else:
            self._remember(state, g, history)
            state["d"] = _two_loops(state, g, history)
        return state["d"], g.dot(state["d"]).item()

    def _remember(self, state: dict[str, Any], g: Tensor, history: int) -> None:
        change, step = g - state["prev_flat_grad"], state["d"] * number(float(state["t"]), g)
        curvature = change.dot(step)
        if curvature.item() <= 1e-10:
            return
        for name, value in (("old_dirs", change), ("old_stps", step), ("ro", 1.0 / curvature)):
            if len(state[name]) == history:
                state[name].pop(0)
            state[name].append(value)
        state["H_diag"] = curvature / change.dot(change)


def _two_loops(state: dict[str, Any], g: Tensor, history: int) -> Tensor:
    """Minus the inverse Hessian of the history times `g`. Each difference is a program of its own, and all are alike."""
    changes, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
    al = state.setdefault("al", [None] * history)
    q = -g
    for i in range(len(changes) - 1, -1, -1):
        al[i] = steps[i].dot(q) * ro[i]
        q = q - changes[i] * al[i]
        recorder.flush()
    q = q * state["H_diag"]
    recorder.flush()
    for i in range(len(changes)):
        q = q + steps[i] * (al[i] - changes[i].dot(q) * ro[i])
        recorder.flush()
    return q


def _largest(x: Tensor) -> float:
    return x.abs().max().item()
