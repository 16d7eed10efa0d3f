"""Connectionist temporal classification: the probability of a labelling over all its alignments, by one scan over time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ....dialects.graph import Graph
from ....dialects.types import Type
from ...autocasting import autocasts
from ...creation import of_array
from ...precision import in_single
from ...scanning import scan, trace
from ...tensor import Tensor
from .applying import reduced
from .convolution import pad

_NEVER = -1e30  # the logarithm of no probability at all: finite, so that nothing becomes NaN on the way


def _lengths(name: str, given: Any, n: int) -> np.ndarray:
    values = np.asarray(given.detach().cpu()._value() if isinstance(given, Tensor) else given)
    if values.dtype.kind not in "iu":
        raise RuntimeError(f"{name} must be integral")
    values = values.astype(np.int64).reshape(-1)
    if len(values) != n:
        raise RuntimeError(f"{name} must be of size batch_size")
    return values


def _labels(targets: Tensor, lengths: np.ndarray, n: int, blank: int) -> np.ndarray:
    """int64[n, 2 * longest + 1]: every row's labels with blanks around and between them."""
    held = np.asarray(targets.detach().cpu()._value()).astype(np.int64)
    longest = int(lengths.max(initial=0))
    if held.ndim == 1:
        if len(held) != lengths.sum():
            raise RuntimeError(f"Expected tensor to have size {lengths.sum()} at dimension 0, but got size {len(held)}")
        starts = np.cumsum(lengths) - lengths
        rows = [held[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    else:
        if held.shape[0] != n or held.shape[1] < longest:
            raise RuntimeError(
                f"Expected tensor to have size at least {longest} at dimension 1, but got size {held.shape[-1]}"
            )
        rows = [row[:length] for row, length in zip(held, lengths, strict=True)]
    spread = np.full((n, 2 * longest + 1), blank, np.int64)
    for row, labels in zip(spread, rows, strict=True):
        row[1 : 2 * len(labels) : 2] = labels
    return spread


@lru_cache(maxsize=256)
def _step(types: tuple[Type, ...]) -> Graph:
    """One time step: log-probabilities of all beginnings of the labelling, moved on by the scores of this step."""

    def step(alpha: Tensor, score: Tensor, live: Tensor, skip: Tensor) -> tuple[Tensor]:
        one, two = (pad(alpha, (shift, 0), value=_NEVER)[:, :-shift] for shift in (1, 2))
        moved = score + alpha.logaddexp(one).logaddexp(two + skip)
        return (moved.where(live, alpha),)

    return trace(step, types)


@autocasts("ctc_loss")
@in_single
def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:  # fmt: skip
    """Minus the log-probability of labellings, given the log-probabilities of the classes at every step.

    log_probs: float[t, n, c] (or [t, c]), out of a log_softmax: as in PyTorch, the gradient is that of what went into it.
    targets: int[n, s] or all rows in one; without `blank`. input_lengths, target_lengths: int[n]. "mean" divides every loss
    by its target length first. Source: Graves et al., Connectionist temporal classification (2006).
    """
    if log_probs.dim() not in (2, 3):
        raise RuntimeError(f"log_probs tensor must be 2D or 3D, got {log_probs.dim()}D")
    single = log_probs.dim() == 2
    if single:
        log_probs, targets = log_probs.unsqueeze(1), targets.unsqueeze(0) if targets.dim() == 1 else targets
    steps, n, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    inputs, lengths = (_lengths(k, v, n) for k, v in (("input_lengths", input_lengths), ("target_lengths", target_lengths)))
    if inputs.size and (inputs.max() > steps or inputs.min() < 0):
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value {inputs.max()} (while checking arguments for "
            "ctc_loss_allocate_outputs)"
        )
    labels = _labels(targets, lengths, n, blank)
    loss, coefficient = _losses(log_probs, labels, inputs, lengths, blank)
    if zero_infinity:
        endless = loss.isinf()
        loss = loss.masked_fill(endless, 0.0)
        coefficient = coefficient.masked_fill(endless, 0.0)
    loss = loss + _through(log_probs, inputs, coefficient)
    if reduction == "mean":
        loss = loss / of_array(np.maximum(lengths, 1).astype(loss.dtype.numpy), like=log_probs)
    return reduced(loss.squeeze(0) if single else loss, reduction)


def _losses(
    log_probs: Tensor, labels: np.ndarray, inputs: np.ndarray, lengths: np.ndarray, blank: int
) -> tuple[Tensor, Tensor]:
    """float[n]: minus the log-probabilities, infinite where no alignment fits; and 1, or NaN where that is so."""
    steps, n, _ = log_probs.shape
    dtype, width = log_probs.dtype.numpy, labels.shape[1]
    index = of_array(np.ascontiguousarray(np.broadcast_to(labels, (steps, n, width))), like=log_probs)
    scores = log_probs.gather(2, index).clamp_min(_NEVER)
    live = of_array((np.arange(steps)[:, None] < inputs)[:, :, None], like=log_probs)
    skips = np.full(labels.shape, _NEVER, dtype)
    skips[:, 2:][(labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])] = 0  # two different labels need no blank
    start = np.full(labels.shape, _NEVER, dtype)
    start[:, 0] = 0
    given = [of_array(start, like=log_probs), scores, live, of_array(skips, like=log_probs)]
    types = (given[0]._type, *((t._type[0][1:], t._type[1]) for t in given[1:3]), given[3]._type)
    (alpha,) = scan(_step(types), given[:1], given[1:3], given[3:], steps)
    ends = np.full(labels.shape, _NEVER, dtype)
    rows = np.arange(n)
    ends[rows, 2 * lengths] = ends[rows, np.maximum(2 * lengths - 1, 0)] = 0  # it ends with the last label or the last blank
    total = (alpha + of_array(ends, like=log_probs)).logsumexp(1)
    endless = total.detach() < _NEVER / 2
    return (-total).masked_fill(endless, np.inf), (total.detach() * 0 + 1).masked_fill(endless, np.nan)


def _through(log_probs: Tensor, inputs: np.ndarray, coefficient: Tensor) -> Tensor:
    """float[n] of zeros with the gradient exp(log_probs): what a log_softmax before it turns into nothing."""
    held = log_probs.detach()
    live = of_array(np.arange(held.shape[0])[:, None] < inputs, like=log_probs).unsqueeze(2)
    weight = held.exp().masked_fill(live.logical_not(), 0.0) * coefficient.reshape(1, -1, 1)
    change = log_probs - held
    return (weight * change.masked_fill(held == -np.inf, 0.0)).masked_fill(weight.isnan(), 0.0).sum((0, 2))
