"""torch.amp: autocast regions and the gradient scaler."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from ..dialects.types import DType
from .autocasting import regions
from .dtype_arguments import dtype_given
from .grad_mode import no_grad
from .tensor import Tensor


class autocast:
    """A region (or decorated function) whose products are computed in lower precision, by the rules of `autocasting.py`.

    device_type "cpu" (bfloat16 unless said) or "cuda" (float16; without a GPU it switches itself off with a warning, as PyTorch
    does). Regions nest; ``enabled=False`` is a part in full precision.
    """

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if device_type not in regions.chosen:
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self.device = device_type
        self.fast_dtype = regions.chosen[device_type] if dtype is None else dtype_given(dtype)
        if enabled and device_type == "cuda" and not has_gpu():
            warnings.warn("User provided device_type of 'cuda', but CUDA is not available. Disabling", stacklevel=2)
            enabled = False
        if enabled and self.fast_dtype.name not in ("bfloat16", "float16"):
            warnings.warn(
                f"In {device_type.upper()} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{device_type.upper()} Autocast only supports dtype of torch.bfloat16, torch.float16 currently.", stacklevel=2,
            )  # fmt: skip
            enabled = False
        self._enabled = enabled
        self._before: list[DType | None] = []

    def __enter__(self) -> autocast:
        self._before.append(regions.on.get(self.device))
        _switch(self.device, self.fast_dtype if self._enabled else None)
        return self

    def __exit__(self, *error: object) -> None:
        _switch(self.device, self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate: the whole function is the region."""

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside


def _switch(device: str, dtype: DType | None) -> None:
    if dtype is None:
        regions.on.pop(device, None)
    else:
        regions.on[device] = dtype


def has_gpu() -> bool:
    """Whether there is a GPU to compute on."""
    from ..backends import driver

    return driver.has_accelerator()


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether the code runs inside a region for this device."""
    return device_type in regions.on


def get_autocast_dtype(device_type: str) -> DType:
    """What products are computed in inside a region that names no dtype."""
    return regions.on.get(device_type, regions.chosen[device_type])


def set_autocast_dtype(device_type: str, dtype: DType) -> None:
    """Choose it."""
    regions.chosen[device_type] = dtype


def set_autocast_enabled(device_type: str | bool, enabled: bool | None = None) -> None:
    """Switch a region on or off until it is switched again; without a device type that of GPUs."""
    if not isinstance(device_type, str):
        device_type, enabled = "cuda", device_type
    _switch(device_type, regions.chosen[device_type] if enabled else None)


def is_autocast_cache_enabled() -> bool:
    """True: equal casts of a weight are made once, by the compiler."""
    return True


def clear_autocast_cache() -> None:
    """Nothing to do: casts are steps of the program."""


def is_autocast_cpu_enabled() -> bool:
    """Whether the code runs inside a region for the CPU."""
    return is_autocast_enabled("cpu")


def get_autocast_cpu_dtype() -> DType:
    """`get_autocast_dtype` of the CPU."""
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> DType:
    """`get_autocast_dtype` of GPUs."""
    return get_autocast_dtype("cuda")


def set_autocast_cpu_dtype(dtype: DType) -> None:
    """`set_autocast_dtype` of the CPU."""
    set_autocast_dtype("cpu", dtype)


def set_autocast_gpu_dtype(dtype: DType) -> None:
    """`set_autocast_dtype` of GPUs."""
    set_autocast_dtype("cuda", dtype)


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """`set_autocast_enabled` of the CPU."""
    set_autocast_enabled("cpu", enabled)


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Nothing to switch: the compiler makes equal casts once."""


_nested = 0


def autocast_increment_nesting() -> int:
    """One more region that a program opens by hand: how many there are."""
    global _nested
    _nested += 1
    return _nested


def autocast_decrement_nesting() -> int:
    """One less."""
    global _nested
    _nested -= 1
    return _nested


def is_autocast_available(device_type: str) -> bool:
    """Whether regions of this device type can be switched on."""
    return device_type == "cpu" or device_type == "cuda" and has_gpu()


def custom_fwd(fwd: Callable | None = None, *, device_type: str = "cuda", cast_inputs: DType | None = None) -> Callable:
    """Decorate an autograd.Function's forward: it runs as the region says, or with inputs cast and no region inside."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def inside(*args: Any, **kwargs: Any) -> Any:
        args[0]._fwd_used_autocast = is_autocast_enabled(device_type)
        if cast_inputs is None or not args[0]._fwd_used_autocast:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            args[0]._fwd_used_autocast = False
            cast = [_cast(a, cast_inputs) for a in args[1:]]
            return fwd(args[0], *cast, **{k: _cast(v, cast_inputs) for k, v in kwargs.items()})

    return inside


def custom_bwd(bwd: Callable | None = None, *, device_type: str = "cuda") -> Callable:
    """Decorate its backward: it runs as its forward did."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def inside(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        before = regions.on.get(device_type)
        _switch(device_type, regions.chosen[device_type] if ctx._fwd_used_autocast else None)
        try:
            return bwd(ctx, *args, **kwargs)
        finally:
            _switch(device_type, before)

    return inside


def _cast(value: Any, dtype: DType) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype.name != "float64":
        return value.to(dtype)
    return value


class GradScaler:
    """Scales losses so that small gradients survive float16, and skips steps whose gradients overflowed.

    Switched off with a warning for "cuda", as in PyTorch without a GPU; then all methods hand through.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if enabled and device == "cuda" and not has_gpu():
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2
            )
            enabled = False
        self._enabled, self._scale, self._steps_since_growth = enabled, float(init_scale), 0
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._unscaled: dict[int, bool] = {}  # optimizers seen since the last update -> whether their gradients overflowed

    def scale(self, outputs: Any) -> Any:
        """Tensors, or containers of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        return type(outputs)(self.scale(part) for part in outputs)

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of an optimizer by the scale, once per step."""
        if not self._enabled:
            return
        if id(optimizer) in self._unscaled:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        with no_grad():
            for gradient in gradients:
                gradient.mul_(1.0 / self._scale)
            bad = any([not math.isfinite(g.sum().item()) and not bool(g.isfinite().all().item()) for g in gradients])
        self._unscaled[id(optimizer)] = bad

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """The optimizer's step, skipped when a gradient is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)
        return None if self._unscaled[id(optimizer)] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Grow the scale after enough good steps, shrink it after a bad one."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif any(self._unscaled.values()):
            self._scale, self._steps_since_growth = self._scale * self._backoff, 0
        else:
            self._steps_since_growth += 1
            if self._steps_since_growth == self._interval:
                self._scale, self._steps_since_growth = self._scale * self._growth, 0
        self._unscaled.clear()

    def get_scale(self) -> float:
        """The scale; 1 when switched off."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; empty when switched off."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff,
            "growth_interval": self._interval, "_growth_tracker": self._steps_since_growth,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """RuntimeError when the state is of a scaler that was switched off."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale, self._growth = state_dict["scale"], state_dict["growth_factor"]
        self._backoff, self._interval = state_dict["backoff_factor"], state_dict["growth_interval"]
        self._steps_since_growth = state_dict["_growth_tracker"]
