"""Activations: each a book op, or one line over tensor operations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ....dialects.types import DType
from ...autocasting import autocasts
from ... import draws, recorder
from ...assignment import title
from ...random import default_generator
from ...sampling import EXPONENTIAL, sample
from ...tensor import Tensor, wrap
from .applying import apply, apply_to, dimension, finish


def _plain(op: str, doc: str) -> Callable[..., Tensor]:
    def activation(input: Tensor, inplace: bool = False) -> Tensor:
        return apply_to(input, op, (), inplace)

    activation.__name__, activation.__doc__ = op, doc
    return activation


relu = _plain("relu", "max(x, 0).")
selu = _plain("selu", "Self-normalising ELU.")
silu = _plain("silu", "x * sigmoid(x).")
mish = _plain("mish", "x * tanh(softplus(x)).")
hardswish = _plain("hardswish", "x * relu6(x + 3) / 6.")
hardsigmoid = _plain("hardsigmoid", "relu6(x + 3) / 6.")


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return input.tanh()


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return input.sigmoid()


def relu_(input: Tensor) -> Tensor:
    """relu, in place."""
    return relu(input, True)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return apply("softsign", (input,)) if input.dtype.kind == "f" else input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - input.tanh()


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return apply("log_sigmoid", (input,), (), "log_sigmoid")


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x); approximate="tanh" for the tanh formula."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return apply("gelu" if approximate == "none" else "gelu_tanh", (input,), (), "gelu")


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if input.dtype.kind != "f":
        min_val, max_val = int(min_val), int(max_val)
    return apply_to(input, "hardtanh", (min_val, max_val), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x limited to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x, or alpha * (exp(x) - 1) below zero."""
    return apply_to(input, "elu", (alpha,), inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x, or alpha * (exp(x / alpha) - 1) below zero."""
    below = alpha * apply("elu", (input / alpha,), (1.0,))
    return finish(input, apply("select", (input > 0, input, below)), inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x, or negative_slope * x below zero."""
    return apply_to(input, "leaky_relu", (negative_slope,), inplace)


@autocasts("prelu")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x, or weight * x below zero; one weight, or one per channel."""
    if weight.dim() > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}")
    if weight.numel() > 1:
        if not input.dim():
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.dim() > 1 else 1
        if channels != weight.numel():
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.numel()} and channel size = {channels}."
            )
    if weight.numel() > 1:
        weight = weight.reshape(1, -1, *(1,) * (input.dim() - 2))
    elif weight.dim() > input.dim():
        weight = weight.reshape(())
    return apply("select", (input > 0, input, weight * input))


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x, or a slope drawn from [lower, upper) times x below zero; their mean in evaluation."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    negative = np.asarray(input.detach()._value() <= 0)
    slope = np.ones(input.shape, input.dtype.numpy)
    slope[negative] = draws.uniform(default_generator.engine, int(negative.sum()), np.dtype(np.float64), lower, upper)
    return finish(input, input * wrap(recorder.constant(slope, (slope.shape, input.dtype))), inplace)


@autocasts("softplus")
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta."""
    return apply("softplus", (input,), (beta, threshold))


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where above the threshold, else `value`."""
    return finish(input, input.masked_fill(input <= threshold, value), inplace)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards zero by lambd."""
    if lambd < 0:
        raise RuntimeError(
            f"lambda must be in range [0, 3.40282e+38] for input dtype {title(input.dtype)}, but found {lambd}"
        )
    inside = apply("select", (input < -lambd, input + lambd, input * 0))
    return apply("select", (input > lambd, input - lambd, inside))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x, or zero within lambd of zero."""
    return input.masked_fill(input.abs() <= lambd, 0.0)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half times the sigmoid of the second."""
    n = input.shape[dim]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {n}")
    return input.narrow(dim, 0, n // 2) * input.narrow(dim, n // 2, n // 2).sigmoid()


def _over(op: str, input: Tensor, dim: int | None, dtype: DType | None) -> Tensor:
    x = input if dtype is None else input.to(dtype)
    if not x.dim():
        return _over(op, x.reshape(1), 0, None).reshape(())
    at = dimension(dim, x.dim(), op)
    return apply(op, (x,), ((at,),)) if 0 not in x._node.type[0] else wrap(recorder.alias(x._read()))


@autocasts("softmax")
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    return _over("softmax", input, dim, dtype)


@autocasts("log_softmax")
def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along `dim`."""
    return _over("log_softmax", input, dim, dtype)


@autocasts("softmin")
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """softmax(-x) along `dim`."""
    return _over("softmax", -input, dim, dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A differentiable sample of one of the classes along `dim`."""
    noise = sample(EXPONENTIAL, logits.shape, logits.dtype, where=logits.device, anywhere=True)
    soft = softmax((logits - wrap(noise).log()) / tau, dim)
    if not hard:
        return soft
    best = (soft == soft.amax(dim, keepdim=True)).to(soft.dtype)
    return best - soft.detach() + soft


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function written into its input."""

    @functools.wraps(function)
    def written(input: Tensor, *args: Any, **options: Any) -> Tensor:
        return function(input, *args, **options, inplace=True)

    written.__name__, written.__doc__ = function.__name__ + "_", f"{function.__name__}, in place."
    return written


celu_, elu_, hardtanh_, leaky_relu_ = (_in_place(f) for f in (celu, elu, hardtanh, leaky_relu))
rrelu_, selu_, threshold_ = (_in_place(f) for f in (rrelu, selu, threshold))
