"""Batch normalisation by the statistics of all processes' batches: what torch.nn.SyncBatchNorm computes."""

from __future__ import annotations

from typing import Any

from ..function import Function, FunctionCtx
from ..grad_mode import no_grad
from ..joining import cat
from ..tensor import Tensor
from .collectives import all_gather, all_reduce
from .process_group import ProcessGroup


def _row(values: Tensor, rank: int) -> Tensor:
    """One value for each channel, beside a batch of this rank."""
    return values.reshape(1, -1, *[1] * (rank - 2))


def _statistics(x: Tensor, group: ProcessGroup) -> tuple[Tensor, Tensor, float]:
    """Mean and (biased) variance of each channel over all processes, and how many values each is of.

    Each process sends its mean, its sum of squared deviations and its count; they are joined as in T. Chan, G. Golub and R. LeVeque,
    "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """
    axes = [0, *range(2, x.dim())]
    channels = x.shape[1]
    count = x.numel() // max(channels, 1)
    mean = x.sum(axes) / max(count, 1)
    deviations = (x - _row(mean, x.dim())).square().sum(axes)
    own = cat([mean, deviations, mean.new_full((1,), float(count))])
    every = [own.new_zeros(own.shape) for _ in range(group.size())]
    all_gather(every, own, group)
    total = sum(int(one[-1].item()) for one in every)
    means = [one[:channels] for one in every]
    counts = [one[-1] / total for one in every]
    whole = sum((m * c for m, c in zip(means, counts, strict=True)), start=mean.new_zeros(channels))
    variance = sum(
        (one[channels:-1] / total + c * (m - whole).square() for one, m, c in zip(every, means, counts, strict=True)), start=mean.new_zeros(channels)
    )
    return whole, variance, float(total)


class _Normalized(Function):
    """``(x - mean) / sqrt(variance + eps) * weight + bias``, with the derivative through the statistics of all processes:

    gx = weight / deviation * (g - mean(g) - y * mean(g * y)), y the normalised values, means over all processes.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float, total: float, group: ProcessGroup) -> Tensor:
        inverse = (variance + eps).rsqrt()
        y = (x - _row(mean, x.dim())) * _row(inverse, x.dim())
        ctx.save_for_backward(y, inverse, weight)
        ctx.total, ctx.group, ctx.has_bias = total, group, bias is not None  # type: ignore[attr-defined]  # what a ctx is for
        if weight is not None:
            y = y * _row(weight, x.dim())
        return y if bias is None else y + _row(bias, x.dim())

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        y, inverse, weight = ctx.saved_tensors
        axes = [0, *range(2, g.dim())]
        channels = g.shape[1]
        of_bias, of_weight = g.sum(axes), (g * y).sum(axes)
        sums = cat([of_bias, of_weight])
        all_reduce(sums, group=ctx.group)
        sums = sums / ctx.total
        gx = (g - _row(sums[:channels], g.dim()) - y * _row(sums[channels:], g.dim())) * _row(inverse if weight is None else inverse * weight, g.dim())
        return gx, of_weight if weight is not None else None, of_bias if ctx.has_bias else None, None, None, None, None, None


def synchronized(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None, bias: Tensor | None, momentum: float, eps: float,
    group: ProcessGroup,
) -> Tensor:  # fmt: skip
    """A batch [n, c, ...] normalised by the statistics of all processes; the running ones move by `momentum`, if there are some."""
    with no_grad():
        mean, variance, total = _statistics(x.detach(), group)
        if running_mean is not None and running_var is not None:
            running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
            running_var.mul_(1 - momentum).add_(variance * (total / max(total - 1, 1)), alpha=momentum)
    return _Normalized.apply(x, weight, bias, mean, variance, eps, total, group)
