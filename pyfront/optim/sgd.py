"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..assignment import assign
from ..origin import origin
from ..sparse.coordinates import SparseTensor
from ..tensor import Tensor
from .optimizer import Optimizer, check_range
from .recorded import number
from .updates import Row, rate_of, scalar, update, update_all, zeros_of


class SGD(Optimizer):
    """p -= lr * (g + weight_decay * p), with momentum."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
        nesterov: bool = False, *, maximize: bool = False, foreach: bool | None = None, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_range("learning rate", lr)
        check_range("momentum value", momentum)
        check_range("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def _update_sparse_(self, group: dict[str, Any], p: Tensor, g: SparseTensor) -> None:
        if group["weight_decay"] != 0:
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        g = (-g if group["maximize"] else g).detach()
        if group["momentum"] != 0:
            momentum, state = number(float(group["momentum"]), p), self._table_[p]
            before = state.get("momentum_buffer")
            now = g.clone() if before is None else before * momentum + g * (1 - group["dampening"])
            state["momentum_buffer"] = now
            g = g + now * momentum if group["nesterov"] else now
        assign(p, g._onto(p.detach(), number(-rate_of(group), p))._read())

    def _update_(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        rate, momentum = scalar(rate_of(group)), scalar(float(group["momentum"]))
        remembers, where = group["momentum"] != 0, origin()
        numbers = (remembers, group["dampening"], group["weight_decay"], group["nesterov"], group["maximize"])
        gathered = self._gathered_of_(group, parameters, ("momentum_buffer",), counted=False) if remembers else None
        if gathered is not None:
            gathered.update("sgd", (rate, momentum), (*numbers, False), where)
            return
        rows: list[Row] = []
        for p in parameters:
            value = p._read()
            operands = (value, p.grad._read())
            if not remembers:
                # nothing is remembered: the gradient stands in for the buffer, which is handed through
                rows.append(((p,), (*operands, operands[1])))
                continue
            state = self._table_[p]
            buffer = state.get("momentum_buffer")
            # Without dampening a zero buffer gives what a missing one gives: all steps are the same program.
            first = buffer is None and group["dampening"] != 0
            if buffer is None:
                buffer = state["momentum_buffer"] = zeros_of(p)
            if first:
                update((p, buffer), "sgd", (*operands, buffer._read(), rate, momentum), (*numbers, first), where)
            else:
                rows.append(((p, buffer), (*operands, buffer._read())))
        update_all(id(group), "sgd", rows, (rate, momentum), (*numbers, False), where)
