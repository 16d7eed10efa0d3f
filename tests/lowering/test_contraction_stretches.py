"""Stretches: a long panel read where it lies, part by part, with the sums where the results will be."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

sys.path.insert(0, str(Path(__file__).parent))

from contraction_programs import BIAS_RELU, Compiled, Operand, Program, kernel_of, matrix  # noqa: E402

from lamina.dialects.target import AVX2, AVX512, Target  # noqa: E402
from lamina.lowering.contraction_problem import Plan
  # noqa: E402
from lamina.lowering.contraction_schedule import schedule  # noqa: E402

SMALL = replace(AVX2, l1_bytes=1 << 10, parallel_work=1 << 10, tasks=3)


def stretches(program: Program, target: Target = SMALL, plan: str = "") -> int:
    scheduled = schedule(kernel_of(program, plan=plan)[1], target)
    assert scheduled is not None
    packed = any(p.packed for p in scheduled.plan.panels)
    assert scheduled.plan.stretches == 1 or (not packed and scheduled.plan.chunks == 1)
    return scheduled.plan.stretches


def gradient(m: int, n: int, k: int, body: str = "", *others: Operand, element: str = "f32") -> Program:
    """Both sides lie step by step, as in a weight's gradient."""
    sides = (Operand((d, e), element=element) for d, e in (("k", "m"), ("k", "n"), ("m", "n")))
    return Program({"m": m, "n": n, "k": k}, *sides, others, body, direct=not body)


@pytest.mark.parametrize("target", [SMALL, replace(SMALL, vector_bytes=64, vector_registers=32), replace(SMALL, tasks=1)])
@pytest.mark.parametrize("sizes", [(130, 32, 300), (50, 64, 257), (71, 48, 1000)])
@needs_compiler
@pytest.mark.slow
def test_numbers_are_those_of_the_whole_reduction(sizes: tuple[int, int, int], target: Target) -> None:
    for program, apply in (
        (gradient(*sizes), lambda t: t),
        (gradient(*sizes, BIAS_RELU, Operand(("n",))), lambda t, b: np.maximum(t + b, 0)),
    ):
        assert stretches(program, target) > 1
        rng = np.random.default_rng(0)
        arrays = [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]
        wanted = apply(arrays[0].T.astype(np.float64) @ arrays[1], *arrays[2:])
        found = Compiled(program, target)(arrays)
        np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_only_where_panels_are_long_and_sums_may_wait_in_the_result() -> None:
    residual = Operand(("m", "n"))
    add = "%y = arith.addf %0, %1 : f32"
    assert stretches(gradient(96, 32, 300, add, Operand(("n",)))) > 1
    assert stretches(gradient(96, 32, 300, add, residual)) == 1, "the residual may be the result's own memory"
    assert stretches(gradient(96, 33, 300)) == 1, "the last vector is filled in part"
    assert stretches(gradient(96, 32, 12)) == 1, "the first cache holds the panel"
    assert stretches(gradient(96, 1024, 300)) == 1, "rows of a panel lie on many pages"
    assert stretches(gradient(512, 512, 1024), AVX512) > 1 and stretches(gradient(2048, 512, 1024), AVX512) == 1, "on fewer pages, or all sums near"
    assert stretches(matrix(96, 32, 300, "mk", "nk")) == 1, "the panel is copied in any case"
    assert stretches(gradient(512, 128, 1024), AVX512) > 1, "a weight's gradient over 1024 tokens"


def together(program: Program, target: Target = SMALL, plan: str = "") -> Plan | None:
    """The plan, where all panels go over a stretch together."""
    scheduled = schedule(kernel_of(program, plan=plan)[1], target)
    return scheduled.plan if scheduled is not None and scheduled.plan.together else None


@pytest.mark.parametrize("plan", ["", "block=0/3", "rows=3 vectors=2", "stretches=5 block=0/2"])
@pytest.mark.parametrize("sizes", [(71, 72, 301), (130, 40, 300), (57, 104, 257)])
@needs_compiler
def test_panels_go_over_a_stretch_together(sizes: tuple[int, int, int], plan: str) -> None:
    program = gradient(*sizes, BIAS_RELU, Operand(("n",)))
    assert together(program, plan=plan)
    rng = np.random.default_rng(1)
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]
    wanted = np.maximum(arrays[0].T.astype(np.float64) @ arrays[1] + arrays[2], 0)
    found = Compiled(program, SMALL, plan=plan)(arrays)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@needs_compiler
def test_the_order_of_loops_changes_no_bit() -> None:
    program = gradient(96, 64, 300)
    rng = np.random.default_rng(2)
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right)]
    whole, *others = (Compiled(program, SMALL, plan=plan)(arrays).copy() for plan in ("stretches=1 pack=none chunks=1", "stretches=2", "stretches=9"))
    assert all(np.array_equal(whole, found) for found in others)


def test_together_only_where_both_sides_lie_step_by_step() -> None:
    rows = Program({"m": 96, "n": 64, "k": 300}, Operand(("m", "k")), Operand(("k", "n")), Operand(("m", "n")), direct=True)
    assert stretches(rows) > 1 and together(rows) is None
    assert together(gradient(96, 64, 300)) is not None


@pytest.mark.parametrize(("sizes", "tasks"), [((512, 128, 1024), (4, 1)), ((128, 512, 1024), (1, 4)), ((2048, 256, 1024), (16, 1))])
def test_few_tasks_share_the_side_that_others_read_least(sizes: tuple[int, int, int], tasks: tuple[int, int]) -> None:
    plan = together(gradient(*sizes), AVX512)
    assert plan is not None and (plan.row_parts, plan.panel_parts) == tasks


def test_a_plan_says_so() -> None:
    assert stretches(gradient(96, 32, 300), plan="stretches=1") == 1
    assert stretches(gradient(96, 32, 300), plan="stretches=7") == 7


@pytest.mark.parametrize(("sizes", "tasks", "others"), [((1, 640, 300), 3, ()), ((3, 512, 97), 1, (Operand(("n",)),))])
@needs_compiler
def test_few_rows_go_line_by_line_over_a_matrix_from_afar(sizes: tuple[int, int, int], tasks: int, others: tuple[Operand, ...]) -> None:
    m, n, k = sizes
    target = replace(SMALL, l2_bytes=64 << 10, tasks=tasks)
    left, right, result = (Operand(d) for d in (("m", "k"), ("k", "n"), ("m", "n")))
    program = Program({"m": m, "n": n, "k": k}, left, right, result, others, BIAS_RELU if others else "", direct=not others)
    plan = together(program, target)
    assert plan is not None and plan.stretches == -(-k // 32) and plan.panel_parts == tasks
    rng = np.random.default_rng(3)
    arrays = [o.array(program.sizes, rng) for o in (left, right, *others)]
    wanted = arrays[0].astype(np.float64) @ arrays[1]
    wanted = np.maximum(wanted + arrays[2], 0) if others else wanted
    found = Compiled(program, target)(arrays)
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=1e-5 * np.abs(wanted).max())


@needs_compiler
def test_lines_advance_together_where_a_processor_follows_them() -> None:
    target = replace(SMALL, l2_bytes=64 << 10, streams=4)
    program = Program({"m": 2, "n": 640, "k": 301}, Operand(("m", "k")), Operand(("k", "n")), Operand(("m", "n")), (), "", direct=True)
    plan = together(program, target)
    assert plan is not None and plan.stretches == -(-301 // 8) and plan.panels[0].vectors == 2 and plan.panel_parts == 2
    rng = np.random.default_rng(3)
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right)]
    np.testing.assert_allclose(Compiled(program, target)(arrays), arrays[0].astype(np.float64) @ arrays[1], rtol=0, atol=1e-3)


def test_few_rows_go_line_by_line_only_where_that_brings_something() -> None:
    target = replace(SMALL, l2_bytes=64 << 10)

    def rows(m: int, n: int, k: int, b: str = "kn") -> Program:
        return Program({"m": m, "n": n, "k": k}, Operand(("m", "k")), Operand(tuple(b)), Operand(("m", "n")), direct=True)

    assert together(rows(2, 640, 300), target) is not None
    assert together(rows(2, 640, 300), replace(target, l2_bytes=4 << 20)) is None, "the matrix is near"
    assert together(rows(2, 641, 300), target) is None, "the last vector is filled in part"
    assert together(rows(200, 640, 300), target) is None, "many tiles read it"
    assert together(rows(2, 640, 300, "nk"), target) is None, "its lines are the sums"
