"""weight_norm and spectral_norm: a weight computed before each forward from parameters that take its place."""

from __future__ import annotations

from typing import Any, TypeVar

from ...grad_mode import no_grad
from ...tensor import Tensor
from .. import functional as F
from ..convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..module import Module
from ..parameter import Parameter

M = TypeVar("M", bound=Module)


class _Computed:
    """A forward pre-hook that sets one attribute of its module."""

    kind: str

    def __init__(self, name: str, dim: int) -> None:
        self.name, self.dim = name, dim

    def compute(self, module: Module, training: bool) -> Tensor:
        """The weight."""
        raise NotImplementedError

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute(module, module.training))

    def install(self, module: Module) -> None:
        """Hook into a module. RuntimeError when its weight is computed in this way already."""
        if self.find(module, self.name) is not None:
            raise RuntimeError(f"Cannot register two {self.kind} hooks on the same parameter {self.name}")
        self.replace(module)
        module.register_forward_pre_hook(self)

    def replace(self, module: Module) -> None:
        """Put other parameters in the weight's place."""
        raise NotImplementedError

    @classmethod
    def find(cls, module: Module, name: str) -> int | None:
        """The key of the hook that computes `name`."""
        hooks = module._forward_pre_hooks.items()
        return next((key for key, hook in hooks if isinstance(hook, cls) and hook.name == name), None)

    @classmethod
    def remove(cls, module: M, name: str) -> M:
        """Make the weight a parameter again. ValueError when it is not computed in this way."""
        key = cls.find(module, name)
        if key is None:
            raise ValueError(f"{cls.kind} of '{name}' not found in {module}")
        hook = module._forward_pre_hooks.pop(key)
        module._hooks_changed_()
        with no_grad():
            weight = hook.compute(module, False)
        delattr(module, name)
        for table in (module._parameters, module._buffers):
            for suffix in ("_g", "_v", "_orig", "_u"):
                table.pop(name + suffix, None)
        module.register_parameter(name, Parameter(weight.detach()))
        return module


class WeightNorm(_Computed):
    """weight = g * v / |v|, with one g per slice along `dim` (one for all when it is -1)."""

    kind = "weight_norm"

    def _norm(self, v: Tensor) -> Tensor:
        if self.dim == -1:
            return v.norm()
        return v.norm(2, [d for d in range(v.dim()) if d != self.dim], keepdim=True)

    def compute(self, module: Module, training: bool) -> Tensor:
        """The weight."""
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / self._norm(v))

    def replace(self, module: Module) -> None:
        """g and v in the weight's place."""
        weight = getattr(module, self.name)
        del module._parameters[self.name]
        module.register_parameter(self.name + "_g", Parameter(self._norm(weight).detach()))
        module.register_parameter(self.name + "_v", Parameter(weight.detach()))
        setattr(module, self.name, self.compute(module, False))


class SpectralNorm(_Computed):
    """weight / its largest singular value, estimated by power iteration during training."""

    kind = "spectral_norm"

    def __init__(self, name: str, dim: int, n_power_iterations: int, eps: float) -> None:
        super().__init__(name, dim)
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.n_power_iterations, self.eps = n_power_iterations, eps

    def _matrix(self, weight: Tensor) -> Tensor:
        order = [self.dim, *[d for d in range(weight.dim()) if d != self.dim]]
        return weight.permute(order).reshape(weight.shape[self.dim], -1)

    def compute(self, module: Module, training: bool) -> Tensor:
        """The weight; in training the vectors of the power iteration move on."""
        weight, u, v = (getattr(module, self.name + suffix) for suffix in ("_orig", "_u", "_v"))
        matrix = self._matrix(weight)
        if training:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(matrix.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(matrix.mv(v), dim=0, eps=self.eps))
                u, v = u.clone(), v.clone()
        return weight / u.dot(matrix.mv(v))

    def replace(self, module: Module) -> None:
        """The weight as it is under another name, and two random vectors."""
        weight = module._parameters[self.name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{self.name}` is None")
        with no_grad():
            height, width = self._matrix(weight).shape
            u = F.normalize(weight.new_empty(height).normal_(0, 1), dim=0, eps=self.eps)
            v = F.normalize(weight.new_empty(width).normal_(0, 1), dim=0, eps=self.eps)
        delattr(module, self.name)
        module.register_parameter(self.name + "_orig", weight)
        setattr(module, self.name, weight.data)
        module.register_buffer(self.name + "_u", u)
        module.register_buffer(self.name + "_v", v)


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Split a weight into length and direction. RuntimeError when it is split already."""
    WeightNorm(name, -1 if dim is None else dim).install(module)
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Undo weight_norm. ValueError when there is none."""
    return WeightNorm.remove(module, name)


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divide a weight by its largest singular value. RuntimeError when that is done already."""
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0
    SpectralNorm(name, dim, n_power_iterations, eps).install(module)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Undo spectral_norm. ValueError when there is none."""
    return SpectralNorm.remove(module, name)
