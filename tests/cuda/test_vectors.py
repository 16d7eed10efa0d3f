"""Products with one row: the matrix is brought in whole accesses by folds, and nothing passes through shared memory but their ends."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_emulation

from graphs import Recorder

from lamina.backends.cuda.check_programs import arrays_for
from lamina.backends.cuda.program import cuda_source, gpu_module
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.dialects.types import DType, bfloat16, float16, float32
from lamina.lowering.capture import capture


def product(dtype: DType, sums: int, columns: int, batch: int = 0, rows: int = 1, along: bool = True, on_left: bool = True) -> Graph:
    """relu(x @ w + b), x of a row (or of some). along: w's rows lie along the sum. on_left: x stands before w."""
    r, outer = Recorder(), (batch,) if batch else ()
    flip = (0, 2, 1) if batch else (1, 0)
    x = r.input((*outer, rows, sums) if on_left else (*outer, sums, rows), dtype)
    w = r.input((*outer, columns, sums) if along else (*outer, sums, columns), dtype)
    b = r.input((columns,), dtype)
    w = r("permute", w, attrs=(flip,)) if along is on_left else w
    y = r("matmul", x, w) if on_left else r("matmul", w, x)
    shape = r.types[y][0]
    b = r("reshape", b, attrs=((*[1] * len(outer), 1, columns) if on_left else (*[1] * len(outer), columns, 1),))
    return r.graph(r("relu", r("add", y, r("expand", b, attrs=(shape,)))))


@pytest.mark.parametrize(("dtype", "lanes"), [(bfloat16, 8), (float32, 4)], ids=str)
@pytest.mark.parametrize("arch", ["sm_90a", "sm_90a_wgmma"])
def test_a_matrix_is_brought_once_in_one_launch(arch: str, dtype: DType, lanes: int) -> None:
    graph = product(dtype, 4096, 4096)
    (launch,) = cuda_source(graph, arch).table.launches
    text = str(gpu_module(graph, arch))
    assert launch.shape.shared_bytes < 1 << 10 and launch.shape.grid[0] >= 4096 * 32 // 256
    brought = [line.partition(" = nv.load ")[0].count("%") for line in text.splitlines() if f"memref<{4096 * 4096}x" in line and "nv.load" in line]
    assert brought and set(brought) == {lanes} and "mma" not in text


@pytest.mark.parametrize("options", [{"rows": 4}, {"along": False}, {"sums": 64, "columns": 4096}, {"columns": 128}], ids=str)
def test_others_are_tiles(options: dict[str, int]) -> None:
    graph = product(bfloat16, **{"sums": 256, "columns": 1024, **options})
    assert all(launch.shape.shared_bytes > 1 << 10 for launch in cuda_source(graph, "sm_90a").table.launches[:1])


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("case", [
    (bfloat16, 256, 260, {}), (float16, 328, 200, {}), (float32, 515, 130, {}), (bfloat16, 512, 144, {"batch": 3}), (bfloat16, 256, 260, {"on_left": False}),
], ids=str)  # fmt: skip
def test_results(case) -> None:
    dtype, sums, columns, options = case
    graph = product(dtype, sums, columns, **options)
    source, arrays = cuda_source(graph, "sm_90a"), arrays_for(graph)
    assert source.table.launches[0].shape.shared_bytes < 1 << 10
    (got,), (want,) = emulate.Emulation(source)(arrays), evaluate(capture(graph), arrays)
    np.testing.assert_allclose(got.astype(np.float32), want.astype(np.float32), rtol={float32: 1e-5, float16: 2e-3}.get(dtype, 1e-2), atol=1e-4 if dtype is float32 else 2e-2)
