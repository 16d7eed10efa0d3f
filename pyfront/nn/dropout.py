"""Dropout layers."""

from __future__ import annotations

from collections.abc import Callable

from ..tensor import Tensor
from . import functional as F
from .calls import remembered
from .module import Module


class _DropoutNd(Module):
    _function_: Callable[..., Tensor]

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """Same shape out; the input itself in evaluation."""
        return type(self)._function_(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """Element by element."""

    _function_ = staticmethod(F.dropout)


class Dropout1d(_DropoutNd):
    """Whole channels of [n, c, l]."""

    _function_ = staticmethod(F.dropout1d)


class Dropout2d(_DropoutNd):
    """Whole channels of [n, c, h, w]."""

    _function_ = staticmethod(F.dropout2d)


class Dropout3d(_DropoutNd):
    """Whole channels of [n, c, d, h, w]."""

    _function_ = staticmethod(F.dropout3d)


class AlphaDropout(_DropoutNd):
    """For SELU networks."""

    _function_ = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_DropoutNd):
    """For SELU networks, whole channels."""

    _function_ = staticmethod(F.feature_alpha_dropout)
