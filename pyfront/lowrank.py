"""Low rank: the largest singular values and principal components of a matrix, found in a random subspace."""

from __future__ import annotations

from typing import Any

from .definitions import define
from .linalg import cholesky, eigh, qr, solve_triangular, svd
from .random_tensors import randn
from .tensor import Tensor

Parts = tuple[Tensor, Tensor, Tensor]


@define("svd_lowrank", method=False)
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> Parts:
    """U, S, V of ``A - M``, with U diag(S) V^T close to it: of its rank when that is at most q (Halko et al., 2009, algorithm 5.1)."""
    matrix = A if M is None else A - M
    tall = matrix.shape[-2] >= matrix.shape[-1]
    matrix = matrix if tall else matrix.mH
    basis = _basis(matrix, 6 if q is None else q, 2 if niter is None else niter)
    u, s, vh = svd(basis.mH @ matrix, full_matrices=False)
    u, v = basis @ u, vh.mH
    return (u, s, v) if tall else (v, s, u)


def _basis(matrix: Tensor, columns: int, rounds: int) -> Tensor:
    """Orthonormal columns that span most of what a tall matrix reaches."""
    found = qr(matrix @ randn(matrix.shape[-1], columns, dtype=matrix.dtype, device=matrix.device))[0]
    for _ in range(rounds):
        found = qr(matrix @ qr(matrix.mH @ found)[0])[0]
    return found


@define("pca_lowrank", method=False)
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> Parts:
    """U, S, V of a matrix of samples, whose mean is taken away: the columns of V are its principal directions."""
    m, n = A.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


def lobpcg(
    A: Tensor, k: int | None = None, B: Tensor | None = None, X: Tensor | None = None, n: int | None = None, iK: Tensor | None = None,
    niter: int | None = None, tol: float | None = None, largest: bool | None = None, method: str | None = None, tracker: Any = None,
    ortho_iparams: Any = None, ortho_fparams: Any = None, ortho_bparams: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The k largest (or smallest) eigenvalues of a symmetric matrix, of ``A x = l B x`` with a B, and their vectors.

    They are those of the whole decomposition, which iterations only come near to: where to begin and when to stop do not matter.
    """
    A = A.to_dense() if A.is_sparse else A
    if A.shape[-1] != A.shape[-2]:
        raise RuntimeError("A must be a square matrix")
    count = k if k is not None else 1 if X is None else X.shape[-1]
    root = None if B is None else cholesky(B.to_dense() if B.is_sparse else B)
    if root is not None:
        half = solve_triangular(root, A, upper=False)
        A = solve_triangular(root, half.mT, upper=False)
    values, vectors = eigh(A)
    if largest is None or largest:
        values, vectors = values.flip(-1), vectors.flip(-1)
    values, vectors = values[..., :count], vectors[..., :count]
    return values, vectors if root is None else solve_triangular(root.mT, vectors, upper=True)
