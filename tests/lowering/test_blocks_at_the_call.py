"""Chains with a mask of indices over any number of rows: blocks of rows, with as many columns as matter to a run of them."""

from __future__ import annotations

import lamina as torch
import numpy as np
import pytest
from fresh_programs import in_an_empty_cache
from hypothesis import given
from hypothesis import strategies as st
from lamina.backends import driver
from lamina.dialects import flags
from lamina.dialects.sizes import Scope, substituted
from lamina.lowering.block_writer import BlockWriter
from lamina.lowering.blocked_calls import _limits_at_the_call, may_divide
from lamina.nn import functional as F
from needs import needs_compiler

pytestmark = needs_compiler


@given(st.integers(64, 2000), st.integers(0, 16))
def test_blocks_cover_all_rows_with_the_columns_they_need(n, high):
    scope = Scope([200], [1 << 12])
    (extent,) = scope.symbols()
    assert may_divide(extent) and scope.low == [64], "few rows are another program's"
    seen = []
    for rows in _limits_at_the_call(extent, high):
        start, count, size, limit = substituted(tuple(rows), [n])
        for first in range(start, start + count * size, size):
            seen += range(first, first + size)
            assert size >= 16 and min(n, first + size + high) <= limit <= n
    assert seen == list(range(n))
    assert not scope.conditions and scope.low == [64]


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_masked_attention_over_any_length(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "ORACLE_WORK", 0)
    limits = []
    function = BlockWriter.function
    monkeypatch.setattr(BlockWriter, "function", lambda self, *args: limits.extend(r.limit for r in self.chain.rows) or function(self, *args))

    def attended(n: int) -> list[np.ndarray]:
        rng = np.random.default_rng(n)
        q, k, v = (torch.tensor(rng.standard_normal((4, 2, n, 8)).astype(np.float32)).requires_grad_(trained) for _ in range(3))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if not trained:
            return [out.numpy()]
        out.square().sum().backward()
        return [out.detach().numpy(), *(x.grad.numpy() for x in (q, k, v))]

    with in_an_empty_cache(tmp_path):
        for n in (180, 250, 64, 79, 80, 81, 127, 128, 331, 17):
            found = attended(n)
            with flags.device("numpy"):
                wanted = attended(n)
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg=str(n))
        assert driver.stats.refused == 0 and driver.stats.symbolic >= 2, "one for less than 64 rows"
    assert any(isinstance(limit, type(Scope([2], [9]).symbols()[0])) for limit in limits)
