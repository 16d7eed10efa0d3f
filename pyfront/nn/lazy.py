"""Lazy layers: their input sizes are those of the first batch; then they are ordinary layers."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

from ..autograd import no_grad
from ..creation import tensor
from ..tensor import Tensor
from .convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .normalization import (
    BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d,
)  # fmt: skip
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy


class LazyModuleMixin:
    """Put before a layer: parameters may be uninitialized until ``initialize_parameters(input)`` knows their shapes."""

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)
        warnings.warn(
            "Lazy modules are a new feature under heavy development so changes to the API or functionality can happen at any "
            "moment.", stacklevel=2,
        )  # fmt: skip

    def _save_to_state_dict(self: Any, destination: dict, prefix: str, keep_vars: bool) -> None:
        for name, held in self._persistent_().items():
            destination[prefix + name] = held if keep_vars or is_lazy(held) else held.detach()

    def _lazy_load_hook(self: Any, state_dict: dict, prefix: str, *rest: Any) -> None:
        """Take the shapes of what is loaded."""
        for name, held in itertools.chain(self._parameters.items(), self._buffers.items()):
            loaded = state_dict.get(prefix + name)
            if held is not None and loaded is not None and is_lazy(held) and not is_lazy(loaded):
                with no_grad():
                    held.materialize(loaded.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give every parameter its shape, from what forward is called with."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self: Any) -> bool:
        """Whether a parameter or buffer still has no shape."""
        return any(is_lazy(held) for held in itertools.chain(self._parameters.values(), self._buffers.values()))

    def _infer_parameters(self: Any, module: Any, args: tuple, kwargs: dict | None = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. Run a dummy forward pass to correctly "
            "initialize the modules"
        )


def _uninitialized(layer: Any, bias: bool, options: dict[str, Any]) -> None:
    layer.weight = UninitializedParameter(**options)
    if bias:
        layer.bias = UninitializedParameter(**options)


class LazyLinear(LazyModuleMixin, Linear):
    """A Linear whose in_features is the last size of its first input."""

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, False)
        self.out_features = out_features
        _uninitialized(self, bias, {"device": device, "dtype": dtype})

    def reset_parameters(self) -> None:
        """PyTorch's default initialisation, once there are shapes."""
        if not self.has_uninitialized_params() and self.in_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:  # type: ignore[override]  # of Linear's one argument
        """in_features from the input."""
        if self.has_uninitialized_params():
            with no_grad():
                self.in_features = input.shape[-1]
                self.weight.materialize((self.out_features, self.in_features))
                if self.bias is not None:
                    self.bias.materialize((self.out_features,))
                self.reset_parameters()
        if self.in_features == 0:
            if input.shape[-1] != self.weight.shape[-1]:
                raise AssertionError(
                    f"The in_features inferred from input: {input.shape[-1]} is not equal to in_features from self.weight: "
                    f"{self.weight.shape[-1]}"
                )
            self.in_features = input.shape[-1]


class _LazyConvolution(LazyModuleMixin):
    """in_channels is the number of channels of the first input."""

    def reset_parameters(self: Any) -> None:
        """PyTorch's default initialisation, once there are shapes."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def initialize_parameters(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """in_channels from the input."""
        if not self.has_uninitialized_params():
            return
        rank = self._rank_
        if input.dim() not in (rank + 1, rank + 2):
            raise RuntimeError(
                f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {type(self).__name__}, but got input of "
                f"size: {input.shape}"
            )
        self.in_channels = input.shape[-rank - 1]
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if self.transposed:
            self.weight.materialize((self.in_channels, self.out_channels // self.groups, *self.kernel_size))
        else:
            self.weight.materialize((self.out_channels, self.in_channels // self.groups, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


class _LazyStraight(_LazyConvolution):
    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
        bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype)
        self.out_channels = out_channels
        _uninitialized(self, bias, {"device": device, "dtype": dtype})


class _LazyTransposed(_LazyConvolution):
    def __init__(
        self, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
        groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode, device, dtype
        )
        self.out_channels = out_channels
        _uninitialized(self, bias, {"device": device, "dtype": dtype})


class _LazyStatistics(LazyModuleMixin):
    """num_features is the second size of the first input."""

    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=False)
        options = {"device": device, "dtype": dtype}
        self.affine, self.track_running_stats = affine, track_running_stats
        if self.affine:
            _uninitialized(self, bias, options)
        if self.track_running_stats:
            self.running_mean, self.running_var = (UninitializedBuffer(**options) for _ in range(2))
            self.num_batches_tracked = tensor(0)

    def reset_parameters(self: Any) -> None:
        """Weight 1, bias 0, fresh statistics, once there are shapes."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self: Any, input: Tensor) -> None:  # type: ignore[override]
        """num_features from the input."""
        if not self.has_uninitialized_params():
            return
        self.num_features = input.shape[1]
        for held in (self.weight, self.bias, self.running_mean, self.running_var):
            if held is not None:
                held.materialize((self.num_features,))
        self.reset_parameters()


def _lazy(mixin: type, layer: type) -> Any:
    text = f"A {layer.__name__} that takes its number of input channels from its first input."
    return type(
        f"Lazy{layer.__name__}", (mixin, layer), {"cls_to_become": layer, "__doc__": text, "__module__": __name__}
    )


LazyConv1d, LazyConv2d, LazyConv3d = (_lazy(_LazyStraight, layer) for layer in (Conv1d, Conv2d, Conv3d))
LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d = (
    _lazy(_LazyTransposed, layer) for layer in (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)
)
LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d = (
    _lazy(_LazyStatistics, layer) for layer in (BatchNorm1d, BatchNorm2d, BatchNorm3d)
)
LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d = (
    _lazy(_LazyStatistics, layer) for layer in (InstanceNorm1d, InstanceNorm2d, InstanceNorm3d)
)
