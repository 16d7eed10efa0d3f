"""Attention as one chain on a GPU: which kernels it becomes, what they compute on emulated threads, and planted bugs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from needs import needs_emulation, needs_nvrtc

from graphs import Recorder

from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import arrays_for, attention
from lamina.backends.cuda.program import build, cuda_source, gpu_module
from lamina.backends.emulation import emulate
from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.backends.check import Checker
from lamina.backends.pipelines import STANDARD, gpu_pipeline
from lamina.backends.replay import known_passes
from lamina.dialects.errors import LaminaError
from lamina.dialects.graph import Graph
from lamina.dialects.target import GPU_TARGETS
from lamina.dialects.types import bfloat16, bool_, float16, float32, int64
from lamina.lowering.capture import capture
from lamina.passes.base import Pipeline



def check(graph: Graph, launches: int, arch: str = "sm_90a", arrays: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """Only the chain's launches, right results, the same in every order of threads; the outputs."""
    source = cuda_source(graph, arch)
    assert len(source.table.launches) == launches, [launch.kernel for launch in source.table.launches]
    arrays = arrays_for(graph) if arrays is None else arrays
    emulation = emulate.Emulation(source)
    first = emulation(arrays, 0)
    assert largest_error(graph, first, evaluate(capture(graph), arrays)) <= 1
    for a, b in zip(first, emulation(arrays, 3), strict=True):
        assert a.tobytes() == b.tobytes()
    return first


def test_deep_heads_sum_one_gradient_at_a_time() -> None:
    """Keys' and values' gradients together would take more registers than a thread has."""
    for arch in ("sm_80", "sm_90a_wgmma"):
        launches = cuda_source(attention(1, 8, 512, 512, 256, bfloat16, True, True), arch).table.launches
        assert len(launches) == 5  # forward; rows of gradient and result; dQ; dK; dV


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("arch, n", [("sm_80", 24), ("sm_90a_wgmma", 64)])
def test_gradients_of_deep_heads(arch: str, n: int) -> None:
    graph = attention(1, 1, n, 272, 256, bfloat16, True, True)
    source, arrays = cuda_source(graph, arch), arrays_for(graph)
    assert len(source.table.launches) == 5
    assert largest_error(graph, emulate.Emulation(source)(arrays, 3), evaluate(capture(graph), arrays)) <= 1


# heads, rows, columns, depth, dtype, causal, with gradients
QUICK = [(2, 80, 80, 64, bfloat16, True, True), (1, 33, 50, 32, float32, False, True)]
SLOW = [
    (3, 128, 128, 64, float16, True, False), (2, 77, 77, 128, bfloat16, True, True), (1, 16, 144, 32, bfloat16, False, True),
    (2, 65, 64, 16, float32, True, True), (1, 200, 90, 128, float32, True, True), (1, 64, 200, 48, float16, True, True),
    (1, 300, 300, 32, bfloat16, True, True), (1, 40, 40, 160, bfloat16, True, False), (1, 40, 300, 256, bfloat16, True, False),
    (1, 40, 50, 40, bfloat16, True, True), (2, 33, 40, 21, float16, True, True), (1, 40, 50, 33, float32, True, True), (1, 40, 50, 8, bfloat16, False, True),
]  # fmt: skip


@needs_emulation
@pytest.mark.parametrize("case", [*QUICK, *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW)], ids=str)
@pytest.mark.slow
def test_attention(case) -> None:
    heads, rows, columns, depth, dtype, causal, backward = case
    sweeps_and_sums = 4 if depth <= columns else 3  # forward; rows of gradient and result; dQ; dK and dV
    check(attention(1, heads, rows, columns, depth, dtype, causal, backward), sweeps_and_sums if backward else 1)


def scores_and_rows(extra: str = "", rows: int = 40, columns: int = 70, depth: int = 32):
    """softmax(q k^T with something done to it) v as a recorder and the ids of q, k, v and the scores."""
    r = Recorder()
    q, k, v = (r.input((2, n, depth)) for n in (rows, columns, columns))
    mask = r.input((rows, columns), bool_ if extra == "bool" else float32)
    scores = r("matmul", q, r("permute", k, attrs=((0, 2, 1),)))
    return r, mask, v, scores


@needs_emulation
def test_depths_that_are_no_sixteens_end_in_zeros() -> None:
    """Memory behind a depth's end (another row, or nothing) is neither multiplied nor written."""
    check(attention(1, 1, 17, 20, 21, bfloat16, True, False), 1)
    launches = {depth: len(cuda_source(attention(1, 1, 40, 64, depth, bfloat16, False, False), "sm_90a").table.launches) for depth in (7, 8, 24)}
    assert launches[7] > 1 and launches[8] == launches[24] == 1


@needs_emulation
def test_a_mask_in_memory_is_read_where_it_is_needed() -> None:
    r, mask, v, scores = scores_and_rows()
    wide = r("expand", r("reshape", mask, attrs=((1, 40, 70),)), attrs=((2, 40, 70),))
    weights = r("softmax", r("add", scores, wide), attrs=((2,),))
    check(r.graph(r("matmul", weights, v)), 1)


@needs_emulation
def test_queries_scaled_where_they_lie_are_scaled_once() -> None:
    """What a chain makes again is not read from where it was made already."""
    r = Recorder()
    near, far = (r.input((2, 17, 16)) for _ in range(2))
    k, v = (r.input((2, 20, 32)) for _ in range(2))
    turned = r("concat", r("exp", near), r("sin", far), attrs=(2,))
    scores = r("matmul", r("mul", turned, r("full", attrs=((2, 17, 32), 0.25, float32))), r("permute", k, attrs=((0, 2, 1),)))
    check(r.graph(r("matmul", r("softmax", scores, attrs=((2,),)), v)), 2)


@needs_emulation
@pytest.mark.parametrize("arch", ["sm_90a", "sm_90a_wgmma"])
@pytest.mark.slow
def test_queries_keys_and_values_of_one_array_are_read_there(arch: str) -> None:
    """They are widened by one kernel of three results: each is made again for the product that reads it."""
    n, heads, depth = 80, 2, 64
    r = Recorder()
    x, w, bias = r.input((n, 96), bfloat16), r.input((3 * heads * depth, 96), bfloat16), r.input((3 * heads * depth,), bfloat16)
    made = r("linear", x, w, bias)
    parts = [r("slice", made, attrs=((0, i * heads * depth), (n, heads * depth), (1, 1))) for i in range(3)]
    parts = [r("permute", r("reshape", p, attrs=((n, heads, depth),)), attrs=((1, 0, 2),)) for p in parts]
    q, k, v = (r("cast", p, attrs=(float32,)) for p in parts)
    scores = r("matmul", r("mul", q, r.full((heads, n, depth), 0.125)), r("permute", k, attrs=((0, 2, 1),)))
    graph = r.graph(r("cast", r("matmul", r("softmax", scores, attrs=((2,),)), v), attrs=(bfloat16,)))
    arrays = arrays_for(graph)
    arrays[1] = (arrays[1].astype(np.float32) / 10).astype(arrays[1].dtype)
    check(graph, 2, arch, arrays)
    functions = [str(op) for op in gpu_module(graph, arch).body.block.ops]
    (sweep,) = [text for text in functions if "nv.exp2" in text]
    assert ("nv.wgmma" if arch.endswith("wgmma") else "nv.mma_sync") in sweep


@needs_emulation
def test_rows_that_see_nothing_are_not_numbers() -> None:
    r, mask, v, scores = scores_and_rows("bool")
    wide = r("expand", r("reshape", mask, attrs=((1, 40, 70),)), attrs=((2, 40, 70),))
    scores = r("select", wide, scores, r.full((2, 40, 70), -np.inf))
    graph = r.graph(r("matmul", r("softmax", scores, attrs=((2,),)), v))
    arrays = arrays_for(graph)
    arrays[3][:, :66] = False  # whole tiles of minus infinity before the first number
    arrays[3][:, 66:] = True
    arrays[3][5] = False
    (got,) = check(graph, 1, arrays=arrays)
    assert np.isnan(got[:, 5]).all() and np.isfinite(got[:, :5]).all()


@needs_emulation
def test_weights_may_be_scaled_and_dropped() -> None:
    r, mask, v, scores = scores_and_rows()
    wide = r("expand", r("reshape", mask, attrs=((1, 40, 70),)), attrs=((2, 40, 70),))
    weights = r("mul", r("softmax", scores, attrs=((2,),)), wide)
    check(r.graph(r("matmul", weights, v)), 1)


@needs_emulation
def test_a_window_skips_tiles_on_both_sides() -> None:
    n, heads = 200, 2
    r = Recorder()
    q, k, v = (r.input((heads, n, 16)) for _ in range(3))
    scores = r("matmul", q, r("permute", k, attrs=((0, 2, 1),)))
    row, column = (r("iota", attrs=((n, n), axis, int64)) for axis in (0, 1))
    near = r("less_equal", r("sub", row, r("full", attrs=((n, n), 20, int64))), column)
    seen = r("logical_and", r("less_equal", column, row), near)
    wide = r("expand", r("reshape", seen, attrs=((1, n, n),)), attrs=((heads, n, n),))
    scores = r("select", wide, scores, r.full((heads, n, n), -np.inf))
    graph = r.graph(r("matmul", r("softmax", scores, attrs=((2,),)), v))
    check(graph, 1)
    module = str(gpu_module(graph, "sm_90a"))
    assert "arith.maxsi" in module and "arith.minsi" in module  # where a block begins and ends


# Forward and backward in one program


def gradient_of(weigh, dtype=float32, mask: bool = False) -> Graph:
    """Gradients through weights of rows (`weigh(r, scores)`), values and a product of the result."""
    heads, rows, columns, depth = 2, 40, 50, 32
    r = Recorder()
    q, k, v = (r.input((heads, m, depth), dtype) for m in (rows, columns, columns))
    w, seed = r.input((heads * depth, 24), dtype), r.input((rows, 24))
    hidden = r.input((1, 1, columns), bool_) if mask else None
    wide = [i if dtype is float32 else r("cast", i, attrs=(float32,)) for i in (q, k, v)]
    scores = r("matmul", r("mul", wide[0], r.full((heads, rows, depth), depth**-0.5)), r("permute", wide[1], attrs=((0, 2, 1),)))
    if hidden is not None:
        lowest = r.full((heads, rows, columns), -np.inf)
        scores = r("select", r("expand", hidden, attrs=((heads, rows, columns),)), lowest, scores)
    y = r("matmul", weigh(r, scores), wide[2])
    y = y if dtype is float32 else r("cast", y, attrs=(dtype,))
    y = r("matmul", r("reshape", r("permute", y, attrs=((1, 0, 2),)), attrs=((rows, heads * depth),)), w)
    y = y if dtype is float32 else r("cast", y, attrs=(float32,))
    loss = r("reshape", r("sum", r("mul", r("mul", y, y), seed), attrs=((0, 1),)), attrs=((),))
    first = r("autodiff.grad", loss, r.full((), 1.0), q, k, v)
    return r.graph(first, first + 1, first + 2)


def softmax(r: Recorder, scores: int) -> int:
    return r("softmax", scores, attrs=((2,),))


def with_a_sink(r: Recorder, scores: int) -> int:
    """Weights whose sums are less than 1, divided by a number that is no sum of exponentials."""
    shape, row = (2, 40, 50), (2, 40, 1)
    largest = r("autodiff.saved", r.full(row, 0.0), r("max", scores, attrs=((2,),)))  # detached
    powers = r("exp", r("sub", scores, r("expand", largest, attrs=(shape,))))
    total = r("add", r("sum", powers, attrs=((2,),)), r.full(row, 1.0))
    return r("div", powers, r("expand", total, attrs=(shape,)))


def sweeps_of(graph: Graph, arch: str) -> list[str]:
    """The launches of chains, as text, in order."""
    functions = {op.sym_name.data: str(op) for op in gpu_module(graph, arch).body.block.ops}
    names = [launch.kernel for launch in cuda_source(graph, arch).table.launches]
    return [functions[name] for name in names if "exp" in functions[name]]


def near(graph: Graph, arrays: list[np.ndarray], arch: str) -> None:
    """Gradients are those of the oracle, up to the dtype's rounding beside each one's largest number."""
    exact = {float32: 2e-5, float16: 4e-3, bfloat16: 3e-2}[graph.types[0][1]]
    for got, want in zip(emulate.Emulation(cuda_source(graph, arch))(arrays), evaluate(capture(graph), arrays), strict=True):
        got, want = got.astype(np.float32), want.astype(np.float32)
        assert np.abs(got - want).max() <= exact * np.abs(want).max()


@needs_emulation
@pytest.mark.parametrize("weigh, is_softmax", [(softmax, True), (with_a_sink, False)], ids=["softmax", "sink"])
@pytest.mark.slow
def test_rows_that_were_folded_are_kept(weigh, is_softmax: bool) -> None:
    """No maximum is looked for twice; of a softmax one number per row is kept, and its gradient's kernels fold nothing."""
    graph = gradient_of(weigh)
    forward, *backward = sweeps_of(graph, "sm_90a")
    assert "arith.maximumf" in forward and ("math.log" in forward) == is_softmax
    assert not any("arith.maximumf" in text for text in backward)
    assert len(backward) == (2 if is_softmax else 3)
    if is_softmax:
        assert not any("nv.shuffle_xor" in text or "arith.divf" in text for text in backward)
    near(graph, arrays_for(graph), "sm_90a")


def test_rows_of_two_operands_are_summed_by_warps() -> None:
    """A product whose tile would be one number is a fold."""
    launches = cuda_source(attention(1, 2, 1024, 1024, 64, bfloat16, True, True), "sm_90a").table.launches
    (rows,) = [launch.shape for launch in launches if not launch.shape.shared_bytes]
    assert rows.threads == 256 and rows.grid[0] == 2 * 1024 // 8


@needs_emulation
@pytest.mark.parametrize("arch, dtype", [("sm_80", float16), ("sm_90a_wgmma", bfloat16)], ids=str)
@pytest.mark.slow
def test_gradients_on_tensor_cores(arch: str, dtype) -> None:
    """What is widened for a sum over rows is read as 16 bits by the products all the same."""
    graph = gradient_of(softmax, dtype, mask=True)
    sweeps = sweeps_of(graph, arch)
    assert len(sweeps) == 3 and all("nv.mma_sync" in text for text in sweeps)
    arrays = arrays_for(graph)
    arrays[5][..., :20], arrays[5][..., 20:] = False, True
    near(graph, arrays, arch)


@needs_emulation
@pytest.mark.slow
def test_gradients_of_rows_that_see_nothing() -> None:
    graph = gradient_of(softmax, mask=True)
    arrays = arrays_for(graph)
    arrays[5][...] = True
    wanted, got = evaluate(capture(graph), arrays), emulate.Emulation(cuda_source(graph, "sm_90a"))(arrays)
    assert np.isnan(wanted[2]).all() and all((np.isnan(a) == np.isnan(b)).all() for a, b in zip(wanted, got, strict=True))


@pytest.mark.parametrize("dtype", [bfloat16, float32], ids=str)
def test_every_stage_of_a_gradient_computes_the_same(dtype) -> None:
    """Also where a pass reads what was rounded in place of what it was rounded from."""
    module = capture(attention(1, 1, 16, 24, 16, dtype, True, True))
    steps = [s for s in gpu_pipeline("sm_90a").passes if s.gives != "gpu"]
    Pipeline(steps).run(module, Checker(module, level=2).after)


# What is no chain


def test_a_matrix_somebody_reads_stays_in_memory() -> None:
    r, _, v, scores = scores_and_rows()
    weights = r("softmax", scores, attrs=((2,),))
    assert len(cuda_source(r.graph(r("matmul", weights, v), weights), "sm_90a").table.launches) == 3


@pytest.mark.parametrize("sizes", [dict(rows=12), dict(columns=8), dict(depth=7), dict(depth=272)], ids=str)
def test_sizes_no_tile_has(sizes: dict[str, int]) -> None:
    r, _, v, scores = scores_and_rows(**sizes)
    assert len(cuda_source(r.graph(r("matmul", r("softmax", scores, attrs=((2,),)), v)), "sm_90a").table.launches) >= 3


@needs_emulation
def test_a_variance_needs_two_sweeps_and_stays_what_it_was() -> None:
    """Folds of what is not linear in the exponential are left to ordinary kernels."""
    r, _, v, scores = scores_and_rows()
    mean = r("mul", r("sum", scores, attrs=((2,),)), r.full((2, 40, 1), 1 / 70))
    off = r("sub", scores, r("expand", mean, attrs=((2, 40, 70),)))
    spread = r("sum", r("mul", off, off), attrs=((2,),))
    graph = r.graph(r("matmul", r("div", off, r("expand", spread, attrs=((2, 40, 70),))), v))
    source = cuda_source(graph, "sm_90a")
    assert len(source.table.launches) > 1
    arrays = arrays_for(graph)
    assert largest_error(graph, emulate.Emulation(source)(arrays), evaluate(capture(graph), arrays)) <= 1


# The merged kernel, and its memory


def test_the_merged_kernel_means_the_same_before_it_is_lowered() -> None:
    graph = attention(1, 2, 20, 20, 16, float32, True, True)
    steps = [s for s in STANDARD if s != "linalg-to-loops"]
    steps[steps.index("bufferize")] = "bufferize{target=sm_90a}"
    module = capture(graph)
    Pipeline.parse(",".join(steps), known_passes(), "captured").run(module)
    assert str(module).count("func.call") == 1  # this pipeline has no shorten-sums: nobody stands between forward and backward
    arrays = arrays_for(graph)
    got = execute(module, arrays)
    assert largest_error(graph, got, evaluate(capture(graph), arrays)) <= 1


@pytest.mark.parametrize("n", [1024, 2048])
def test_memory_grows_with_rows_not_with_their_square(n: int) -> None:
    source = cuda_source(attention(1, 4, n, n, 64, bfloat16, True, True), "sm_90a")
    assert source.table.arena_bytes <= 2 * 4 * 4 * n + 256  # the logarithm of the sum, and what the gradient subtracts


# Planted bugs

PLANTED = {
    "no wait for a tile": (r"lm_cp_async_wait<0>\(\);", ""),
    "no barrier before a tile is read": (r"__syncthreads\(\);", ""),
    "old sums are not scaled to a new maximum": (r"(float \w+ = sums\[\w+\];\s+float \w+ = \w+) \* \w+;", r"\1;"),
    "a row is folded over half its lanes": (r"lm_shuffle_xor<float>\((\w+), 2\)", r"(\1)"),
    "neighbours change places": (r"lm_pack_bf16\((\w+), (\w+)\)", r"lm_pack_bf16(\2, \1)"),
}


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_seen(bug: str) -> None:
    pattern, replacement = PLANTED[bug]
    graph = attention(1, 2, 150, 150, 32, bfloat16, False, False)
    source, arrays = cuda_source(graph, "sm_90a"), arrays_for(graph)
    arrays[1] *= np.linspace(0, 4, 150).reshape(150, 1).astype(arrays[1].dtype)  # maxima grow along a row
    kernels, count = re.subn(pattern, replacement, source.kernels)
    assert count, "the pattern is not in the source any more"
    want = evaluate(capture(graph), arrays)
    try:
        got = [emulate.Emulation(source.with_kernels(kernels))(arrays, seed) for seed in (0, 1, 7)]
    except LaminaError:
        return
    assert any(largest_error(graph, g, want) > 1 for g in got)


# PTX


@needs_nvrtc
def test_ptx_of_a_chain() -> None:
    compiled = build(attention(1, 4, 512, 512, 64, bfloat16, True, False), "sm_90a").compiled
    for instruction in ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "cvt.rn.bf16x2.f32", "cp.async.cg.shared.global",
                        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", "shfl.sync.bfly.b32"):  # fmt: skip
        assert instruction in compiled.ptx
    assert [u.kernel for u in compiled.usage if u.spill_loads or u.spill_stores or u.stack] == []


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_89", "sm_90a", "sm_100a", "sm_103a", "sm_110a", "sm_120"])
@pytest.mark.parametrize("dtype", [bfloat16, float32], ids=str)
@pytest.mark.parametrize("depth", [32, 64, 128])
def test_chains_fit_registers_and_shared_memory(depth: int, dtype, arch: str) -> None:
    program = build(attention(2, 12, 1024, 1024, depth, dtype, True, True), arch)
    assert len(program.source.table.launches) == 4
    assert [u for u in program.compiled.usage if u.spill_loads or u.spill_stores or u.stack] == []
    assert not re.search(r"C75\d\d", program.compiled.log)
    assert max(launch.shape.shared_bytes for launch in program.source.table.launches) <= GPU_TARGETS[arch].shared_bytes
