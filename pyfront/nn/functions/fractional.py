"""Fractional max pooling: windows whose steps are random, and whose number is chosen."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...creation import of_array
from ...random_tensors import rand
from ...tensor import Tensor
from .applying import apply, each


def _starts(samples: np.ndarray, size: int, out: int, kernel: int) -> np.ndarray:
    """int64[planes, out]: where the windows of each plane begin, for one uniform number per plane.

    Source: Graham, Fractional max-pooling (2014), pseudo-random sequences.
    """
    starts = np.full((len(samples), out), size - kernel, np.int64)
    if out > 1:
        step = samples.dtype.type(size - kernel) / samples.dtype.type(out - 1)
        i = np.arange(out - 1, dtype=samples.dtype)
        starts[:, :-1] = ((i + samples[:, None]) * step).astype(np.int64) - (samples[:, None] * step).astype(np.int64)
    return starts


def _fractional(
    rank: int, input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Tensor | None
) -> tuple[Tensor, Tensor]:
    name = f"fractional_max_pool{rank}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if input.dim() not in (rank + 1, rank + 2):
        raise RuntimeError(f"{name}: Expected {rank + 1}D or {rank + 2}D input, got {list(input.shape)}")
    kernel, sizes = each(kernel_size, rank, "kernel_size"), tuple(input.shape[-rank:])
    if output_size is None:
        ratios = (output_ratio,) * rank if isinstance(output_ratio, float) else tuple(output_ratio)
        outs = tuple(int(n * r) for n, r in zip(sizes, ratios, strict=True))
    else:
        outs = each(output_size, rank, "output_size")
    for n, k, o in zip(sizes, kernel, outs, strict=True):
        if o + k - 1 > n:
            raise RuntimeError(f"{name}: pool size {k} and {o} outputs are too large for an input of size {n}")
    batch = input.shape[0] if input.dim() == rank + 2 else 1
    channels = input.shape[-rank - 1]
    if samples is None:
        samples = rand(batch, channels, rank, dtype=input.dtype, device=input.device)
    order = (1, 0) if rank == 2 else (0, 1, 2)  # of pictures, the first number is that of the columns
    drawn = np.ascontiguousarray(samples.cpu()._value()).reshape(batch * channels, rank)
    planes = np.zeros((batch * channels, 1, 1), np.int64)
    for axis, (n, k, o) in enumerate(zip(sizes, kernel, outs, strict=True)):
        places = _starts(drawn[:, order[axis]], n, o, k)[:, :, None] + np.arange(k)
        planes = (planes[:, :, None, :, None] * n + places[:, None, :, None, :]).reshape(
            len(planes), planes.shape[1] * o, planes.shape[2] * k
        )
    return _picked(input, planes, (*input.shape[:-rank], *outs), rank)


def _picked(input: Tensor, planes: np.ndarray, shape: tuple[int, ...], rank: int) -> tuple[Tensor, Tensor]:
    """The largest of the places planes[plane, window, :], and where it is."""
    flat = input.reshape(planes.shape[0], prod(input.shape[-rank:]))
    table = np.ascontiguousarray(planes.reshape(len(planes), planes.shape[1] * planes.shape[2]))
    index = of_array(table, like=input)
    windows = apply("gather", (flat.detach(), index), (1,)).reshape(planes.shape)
    first = apply("argmax", (windows,), (2,))
    chosen = apply("gather", (index.reshape(planes.shape), first), (2,)).squeeze(-1)
    values = apply("gather", (flat, chosen), (1,), f"fractional_max_pool{rank}d")
    return values.reshape(shape), chosen.reshape(shape)


def fractional_max_pool2d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Largest elements of windows of [..., h, w] with random steps, and their places."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Largest elements of windows of [..., d, h, w] with random steps, and their places."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """Largest elements of windows of [..., h, w] with random steps, as many as asked for."""
    both = _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return both if return_indices else both[0]


def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """Largest elements of windows of [..., d, h, w] with random steps, as many as asked for."""
    both = _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return both if return_indices else both[0]
