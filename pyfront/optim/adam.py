"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import recorder
from ..leaves import gradient_of
from ..node import Node
from ..origin import origin
from ..sparse.coordinates import SparseTensor
from ..tensor import Tensor
from .optimizer import Optimizer, check_range
from .updates import Row, rate_of, scalar, update_all, zeros_of


class Adam(Optimizer):
    """Adaptive moments; weight decay is added to the gradient (or to the parameter: decoupled_weight_decay)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("epsilon value", eps)
        check_range("beta parameter at index 0", betas[0], 0.0, 1.0)
        check_range("beta parameter at index 1", betas[1], 0.0, 1.0)
        check_range("weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update_sparse_(self, group: dict[str, Any], p: Tensor, g: SparseTensor) -> None:
        raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")

    def _update_(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        beta1, beta2 = group["betas"]
        lr, decay = rate_of(group), group["weight_decay"]
        decoupled = group["decoupled_weight_decay"]
        numbers = (beta2, group["eps"]) + (() if decoupled else (decay,)) + (group["maximize"],)
        op = ("adamw" if decoupled else "adam") + ("_amsgrad" if group["amsgrad"] else "")
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")
        rows: dict[int, list[Row]] = {}  # by step
        where = origin()
        gathered = self._gathered_of_(group, parameters, names)
        if gathered is not None:
            gathered.update(op, _changing(gathered.step + 1, lr, decay, beta1, beta2, decoupled, where), numbers, where)
            return
        for p in parameters:
            state = self._table_[p]
            if "exp_avg" not in state:
                state["step"] = None  # PyTorch's order of the entries
                state.update((name, zeros_of(p)) for name in names)
            targets = (p, *[state[name] for name in names])
            step = self._counter_.next(state)
            if step not in rows:
                rows[step] = []
            value, *moments = recorder.state.nodes_of(list(targets))
            rows[step].append((targets, (value, gradient_of(p), *moments)))
        for part, step in enumerate(rows):
            changing = _changing(step, lr, decay, beta1, beta2, decoupled, where)
            update_all((id(group), part), op, rows[step], changing, numbers, where)


def _changing(step: int, lr: float, decay: float, beta1: float, beta2: float, decoupled: bool, where: str) -> tuple[Node, ...]:
    """What differs from step to step, as the op takes it."""
    size, root = lr / (1 - beta1**step), (1 - beta2**step) ** 0.5
    numbers = (size, root, 1 - lr * decay, 1 - beta1) if decoupled else (size, root, 1 - beta1)
    return tuple([scalar(number, where) for number in numbers])


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None,
        capturable: bool = False, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip
