"""``torch.special``: functions of the main namespace that PyTorch also offers here, and a few of its own."""

from __future__ import annotations

from typing import Any

from . import public
from .tensor import Tensor

_names = public.names()
(erf, erfc, erfinv, expm1, exp2, log1p, logit, logsumexp, log_softmax, softmax, round, xlogy, sinc) = (  # noqa: A001  # PyTorch's names
    _names[n]
    for n in (
        "erf",
        "erfc",
        "erfinv",
        "expm1",
        "exp2",
        "log1p",
        "logit",
        "logsumexp",
        "log_softmax",
        "softmax",
        "round",
        "xlogy",
        "sinc",
    )
)
expit = _names["sigmoid"]


def xlog1py(input: Any, other: Any) -> Tensor:
    """``input * log1p(other)``, 0 where ``input`` is 0."""
    return xlogy(input, other + 1)


def entr(input: Tensor) -> Tensor:
    """``-x log x``, 0 at 0, minus infinity below."""
    return (-xlogy(input, input)).masked_fill(input < 0, -float("inf"))


def ndtr(input: Tensor) -> Tensor:
    """The normal distribution function."""
    return erfc(-input * 0.7071067811865476) * 0.5
