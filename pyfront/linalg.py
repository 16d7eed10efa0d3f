"""``torch.linalg``: norms, products, solvers and decompositions."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan, prod
from typing import Any

import numpy as np

from ..dialects.errors import UnsupportedError
from ..dialects.types import DType, int32, int64
from .complex_numbers import conj
from .creation import of_array
from .definitions import define, writes_out
from .decompositions import (
    Cholesky, Determinant, Eig, Eigh, Eigvalsh, Inverse, LinAlgError, LogDeterminant, Pinv, Qr, Solve, Svd, Svdvals, TriangularSolve, check_matrix,
    check_square, minors, solved_by_factor,
)  # fmt: skip
from .function import Function
from .linear_algebra import cross, matmul, outer  # noqa: F401  # public here too
from .matrix_functions import householder_product, matrix_exp  # noqa: F401  # public here too
from .origin import origin, source_line
from .promote import broadcast_shape, untouched
from .reductions import vector_norm
from .returns import (
    cholesky_ex_result, eig_result, eigh_result, inv_ex_result, lstsq_result, qr_result, root_svd_result, slogdet_result, solve_ex_result,
    svd_result, triangular_solve_result,
)  # fmt: skip
from .selection import where
from .sequences import eye
from .shaping import diagonal as _diagonal
from .shaping import reshaped
from .tensor import Tensor, dimension, wrap

# -- norms ---------------------------------------------------------------------------------------------------


def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """A vector norm, or a matrix norm when two dimensions (or a matrix and an order) are given."""
    A = A if dtype is None else A.to(dtype)
    if isinstance(dim, (tuple, list)) and len(dim) == 2 and ord is not None:
        return matrix_norm(A, ord, dim, keepdim)
    if dim is None and ord is not None and A.dim() == 2:
        return matrix_norm(A, ord, (0, 1), keepdim)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: order {ord!r} is for matrices; dim must give two dimensions")
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim)


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Orders "fro", "nuc", 1, -1, 2, -2, inf, -inf."""
    x = A if dtype is None else A.to(dtype)
    if x.dim() < 2:
        raise RuntimeError(
            f"linalg.matrix_norm: The input tensor A must have at least 2 dimensions, but got {x.dim()} dimensions instead"
        )
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    rows, columns = [dimension(d, x.dim()) for d in dim]
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({rows}, {columns})")
    if ord == "fro":
        return vector_norm(x, 2, (rows, columns), keepdim)
    if ord in ("nuc", 2, -2):
        s = svdvals(x.movedim((rows, columns), (-2, -1)))
        result = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord == 2 else s.amin(-1)
        return result if not keepdim else _with_ones(result, rows, columns)
    if ord not in (1, -1, inf, -inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    summed, other = (rows, columns) if ord in (1, -1) else (columns, rows)
    sums = x.abs().sum(summed, keepdim=True)
    result = sums.amax(other, keepdim=True) if ord in (1, inf) else sums.amin(other, keepdim=True)
    return result if keepdim else result.squeeze((rows, columns))


def _with_ones(result: Tensor, *dims: int) -> Tensor:
    for d in sorted(dims):
        result = result.unsqueeze(d)
    return result


def cond(A: Tensor, p: Any = None) -> Tensor:
    """The norm times the norm of the inverse."""
    if p in (None, 2, -2):
        s = svdvals(A)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


# -- products ------------------------------------------------------------------------------------------------


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The dot product along a dimension, of the conjugates of ``x``."""
    return (conj(x) * y).sum(dim)


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of several matrices, in the cheapest order; vectors may stand at the ends."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    listed = list(tensors)
    first, last = listed[0].dim() == 1, listed[-1].dim() == 1
    listed[0] = listed[0].unsqueeze(0) if first else listed[0]
    listed[-1] = listed[-1].unsqueeze(1) if last else listed[-1]
    result = _ordered(listed)
    result = result.squeeze(-1) if last else result
    return result.squeeze(0) if first else result


def _ordered(matrices: list[Tensor]) -> Tensor:
    """Dynamic programming over where to cut."""
    sizes = [m.shape[0] for m in matrices] + [matrices[-1].shape[1]]
    best: dict[tuple[int, int], tuple[float, int]] = {(i, i): (0, i) for i in range(len(matrices))}
    for span in range(1, len(matrices)):
        for i in range(len(matrices) - span):
            j = i + span
            best[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )

    def product(i: int, j: int) -> Tensor:
        k = best[i, j][1]
        return matrices[i] if i == j else matmul(product(i, k), product(k + 1, j))

    return product(0, len(matrices) - 1)


def matrix_power(A: Tensor, n: int) -> Tensor:
    """A multiplied with itself ``n`` times, or its inverse."""
    check_square("linalg.matrix_power", A) if A.dtype.kind == "f" else None
    if n < 0:
        return matrix_power(inv(A), -n)
    result = eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
    if n == 0:
        return wrap(untouched(result._read(), A._read()))
    base, result = A, None
    while n:
        if n & 1:
            result = base if result is None else matmul(result, base)
        n >>= 1
        base = matmul(base, base) if n else base
    return result.clone() if result is A else result


def vander(x: Tensor, *, N: int | None = None) -> Tensor:  # noqa: N803  # PyTorch's name
    """Powers 0 .. N - 1 of the elements, in a new last dimension."""
    x = x if x.dim() else x.reshape(1)
    count = x.shape[-1] if N is None else N
    if count <= 1:
        raise RuntimeError(f"N must be greater than 1. Got {count}.")
    return x.unsqueeze(-1) ** of_array(np.arange(count), like=x).to(x.dtype if x.dtype.kind == "f" else int64)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonal of the last two dimensions."""
    return _diagonal(A, offset, dim1, dim2)


# -- solving -------------------------------------------------------------------------------------------------


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (or X A = B); B may be a vector."""
    check_square("linalg.solve", A)
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found A of type {A.dtype} and B of type {B.dtype} "
            "instead"
        )
    is_vector = B.dim() == 1 or A.dim() - 1 == B.dim() and tuple(B.shape) == tuple(A.shape[:-1])
    if is_vector:
        return Solve.apply(A, B.unsqueeze(-1)).squeeze(-1)
    if B.shape[-2 if left else -1] != A.shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})"
        )
    return Solve.apply(A, B) if left else Solve.apply(A.mT, B.mT).mT


def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with A X = B (or X A = B) for a triangular A, of which nothing else is read."""
    check_square("linalg.solve_triangular", A)
    if left:
        return TriangularSolve.apply(A, B, upper, unitriangular)
    return TriangularSolve.apply(A.mT, B.mT, not upper, unitriangular).mT


def inv(A: Tensor) -> Tensor:
    """The inverse. LinAlgError when there is none."""
    check_square("linalg.inv", A)
    return Inverse.apply(A)


def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and 0 where it exists."""
    result = inv(A)
    return inv_ex_result(result, result.new_zeros(tuple(A.shape[:-2]), dtype=int32))


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """``solve``, and 0 where it could."""
    result = solve(A, B, left=left)
    return solve_ex_result(result, result.new_zeros(tuple(A.shape[:-2]), dtype=int32))


def det(A: Tensor) -> Tensor:
    """The determinant."""
    check_square("linalg.det", A)
    return Determinant.apply(A)


def slogdet(A: Tensor) -> Any:
    """The determinant's sign, and the logarithm of its magnitude."""
    check_square("linalg.slogdet", A)
    return slogdet_result(*LogDeterminant.apply(A))


def pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """The pseudo-inverse: singular values below a tolerance count as 0."""
    check_matrix("linalg.pinv", A)
    if not A.numel():
        return A.mH.clone()
    return Pinv.apply(A, lambda s: np.asarray(_tolerance(A, of_array(s, like=A), atol, rtol if rcond is None else rcond)._value()), hermitian)


def _tolerance(A: Tensor, s: Tensor, atol: Any, rtol: Any) -> Tensor:
    if rtol is None:
        rtol = 0.0 if atol is not None else float(np.finfo(A.dtype.numpy).eps) * max(A.shape[-2:])
    relative = s.detach().amax(-1, keepdim=True) * (rtol.unsqueeze(-1) if isinstance(rtol, Tensor) else rtol)
    if atol is None:
        return relative
    return relative.maximum((atol if isinstance(atol, Tensor) else relative.new_full((), atol)).unsqueeze(-1))


def matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """How many singular values exceed a tolerance."""
    s = svdvals(A.detach())
    if not s.shape[-1]:
        return s.new_zeros(tuple(s.shape[:-1]), dtype=int64)
    return (s > _tolerance(A, s, atol if tol is None else tol, rtol)).sum(-1)


def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:
    """X with the least |A X - B|."""
    check_matrix("torch.linalg.lstsq", A)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(f"torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got {driver}")
    is_vector = A.dim() - 1 == B.dim()
    right = B.unsqueeze(-1) if is_vector else B
    solution = pinv(A, rcond) @ right
    nothing = _squared(A.new_zeros(0))  # of real numbers
    untold = _squared(A @ solution - right).reshape(-1)[:0]  # no residuals: of them, too, history says what they would be of
    rank = matrix_rank(A, rtol=rcond)
    m, n = A.shape[-2:]
    full = m > n and driver not in (None, "gelsy") and bool((rank == n).all())
    residuals = _squared(A @ solution - right).sum(-2) if full else untold
    values = svdvals(A.detach()) if driver in ("gelsd", "gelss") else nothing
    solution = solution.squeeze(-1) if is_vector else solution
    return lstsq_result(solution, residuals, rank if driver != "gels" else nothing.to(int64), values)


def _squared(x: Tensor) -> Tensor:
    return x.real**2 + x.imag**2 if x.dtype.is_complex else x**2


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A seen as a matrix from its last dimensions to its first ``ind``."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    first, last = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if prod(first) != prod(last):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), "
            f"but got {prod(last)} != {prod(first)}"
        )
    return reshaped(inv(reshaped(A, (prod(first), prod(last)))), (*last, *first))


def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """X with tensordot(A, X) = B."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.dim() - len(dims), A.dim())))
    shape = tuple(A.shape[B.dim() :])
    if prod(shape) != B.numel():
        raise RuntimeError("Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim])")  # fmt: skip
    return reshaped(solve(reshaped(A, (B.numel(), prod(shape))), reshaped(B, (B.numel(),))), shape)


# -- decompositions ------------------------------------------------------------------------------------------


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with L L^H = A (or its adjoint). LinAlgError when A is not positive definite."""
    check_square("linalg.cholesky", A)
    result = Cholesky.apply(A)
    return result.mH if upper else result


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False, out: Any = None) -> Any:
    """``cholesky``, and 0 where it exists; else the order of the leading minor that has none, and no numbers."""
    if out is not None:
        found = cholesky_ex(A, upper=upper, check_errors=check_errors)
        return cholesky_ex_result(*[o.resize_(r.shape).copy_(r) for o, r in zip(out, found, strict=True)])
    check_square("linalg.cholesky_ex", A)
    orders = minors(A)
    if check_errors or not orders.any():
        result = cholesky(A, upper=upper)
    else:
        broken = of_array(orders > 0, like=A).unsqueeze(-1).unsqueeze(-1)
        result = cholesky(where(broken, eye(A.shape[-1], dtype=A.dtype, device=A.device), A), upper=upper).masked_fill(broken, nan)
    return cholesky_ex_result(result, of_array(orders, like=A))


def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular; modes "reduced", "complete", "r"."""
    check_matrix("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    q, r = Qr.apply(A, "complete" if mode == "complete" else "reduced")
    return qr_result(A.new_zeros(0) if mode == "r" else q, r)


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, S, Vh."""
    check_matrix("linalg.svd", A)
    return svd_result(*Svd.apply(A, full_matrices))


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values, falling."""
    check_matrix("linalg.svdvals", A)
    return Svdvals.apply(A)


def eigh(A: Tensor, UPLO: str = "L") -> Any:  # noqa: N803  # PyTorch's name
    """Eigenvalues, rising, and eigenvectors of a symmetric or Hermitian matrix, of which one triangle is read."""
    return eigh_result(*Eigh.apply(A, _triangle(A, UPLO)))


def _triangle(matrix: Tensor, letter: str) -> str:
    """Which triangle of a square matrix is read."""
    check_square("linalg.eigh", matrix)
    if letter.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {letter}")
    return letter.upper()


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:  # noqa: N803  # PyTorch's name
    """Eigenvalues of a symmetric or Hermitian matrix, rising."""
    return Eigvalsh.apply(A, _triangle(A, UPLO))


def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors (columns of length 1) of a square matrix, complex, in no order."""
    check_square("linalg.eig", A)
    return eig_result(*Eig.apply(A))


def eigvals(A: Tensor) -> Tensor:
    """Eigenvalues of a square matrix, complex, in no order."""
    return eig(A).eigenvalues


# -- names of the root ---------------------------------------------------------------------------------------


def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative, of complex matrices the principal value."""
    sign, log = slogdet(input)
    if input.dtype.is_complex:
        return sign.log() + log
    return log.masked_fill(sign < 0, float("nan"))


def root_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """``torch.svd``: U, S, V."""
    u, s, vh = svd(input, full_matrices=not some)
    return root_svd_result(u, s, vh.mH)


def root_qr(input: Tensor, some: bool = True) -> Any:
    """``torch.qr``: Q, R."""
    return qr(input, "reduced" if some else "complete")


def root_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """``torch.cholesky``."""
    return cholesky(input, upper=upper)


class _CholeskySolve(Function):
    """X with L L^H X = B. All of L gets a gradient, as in PyTorch, though one triangle of it is read."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, factor: Tensor, upper: bool) -> Tensor:
        x = solved_by_factor(factor, b, upper)
        ctx.save_for_backward(factor, x)
        ctx.upper, ctx.shapes = upper, (tuple(b.shape), tuple(factor.shape))
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        factor, x = ctx.saved_tensors
        gb = _CholeskySolve.apply(g, factor, ctx.upper)
        both = gb @ x.mH
        both = both + both.mH
        slope = -(factor @ both) if ctx.upper else -(both @ factor)
        return gb.sum_to_size(ctx.shapes[0]), slope.sum_to_size(ctx.shapes[1]), None


def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:  # noqa: N803  # PyTorch's names
    """X with A X = B, given A's Cholesky factor."""
    return _CholeskySolve.apply(B, L, upper)


def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False  # noqa: N803  # PyTorch's name
) -> Any:
    """``torch.triangular_solve``: X with A X = input (or A^T X), and A."""
    matrix, is_upper = (A.mT, not upper) if transpose else (A, upper)
    batch = broadcast_shape(tuple(A.shape[:-2]), tuple(input.shape[:-2]))
    right = input.expand((*batch, *input.shape[-2:]))
    solution = solve_triangular(matrix.expand((*batch, *A.shape[-2:])), right, upper=is_upper, unitriangular=unitriangular)
    return triangular_solve_result(solution, A.clone())


def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:  # noqa: N803  # PyTorch's name
    """A^-1, given A's Cholesky factor."""
    return cholesky_solve(eye(L.shape[-1], dtype=L.dtype, device=L.device).expand(L.shape), L, upper)


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """``torch.pinverse``."""
    return pinv(input, rcond)


ROOT = {
    "det": det, "logdet": logdet, "slogdet": slogdet, "inverse": inv, "pinverse": pinverse, "matrix_power": matrix_power,
    "cholesky": root_cholesky, "cholesky_solve": cholesky_solve, "cholesky_inverse": cholesky_inverse, "qr": root_qr,
    "svd": root_svd, "triangular_solve": triangular_solve,
}  # fmt: skip
for _name, _function in ROOT.items():
    define(_name, also={"input": _function.__code__.co_varnames[0], "input2": "L"})(_function)
for _name in (
    "cholesky cholesky_ex cond cross det eig eigh eigvals eigvalsh householder_product inv inv_ex matmul matrix_norm matrix_power matrix_rank multi_dot norm "
    "pinv qr slogdet solve solve_ex solve_triangular lstsq svd svdvals tensorinv tensorsolve vecdot vector_norm"
).split():
    globals()[_name] = writes_out(globals()[_name])
