"""Products of bytes widened to 32 bits: on tensor cores, exact, in every way the operands can lie."""

from __future__ import annotations


import numpy as np
import pytest
from needs import needs_emulation, needs_nvrtc

from graphs import Recorder

from lamina.backends.cuda.program import build, cuda_source
from lamina.backends.emulation import emulate
from lamina.dialects.graph import Graph
from lamina.dialects.types import DType, int8, int32, uint8



def product(m: int, n: int, k: int, left: DType = int8, right: DType = int8, left_turned: bool = False, right_turned: bool = False) -> Graph:
    r = Recorder()
    x = r.input((k, m) if left_turned else (m, k), left)
    y = r.input((n, k) if right_turned else (k, n), right)
    x, y = (r("cast", v, attrs=(int32,)) for v in (x, y))
    x = r("permute", x, attrs=((1, 0),)) if left_turned else x
    y = r("permute", y, attrs=((1, 0),)) if right_turned else y
    return r.graph(r("matmul", x, y))


def inputs_of(graph: Graph) -> list[np.ndarray]:
    """Every byte there is, the lowest and the highest often."""
    rng = np.random.default_rng(0)
    made = []
    for shape, dtype in graph.inputs:
        low, high = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
        values = rng.integers(low, high + 1, shape)
        extreme = rng.integers(0, 4, shape)
        made.append(np.where(extreme == 0, low, np.where(extreme == 1, high, values)).astype(dtype.numpy))
    return made


def check(graph: Graph, turned: tuple[bool, bool] = (False, False), arch: str = "sm_90a") -> None:
    x, y = inputs_of(graph)
    a, b = (v.T if t else v for v, t in zip((x, y), turned, strict=True))
    want = a.astype(np.int32) @ b.astype(np.int32)
    emulation = emulate.Emulation(cuda_source(graph, arch))
    for seed in (0, 1, 5):
        (got,) = emulation([x, y], seed)
        assert got.dtype == np.int32 and np.array_equal(got, want)


WAYS = [(int8, int8, False, False), (int8, int8, False, True), (uint8, int8, True, False), (int8, uint8, True, True), (uint8, uint8, False, True)]


@needs_emulation
@pytest.mark.parametrize("way", [*WAYS[:2], *(pytest.param(w, marks=pytest.mark.slow) for w in WAYS[2:])], ids=str)
def test_products_are_exact(way) -> None:
    graph = product(72, 80, 160, *way)
    source = cuda_source(graph, "sm_90a")
    assert [f"lm_mma_{a}_{b}(" in source.kernels for a in ("s8", "u8") for b in ("s8", "u8")].count(True) == 1
    assert len(source.table.launches) == 1  # nothing is widened in memory
    check(graph, way[2:])


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(17, 33, 65), (129, 66, 35), (16, 16, 16), (24, 40, 5000)], ids=str)
def test_uneven_sizes_and_cut_sums(sizes) -> None:
    for right_turned in (False, True):
        check(product(*sizes, int8, int8, False, right_turned), (False, right_turned))


@needs_emulation
def test_what_is_widened_for_others_too_is_kept() -> None:
    r = Recorder()
    x, y = r.input((32, 64), int8), r.input((64, 48), int8)
    wide = r("cast", x, attrs=(int32,))
    graph = r.graph(r("matmul", wide, r("cast", y, attrs=(int32,))), r("cumsum", wide, attrs=(1,)))
    a, b = inputs_of(graph)
    source = cuda_source(graph, "sm_90a")
    assert "lm_mma_s8_s8(" in source.kernels
    first, second = emulate.Emulation(source)([a, b])
    assert np.array_equal(first, a.astype(np.int32) @ b.astype(np.int32)) and np.array_equal(second, np.cumsum(a, 1, dtype=np.int32))


def test_where_bytes_are_not_multiplied_on_tensor_cores() -> None:
    assert "lm_mma" not in cuda_source(product(64, 64, 64), "sm_75").kernels
    assert "lm_mma" not in cuda_source(product(8, 64, 64), "sm_90a").kernels
    r = Recorder()
    graph = r.graph(r("matmul", r.input((32, 32), int32), r.input((32, 32), int32)))
    assert "lm_mma" not in cuda_source(graph, "sm_90a").kernels


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_80", pytest.param("sm_90a", marks=pytest.mark.slow), pytest.param("sm_100a", marks=pytest.mark.slow)])
def test_ptx(arch: str) -> None:
    for right_turned in (False, True):
        compiled = build(product(4096, 4096, 4096, int8, uint8, False, right_turned), arch).compiled
        assert "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32" in compiled.ptx and "ldmatrix" in compiled.ptx
        assert "cp.async.cg.shared.global" in compiled.ptx
        (usage,) = compiled.usage
        assert (usage.stack, usage.spill_loads, usage.spill_stores) == (0, 0, 0)


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("old, new", [("lm_mma_s8_u8", "lm_mma_s8_s8"), ("lm_cp_async_wait<1>", "lm_cp_async_wait<2>"), ("__syncthreads();", "")])
def test_planted_bug_is_seen(old: str, new: str) -> None:
    graph = product(72, 80, 160, int8, uint8, False, True)
    source = cuda_source(graph, "sm_90a")
    assert old in source.kernels
    x, y = inputs_of(graph)
    want = x.astype(np.int32) @ y.T.astype(np.int32)
    emulation = emulate.Emulation(source.with_kernels(source.kernels.replace(old, new)))
    assert any(not np.array_equal(emulation([x, y], seed)[0], want) for seed in (0, 1, 2, 3))
