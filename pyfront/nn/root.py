"""Functions of torch.nn.functional that PyTorch also offers at the root, some with other arguments."""

from __future__ import annotations

from typing import Any

from ..precision import in_single
from ..tensor import Tensor
from .. import recorder
from . import functional as F
from .functional import (  # noqa: F401  # public here too
    adaptive_avg_pool1d, adaptive_max_pool1d, alpha_dropout, avg_pool1d, bilinear, celu, channel_shuffle, conv1d, conv2d,
    conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, cosine_similarity, feature_alpha_dropout, group_norm,
    hardshrink, max_pool1d, max_pool2d, max_pool3d, pairwise_distance, pixel_shuffle, pixel_unshuffle, prelu, rms_norm,
    rrelu, selu, threshold,
)  # fmt: skip

_REDUCTIONS = ("none", "mean", "sum")


def constant_pad_nd(input: Tensor, pad: Any, value: float = 0) -> Tensor:
    """``nn.functional.pad`` with a number."""
    return F.pad(input, pad, "constant", value)


def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    """``nn.functional.layer_norm``."""
    return F.layer_norm(input, normalized_shape, weight, bias, eps)


def batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    training: bool, momentum: float, eps: float, cudnn_enabled: bool = False,
) -> Tensor:  # fmt: skip
    """``nn.functional.batch_norm``, its arguments in another order."""
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _half_of(x: Tensor, weight: Tensor | None) -> Any:
    """The dtype of statistics: the input's, unless parameters beside it are wider."""
    return x.dtype if weight is None else weight.dtype


def _statistics(x: Tensor, dims: tuple[int, ...], eps: float, dtype: Any) -> tuple[Tensor, Tensor]:
    """Mean and 1 / root of the variance over dimensions that stay."""
    wide = x if x.dtype.name in ("float32", "float64") else x.float()
    mean = wide.mean(dims, keepdim=True)
    rstd = ((wide - mean) ** 2).mean(dims, keepdim=True).add(eps).rsqrt()
    return mean.to(dtype), rstd.to(dtype)


def native_layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``layer_norm``, and what it was computed with: means and 1 / standard deviations."""
    shape = tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got normalized_shape = []"
        )
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None and tuple(given.shape) != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(given.shape)} and "
                f"normalized_shape = {list(shape)}"
            )
    y = F.layer_norm(input, shape, weight, bias, eps)
    return y, *_statistics(input.detach(), tuple(range(-len(shape), 0)), eps, _half_of(input, weight))


def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int, eps: float  # noqa: N803  # PyTorch's names
) -> tuple[Tensor, Tensor, Tensor]:
    """``group_norm``, and what it was computed with: means and 1 / standard deviations [N, group]."""
    y = F.group_norm(input, group, weight, bias, eps)
    mean, rstd = _statistics(input.reshape(N, group, C // group * HxW), (2,), eps, _half_of(input, weight))
    return y, mean.squeeze(2), rstd.squeeze(2)


def native_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    training: bool, momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """``batch_norm``, and in training what it was computed with: means and 1 / standard deviations [c]."""
    y = F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        return y, input.new_empty(0), input.new_empty(0)
    mean, rstd = _statistics(input.detach(), tuple(d for d in range(input.dim()) if d != 1), eps, _half_of(input, weight))
    return y, mean.reshape(-1), rstd.reshape(-1)


@in_single
def _softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: Any) -> Tensor:
    """What arrives at the input of a softmax, given its result."""
    weighed = grad_output * output
    return (weighed - output * weighed.sum(dim, keepdim=True)).to(input_dtype)


@in_single
def _log_softmax_backward_data(grad_output: Tensor, output: Tensor, dim: int, input_dtype: Any) -> Tensor:
    """What arrives at the input of a log_softmax, given its result."""
    return (grad_output - output.exp() * grad_output.sum(dim, keepdim=True)).to(input_dtype)


def instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool = False,
) -> Tensor:  # fmt: skip
    """``nn.functional.instance_norm``, its arguments in another order."""
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """``nn.functional.dropout``."""
    return F.dropout(input, p, train)


def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """``nn.functional.dropout2d``: whole channels."""
    return F.dropout2d(input, p, train)


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """``nn.functional.embedding``, the table first."""
    return F.embedding(indices, weight, None if padding_idx < 0 else padding_idx, None, 2.0, scale_grad_by_freq, sparse)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = 1
) -> Tensor:
    """``nn.functional.binary_cross_entropy_with_logits``; reductions are numbers here."""
    return F.binary_cross_entropy_with_logits(
        input, target, weight, reduction=_REDUCTIONS[reduction], pos_weight=pos_weight
    )


def kl_div(input: Tensor, target: Tensor, reduction: int = 1, *, log_target: bool = False) -> Tensor:
    """``nn.functional.kl_div``; reductions are numbers here."""
    return F.kl_div(input, target, reduction=_REDUCTIONS[reduction], log_target=log_target)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """``nn.functional.cosine_embedding_loss``; reductions are numbers here."""
    return F.cosine_embedding_loss(input1, input2, target, margin, reduction=_REDUCTIONS[reduction])


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 1) -> Tensor:
    """``nn.functional.hinge_embedding_loss``; reductions are numbers here."""
    return F.hinge_embedding_loss(input, target, margin, reduction=_REDUCTIONS[reduction])


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """``nn.functional.margin_ranking_loss``; reductions are numbers here."""
    return F.margin_ranking_loss(input1, input2, target, margin, reduction=_REDUCTIONS[reduction])


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int
) -> Tensor:
    """``nn.functional.poisson_nll_loss``; reductions are numbers here."""
    return F.poisson_nll_loss(input, target, log_input, full, eps=eps, reduction=_REDUCTIONS[reduction])


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, reduction: int = 1,
) -> Tensor:  # fmt: skip
    """``nn.functional.triplet_margin_loss``; reductions are numbers here."""
    return F.triplet_margin_loss(
        anchor, positive, negative, margin, p, eps, swap, reduction=_REDUCTIONS[reduction]
    )


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: int = 1,
    zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """``nn.functional.ctc_loss``; reductions are numbers here."""
    return F.ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, _REDUCTIONS[reduction], zero_infinity
    )


def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
    per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """``nn.functional.embedding_bag``, the table first; modes are numbers here (sum, mean, max)."""
    return F.embedding_bag(
        indices, weight, offsets, None, 2.0, scale_grad_by_freq, ("sum", "mean", "max")[mode], sparse, per_sample_weights,
        include_last_offset, padding_idx,
    )  # fmt: skip


def _sampled(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """``nn.functional.grid_sample``; modes are numbers here."""
    kind = ("bilinear", "nearest", "bicubic")[interpolation_mode]
    return F.grid_sample(input, grid, kind, ("zeros", "border", "reflection")[padding_mode], align_corners)


grid_sampler = grid_sampler_2d = grid_sampler_3d = _sampled


def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """``nn.functional.affine_grid``."""
    return F.affine_grid(theta, size, align_corners)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """``nn.functional.pdist``."""
    return F.pdist(input, p)


def _in_place(function: Any) -> Any:
    def apply(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return recorder.state.in_place(input, lambda args, options: function(*args, **options)._read(), args, options, -1, None)

    apply.__doc__ = f"``{function.__name__}``, written into its input."
    return apply


threshold_, celu_, selu_, rrelu_, dropout_, feature_dropout_, alpha_dropout_, feature_alpha_dropout_ = [
    _in_place(f)
    for f in (threshold, celu, selu, rrelu, dropout, feature_dropout, alpha_dropout, feature_alpha_dropout)
]
