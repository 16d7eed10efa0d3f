"""QConfig: which observers a layer's activations and weight get."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...dialects.types import float16
from .fake_quantize import (
    FakeQuantize, FusedMovingAvgObsFakeQuantize, default_fake_quant, default_fused_per_channel_wt_fake_quant, default_fused_wt_fake_quant,
    default_per_channel_weight_fake_quant, default_weight_fake_quant,
)  # fmt: skip
from .histogram import HistogramObserver
from .observer import (
    MovingAverageMinMaxObserver, PlaceholderObserver, default_dynamic_quant_observer, default_observer, default_per_channel_weight_observer,
    default_weight_observer,
)  # fmt: skip


class QConfig(NamedTuple):
    """Factories of observers (or fake quantizers), for what a layer gives and for its weight."""

    activation: Any
    weight: Any


class QConfigDynamic(NamedTuple):
    """The same under an old name."""

    activation: Any = None
    weight: Any = None


default_qconfig = QConfig(default_observer, default_weight_observer)
default_per_channel_qconfig = QConfig(default_observer, default_per_channel_weight_observer)
default_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_weight_observer)
per_channel_dynamic_qconfig = QConfig(default_dynamic_quant_observer, default_per_channel_weight_observer)
float16_dynamic_qconfig = QConfig(PlaceholderObserver.with_args(dtype=float16, is_dynamic=True), PlaceholderObserver.with_args(dtype=float16))
float16_static_qconfig = QConfig(PlaceholderObserver.with_args(dtype=float16), PlaceholderObserver.with_args(dtype=float16))
default_qat_qconfig = QConfig(default_fake_quant, default_weight_fake_quant)

BACKENDS = ("fbgemm", "x86", "qnnpack", "onednn")


def _check_backend(backend: str, version: int, versions: tuple[int, ...]) -> None:
    if backend not in BACKENDS:
        raise AssertionError(f"backend: {backend} not supported. backend must be one of {list(BACKENDS)}")
    if version not in versions:
        raise AssertionError(f"Version number: {version} is not supported. Version number must be one of {versions}")


def get_default_qconfig(backend: str = "x86", version: int = 0) -> QConfig:
    """What ``prepare`` uses for a backend. AssertionError for others."""
    _check_backend(backend, version, (0,))
    weight = default_weight_observer if backend == "qnnpack" else default_per_channel_weight_observer
    return QConfig(HistogramObserver.with_args(reduce_range=backend in ("fbgemm", "x86")), weight)


def get_default_qat_qconfig(backend: str = "x86", version: int = 1) -> QConfig:
    """What ``prepare_qat`` uses for a backend. AssertionError for others."""
    _check_backend(backend, version, (0, 1))
    kind = FusedMovingAvgObsFakeQuantize if version else FakeQuantize
    weights = (default_fused_wt_fake_quant, default_fused_per_channel_wt_fake_quant) if version else (default_weight_fake_quant, default_per_channel_weight_fake_quant)
    reduced = {} if backend == "onednn" else {"reduce_range": backend in ("fbgemm", "x86")}
    activation = kind.with_args(observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, **reduced)
    return QConfig(activation, weights[backend != "qnnpack"])


def qconfig_equals(q1: Any, q2: Any) -> bool:
    """Whether both make the same observers."""
    if not isinstance(q1, QConfig) or not isinstance(q2, QConfig):
        return q1 == q2
    return all(_same(a, b) for a, b in zip(q1, q2, strict=True))


def _same(a: Any, b: Any) -> bool:
    if hasattr(a, "p") and hasattr(b, "p"):
        return a.p.func is b.p.func and a.p.keywords == b.p.keywords
    return a is b
