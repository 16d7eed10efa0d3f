"""Short rows run several at a time: their lanes are combined together, and a row's results do not depend on its neighbours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from needs import needs_compiler
from xdsl.dialects.builtin import ModuleOp

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
from lamina.passes.open_composites import OpenComposites


def program(op: str, rows: int, columns: int) -> str:
    """An op over the last dim: of a type of its own, or that of a row's number."""
    whole, short = f"tensor<{rows}x{columns}xf32>", f"tensor<{rows}x1xf32>"
    result = short if op in ("prim.sum", "prim.max") else whole
    return (
        f"func.func @main(%x: {whole}) -> {result} {{\n"
        f"  %0 = {op} %x {{axes = array<i64: 1>}} : ({whole}) -> {result}\n  func.return %0 : {result}\n}}"
    )


def lowered(text: str, target: str) -> ModuleOp:
    module = parse(text, "test")
    OpenComposites().run(module)
    Fuse().run(module)
    KernelToLinalg().run(module)
    Bufferize(target=target).run(module)
    LinalgToLoops(target=target).run(module)
    verify(module)
    return module


OPS = ("nn.softmax", "nn.log_softmax", "prim.sum", "prim.max")


def arena_bytes(module: ModuleOp) -> int:
    return module.attributes["lamina.arena_bytes"].value.data


SPECIAL = (float("nan"), float("inf"), float("-inf"))


def numbers(rows: int, columns: int) -> np.ndarray:
    """Rows of plain numbers; the second half of them has a special value each, the last is -inf throughout."""
    x = np.random.default_rng(columns).standard_normal((rows, columns)).astype(np.float32)
    for row in range(rows // 2, rows):
        x[row, row % columns] = SPECIAL[row % 3]
    x[-1] = float("-inf")
    return x


def check(op: str, columns: int, run: Callable[[str, np.ndarray], np.ndarray]) -> None:
    """Of eleven rows eight go by fours, the last three one by one; of the rows moved by one, others do."""
    rows = 11
    text, x = program(op, rows, columns), numbers(rows, columns)
    with np.errstate(all="ignore"):
        got, moved, alone = run(text, x), run(text, np.roll(x, 1, axis=0)), run(program(op, 1, columns), x[6:7].copy())
        (want,) = evaluate(parse(text, "test"), [x])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alone, want[6:7], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.roll(moved, -1, axis=0), got)


@pytest.mark.parametrize("target", ["avx512", "portable"])
@pytest.mark.parametrize("columns", [3, 17, 47])
@pytest.mark.parametrize("op", OPS)
def test_a_row_does_not_depend_on_its_neighbours(op: str, columns: int, target: str) -> None:
    check(op, columns, lambda text, x: execute(lowered(text, target), [x])[0])


@needs_compiler
@pytest.mark.parametrize("op", OPS)
def test_nor_does_it_in_c(op: str, tmp_path: Path) -> None:
    def run(text: str, x: np.ndarray) -> np.ndarray:
        module = lowered(text, "native")
        folder = Path(mkdtemp(dir=tmp_path))
        (folder / "rows.c").write_text(emit_c(module).text)
        build_shared(find_compiler(), folder / "rows.c", folder / "rows.so", ("-Wall", "-Wextra", "-Werror"))
        result = (x.shape[0], 1 if op in ("prim.sum", "prim.max") else x.shape[1])
        return Executable(folder / "rows.so", [(x.shape, float32)], [(result, float32)], arena_bytes(module))([x])[0].copy()

    check(op, 39, run)


def test_rows_are_combined_in_shared_shuffles() -> None:
    """Sixteen lanes of four rows: two joins of 16, one of 16 and two halvings, then one vector of four results."""
    kernel = str(next(iter(lowered(program("prim.sum", 64, 32), "avx512").body.block.ops)))
    assert kernel.count("vector.shuffle") == 10 and kernel.count("vector.store") == 1 and "memref.store" not in kernel
    assert "vector.shuffle" in str(lowered(program("prim.sum", 64, 1024), "avx512")) and "memref.store" in str(
        lowered(program("prim.sum", 64, 1024), "avx512")
    ), "a long row's end is a small part of it"


def test_scalars_of_rows_are_one_vector() -> None:
    kernel = str(next(iter(lowered(program("nn.log_softmax", 64, 33), "avx512").body.block.ops)))
    assert len(re.findall(r"math.log %\w+ : vector<4xf32>", kernel)) == 1 and "math.log %" in kernel
    assert not re.search(r"math.(exp|log) %\w+ : f32", kernel), "the last column, too"


def normal_program(rows: int, columns: int) -> str:
    """Rows without their mean, over the root of their variance: two folds of little arithmetic."""
    whole, short = f"tensor<{rows}x{columns}xf32>", f"tensor<{rows}x1xf32>"
    wide = f"{{to = array<i64: {rows}, {columns}>}} : ({short}) -> {whole}"
    return (
        f"func.func @main(%x: {whole}) -> {whole} {{\n"
        f"  %0 = prim.sum %x {{axes = array<i64: 1>}} : ({whole}) -> {short}\n"
        f"  %c = prim.full {{shape = array<i64: {rows}, 1>, value = {1 / columns} : f64, t = f32}} : () -> {short}\n"
        f"  %1 = prim.mul %0, %c : ({short}, {short}) -> {short}\n"
        f"  %2 = prim.expand %1 {wide}\n  %3 = prim.sub %x, %2 : ({whole}, {whole}) -> {whole}\n"
        f"  %4 = prim.mul %3, %3 : ({whole}, {whole}) -> {whole}\n"
        f"  %5 = prim.sum %4 {{axes = array<i64: 1>}} : ({whole}) -> {short}\n  %6 = prim.sqrt %5 : ({short}) -> {short}\n"
        f"  %7 = prim.expand %6 {wide}\n  %8 = prim.div %3, %7 : ({whole}, {whole}) -> {whole}\n  func.return %8 : {whole}\n}}"
    )


def test_longer_rows_go_in_pairs_unless_they_are_pages_apart() -> None:
    pair = re.compile(r"math.sqrt %\w+ : vector<2xf32>")
    for columns, paired in ((300, True), (768, True), (1000, False), (1024, False), (1100, False)):
        module = lowered(normal_program(15, columns), "avx512")
        assert bool(pair.search(str(module))) == paired, columns
        x = np.random.default_rng(0).standard_normal((15, columns)).astype(np.float32)
        (got,), (moved,) = execute(module, [x]), execute(module, [np.roll(x, 1, axis=0)])
        np.testing.assert_array_equal(np.roll(moved, -1, axis=0), got)
        d = x - x.mean(axis=1, keepdims=True, dtype=np.float64)
        np.testing.assert_allclose(got, d / np.sqrt((d * d).sum(axis=1, keepdims=True)), rtol=1e-4, atol=1e-6)


def test_not_in_pairs_from_memory() -> None:
    few, many = (str(lowered(normal_program(rows, 768), "avx512")) for rows in (64, 16384))
    pair = re.compile(r"math.sqrt %\w+ : vector<2xf32>")
    assert pair.search(few) and not pair.search(many)


FAR = (203, 1300)
"""Rows of a matrix the second cache does not hold: three times four runs of sixteen, two times four rows, three alone."""


def far_program(rows: int) -> str:
    """Sums of the products of a matrix's rows with one row; each has its own number and half the addend of its row added."""
    whole, one, short = f"tensor<{rows}x{FAR[1]}xf32>", f"tensor<1x{FAR[1]}xf32>", f"tensor<{rows}x1xf32>"
    return (
        f"func.func @main(%x: {whole}, %v: {one}, %a: {short}) -> {short} {{\n"
        f"  %0 = prim.expand %v {{to = array<i64: {rows}, {FAR[1]}>}} : ({one}) -> {whole}\n"
        f"  %1 = prim.mul %x, %0 : ({whole}, {whole}) -> {whole}\n"
        f"  %2 = prim.sum %1 {{axes = array<i64: 1>}} : ({whole}) -> {short}\n"
        f"  %3 = prim.iota {{shape = array<i64: {rows}, 1>, axis = 0 : i64, t = f32}} : () -> {short}\n"
        f"  %4 = prim.add %2, %3 : ({short}, {short}) -> {short}\n"
        f"  %5 = prim.add %4, %a : ({short}, {short}) -> {short}\n  func.return %5 : {short}\n}}"
    )


def far_numbers() -> list[np.ndarray]:
    draws = np.random.default_rng(0)
    return [draws.standard_normal(shape).astype(np.float32) for shape in (FAR, (1, FAR[1]), (FAR[0], 1))]


def check_far(run: Callable[[str, list[np.ndarray]], np.ndarray]) -> None:
    """Of 203 rows 192 go by runs; of those moved by five, others do."""
    x, v, a = far_numbers()
    numbered = np.arange(FAR[0], dtype=np.float32)[:, None]
    got = run(far_program(FAR[0]), [x, v, a - numbered])
    moved = run(far_program(FAR[0]), [np.roll(x, 5, axis=0), v, np.roll(a, 5, axis=0) - numbered])
    np.testing.assert_allclose(got, (x.astype(np.float64) * v).sum(axis=1, keepdims=True) + a, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(np.roll(moved, -5, axis=0), got, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("target", ["avx512_halves", "avx512_vnni", "avx512_amx"])
def test_runs_of_rows_from_afar_go_side_by_side(target: str) -> None:
    module = lowered(far_program(FAR[0]), target)
    kernel = str(next(iter(module.body.block.ops)))
    assert re.search(r"scf.for %\w+ = %\w+ to %\w+ step %\w+ .*iter_args\((%\w+ = %\w+,? ?){8}\)", kernel), "four rows of two vectors"
    assert "prefetch" not in kernel and "prefetch" in str(lowered(far_program(FAR[0]), "avx512"))
    if target == "avx512_halves":
        check_far(lambda text, arrays: execute(lowered(text, target), arrays)[0])


@needs_compiler
def test_so_they_do_in_c(tmp_path: Path) -> None:
    def run(text: str, arrays: list[np.ndarray]) -> np.ndarray:
        module = lowered(text, "avx512_halves")
        folder = Path(mkdtemp(dir=tmp_path))
        (folder / "rows.c").write_text(emit_c(module).text)
        build_shared(find_compiler(), folder / "rows.c", folder / "rows.so", ("-Wall", "-Wextra", "-Werror", "-Wno-psabi"))
        program = Executable(folder / "rows.so", [(a.shape, float32) for a in arrays], [((FAR[0], 1), float32)], arena_bytes(module))
        return program(arrays)[0].copy()

    check_far(run)
