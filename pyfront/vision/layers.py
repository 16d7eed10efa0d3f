"""Layers that several vision models share: convolution with norm, squeeze and excitation, stochastic depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import draws, nn, random
from ..creation import ones, zeros
from ..tensor import Tensor
from .images import tensor_of

Maker = Callable[..., Any]


class ConvNormActivation(nn.Sequential):
    """Convolution, norm, activation; padding keeps the size at stride 1."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any = 3, stride: Any = 1, padding: Any = None, groups: int = 1,
        norm_layer: Maker | None = nn.BatchNorm2d, activation_layer: Maker | None = nn.ReLU, dilation: Any = 1,
        inplace: bool | None = True, bias: bool | None = None, conv_layer: Maker = nn.Conv2d,
    ) -> None:  # fmt: skip
        if padding is None:
            padding = _keeping_size(kernel_size, dilation)
        layers: list[Any] = [
            conv_layer(
                in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups,
                bias=norm_layer is None if bias is None else bias,
            )
        ]  # fmt: skip
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer() if inplace is None else activation_layer(inplace=inplace))
        super().__init__(*layers)
        self.out_channels = out_channels


def _keeping_size(kernel: Any, dilation: Any) -> Any:
    """The padding, one number or one for each dimension."""
    if isinstance(kernel, int) and isinstance(dilation, int):
        return (kernel - 1) // 2 * dilation
    dims = len(kernel) if not isinstance(kernel, int) else len(dilation)
    kernels, dilations = ([v] * dims if isinstance(v, int) else v for v in (kernel, dilation))
    return tuple((k - 1) // 2 * d for k, d in zip(kernels, dilations, strict=True))


class Conv2dNormActivation(ConvNormActivation):
    """That of images [n, c, h, w]."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any = 3, stride: Any = 1, padding: Any = None, groups: int = 1,
        norm_layer: Maker | None = nn.BatchNorm2d, activation_layer: Maker | None = nn.ReLU, dilation: Any = 1,
        inplace: bool | None = True, bias: bool | None = None,
    ) -> None:  # fmt: skip
        rest = (kernel_size, stride, padding, groups, norm_layer, activation_layer, dilation, inplace, bias, nn.Conv2d)
        super().__init__(in_channels, out_channels, *rest)


class Conv3dNormActivation(ConvNormActivation):
    """That of clips and volumes [n, c, t, h, w]."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any = 3, stride: Any = 1, padding: Any = None, groups: int = 1,
        norm_layer: Maker | None = nn.BatchNorm3d, activation_layer: Maker | None = nn.ReLU, dilation: Any = 1,
        inplace: bool | None = True, bias: bool | None = None,
    ) -> None:  # fmt: skip
        rest = (kernel_size, stride, padding, groups, norm_layer, activation_layer, dilation, inplace, bias, nn.Conv3d)
        super().__init__(in_channels, out_channels, *rest)


class SqueezeExcitation(nn.Module):
    """Channels scaled by what all of them average to (https://arxiv.org/abs/1709.01507)."""

    def __init__(
        self, input_channels: int, squeeze_channels: int, activation: Maker = nn.ReLU, scale_activation: Maker = nn.Sigmoid
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        """[n, c, h, w] scaled."""
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(input))))) * input


class MLP(nn.Sequential):
    """Linear layers with norm, activation and dropout between them."""

    def __init__(
        self, in_channels: int, hidden_channels: list[int], norm_layer: Maker | None = None, activation_layer: Maker | None = nn.ReLU,
        inplace: bool | None = None, bias: bool = True, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        options = {} if inplace is None else {"inplace": inplace}
        layers: list[Any] = []
        for width in hidden_channels[:-1]:
            layers.append(nn.Linear(in_channels, width, bias=bias))
            layers += [norm_layer(width)] if norm_layer is not None else []
            layers += [activation_layer(**options)] if activation_layer is not None else []
            layers.append(nn.Dropout(dropout, **options))
            in_channels = width
        super().__init__(*layers, nn.Linear(in_channels, hidden_channels[-1], bias=bias), nn.Dropout(dropout, **options))


class Permute(nn.Module):
    """Dimensions in another order."""

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """The permuted tensor."""
        return x.permute(self.dims)


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """Whole rows (or the whole batch) zeroed with probability p, the others scaled up (https://arxiv.org/abs/1603.09382)."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"drop probability has to be between 0 and 1, but got {p}")
    if mode not in ("batch", "row"):
        raise ValueError(f"mode has to be either 'batch' or 'row', but got {mode}")
    if not training or p == 0.0:
        return input
    shape = (input.shape[0] if mode == "row" else 1, *[1] * (input.ndim - 1))
    kept = draws.bernoulli(random.default_generator.engine, shape[0], 1.0 - p).astype(np.float32)
    return input * tensor_of((kept / np.float32(max(1.0 - p, 1e-38))).reshape(shape).astype(input.dtype.numpy)).to(input.device)


class StochasticDepth(nn.Module):
    """stochastic_depth while training."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p = p
        self.mode = mode

    def forward(self, input: Tensor) -> Tensor:
        """Some rows zeroed."""
        return stochastic_depth(input, self.p, self.mode, self.training)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p={self.p}, mode={self.mode})"


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and weights are buffers: nothing is trained."""

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name, made in (("weight", ones), ("bias", zeros), ("running_mean", zeros), ("running_var", ones)):
            self.register_buffer(name, made(num_features))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *rest: Any) -> None:
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] normalised."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight.shape[0]}, eps={self.eps})"
