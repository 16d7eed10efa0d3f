"""torch.ao.quantization (alias torch.quantization): the public names."""

from __future__ import annotations

from .fake_quantize import (
    FakeQuantize, FakeQuantizeBase, FixedQParamsFakeQuantize, FusedMovingAvgObsFakeQuantize, default_dynamic_fake_quant, default_fake_quant,
    default_fixed_qparams_range_0to1_fake_quant, default_fixed_qparams_range_neg1to1_fake_quant, default_fused_act_fake_quant,
    default_fused_per_channel_wt_fake_quant, default_fused_wt_fake_quant, default_histogram_fake_quant, default_per_channel_weight_fake_quant,
    default_weight_fake_quant, disable_fake_quant, disable_observer, enable_fake_quant, enable_observer,
)  # fmt: skip
from .fuse_modules import fuse_modules, fuse_modules_qat
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
    float16_static_qconfig, default_qat_qconfig, get_default_qat_qconfig, get_default_qconfig, per_channel_dynamic_qconfig, qconfig_equals,
)  # fmt: skip
from .quantize import (
    add_quant_dequant, convert, prepare, prepare_qat, propagate_qconfig_, quantize, quantize_dynamic, quantize_qat, swap_module,
)  # fmt: skip
from .stubs import DeQuantStub, QuantStub, QuantWrapper

__all__ = sorted(name for name in dir() if not name.startswith("_") and name != "annotations")
