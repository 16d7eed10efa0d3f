"""Windows of neighbours are folded side by side: they share what they read, and each one's result does not depend on the others."""

from __future__ import annotations

import numpy as np
import pytest
from needs import needs_compiler

from lamina.backends.executable import Executable
from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.backends.toolchain import build_shared, find_compiler
from lamina.dialects.text import parse, verify
from lamina.dialects.types import float32
from lamina.lowering.bufferize import Bufferize
from lamina.lowering.kernel_to_linalg import KernelToLinalg
from lamina.lowering.linalg_to_loops import LinalgToLoops
from lamina.lowering.loops_to_c import emit_c
from lamina.passes.fuse import Fuse
from lamina.passes.layout import ChooseLayout

Sizes = tuple[int, int, int, int, int, int, int]


def shapes(sizes: Sizes) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Input, kernel and result of: channels, height and width of the result, height and width of a window, stride, dilation."""
    c, h, w, kh, kw, stride, dilation = sizes
    x = (1, (h - 1) * stride + (kh - 1) * dilation + 1, (w - 1) * stride + (kw - 1) * dilation + 1, c)
    return x, (c, 1, 1, kh, kw), (1, h, w, c)


def program(sizes: Sizes) -> str:
    """A depthwise convolution of an array whose channels are innermost, and something element by element behind it."""
    c, h, w, _, _, stride, dilation = sizes
    (_, a, b, _), kernel, result = shapes(sizes)
    x, k, y = (f"tensor<{'x'.join(map(str, s))}xf32>" for s in ((1, a, b, c), kernel, result))
    s, d = (f"array<i64: {n}, {n}>" for n in (stride, dilation))
    flat, wide, made, back = (f"tensor<1x{t}xf32>" for t in (f"{c}x{a}x{b}", f"{c}x1x{a}x{b}", f"{c}x1x{h}x{w}", f"{c}x{h}x{w}"))
    return f"""func.func @main(%x: {x}, %k: {k}) -> {y} {{
  %0 = prim.permute %x {{order = array<i64: 0, 3, 1, 2>}} : ({x}) -> {flat}
  %1 = prim.reshape %0 {{to = array<i64: 1, {c}, 1, {a}, {b}>}} : ({flat}) -> {wide}
  %2 = prim.conv %1, %k {{stride = {s}, dilation = {d}}} : ({wide}, {k}) -> {made}
  %3 = prim.tanh %2 : ({made}) -> {made}
  %4 = prim.reshape %3 {{to = array<i64: 1, {c}, {h}, {w}>}} : ({made}) -> {back}
  %5 = prim.permute %4 {{order = array<i64: 0, 2, 3, 1>}} : ({back}) -> {y}
  func.return %5 : {y}
}}"""


def lowered(text: str, target: str):
    module = parse(text, "test")
    Fuse().run(module)
    ChooseLayout().run(module)
    KernelToLinalg().run(module)
    Bufferize(target=target).run(module)
    LinalgToLoops(target=target).run(module)
    verify(module)
    return module


def numbers(sizes: Sizes) -> list[np.ndarray]:
    rng = np.random.default_rng(sum(sizes))
    return [rng.standard_normal(s).astype(np.float32) for s in shapes(sizes)[:2]]


CASES: list[Sizes] = [
    (16, 3, 7, 3, 3, 1, 1), (21, 2, 9, 3, 3, 1, 1), (35, 5, 11, 3, 3, 2, 1), (8, 2, 17, 3, 3, 1, 2), (17, 1, 13, 2, 5, 1, 1),
    (16, 4, 1, 3, 3, 1, 1), (5, 2, 23, 1, 3, 3, 1), (16, 2, 10, 4, 4, 2, 1), (72, 2, 7, 6, 5, 1, 1), (17, 2, 7, 5, 5, 2, 1), (72, 2, 9, 7, 7, 1, 1), (40, 3, 3, 7, 7, 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "target"), [*((s, "avx512") for s in CASES), *((s, "portable") for s in CASES[1:4])])
def test_the_results_are_those_of_each_window(sizes: Sizes, target: str) -> None:
    given = numbers(sizes)
    (want,) = evaluate(parse(program(sizes), "test"), given)
    np.testing.assert_allclose(execute(lowered(program(sizes), target), given)[0], want, rtol=1e-5, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("sizes", CASES[1:4])
def test_so_they_are_in_c(sizes: Sizes, tmp_path) -> None:
    given, result = numbers(sizes), shapes(sizes)[2]
    module = lowered(program(sizes), "native")
    (tmp_path / "k.c").write_text(emit_c(module).text)
    build_shared(find_compiler(), tmp_path / "k.c", tmp_path / "k.so", ("-Wall", "-Wextra", "-Werror"))
    arena = module.attributes["lamina.arena_bytes"].value.data
    got = Executable(tmp_path / "k.so", [(x.shape, float32) for x in given], [(result, float32)], arena)(given)[0]
    (want,) = evaluate(parse(program(sizes), "test"), given)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def kernel(sizes: Sizes) -> str:
    return str(next(iter(lowered(program(sizes), "avx512").body.block.ops)))


def test_what_windows_share_is_loaded_once() -> None:
    """Seven results of 3 x 3: nine columns of three rows, and nine weights."""
    text = kernel((16, 4, 14, 3, 3, 1, 1))
    assert text.count("math.fma") == 63 and text.count("vector.load") == 27 + 9


def test_what_is_left_over_is_done_by_fewer() -> None:
    text = kernel((16, 4, 11, 3, 3, 1, 1))
    assert text.count("math.fma") == 9 * (6 + 5)


def test_of_a_large_window_a_row_is_unrolled() -> None:
    """Eight results of 7 x 7: a loop over seven rows of fourteen columns; sixteen rows of weights are turned before."""
    text = kernel((16, 4, 16, 7, 7, 1, 1))
    assert text.count("math.fma") == 7 * 8 and text.count("vector.load") == 14 + 7 + 16


def test_rows_without_common_elements_are_not_unrolled() -> None:
    """Sums over pixels, of which eight parts are added up side by side: what they share is one number for all of a row."""
    whole, part, number = "tensor<64x16x16x32xf32>", "tensor<64x14x14x32xf32>", "tensor<1x1x1x32xf32>"
    text = f"""func.func @main(%x: {whole}, %m: {number}) -> {number} {{
  %0 = prim.slice %x {{start = array<i64: 0, 1, 1, 0>, size = array<i64: 64, 14, 14, 32>, step = array<i64: 1, 1, 1, 1>}} : ({whole}) -> {part}
  %1 = prim.expand %m {{to = array<i64: 64, 14, 14, 32>}} : ({number}) -> {part}
  %2 = prim.sub %0, %1 : ({part}, {part}) -> {part}
  %3 = prim.mul %2, %2 : ({part}, {part}) -> {part}
  %4 = prim.sum %3 {{axes = array<i64: 0, 1, 2>}} : ({part}) -> {number}
  func.return %4 : {number}
}}"""
    assert str(next(iter(lowered(text, "avx512").body.block.ops))).count("arith.subf") == 8


def test_threads_share_rows_and_of_a_single_one_its_windows() -> None:
    rows, row = kernel((64, 16, 56, 3, 3, 1, 1)), kernel((16, 1, 4096, 1, 3, 1, 1))
    assert '"scf.parallel"' in rows and rows.count("math.fma") == 9 * 8
    assert '"scf.parallel"' in row and row.count("math.fma") == 3


def test_vectors_put_together_lane_by_lane_are_not_unrolled_for_a_weight() -> None:
    """Images lie innermost in the result and outermost in the operand: neighbours share weights only, one load in seventeen."""
    text = """func.func @main(%x: tensor<64x9x17x16xf32>, %k: tensor<1x1x16x2x2xf32>) -> tensor<8x16x64xf32> {
  %0 = prim.permute %x {order = array<i64: 0, 3, 1, 2>} : (tensor<64x9x17x16xf32>) -> tensor<64x16x9x17xf32>
  %1 = prim.reshape %0 {to = array<i64: 64, 1, 16, 9, 17>} : (tensor<64x16x9x17xf32>) -> tensor<64x1x16x9x17xf32>
  %2 = prim.conv %1, %k {stride = array<i64: 1, 1>, dilation = array<i64: 1, 1>} : (tensor<64x1x16x9x17xf32>, tensor<1x1x16x2x2xf32>) -> tensor<64x1x1x8x16xf32>
  %3 = prim.reshape %2 {to = array<i64: 64, 8, 16>} : (tensor<64x1x1x8x16xf32>) -> tensor<64x8x16xf32>
  %4 = prim.permute %3 {order = array<i64: 1, 2, 0>} : (tensor<64x8x16xf32>) -> tensor<8x16x64xf32>
  func.return %4 : tensor<8x16x64xf32>
}"""
    module = lowered(text, "avx512")
    assert str(next(iter(module.body.block.ops))).count("memref.load") <= 8 * (16 + 1)
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(s).astype(np.float32) for s in ((64, 9, 17, 16), (1, 1, 16, 2, 2))]
    np.testing.assert_allclose(execute(module, given)[0], evaluate(parse(text, "test"), given)[0], rtol=1e-5, atol=1e-5)
