"""Numbers around a place: a standard distribution, moved by ``loc`` and stretched by ``scale``."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import constraints
from .parameters import broadcast_all


class Located:
    """Beside a Distribution that is symmetric around ``loc``."""

    loc: Tensor

    @property
    def mean(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc


class LocationScale(Located):
    """Beside a Distribution of numbers around ``loc``, stretched by ``scale``."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _copied_ = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)  # type: ignore[call-arg]  # the Distribution's
