"""Convolution layers of one to three dimensions, and transposed ones."""

from __future__ import annotations

import math
from typing import Any

from ..creation import empty
from ..tensor import Tensor
from . import functional as F
from . import init
from .functions.applying import each
from .calls import remembered
from .module import Entry, Module
from .parameter import Parameter


class _ConvNd(Module):
    """What all convolution layers share. Subclasses say their rank and whether they are transposed."""

    _rank_: int
    _transposed_ = False
    weight: Any = Entry("_parameters")
    bias: Any = Entry("_parameters")

    def _set_up_(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any, output_padding: Any = 0,
    ) -> None:  # fmt: skip
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        modes = ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in modes:
            raise ValueError(f"padding_mode must be one of {set(modes)}, but got padding_mode='{padding_mode}'")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}")
        rank = self._rank_
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = each(kernel_size, rank, "kernel_size"), each(stride, rank, "stride")
        self.padding = padding if isinstance(padding, str) else each(padding, rank, "padding")
        self.dilation = each(dilation, rank, "dilation")
        if self.padding == "same" and any(s != 1 for s in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        self.transposed, self.padding_mode = self._transposed_, padding_mode
        self.output_padding = each(output_padding, rank, "output_padding")
        outer, inner = (in_channels, out_channels) if self._transposed_ else (out_channels, in_channels)
        shape = (outer, inner // groups, *self.kernel_size)
        self.weight = Parameter(empty(*shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """PyTorch's default initialisation."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = self.weight.shape[1] * math.prod(self.kernel_size)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """The arguments that are not the defaults."""
        none = (0,) * self._rank_
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self._rank_:
            text += f", dilation={self.dilation}"
        if self.output_padding != none:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Straight(_ConvNd):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._set_up_(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )

    def _around_(self) -> tuple[int, ...]:
        """F.pad's widths for the padding modes that are not zeros."""
        widths: list[int] = []
        for i in reversed(range(self._rank_)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                widths += [total // 2, total - total // 2]
            else:
                widths += [0, 0] if self.padding == "valid" else [self.padding[i]] * 2
        return tuple(widths)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_conv_forward" in vars(cls) and cls.forward is _Straight.forward:
            cls.forward = _Straight._called_  # what a program does there is done in every call

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution by a weight of the caller's: programs call it with weights they made, or put their own in its place."""
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self._rank_ - 1]
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._around_(), mode=self.padding_mode), 0
        return convolve(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _called_(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """float[n, in_channels, ...] -> float[n, out_channels, ...]."""
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Straight):
    """Convolution over [n, c, l]."""

    _rank_ = 1


class Conv2d(_Straight):
    """Convolution over [n, c, h, w]."""

    _rank_ = 2


class Conv3d(_Straight):
    """Convolution over [n, c, d, h, w]."""

    _rank_ = 3


class _ConvTransposeNd(_ConvNd):
    _transposed_ = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self._set_up_(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype,
            output_padding,
        )  # fmt: skip

    def _extra_(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """The output padding that gives `output_size`."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self._rank_ :]
        parts = zip(input.shape[-self._rank_ :], self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in parts]
        extra = tuple(w - m for w, m in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            raise ValueError(
                f"requested an output size of {list(wanted)}, but valid sizes range from {least} to "
                f"{[m + s - 1 for m, s in zip(least, self.stride, strict=True)]} (for an input of {list(input.shape[2:])})"
            )
        return extra

    @remembered
    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """float[n, in_channels, ...] -> float[n, out_channels, ...]."""
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self._rank_ - 1]
        extra = self._extra_(input, output_size)
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose1d(_ConvTransposeNd):
    """The adjoint of Conv1d."""

    _rank_ = 1


class ConvTranspose2d(_ConvTransposeNd):
    """The adjoint of Conv2d."""

    _rank_ = 2


class ConvTranspose3d(_ConvTransposeNd):
    """The adjoint of Conv3d."""

    _rank_ = 3
