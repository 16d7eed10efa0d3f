"""Products of narrow numbers several at a time, of sizes known at the call only: rows, columns and depths, a batch of convolutions."""

from __future__ import annotations

import lamina as torch
import numpy as np
import pytest
from fresh_programs import fresh_programs  # noqa: F401  # a fixture
from lamina.backends import driver
from lamina.dialects.sizes import Scope, any_symbolic
from lamina.dialects.target import AVX512_BF16, native_target
from lamina.lowering.contraction_choice import choice
from lamina.lowering.contraction_problem import Dim, Problem
from lamina.lowering.tile_kind import TileKind
from lamina.nn import functional as F
from needs import needs_compiler
from xdsl.dialects.builtin import bf16, f32, i8, i32

SIZES = (64, 77, 2, 3, 15, 16, 17, 31, 32, 33, 48, 97, 130)
"""The first is compiled for itself, the second for all, or for all but multiples of it."""

FORMS = {
    "rows": lambda n: ((n, 64), (64, 40)),
    "columns": lambda n: ((40, 64), (64, n)),
    "depths": lambda n: ((40, n), (n, 40)),
    "all": lambda n: ((n + 3, 2 * n + 1), (2 * n + 1, n + 20)),
}


@pytest.mark.parametrize("known", ["rows", "columns", "depths", ""])
@pytest.mark.parametrize("kind", [TileKind(bf16, f32, (True, True), words=1), TileKind(i8, i32, (True, True), words=1)], ids=str)
def test_the_plan_relies_on_no_size(kind, known):
    scope = Scope([300, 200, 500], [1 << 12] * 3)
    m, n, k = (100 if word == known else size for word, size in zip(("rows", "columns", "depths"), scope.symbols(), strict=True))
    before = str(scope.facts())
    loops = (Dim(m, (k, 0, n)), Dim(n, (0, 1, 1))), (Dim(k, (1, n, 0)),)
    plan = choice(Problem(*loops, outputs=(2,), item_bytes=4, converts=(False, False), ahead=(False, False), dots=kind), AVX512_BF16)
    assert plan is not None and plan.blocks is not None and any_symbolic(d.size for d in (plan.tiled, plan.vector, *plan.reduction))
    assert str(scope.facts()) == before


def assert_dots() -> None:
    """One program served all sizes but the first, by the processor's instructions where it has them."""
    assert driver.stats.refused == 0 and driver.stats.symbolic >= 1
    sources = [p.source for p in driver._programs.values() if p.sizes]
    assert sources and any("dot_" in source for source in sources)


def bf16_drawn(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.tensor(rng.standard_normal(shape).astype(np.float32)).to(torch.bfloat16)


@needs_compiler
@pytest.mark.slow
@pytest.mark.usefixtures("fresh_programs")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_products_of_16_bits(form, turned):
    rng = np.random.default_rng(0)
    for n in SIZES:
        left, right = FORMS[form](n)
        a, b = bf16_drawn(rng, *left), bf16_drawn(rng, *(right[::-1] if turned else right))
        wide = b.t() if turned else b
        wanted = a.float().numpy().astype(np.float64) @ wide.float().numpy()
        np.testing.assert_allclose((a @ wide).float().numpy(), wanted, rtol=0, atol=2.0**-7 * np.abs(wanted).max(), err_msg=str(n))
    if native_target().vector_bytes >= 32 and "bf16" in native_target().dots:
        assert_dots()


@needs_compiler
@pytest.mark.slow
@pytest.mark.usefixtures("fresh_programs")
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_products_of_bytes(form, turned):
    """Both sides have signs: the rows' bytes get the other one as they are copied."""
    rng = np.random.default_rng(0)
    for n in SIZES:
        left, right = FORMS[form](n)
        a, b = (torch.tensor(rng.integers(-128, 128, shape).astype(np.int8)) for shape in (left, right[::-1] if turned else right))
        wide = b.t() if turned else b
        wanted = a.numpy().astype(np.int64) @ wide.numpy()
        np.testing.assert_array_equal(torch._int_mm(a, wide).numpy(), wanted, err_msg=str(n))
    if native_target().vector_bytes >= 32 and native_target().dots:
        assert_dots()


@needs_compiler
@pytest.mark.slow
@pytest.mark.usefixtures("fresh_programs")
def test_convolutions_of_any_batch():
    """The copy that holds every element once is as long as the batch; gradients of weights sum over it."""
    rng = np.random.default_rng(0)
    for n in (8, 5, 2, 3, 16):
        x, w = bf16_drawn(rng, n, 16, 9, 9).requires_grad_(), bf16_drawn(rng, 24, 16, 3, 3).requires_grad_()
        exact = [torch.tensor(t.detach().float().numpy().astype(np.float64)).requires_grad_() for t in (x, w)]
        made, wanted = F.conv2d(x, w, padding=1), F.conv2d(*exact, padding=1)
        seed = bf16_drawn(rng, *made.shape)
        made.backward(seed), wanted.backward(seed.to(torch.float64))
        for a, b in zip((made, x.grad, w.grad), (wanted, exact[0].grad, exact[1].grad), strict=True):
            found, whole = a.detach().float().numpy(), b.detach().numpy()
            np.testing.assert_allclose(found, whole, rtol=0, atol=2.0**-6 * np.abs(whole).max(), err_msg=str(n))
    assert driver.stats.refused == 0 and driver.stats.symbolic >= 1


@needs_compiler
@pytest.mark.slow
@pytest.mark.usefixtures("fresh_programs")
@pytest.mark.parametrize("target", ["avx2_vnni", "avx2", "portable"])
def test_on_other_processors(target, monkeypatch):
    """Masks in plain C, shorter vectors, bytes as integers of 16 bits."""
    monkeypatch.setattr(driver, "cpu_target", lambda f32: target)
    rng = np.random.default_rng(0)
    for n in SIZES[:9]:
        a, b = (torch.tensor(rng.integers(-128, 128, shape).astype(np.int8)) for shape in ((n, n + 1), (n + 1, 24)))
        np.testing.assert_array_equal(torch._int_mm(a, b).numpy(), a.numpy().astype(np.int64) @ b.numpy(), err_msg=str(n))
    assert driver.stats.refused == 0 and driver.stats.symbolic >= 1
