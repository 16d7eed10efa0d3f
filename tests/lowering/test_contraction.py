"""Contraction kernels through C against numpy: matrix products, convolutions and their gradients, einsums,
epilogues.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler
from xdsl.dialects import func
from xdsl.parser import Parser

sys.path.insert(0, str(Path(__file__).parent))

from contraction_programs import (  # noqa: E402
    Compiled,
    Operand,
    Program,
    context,
    convolution,
    input_gradient,
    kernel_gradient,
    kernel_of,
    linear,
    lowered,
    matrix,

    kernel_of,)

from lamina.backends import executor  # noqa: E402
from lamina.dialects.kernel import PrefetchOp  # noqa: E402
from lamina.dialects.target import AVX2, AVX512, AVX512_BF16, AVX512_HALVES, PORTABLE, native_target  # noqa: E402
from lamina.lowering.contraction_blocking import divided, shared_out  # noqa: E402
from lamina.lowering.contraction_choice import choice  # noqa: E402
from lamina.lowering.contraction_decision import read_decision  # noqa: E402
from lamina.lowering.contraction_plan import make_plan
from lamina.lowering.contraction_problem import Dim, Plan, Problem
  # noqa: E402
from lamina.lowering.contraction_schedule import posed, schedule  # noqa: E402

O = Operand  # noqa: E741

pytestmark = needs_compiler


def bias_relu(total, bias):  # noqa: ANN001, ANN201
    return np.maximum(total + bias, 0)


def planned(program: Program, target) -> Plan:  # noqa: ANN001
    """The plan of a program's kernel."""
    module = Parser(context(), program.text()).parse_module()
    scheduled = schedule(next(op for op in module.ops if isinstance(op, func.FuncOp)), target)
    assert scheduled is not None
    return scheduled.plan


def assert_close(program: Program, apply=None, target=None) -> None:  # noqa: ANN001
    rng = np.random.default_rng(0)
    operands = (program.left, program.right, *program.others)
    arrays = [o.array(program.sizes, rng) for o in operands]
    found = Compiled(program, target)(arrays)
    wanted = program.expected(arrays, apply).reshape(found.shape)
    if program.result.element[0] == "f":
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(1, np.abs(wanted).max()) * 3)
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "program",
    [
        matrix(64, 256, 784), matrix(33, 50, 70), matrix(17, 40, 65, "km"), matrix(20, 48, 37, "mk", "nk"),
        matrix(19, 35, 64, "km", "nk"), matrix(1, 100, 300), matrix(200, 1, 40, "km"), matrix(40, 3, 60),
        matrix(33, 40, 7000), matrix(9, 130, 20, "mk", "nk"), matrix(33, 40, 70, element="f64"), matrix(33,
        40, 70, element="i32"), matrix(20, 24, 70, element="i64"),
    ],
    ids=lambda p: "-".join(map(str, p.sizes.values())) + p.left.element,
)  # fmt: skip
def test_matrix_products(program: Program) -> None:
    assert_close(program)


@pytest.mark.parametrize("sizes", [(64, 10, 128), (64, 256, 784), (5, 33, 17)])
def test_bias_and_relu_are_applied_to_the_accumulators(sizes: tuple[int, int, int]) -> None:
    assert_close(linear(*sizes), bias_relu)


@pytest.mark.parametrize(
    "program",
    [
        convolution(4, 16, 32, 16), convolution(2, 1, 16, 30), convolution(2, 3, 10, 9, stride=2),
        convolution(2, 5, 7, 9, order=None), convolution(2, 8, 16, 9), convolution(1, 4, 40, 6, k=1),
    ],
    ids=lambda p: "-".join(map(str, p.sizes.values())),
)  # fmt: skip
def test_convolutions(program: Program) -> None:
    assert_close(program, bias_relu)


@pytest.mark.parametrize("shape", [(8, 16, 32, 16), (4, 1, 16, 30), (3, 5, 7, 9)])
def test_convolution_gradients(shape: tuple[int, int, int, int]) -> None:
    assert_close(kernel_gradient(*shape))
    if shape[1] > 1:  # one channel: no dim is worth a vector
        assert_close(input_gradient(*shape))


@pytest.mark.parametrize(
    "program",
    [
        Program({"z": 6, "m": 17, "n": 33, "k": 40}, O(("z", "m", "k")), O(("z", "n", "k")), O(("z", "m",
        "n")), direct=True), Program({"a": 3, "b": 20, "c": 4, "d": 24, "e": 9}, O(("b", "a", "e")), O(("e",
        "d", "c")), O(("a", "d", "b", "c")), direct=True), Program({"a": 33, "b": 18, "e": 19}, O(("a", "e")),
        O(("e", "b")), O(("a", "b"), (1, 0)), direct=True), Program({"h": 5, "m": 30, "n": 40, "k": 16},
        O(("m", "h", "k")), O(("n", "h", "k")), O(("h", "m", "n")), direct=True), Program({"m": 30, "n": 40,
        "k": 16}, O(("m", "k")), O(("k", f"{39}-n")), O(("m", "n")), direct=True),
    ],
)  # fmt: skip
def test_products_over_other_index_sets(program: Program) -> None:
    assert_close(program)


@pytest.mark.slow
def test_epilogue_with_residual_mask_and_row_scale() -> None:
    body = """%s = arith.mulf %0, %1 : f32
              %m = arith.select %3, %s, %2 : f32
              %y = arith.addf %m, %2 : f32"""
    for n in (48, 37):
        others = (O(("m",)), O(("m", "n"), (1, 0)), O(("m", "n"), element="i1"))
        program = Program(
            {"m": 29, "n": n, "k": 31}, O(("m", "k")), O(("k", "n")), O(("m", "n")), others, body
        )
        assert_close(program, lambda t, scale, rest, mask: np.where(mask, t * scale, rest) + rest)


@pytest.mark.parametrize("target", [AVX512, AVX2, PORTABLE], ids=lambda t: t.name)
@pytest.mark.parametrize("n", [96, 77])
def test_a_long_epilogue_is_written_once_in_loops_over_the_sums(n: int, target) -> None:  # noqa: ANN001
    """Whole vectors of a panel; the last vector of an uneven panel is spelled out."""
    lines = [f"%s{i} = arith.{op} %{f's{i - 1}' if i else 0}, %{i % 3 + 1} : f32" for i, op in enumerate(["mulf", "addf", "subf"] * 4)]
    body = "\n".join([*lines, "%y = arith.maximumf %s11, %4 : f32"])
    others = (O(("n",)), O(("m",)), O(("m", "n")), O(("n",)))
    program = Program({"m": 29, "n": n, "k": 31}, O(("m", "k")), O(("k", "n")), O(("m", "n")), others, body)
    module, _ = lowered(program, target)
    assert str(module).count("arith.maximumf") <= (2 if n == 96 else 32), "once for each shape of tile, and for uneven vectors"

    def apply(total, a, b, c, d):  # noqa: ANN001, ANN202
        for _ in range(4):
            total = total * a + b - c
        return np.maximum(total, d)

    assert_close(program, apply, target)


@pytest.mark.parametrize("target", [AVX2, PORTABLE], ids=lambda t: t.name)
@pytest.mark.slow
def test_narrower_targets(target) -> None:  # noqa: ANN001
    assert_close(linear(37, 45, 60), bias_relu, target)
    assert_close(convolution(2, 6, 20, 9), bias_relu, target)


def test_a_long_reduction_is_cut_into_chunks_whatever_the_thread_count() -> None:
    made = lowered(kernel_gradient(16, 1, 16, 30), AVX512)
    assert made is not None
    text = str(made[0])
    assert text.count("scf.parallel") == 2
    assert made[1] > 9 * 16 * 4


@pytest.mark.parametrize("target", [AVX2, AVX512], ids=lambda t: t.name)
@pytest.mark.parametrize("sizes", [(256, 256, 256), (64, 256, 784), (7, 512, 64), (1, 1000, 300)], ids=str)
def test_a_register_tile_leaves_a_register_to_the_compiler(target, sizes) -> None:  # noqa: ANN001
    plan = planned(matrix(*sizes), target)
    for tiles, panel in itertools.product(plan.tiles, plan.panels):
        rows = tiles.size * plan.inner_rows
        assert rows * panel.vectors + panel.vectors + 1 < target.vector_registers


def test_the_tile_follows_what_loads_cost() -> None:
    square = matrix(256, 256, 256)
    shape = [(plan.tiles[0].size, plan.panels[0].vectors) for plan in (planned(square, AVX2), planned(square, AVX512))]
    assert shape == [(6, 2), (14, 2)]


FAR = 270  # steps, each in another line: more lines than half a first-level cache holds


@pytest.mark.parametrize("target", [AVX2, AVX512, PORTABLE], ids=lambda t: t.name)
@pytest.mark.parametrize(
    "program",
    [
        matrix(25, 300, FAR, "km"), matrix(25, 300, FAR, "km", element="f64"),
        Program({"z": 3, "m": 25, "n": 300, "k": FAR}, O(("z", "k", "m")), O(("z", "k", "n")), O(("z", "m", "n")), direct=True),
        Program({"o": 3, "m": 35, "n": 300, "k": FAR}, O(("k", "o", "m")), O(("k", "n")), O(("o", "n", "m")), direct=True),
        Program({"m": 25, "n": 300, "k": FAR}, O(("k", "m"), element="bf16"), O(("k", "n"), element="bf16"), O(("m", "n")), direct=True),
        matrix(25, 300, 9000, "km"),
    ],
    ids=["f32", "f64", "batch", "outer rows", "widened", "chunks"],
)  # fmt: skip
def test_rows_whose_steps_lie_far_apart_are_packed(program, target) -> None:  # noqa: ANN001
    assert planned(program, target).packs_rows
    assert_close(program, target=target)


def test_rows_are_packed_only_where_many_panels_read_them_and_the_copy_stays_small() -> None:
    assert not planned(matrix(25, 300, FAR), AVX2).packs_rows, "steps are neighbours"
    assert not planned(matrix(25, 16, FAR, "km"), AVX2).packs_rows, "one panel"
    assert not planned(matrix(25, 300, 100, "km"), AVX2).packs_rows, "the first-level cache keeps all lines"
    assert planned(kernel_gradient(4, 64, 128, 14), AVX2).packs_rows
    assert not planned(kernel_gradient(64, 64, 128, 66), AVX2).packs_rows, "nine times the input"


def test_a_large_matrix_that_lies_step_by_step_is_the_side_of_the_vectors() -> None:
    assert not planned(matrix(64, 1000, 2048), AVX512).swapped, "as rows, every step of every tile would fetch a line from afar"
    assert planned(matrix(64, 1000, 2048), replace(AVX512, l2_bytes=1 << 30)).swapped, "all of it is near"


def test_no_copy_is_made_of_windows_that_memory_would_have_to_hold() -> None:
    sizes = {"n": 4, "g": 32, "o": 4, "h": 28, "w": 28, "c": 4, "p": 3, "q": 3}
    image, kernel, result = O(("n", "4*g+c", "h+p", "w+q")), O(("4*g+o", "c", "p", "q")), O(("n", "g", "o", "h", "w"))
    grouped = Program(sizes, image, kernel, result, direct=True)
    near = replace(AVX512, l2_bytes=1 << 30)
    assert not planned(grouped, AVX512).swapped and planned(grouped, near).swapped, "a copy nine times the image, in memory or near"


def test_blocks_of_rows_follow_the_caches() -> None:
    small, middle, large = (planned(matrix(n, n, n), AVX2) for n in (256, 1024, 2048))
    assert small.row_parts < AVX2.tasks <= small.row_parts * small.panel_parts, "all of it stays in the second cache"
    assert middle.row_parts > AVX2.tasks, "rows that stay in the second cache: panels come from the third"
    assert large.row_parts < AVX2.tasks <= large.row_parts * large.panel_parts, "panels come from memory: few blocks"


def test_rows_of_pixels_pass_by_one_panel_after_the_other() -> None:
    weights = planned(convolution(1, 256, 512, 9), AVX2)
    assert [d.size for d in weights.within] == [7], "4.7 MB of weights are read once, not once per row of pixels"
    assert weights.row_parts == 1
    pixels = planned(convolution(1, 8, 64, 114), AVX2)
    assert [d.size for d in pixels.within] == [112], "a block of pixels and its results stay in the second cache"
    assert pixels.row_parts > 4


def test_panels_from_afar_are_fetched_ahead_where_few_tiles_read_them() -> None:
    weights = convolution(1, 256, 512, 9)
    assert planned(weights, AVX512).ahead * 4 == AVX512.ahead_bytes
    made = lowered(weights, AVX512)
    assert made is not None
    assert "kernel.prefetch near" in str(made[0])
    assert planned(matrix(64, 256, 256), AVX512).ahead == 0, "packed just before, they are still near"
    assert planned(convolution(1, 8, 64, 114), AVX512).ahead == 0, "one wait among many tiles"


@pytest.mark.parametrize("target", [replace(AVX512, l1_bytes=4 << 10), replace(AVX2, l1_bytes=2 << 10, l2_bytes=16 << 10)], ids=["avx512", "avx2"])
@pytest.mark.parametrize("program", [matrix(49, 256, 96, b="nk"), convolution(1, 24, 128, 9), convolution(1, 64, 96, 7)], ids=["product", "3x3", "chunks"])
@pytest.mark.slow
def test_the_tiles_of_a_panel_fetch_the_one_behind_it_and_nothing_else(program: Program, target, monkeypatch) -> None:  # noqa: ANN001
    """Every line of every panel but the first is fetched, while the panel before it is read; the last panel's tiles fetch what is behind all."""
    seen: list[int] = []

    def recorded(writer, op) -> None:  # noqa: ANN001
        if op.written is None and op.near is None:
            writer.line(f"{writer.keep(seen)}.append({writer.at(op.memory, (op.index,))})")

    monkeypatch.setitem(executor._STATEMENTS, PrefetchOp, recorded)
    target = replace(target, parallel_work=1 << 60)
    plan, (module, _) = planned(program, target), lowered(program, target)
    assert plan.next_panel
    rng = np.random.default_rng(0)
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]
    found = executor.execute(module, arrays)[0]
    np.testing.assert_allclose(found, program.expected(arrays, bias_relu if program.others else None).reshape(found.shape), rtol=2e-4, atol=2e-4)
    first = plan.panels[0].vectors * plan.lanes * plan.steps
    end = sum(p.vectors * p.count for p in plan.panels) * plan.lanes * plan.steps
    lines = {(at - first) // 16 for at in seen if at < end}
    assert lines == set(range((end - first) // 16))
    assert max(seen) < end + first


@pytest.mark.parametrize(("rows", "tasks"), [(20, 1), (49, 1), (128, 1), (128, 3), (200, 7)])
def test_all_tiles_of_a_task_share_the_fetching_of_a_panel(rows: int, tasks: int) -> None:
    plan = planned(matrix(rows, 256, 768, b="nk"), replace(AVX512, l1_bytes=4 << 10, tasks=tasks))
    width, tiles = plan.panels[0].vectors * plan.lanes, sum(t.count // plan.row_parts for t in plan.tiles)
    assert width <= tiles * plan.next_panel < 2 * width
    assert (plan.next_panel == 16) == (rows == 20), "two tiles fetch a line a step"


def test_tiles_fetch_the_rows_of_the_next_one_where_these_come_from_afar(monkeypatch) -> None:  # noqa: ANN001
    """Every line of all rows but the first tile's is fetched while the tile before is computed."""
    seen: list[int] = []

    def recorded(writer, op) -> None:  # noqa: ANN001
        if op.written is None and op.near is None:
            writer.line(f"{writer.keep(seen)}.append({writer.at(op.memory, (op.index,))})")

    monkeypatch.setitem(executor._STATEMENTS, PrefetchOp, recorded)
    program, far = matrix(100, 64, 96, b="nk"), replace(AVX512, parallel_work=1 << 60, l2_bytes=32 << 10)
    assert not planned(program, replace(far, l2_bytes=1 << 20)).next_rows, "all rows are near"
    assert not planned(matrix(100, 64, 1024, b="nk"), far).next_rows, "a row is a page: a processor sees how it is read"
    assert not planned(matrix(100, 64, 96, a="km", b="nk"), far).next_rows, "rows are not read front to back"
    assert not planned(matrix(1000, 64, 32, b="nk"), far).next_rows, "short rows follow each other"
    plan, (module, _) = planned(program, far), lowered(program, far)
    assert plan.next_rows
    rng = np.random.default_rng(0)
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]
    found = executor.execute(module, arrays)[0]
    np.testing.assert_allclose(found, program.expected(arrays, bias_relu if program.others else None).reshape(found.shape), rtol=2e-4, atol=2e-4)
    assert set(range(plan.tiles[0].size * 6, 100 * 6)) <= {at // 16 for at in seen}
    assert max(seen) < (100 + plan.tiles[0].size) * 96


@pytest.mark.parametrize("k", [64, 250, 300, 20], ids=["short", "its longest", "long", "too few steps"])
def test_every_line_that_an_epilogue_touches_is_asked_for_once_per_tile(k: int, monkeypatch) -> None:  # noqa: ANN001
    """By the steps of a short reduction, a row every few of them; in front of others."""
    seen: list[int] = []

    def recorded(writer, op) -> None:  # noqa: ANN001
        if op.written is not None:
            writer.line(f"{writer.keep(seen)}.append({writer.at(op.memory, (op.index,))})")

    monkeypatch.setitem(executor._STATEMENTS, PrefetchOp, recorded)
    program, target = matrix(60, 96, k), replace(AVX512, parallel_work=1 << 60, l1_bytes=1 << 20)
    plan, (module, _) = planned(program, target), lowered(program, target)
    rng = np.random.default_rng(0)
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]
    found = executor.execute(module, arrays)[0]
    np.testing.assert_allclose(found, program.expected(arrays, bias_relu if program.others else None).reshape(found.shape), rtol=2e-4, atol=2e-4)
    assert {at // 16 for at in seen} == set(range(60 * 96 // 16))
    tiles = sum(t.count for t in plan.tiles) * sum(p.count for p in plan.panels)
    assert (len(seen) == tiles * k) == (k in (64, 250)) != (len(seen) == 60 * 96 // 16)


def test_what_an_epilogue_touches_is_asked_for_in_front_of_a_long_reduction() -> None:
    def written(k: int) -> int:
        made = lowered(matrix(64, 128, k), AVX512)
        assert made is not None
        return str(made[0]).count("kernel.prefetch written")

    assert written(8) == 0
    assert written(64) > 0


def test_a_reduction_in_chunks_keeps_the_order_of_its_loops() -> None:
    plan = planned(convolution(1, 512, 256, 18), AVX512)
    assert [d.size for d in plan.reduction] == [3, 3, 512]
    assert plan.chunks == 3


@pytest.mark.parametrize("columns", [6, 8, 10, 18, 24, 28, 40, 56])
@pytest.mark.parametrize("target", [AVX512, AVX512_HALVES, AVX2, PORTABLE], ids=lambda t: t.name)
def test_a_vector_that_is_filled_in_part_moves_in_shorter_ones(columns: int, target) -> None:  # noqa: ANN001
    """With a residual and a row of biases beside it; what lies behind the rows stays as it was."""
    body = """%s = arith.addf %0, %1 : f32
              %y = arith.addf %s, %2 : f32"""
    others = (O(("n",)), O(("m", "n")))
    program = Program({"m": 37, "n": columns, "k": 48}, O(("m", "k")), O(("n", "k")), O(("m", "n")), others, body)
    assert_close(program, lambda t, bias, rest: t + bias + rest, target)


def test_columns_that_are_no_whole_vectors_are_still_the_vector() -> None:
    plan = planned(convolution(1, 96, 24, 30, 1), AVX512)
    assert not plan.swapped
    assert plan.panels[-1].tail == 8


@pytest.mark.parametrize(("columns", "lanes"), [(24, 8), (40, 8), (10, 16), (64, 16), (1000, 16)])
def test_vectors_are_halves_where_these_take_half_the_time_and_fill_up(columns: int, lanes: int) -> None:
    program = linear(196, columns, 96)
    halves, wholes = planned(program, AVX512_HALVES), planned(program, AVX512_BF16)
    assert (halves.lanes, wholes.lanes) == (lanes, 16)
    assert replace(halves, cost=0.0) == replace(wholes, cost=0.0) or lanes == 8, "what whole vectors do as well stays with them"


def test_large_panels_are_narrow_and_many_rows_read_them() -> None:
    """A step of a tile reads its panel's columns from the second cache: fewer of them for more rows."""
    near, far = planned(matrix(280, 512, 64), AVX512), planned(matrix(280, 512, 1000), AVX512)
    assert far.panels[0].vectors < near.panels[0].vectors
    assert far.tiles[0].size > near.tiles[0].size


def test_tasks_that_share_a_panel_follow_each_other() -> None:
    plan = planned(convolution(1, 64, 64, 16), AVX512)
    assert plan.row_parts == plan.row_shares > 1
    assert plan.row_parts * plan.panel_parts >= AVX512.tasks


@pytest.mark.parametrize("program", [matrix(49, 512, 300), matrix(64, 784, 160, b="kn"), input_gradient(5, 64, 32, 12)], ids=["product", "wide", "pixels"])
def test_tasks_are_even(program: Program) -> None:
    """No task is much more than an equal share, whatever is left over of panels, tiles and pixels."""
    plan = planned(program, AVX512)
    cut = plan.within[: plan.cut_loops(plan.row_parts)] if plan.within else ()
    kinds = [(prod(d.size for d in cut), 1)] if cut else [(t.count, t.size) for t in plan.tiles]
    columns, rows = dealt([(p.count, p.vectors) for p in plan.panels], plan.panel_parts), dealt(kinds, plan.row_parts)
    halves = [0, 0]
    for size in sorted((r * c for r in rows for c in columns), reverse=True):
        halves[halves.index(min(halves))] += size
    assert min(*rows, *columns) > 0 and max(halves) <= 0.53 * sum(halves), (rows, columns)
    assert_close(program, target=AVX512)


@pytest.mark.parametrize(("pixels", "panels"), [(7, [(10, 3), (1, 2)]), (14, [(4, 3), (2, 2)])], ids=["7 x 7", "14 x 14"])
def test_tasks_come_out_even_among_two_threads(pixels: int, panels: list[tuple[int, int]]) -> None:
    """As the pool deals them out: the last thread is done when the first one is, but for a few percent."""
    plan = planned(convolution(1, 64, 512, 16), AVX512)
    plan = replace(plan, within=tuple(d._replace(size=pixels) for d in plan.within))
    kinds = tuple(plan.panels[0]._replace(count=count, vectors=vectors) for count, vectors in panels)
    shared = shared_out(replace(plan, panels=kinds, row_parts=1), AVX512.tasks, fetches=True)
    columns, rows = dealt(panels, shared.panel_parts), dealt([(pixels, 1)], shared.row_parts)
    tasks = [row * column for column in columns for row in rows]
    assert shared.row_parts == shared.row_shares and time_over_perfect(tasks, 2) <= 1.03, tasks
    assert min(rows) * sum(tiles.count for tiles in plan.tiles) >= 2, "who fetches the next panel?"


def test_loops_beside_one_panel_are_tasks() -> None:
    """Three results for each pixel: vectors of pixels, one panel a row of them, and as many as there are images and rows."""
    sizes = {"b": 8, "o": 3, "h": 16, "w": 16, "c": 16, "v": 2}
    program = Program(sizes, Operand(("o", "c", "v")), Operand(("b", "c", "h", "w+v"), (0, 2, 3, 1)), Operand(("b", "o", "h", "w")), direct=True)
    plan = planned(program, AVX512)
    assert len(plan.panels) == 1 and plan.panels[0].count == 1 and plan.beside
    assert plan.grid == plan.beside[: plan.aside] and prod(d.size for d in plan.grid) * plan.row_parts >= AVX512.tasks
    assert plan.row_parts == 1, "rows of a panel are shared only where there is nothing else"
    assert_close(program, target=AVX512)


def time_over_perfect(tasks: list[int], threads: int) -> float:
    """Threads take half of what is left of their own tasks at a time, then of the other's (backends/pool.c), step by step."""
    parts = [tasks[len(tasks) * k // threads : len(tasks) * (k + 1) // threads] for k in range(threads)]
    clocks = [0] * threads
    while any(parts):
        who = clocks.index(min(clocks))
        part = next(parts[(who + k) % threads] for k in range(threads) if parts[(who + k) % threads])
        taken = max(1, len(part) // 2)
        clocks[who] += sum(part[:taken])
        del part[:taken]
    return max(clocks) * threads / sum(tasks)


def dealt(kinds: list[tuple[int, int]], parts: int) -> list[int]:
    """What each of so many parts gets of kinds (how many, how large) that are cut from both ends in turn."""
    cuts = [([count * k // parts for k in range(parts + 1)], size) for count, size in kinds]
    return [sum((cut[j + 1] - cut[j]) * size for n, (cut, size) in enumerate(cuts) for j in [parts - 1 - k if n else k]) for k in range(parts)]


def test_two_loops_of_pixels_are_cut_as_one_where_one_has_too_few() -> None:
    program = convolution(3, 16, 32, 20)
    plan = planned(program, AVX512)
    assert [d.size for d in plan.within] == [3, 18] and plan.row_parts >= AVX512.tasks and plan.cut_loops(plan.row_parts) == 2
    assert_close(program, bias_relu, target=AVX512)


@pytest.mark.parametrize("l2_bytes", [4 << 10, 16 << 10, 512 << 10])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_in_blocks_of_rows(l2_bytes: int, stride: int) -> None:
    target = replace(AVX2, l2_bytes=l2_bytes, parallel_work=1 << 10)
    assert_close(convolution(2, 12, 20, 13 + stride, 3, stride), bias_relu, target)


def test_operands_that_lie_step_by_step_are_walked_over_in_parts_that_stay_in_the_cache() -> None:
    def plan(m: int, n: int, k: int, a: tuple[int, int], b: tuple[int, int]) -> Plan:
        """[m, k] with strides ``a`` times [k, n] with strides ``b``, written row by row."""
        parallel = (Dim(m, (a[0], 0, n)), Dim(n, (0, b[1], 1)))
        problem = Problem(parallel, (Dim(k, (a[1], b[0], 0)),), (2,), 4, (False, False))
        made = make_plan(problem, AVX2)
        assert made is not None
        return divided(made, problem, AVX2)

    tall, rows = plan(64, 32, 3136, (1, 64), (32, 1)), plan(64, 32, 3136, (3136, 1), (32, 1))
    walked = 3136 * 64 * 4 + 3136 * 32 * 4
    assert tall.chunks >= walked / (AVX2.l2_bytes / 2) > 4 > rows.chunks
    assert plan(64, 32, 512, (1, 64), (32, 1)).chunks == 1  # all of it stays
    assert plan(4096, 4096, 2048, (1, 4096), (4096, 1)).chunks == 1  # the sums would not


def test_kernels_plain_loops_serve_as_well_are_declined() -> None:
    assert lowered(matrix(2, 2, 8), native_target()) is None
    assert lowered(matrix(1, 64, 64, "mk", "nk"), native_target()) is None


def test_the_loops_are_the_same_every_time_and_verify() -> None:
    first, second = (lowered(convolution(4, 16, 32, 16), AVX512) for _ in range(2))
    assert first is not None
    assert second is not None
    first[0].verify()
    assert str(first[0]) == str(second[0])


@pytest.mark.parametrize("element", ["bf16", "f16"])
@pytest.mark.parametrize("layout", ["kn", "nk"])
def test_sixteen_bit_factors_are_summed_in_f32(element: str, layout: str) -> None:
    left, right = O(("m", "k"), element=element), O(tuple(layout), element=element)
    program = Program({"m": 19, "n": 37, "k": 64}, left, right, O(("m", "n")), direct=True)
    assert_close(program)


def test_the_loop_executor_gives_the_same_numbers() -> None:
    rng = np.random.default_rng(1)
    for program in (linear(9, 21, 33), convolution(1, 4, 20, 6), kernel_gradient(2, 4, 16, 9)):
        made = lowered(program, AVX2)
        assert made is not None
        operands = (program.left, program.right, *program.others)
        arrays = [o.array(program.sizes, rng) for o in operands]
        found = executor.execute(made[0], arrays)[0]
        wanted = program.expected(arrays, bias_relu if program.others else None)
        np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("element", "n", "copied"), [("f16", 256, True), ("bf16", 256, True), ("f32", 256, False), ("bf16", 16, False)])
def test_rows_are_converted_once_where_several_panels_read_them(element: str, n: int, copied: bool) -> None:
    program = matrix(60, n, 64, element=element)
    scheduled = schedule(kernel_of(program)[1], AVX512)
    assert scheduled is not None and scheduled.plan.packs_rows == copied
    rng = np.random.default_rng(0)
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right)]
    values = Compiled(program, AVX512)(arrays).reshape(60, n).astype(np.float64)
    np.testing.assert_allclose(values, program.expected(arrays), rtol=0, atol={"f32": 1e-4, "f16": 2e-2, "bf16": 0.2}[element])


@pytest.mark.parametrize(("element", "rows", "copied"), [("bf16", 3, False), ("f16", 1, False), ("bf16", 40, True)])
@pytest.mark.parametrize("columns", [96, 37])
def test_columns_are_converted_where_they_lie_if_one_tile_reads_them(element: str, rows: int, copied: bool, columns: int) -> None:
    left, right = O(("m", "k"), element=element), O(("k", "n"), element=element)
    program = Program({"m": rows, "n": columns, "k": 150}, left, right, O(("m", "n")), direct=True)
    whole = [p for p in planned(program, AVX2).panels if p.tail == AVX2.lanes(4)]
    assert all(p.packed == copied for p in whole)
    assert_close(program, target=AVX2)
    assert_close(program, target=replace(AVX2, l2_bytes=16 << 10))


@pytest.mark.parametrize("element", ["f32", "bf16"])
def test_rows_of_an_image_under_taps_of_their_own_are_plain_loops(element: str) -> None:
    """Of 28 columns, tiles have vectors of four; plain loops have one of 16, 8 and 4, and windows side by side share what they read."""
    sizes = {"n": 2, "c": 8, "i": 28, "j": 28, "u": 3, "v": 3}
    left, right = Operand(("n", "c", "i+u", "j+v"), element=element), Operand(("c", "u", "v"), element=element)
    program = Program(sizes, left, right, Operand(("n", "c", "i", "j")), direct=True)
    found = posed(kernel_of(program)[1], AVX512)
    assert found is not None and choice(found[2], AVX512) is None
    assert choice(found[2], AVX512, read_decision("unit=vectors lanes=4 vectors=7")) is not None
