"""Decompositions of matrices without symmetry, LDL factors and products with reflectors, against PyTorch."""

import lamina
import numpy as np
import pytest
import torch
from lamina.pyfront import ldl

BOTH = (lamina, torch)
R = np.random.default_rng(0)


def _near(mine, theirs, tolerance=1e-8):
    assert str(mine.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1] and tuple(mine.shape) == tuple(theirs.shape)
    np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 3), (1, 1), (0, 3, 3)])
def test_eigenvalues_and_vectors(dtype, shape):
    array = R.standard_normal(shape).astype(dtype)
    array = array + 1j * R.standard_normal(shape).astype(array.real.dtype) if array.dtype.kind == "c" else array
    values, vectors = lamina.linalg.eig(lamina.tensor(array))
    theirs = torch.linalg.eig(torch.tensor(array))
    tolerance = 1e-4 if dtype in ("float32", "complex64") else 1e-9
    _near(values, theirs.eigenvalues, tolerance)
    _near(vectors.abs(), theirs.eigenvectors.abs(), tolerance)
    _near(lamina.linalg.eigvals(lamina.tensor(array)), theirs.eigenvalues, tolerance)
    product = vectors.numpy() * values.numpy()[..., None, :]
    np.testing.assert_allclose(array @ vectors.numpy(), product, atol=10 * tolerance)


def test_real_eigenvalues_are_complex_numbers():
    for t in BOTH:
        found = t.linalg.eig(t.tensor([[2.0, 1.0], [0.0, 3.0]]))
        assert found.eigenvalues.dtype is t.complex64 and found.eigenvectors.dtype is t.complex64


@pytest.mark.parametrize("kind", [np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 3)])
def test_gradients_of_eig(kind, shape):
    array, weight = R.standard_normal(shape).astype(kind), R.standard_normal(shape)
    array = array + 1j * R.standard_normal(shape) if kind is np.complex128 else array
    slopes = []
    for t in BOTH:
        a = t.tensor(array, requires_grad=True)
        values, vectors = t.linalg.eig(a)
        ((vectors.abs() ** 2 * t.tensor(weight)).sum() + (values.real**2 + values.imag).sum()).backward()
        slopes.append(a.grad)
    _near(*slopes)


def test_what_depends_on_the_phase_of_an_eigenvector_has_no_gradient():
    for t in BOTH:
        a = t.tensor([[0.0, 1.0], [-2.0, 0.5]], requires_grad=True)
        loss = t.linalg.eig(a).eigenvectors.imag.pow(3).sum() + t.linalg.eig(a).eigenvectors.real.sum()
        with pytest.raises(RuntimeError, match="linalg_eig_backward"):
            loss.backward()


def test_eig_refuses_what_is_not_square():
    for t in BOTH:
        with pytest.raises(RuntimeError, match="must be batches of square matrices"):
            t.linalg.eig(t.ones(2, 3))


def _symmetric(shape, seed):
    a = np.random.default_rng(seed).standard_normal(shape)
    return a + np.swapaxes(a, -1, -2)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 5), (9, 9), (2, 3, 4, 4), (0, 0)])
@pytest.mark.parametrize("seed", range(4))
def test_ldl(shape, seed):
    array = _symmetric(shape, seed)
    right = np.random.default_rng(9).standard_normal((*shape[:-1], 3))
    mine, theirs = [t.linalg.ldl_factor_ex(t.tensor(array)) for t in BOTH]
    for a, b in zip(mine, theirs, strict=True):
        _near(a, b)
    _near(*[t.linalg.ldl_solve(*t.linalg.ldl_factor(t.tensor(array)), t.tensor(right)) for t in BOTH])


def test_ldl_takes_blocks_of_two():
    array = np.zeros((4, 4)) + np.fliplr(np.diag([1.0, 2.0, 2.0, 1.0]))
    factors, pivots, zero = ldl.factored(array, False)
    assert (pivots < 0).all() and zero == 0
    np.testing.assert_allclose(array @ ldl.solved(factors, pivots, np.eye(4), False), np.eye(4), atol=1e-12)


def test_ldl_of_a_singular_matrix_says_where():
    assert [int(t.linalg.ldl_factor_ex(t.zeros(3, 3)).info) for t in BOTH] == [1, 1]


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("rows,columns", [(5, 5), (6, 3), (3, 3)])
def test_ormqr(left, transpose, rows, columns):
    array = R.standard_normal((2, rows, columns))
    shape = (2, rows, 4) if left else (2, 4, rows)
    other, results, slopes = R.standard_normal(shape), [], []
    packed, scales = (x.numpy() for x in torch.geqrf(torch.tensor(array)))
    for t in BOTH:
        parts = [t.tensor(x, requires_grad=True) for x in (packed, scales, other)]
        y = t.ormqr(*parts, left=left, transpose=transpose)
        y.pow(2).mul(t.arange(y.numel()).reshape(y.shape)).sum().backward()
        results.append(y)
        slopes.append([p.grad for p in parts])
    _near(*results)
    for mine, theirs in zip(*slopes, strict=True):
        _near(mine, theirs)


def test_residuals_that_are_not_told_have_a_history():
    for t in BOTH:
        found = t.linalg.lstsq(t.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True), t.ones(2, 1))
        assert tuple(found.residuals.shape) == (0,) and found.residuals.requires_grad
