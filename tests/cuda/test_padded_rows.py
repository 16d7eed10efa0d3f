"""Gaps behind rows that products read: where they are, where not, and the same numbers with them."""

from __future__ import annotations

from math import prod

import pytest
from needs import needs_emulation
from xdsl.dialects import func

from graphs import Recorder

from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import arrays_for
from lamina.backends.cuda.program import cuda_source, gpu_module
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.dialects.types import DType, bfloat16, float32
from lamina.lowering.capture import capture
from lamina.lowering.memref_layout import span_of


def two_products(middle: int, dtype: DType = bfloat16, turned: bool = False, returned: bool = False) -> Graph:
    """relu(x w), read by a product along its rows, or (turned) along its columns."""
    r = Recorder()
    x, w, v = r.input((136, 72), dtype), r.input((72, middle), dtype), r.input((136 if turned else middle, 128), dtype)
    y = r("relu", r("matmul", x, w))
    z = r("matmul", r("permute", y, attrs=((1, 0),)) if turned else y, v)
    return r.graph(z, y) if returned else r.graph(z)


def has_gaps(graph: Graph, arch: str) -> bool:
    held = [a.type for op in gpu_module(graph, arch).body.block.ops if isinstance(op, func.FuncOp) for a in op.body.block.args]
    return any(span_of(kind) > prod(kind.get_shape()) for kind in held)


@pytest.mark.slow
@needs_emulation
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a_wgmma"])
@pytest.mark.parametrize("turned", [False, True])
def test_odd_rows(arch: str, turned: bool) -> None:
    graph = two_products(201, turned=turned)
    assert has_gaps(graph, arch)
    source = cuda_source(graph, arch)
    assert source.text.count("lm_wgmma_") > 1 or arch == "sm_80"
    arrays = arrays_for(graph)
    for seed in (0, 3):
        assert largest_error(graph, emulate.Emulation(source)(arrays, seed), evaluate(capture(graph), arrays)) <= 1


@pytest.mark.parametrize("graph", [
    two_products(200), two_products(33), two_products(201, float32), two_products(201, returned=True),
], ids=["aligned", "short", "not in runs", "seen outside"])  # fmt: skip
def test_dense_where_gaps_bring_nothing(graph: Graph) -> None:
    assert not has_gaps(graph, "sm_90a_wgmma")


def test_f32_has_gaps_where_it_is_copied_in_runs() -> None:
    assert has_gaps(two_products(201, float32), "sm_90a_tf32")
