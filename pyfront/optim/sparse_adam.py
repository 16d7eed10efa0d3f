"""SparseAdam: Adam for gradients of which only some rows are kept; the other rows, and what is remembered of them, stay as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..assignment import assign
from ..sparse.coordinates import SparseTensor
from ..tensor import Tensor
from .optimizer import Optimizer
from .recorded import number
from .updates import zeros_of


class SparseAdam(Optimizer):
    """Steps of Adam where the gradient has elements, nothing elsewhere. RuntimeError for dense gradients."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, maximize: bool = False
    ) -> None:
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        every = [(i, k, p) for i, group in enumerate(self.param_groups) for k, p in enumerate(group["params"])]
        if sparse := [[i, k] for i, k, p in every if p.is_sparse]:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        if complex_ := [[i, k] for i, k, p in every if p.is_complex()]:
            raise ValueError(f"Complex params at indices {complex_}: SparseAdam does not support complex parameters")

    def _update_sparse_(self, group: dict[str, Any], p: Tensor, g: SparseTensor) -> None:
        state = self._table_[p]
        if not state:
            state.update(step=0, exp_avg=zeros_of(p), exp_avg_sq=zeros_of(p))
        state["step"] += 1
        g = (-g if group["maximize"] else g).detach().coalesce()
        if not g._nnz():
            return
        (beta1, beta2), step, values = group["betas"], state["step"], g._held
        mean, square = (g._out_of(state[name].detach()) for name in ("exp_avg", "exp_avg_sq"))
        to_mean, to_square = (values - mean) * (1 - beta1), (values * values - square) * (1 - beta2)
        for name, change in (("exp_avg", to_mean), ("exp_avg_sq", to_square)):
            assign(state[name], g._with(change)._onto(state[name].detach())._read())
        size = float(group["lr"]) * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        move = (to_mean + mean) / ((to_square + square).sqrt() + group["eps"])
        assign(p, g._with(move)._onto(p.detach(), number(-size, p))._read())

    def _update_(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        if parameters:
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
