"""HalfNormal: absolute values of normal numbers around 0."""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor
from .folded import Folded
from .normal import Normal


class HalfNormal(Folded):
    """HalfNormal(scale)."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(0, scale, validate_args=False), validate_args)

    @property
    def mean(self) -> Tensor:
        """scale sqrt(2 / pi)."""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        """scale ** 2 (1 - 2 / pi)."""
        return self.scale.pow(2) * (1 - 2 / math.pi)
