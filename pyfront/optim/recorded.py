"""Recorded optimizers: those written as tensor arithmetic, parameter by parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import recorder
from ..assignment import assign
from ..complex_numbers import view_as_real
from ..creation import get_default_dtype
from ..tensor import Tensor, wrap
from .optimizer import Optimizer
from .updates import is_of_recording, scalar, zeros_of


class Recorded(Optimizer):
    """Base of the optimizers that say in tensor arithmetic how a parameter moves.

    Subclasses define ``_move(p, gradient, state, group, step)``, which gives the new value of the parameter. What changes
    from step to step goes in through ``number``, so that all steps are one program.
    """

    _state: tuple[str, ...] = ()

    def _begin(self, p: Tensor, name: str, group: dict[str, Any]) -> Any:
        """The first value of one entry of the state."""
        return zeros_of(p)

    def _update_(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for p in parameters:
            state = self._table_[p]
            if not state:
                state["step"] = None
                state.update((name, self._begin(p, name, group)) for name in self._state)
            step = self._counter_.next(state)
            gradient = -p.grad if group.get("maximize") else p.grad
            old = p.detach()
            if group.get("weight_decay", 0) != 0 and not self._decays_apart(group):
                gradient = gradient + old * group["weight_decay"]
            if p.dtype.is_complex:
                self._move_parts(p, gradient, state, group, step)
            else:
                assign(p, self._move(old, gradient, state, group, step)._read())

    def _move_parts(self, p: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> None:
        """A complex parameter: its parts move as real numbers do."""
        views = {k: view_as_real(v) if isinstance(v, Tensor) and v.dtype.is_complex else v for k, v in state.items()}
        parts = view_as_real(p.detach())
        assign(parts, self._move(parts, view_as_real(gradient), views, group, step)._read())
        state.update((k, v) for k, v in views.items() if not (isinstance(state.get(k), Tensor) and state[k].dtype.is_complex))

    def _decays_apart(self, group: dict[str, Any]) -> bool:
        """Whether weight decay is the step's own business instead of the gradient's."""
        return bool(group.get("decoupled_weight_decay"))

    def _move(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any], step: int) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not say how it moves a parameter")


def number(value: float, like: Tensor) -> Tensor:
    """A number of this step as a tensor of one element."""
    return wrap(scalar(value)).to(like.dtype)


def rounded(value: Any) -> Tensor:
    """A number kept in the state, as PyTorch keeps it: a scalar of the default dtype, known on the host (not while a step is recorded)."""
    dtype = get_default_dtype()
    array = np.array(value, dtype.numpy)
    return wrap(recorder.leaf(array, ((), dtype))) if recorder.state.fresh is None else recorder.state.fresh(array)


def kept(state: dict[str, Any], name: str, step: Any) -> Any:
    """A number kept in the state: of the host, or, while a step is recorded (whose count is a tensor), the tensor it goes on from."""
    if not isinstance(step, Tensor):
        return float(state[name])
    if not is_of_recording(state[name]):
        state[name] = recorder.state.fresh(state[name].numpy())
    return state[name].double()


def multiplied(state: dict[str, Any], name: str, factor: Any) -> Any:
    """Multiply a number kept in the state, in its own precision, and give it: a tensor while a step is recorded, as the factor is then."""
    if isinstance(factor, Tensor):
        kept(state, name, factor)
        state[name] *= factor.to(state[name].dtype)
        return state[name].double()
    state[name] = rounded(state[name].numpy() * state[name].dtype.numpy.type(factor))
    return float(state[name])
