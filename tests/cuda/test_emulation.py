"""GPU kernels on emulated threads against numpy: every way kernels are made, in several thread orders, and planted bugs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from needs import needs_emulation

from graphs import Recorder, cnn_step, inputs_for

from lamina.backends.cuda.check_kernels import largest_error
from lamina.backends.cuda.check_programs import PROGRAMS, arrays_for
from lamina.backends.cuda.program import cuda_source
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.errors import BackendError
from lamina.dialects.graph import Graph
from lamina.dialects.types import bfloat16, float16, float32, uint8
from lamina.lowering.capture import capture
from lamina.lowering.cuda_source import CudaSource

pytestmark = needs_emulation


def check(graph: Graph, arrays: list[np.ndarray], arch: str = "sm_90a") -> None:
    """All outputs within the check's tolerance, and bit for bit the same in every order of threads."""
    emulation = emulate.Emulation(cuda_source(graph, arch))
    first = emulation(arrays, 0)
    assert largest_error(graph, first, evaluate(capture(graph), arrays)) <= 1
    for seed in (1, 5):
        for a, b in zip(first, emulation(arrays, seed), strict=True):
            assert a.tobytes() == b.tobytes()


QUICK = ("elementwise", "softmax", "sums", "matmul f32", "places")


def some(values, quick):
    """All of them, those that are not quick marked slow: every one is a run of g++."""
    return [v if v in quick else pytest.param(v, marks=pytest.mark.slow) for v in values]


@pytest.mark.parametrize("program", some(PROGRAMS, [p for p in PROGRAMS if p.name in QUICK]), ids=lambda p: p.name)
def test_program(program) -> None:
    graph = program.make(program.small)
    check(graph, arrays_for(graph))


@pytest.mark.slow
def test_digits_training_step() -> None:
    graph = cnn_step(batch=4, channels=(1, 8, 12), hidden=24, side=12)
    arrays = [np.abs(a) if a.dtype.kind == "f" else a for a in inputs_for(graph)]  # second moments are positive
    check(graph, arrays)


def product(m: int, n: int, k: int, dtype=float32, left_turned: bool = False, right_turned: bool = False) -> Graph:
    r = Recorder()
    x = r.input((k, m) if left_turned else (m, k), dtype)
    y = r.input((n, k) if right_turned else (k, n), dtype)
    x = r("permute", x, attrs=((1, 0),)) if left_turned else x
    y = r("permute", y, attrs=((1, 0),)) if right_turned else y
    return r.graph(r("matmul", x, y))


TURNS = [(bfloat16, False, True), (bfloat16, True, False)]
TURNS += [(d, a, b) for d in (float32, bfloat16, float16) for a in (False, True) for b in (False, True) if (d, a, b) not in TURNS]


@pytest.mark.parametrize("case", some(TURNS, TURNS[:2]), ids=str)
def test_product_of_several_tiles(case) -> None:
    dtype, *turned = case
    graph = product(152, 200, 104, dtype, *turned)
    check(graph, arrays_for(graph))


UNEVEN = [(d, *s) for s in ((17, 33, 65), (129, 66, 35), (16, 16, 16), (1, 130, 70), (70, 1, 130)) for d in (bfloat16, float32)]


@pytest.mark.parametrize("case", some(UNEVEN, UNEVEN[:1]), ids=str)
def test_product_of_uneven_sizes(case) -> None:
    dtype, *sizes = case
    graph = product(*sizes, dtype)
    check(graph, arrays_for(graph))


@pytest.mark.parametrize("dtype", some([float32, bfloat16], [float32]), ids=str)
def test_long_sum_is_cut_and_added_in_order(dtype) -> None:
    graph = product(24, 40, 5000, dtype)
    source = cuda_source(graph, "sm_90a")
    assert [launch.kernel for launch in source.table.launches] == ["k0_0", "k0_0_sum"]
    check(graph, arrays_for(graph))


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0 + 2**-8, 1.0 + 3 * 2**-9, 65504.0, 65519.9, 65520.0, -2e5, 6e-8, 2.9e-8, 6.1e-5, -1e-40, 3.4e38]


@pytest.mark.parametrize("dtype", some([float16, bfloat16], [float16]), ids=str)
def test_floats_of_16_bits_are_rounded_as_numpy_does(dtype) -> None:
    r = Recorder()
    x, y = r.input((len(SPECIAL),), float32), r.input((len(SPECIAL),), dtype)
    halves = r("cast", x, attrs=(dtype,))
    graph = r.graph(halves, r("cast", halves, attrs=(float32,)), r("maximum", r("cast", y, attrs=(float32,)), x))
    values = np.array(SPECIAL, np.float32)
    with np.errstate(over="ignore"):
        arrays = [values, values[::-1].astype(dtype.numpy)]
    for got, want in zip(emulate.Emulation(cuda_source(graph, "sm_90a"))(arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_array_equal(got.astype(np.float64), want.astype(np.float64))


def test_unsigned_bytes_come_back_unsigned() -> None:
    r = Recorder()
    x, y = r.input((40,), uint8), r.input((40,), uint8)
    graph = r.graph(r("sub", x, y), r("maximum", r("sub", x, y), y))
    a, b = np.arange(40, dtype=np.uint8), np.full(40, 7, np.uint8)
    got = emulate.Emulation(cuda_source(graph, "sm_80"))([a, b])
    assert got[0].dtype == np.uint8 and (got[0] == a - b).all() and (got[1] == np.maximum(a - b, b)).all()


# Planted bugs: each must be seen


def broken(graph: Graph, pattern: str, replacement: str, count: int = 0) -> CudaSource:
    source = cuda_source(graph, "sm_90a")
    text, done = re.subn(pattern, replacement, source.kernels, count=count)
    assert done, f"{pattern} is not in the kernels"
    return source.with_kernels(text)


def is_seen(source: CudaSource, graph: Graph) -> bool:
    """Whether some order of threads gives an error or a wrong result."""
    arrays = arrays_for(graph)
    want = evaluate(capture(graph), arrays)
    emulation = emulate.Emulation(source)
    for seed in (0, 1, 2, 3):
        try:
            if not largest_error(graph, emulation(arrays, seed), want) <= 1:
                return True
        except BackendError:
            return True
    return False


def block_rows() -> Graph:
    r = Recorder()
    return r.graph(r("softmax", r.input((3, 3000)), attrs=((1,),)))


PLANTED = {
    "no barrier after partial sums": (block_rows, r"__syncthreads\(\);", ""),
    "a barrier only some threads reach": (block_rows, r"__syncthreads\(\);", "if (threadIdx.x < 32) __syncthreads();"),
    "a lane left out of the sum": (block_rows, r"lm_shuffle_xor<float>\((\w+), 1\)", r"(0 * \1)"),
    "a write past the end of shared memory": (block_rows, r"\(f32 \*\)\(arena_ \+ 0\)", "(f32 *)(arena_ + 8192)"),
    "no barriers between tiles": (lambda: product(40, 40, 64), r"__syncthreads\(\);", ""),
    "sums that start from nothing": (lambda: product(40, 40, 64), r"sums\[(\w+)\] = 0\.0f;", r"sums[\1] = NAN;"),
    "no wait for a copy": (lambda: product(64, 64, 160, bfloat16), r"lm_cp_async_wait<1>\(\);", ""),
    "a wait that is one group short": (lambda: product(64, 64, 160, bfloat16), r"lm_cp_async_wait<1>", "lm_cp_async_wait<2>"),
    "no barrier after a copy": (lambda: product(64, 64, 160, bfloat16), r"__syncthreads\(\);", ""),
}


@pytest.mark.parametrize("bug", some(PLANTED, ["no barrier after partial sums", "no wait for a copy"]))
@pytest.mark.slow
def test_planted_bug_is_seen(bug: str) -> None:
    make, pattern, replacement = PLANTED[bug]
    graph = make()
    assert not is_seen(cuda_source(graph, "sm_90a"), graph)
    assert is_seen(broken(graph, pattern, replacement), graph)


def test_a_write_outside_an_output_is_seen() -> None:
    r = Recorder()
    graph = r.graph(r("exp", r.input((37,))))
    source = broken(graph, r"if \(.*\) \{", "if (true) {")
    with pytest.raises(BackendError, match="wrote outside"):
        emulate.Emulation(source)(arrays_for(graph))


def test_clamps_by_a_constant_keep_what_is_no_number() -> None:
    r = Recorder()
    x = r.input((64,))
    graph = r.graph(r("relu", x), r("maximum", x, r.full((64,), -0.5)), r("minimum", r.full((64,), 0.5), x))
    values = np.linspace(-2, 2, 64, dtype=np.float32)
    values[:4] = np.nan, np.inf, -np.inf, -0.0
    got = emulate.Emulation(cuda_source(graph, "sm_90a"))([values])
    for a, b in zip(got, evaluate(capture(graph), [values]), strict=True):
        np.testing.assert_array_equal(a, b)
