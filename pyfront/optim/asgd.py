"""ASGD: averaged stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..assignment import assign
from ..selection import where
from ..tensor import Tensor
from .optimizer import check_range
from .recorded import Recorded, kept, number, rounded
from .updates import rate_of, zeros_of


class ASGD(Recorded):
    """Plain steps of a shrinking size, and in ``state["ax"]`` the average of the parameter from step t0 on.

    Source: Polyak and Juditsky, Acceleration of stochastic approximation by averaging (1992).
    """

    _state = ("eta", "mu", "ax")

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
        weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
        capturable: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("weight_decay value", weight_decay)
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _begin(self, p: Tensor, name: str, group: dict[str, Any]) -> Any:
        if name == "ax":
            return zeros_of(p)
        return rounded(rate_of(group) if name == "eta" else 1.0)

    def _move(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> Tensor:
        lr, lambd, mean = rate_of(group), group["lambd"], state["ax"]
        eta, mu = (kept(state, name, step) for name in ("eta", "mu"))
        moved = p * number(1 - lambd * eta, p) + g * number(-eta, p)
        after = (lr / (1 + lambd * lr * step) ** group["alpha"]), step - group["t0"]
        if isinstance(step, Tensor):
            assign(mean, where(mu == 1, moved, mean + (moved - mean) * number(mu, p))._read())
            for name, value in zip(("eta", "mu"), (after[0], 1 / after[1].clamp(min=1)), strict=True):
                assign(state[name], value.to(state[name].dtype)._read())
            return moved
        assign(mean, (moved if mu == 1 else mean + (moved - mean) * number(mu, p))._read())
        state["eta"], state["mu"] = rounded(after[0]), rounded(1 / max(1, after[1]))
        return moved
