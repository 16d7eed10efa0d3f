"""torch.amp: autocast regions and the gradient scaler, as they behave on a machine without a GPU."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

from ..dialects.errors import UnsupportedError
from ..dialects.types import DTYPES, DType
from .grad_mode import no_grad
from .origin import origin, source_line
from .tensor import Tensor


class autocast:
    """A region (or decorated function) that computes in lower precision.

    For "cuda" it switches itself off with a warning, as PyTorch does without a GPU. UnsupportedError for "cpu": bfloat16
    regions are not there yet.
    """

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device, self.fast_dtype = device_type, dtype or DTYPES["float16" if device_type == "cuda" else "bfloat16"]
        if enabled and device_type == "cuda":
            warnings.warn("User provided device_type of 'cuda', but CUDA is not available. Disabling", stacklevel=2)
            enabled = False
        self._enabled = enabled

    def __enter__(self) -> autocast:
        if self._enabled:
            raise UnsupportedError(
                f"autocast on '{self.device}' is not supported", at=source_line(origin()),
                help="autocast(enabled=False), or convert the model with .to(torch.bfloat16)",
            )  # fmt: skip
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate: the whole function is the region."""

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside


class GradScaler:
    """Scales losses so that small gradients survive float16, and skips steps whose gradients overflowed.

    Switched off with a warning for "cuda", as in PyTorch without a GPU; then all methods hand through.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if enabled and device == "cuda":
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


def is_autocast_available(device_type: str) -> bool:
    """Whether regions of this device type can be switched on."""
    del device_type
    return False
