"""Pooling layers and padding layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from . import functional as F
from .calls import remembered
from .module import Module


class _MaxPoolNd(Module):
    _function_: Callable[..., Tensor]

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation, self.return_indices, self.ceil_mode = padding, dilation, return_indices, ceil_mode

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """The largest element of each window."""
        return type(self)._function_(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPoolNd):
    """Maximum over windows of [..., l]."""

    _function_ = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPoolNd):
    """Maximum over windows of [..., h, w]."""

    _function_ = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPoolNd):
    """Maximum over windows of [..., d, h, w]."""

    _function_ = staticmethod(F.max_pool3d)


class _AvgPoolNd(Module):
    """What programs test for means of windows by."""


class AvgPool1d(_AvgPoolNd):
    """Mean over windows of [..., l]."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        step = kernel_size if stride is None else stride
        self.kernel_size, self.stride, self.padding = [tuple(n) if isinstance(n, (tuple, list)) else (n,) for n in (kernel_size, step, padding)]
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """The mean of each window."""
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(_AvgPoolNd):
    _function_: Callable[..., Tensor]

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """The mean of each window."""
        return type(self)._function_(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """Mean over windows of [..., h, w]."""

    _function_ = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """Mean over windows of [..., d, h, w]."""

    _function_ = staticmethod(F.avg_pool3d)


class _Adaptive(Module):
    _function_: Callable[..., Tensor]

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    @remembered
    def forward(self, input: Tensor) -> Any:
        """Pooled to output_size."""
        return type(self)._function_(input, self.output_size)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"output_size={self.output_size}"


class _AdaptiveAvgPoolNd(_Adaptive):
    """What programs test for means over parts by."""


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Mean over as many parts of [..., l] as asked for."""

    _function_ = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Mean over a grid of parts of [..., h, w]."""

    _function_ = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Mean over a grid of parts of [..., d, h, w]."""

    _function_ = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPoolNd(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    @remembered
    def forward(self, input: Tensor) -> Any:
        """Pooled to output_size (and where the maxima are)."""
        return type(self)._function_(input, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Maximum over as many parts of [..., l] as asked for."""

    _function_ = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Maximum over a grid of parts of [..., h, w]."""

    _function_ = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Maximum over a grid of parts of [..., d, h, w]."""

    _function_ = staticmethod(F.adaptive_max_pool3d)


class _Pad(Module):
    _rank_: int
    _mode_ = "constant"
    _value_: float | None = None

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self._rank_) if isinstance(padding, int) else tuple(padding)

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """The padded input."""
        if self._mode_ == "circular" and input.dim() - self._rank_ not in (1, 2):
            raise ValueError(f"expected {self._rank_ + 1}D or {self._rank_ + 2}D input (got {input.dim()}D input)")
        value = getattr(self, "value", self._value_)
        return F.pad(input, self.padding, self._mode_, value)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"padding={self.padding}, value={self.value}" if hasattr(self, "value") else f"{self.padding}"


class _ConstantPadNd(_Pad):
    """Borders of one value."""


class _ReflectionPadNd(_Pad):
    _mode_ = "reflect"


class _ReplicationPadNd(_Pad):
    _mode_ = "replicate"


class _CircularPadNd(_Pad):
    _mode_ = "circular"


def _padding_layer(name: str, rank: int, kind: type[_Pad], doc: str) -> type[_Pad]:
    """One padding layer class; those of a kind differ in rank only."""
    return type(name, (kind,), {"_rank_": rank, "__doc__": doc, "__module__": __name__})


class _ConstantPad(_ConstantPadNd):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value


ConstantPad1d = type("ConstantPad1d", (_ConstantPad,), {"_rank_": 1, "__doc__": "Pads [..., l] with a value."})
ConstantPad2d = type("ConstantPad2d", (_ConstantPad,), {"_rank_": 2, "__doc__": "Pads [..., h, w] with a value."})
ConstantPad3d = type("ConstantPad3d", (_ConstantPad,), {"_rank_": 3, "__doc__": "Pads [..., d, h, w] with a value."})
ZeroPad1d = _padding_layer("ZeroPad1d", 1, _ConstantPadNd, "Pads [..., l] with zeros.")
ZeroPad2d = _padding_layer("ZeroPad2d", 2, _ConstantPadNd, "Pads [..., h, w] with zeros.")
ZeroPad3d = _padding_layer("ZeroPad3d", 3, _ConstantPadNd, "Pads [..., d, h, w] with zeros.")
ReflectionPad1d = _padding_layer("ReflectionPad1d", 1, _ReflectionPadNd, "Pads [..., l] with its mirror image.")
ReflectionPad2d = _padding_layer("ReflectionPad2d", 2, _ReflectionPadNd, "Pads [..., h, w] with its mirror image.")
ReflectionPad3d = _padding_layer("ReflectionPad3d", 3, _ReflectionPadNd, "Pads [..., d, h, w] with its mirror image.")
ReplicationPad1d = _padding_layer("ReplicationPad1d", 1, _ReplicationPadNd, "Pads [..., l] with its border.")
ReplicationPad2d = _padding_layer("ReplicationPad2d", 2, _ReplicationPadNd, "Pads [..., h, w] with its border.")
ReplicationPad3d = _padding_layer("ReplicationPad3d", 3, _ReplicationPadNd, "Pads [..., d, h, w] with its border.")
CircularPad1d = _padding_layer("CircularPad1d", 1, _CircularPadNd, "Pads [..., l] with its other end.")
CircularPad2d = _padding_layer("CircularPad2d", 2, _CircularPadNd, "Pads [..., h, w] with its other end.")
CircularPad3d = _padding_layer("CircularPad3d", 3, _CircularPadNd, "Pads [..., d, h, w] with its other end.")


class _LPPoolNd(Module):
    _function_: Callable[..., Tensor]

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """The p-norm of each window."""
        return type(self)._function_(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """The arguments."""
        return ", ".join(f"{k}={getattr(self, k)}" for k in ("norm_type", "kernel_size", "stride", "ceil_mode"))


class LPPool1d(_LPPoolNd):
    """p-norms over windows of [..., l]."""

    _function_ = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPoolNd):
    """p-norms over windows of [..., h, w]."""

    _function_ = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPoolNd):
    """p-norms over windows of [..., d, h, w]."""

    _function_ = staticmethod(F.lp_pool3d)


class _Fractional(Module):
    _rank_: int
    _function_: Callable[..., Any]

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name, rank = type(self).__name__, self._rank_
        spread = [(v,) * rank if isinstance(v, (int, float)) else v for v in (kernel_size, output_size, output_ratio)]
        self.kernel_size, self.output_size, self.output_ratio = [None if v is None else tuple(v) for v in spread]
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        """The largest element of each window (and its place)."""
        return type(self)._function_(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )


class FractionalMaxPool2d(_Fractional):
    """Largest elements of windows of [..., h, w] with random steps."""

    _rank_ = 2
    _function_ = staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_Fractional):
    """Largest elements of windows of [..., d, h, w] with random steps."""

    _rank_ = 3
    _function_ = staticmethod(F.fractional_max_pool3d)
