"""Matrix functions: the exponential, and orthogonal matrices out of Householder reflectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialects.types import bfloat16, float16
from . import host_lapack
from .decompositions import _h, _host, _made, check_matrix, check_square
from .definitions import define
from .function import Function
from .sequences import eye
from .tensor import Tensor

# Coefficients of the diagonal Pade approximant of degree 13, and the 1-norm up to which it is accurate in double precision.
# Source: Higham, The scaling and squaring method for the matrix exponential revisited (2005), table 2.3 and algorithm 2.3.
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0, 10559470521600.0,
    670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_REACH = 5.371920351148152


class MatrixExp(Function):
    """exp(A). The gradient is a block of the exponential of a matrix of twice the size, so it can be differentiated again.

    Source of the gradient: Najfeld and Havel, Derivatives of the matrix exponential and their computation (1995).
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        with host_lapack.on_few_threads(a.shape[-1]):
            return _made(_exponential(_host(a)[0]), a)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        from .joining import cat

        (a,) = ctx.saved_tensors
        n, at = a.shape[-1], _h(a)
        block = cat([cat([at, g], -1), cat([at * 0, at], -1)], -2)
        return MatrixExp.apply(block)[..., :n, n:]


def _exponential(a: np.ndarray) -> np.ndarray:
    """exp of [..., n, n], as float64 or complex128: halved until the approximant holds, then squared as often."""
    a = a.astype(np.result_type(a, np.float64))
    norms = np.abs(a).sum(-2).max(-1, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.maximum(0, np.ceil(np.log2(norms / _REACH)))
    times = np.where(np.isfinite(times), times, 0).astype(np.int64)
    a = a * np.ldexp(1.0, -times)[..., None, None]
    one = np.broadcast_to(np.eye(a.shape[-1]), a.shape)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    b = _PADE
    odd = a @ (a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2) + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * one)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2) + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * one
    result = host_lapack.solve(even - odd, even + odd)
    for step in range(int(times.max(initial=0))):
        result = np.where((times > step)[..., None, None], result @ result, result)
    return result


@define("matrix_exp", label="linalg_matrix_exp")
def matrix_exp(input: Tensor) -> Tensor:
    """exp of the matrices [..., n, n], by the power series and not element by element."""
    if input.dtype in (float16, bfloat16):
        return matrix_exp(input.float()).to(input.dtype)
    check_square("linalg.matrix_exp", input)
    return MatrixExp.apply(input)


@define("geqrf")
def geqrf(input: Tensor) -> Any:
    """(a, tau) of LAPACK's QR: R in the upper triangle of a, the reflectors below it. Not differentiable."""
    from .returns import geqrf_result

    check_matrix("geqrf", input)
    packed, tau = host_lapack.qr(_host(input)[0], mode="raw")
    return geqrf_result(_made(np.swapaxes(packed, -1, -2), input), _made(tau, input))


def _reflectors(input: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
    """V [..., m, k], and S with S T = diag(tau), where I - V T V^H is the product of all reflectors."""
    k = tau.shape[-1]
    v = input[..., :k].tril(-1) + eye(input.shape[-2], k, dtype=input.dtype, device=input.device)
    return v, tau.unsqueeze(-1) * (_h(v) @ v).triu(1) + eye(k, dtype=input.dtype, device=input.device)


@define("orgqr", label="linalg_householder_product")
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first n columns of H_1 H_2 ... H_k for reflectors [..., m, n] as geqrf packs them, and tau [..., k].

    As one product of matrices: I - V T V^H with (I + diag(tau) striu(V^H V)) T = diag(tau). Source: Schreiber and Van Loan,
    A storage-efficient WY representation for products of Householder transformations (1989).
    """
    check_matrix("linalg.householder_product", input)
    from .linalg import solve_triangular

    rows, columns, k = input.shape[-2], input.shape[-1], tau.shape[-1]
    if columns > rows:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if k > columns:
        raise RuntimeError("torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    v, scaled = _reflectors(input, tau)
    right = tau.unsqueeze(-1) * _h(v)[..., :, :columns]
    return eye(rows, columns, dtype=input.dtype, device=input.device) - v @ solve_triangular(scaled, right, upper=True)


@define("ormqr", also={"input2": "tau", "input3": "other"})
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """Q C (or Q^H C; C Q, C Q^H with ``left`` False) for the whole unitary Q that geqrf packs in reflectors, and C ``other``."""
    from .linalg import solve_triangular

    check_matrix("torch.ormqr", input)
    if other.dim() < 2:
        raise RuntimeError("torch.ormqr: other must have at least 2 dimensions.")
    side = other.shape[-2 if left else -1]
    if side < tau.shape[-1]:
        raise RuntimeError(f"torch.ormqr: other.shape[{-2 if left else -1}] must be greater than or equal to tau.shape[-1]")
    if min(side, input.shape[-1]) != tau.shape[-1]:
        raise RuntimeError(f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{-2 if left else -1}], input.shape[-1])")
    if side != input.shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2]")
    if not left:
        return _h(ormqr(input, tau, _h(other), True, not transpose))
    v, scaled = _reflectors(input, tau)
    towards = _h(v) @ other
    if transpose:  # T^H = diag(tau)^H S^-H
        return other - v @ (tau.conj().unsqueeze(-1) * solve_triangular(_h(scaled), towards, upper=False))
    return other - v @ solve_triangular(scaled, tau.unsqueeze(-1) * towards, upper=True)
