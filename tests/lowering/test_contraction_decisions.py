"""What a contraction's plan decides: its text, plans asked for by hand, candidates, files of known plans."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

sys.path.insert(0, str(Path(__file__).parent))

from contraction_programs import Compiled, Operand, Program, convolution, kernel_gradient, kernel_of, linear, lowered, matrix  # noqa: E402

from lamina.dialects.errors import PassError  # noqa: E402
from lamina.dialects.target import AVX2, AVX512, AVX512_AMX, AVX512_HALVES, PORTABLE, Target  # noqa: E402
from lamina.lowering.contraction_blocking import divided  # noqa: E402
from lamina.lowering.contraction_candidates import candidates, neighbours  # noqa: E402
from lamina.lowering.contraction_choice import choice, like  # noqa: E402
from lamina.lowering.contraction_decision import FREE, PLAIN, Decision, read_decision  # noqa: E402
from lamina.lowering.contraction_plan import make_plan  # noqa: E402
from lamina.lowering.contraction_problem import Dim, Problem  # noqa: E402
from lamina.lowering.contraction_schedule import posed, problem_key, schedule, settle  # noqa: E402
from lamina.lowering.known_plans import plans_text, read_plans  # noqa: E402

PROGRAMS = {
    "matrix": matrix(33, 50, 70), "turned": matrix(37, 23, 65, "km", "nk"), "linear": linear(19, 40, 33), "narrow": matrix(41, 3, 90),
    "convolution": convolution(2, 5, 20, 9), "strided": convolution(1, 3, 17, 11, 3, 2), "gradient": kernel_gradient(3, 5, 7, 9),
    "long": matrix(5, 21, 1300), "wide": matrix(20, 24, 70, element="i64"),
}  # fmt: skip


def problem_of(program: Program, target: Target = AVX512) -> Problem:
    found = posed(kernel_of(program)[1], target)
    assert found is not None
    return found[2]


def tried(program: Program, target: Target) -> list[Decision]:
    """Candidates, and neighbours of the first one."""
    problem = problem_of(program)
    found = candidates(problem, target, 6)
    return list(dict.fromkeys([*found, *(d for c in found[:1] for d in neighbours(problem, target, c))]))


@pytest.mark.parametrize("target", [AVX512, AVX512_HALVES, AVX2, PORTABLE], ids=lambda t: t.name)
@pytest.mark.parametrize("name", PROGRAMS)
def test_decisions_are_plans_again(name: str, target: Target) -> None:
    problem = problem_of(PROGRAMS[name])
    found = tried(PROGRAMS[name], target)
    assert found
    for decision in found:
        again = read_decision(str(decision))
        assert again == decision
        if not decision.plain:
            plan = like(problem, target, again)
            assert plan is not None
            assert plan.decision == decision


@pytest.mark.parametrize("target", [AVX512, AVX512_HALVES, AVX2, PORTABLE], ids=lambda t: t.name)
def test_what_is_chosen_can_be_asked_for(target: Target) -> None:
    """The plan that is written on a kernel is found again when it is lowered, whatever the sizes: few rows beside matrices that lie far away, too."""
    choose = random.Random(0)
    for rows in (*(25, 29, 49, 50, 57), *(choose.randint(1, 200) for _ in range(35))):
        columns, depth = (choose.choice((choose.randint(1, 1024), 256, 512, 3072)) for _ in range(2))
        turned = choose.random() < 0.3
        parallel = Dim(rows, (depth, 0, columns)), Dim(columns, (0, depth if turned else 1, 1))
        problem = Problem(parallel, (Dim(depth, (1, 1 if turned else columns, 0)),), (2,), 4, (False, False), holds=choose.choice((0, 2)))
        plan = choice(problem, target)
        if plan is not None:
            found = like(problem, target, read_decision(str(plan.decision)))
            assert found is not None and found.decision == plan.decision, problem


def test_the_first_candidate_is_the_cost_models_choice() -> None:
    problem = problem_of(PROGRAMS["matrix"])
    plan = make_plan(problem, AVX512)
    assert plan is not None
    plan = divided(plan, problem, AVX512)
    assert candidates(problem, AVX512, 3)[0] == plan.decision
    assert like(problem, AVX512, plan.decision) == plan


@needs_compiler
@pytest.mark.parametrize("name", ["matrix", "turned", "linear", "convolution", "gradient", "long"])
@pytest.mark.slow
def test_every_plan_gives_the_same_numbers(name: str) -> None:
    """One word changed at a time; the words left out are the cost model's."""
    program = PROGRAMS[name]
    rng = np.random.default_rng(0)
    operands = (program.left, program.right, *program.others)
    arrays = [o.array(program.sizes, rng) for o in operands]
    wanted = program.expected(arrays, (lambda t, b: np.maximum(t + b, 0)) if program.others else None)
    base, *others = [d for d in tried(program, AVX512) if not d.plain]
    turned = {tuple(word for word in base.missed(other) if word != "ahead"): other for other in others}  # one of each kind of change
    for decision in turned.values():
        found = Compiled(program, AVX512, plan=str(decision))(arrays)
        np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=1e-3, err_msg=str(decision))


def test_words_left_out_are_the_cost_models() -> None:
    _, kernel = kernel_of(PROGRAMS["matrix"], plan="rows=2 vectors=1")
    scheduled = schedule(kernel, AVX512)
    assert scheduled is not None
    assert not read_decision("rows=2 vectors=1").missed(scheduled.plan.decision)
    free = schedule(kernel_of(PROGRAMS["matrix"])[1], AVX512)
    assert free is not None
    assert free.plan.decision.missed(scheduled.plan.decision) == ["rows", "vectors"]


def test_plain_is_a_plan() -> None:
    assert lowered(PROGRAMS["matrix"], AVX512, plan="plain") is None
    assert str(PLAIN) == "plain"
    assert read_decision("plain") == PLAIN
    assert not FREE


@pytest.mark.parametrize("text", ["rows", "rows=0", "rows=-1", "rows=2 rows=3", "pack=all", "block=1", "block=0/0", "speed=9", "plain rows=2"])
def test_a_word_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(PassError, match="is not a word of a plan") as raised:
        read_decision(text)
    assert "pack=none|columns|rows|both" in str(raised.value)


def test_a_plan_that_is_none_says_what_would_be() -> None:
    with pytest.raises(PassError, match="no plan of @k0 is like") as raised:
        schedule(kernel_of(PROGRAMS["matrix"], plan="rows=2 chunks=500")[1], AVX512)
    assert "misses" in str(raised.value)
    assert "chunks=70" in str(raised.value)
    with pytest.raises(PassError, match="the nearest one is side=right"):
        schedule(kernel_of(PROGRAMS["matrix"], plan="rows=999")[1], AVX512)


def test_known_plans_are_taken(tmp_path: Path) -> None:
    problem = problem_of(PROGRAMS["matrix"])
    known = {problem_key(problem, AVX512): Decision(rows=2, vectors=1)}
    file = tmp_path / "plans"
    file.write_text("# by hand\n" + plans_text(known))
    assert read_plans(str(file)) == known
    _, kernel = kernel_of(PROGRAMS["matrix"])
    settle(kernel, AVX512, read_plans(str(file)))
    assert kernel.attributes["lamina.plan"].data == "rows=2 vectors=1"  # type: ignore[attr-defined]
    _, other = kernel_of(PROGRAMS["linear"])
    settle(other, AVX512, known)
    assert other.attributes["lamina.plan"].data.startswith("side=")  # type: ignore[attr-defined]
    assert problem_key(problem, AVX512) != problem_key(problem, replace(AVX512, tasks=1))


def test_a_file_of_plans_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "plans"
    with pytest.raises(PassError, match="cannot be read"):
        read_plans(str(file))
    file.write_text("a problem -> a plan\n")
    with pytest.raises(PassError, match="plans:1 holds no plan"):
        read_plans(str(file))
    file.write_text("\na problem => rows=x\n")
    with pytest.raises(PassError, match="plans:2: 'rows=x' is not a word of a plan"):
        read_plans(str(file))


@pytest.mark.parametrize(("rows", "kept", "fetched"), [(100, True, True), (600, True, True), (2000, True, False), (100, False, False)])
def test_what_comes_from_afar_is_fetched_for_few_rows(rows: int, kept: bool, fetched: bool) -> None:
    """A weight's packed copy that outlives the call comes from memory: its first reading is shared by the rows of a block."""
    problem = replace(problem_of(matrix(rows, 128, 64)), ahead=(False, kept))
    plan = choice(problem, AVX512, read_decision("side=right pack=columns block=0/1"))
    assert plan is not None
    assert bool(plan.ahead) is fetched


RUNS = {
    "turned": matrix(3, 183, 130, "mk", "nk"), "as they lie": matrix(3, 192, 65), "steps of two loops": convolution(1, 5, 183, 6), "one row": matrix(1, 183, 64, "mk", "nk"),
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize("words", ["vectors=4 chunks=1", "vectors=6 chunks=3", "vectors=3 stretches=1"])
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.slow
def test_a_panel_is_several_runs(name: str, words: str) -> None:
    """Whole blocks turned, rows, single elements; a last vector in part; the same numbers to the bit, as nothing is added otherwise."""
    program, rng = RUNS[name], np.random.default_rng(1)
    near = {"vectors=4": 1, "vectors=6": 2, "vectors=3": 1}[words.split()[0]]
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]
    plan = f"side=right pack=columns lanes=16 {words}"
    runs = schedule(kernel_of(program, plan=f"{plan} runs={near}")[1], AVX512_HALVES)
    assert runs is not None and runs.plan.panels[0].near == near < runs.plan.panels[0].vectors
    found, other = (Compiled(program, AVX512_HALVES, plan=text)(arrays) for text in (f"{plan} runs={near}", f"{plan} ahead=0"))
    np.testing.assert_array_equal(found, other)
    wanted = program.expected(arrays, (lambda t, b: np.maximum(t + b, 0)) if program.others else None)
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("rows", "target", "near"), [(4, AVX512_HALVES, 2), (20, AVX512_HALVES, 1), (200, AVX512_HALVES, None), (4, AVX512, None)])
def test_few_rows_read_what_is_kept_as_several_runs(rows: int, target: Target, near: int | None) -> None:
    problem = replace(problem_of(matrix(rows, 768, 640), target), ahead=(False, True))
    plan = choice(problem, target)
    assert plan is not None and plan.decision.runs == near and bool(plan.ahead) is (near is None)


def test_tile_registers_have_candidates_of_their_own() -> None:
    left, right = Operand(("m", "k"), element="bf16"), Operand(("k", "n"), element="bf16")
    program = Program({"m": 70, "n": 90, "k": 96}, left, right, Operand(("m", "n")), direct=True)
    problem = problem_of(program, AVX512_AMX)
    found = [d for d in candidates(problem, AVX512_AMX, 8) if d.unit == "tiles"]
    assert sorted(d.vectors or 0 for d in found) == [1, 2, 3]
    for decision in found:
        plan = like(problem, AVX512_AMX, decision)
        assert plan is not None
        assert plan.decision == decision
    assert not [d for d in candidates(problem_of(program, AVX512), AVX512, 8) if d.unit == "tiles"]
