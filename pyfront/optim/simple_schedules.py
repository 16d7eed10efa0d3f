"""Schedules with a formula per epoch: steps, lines, exponentials, cosines, and functions of one's own."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any

from .optimizer import Optimizer
from .schedule import LRScheduler, without_functions


class LambdaLR(LRScheduler):
    """initial rate * lr_lambda(epoch)."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        many = isinstance(lr_lambda, (list, tuple))
        if many and len(lr_lambda) != len(optimizer.param_groups):
            raise ValueError(f"Expected {len(optimizer.param_groups)} lr_lambdas, but got {len(lr_lambda)}")
        self.lr_lambdas = list(lr_lambda) if many else [lr_lambda] * len(optimizer.param_groups)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        return [base * f(self.last_epoch) for f, base in zip(self.lr_lambdas, self.base_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Of the functions, only objects with a state are saved."""
        return {**super().state_dict(), "lr_lambdas": without_functions(self.lr_lambdas)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state, with the functions at hand."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "lr_lambdas"})
        for function, state in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if state is not None:
                function.__dict__.update(state)


class MultiplicativeLR(LambdaLR):
    """rate *= lr_lambda(epoch)."""

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        if self.last_epoch > 0:
            return [rate * f(self.last_epoch) for f, rate in zip(self.lr_lambdas, self._rates_(), strict=True)]
        return self._rates_()


class StepLR(LRScheduler):
    """rate *= gamma every step_size epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        if self.last_epoch == 0 or self.last_epoch % self.step_size != 0:
            return self._rates_()
        return [rate * self.gamma for rate in self._rates_()]

    def _get_closed_form_lr(self) -> list[float]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """rate *= gamma at each milestone."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        if self.last_epoch not in self.milestones:
            return self._rates_()
        return [rate * self.gamma ** self.milestones[self.last_epoch] for rate in self._rates_()]

    def _get_closed_form_lr(self) -> list[float]:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return [base * self.gamma**passed for base in self.base_lrs]


class ConstantLR(LRScheduler):
    """initial rate * factor for total_iters epochs, then the initial rate."""

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        if not 0 <= factor <= 1.0:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        if self.last_epoch == 0:
            return [rate * self.factor for rate in self._rates_()]
        if self.last_epoch != self.total_iters:
            return self._rates_()
        return [rate * (1.0 / self.factor) for rate in self._rates_()]


class LinearLR(LRScheduler):
    """The factor goes linearly from start_factor to end_factor in total_iters epochs."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if not 0 < start_factor <= 1.0:
            raise ValueError("Starting multiplicative factor expected to be greater than 0 and less or equal to 1.")
        if not 0 <= end_factor <= 1.0:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        if self.last_epoch == 0:
            return [rate * self.start_factor for rate in self._rates_()]
        if self.last_epoch > self.total_iters:
            return self._rates_()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return [rate * (1.0 + rise / before) for rate in self._rates_()]


class ExponentialLR(LRScheduler):
    """rate *= gamma every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        if self._is_initial:
            return self._rates_()
        return [rate * self.gamma for rate in self._rates_()]

    def _get_closed_form_lr(self) -> list[float]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class PolynomialLR(LRScheduler):
    """initial rate * (1 - epoch / total_iters) ** power."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._rates_()
        share = (1.0 - self.last_epoch / self.total_iters) / (1.0 - (self.last_epoch - 1) / self.total_iters)
        return [rate * share**self.power for rate in self._rates_()]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the initial rate down to eta_min in T_max epochs."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """The rates of this epoch."""
        self._asked_()
        epoch, last, low = self.last_epoch, self.T_max, self.eta_min
        if self._is_initial:
            return self._rates_()
        if self._step_count == 1 and epoch > 0:
            return [low + (base - low) * (1 + math.cos(epoch * math.pi / last)) / 2 for base in self.base_lrs]
        if (epoch - 1 - last) % (2 * last) == 0:
            return [
                group["lr"] + (base - low) * (1 - math.cos(math.pi / last)) / 2
                for base, group in zip(self.base_lrs, self.optimizer.param_groups, strict=True)
            ]
        now, before = 1 + math.cos(math.pi * epoch / last), 1 + math.cos(math.pi * (epoch - 1) / last)
        return [now / before * (rate - low) + low for rate in self._rates_()]

    def _get_closed_form_lr(self) -> list[float]:
        low, turned = self.eta_min, 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        return [low + (base - low) * turned / 2 for base in self.base_lrs]
