"""HistogramObserver: how often numbers were seen, and the range that loses the least of them when it is quantized."""

from __future__ import annotations

import warnings
from math import inf
from typing import Any

import numpy as np

from ...dialects.types import DType, float32
from ..autograd import no_grad
from ..creation import tensor, zeros
from ..tensor import Tensor
from .dtypes import QuantizedDType, per_tensor_affine, per_tensor_symmetric, qscheme, quint8
from .observer import EPSILON, UniformQuantizationObserverBase

UPSAMPLING = 16  # parts of a bin that are moved on their own when the range of the histogram grows
STEP = 1e-5  # of the quantiles between which the range is searched


class HistogramObserver(UniformQuantizationObserverBase):
    """A histogram of ``bins`` bins over everything seen. The range is narrowed from both ends as long as the error, the squared distance to
    the nearest level, gets smaller (the search of caffe2's norm minimisation)."""

    def __init__(
        self, bins: int = 2048, dtype: DType = quint8, qscheme: qscheme = per_tensor_affine, reduce_range: bool = False,
        quant_min: int | None = None, quant_max: int | None = None, factory_kwargs: Any = None, eps: float = EPSILON,
        is_dynamic: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        if qscheme not in (per_tensor_affine, per_tensor_symmetric):
            raise NotImplementedError("HistogramObserver's qscheme only support torch.per_tensor_symmetric and torch.per_tensor_affine.")
        if is_dynamic:
            raise NotImplementedError("HistogramObserver doesn't support dynamic quantization")
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **more)
        self.bins = bins
        self.register_buffer("histogram", zeros(bins))
        self.register_buffer("min_val", tensor(inf))
        self.register_buffer("max_val", tensor(-inf))
        assert isinstance(dtype, QuantizedDType)
        self.dst_nbins = 1 << 8 * dtype.itemsize

    def forward(self, x_orig: Tensor) -> Tensor:
        """Counts the numbers of x, and gives it. Infinite ones do not count."""
        if not x_orig.numel():
            return x_orig
        with no_grad():
            x = x_orig.detach()
            low, high = x.amin(), x.amax()
            if low.item() == -inf or high.item() == inf:
                warnings.warn("torch.inf detected in input tensor, ignoring input", stacklevel=2)
                x = x[x.abs() != inf]
                if not x.numel():
                    return x_orig
                low, high = x.amin(), x.amax()
            self._count(x, low, high)
        return x_orig

    def _count(self, x: Tensor, low: Tensor, high: Tensor) -> None:
        before = self.min_val.item(), self.max_val.item()
        is_first = before[0] == inf or before[1] == -inf
        if not is_first:
            low, high = low.minimum(self.min_val), high.maximum(self.max_val)
        after = low.item(), high.item()
        counts = x.histc(self.bins, after[0], after[1])
        if not is_first:
            held = self.histogram if after == before else tensor(self._moved(before, after), dtype=float32)
            counts = counts + held
        self.histogram.copy_(counts)
        self.min_val.copy_(low)
        self.max_val.copy_(high)

    def _moved(self, before: tuple[float, float], after: tuple[float, float]) -> Any:
        """The histogram over a larger range: parts of bins go where their middles are."""
        held = self.histogram._value()
        if before[0] == before[1]:
            where = min(int((before[0] - after[0]) / (after[1] - after[0]) * self.bins), self.bins - 1)
            moved = np.zeros(self.bins, np.float32)
            moved[where] = held.sum()
            return moved
        parts = np.repeat(held, UPSAMPLING) / np.float32(UPSAMPLING)
        width = np.float32(np.float32(before[1] - before[0]) / np.float32(self.bins * UPSAMPLING))
        middles = np.linspace(before[0], before[1], self.bins * UPSAMPLING + 1, dtype=np.float32)[:-1] + np.float32(0.5) * width
        bounds = np.linspace(after[0], after[1], self.bins + 1, dtype=np.float32)
        places = (np.searchsorted(bounds, middles, "right") - 1).clip(0, self.bins - 1)
        return np.bincount(places, weights=parts, minlength=self.bins).astype(np.float32)

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scale float32[1] and zero point [1] of the range found."""
        if self.min_val.item() == inf and self.max_val.item() == -inf:
            warnings.warn("must run observer before calling calculate_qparams. Returning default scale and zero point ", stacklevel=2)
            return tensor([1.0]), tensor([0])
        low, high = self._narrowed()
        return self._calculate_qparams(low, high)

    def _narrowed(self) -> tuple[Tensor, Tensor]:
        """The ends of the range: each step drops what is below the next quantile at the end where that is more bins."""
        counts = self.histogram._value()
        total, sums = float(counts.sum()), np.cumsum(counts, dtype=np.float32)
        bin_width = (self.max_val.item() - self.min_val.item()) / self.bins
        alpha, beta, start, end, least = 0.0, 1.0, 0, self.bins - 1, inf
        while alpha < beta:
            left, right = _first_reaching(sums, start, end, (alpha + STEP) * total), _last_within(sums, start, end, (beta - STEP) * total)
            if left - start > end - right:
                alpha, found = alpha + STEP, (left, end)
            else:
                beta, found = beta - STEP, (start, right)
            if found == (start, end):
                continue
            error = self._error(counts, bin_width, *found)
            if error > least:
                break
            least, (start, end) = error, found
        width = (self.max_val - self.min_val) / self.bins
        return self.min_val + width * start, self.min_val + width * (end + 1)

    def _error(self, counts: Any, width: float, start: int, end: int) -> float:
        """The squared distance to the levels of bins ``start`` to ``end``, numbers spread evenly in each bin."""
        level = width * (end - start + 1) / self.dst_nbins
        if level == 0.0:
            return 0.0
        begin = ((np.arange(self.bins) - start) * width).astype(np.float32)
        stop = begin + np.float32(width)
        of_begin, of_end = (np.floor(edge / np.float32(level)).clip(0, self.dst_nbins - 1) for edge in (begin, stop))
        density, half = counts / np.float32(width), np.float32(level / 2)
        centre = (of_begin + np.float32(0.5)) * np.float32(level)
        error = density * _cubes(begin - centre, half)
        error = error + (of_end - of_begin - 1) * (density * _cubes(-half, half))
        centre = of_end * np.float32(level) + half
        error = error + density * _cubes(-half, stop - centre)
        return float(error.sum())

    def extra_repr(self) -> str:
        """What was seen."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


def _cubes(low: Any, high: Any) -> Any:
    """The integral of x * x."""
    return (high * high * high - low * low * low) / np.float32(3)


def _first_reaching(sums: Any, start: int, end: int, wanted: float) -> int:
    """The first bin from ``start`` on whose sum reaches a number, ``end`` at the latest."""
    return min(start + int(np.searchsorted(sums[start:end], np.float32(wanted), "left")), end)


def _last_within(sums: Any, start: int, end: int, wanted: float) -> int:
    """The last bin up to ``end`` whose sum does not exceed a number, ``start`` at the earliest."""
    return max(int(np.searchsorted(sums[: end + 1], np.float32(wanted), "right")) - 1, start)
