"""HalfCauchy: absolute values of Cauchy numbers around 0."""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor
from .cauchy import Cauchy
from .folded import Folded


class HalfCauchy(Folded):
    """HalfCauchy(scale)."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), validate_args)

    @property
    def mean(self) -> Tensor:
        """Infinite."""
        return self.scale.new_full(self._extended_shape(), math.inf)

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return self.base_dist.variance
