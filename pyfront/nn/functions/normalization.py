"""Normalisation: batch, layer, group, instance, RMS, local response; and vectors to unit length."""

from __future__ import annotations


from ....dialects.errors import ShapeError
from ....dialects.types import part_of, show_type
from ...autocasting import autocasts
from ... import recorder
from ...assignment import assign
from ...autograd import no_grad
from ...node import Node
from ...origin import origin, source_line
from ...precision import in_single, in_single_like_input
from ...tensor import Tensor, wrap
from .applying import apply, apply_many, filled
from .convolution import padded


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return (
        filled(shape, 1.0, x.dtype) if weight is None else weight,
        filled(shape, 0.0, x.dtype) if bias is None else bias,
    )


@in_single_like_input
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise [n, c, ...] per channel: with the batch's statistics in training, the running ones otherwise.

    In training the running averages are updated in place (unbiased variance).
    """
    shape = input._node.type[0]
    if len(shape) == 1 and not shape[0]:
        return input.clone()
    channels = (shape[1] if len(shape) > 1 else input.numel(),)
    w, b = (weight, bias) if weight is not None and bias is not None else _affine(input, weight, bias, channels)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        parts = (input, w, b, running_mean, running_var)
        return apply("batch_norm_infer", parts, (eps,), "native_batch_norm")
    if eps <= 0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {float(eps)}")
    many = input.numel() // channels[0]
    if many == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    result, mean, var = recorder.record_many("batch_norm", (input._read(), w._read(), b._read()), (eps,))
    y = wrap(result)
    y._label = "native_batch_norm"
    if not many:  # statistics of nothing
        return y
    before, recorder.state.grad = recorder.state.grad, False
    try:
        if running_mean is not None:
            _average(running_mean, mean, momentum)
        if running_var is not None:
            _average(running_var, var, momentum, many)
    finally:
        recorder.state.grad = before
    return y


def _average(running: Tensor, now: Node, momentum: float, many: int | None = None) -> None:
    """running = momentum * now + (1 - momentum) * running. many: values a variance is of; it is made unbiased."""
    old = running._read()
    if now.type[1] is not old.type[1]:
        now = recorder.record("cast", (now,), (old.type[1],), now.origin)
    op, attrs = ("blend", ()) if many is None else ("blend_variance", (many,))
    assign(running, recorder.record(op, (now, old), (momentum, 1 - momentum, *attrs), now.origin))


@autocasts("layer_norm")
@in_single_like_input
def layer_norm(
    input: Tensor, normalized_shape: tuple[int, ...] | list[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise over the last dimensions, which are `normalized_shape`."""
    shape = tuple([int(n) for n in normalized_shape])
    if tuple(input.shape[-len(shape) :]) != shape:
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {str(list(shape))[1:-1]}], "
            f"but got input of size{list(input.shape)}",
            [("input", show_type(input._type), input._node.origin)],
            at=source_line(origin()),
        )
    w, b = _affine(input, weight, bias, shape)
    return apply("layer_norm", (input, w, b), (len(shape), eps), "native_layer_norm")


@in_single
def rms_norm(
    input: Tensor, normalized_shape: tuple[int, ...] | list[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root mean square over the last dimensions."""
    shape = tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    if tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{', '.join(map(str, shape))}], but got "
            f"input of size{list(input.shape)}"
        )
    dims = tuple(range(input.dim() - len(shape), input.dim()))
    epsilon = _machine_epsilon(input) if eps is None else eps
    y = input * ((input * input).mean(dims, keepdim=True) + epsilon).rsqrt()
    return y if weight is None else y * weight


def _machine_epsilon(x: Tensor) -> float:
    return {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}[part_of(x.dtype).name]


@autocasts("group_norm")
@in_single_like_input
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise [n, c, ...] per sample and group of channels."""
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    channels, num_groups = input.shape[1], int(num_groups)
    if channels % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    w, b = _affine(input, weight, bias, (channels,))
    return apply("group_norm", (input, w, b), (num_groups, eps), "native_group_norm")


@in_single_like_input
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise [n, c, ...] per sample and channel."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    n, channels = input.shape[:2]
    rows = input.reshape(1, n * channels, *input.shape[2:])
    ones, zeros = _affine(input, None, None, (n * channels,))
    y, mean, var = apply_many("batch_norm", (rows, ones, zeros), (eps,), "native_batch_norm")
    many = rows.numel() // (n * channels)
    if many == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    with no_grad():
        if running_mean is not None:
            _average(running_mean, mean.reshape(n, channels).mean(0)._read(), momentum)
        if running_var is not None:
            _average(running_var, var.reshape(n, channels).mean(0)._read(), momentum, many)
    return _per_channel(y.reshape(input.shape), weight, bias, "native_batch_norm")


def _per_channel(y: Tensor, weight: Tensor | None, bias: Tensor | None, label: str) -> Tensor:
    shape = (1, -1, *(1,) * (y.dim() - 2))
    y = y if weight is None else y * weight.reshape(shape)
    y = y if bias is None else y + bias.reshape(shape)
    y._label = label
    return y


@in_single
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide by (k + alpha * mean of squares over neighbouring channels) ** beta."""
    if input.dim() < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {input.dim()} dimensions)"
        )
    if not input.numel():
        return input
    squares = (input * input).transpose(1, -1)
    around = padded(squares, (size // 2,), ((size - 1) // 2,))
    mean = _pooled(around, size).transpose(1, -1)
    return input / (mean * alpha + k) ** beta


def _pooled(x: Tensor, size: int) -> Tensor:
    """Means of ``size`` neighbours in the last dimension; integers are rounded towards zero."""
    if x.dtype.kind == "f":
        return apply("avg_pool", (x,), ((size,), (1,)))
    windows = apply("window", (x,), ((size,), (1,), (1,)))
    return windows.sum(-1).div(size, rounding_mode="trunc")


@autocasts("normalize")
@in_single
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Divide by the p-norm along `dim`, at least eps."""
    y = input / input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    return y if out is None else out.copy_(y)
