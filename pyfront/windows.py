"""Windows: ``torch.signal.windows`` and the ``torch.hann_window`` family, computed in float64 and rounded once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..dialects.types import DType
from .creation import of_array
from .dtype_arguments import dtype_given
from .placement import on
from .promote import Defaults
from .tensor import Tensor


def _window(
    name: str, count: int, shape: Callable[[np.ndarray], np.ndarray], dtype: DType | None, options: dict[str, Any]
) -> Tensor:
    """``shape`` of the places 0 … count-1. ValueError for a negative length or integers."""
    if count < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={count}")
    kind = Defaults.dtype if dtype is None else dtype_given(dtype)
    if kind.name not in ("float32", "float64"):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {kind}")
    values = np.ones(count) if count <= 1 else shape(np.arange(count, dtype=np.float64))
    made = on(of_array(np.asarray(values, kind.numpy)), options.get("device"))
    return made.requires_grad_() if options.get("requires_grad") else made


def _steps(count: int, sym: bool) -> int:
    return count - 1 if sym else count


def general_cosine(M: int, *, a: Iterable[float], sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803  # PyTorch's name
    """A sum of cosines of 0, 1, 2, … turns with the weights ``a``, signs alternating."""
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    weights = list(a)
    if not weights:
        raise ValueError("Coefficients cannot be empty")
    turn = 2 * math.pi / max(_steps(M, sym), 1)
    return _window(
        "general_cosine", M, lambda k: sum((-1) ** i * w * np.cos(i * turn * k) for i, w in enumerate(weights)), dtype, options
    )


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """``alpha - (1 - alpha) cos``."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, dtype=dtype, **options)


def hamming(M: int, *, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """``0.54 - 0.46 cos``."""
    return general_hamming(M, sym=sym, dtype=dtype, **options)


def hann(M: int, *, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """``0.5 - 0.5 cos``."""
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, **options)


def blackman(M: int, *, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """Three cosines."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, dtype=dtype, **options)


def nuttall(M: int, *, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """Four cosines."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, dtype=dtype, **options)


def bartlett(M: int, *, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """A triangle that is 0 at its ends."""
    return _window("bartlett", M, lambda k: 1 - np.abs(2 * k / _steps(M, sym) - 1), dtype, options)


def cosine(M: int, *, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """Half a wave of a sine."""
    return _window("cosine", M, lambda k: np.sin((k + 0.5) * math.pi / (M if sym else M + 1)), dtype, options)


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: DType | None = None, **options: Any  # noqa: N803
) -> Tensor:
    """Decay on both sides of the centre."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = _steps(M, sym) / 2 if center is None else center
    return _window("exponential", M, lambda k: np.exp(-np.abs(k - middle) / tau), dtype, options)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """A bell of deviation ``std``."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return _window("gaussian", M, lambda k: np.exp(-(((k - _steps(M, sym) / 2) / std) ** 2) / 2), dtype, options)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype: DType | None = None, **options: Any) -> Tensor:  # noqa: N803
    """Bessel's I0 of half a circle of radius ``beta``."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    places = lambda k: np.sqrt(np.maximum(1 - (2 * k / _steps(M, sym) - 1) ** 2, 0))  # noqa: E731
    return _window("kaiser", M, lambda k: np.i0(beta * places(k)) / np.i0(beta), dtype, options)


# -- names of the root: periodic unless said otherwise -------------------------------------------------------------


def hann_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, **options: Any) -> Tensor:
    """``0.5 - 0.5 cos``."""
    return hann(window_length, sym=not periodic, dtype=dtype, **options)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: DType | None = None, **options: Any
) -> Tensor:
    """``alpha - beta cos``."""
    return general_cosine(window_length, a=[alpha, beta], sym=not periodic, dtype=dtype, **options)


def blackman_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, **options: Any) -> Tensor:
    """Three cosines."""
    return blackman(window_length, sym=not periodic, dtype=dtype, **options)


def bartlett_window(window_length: int, periodic: bool = True, *, dtype: DType | None = None, **options: Any) -> Tensor:
    """A triangle that is 0 at its ends."""
    return bartlett(window_length, sym=not periodic, dtype=dtype, **options)


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DType | None = None, **options: Any
) -> Tensor:
    """Bessel's I0 of half a circle of radius ``beta``."""
    return kaiser(window_length, beta=beta, sym=not periodic, dtype=dtype, **options)


ROOT: tuple[Callable[..., Tensor], ...] = (hann_window, hamming_window, blackman_window, bartlett_window, kaiser_window)
