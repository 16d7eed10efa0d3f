"""Decompositions, solutions and determinants of complex matrices against PyTorch: values, gradients, second gradients."""

from __future__ import annotations

import lamina
import numpy as np
import pytest
import torch

BOTH = (lamina, torch)


def _random(*shape):
    r = np.random.default_rng(sum(shape))
    return r.standard_normal(shape) + 1j * r.standard_normal(shape)


def _positive(*shape):
    a = _random(*shape)
    return a @ np.swapaxes(a.conj(), -1, -2) + np.eye(shape[-1])


def _eigh(t, a):
    values, vectors = t.linalg.eigh(a)
    return values, vectors.abs() ** 2


def _svd(t, a):
    u, s, vh = t.linalg.svd(a, full_matrices=False)
    return s, u @ vh, u.abs() ** 2, vh.abs() ** 2


def _lu_solve(left, adjoint):
    return lambda t, a, b: t.linalg.lu_solve(*t.linalg.lu_factor(a), b, left=left, adjoint=adjoint)


SQUARE, TALL, WIDE, RIGHT, LEFT = _random(2, 4, 4), _random(2, 5, 3), _random(2, 3, 5), _random(2, 4, 3), _random(2, 3, 4)

# what is computed, and of what; every result has a gradient
SMOOTH = {
    "inv": (lambda t, a: t.linalg.inv(a), SQUARE),
    "det": (lambda t, a: t.linalg.det(a), SQUARE),
    "slogdet": (lambda t, a: t.linalg.slogdet(a), SQUARE),
    "logdet": (lambda t, a: t.logdet(a), SQUARE),
    "solve": (lambda t, a, b: t.linalg.solve(a, b), SQUARE, RIGHT),
    "solve from the right": (lambda t, a, b: t.linalg.solve(a, b, left=False), SQUARE, LEFT),
    "solve a vector": (lambda t, a, b: t.linalg.solve(a, b), SQUARE[0], RIGHT[0, :, 0]),
    "upper triangle": (lambda t, a, b: t.linalg.solve_triangular(a.triu(), b, upper=True), SQUARE, RIGHT),
    "lower triangle": (lambda t, a, b: t.linalg.solve_triangular(a.tril(), b, upper=False, left=False), SQUARE, LEFT),
    "cholesky": (lambda t, a: t.linalg.cholesky(a), _positive(2, 4, 4)),
    "cholesky, upper": (lambda t, a: t.linalg.cholesky(a, upper=True), _positive(2, 4, 4)),
    "cholesky_solve": (lambda t, b, a: t.cholesky_solve(b, t.linalg.cholesky(a)), RIGHT, _positive(2, 4, 4)),
    "cholesky_solve, upper": (lambda t, b, a: t.cholesky_solve(b, t.linalg.cholesky(a, upper=True), True), RIGHT, _positive(2, 4, 4)),
    "svd": (_svd, SQUARE),
    "svd, tall": (_svd, TALL),
    "svd, wide": (_svd, WIDE),
    "svdvals": (lambda t, a: t.linalg.svdvals(a), TALL),
    "torch.svd": (lambda t, a: (lambda u, s, v: (s, u @ v.mH))(*t.svd(a)), WIDE),
    "qr": (lambda t, a: t.linalg.qr(a), TALL),
    "qr, wide": (lambda t, a: t.linalg.qr(a), WIDE),
    "pinv": (lambda t, a: t.linalg.pinv(a), TALL),
    "pinv, wide": (lambda t, a: t.linalg.pinv(a), WIDE),
    "pinv, hermitian": (lambda t, a: t.linalg.pinv(a, hermitian=True), _positive(2, 4, 4)),
    "lu": (lambda t, a: t.linalg.lu(a)[1:], SQUARE),
    "lu, tall": (lambda t, a: t.linalg.lu(a)[1:], TALL),
    "lu, wide": (lambda t, a: t.linalg.lu(a)[1:], WIDE),
    "lu_solve": (_lu_solve(True, False), SQUARE, RIGHT),
    "lu_solve, adjoint": (_lu_solve(True, True), SQUARE, RIGHT),
    "lu_solve from the right": (_lu_solve(False, False), SQUARE, LEFT),
    "eigh": (_eigh, _positive(2, 4, 4)),
    "eigvalsh, upper": (lambda t, a: t.linalg.eigvalsh(a, UPLO="U"), SQUARE),
    "matrix_exp": (lambda t, a: t.matrix_exp(a), SQUARE),
    "matrix_power": (lambda t, a: t.linalg.matrix_power(a, -3), SQUARE),
    "householder_product": (lambda t, a, b: t.linalg.householder_product(a, b), TALL, _random(2, 3)),
    "ormqr": (lambda t, a, b, c: t.ormqr(a, b, c, transpose=True), TALL, _random(2, 3), _random(2, 5, 4)),
    "cond": (lambda t, a: t.linalg.cond(a), SQUARE),
    "nuclear norm": (lambda t, a: t.linalg.matrix_norm(a, "nuc"), TALL),
    "tensorsolve": (lambda t, a, b: t.linalg.tensorsolve(a, b), _random(4, 2, 2), _random(4)),
}  # fmt: skip


def _numbers(x):
    return (x.detach().resolve_conj() if isinstance(x, torch.Tensor) else x.detach()).numpy()


def _near(mine, theirs):
    for a, b in zip(map(_numbers, mine), map(_numbers, theirs), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)


def _all(t, function, arrays):
    """Results, gradients of a weighted sum of them, and gradients of those gradients' squares."""
    xs = [t.tensor(a, requires_grad=True) for a in arrays]
    results = function(t, *xs)
    results = list(results) if isinstance(results, tuple) else [results]
    weights = np.random.default_rng(1)
    loss = 0
    for y in results:
        weighted = y * t.tensor(weights.standard_normal(tuple(y.shape)) + 1j * weights.standard_normal(tuple(y.shape)))
        loss = loss + weighted.real.sum()
    first = t.autograd.grad(loss, xs, create_graph=True)
    second = t.autograd.grad(sum((g.real**2 + g.imag**2).sum() for g in first), xs)
    return results, first, second


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOOTH)
def test_values_and_gradients(name):
    function, *arrays = SMOOTH[name]
    for mine, theirs in zip(*(_all(t, function, arrays) for t in BOTH), strict=True):
        _near(mine, theirs)


PLAIN = {
    "complete svd": (lambda t, a: [x.abs() for x in t.linalg.svd(a)], TALL),
    "complete qr": (lambda t, a: t.linalg.qr(a, mode="complete"), TALL),
    "geqrf": (lambda t, a: t.geqrf(a), TALL),
    "least squares": (lambda t, a, b: [t.linalg.lstsq(a, b, driver="gels")[k] for k in (0, 1)], TALL, _random(2, 5, 2)),
    "rank": (lambda t, a: [t.linalg.matrix_rank(a)], TALL),
    "ldl, symmetric": (lambda t, a: t.linalg.ldl_factor(a + a.mT), SQUARE),
    "ldl, hermitian": (lambda t, a: t.linalg.ldl_factor(a, hermitian=True), _positive(2, 4, 4) - 6 * np.eye(4)),
    "ldl_solve": (lambda t, a, b: [t.linalg.ldl_solve(*t.linalg.ldl_factor(a, hermitian=True), b, hermitian=True)], _positive(2, 4, 4) - 6 * np.eye(4), RIGHT),
    "single precision": (lambda t, a: [t.linalg.inv(a.to(t.complex64)).abs().round(decimals=3)], SQUARE),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_values(name):
    function, *arrays = PLAIN[name]
    _near(*(list(function(t, *map(t.tensor, arrays))) for t in BOTH))


def test_hermitian_blocks_of_two():
    from lamina.pyfront import ldl

    array = np.array([[0, 1 - 2j, 0.1], [1 + 2j, 0, 0.3j], [0.1, -0.3j, 0.2]])
    factors, pivots, zero = ldl.factored(array, True)
    assert (pivots < 0).any() and zero == 0
    np.testing.assert_allclose(array @ ldl.solved(factors, pivots, np.eye(3) + 0j, True), np.eye(3), atol=1e-12)


def test_the_slope_of_a_singular_determinant_is_that_of_differences():
    array = _random(4, 4)
    array[0] = array[1]
    a = lamina.tensor(array, requires_grad=True)
    lamina.linalg.det(a).real.backward()
    for way in (1e-6, 1e-6j):
        for at in ((0, 0), (1, 3), (2, 2)):
            step = np.zeros((4, 4), complex)
            step[at] = way
            slope = (np.linalg.det(array + step) - np.linalg.det(array - step)).real / 2e-6
            found = complex(a.grad[at])
            assert abs((found.real if way == 1e-6 else found.imag) - slope) < 1e-6


@pytest.mark.parametrize("function,word", [(lambda t, a: t.linalg.eigh(a)[1], "eigenvectors"), (lambda t, a: t.linalg.svd(a)[0], "singular vectors")])
def test_what_depends_on_phases_has_no_gradient(function, word):
    for t in BOTH:
        vectors = function(t, t.tensor(_positive(4, 4), requires_grad=True))
        with pytest.raises(RuntimeError, match=f"The {word} in the complex case are specified up to multiplication"):
            (vectors.imag**3 + vectors.real).sum().backward()


def test_what_has_no_factor_is_refused():
    for t in BOTH:
        with pytest.raises(RuntimeError, match="not positive-definite"):
            t.linalg.cholesky(t.tensor(-_positive(3, 3)))
        with pytest.raises(RuntimeError, match="singular"):
            t.linalg.inv(t.zeros(3, 3, dtype=t.complex128))


def test_a_tolerance_of_the_largest_singular_value_leaves_none():
    array = np.random.default_rng(0).standard_normal((5, 5))
    for t in BOTH:
        assert not t.linalg.pinv(t.tensor(array), rtol=1.0).any()


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("size", [2, 5, 8])
def test_running_products(dim, size):
    array = _random(size, size)
    array[size // 2, 0] = 0
    for mine, theirs in zip(*(_all(t, lambda t, a: t.cumprod(a, dim), [array]) for t in BOTH), strict=True):
        _near(mine, theirs)
