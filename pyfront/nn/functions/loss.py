"""Losses, with PyTorch's reductions."""

from __future__ import annotations

import math
import warnings
from functools import partial

import numpy as np

from ....dialects.errors import DTypeError, ShapeError
from ....dialects.types import DTYPES, DType, int64, promote_types, show_type
from ...autocasting import autocasts
from ... import recorder
from ...assignment import title
from ...doubts import ask, refuse_outside
from ...origin import origin, source_line
from ...promote import broadcast_shape
from ...precision import in_single
from ...tensor import Tensor, wrap
from .activation import log_softmax
from .applying import apply, filled, reduced
from .linear import linear

_largest = np.maximum.reduce
_FEW = 256  # numbers that are looked through sooner than numpy's reductions, which no step uses before, are in the caches


def reduction_of(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """The old size_average and reduce arguments, in today's words."""
    if size_average is None and reduce is None:
        if reduction not in ("mean", "sum", "none", "batchmean"):
            raise ValueError(f"{reduction} is not a valid value for reduction")
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _labelled(loss: Tensor, label: str) -> Tensor:
    loss._label = label
    return loss


def _weighted(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    return reduced(loss if weight is None else loss * weight, reduction)


@autocasts("mse_loss")
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(input - target) ** 2. DTypeError for complex numbers."""
    if input.dtype.is_complex or target.dtype.is_complex:
        raise DTypeError(f"mse_loss needs real numbers, got {input.dtype.name} and {target.dtype.name}", at=source_line(origin()))
    reduction = reduction_of(reduction, size_average, reduce)
    _warn_of_broadcast(input, target)
    if reduction == "mean" and weight is None and input._type == target._type and input.is_floating_point():
        return apply("mse_loss", (input, target))
    difference = input - target
    return _labelled(_weighted(difference * difference, weight, reduction), "mse_loss")


@autocasts("l1_loss")
def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """|input - target|."""
    _warn_of_broadcast(input, target)
    return _weighted((input - target).abs(), weight, reduction_of(reduction, size_average, reduce))


@autocasts("smooth_l1_loss")
def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Squared within beta of the target, absolute beyond."""
    if beta < 0:
        raise ValueError("smooth_l1_loss does not support negative values for beta")
    if beta == 0.0:
        return l1_loss(input, target, size_average, reduce, reduction)
    e = input - target
    z = e.abs()
    loss = apply("select", (z < beta, e * e * (0.5 / beta), z - 0.5 * beta))
    return _labelled(reduced(loss, reduction_of(reduction, size_average, reduce)), "smooth_l1_loss")


@autocasts("huber_loss")
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """delta times smooth_l1_loss with beta = delta."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    loss = apply("huber", _alike(input, target), (delta,))
    return _labelled(_weighted(loss, weight, reduction), "huber_loss")


def _warn_of_broadcast(input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        recorder.state.asked += 1  # the next call says it again
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
            "lead to incorrect results due to broadcasting. Please ensure they have the same size.", stacklevel=4,
        )  # fmt: skip


def _alike(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both of one shape and dtype."""
    if input._type == target._type:
        return input, target
    dtype = promote_types(input.dtype, target.dtype)
    shape = broadcast_shape(tuple(input.shape), tuple(target.shape))
    return input.to(dtype).expand(shape), target.to(dtype).expand(shape)


def _check_same_size(input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size."
        )


@autocasts("binary_cross_entropy")
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-(t log p + (1 - t) log(1 - p)), each logarithm at least -100."""
    _check_same_size(input, target)
    loss = apply("binary_cross_entropy", _alike(input, target))
    loss = _weighted(loss, weight, reduction_of(reduction, size_average, reduce))
    return _labelled(loss, "binary_cross_entropy")


@autocasts("binary_cross_entropy_with_logits")
@in_single
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """binary_cross_entropy of sigmoid(input), without overflow."""
    if input.shape != target.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if pos_weight is None:
        loss = apply("binary_cross_entropy_with_logits", _alike(input, target))
    else:
        log_p = apply("log_sigmoid", (input,))
        loss = (1.0 - target) * input - ((pos_weight - 1.0) * target + 1.0) * log_p
    loss = _weighted(loss, weight, reduction_of(reduction, size_average, reduce))
    return _labelled(loss, "binary_cross_entropy_with_logits")


def _check_classes(input: Tensor, target: Tensor) -> None:
    (sizes, _), (given, dtype) = input._node.type, target._node.type
    if sizes and given == (sizes[:1] + sizes[2:])[: len(sizes) - 1] and dtype.kind in "iu":
        return
    facts = [
        ("input", show_type(input._type), input._node.origin), ("target", show_type(target._type), target._node.origin),
    ]  # fmt: skip
    if dtype.kind not in "iu":
        raise DTypeError(
            f"expected scalar type Long but found {title(target.dtype)}", facts, source_line(origin()),
            "class targets are int64 indices: target.long()",
        )  # fmt: skip
    raise ShapeError(
        f"Expected input batch_size ({sizes[0] if sizes else 1}) to match target batch_size ({given[0] if given else 1}).",
        facts, source_line(origin()), "input is [n, classes, ...], target is [n, ...]",
    )  # fmt: skip


@autocasts("nll_loss")
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Minus the log-probability [n, c, ...] of the target classes [n, ...]; `ignore_index` counts for nothing."""
    reduction = reduction_of(reduction, size_average, reduce)
    _check_classes(input, target)
    classes = 1 if input.dim() > 1 else 0
    hit = _hits(input, target, ignore_index, classes)
    share = _along(weight, input, classes).expand(input.shape) if weight is not None else None
    chosen = input if share is None else input * share
    loss = -apply("select", (hit, chosen, filled(input.shape, 0.0, input.dtype))).sum(classes)
    if reduction != "mean":
        return _labelled(reduced(loss, reduction), "nll_loss")
    return _labelled(loss.sum() / _total(hit, share, input.dtype), "nll_loss")


def _hits(input: Tensor, target: Tensor, ignore_index: int, classes: int) -> Tensor:
    """bool of input's shape: the class that is the target. An ignored target is no class."""
    _check_range(target, input.shape[classes], ignore_index)
    numbers = wrap(recorder.record("iota", (), (tuple(input.shape), classes, DTYPES["int64"])))
    index = target.to(DTYPES["int64"]).unsqueeze(classes).expand(input.shape)
    hit = apply("equal", (numbers, index))
    if 0 <= ignore_index < input.shape[classes]:
        hit = hit.logical_and(index != ignore_index)
    return hit


def _total(hit: Tensor, share: Tensor | None, dtype: DType) -> Tensor:
    """How much all the targets weigh."""
    if share is None:
        return hit.to(dtype).sum()
    return apply("select", (hit, share, filled(hit.shape, 0.0, dtype))).sum()


def _all_are_classes(target: Tensor, classes: int) -> bool:
    """True when the host knows the targets and none is ignored or out of range."""
    return ask(target._read(), partial(_known_to_be_classes, classes))


def _known_to_be_classes(classes: int, target: Node) -> bool:
    values = recorder.known(target)
    if values is None or not values.size:
        return False
    if values.size <= _FEW:
        numbers = values.ravel().tolist()
        return min(numbers) >= 0 and max(numbers) < classes
    return int(_largest(values.view(np.uint64), None)) < classes  # a negative one is huge


def _check_range(target: Tensor, classes: int, ignore_index: int) -> None:
    """IndexError for a class that is not there; for a computed one when it is computed."""
    where = source_line(origin())

    def error(number: int | None) -> IndexError:
        words = f"Target {number}" if number is not None else "A target"
        return IndexError(f"{words} is out of bounds.\n    at {where}")

    refuse_outside(target._read(), classes, error, ignore_index)


@autocasts("cross_entropy")
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """nll_loss of log_softmax(input); targets are class indices or probabilities of the classes."""
    reduction = reduction_of(reduction, size_average, reduce)
    (sizes, _), (given, dtype) = input._node.type, target._node.type
    plain = weight is None and label_smoothing == 0.0 and reduction == "mean" and dtype is int64
    nothing_ignored = len(sizes) == 2 and given == sizes[:1] and not 0 <= ignore_index < sizes[1]
    if plain and nothing_ignored and _all_are_classes(target, sizes[1]):
        return apply("cross_entropy", (input, target), (), "nll_loss")
    classes = 1 if len(sizes) > 1 else 0
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if not dtype.is_floating_point:
        _check_classes(input, target)
    elif ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    log_p = log_softmax(input, classes)
    if target.dtype.is_floating_point:
        return _soft_targets(log_p, target, weight, reduction, label_smoothing, classes)
    hard = nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction=reduction)
    if label_smoothing == 0.0:
        return hard
    return _smoothed(log_p, hard, target, weight, ignore_index, reduction, label_smoothing, classes)


def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None, weight: Tensor | None = None,
    reduction: str = "mean", ignore_index: int | None = None, label_smoothing: float = 0.0, options: Any = None,
) -> Tensor:  # fmt: skip
    """cross_entropy of a linear layer's results: of [n, d] by [c, ..., d] over c classes. options: what PyTorch cuts into chunks; the compiler decides that."""
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}")
    if input.shape[-1] != linear_weight.shape[-1]:
        raise RuntimeError(
            "expected equal input and linear_weight last dimensions (in_features), "
            f"got {input.shape[-1]} and {linear_weight.shape[-1]}, respectively"
        )
    rows = tuple(linear_weight.shape[:-1])
    if linear_bias is not None and tuple(linear_bias.shape) != rows:
        raise RuntimeError(f"expected linear_bias shape {rows}, got {tuple(linear_bias.shape)}")
    if len(rows) > 1 and input.dim() == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {input.shape[-1]}), got unbatched input with shape {tuple(input.shape)}"
        )
    flat = linear(input, linear_weight.reshape(-1, input.shape[-1]), None if linear_bias is None else linear_bias.reshape(-1))
    logits = flat.reshape(*input.shape[:-1], *rows)
    if ignore_index is not None and target.shape == logits.shape:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    kept = -100 if ignore_index is None else ignore_index
    return cross_entropy(logits, target, weight, ignore_index=kept, reduction=reduction, label_smoothing=label_smoothing)


def _soft_targets(
    log_p: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float, classes: int
) -> Tensor:
    if log_p.shape != target.shape:
        raise ShapeError(f"probabilities of shape {list(target.shape)} for logits of shape {list(log_p.shape)}")
    if smoothing:
        target = target * (1 - smoothing) + smoothing / log_p.shape[classes]
    loss = -(log_p * target)
    if weight is not None:
        loss = loss * _along(weight, log_p, classes)
    if reduction == "mean":
        return _labelled(loss.sum() / (log_p.numel() // log_p.shape[classes]), "div_number")
    return reduced(loss.sum(classes), reduction)


def _along(weight: Tensor, like: Tensor, axis: int) -> Tensor:
    return weight.reshape(*[-1 if i == axis else 1 for i in range(like.dim())])


def _smoothed(
    log_p: Tensor, hard: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str,
    smoothing: float, classes: int,
) -> Tensor:  # fmt: skip
    share = None if weight is None else _along(weight, log_p, classes).expand(log_p.shape)
    uniform = -(log_p if share is None else log_p * share).sum(classes)
    uniform = uniform.masked_fill(target == ignore_index, 0.0)
    if reduction == "mean":
        total = _total(_hits(log_p, target, ignore_index, classes), share, log_p.dtype)
        uniform = uniform.sum() / total
    else:
        uniform = reduced(uniform, reduction)
    return hard * (1 - smoothing) + uniform * (smoothing / log_p.shape[classes])


@autocasts("kl_div")
def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:  # fmt: skip
    """target * (log target - input), input being log-probabilities."""
    if log_target:
        loss = target.exp() * (target - input)
    else:
        loss = apply("kl_div", _alike(input, target))
    reduction = reduction_of(reduction, size_average, reduce)
    if reduction == "batchmean" and input.dim():
        return loss.sum() / input.shape[0]
    return reduced(loss, "mean" if reduction == "batchmean" else reduction)


@autocasts("poisson_nll_loss")
@in_single
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """exp(input) - target * input, with Stirling's term when `full`."""
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


@in_single
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """0.5 * (log var + (input - target) ** 2 / var); one variance per element, or for all along one dimension."""
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = filled(tuple(input.shape), var, input.dtype)
    elif (var < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        if tuple(input.shape[:-1]) == tuple(var.shape):
            var = var.unsqueeze(-1)
        elif input.dim() != var.dim() or sum([n for m, n in zip(input.shape, var.shape, strict=True) if m != n]) != 1:
            raise ValueError("var is of incorrect size")
    spread = var.detach().clamp_min(eps) + (var - var.detach())
    loss = ((input - target) ** 2 / spread + spread.log()) * 0.5
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


@autocasts("soft_margin_loss")
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """log(1 + exp(-target * input))."""
    return reduced((-target * input).exp().log1p(), reduction_of(reduction, size_average, reduce))


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Binary cross entropy of each class, averaged over the classes."""
    loss = -(target * apply("log_sigmoid", (input,)) + (1.0 - target) * apply("log_sigmoid", (-input,)))
    loss = (loss if weight is None else loss * weight).sum(-1) / input.shape[-1]
    return reduced(loss, reduction_of(reduction, size_average, reduce))
