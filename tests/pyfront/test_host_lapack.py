"""Triangular solutions and LU factors by numpy's library, by themselves and against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import lamina
from lamina.pyfront import host_lapack

R = np.random.default_rng(0)


@pytest.fixture(params=["library", "numpy"])
def road(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(host_lapack, "_symbol", lambda name: None)
    return request.param


def _random(shape, dtype):
    a = R.standard_normal(shape)
    return (a + 1j * R.standard_normal(shape) if np.dtype(dtype).kind == "c" else a).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("a_batch,b_batch", [((), ()), ((3,), ()), ((), (2,)), ((2, 1), (3,))])
def test_triangular_solutions(road, dtype, upper, unit, adjoint, a_batch, b_batch):
    a = _random((*a_batch, 5, 5), dtype) + 4 * np.eye(5, dtype=dtype)
    b = _random((*b_batch, 5, 3), dtype)
    held = b.copy()
    x = host_lapack.triangular(a, b, upper, unit, adjoint)
    kept = np.triu(a, int(unit)) if upper else np.tril(a, -int(unit))
    kept = kept + np.eye(5, dtype=dtype) if unit else kept
    kept = kept.swapaxes(-1, -2).conj() if adjoint else kept
    assert x.dtype == dtype
    np.testing.assert_allclose(kept @ x, np.broadcast_to(b, x.shape), rtol=0, atol=1e-4 if dtype in (np.float32, np.complex64) else 1e-12)
    np.testing.assert_array_equal(b, held)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (2, 3, 4, 4), (1, 1), (0, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_factors_are_those_of_elimination(shape, dtype):
    a = _random(shape, dtype)
    found, pivots = host_lapack.factored(a)
    wanted, steps = host_lapack.eliminated(a)
    np.testing.assert_array_equal(pivots, steps)
    assert pivots.dtype == np.int32 and found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 if dtype in (np.float32, np.complex64) else 1e-12)


def test_threads_are_what_they_were_and_one_in_between():
    found = host_lapack._threads()
    if found is None:
        pytest.skip("numpy's library of linear algebra has no OpenBLAS threads")
    ask, tell = found
    before = ask()
    try:
        tell(2)
        with host_lapack.on_few_threads(64):
            assert ask() == 1
        assert ask() == 2
        with host_lapack.on_few_threads(host_lapack.LARGE):
            assert ask() == 2
    finally:
        tell(before)


@pytest.mark.torch
@pytest.mark.parametrize("upper", [False, True])
def test_a_zero_on_the_diagonal_and_gradients_are_pytorch_s(upper):
    torch = pytest.importorskip("torch")
    a, b = R.standard_normal((2, 4, 4)) + 3 * np.eye(4), R.standard_normal((4, 2))
    grads = []
    for t in (lamina, torch):
        x, y = (t.from_numpy(v.copy()).requires_grad_() for v in (a, b))
        solved = t.linalg.solve_triangular(x, y.expand(2, 4, 2), upper=upper)
        (solved**2).sum().backward()
        other = t.linalg.solve_triangular(x.detach().mT, y.detach().mT.expand(2, 2, 4), upper=upper, left=False)
        grads.append([v.detach().numpy() for v in (solved, x.grad, y.grad, other)])
    for mine, theirs in zip(*grads, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)
    singular = np.diag([1.0, 0.0, 2.0])
    found, wanted = (t.linalg.solve_triangular(t.from_numpy(singular), t.ones((3, 1), dtype=t.float64), upper=upper).numpy() for t in (lamina, torch))
    np.testing.assert_array_equal(found, wanted)
