"""torch.nn.grad: gradients of convolutions by their inputs and by their weights, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import recorder
from ..autograd.backward import grad
from ..creation import zeros
from ..grad_mode import enable_grad
from ..tensor import Tensor
from .functions.convolution import conv1d, conv2d, conv3d

_CONVOLUTIONS = {1: conv1d, 2: conv2d, 3: conv3d}


def _by(rank: int, by: str, size: Sequence[int], other: Tensor, grad_output: Tensor, options: tuple) -> Tensor:
    """A convolution is linear in what it is differentiated by: the value there does not matter."""
    is_tracked = recorder.state.grad
    with enable_grad():
        at = zeros(tuple(size), dtype=other.dtype, device=other.device).requires_grad_()
        stride, padding, dilation, groups = options
        x, weight = (at, other) if by == "input" else (other, at)
        y = _CONVOLUTIONS[rank](x, weight, None, stride, padding, dilation, groups)
        if y.shape != grad_output.shape:
            raise RuntimeError(f"grad_output has shape {list(grad_output.shape)}, the convolution gives {list(y.shape)}")
        return grad(y, at, grad_output, create_graph=is_tracked and (other.requires_grad or grad_output.requires_grad))[0]


def conv1d_input(
    input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """The gradient of ``conv1d`` by its input."""
    return _by(1, "input", input_size, weight, grad_output, (stride, padding, dilation, groups))


def conv1d_weight(
    input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """The gradient of ``conv1d`` by its weight."""
    return _by(1, "weight", weight_size, input, grad_output, (stride, padding, dilation, groups))


def conv2d_input(
    input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """The gradient of ``conv2d`` by its input."""
    return _by(2, "input", input_size, weight, grad_output, (stride, padding, dilation, groups))


def conv2d_weight(
    input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """The gradient of ``conv2d`` by its weight."""
    return _by(2, "weight", weight_size, input, grad_output, (stride, padding, dilation, groups))


def conv3d_input(
    input_size: Sequence[int], weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """The gradient of ``conv3d`` by its input."""
    return _by(3, "input", input_size, weight, grad_output, (stride, padding, dilation, groups))


def conv3d_weight(
    input: Tensor, weight_size: Sequence[int], grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """The gradient of ``conv3d`` by its weight."""
    return _by(3, "weight", weight_size, input, grad_output, (stride, padding, dilation, groups))
