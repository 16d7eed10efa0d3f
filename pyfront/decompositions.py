"""Decompositions by LAPACK on the host, differentiable: svd, eigh, qr, cholesky, solve, inv, determinants.

Each is an autograd.Function whose backward is written with tensor operations, so that it can be differentiated
again. Matrices are the last two dimensions; leading ones are batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import host_lapack, recorder
from .creation import of_array
from .function import Function, once_differentiable
from .promote import broadcast_shape
from .tensor import Tensor


_KINDS = "float32", "float64", "complex64", "complex128"


class LinAlgError(RuntimeError):
    """A matrix that is singular, not positive definite, or whose decomposition does not converge."""


def check_square(name: str, a: Tensor) -> None:
    """RuntimeError unless the last two sizes agree."""
    check_matrix(name, a)
    if a.shape[-1] != a.shape[-2]:
        raise RuntimeError(
            f"{name}: A must be batches of square matrices, but they are {a.shape[-2]} by {a.shape[-1]} matrices"
        )


def check_matrix(name: str, a: Tensor) -> None:
    """RuntimeError unless there are two dimensions of floating or complex numbers."""
    if a.dim() < 2:
        raise RuntimeError(
            f"{name}: The input tensor A must have at least 2 dimensions, but got {a.dim()} dimensions instead"
        )
    if a.dtype.name not in _KINDS:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {a.dtype}")


def _host(*tensors: Tensor) -> list[np.ndarray]:
    if recorder.state.levels:  # inside of vmap: all examples, which is a batch like any other
        return recorder.batches().host(*[t._read() for t in tensors])[1]
    return [np.asarray(t._value()) for t in tensors]


def _made(array: np.ndarray, *like: Tensor) -> Tensor:
    """A result, of the dtype of what it was made from."""
    return _as_made(array, like[0].dtype.numpy, *like)


def _made_real(array: np.ndarray, like: Tensor) -> Tensor:
    """A result of real numbers, as precise as what it was made from."""
    return _as_made(array, np.empty(0, like.dtype.numpy).real.dtype, like)


def _as_made(array: np.ndarray, dtype: Any, *like: Tensor) -> Tensor:
    """A result of another dtype than what it was made from."""
    held = np.array(array, dtype=dtype, order="C")
    if not recorder.state.levels:
        return of_array(held, like=like[0])
    return recorder.batches().from_host(recorder.batches().host(*[t._read() for t in like])[0], held)


def _h(a: Tensor) -> Tensor:
    """The transposed matrix, its elements conjugated."""
    turned = a.transpose(-2, -1)
    return turned.conj() if a.dtype.is_complex else turned


def _conjugated(a: np.ndarray) -> np.ndarray:
    """``_h`` of arrays."""
    return np.swapaxes(a.conj(), -2, -1)


def _of_triangle(a: np.ndarray) -> np.ndarray:
    """The Hermitian matrix that has this lower triangle."""
    below = np.tril(a, -1)
    return below + _conjugated(below) + np.eye(a.shape[-1], dtype=a.dtype) * a.real


def _check_phase(name: str, vectors: str, turned: np.ndarray) -> None:
    """RuntimeError where a loss depends on the phases of complex vectors: ``turned``, how fast it changes with each, is not 0."""
    if not np.allclose(turned.imag, 0, atol=1e-2, rtol=1e-2):
        raise RuntimeError(
            f"{name}: The {vectors} in the complex case are specified up to multiplication by e^{{i phi}}. "
            "The specified loss function depends on this quantity, so it is ill-defined."
        )


def _diagonal_free(differences: Tensor) -> Tensor:
    """With ones on the diagonal, to divide by."""
    n = differences.shape[-1]
    return differences + of_array(np.eye(n, dtype=differences.dtype.numpy), like=differences)


def _gaps(values: Tensor) -> Tensor:
    """values[k] - values[j] at (j, k), ones on the diagonal."""
    return _diagonal_free(values.unsqueeze(-2) - values.unsqueeze(-1))


def _skew(a: Tensor) -> Tensor:
    return a - _h(a)


def _real_diagonal(a: Tensor) -> Tensor:
    """The diagonal's real part, as a matrix of the same dtype."""
    diagonal = a.diagonal(0, -2, -1)
    return (diagonal.real.to(a.dtype) if a.dtype.is_complex else diagonal).diag_embed()


def _halves(a: Tensor) -> Tensor:
    """Half of the Hermitian matrix that has this lower triangle."""
    return 0.5 * (a.tril() + _h(a.tril(-1)))


class Svd(Function):
    """A = U diag(S) Vh, singular values falling.

    Source of the gradient: Wan and Zhang, Automatic differentiation for complex valued SVD (2019).
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, full: bool) -> tuple[Tensor, Tensor, Tensor]:
        (array,) = _host(a)
        try:
            u, s, vh = host_lapack.svd(array, full)
        except np.linalg.LinAlgError as error:
            raise LinAlgError(f"linalg.svd: {error}") from None
        parts = _made(u, a), _made_real(s, a), _made(vh, a)
        ctx.save_for_backward(*parts)
        return parts

    @staticmethod
    def backward(ctx: Any, gu: Tensor, gs: Tensor, gvh: Tensor) -> tuple[Tensor, None]:
        u, s, vh = ctx.saved_tensors
        k = s.shape[-1]
        u, vh, gu, gvh = u[..., :k], vh[..., :k, :], gu[..., :k], gvh[..., :k, :]
        gap = _gaps(s * s)
        row, column = s.unsqueeze(-2), s.unsqueeze(-1)
        towards_u, towards_v = _skew(_h(u) @ gu), _skew(vh @ _h(gvh))
        inner = towards_u / gap * row + column * (towards_v / gap) + gs.diag_embed()
        if u.dtype.is_complex:
            turned = towards_u.diagonal(0, -2, -1)
            _check_phase("svd_backward", "singular vectors", *_host((turned + towards_v.diagonal(0, -2, -1)).detach()))
            inner = inner + (turned / (2 * s)).diag_embed()
        left = u @ inner
        if u.shape[-2] > k:
            left = left + (gu - u @ (_h(u) @ gu)) / row
        ga = left @ vh
        if vh.shape[-1] > k:
            ga = ga + (u / row) @ (gvh - (gvh @ _h(vh)) @ vh)
        return ga, None


class Svdvals(Function):
    """Singular values alone: their gradient needs no gaps between them."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        s = host_lapack.svd(_host(a)[0], compute_uv=False)
        ctx.save_for_backward(a)
        return _made_real(s, a)

    @staticmethod
    def backward(ctx: Any, gs: Tensor) -> Tensor:
        u, _, vh = Svd.apply(ctx.saved_tensors[0], False)
        return (u * gs.unsqueeze(-2)) @ vh


class Eigh(Function):
    """Hermitian A = V diag(L) V^H, eigenvalues rising."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, uplo: str) -> tuple[Tensor, Tensor]:
        try:
            values, vectors = host_lapack.eigh(_host(a)[0], uplo)
        except np.linalg.LinAlgError as error:
            raise LinAlgError(f"linalg.eigh: {error}") from None
        parts = (_made_real(values, a), _made(vectors, a))
        ctx.save_for_backward(*parts)
        return parts

    @staticmethod
    def backward(ctx: Any, gl: Tensor, gv: Tensor) -> tuple[Tensor, None]:
        values, v = ctx.saved_tensors
        towards = _h(v) @ gv
        if v.dtype.is_complex:
            _check_phase("linalg_eigh_backward", "eigenvectors", *_host(towards.diagonal(0, -2, -1).detach()))
        inner = towards / _gaps(values)
        inner = inner - inner.diagonal(0, -2, -1).diag_embed() + gl.diag_embed()
        ga = v @ inner @ _h(v)
        return 0.5 * (ga + _h(ga)), None


class Eigvalsh(Function):
    """Eigenvalues of a Hermitian matrix alone: their gradient needs no gaps between them."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, uplo: str) -> Tensor:
        try:
            values = host_lapack.eigvalsh(_host(a)[0], uplo)
        except np.linalg.LinAlgError as error:
            raise LinAlgError(f"linalg.eigh: {error}") from None
        ctx.save_for_backward(a)
        ctx.uplo = uplo
        return _made_real(values, a)

    @staticmethod
    def backward(ctx: Any, gl: Tensor) -> tuple[Tensor, None]:
        _, v = Eigh.apply(ctx.saved_tensors[0], ctx.uplo)
        return (v * gl.unsqueeze(-2)) @ _h(v), None


class Eig(Function):
    """A = V diag(L) V^-1 with complex L and V. Differentiable once.

    Source of the gradient: Boeddeker et al., On the computation of complex-valued gradients (2017), with columns of V of length 1.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        (array,) = _host(a)
        try:
            values, vectors = host_lapack.eig(array)
        except np.linalg.LinAlgError as error:
            raise LinAlgError(f"linalg.eig: {error}") from None
        kind = np.result_type(array.dtype, np.complex64)
        parts = (_as_made(values, kind, a), _as_made(vectors, kind, a))
        ctx.save_for_backward(a, *parts)
        return parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gl: Tensor, gv: Tensor) -> Tensor:
        a, *parts = ctx.saved_tensors
        values, v, gl_, gv_ = _host(*parts, gl, gv)
        towards = _conjugated(v) @ gv_
        turned = np.diagonal(towards, axis1=-2, axis2=-1)
        _check_phase("linalg_eig_backward", "eigenvectors", turned)
        one = np.eye(values.shape[-1], dtype=bool)
        gap = np.where(one, 1, (values[..., None, :] - values[..., :, None]).conj())
        inner = np.where(one, gl_[..., None], (towards - (_conjugated(v) @ v) * turned.real[..., None, :]) / gap)
        back = _conjugated(v)
        found = host_lapack.solve(back, inner @ back)
        return _made(found if a.dtype.is_complex else found.real, a)


class Qr(Function):
    """A = Q R, Q with orthonormal columns, R upper triangular. mode: "reduced" or "complete"."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, mode: str) -> tuple[Tensor, Tensor]:
        q, r = host_lapack.qr(_host(a)[0], mode)
        parts = (_made(q, a), _made(r, a))
        ctx.save_for_backward(a, *parts)
        ctx.mode = mode
        return parts

    @staticmethod
    def backward(ctx: Any, gq: Tensor, gr: Tensor) -> tuple[Tensor, None]:
        a, q, r = ctx.saved_tensors
        m, n = a.shape[-2:]
        if ctx.mode == "complete" and m > n:
            raise RuntimeError(
                "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
            )
        if m >= n:
            return _qr_gradient(q, r, gq, gr), None
        rest = a[..., m:]
        gq = gq + rest @ _h(gr[..., m:])
        first = _qr_gradient(q, r[..., :m], gq, gr[..., :m])
        return _joined(first, q @ gr[..., m:]), None


def _joined(a: Tensor, b: Tensor) -> Tensor:
    from .joining import cat

    return cat([a, b], -1)


def _qr_gradient(q: Tensor, r: Tensor, gq: Tensor, gr: Tensor) -> Tensor:
    upper = (gr @ _h(r) - _h(q) @ gq).triu()
    symmetric = upper + _h(upper) - _real_diagonal(upper)
    return _h(TriangularSolve.apply(r, _h(gq + q @ symmetric), True, False))


class Pinv(Function):
    """The pseudo-inverse. cut: from singular values, what they have to exceed to count, a number per matrix; hermitian: one triangle is read."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, cut: Callable[[np.ndarray], np.ndarray], hermitian: bool) -> Tensor:
        (array,) = _host(a)
        u, s, vh = host_lapack.svd(_of_triangle(array) if hermitian else array, False)
        kept = s > cut(s)
        inverted = np.where(kept, 1 / np.where(kept, s, 1), 0)
        with host_lapack.on_few_threads(max(a.shape[-2:])):
            result = _made(_conjugated(vh) @ (inverted[..., None] * _conjugated(u)), a)
        ctx.save_for_backward(a, result)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        a, p = ctx.saved_tensors
        gh, ph = _h(g), _h(p)
        if a.shape[-2] <= a.shape[-1]:
            k = gh @ p
            kp = k @ ph
            return -_h(p @ k) + kp - (a @ p) @ kp + (ph @ p) @ (gh - k @ a), None, None
        k = p @ gh
        pk = ph @ k
        return -_h(k @ p) + (gh - a @ k) @ p @ ph + pk - (pk @ p) @ a, None, None


class Cholesky(Function):
    """A = L L^H with L lower triangular."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        (array,) = _host(a)
        try:
            result = _made(host_lapack.cholesky(array), a)
        except np.linalg.LinAlgError:
            orders = failing_minors(array)
            at = int(np.argmax(orders.ravel() > 0))
            which = f" (Batch element {at}):" if array.ndim > 2 else ""
            raise LinAlgError(
                f"linalg.cholesky:{which} The factorization could not be completed because the input is not positive-definite "
                f"(the leading minor of order {orders.ravel()[at]} is not positive-definite)."
            ) from None
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gl: Tensor) -> Tensor:
        (l,) = ctx.saved_tensors  # noqa: E741  # the field's letter
        half = TriangularSolve.apply(_h(l), _halves(_h(l) @ gl), True, False)  # L^-H phi
        return _h(TriangularSolve.apply(_h(l), _h(half), True, False))


def failing_minors(matrices: np.ndarray) -> np.ndarray:
    """int32 per matrix: order of the first leading minor without a Cholesky factor, 0 where all have one."""
    n = matrices.shape[-1]
    orders = np.zeros(matrices.shape[:-2], np.int32)
    for at in np.ndindex(orders.shape):
        for order in range(1, n + 1):
            try:
                host_lapack.cholesky(matrices[at][:order, :order])
            except np.linalg.LinAlgError:
                orders[at] = order
                break
    return orders


def minors(a: Tensor) -> np.ndarray:
    """failing_minors of a tensor; the usual case, that all have a factor, costs one factorisation."""
    (array,) = _host(a)
    try:
        host_lapack.cholesky(array)
    except np.linalg.LinAlgError:
        return failing_minors(array)
    return np.zeros(array.shape[:-2], np.int32)


def solved(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """X with x X = y, matrices of any batches. LinAlgError where x is singular."""
    if x.shape[:-2] != y.shape[:-2]:
        batch = broadcast_shape(x.shape[:-2], y.shape[:-2])
        x, y = [np.broadcast_to(matrices, (*batch, *matrices.shape[-2:])) for matrices in (x, y)]
    try:
        return host_lapack.solve(x, y)
    except np.linalg.LinAlgError:
        raise LinAlgError("torch.linalg.solve: The solver failed because the input matrix is singular.") from None


def solved_by_factor(factor: Tensor, b: Tensor, upper: bool) -> Tensor:
    """X with A X = B, given a Cholesky factor of A, of which one triangle is read."""
    held, right = _host(factor, b)
    first = host_lapack.triangular(held, right, upper, adjoint=upper)
    return _made(host_lapack.triangular(held, first, upper, adjoint=not upper), factor, b)


class Solve(Function):
    """X with A X = B, B of one or more columns."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        found = solved(*_host(a, b))
        result = _made(found, a, b)
        ctx.save_for_backward(a, result)
        ctx.shapes = tuple(a.shape), tuple(b.shape)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        a, x = ctx.saved_tensors
        gb = Solve.apply(_h(a), g)
        return (-gb @ _h(x)).sum_to_size(ctx.shapes[0]), gb.sum_to_size(ctx.shapes[1])


class TriangularSolve(Function):
    """X with A X = B for a triangular A, of which nothing else is read: of which nothing else has a gradient."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, upper: bool, unit: bool) -> Tensor:
        result = _made(host_lapack.triangular(*_host(a, b), upper, unit), a, b)
        ctx.save_for_backward(a, result)
        ctx.kind, ctx.shapes = (upper, unit), (tuple(a.shape), tuple(b.shape))
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None, None]:
        a, x = ctx.saved_tensors
        upper, unit = ctx.kind
        gb = TriangularSolve.apply(_h(a), g, not upper, unit)
        ga = -gb @ _h(x)
        ga = ga.triu(int(unit)) if upper else ga.tril(-int(unit))
        return ga.sum_to_size(ctx.shapes[0]), gb.sum_to_size(ctx.shapes[1]), None, None


class Inverse(Function):
    """A^-1."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        try:
            result = _made(host_lapack.inv(_host(a)[0]), a)
        except np.linalg.LinAlgError:
            raise LinAlgError(
                "linalg.inv: The diagonal element is zero, the inversion could not be completed because the input matrix "
                "is singular."
            ) from None
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return -(_h(y) @ g @ _h(y))


class Determinant(Function):
    """det A; its gradient is the cofactors, also where A is singular."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        result = _made(host_lapack.det(_host(a)[0]), a)
        ctx.save_for_backward(a, result)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        a, d = ctx.saved_tensors
        (held,) = _host(d)
        if held.size and (held != 0).all():
            return (g * d.conj()).unsqueeze(-1).unsqueeze(-1) * _h(Inverse.apply(a))
        return g.unsqueeze(-1).unsqueeze(-1) * _made(_cofactors(_host(a)[0]), a)


def _cofactors(a: np.ndarray) -> np.ndarray:
    """Conjugated."""
    u, s, vh = host_lapack.svd(a)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1.0, s[..., None, :]).prod(-1)
    sign = (host_lapack.det(u) * host_lapack.det(vh)).conj()
    return sign[..., None, None] * ((u * others[..., None, :]) @ vh)


class LogDeterminant(Function):
    """(sign of det A, log |det A|)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        sign, log = host_lapack.slogdet(_host(a)[0])
        parts = (_made(sign, a), _made_real(log, a))
        ctx.save_for_backward(a, parts[0])
        return parts

    @staticmethod
    def backward(ctx: Any, g_sign: Tensor, g: Tensor) -> Tensor:
        a, sign = ctx.saved_tensors
        if a.dtype.is_complex:  # the sign turns with the imaginary part of tr(A^-1 dA), the logarithm grows with the real one
            g = g - 1j * (g_sign.conj() * sign).imag
        return g.unsqueeze(-1).unsqueeze(-1) * _h(Inverse.apply(a))
