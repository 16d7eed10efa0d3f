"""Nests along sizes known at the call only: vectors, then a masked one, in elementwise work and in folds."""

from __future__ import annotations

import lamina as torch
import numpy as np
import pytest
from lamina.backends import driver
from lamina.dialects import flags
from lamina.nn import functional as F
from fresh_programs import fresh_programs  # noqa: F401  # a fixture
from needs import needs_compiler

pytestmark = [needs_compiler, pytest.mark.usefixtures("fresh_programs")]

SIZES = (50, 77, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 61, 130, 300)


def drawn(*shape: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32))


PROGRAMS = {
    "elementwise": lambda x: torch.tanh(x * x[:1] + 1) / (x.abs() + 1),
    "elementwise, rows of their own": lambda x: torch.where(x > 0.5, x, -x[:, :1]) * 2,
    "comparisons": lambda x: ((x > 0) & (x < 1)).to(torch.int64) * 3,
    "halves": lambda x: (x.to(torch.bfloat16) * 1.5 + 1).to(torch.float32) + (x.to(torch.float16) * 2).to(torch.float32),
    "bytes": lambda x: (x * 40).to(torch.int8) // 3,
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x * 5, -1),
    "layer_norm": lambda x: F.layer_norm(x, (x.shape[-1],)),
    "sums, products, extremes": lambda x: torch.stack([x.exp().sum(1), (x * 0.1 + 1).prod(1), x.amax(1), x.amin(1)]),
    "integers": lambda x: torch.stack([(x * 9).to(torch.int64).sum(1), (x * 9).to(torch.int64).amax(1)]),
    "any and all": lambda x: torch.stack([(x > 2).any(1), (x > -2).all(1)]),
    "columns": lambda x: x.softmax(0) + x.sum(0),
    "whole": lambda x: (x * x).sum().sqrt() + x.max(),
    "turned": lambda x: x.t() * 2 + x.t()[:, :1],
}


@pytest.mark.parametrize("name", [name if name in ("softmax", "bytes", "columns") else pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS])
def test_rows_of_any_length(name):
    compute = PROGRAMS[name]
    for n in SIZES:
        found = compute(drawn(13, n)).numpy()
        with flags.device("numpy"):
            wanted = compute(drawn(13, n)).numpy()
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5, err_msg=str(n))
    assert driver.stats.refused == 0 and driver.stats.symbolic == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", ["avx2", "portable"])
def test_on_other_processors(target, monkeypatch):
    """What the machine may mask is the target's to say; the program is C for any."""
    monkeypatch.setattr(driver, "cpu_target", lambda f32: target)
    for n in SIZES[:12]:
        found = (F.softmax(drawn(9, n), -1) + (drawn(9, n) @ drawn(n, 9).t().reshape(n, 9)[:, :1])).numpy()
        with flags.device("numpy"):
            wanted = (F.softmax(drawn(9, n), -1) + (drawn(9, n) @ drawn(n, 9).t().reshape(n, 9)[:, :1])).numpy()
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5, err_msg=str(n))


def test_memory_behind_an_array_is_not_touched():
    """Rows of a larger array: what lies behind a row keeps its contents."""
    for n in (50, 77, 61, 17):
        whole = torch.full((4, n + 3), 7.0)
        whole[:, :n] = drawn(4, n) * 2
        found = whole.numpy()
        np.testing.assert_array_equal(found[:, :n], drawn(4, n).numpy() * 2)
        np.testing.assert_array_equal(found[:, n:], 7)


def test_the_last_vector_is_masked():
    for n in (50, 77):
        F.softmax(drawn(13, n), -1).numpy()
    (source,) = {p.source for p in driver._programs.values() if p.sizes}
    kernel = source[source.index("struct k0_task") :] if "struct k0_task" in source else source[source.index("void k0(") :]
    if "load_part_" in kernel:  # the processor has masks
        assert "exp_f32(" not in kernel, "no element is computed alone"
