"""torch.nn.utils.parametrizations: weights with a norm of their own, a spectral norm of one, or orthonormal columns."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ...creation import zeros_like
from ...grad_mode import no_grad
from ...joining import cat
from ...linalg import solve
from ...matrix_functions import geqrf, householder_product, matrix_exp
from ...random_tensors import randn
from ...sequences import eye
from ...tensor import Tensor
from .. import functional as F
from ..convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..module import Module
from . import parametrize

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]
M = TypeVar("M", bound=Module)
_MAPS = ("matrix_exp", "cayley", "householder")


def _weight_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


# -- weight norm ------------------------------------------------------------------------------------------------


class _WeightNorm(Module):
    """g * v / |v|, with one g per slice along `dim` (one for all when it is -1)."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def _norm(self, v: Tensor) -> Tensor:
        return v.norm() if self.dim == -1 else v.norm(2, [d for d in range(v.dim()) if d != self.dim], keepdim=True)

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """The weight."""
        return weight_v * (weight_g / self._norm(weight_v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Length and direction of a weight."""
        return self._norm(weight), weight


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Parametrize a weight by length and direction. Source: Salimans and Kingma, Weight normalization (2016)."""
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def from_old_names(state_dict: dict, prefix: str, *rest: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in old):
            for i, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(from_old_names)
    return module


# -- spectral norm ----------------------------------------------------------------------------------------------


class _SpectralNorm(Module):
    """A weight divided by its largest singular value, which power iteration follows during training."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        rank = weight.dim()
        if not -rank <= dim < rank:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{rank}, {rank - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps = dim % rank, eps
        if rank > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight)
            height, width = matrix.shape
            u, v = (weight.detach().new_empty(n).normal_(0, 1) for n in (height, width))
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        if self.dim != 0:
            weight = weight.permute(self.dim, *[d for d in range(weight.dim()) if d != self.dim])
        return weight.flatten(1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        with no_grad():
            for _ in range(times):
                self._u.copy_(F.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
                self._v.copy_(F.normalize(matrix.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight, with the largest singular value 1."""
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # two forwards may be in one graph
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The weight itself."""
        return value


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Parametrize a weight so that its largest singular value is 1. Source: Miyato et al., Spectral normalization for GANs
    (2018)."""
    weight = _weight_of(module, name)
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0
    return parametrize.register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))  # type: ignore[return-value]


# -- orthogonal -------------------------------------------------------------------------------------------------


class _Orthogonal(Module):
    """A matrix (or a batch) with orthonormal columns (rows, when it is wide).

    Source: Lezcano-Casado, Trivializations for gradient-based optimization on manifolds (2019).
    """

    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        """The orthogonal matrix of these coordinates."""
        is_wide = X.shape[-2] < X.shape[-1]
        x = X.transpose(-2, -1) if is_wide else X
        q = self._tall(x)
        if "base" in self._buffers:
            q = self.base @ q
        return q.transpose(-2, -1) if is_wide else q

    def _tall(self, x: Tensor) -> Tensor:
        n, k = x.shape[-2], x.shape[-1]
        if self.orthogonal_map == "householder":
            a = x.tril(-1)
            q = householder_product(a, 2.0 / (1.0 + (a * a).sum(-2)))
            return q * x.detach().diagonal(0, -2, -1).int().to(x.dtype).unsqueeze(-2)
        x = x.tril()
        if n != k:
            x = cat([x, x.detach().new_zeros((*x.shape[:-1], n - k))], -1)
        a = x - x.transpose(-2, -1)
        if self.orthogonal_map == "matrix_exp":
            q = matrix_exp(a)
        else:
            one = eye(n, dtype=a.dtype, device=a.device)
            q = solve(one - 0.5 * a, one + 0.5 * a)
        return q[..., :k] if n != k else q

    def right_inverse(self, Q: Tensor) -> Tensor:
        """Coordinates of Q. ValueError for another shape, NotImplementedError for a map that cannot be turned round."""
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}."
            )
        with no_grad():
            is_wide = Q.shape[-2] < Q.shape[-1]
            q = Q.transpose(-2, -1) if is_wide else Q
            if "base" in self._buffers:
                self.base = self._completed(q)
                minus = zeros_like(Q)
                minus.diagonal(0, -2, -1).fill_(-1.0)
                return minus
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            a, tau = geqrf(q)
            signs = a.diagonal(0, -2, -1).sign()
            a.diagonal(0, -2, -1).copy_(signs.masked_fill(tau == 0.0, 0.0) - signs.masked_fill(tau != 0.0, 0.0))
            return a.transpose(-2, -1) if is_wide else a

    def _completed(self, q: Tensor) -> Tensor:
        """A square orthogonal matrix whose first columns are q's, made orthonormal where they are not."""
        n, k = q.shape[-2], q.shape[-1]
        if n != k:
            return _made_orthogonal(cat([q, randn(*q.shape[:-2], n, n - k, dtype=q.dtype, device=q.device)], -1))
        off = (q.transpose(-2, -1) @ q - eye(k, dtype=q.dtype, device=q.device)).abs().max().item()
        return q.clone() if off <= 10.0 * n * float(np.finfo(q.dtype.numpy).eps) else _made_orthogonal(q)


def _made_orthogonal(a: Tensor) -> Tensor:
    """Q of a = Q R with a diagonal of R that is not negative."""
    packed, tau = geqrf(a)
    return householder_product(packed, tau) * packed.diagonal(0, -2, -1).sgn().unsqueeze(-2)


def orthogonal(
    module: M, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> M:
    """Parametrize a matrix by orthogonal ones. orthogonal_map: "matrix_exp" (the default for square ones), "cayley" or
    "householder". ValueError for anything else, and for vectors."""
    weight = _weight_of(module, name)
    if weight.dim() < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return parametrize.register_parametrization(module, name, made, unsafe=True)  # type: ignore[return-value]
