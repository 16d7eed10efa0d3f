"""Settings: switches programs set once at their start: determinism, precision, default device, warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dialects import flags
from . import placement, recorder
from .creation import set_default_dtype
from .size import device, require


class _State:
    deterministic = False
    warn_only = False
    matmul_precision = "highest"
    convolution_tf32 = True
    warn_always = False
    interop_threads = 1


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Nothing to switch: reductions have a fixed order, whatever the number of threads."""
    _State.deterministic, _State.warn_only = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What ``use_deterministic_algorithms`` said last."""
    return _State.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether only a warning was asked for."""
    return _State.deterministic and _State.warn_only


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """``use_deterministic_algorithms`` by number or word: default, warn, error."""
    words = {"default": 0, "warn": 1, "error": 2}
    mode = words.get(debug_mode, debug_mode)
    if mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got {debug_mode}")
    use_deterministic_algorithms(mode > 0, warn_only=mode == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2: what ``set_deterministic_debug_mode`` takes."""
    return (1 if _State.warn_only else 2) if _State.deterministic else 0


def set_float32_matmul_precision(precision: str) -> None:
    """How float32 is multiplied: as it is (highest), or with fewer bits of mantissa where the machine has something faster for that.

    GPUs: TF32, 10 bits, on tensor cores (high, medium). CPUs with AMX: as the sum of two bf16 numbers, 16 bits (high), or as
    one, 8 bits (medium). Other CPUs always compute in float32. RuntimeError for an unknown word.
    """
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"{precision} is not one of highest, high, medium")
    _State.matmul_precision = precision
    _apply_precision()


def get_float32_matmul_precision() -> str:
    """What was asked for last."""
    return _State.matmul_precision


def allow_tf32_in_convolutions(allowed: bool) -> None:
    """False: float32 is multiplied as it is, whatever products may do. True, as at the start: convolutions do what products do."""
    _State.convolution_tf32 = bool(allowed)
    _apply_precision()


def convolutions_may_use_tf32() -> bool:
    """What was said last."""
    return _State.convolution_tf32


def _apply_precision() -> None:
    """What is pending is computed as it was asked for."""
    wanted = {"highest": "ieee", "high": "tf32", "medium": "bf16"}[_State.matmul_precision] if _State.convolution_tf32 else "ieee"
    if wanted == flags.f32.value or wanted == "tf32" and flags.f32.value == "3xtf32":
        return
    recorder.flush()
    flags.f32.value = wanted


def set_default_device(device: Any) -> None:
    """Where tensors are made when nobody says. None: on the CPU. NoDeviceError for a device that is not here."""
    placement.choose(require(device))


def get_default_device() -> device:
    """Where tensors are made when nobody says."""
    return placement.default()


def set_default_tensor_type(t: Any) -> None:
    """The default dtype, and whether tensors are made on the GPU, by the name of a tensor type. TypeError for integers."""
    from .tensor_types import named

    dtype, on_gpu = named(t)
    set_default_dtype(dtype)
    if on_gpu or placement.default().type == "cuda":
        placement.choose(require("cuda" if on_gpu else "cpu"))


def set_flush_denormal(mode: bool) -> bool:
    """False: denormal numbers are computed with."""
    return False


def set_warn_always(b: bool) -> None:
    """Noted: warnings are Python's, which decides how often each is shown."""
    _State.warn_always = bool(b)


def is_warn_always_enabled() -> bool:
    """What ``set_warn_always`` said last."""
    return _State.warn_always


def get_num_interop_threads() -> int:
    """Threads between operations: noted only."""
    return _State.interop_threads


def set_num_interop_threads(int: int) -> None:
    """Noted only: operations are recorded by one thread."""
    if int < 1:
        raise RuntimeError("Expected nthreads > 0 to be true, but got false.")
    _State.interop_threads = int


PUBLIC: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        use_deterministic_algorithms, are_deterministic_algorithms_enabled, is_deterministic_algorithms_warn_only_enabled,
        set_deterministic_debug_mode, get_deterministic_debug_mode, set_float32_matmul_precision,
        get_default_device, get_float32_matmul_precision, set_default_device, set_default_tensor_type, set_flush_denormal, set_warn_always,
        is_warn_always_enabled, get_num_interop_threads, set_num_interop_threads,
    )
}  # fmt: skip
