"""torch.nn.functional: the public names."""

from __future__ import annotations

from types import FunctionType

from .. import overrides as _overrides  # not under its name: layers look functions up here
from ..known_calls import known as _known
from ..quantization.forms import NAMES, has_quantized_form
from .functions.activation import (
    celu, celu_, elu, elu_, gelu, glu, gumbel_softmax, hardshrink, hardsigmoid, hardswish, hardtanh, hardtanh_, leaky_relu,
    leaky_relu_, log_softmax, logsigmoid, mish, prelu, relu, relu6, relu_, rrelu, rrelu_, selu, selu_, sigmoid, silu, softmax,
    softmin, softplus, softshrink, softsign, tanh, tanhshrink, threshold, threshold_,
)  # fmt: skip
from .functions.attention import multi_head_attention_forward, scaled_dot_product_attention
from .functions.convolution import (
    conv1d, conv2d, conv3d, conv_tbc, conv_transpose1d, conv_transpose2d, conv_transpose3d, pad,
)  # fmt: skip
from .functions.ctc import ctc_loss
from .functions.distance import (
    cosine_embedding_loss, cosine_similarity, pairwise_distance, pdist, triplet_margin_loss, triplet_margin_with_distance_loss,
)  # fmt: skip
from .functions.dropping import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from .functions.embedding import embedding, embedding_bag
from .functions.fractional import (
    fractional_max_pool2d, fractional_max_pool2d_with_indices, fractional_max_pool3d, fractional_max_pool3d_with_indices,
)  # fmt: skip
from .functions.linear import bilinear, linear, one_hot
from .functions.loss import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, gaussian_nll_loss, linear_cross_entropy,
    huber_loss, kl_div, l1_loss, mse_loss, multilabel_soft_margin_loss, nll_loss, poisson_nll_loss,
    smooth_l1_loss, soft_margin_loss,
)  # fmt: skip
from .functions.margins import hinge_embedding_loss, margin_ranking_loss, multi_margin_loss, multilabel_margin_loss
from .functions.normalization import (
    batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, normalize, rms_norm,
)  # fmt: skip
from .functions.pooling import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d, adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d, adaptive_max_pool2d_with_indices, adaptive_max_pool3d, adaptive_max_pool3d_with_indices, avg_pool1d,
    avg_pool2d, avg_pool3d, lp_pool1d, lp_pool2d, lp_pool3d, max_pool1d, max_pool1d_with_indices, max_pool2d,
    max_pool2d_with_indices, max_pool3d, max_pool3d_with_indices, max_unpool1d, max_unpool2d, max_unpool3d,
)  # fmt: skip
from .functions.rearranging import channel_shuffle, fold, pixel_shuffle, pixel_unshuffle, unfold
from .functions.resampling import affine_grid, grid_sample, interpolate, upsample, upsample_bilinear, upsample_nearest

for _name, _function in [(name, value) for name, value in globals().items() if isinstance(value, FunctionType) and value not in (_known, has_quantized_form)]:
    globals()[_name] = _known(_function)
    globals()[_name].__module__, globals()[_name].__qualname__ = __name__, _name  # which pickles refer to
globals().update({name: has_quantized_form(f, name, __name__) for name in NAMES if (f := globals().get(name)) is not None})
swish = silu
native_channel_shuffle = channel_shuffle



@_overrides.when_on
def _ask_classes() -> None:
    """Layers look functions up here: classes are asked about each as one."""
    globals().update({name: _overrides.overridable(globals()[name]) for name in __all__ if callable(globals()[name])})


__all__ = sorted(name for name in dir() if not name.startswith("_") and name not in ("annotations", "functions", "FunctionType", "NAMES", "has_quantized_form"))
