"""Fake quantizers: modules that observe numbers and round them to those that integers stand for."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...dialects.types import float32, int32
from ..creation import tensor, zeros
from ..nn.module import Module
from ..tensor import Tensor
from .dtypes import per_channel_symmetric, per_tensor_affine, per_tensor_symmetric, qint8, quint8
from .fake_quantization import fake_quantize_per_channel_affine, fake_quantize_per_tensor_affine
from .histogram import HistogramObserver
from .observer import (
    MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver, _PartialWrapper, default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
)  # fmt: skip
from .quantizing import observed_parameters


class FakeQuantizeBase(Module):
    """Base of fake quantizers: what is observed, and whether that and the rounding are switched on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fake_quant_enabled", tensor([1]).byte())
        self.register_buffer("observer_enabled", tensor([1]).byte())
        self._on = {"fake_quant_enabled": True, "observer_enabled": True}  # the same on the host

    def _switch(self, name: str, enabled: bool) -> None:
        getattr(self, name).fill_(int(enabled))
        self._on[name] = bool(enabled)

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Whether numbers are rounded."""
        self._switch("fake_quant_enabled", enabled)

    def disable_fake_quant(self) -> None:
        """Numbers pass."""
        self.enable_fake_quant(False)

    def enable_observer(self, enabled: bool = True) -> None:
        """Whether numbers are observed."""
        self._switch("observer_enabled", enabled)

    def disable_observer(self) -> None:
        """Scale and zero point stay."""
        self.enable_observer(False)

    @classmethod
    def with_args(cls, **kwargs: Any) -> _PartialWrapper:
        """A factory with these arguments."""
        return _PartialWrapper(partial(cls, **kwargs))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *more: Any) -> None:
        for name in ("scale", "zero_point"):
            held, found = getattr(self, name, None), state_dict.get(prefix + name)
            if held is not None and found is not None and held.shape != found.shape:  # as many channels as there are in the file
                setattr(self, name, zeros(found.shape, dtype=held.dtype))
        super()._load_from_state_dict(state_dict, prefix, *more)
        self._on = {name: bool(getattr(self, name).item()) for name in self._on}


class FakeQuantize(FakeQuantizeBase):
    """Observes numbers and rounds them to those that integers of the scale found stand for.

    observer: a class or factory; what else is given are its arguments.
    """

    def __init__(
        self, observer: Any = MovingAverageMinMaxObserver, quant_min: int | None = None, quant_max: int | None = None, is_dynamic: bool = False,
        **observer_kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if quant_min is not None and quant_max is not None:
            if quant_min > quant_max:
                raise AssertionError("quant_min must be less than or equal to quant_max")
            dtype = getattr(getattr(observer, "p", None), "keywords", {}).get("dtype", observer_kwargs.get("dtype", quint8))
            if dtype.limits[0] > quant_min or dtype.limits[1] < quant_max:
                raise AssertionError("quant_min out of bound" if dtype.limits[0] > quant_min else "quant_max out of bound")
            observer_kwargs |= {"quant_min": quant_min, "quant_max": quant_max}
        self.activation_post_process = made = observer(**observer_kwargs, is_dynamic=is_dynamic)
        self.quant_min, self.quant_max, self.is_dynamic = made.quant_min, made.quant_max, made.is_dynamic
        self.register_buffer("scale", tensor([1.0], dtype=float32))
        self.register_buffer("zero_point", tensor([0], dtype=int32))
        self.dtype, self.qscheme, self.ch_axis = made.dtype, made.qscheme, getattr(made, "ch_axis", -1)
        self.is_per_channel = "channel" in self.qscheme.name

    def calculate_qparams(self, **_: Any) -> Any:
        """Scale and zero point of what was observed."""
        return self.activation_post_process.calculate_qparams()

    def _found(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point to round with."""
        return self.calculate_qparams()

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803  # PyTorch's name
        """Observes and rounds, as far as both are switched on."""
        if self._on["observer_enabled"]:
            self.activation_post_process(X.detach())
            scale, zero_point = self._found()
            if self.scale.shape != scale.shape:
                self.scale, self.zero_point = zeros(scale.shape, dtype=float32), zeros(scale.shape, dtype=int32)
            self.scale.copy_(scale)
            self.zero_point.copy_(zero_point)
        if not self._on["fake_quant_enabled"]:
            return X
        observed = self.activation_post_process
        if self.is_per_channel:
            return fake_quantize_per_channel_affine(X, self.scale, self.zero_point, self.ch_axis, observed.quant_min, observed.quant_max)
        return fake_quantize_per_tensor_affine(X, self.scale, self.zero_point, observed.quant_min, observed.quant_max)

    def extra_repr(self) -> str:
        """Switches, range and what was found."""
        observed = self.activation_post_process
        return (
            f"fake_quant_enabled={self.fake_quant_enabled}, observer_enabled={self.observer_enabled}, "
            f"quant_min={observed.quant_min}, quant_max={observed.quant_max}, dtype={self.dtype}, "
            f"qscheme={self.qscheme}, ch_axis={self.ch_axis}, scale={self.scale}, zero_point={self.zero_point}"
        )


class FixedQParamsFakeQuantize(FakeQuantize):
    """Rounds with a scale and a zero point that are known."""

    def __init__(self, observer: Any) -> None:
        super().__init__(observer=observer)
        scale, zero_point = self.activation_post_process.calculate_qparams()
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def extra_repr(self) -> str:
        """Switches, range and what is known."""
        return (
            f"fake_quant_enabled={self.fake_quant_enabled}, observer_enabled={self.observer_enabled}, "
            f"scale={self.scale}, zero_point={self.zero_point}, dtype={self.dtype}, "
            f"quant_min={self.quant_min}, quant_max={self.quant_max}, qscheme={self.qscheme}"
        )


class FusedMovingAvgObsFakeQuantize(FakeQuantize):
    """`FakeQuantize` with an observer of moving averages, whose extremes give scale and zero point as fbgemm chooses them: symmetric ones
    reach -128 or 127, whichever is nearer. (PyTorch has one kernel for it; here every program is compiled as a whole.)"""

    def _found(self) -> tuple[Tensor, Tensor]:
        observed = self.activation_post_process
        low, high, levels = observed.min_val.reshape(-1), observed.max_val.reshape(-1), observed.quant_max - observed.quant_min
        if self.qscheme not in (per_channel_symmetric, per_tensor_symmetric):
            scale, point = observed_parameters(low, high, levels)
            return scale.to(float32), (point + observed.quant_min).to(int32)
        both = (low < 0) & (high > 0)
        unit = (low.double() / -(levels // 2 + 1)).maximum(high.double() / (levels // 2))
        scale, point = observed_parameters((unit * -(levels // 2 + 1)).where(both, low.double()), (unit * (levels // 2)).where(both, high.double()), levels)
        return scale.to(float32), (point + observed.quant_min).masked_fill(both, 0.0).to(int32)


def _switched(method: str) -> Any:
    def switch(mod: Any) -> None:
        if isinstance(mod, FakeQuantizeBase):
            getattr(mod, method)()

    switch.__name__ = method
    switch.__doc__ = f"For ``model.apply``: ``{method}()`` of fake quantizers."
    return switch


disable_fake_quant, enable_fake_quant = _switched("disable_fake_quant"), _switched("enable_fake_quant")
disable_observer, enable_observer = _switched("disable_observer"), _switched("enable_observer")

_OF_BYTES: dict[str, Any] = {"quant_min": 0, "quant_max": 255, "dtype": quint8}
_OF_WEIGHTS: dict[str, Any] = {"quant_min": -128, "quant_max": 127, "dtype": qint8}
default_fake_quant = FakeQuantize.with_args(observer=MovingAverageMinMaxObserver, qscheme=per_tensor_affine, reduce_range=True, **_OF_BYTES)
default_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, qscheme=per_tensor_symmetric, reduce_range=False, **_OF_WEIGHTS
)
default_per_channel_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, qscheme=per_channel_symmetric, reduce_range=False, ch_axis=0, **_OF_WEIGHTS
)
default_dynamic_fake_quant = FakeQuantize.with_args(observer=MovingAverageMinMaxObserver, is_dynamic=True, averaging_constant=1, **_OF_BYTES)
default_histogram_fake_quant = FakeQuantize.with_args(observer=HistogramObserver, qscheme=per_tensor_affine, reduce_range=True, **_OF_BYTES)
default_fused_act_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(observer=MovingAverageMinMaxObserver, **_OF_BYTES)
default_fused_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, qscheme=per_tensor_symmetric, **_OF_WEIGHTS
)
default_fused_per_channel_wt_fake_quant = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, qscheme=per_channel_symmetric, **_OF_WEIGHTS
)
default_fixed_qparams_range_neg1to1_fake_quant = FixedQParamsFakeQuantize.with_args(observer=default_fixed_qparams_range_neg1to1_observer)
default_fixed_qparams_range_0to1_fake_quant = FixedQParamsFakeQuantize.with_args(observer=default_fixed_qparams_range_0to1_observer)
