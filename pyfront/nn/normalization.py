"""Normalisation layers: batch, layer, RMS, group, instance, local response."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dialects.types import DTYPES
from ..assignment import assign
from ..creation import empty, ones, tensor, zeros
from ..joining import cat
from ..promote import shared_constant
from ..recorder import record
from ..tensor import Tensor
from . import functional as F
from . import init
from .calls import remembered
from .module import Entry, Module
from .parameter import Parameter


def _reset_affine(layer: Any) -> None:
    """Weight 1, bias 0, where there are any."""
    if layer.weight is not None:
        init.ones_(layer.weight)
    if layer.bias is not None:
        init.zeros_(layer.bias)


class _NormBase(Module):
    """Layers with running averages per channel. Subclasses say which ranks they take."""

    _version = 2
    _ranks_: tuple[int, ...] = ()
    weight: Any = Entry("_parameters")
    bias: Any = Entry("_parameters")
    running_mean: Any = Entry("_buffers")
    running_var: Any = Entry("_buffers")
    num_batches_tracked: Any = Entry("_buffers")

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        options = {"device": device, "dtype": dtype}
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", Parameter(empty(num_features, **options)) if affine else None)
        self.register_parameter("bias", Parameter(empty(num_features, **options)) if affine and bias else None)
        self.register_buffer("running_mean", zeros(num_features, **options) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, **options) if track_running_stats else None)
        count = tensor(0, dtype=DTYPES["int64"]) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, fresh statistics."""
        self.reset_running_stats()
        _reset_affine(self)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in self._ranks_:
            wanted = " or ".join(f"{rank}D" for rank in self._ranks_)
            raise ValueError(f"expected {wanted} input (got {input.dim()}D input)")

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *rest: Any) -> None:
        key = prefix + "num_batches_tracked"
        if local_metadata.get("version", 0) is not None and local_metadata.get("version", 0) < 2 <= self._version:
            # checkpoints older than version 2 do not count batches
            if self.track_running_stats and key not in state_dict:
                state_dict[key] = self.num_batches_tracked.detach().clone()
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class _BatchNorm(_NormBase):
    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """Normalised per channel; in training the running averages move."""
        self._check_input_dim(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        training = self.training
        if training and self.track_running_stats:
            counted = self.num_batches_tracked
            now = counted._read()
            assign(counted, record("add", (now, shared_constant(1, *now.type))))
            if self.momentum is None:  # the plain average over all batches
                momentum = 1.0 / float(self.num_batches_tracked)
        mean, var = (self.running_mean, self.running_var) if not training or self.track_running_stats else (None, None)
        by_batch = training or mean is None and var is None
        return F.batch_norm(input, mean, var, self.weight, self.bias, by_batch, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of [n, c] or [n, c, l]."""

    _ranks_ = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of [n, c, h, w]."""

    _ranks_ = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of [n, c, d, h, w]."""

    _ranks_ = (5,)


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of [n, c, ...] by the statistics of all processes' batches, in training and where there are several.

    process_group: which processes; None: all. PyTorch has it on GPUs only.
    """

    _ranks_ = (2, 3, 4, 5)

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        process_group: Any = None, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        """Normalised per channel; in training the running averages move."""
        from ..distributed.world import get_world_size, group_of, is_initialized

        if not self.training or not is_initialized() or get_world_size(self.process_group) == 1:
            return super().forward(input)
        from ..distributed.sync_batch_norm import synchronized

        self._check_input_dim(input)
        mean = var = None
        momentum = self.momentum
        if self.track_running_stats:
            self.num_batches_tracked.add_(1)
            mean, var = self.running_mean, self.running_var
            momentum = 1.0 / float(self.num_batches_tracked) if momentum is None else momentum
        return synchronized(input, mean, var, self.weight, self.bias, momentum or 0.0, self.eps, group_of(self.process_group))

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with a SyncBatchNorm, of the same parameters and buffers, in place of every batch normalisation."""
        made = module
        if isinstance(module, _BatchNorm):
            made = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats, process_group)
            for table in ("_parameters", "_buffers"):
                made.__dict__[table].update(module.__dict__[table])
            made.training = module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made


class _InstanceNorm(_NormBase):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """Normalised per sample and channel; [c, ...] is one sample."""
        self._check_input_dim(input)
        batched = input.dim() == self._ranks_[-1]
        x = input if batched else input.unsqueeze(0)
        y = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return y if batched else y.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of [n, c, l]."""

    _ranks_ = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of [n, c, h, w]."""

    _ranks_ = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of [n, c, d, h, w]."""

    _ranks_ = (4, 5)


class LayerNorm(Module):
    """Normalisation over the last dimensions."""

    weight: Any = Entry("_parameters")
    bias: Any = Entry("_parameters")

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        shape = (int(normalized_shape),) if isinstance(normalized_shape, (int, np.integer)) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        made = {name: Parameter(empty(*shape, device=device, dtype=dtype)) for name in ("weight", "bias")}
        self.register_parameter("weight", made["weight"] if elementwise_affine else None)
        self.register_parameter("bias", made["bias"] if elementwise_affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _reset_affine(self)

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """float[..., *normalized_shape], same shape out."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        text = f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        return f"{text}, bias={self.bias is not None}"


class RMSNorm(Module):
    """Division by the root mean square over the last dimensions."""

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        shape = (int(normalized_shape),) if isinstance(normalized_shape, (int, np.integer)) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        weight = Parameter(ones(*shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """float[..., *normalized_shape], same shape out."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalisation per sample and group of channels."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        for name, kept in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, Parameter(empty(num_channels, device=device, dtype=dtype)) if kept else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _reset_affine(self)

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """float[n, c, ...], same shape out."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class LocalResponseNorm(Module):
    """Normalisation over neighbouring channels."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """float[n, c, ...], same shape out."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(Module):
    """Normalisation over neighbouring channels of [n, c, h, w], as PyTorch's legacy layer does it: a channel's sum is of
    those at most (size - 1) // 2 away, and from channel (size + 1) // 2 on the first channel stays in it."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        """Same shape out."""
        reach, channels = (self.size - 1) // 2 + 1, input.shape[1]
        squares = input * input
        around = F.pad(squares, (0, 0, 0, 0, reach - 1, reach - 1))
        total = around.narrow(1, 0, channels)
        for shift in range(1, 2 * reach - 1):
            total = total + around.narrow(1, shift, channels)
        if channels > reach:
            later = total.narrow(1, reach, channels - reach) + squares.narrow(1, 0, 1)
            total = cat([total.narrow(1, 0, reach), later], 1)
        return input * (total * (self.alpha / self.size) + self.k) ** -self.beta

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
