"""``torch.fft``: what is real of it (frequencies, shifts); transforms are complex and say that they are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .joining import roll
from .sequences import arange
from .tensor import Tensor

def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of ``n`` samples ``d`` apart: 0, 1, …, -1, by ``n * d``."""
    half = (n - 1) // 2 + 1
    order = arange(n, **options)
    return ((order + (n - half)) % n - (n - half)) * (1.0 / (n * d)) if n else order


def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of ``n`` real samples: 0, 1, …, n // 2, by ``n * d``."""
    return arange(n // 2 + 1, **options) * (1.0 / (n * d))


def _shifted(input: Tensor, dim: int | Sequence[int] | None, back: bool) -> Tensor:
    dims = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    shifts = [-(input.shape[d] // 2) if back else input.shape[d] // 2 for d in dims]
    return roll(input, shifts, dims)


def fftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Frequency 0 brought to the middle."""
    return _shifted(input, dim, False)


def ifftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Frequency 0 brought back to the front."""
    return _shifted(input, dim, True)
