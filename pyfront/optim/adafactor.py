"""Adafactor: second moments of a matrix kept as one row and one column."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import ml_dtypes

from ..assignment import assign
from ..tensor import Tensor
from .recorded import Recorded, number
from .updates import rate_of, zeros_of


class Adafactor(Recorded):
    """Steps relative to the parameter's own size, over factored second moments of the gradient.

    Source: Shazeer and Stern, Adafactor: adaptive learning rates with sublinear memory cost (2018).
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0, *,
        foreach: bool | None = None, maximize: bool = False,
    ) -> None:  # fmt: skip
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not 0.0 <= eps[0]:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not 0.0 <= eps[1]:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _decays_apart(self, group: dict[str, Any]) -> bool:
        return True

    def _move(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> Tensor:
        lr, (tiny, least) = rate_of(group), group["eps"]
        tiny = float(ml_dtypes.finfo(p.dtype.numpy).eps) if tiny is None else tiny
        share, rate = number(step ** group["beta2_decay"], p), number(min(lr, 1 / step**0.5), p)
        alpha = (p.norm(2) / math.sqrt(p.numel())).clamp_min(least) * rate
        if group["weight_decay"] != 0:
            p = p * number(1 - lr * group["weight_decay"], p)
        update = g * _variance(g, state, share, tiny).clamp_min(tiny * tiny).rsqrt()
        excess = (update.norm(2) / (math.sqrt(update.numel()) * group["d"])).clamp_min(1.0)
        return p - update * (alpha / excess)


def _variance(g: Tensor, state: dict[str, Any], share: Tensor, tiny: float) -> Tensor:
    """The running second moments, for matrices as the outer product of their rows' and columns' means."""
    if g.dim() < 2:
        return _mixed(state, "variance", g * g, share)
    row = _mixed(state, "row_var", g.norm(dim=-1, keepdim=True).square() / g.shape[-1], share)
    column = _mixed(state, "col_var", g.norm(dim=-2, keepdim=True).square() / g.shape[-2], share)
    return row @ column / row.mean(dim=-2, keepdim=True).clamp_min(tiny)


def _mixed(state: dict[str, Any], name: str, fresh: Tensor, share: Tensor) -> Tensor:
    """The state moved towards a fresh value by `share`, and remembered."""
    if name not in state:
        state[name] = zeros_of(fresh)
    mixed = state[name] + (fresh - state[name]) * share
    assign(state[name], mixed._read())
    return mixed
