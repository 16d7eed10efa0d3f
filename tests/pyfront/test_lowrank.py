"""Low-rank decompositions: the factors PyTorch finds with the same seed, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lamina

torch = pytest.importorskip("torch")
A = np.random.RandomState(0).randn(9, 3).astype(np.float32) @ np.random.RandomState(1).randn(3, 7).astype(np.float32)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("pca", [False, True])
def test_against_pytorch(pca: bool, wide: bool) -> None:
    def run(lib: Any) -> list[np.ndarray]:
        lib.manual_seed(0)
        x = lib.from_numpy((A.T if wide else A).copy()).requires_grad_()
        u, s, v = lib.pca_lowrank(x, 2) if pca else lib.svd_lowrank(x, 3, niter=1, M=0.1 * lib.ones_like(x))
        s.sum().backward()
        return [t.detach().numpy() for t in (s, (u * s) @ v.mT, x.grad)]

    for got, want in zip(run(lamina), run(torch), strict=True):
        np.testing.assert_allclose(got, want, 1e-3, 1e-4)


def test_messages() -> None:
    for options in ({"q": 9}, {"niter": -1}):
        texts = []
        for lib in (lamina, torch):
            with pytest.raises(ValueError) as caught:
                lib.pca_lowrank(lib.ones(4, 3), **options)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
