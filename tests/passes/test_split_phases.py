"""Strided and transposed convolutions with first and second gradients against PyTorch: kernels, strides, dilations, groups that
leave phases empty, uneven or cropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from needs import needs_compiler

import lamina
from lamina.backends import driver

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

# batch, channels in, out, sizes, kernel, stride, padding, output padding, dilation, groups
CASES = [
    (2, 4, 6, (5, 6), (3, 3), 2, 1, 1, 1, 1),
    (1, 4, 4, (5, 5), (2, 2), 2, 0, 0, 1, 2),
    (2, 3, 4, (7, 4), (4, 3), (2, 3), 1, 0, 1, 1),
    (2, 2, 2, (6,), (3,), 3, 1, 0, 1, 1),
    (1, 2, 3, (9, 8), (1, 1), 2, 0, 0, 1, 1),
    (1, 2, 2, (9, 9), (3, 3), 2, 2, 1, 2, 1),
    (1, 2, 2, (12,), (2,), 4, 0, 0, 1, 1),
    (1, 2, 2, (9,), (3,), 4, 0, 1, 3, 1),
    (1, 2, 3, (3, 4), (16, 16), 16, 0, 0, 1, 1),
    (1, 3, 2, (3, 2), (9, 8), (6, 5), 2, 1, 1, 1),
    (2, 4, 2, (3, 3), (10, 7), 8, 3, 2, 1, 2),
    (1, 2, 2, (2, 3), (3, 3), 5, 1, 1, 1, 1),
    (1, 1, 1, (4,), (40,), 20, 7, 3, 1, 1),
    (1, 2, 2, (2, 2, 2), (4, 3, 4), (4, 3, 3), 1, 0, 1, 1),
]


def results(lib: Any, case: tuple) -> list[np.ndarray]:
    lib.manual_seed(0)
    n, ins, outs, sizes, kernel, stride, padding, extra, dilation, groups = case
    rank, F = len(sizes), lib.nn.functional
    x, w, v = lib.randn(n, ins, *sizes), lib.randn(ins, outs // groups, *kernel), lib.randn(ins, outs // groups, *kernel)
    x.requires_grad_(), w.requires_grad_(), v.requires_grad_()
    y = getattr(F, f"conv_transpose{rank}d")(x, w, None, stride, padding, extra, groups, dilation)
    first = lib.autograd.grad((y * y).sum(), [x, w])
    large = y.detach().clone().requires_grad_()
    z = getattr(F, f"conv{rank}d")(large, v, None, stride, padding, dilation, groups)
    second = lib.autograd.grad((z * z).sum(), [large, v], create_graph=True)
    third = lib.autograd.grad(sum((g * g).sum() for g in second), [large, v])
    return [t.detach().numpy() for t in (y, *first, z, *second, *third)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
@needs_compiler
def test_against_pytorch(case: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "ORACLE_WORK", 0)  # compiled, small as they are
    for want, got in zip(results(torch, case), results(lamina, case), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(want).max())))


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("behind", ["bias", "norm and activation", "two readers", "an image", "a row"])
def test_what_follows_is_done_on_every_phase(behind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bias, norm and activation behind a transposed convolution, as far as they mean the same on every phase."""
    monkeypatch.setattr(driver, "ORACLE_WORK", 0)

    def run(lib: Any) -> list[np.ndarray]:
        lib.manual_seed(0)
        x, w, b, scale = lib.randn(2, 4, 3, 5), lib.randn(4, 6, 3, 3), lib.randn(6), lib.randn(6, 1, 1)
        image, column = lib.randn(7, 11), lib.randn(7, 1)
        for t in (x, w, b):
            t.requires_grad_()
        y = lib.nn.functional.conv_transpose2d(x, w, b, stride=2)
        if behind == "norm and activation":
            y = lib.tanh(lib.relu((y - 0.5) * scale))
        elif behind == "two readers":
            y = lib.tanh(y) * y
        elif behind == "an image":
            y = lib.relu(y * scale + image)
        elif behind == "a row":
            y = lib.relu(y * column) + scale
        y = lib.nn.functional.pad(lib.cat([y, y * 2], 1), (1, 1, 1, 1))
        with lib.no_grad():
            alone = lib.nn.functional.conv_transpose2d(x, w, b, stride=2).relu()
        grads = lib.autograd.grad((y * y).sum(), [x, w, b])
        return [t.detach().numpy() for t in (y, alone, *grads)]

    for want, got in zip(run(torch), run(lamina), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5 * max(1.0, float(np.abs(want).max())))
