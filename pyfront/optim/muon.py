"""Muon: momentum whose matrices are made orthogonal before the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..assignment import assign
from ..tensor import Tensor
from .optimizer import Optimizer
from .recorded import number
from .updates import rate_of, zeros_of

_RATES = ("original", "match_rms_adamw")


class Muon(Optimizer):
    """Steps along the orthogonal factor of the momentum, found by Newton-Schulz iterations in bfloat16.

    For matrices only: ValueError for a parameter of any other rank. Source: K. Jordan, Muon: an optimizer for the hidden
    layers of neural networks (2024); the rate "match_rms_adamw" is of Liu et al., Muon is scalable for LLM training (2025).
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95, nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315), eps: float = 1e-7, ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:  # fmt: skip
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 <= momentum:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn is not None and adjust_lr_fn not in _RATES:
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.dim() != 2:
                raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}")

    def _update_(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        lr, momentum = rate_of(group), group["momentum"]
        for p in parameters:
            state, old, g = self._table_[p], p.detach(), p.grad
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = zeros_of(p)
            moved = state["momentum_buffer"] + (g - state["momentum_buffer"]) * (1 - momentum)
            assign(state["momentum_buffer"], moved._read())
            ahead = g + (moved - g) * momentum if group["nesterov"] else moved
            update = _orthogonal(ahead, group["ns_coefficients"], group["ns_steps"], group["eps"]).to(p.dtype)
            size = lr * _ratio(group["adjust_lr_fn"], *p.shape)
            old = old * number(1 - lr * group["weight_decay"], p)
            assign(p, (old - update * number(size, p))._read())


def _ratio(name: str | None, rows: int, columns: int) -> float:
    if name == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def _orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About U V^T of the matrix U S V^T, in bfloat16: `steps` odd polynomials of degree 5 push S towards 1."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.t() if is_tall else x
    x = x / x.norm().clamp_min(eps)
    for _ in range(steps):
        gram = x @ x.t()
        x = x.addmm(gram.addmm(gram, gram, beta=b, alpha=c), x, beta=a)
    return x.t() if is_tall else x
