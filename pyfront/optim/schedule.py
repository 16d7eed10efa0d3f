"""Schedule: the base of all learning rate schedules, stepping with PyTorch's arithmetic."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from ..tensor import Tensor
from .optimizer import Optimizer


class LRScheduler:
    """Base of the schedules: ``get_lr`` gives the rates of epoch ``last_epoch`` from those of the epoch before."""

    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with last_epoch >= 0.\n"
                    "This typically happens when:\n1. You're trying to resume training from a checkpoint but haven't properly "
                    "loaded the optimizer state\n2. You're using last_epoch >= 0 for a fresh training run (not recommended)"
                )
        self.base_lrs = [copied(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """The rates in force."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch (or to `epoch`)."""
        if self._step_count == 1 and not self.optimizer._stepped_:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later, you should "
                "call them in the opposite order: `optimizer.step()` before `lr_scheduler.step()`.  Failure to do this will "
                "result in PyTorch skipping the first value of the learning rate schedule. See more details at "
                "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate", UserWarning, stacklevel=2,
            )  # fmt: skip
        self._step_count += 1
        if epoch is not None:
            warn_of_epoch()
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self._get_lr_called_within_step = True
        try:
            self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
            closed = None if epoch is None else getattr(self, "_get_closed_form_lr", None)
            rates = self.get_lr() if closed is None else closed()
        finally:
            self._get_lr_called_within_step = False
        self._put_(rates)

    def _put_(self, rates: Sequence[Any]) -> None:
        """Let the optimizer use these rates; one that is a tensor stays that tensor."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            put_rate(group, rate)
        self._last_lr = self._rates_()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.__dict__.update(state_dict)

    def _rates_(self) -> list[Any]:
        return [copied(group["lr"]) for group in self.optimizer.param_groups]

    def _asked_(self) -> None:
        """Called by ``get_lr`` first: programs should not call it themselves."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.", UserWarning, stacklevel=3
            )


class _LRScheduler(LRScheduler):
    """The base under its old name."""


def copied(rate: Any) -> Any:
    """A rate that does not change when the optimizer's does."""
    return rate.clone() if isinstance(rate, Tensor) else rate


def put_rate(group: dict[str, Any], rate: Any) -> None:
    """Change a group's rate; one that is a tensor stays that tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(float(rate))
    else:
        group["lr"] = rate


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for every parameter group. ValueError when there are not as many as groups."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [copied(value)] * groups
    if len(value) != groups:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, param_groups has "
            f"{groups}."
        )
    return [copied(each) for each in value]


def without_functions(values: Sequence[Any]) -> list[Any]:
    """What a checkpoint keeps of callables: the state of objects, None for functions."""
    return [None if v is None or isinstance(v, FunctionType) else dict(v.__dict__) for v in values]


def warn_of_epoch() -> None:
    """The warning for ``step(epoch)``."""
    warnings.warn(
        "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use "
        "`scheduler.step()` to step the scheduler. During the deprecation, if epoch is different from None, the closed form "
        "is used instead of the new chainable form, where available. Please open an issue if you are unable to replicate your "
        "use case: https://github.com/pytorch/pytorch/issues/new/choose.", UserWarning, stacklevel=3,
    )  # fmt: skip
