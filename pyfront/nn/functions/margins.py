"""Margin losses: how far the wrong answers stay behind the right ones."""

from __future__ import annotations

import numpy as np

from ....dialects.types import DTYPES
from ...autocasting import autocasts
from ... import recorder
from ...tensor import Tensor, wrap
from .applying import apply, filled, reduced
from .loss import reduction_of


@autocasts("hinge_embedding_loss")
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """input where the target is 1, max(0, margin - input) where it is -1."""
    loss = input.masked_fill(target != 1, 0.0) + (margin - input).clamp_min(0.0).masked_fill(target != -1, 0.0)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


@autocasts("margin_ranking_loss")
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, -target * (input1 - input2) + margin)."""
    loss = (-target * (input1 - input2) + margin).clamp_min(0.0)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


@autocasts("multi_margin_loss")
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Sum over the wrong classes of max(0, margin - x[target] + x[i]) ** p, by the number of classes."""
    reduction = reduction_of(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    rows, index = _rows(input, target, target.numel())
    n, classes = rows.shape
    index = index.reshape(n, 1)
    gap = (margin - rows.gather(1, index) + rows).clamp_min(0.0)
    loss = gap if p == 1 else gap * gap
    if weight is not None:
        loss = loss * weight.index_select(0, index.reshape(n)).unsqueeze(1)
    own = wrap(recorder.record("iota", (), ((n, classes), 1, DTYPES["int64"]))) == index
    loss = loss.masked_fill(own, 0.0).sum(1) / classes
    return _shaped(loss, input, reduction)


@autocasts("multilabel_margin_loss")
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """Sum over right classes j (those before the first -1) and wrong ones i of max(0, 1 - (x[j] - x[i])), by classes."""
    reduction = reduction_of(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    rows, labels = _rows(input, target, None)
    n, classes = rows.shape
    wanted = labels._value().reshape(n, classes)
    counted = np.cumprod(wanted >= 0, 1).astype(bool)
    right = np.zeros((n, classes), bool)
    for row, label, there in zip(right, wanted, counted, strict=True):
        row[label[there]] = True
    safe = wrap(recorder.constant(np.where(counted, wanted, 0), ((n, classes), DTYPES["int64"])))
    chosen = rows.gather(1, safe).unsqueeze(2)
    gap = (1.0 - chosen + rows.unsqueeze(1)).clamp_min(0.0)
    pairs = counted[:, :, None] & ~right[:, None, :]
    mask = wrap(recorder.constant(pairs, (pairs.shape, DTYPES["bool"])))
    loss = apply("select", (mask, gap, filled(pairs.shape, 0.0, gap.dtype))).sum((1, 2)) / classes
    return _shaped(loss, input, reduction)


def _rows(input: Tensor, target: Tensor, targets: int | None) -> tuple[Tensor, Tensor]:
    """[n, classes] out of one row or several. RuntimeError for anything else."""
    if input.dim() > 2 or input.dim() and not input.shape[-1]:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    rows = input.reshape(1, -1) if input.dim() < 2 else input
    if targets is not None and (targets != rows.shape[0] or target.dim() > 1):
        raise RuntimeError(f"inconsistent target size, expected {rows.shape[0]} but got {list(target.shape)}")
    return rows, target


def _shaped(loss: Tensor, input: Tensor, reduction: str) -> Tensor:
    return reduced(loss.reshape(()) if input.dim() < 2 else loss, reduction)
