"""Eigenvalues of symmetric matrices without their vectors: values, gradients through both triangles, refusals, and that no vectors are computed."""

from __future__ import annotations

import lamina
import numpy as np
import pytest
from lamina.pyfront import host_lapack

MATRIX = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 3.0]])


def test_no_vectors_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_lapack, "eigh", lambda *_: pytest.fail("vectors were computed"))
    found = lamina.linalg.eigvalsh(lamina.tensor(MATRIX))
    np.testing.assert_allclose(found.numpy(), np.linalg.eigvalsh(MATRIX))


@pytest.mark.parametrize("letter", ["L", "U"])
def test_gradients_are_those_of_values_with_vectors(letter: str) -> None:
    weights = lamina.tensor([1.0, -2.0, 0.5], dtype=lamina.float64)
    slopes = []
    for values in (lamina.linalg.eigvalsh, lambda a, u: lamina.linalg.eigh(a, u)[0]):
        a = lamina.tensor(MATRIX, requires_grad=True)
        slopes.append(lamina.autograd.grad((values(a, letter) * weights).sum(), a, create_graph=True)[0])
    np.testing.assert_allclose(slopes[0].tolist(), slopes[1].tolist(), atol=1e-12)


def test_second_derivatives() -> None:
    a = lamina.tensor(MATRIX, requires_grad=True)
    assert lamina.autograd.gradgradcheck(lambda m: lamina.linalg.eigvalsh(m + m.T), (a,))


def test_the_other_letters_are_refused() -> None:
    with pytest.raises(RuntimeError, match="UPLO"):
        lamina.linalg.eigvalsh(lamina.tensor(MATRIX), "X")
