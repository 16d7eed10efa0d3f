"""Observers: modules that hand tensors through and note what scale and zero point would suit them."""

from __future__ import annotations

import warnings
from functools import partial
from math import inf
from typing import Any

from ...dialects.types import DType, float16, float32, int32, int64
from ..autograd import no_grad
from ..creation import tensor, zeros
from ..limits import finfo
from ..nn.module import Module
from ..tensor import Tensor
from .dtypes import (
    QuantizedDType, per_channel_affine, per_channel_symmetric, per_tensor_affine, per_tensor_symmetric, qint8, qscheme, quint8,
)  # fmt: skip

EPSILON = finfo(float32).eps


class _PartialWrapper:
    """A class with some of its arguments given."""

    def __init__(self, made: Any) -> None:
        self.p, self.callable_args = made, {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.p(*args, **{**{name: f() for name, f in self.callable_args.items() if name not in kwargs}, **kwargs})

    def __repr__(self) -> str:
        return repr(self.p) + (repr(self.callable_args) if self.callable_args else "")

    def with_args(self, **kwargs: Any) -> _PartialWrapper:
        """With more arguments given."""
        made = _PartialWrapper(partial(self.p, **kwargs))
        made.callable_args = dict(self.callable_args)
        return made

    def with_callable_args(self, **kwargs: Any) -> _PartialWrapper:
        """With arguments that are made anew for every call."""
        made = self.with_args()
        made.callable_args |= kwargs
        return made


class ObserverBase(Module):
    """Base of observers. ``forward(x)`` notes and gives x; ``calculate_qparams()`` gives scale and zero point."""

    def __init__(self, dtype: DType, is_dynamic: bool = False) -> None:
        super().__init__()
        self.dtype, self.is_dynamic = dtype, is_dynamic

    def calculate_qparams(self, **_: Any) -> Any:
        """Scale float32[...] and zero point of what was seen."""
        raise NotImplementedError("calculate_qparams")

    @classmethod
    def with_args(cls, **kwargs: Any) -> _PartialWrapper:
        """A factory with these arguments."""
        return _PartialWrapper(partial(cls, **kwargs))

    @classmethod
    def with_callable_args(cls, **kwargs: Any) -> _PartialWrapper:
        """A factory with arguments that are made anew for every observer."""
        return _PartialWrapper(partial(cls)).with_callable_args(**kwargs)


class UniformQuantizationObserverBase(ObserverBase):
    """Observers of a smallest and a largest number, from which evenly spaced levels follow.

    dtype: of the integers; qscheme: symmetric ones have their zero point in the middle; reduce_range: one bit less; quant_min, quant_max: the
    integers' range where it is not the dtype's; eps: the smallest scale.
    """

    def __init__(
        self, dtype: DType = quint8, qscheme: qscheme = per_tensor_affine, reduce_range: bool = False, quant_min: int | None = None,
        quant_max: int | None = None, factory_kwargs: Any = None, eps: float = EPSILON, is_dynamic: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        super().__init__(dtype, is_dynamic)
        self.qscheme, self.reduce_range = qscheme, reduce_range
        if reduce_range:
            warnings.warn("Please use quant_min and quant_max to specify the range for observers. reduce_range will be deprecated in a future release of PyTorch.", stacklevel=2)
        self.register_buffer("eps", tensor([eps], dtype=float32))
        if not isinstance(dtype, QuantizedDType):
            raise AssertionError("Default Observer only works for qint8, quint8 and quint4x2 data type")
        self.has_customized_qrange = quant_min is not None and quant_max is not None
        if self.has_customized_qrange:
            _check_range(quant_min, quant_max)
        self.quant_min, self.quant_max = self._range(dtype, quant_min, quant_max)

    def _range(self, dtype: QuantizedDType, low: int | None, high: int | None) -> tuple[int, int]:
        least, most = (low, high) if low is not None and high is not None else dtype.limits
        if not self.reduce_range:
            return least, most
        return (least // 2, most // 2) if self.has_customized_qrange else (-64, 63) if dtype is qint8 else (0, 127)

    def _calculate_qparams(self, min_val: Tensor, max_val: Tensor) -> tuple[Tensor, Tensor]:
        """float32[...] extremes to scales float32[...] and zero points, int32 (int64 where they are symmetric)."""
        if bool(((min_val == inf) & (max_val == -inf)).all()) or not min_val.numel():
            warnings.warn("must run observer before calling calculate_qparams. Returning default values.", stacklevel=2)
            return tensor([1.0]), tensor([0])
        if not bool((min_val <= max_val).all()):
            raise AssertionError(f"min {min_val} should be less than max {max_val}")
        least, most = self.quant_min, self.quant_max
        low, high = min_val.clamp(max=0.0), max_val.clamp(min=0.0)
        if self.qscheme in (per_tensor_symmetric, per_channel_symmetric):
            high = (-low).maximum(high)
            scale = (high / (float(most - least) / 2)).maximum(self.eps)
            middle = 0 if self.dtype is not quint8 else (least + most) // 2 if self.has_customized_qrange else 128
            point = zeros(low.shape, dtype=int64) + middle
        else:
            scale = ((high - low) / float(most - least)).maximum(self.eps)
            point = (least - (low / scale).round().to(int32)).clamp(least, most)
        return (scale, point) if min_val.dim() else (scale.reshape(-1), point.reshape(-1))

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        raise NotImplementedError("Cannot reset min/max values in the given observer.")


def _check_range(low: Any, high: Any) -> None:
    if low > 0 or high < 0:
        raise AssertionError("Used-specified quantization range must include 0.")
    if low >= high:
        raise AssertionError("qmin must be less than qmax for user-specified quantization range.")


class MinMaxObserver(UniformQuantizationObserverBase):
    """The extremes of everything seen."""

    def __init__(
        self, dtype: DType = quint8, qscheme: qscheme = per_tensor_affine, reduce_range: bool = False, quant_min: int | None = None,
        quant_max: int | None = None, factory_kwargs: Any = None, eps: float = EPSILON, is_dynamic: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        if qscheme not in (per_tensor_affine, per_tensor_symmetric):
            raise NotImplementedError("MinMaxObserver's qscheme only support torch.per_tensor_symmetric and torch.per_tensor_affine.")
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **more)
        self.reset_min_max_vals()

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        self.register_buffer("min_val", tensor(inf))
        self.register_buffer("max_val", tensor(-inf))

    def forward(self, x_orig: Tensor) -> Tensor:
        """Notes the extremes of x, and gives it."""
        if x_orig.numel():
            with no_grad():
                x = x_orig.detach().to(self.min_val.dtype)
                self.min_val.copy_(x.amin().minimum(self.min_val))
                self.max_val.copy_(x.amax().maximum(self.max_val))
        return x_orig

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scale float32[1] and zero point [1]."""
        return self._calculate_qparams(self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """What was seen."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


class MovingAverageMinMaxObserver(MinMaxObserver):
    """Extremes that move towards those of what is seen now, by a share ``averaging_constant`` of the way."""

    def __init__(self, averaging_constant: float = 0.01, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.averaging_constant = averaging_constant

    def forward(self, x_orig: Tensor) -> Tensor:
        """Moves the extremes, and gives x."""
        if x_orig.numel():
            with no_grad():
                x = x_orig.detach().to(self.min_val.dtype)
                first = (self.min_val == inf) & (self.max_val == -inf)
                for held, now in ((self.min_val, x.amin()), (self.max_val, x.amax())):
                    held.copy_(now.where(first, held + self.averaging_constant * (now - held)))
        return x_orig


class PerChannelMinMaxObserver(UniformQuantizationObserverBase):
    """The extremes of everything seen, for each place along ``ch_axis``."""

    def __init__(
        self, ch_axis: int = 0, dtype: DType = quint8, qscheme: qscheme = per_channel_affine, reduce_range: bool = False,
        quant_min: int | None = None, quant_max: int | None = None, factory_kwargs: Any = None, eps: float = EPSILON,
        is_dynamic: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(dtype, qscheme, reduce_range, quant_min, quant_max, factory_kwargs, eps, is_dynamic, **more)
        self.ch_axis = ch_axis
        self.reset_min_max_vals()

    def reset_min_max_vals(self) -> None:
        """Forget what was seen."""
        self.register_buffer("min_val", tensor([], dtype=float32))
        self.register_buffer("max_val", tensor([], dtype=float32))

    def _extremes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.detach().to(self.min_val.dtype).transpose(0, self.ch_axis).flatten(1) if x.dim() > 1 else x.detach().reshape(-1, 1)
        return rows.amin(1), rows.amax(1)

    def _combined(self, held: Tensor, now: Tensor, larger: bool) -> Tensor:
        return held.maximum(now) if larger else held.minimum(now)

    def forward(self, x_orig: Tensor) -> Tensor:
        """Notes the extremes of every channel, and gives x."""
        if x_orig.numel():
            with no_grad():
                low, high = self._extremes(x_orig)
                if self.min_val.numel():
                    low, high = self._combined(self.min_val, low, False), self._combined(self.max_val, high, True)
                self.min_val, self.max_val = low, high
        return x_orig

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scales float32[channels] and zero points [channels]."""
        return self._calculate_qparams(self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """What was seen."""
        return f"min_val={self.min_val}, max_val={self.max_val}"

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *more: Any) -> None:
        for name in ("min_val", "max_val"):
            if prefix + name in state_dict:  # as many channels as there are in the file
                setattr(self, name, zeros(state_dict[prefix + name].shape, dtype=float32))
        super()._load_from_state_dict(state_dict, prefix, *more)


class MovingAveragePerChannelMinMaxObserver(PerChannelMinMaxObserver):
    """Extremes of channels that move towards those of what is seen now."""

    def __init__(self, averaging_constant: float = 0.01, ch_axis: int = 0, *args: Any, **kwargs: Any) -> None:
        super().__init__(ch_axis, *args, **kwargs)
        self.averaging_constant = averaging_constant

    def _combined(self, held: Tensor, now: Tensor, larger: bool) -> Tensor:
        return held + self.averaging_constant * (now - held)


class PlaceholderObserver(ObserverBase):
    """Notes nothing: what is known beforehand is all (dynamic layers, float16)."""

    def __init__(
        self, dtype: DType = float32, custom_op_name: str = "", compute_dtype: DType | None = None, quant_min: int | None = None,
        quant_max: int | None = None, qscheme: qscheme | None = None, eps: float | None = None, is_dynamic: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(dtype, is_dynamic or compute_dtype is not None)
        self.qscheme, self.custom_op, self.quant_min, self.quant_max = qscheme or per_tensor_affine, custom_op_name, quant_min, quant_max
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x

    def extra_repr(self) -> str:
        """The arguments."""
        return f"dtype={self.dtype}, is_dynamic={self.is_dynamic}"

    def calculate_qparams(self, **_: Any) -> Any:
        """Exception: nothing was noted."""
        raise Exception("calculate_qparams should not be called for PlaceholderObserver")  # noqa: TRY002  # PyTorch's class


class NoopObserver(ObserverBase):
    """Notes nothing; for weights that become float16."""

    def __init__(self, dtype: DType = float16, custom_op_name: str = "") -> None:
        super().__init__(dtype)
        self.custom_op = custom_op_name

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x

    def calculate_qparams(self, **_: Any) -> Any:
        """Exception: nothing was noted."""
        raise Exception("calculate_qparams should not be called for NoopObserver")  # noqa: TRY002  # PyTorch's class


class FixedQParamsObserver(ObserverBase):
    """A scale and a zero point that are known: those of sigmoid, tanh, softmax."""

    def __init__(
        self, scale: float, zero_point: int, dtype: DType = quint8, qscheme: qscheme = per_tensor_affine, quant_min: int = 0,
        quant_max: int = 255, is_dynamic: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        super().__init__(dtype, is_dynamic)
        self.quant_min, self.quant_max, self.qscheme = quant_min, quant_max, qscheme
        self.register_buffer("scale", tensor([scale], dtype=float32))
        self.register_buffer("zero_point", tensor([zero_point], dtype=int32))

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803  # PyTorch's name
        """X."""
        return X

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """What is known."""
        return self.scale, self.zero_point


default_observer = MinMaxObserver.with_args(quant_min=0, quant_max=127)
default_placeholder_observer = PlaceholderObserver
default_weight_observer = MinMaxObserver.with_args(dtype=qint8, qscheme=per_tensor_symmetric)
weight_observer_range_neg_127_to_127 = MinMaxObserver.with_args(dtype=qint8, qscheme=per_tensor_symmetric, quant_min=-127, quant_max=127, eps=2**-12)
default_per_channel_weight_observer = PerChannelMinMaxObserver.with_args(dtype=qint8, qscheme=per_channel_symmetric)
per_channel_weight_observer_range_neg_127_to_127 = PerChannelMinMaxObserver.with_args(
    dtype=qint8, qscheme=per_channel_symmetric, quant_min=-127, quant_max=127, eps=2**-12
)
default_dynamic_quant_observer = PlaceholderObserver.with_args(dtype=quint8, quant_min=0, quant_max=255, is_dynamic=True)
default_fixed_qparams_range_neg1to1_observer = FixedQParamsObserver.with_args(scale=2.0 / 256.0, zero_point=128, dtype=quint8)
default_fixed_qparams_range_0to1_observer = FixedQParamsObserver.with_args(scale=1.0 / 256.0, zero_point=0, dtype=quint8)
