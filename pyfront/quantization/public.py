"""torch.ao.quantization (alias torch.quantization): the public names."""

from __future__ import annotations

from .histogram import HistogramObserver
from .observer import (
    FixedQParamsObserver, MinMaxObserver, MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver, NoopObserver, ObserverBase,
    PerChannelMinMaxObserver, PlaceholderObserver, UniformQuantizationObserverBase, default_dynamic_quant_observer,
    default_fixed_qparams_range_0to1_observer, default_fixed_qparams_range_neg1to1_observer, default_observer,
    default_per_channel_weight_observer, default_placeholder_observer, default_weight_observer,
    per_channel_weight_observer_range_neg_127_to_127, weight_observer_range_neg_127_to_127,
)  # fmt: skip
from .qconfig import (
    QConfig, QConfigDynamic, default_dynamic_qconfig, default_per_channel_qconfig, default_qconfig, float16_dynamic_qconfig,
    float16_static_qconfig, get_default_qconfig, per_channel_dynamic_qconfig, qconfig_equals,
)  # fmt: skip
from .quantize import convert, propagate_qconfig_, quantize_dynamic, swap_module

__all__ = sorted(name for name in dir() if not name.startswith("_") and name != "annotations")
