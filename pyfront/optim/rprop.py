"""Rprop: resilient backpropagation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..assignment import assign
from ..tensor import Tensor
from .optimizer import check_range
from .recorded import Recorded
from .updates import rate_of, zeros_of


class Rprop(Recorded):
    """Only the signs of the gradients count: a step size per element grows while they agree and shrinks when they turn.

    Source: Riedmiller and Braun, A direct adaptive method for faster backpropagation learning (1993).
    """

    _state = ("prev", "step_size")

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False, foreach: bool | None = None,
        maximize: bool = False, differentiable: bool = False,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _begin(self, p: Tensor, name: str, group: dict[str, Any]) -> Any:
        return zeros_of(p, rate_of(group) if name == "step_size" else 0.0)

    def _move(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> Tensor:
        shrink, grow = group["etas"]
        turn = g * state["prev"]
        factor = turn.sign().masked_fill(turn > 0, grow).masked_fill(turn < 0, shrink).masked_fill(turn == 0, 1.0)
        size = (state["step_size"] * factor).clamp(*group["step_sizes"])
        g = g.masked_fill(turn < 0, 0.0)
        assign(state["step_size"], size._read())
        assign(state["prev"], g._read())
        return p - g.sign() * size
