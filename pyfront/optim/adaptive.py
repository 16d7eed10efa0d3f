"""RMSprop, Adagrad, Adadelta, Adamax, NAdam, RAdam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..assignment import assign
from ..selection import where
from ..sparse.coordinates import SparseTensor
from ..tensor import Tensor, wrap
from .optimizer import Optimizer, check_range
from .recorded import Recorded, multiplied, number, rounded
from .updates import rate_of, scalar, update, zeros_of


class RMSprop(Optimizer):
    """Gradients over the root of their running mean square."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_range("momentum value", momentum)
        check_range("weight_decay value", weight_decay)
        check_range("alpha value", alpha)
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered, "weight_decay": weight_decay,
            "capturable": capturable, "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update_(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        rate = scalar(rate_of(group))
        numbers = tuple(group[k] for k in ("alpha", "eps", "weight_decay", "momentum", "centered", "maximize"))
        for p in parameters:
            state = self._table_[p]
            if not state:
                state["step"], state["square_avg"] = None, zeros_of(p)
                if group["momentum"] > 0:
                    state["momentum_buffer"] = zeros_of(p)
                if group["centered"]:
                    state["grad_avg"] = zeros_of(p)
            self._counter_.next(state)
            # what is not used is handed through: the gradient stands in for it
            kept = [state.get(name) for name in ("square_avg", "momentum_buffer", "grad_avg")]
            gradient = p.grad._read()
            operands = (p._read(), gradient, *[gradient if t is None else t._read() for t in kept], rate)
            spare = [zeros_of(p) if t is None else t for t in kept] if None in kept else kept
            update((p, *spare), "rmsprop", operands, numbers)


class Adagrad(Optimizer):
    """Gradients over the root of the sum of their squares."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *, maximize: bool = False,
        differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("lr_decay value", lr_decay)
        check_range("weight_decay value", weight_decay)
        check_range("initial_accumulator_value value", initial_accumulator_value)
        check_range("epsilon value", eps)
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                self._table_[p] = {"step": zeros_of(wrap(scalar(0))), "sum": zeros_of(p, initial_accumulator_value)}

    def _update_sparse_(self, group: dict[str, Any], p: Tensor, g: SparseTensor) -> None:
        if group["weight_decay"] != 0:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        state = self._table_[p]
        step = self._counter_.next(state)
        g = (-g if group["maximize"] else g).detach().coalesce()
        total = (g * g)._onto(state["sum"].detach())
        assign(state["sum"], total._read())
        move = g._with(g._held / (g._out_of(total).sqrt() + group["eps"]))
        assign(p, move._onto(p.detach(), number(-float(group["lr"]) / (1 + (step - 1) * group["lr_decay"]), p))._read())

    def _update_(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        numbers = (group["eps"], group["weight_decay"], group["maximize"])
        for p in parameters:
            state = self._table_[p]
            step = self._counter_.next(state)
            rate = scalar(rate_of(group) / (1 + (step - 1) * group["lr_decay"]))
            operands = (p._read(), p.grad._read(), state["sum"]._read(), rate)
            update((p, state["sum"]), "adagrad", operands, numbers)


class Adadelta(Recorded):
    """Steps as large as the recent ones, per unit of the recent gradients."""

    _state = ("square_avg", "acc_delta")

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0,
        foreach: bool | None = None, *, capturable: bool = False, maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("rho value", rho, 0.0, 1.0 + 1e-12)
        check_range("epsilon value", eps)
        check_range("weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "capturable": capturable,
            "foreach": foreach, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _move(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> Tensor:
        rho, eps = group["rho"], group["eps"]
        squares = state["square_avg"] * rho + g * g * (1 - rho)
        delta = (state["acc_delta"] + eps).sqrt() / (squares + eps).sqrt() * g
        assign(state["square_avg"], squares._read())
        assign(state["acc_delta"], (state["acc_delta"] * rho + delta * delta * (1 - rho))._read())
        return p - delta * number(rate_of(group), p)


def _check_adam(lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    check_range("learning rate", lr)
    check_range("epsilon value", eps)
    check_range("beta parameter at index 0", betas[0], 0.0, 1.0)
    check_range("beta parameter at index 1", betas[1], 0.0, 1.0)
    check_range("weight_decay value", weight_decay)


class Adamax(Recorded):
    """Adam with the largest gradient in place of the mean square."""

    _state = ("exp_avg", "exp_inf")

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
        capturable: bool = False,
    ) -> None:  # fmt: skip
        _check_adam(lr, betas, eps, weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _move(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> Tensor:
        beta1, beta2 = group["betas"]
        mean = state["exp_avg"] + (g - state["exp_avg"]) * (1 - beta1)
        largest = (state["exp_inf"] * beta2).maximum(g.abs() + group["eps"])
        assign(state["exp_avg"], mean._read())
        assign(state["exp_inf"], largest._read())
        return p - mean / largest * number(rate_of(group) / (1 - beta1**step), p)


class NAdam(Recorded):
    """Adam with Nesterov momentum."""

    _state = ("mu_product", "exp_avg", "exp_avg_sq")

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        foreach: bool | None = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        _check_adam(lr, betas, eps, weight_decay)
        check_range("momentum_decay value", momentum_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _begin(self, p: Tensor, name: str, group: dict[str, Any]) -> Any:
        return rounded(1.0) if name == "mu_product" else zeros_of(p)

    def _move(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> Tensor:
        beta1, beta2 = group["betas"]
        lr, decay = rate_of(group), group["momentum_decay"]
        if group["decoupled_weight_decay"]:
            p = p * number(1 - lr * group["weight_decay"], p)
        now, ahead = (beta1 * (1.0 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        product = multiplied(state, "mu_product", now)
        mean = state["exp_avg"] + (g - state["exp_avg"]) * (1 - beta1)
        squares = state["exp_avg_sq"] * beta2 + g * g * (1 - beta2)
        assign(state["exp_avg"], mean._read())
        assign(state["exp_avg_sq"], squares._read())
        root = (squares / number(1 - beta2**step, p)).sqrt() + group["eps"]
        p = p - g / root * number(lr * (1.0 - now) / (1.0 - product), p)
        return p - mean / root * number(lr * ahead / (1.0 - product * ahead), p)


class RAdam(Recorded):
    """Adam that waits until the variance of its step is bounded."""

    _state = ("exp_avg", "exp_avg_sq")

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
        maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        _check_adam(lr, betas, eps, weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _move(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> Tensor:
        beta1, beta2 = group["betas"]
        lr = rate_of(group)
        if group["decoupled_weight_decay"]:
            p = p * number(1 - lr * group["weight_decay"], p)
        mean = state["exp_avg"] + (g - state["exp_avg"]) * (1 - beta1)
        squares = state["exp_avg_sq"] * beta2 + g * g * (1 - beta2)
        assign(state["exp_avg"], mean._read())
        assign(state["exp_avg_sq"], squares._read())
        correction2 = 1 - beta2**step
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * step * beta2**step / correction2
        size = lr / (1 - beta1**step)
        # Both forms of the step are in the program, one of them times zero: it does not change when the form does.
        plain, rectified = _forms(size, length, limit, correction2)
        return p - mean * (number(plain, p) + number(rectified, p) / (squares.sqrt() + group["eps"]))


def _forms(size: Any, length: Any, limit: float, correction: Any) -> tuple[Any, Any]:
    """Step sizes of a plain and of a rectified step, one of which is 0; tensors while a step is recorded.

    length: of the average's window now, `limit` in the end. Source: Liu et al., On the variance of the adaptive learning rate (2020).
    """
    if isinstance(length, Tensor):
        is_long = length > 5
        bound = ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)).sqrt()
        return where(is_long, length * 0, size), where(is_long, size * bound * correction.sqrt(), length * 0)
    if length <= 5:
        return size, 0.0
    bound = math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
    return 0.0, size * bound * math.sqrt(correction)
