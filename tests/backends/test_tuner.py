"""LAMINA_TUNE: who wins, what is kept, when it stops. Clocks are made up: nothing here depends on how fast the machine is."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

from lamina.backends import driver, trials, tuner
from lamina.backends.trials import Memory, Trial
from lamina.backends.tuned_plans import keep_plan, plans_file, plans_path
from lamina.backends.tuner import Budget, Tuner
from lamina.dialects import flags
from lamina.dialects.graph import Graph
from lamina.dialects.target import AVX512
from lamina.dialects.types import float32
from lamina.lowering.contraction_decision import PLAIN, Decision
from lamina.lowering.kernel_trial import Subject, subjects
from lamina.lowering.known_plans import read_plans
from tests.command_line import lamina
from tests.graphs import Recorder

pytestmark = needs_compiler


class Clock:
    """Time passes when a trial runs, and a little whenever somebody looks."""

    def __init__(self, seconds: Callable[[Decision], float], looking: float = 0.0) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.looking = looking
        self.tried: list[Decision] = []

    def __call__(self) -> float:
        self.now += self.looking
        return self.now

    def start(self, subject: Subject, decisions: Sequence[Decision], memory: Memory) -> list[tuple[Decision, Trial]]:
        def trial(decision: Decision) -> Trial:
            def run(count: int) -> None:
                self.now += count * self.seconds(decision)

            return Trial(str(decision), run)

        self.tried += [d for d in decisions if d not in self.tried]
        return [(d, trial(d)) for d in decisions]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """An empty cache folder, and nothing tuned before."""
    with flags.cache(str(tmp_path)):
        yield tmp_path


def product(m: int = 40, k: int = 50, n: int = 60) -> Graph:
    r = Recorder()
    a, b = r.input((m, k), float32), r.input((k, n), float32)
    return r.graph(r("exp", r("matmul", a, b)))


def subject(graph: Graph) -> Subject:
    return subjects(driver.loops_of(graph, target="avx512", keep=True, until="buffered"), AVX512)[0]


def made(clock: Clock, seconds: float = 1e9) -> Tuner:
    return Tuner(Budget(seconds, clock), clock, clock.start, AVX512)


def test_the_fastest_plan_is_kept(cache: Path) -> None:
    """Register tiles first, then what concerns memory: here tiles of two vectors, then a sum in two chunks, are faster."""
    clock = Clock(lambda d: 1e-3 * (0.8 if d.vectors == 2 else 1.0) * (0.9 if d.block == (0, 2) else 1.0))
    found = made(clock).search(subject(product()), Memory(0))
    assert found is not None
    assert (found.after.vectors, found.after.block) == (2, (0, 2))
    assert found.before != found.after
    assert found.seconds == pytest.approx((1e-3, 0.72e-3))
    assert "1.000 -> 0.720 ms" in str(found)
    assert found.before in clock.tried


def test_what_is_hardly_faster_is_not_kept(cache: Path) -> None:
    chosen = subject(product())
    found = made(Clock(lambda d: 1e-3 if d == chosen.decision else 0.98e-3)).search(chosen, Memory(0))
    assert found is not None
    assert found.after == chosen.decision
    assert "as planned" in str(found)


def test_luck_in_one_round_is_not_enough(cache: Path) -> None:
    """A plan that is fast while it is chosen, and is not in the duel."""
    chosen = subject(product())
    calls: dict[Decision, int] = {}

    def seconds(d: Decision) -> float:
        calls[d] = calls.get(d, 0) + 1
        return 1e-3 if d == chosen.decision or calls[d] > 2 + 8 + 2 + 16 else 0.5e-3

    found = made(Clock(seconds)).search(chosen, Memory(0))
    assert found is not None
    assert found.after == chosen.decision


def test_the_budget_is_for_the_whole_process(cache: Path) -> None:
    """Time passes only while something runs, and nothing is kept of what was not finished."""
    clock = Clock(lambda d: 1e-3, looking=0.01)
    tuning = made(clock, seconds=0.5)
    module = driver.loops_of(product(), target="avx512", keep=True, until="buffered")
    with tuning.budget.running():
        clock.now += 0.2
    clock.now += 100
    assert tuning.budget.left == pytest.approx(0.29)
    with tuning.budget.running():
        assert tuning.improve(module) == (False, False)
    assert not tuning.budget.is_left()
    assert not plans_path()
    before = len(clock.tried)
    assert tuning.improve(module) == (False, False)
    assert len(clock.tried) == before
    assert tuning.report().startswith("0 problems measured in 0.5 of 0.5 s")


def test_a_problem_is_measured_once(cache: Path) -> None:
    clock = Clock(lambda d: 1e-3)
    module = driver.loops_of(product(), target="avx512", keep=True, until="buffered")
    assert made(clock).improve(module) == (False, True)
    assert list(read_plans(plans_path())) == [subject(product()).key]
    again = Clock(lambda d: 1e-3)
    assert made(again).improve(module) == (False, True)
    assert not again.tried


def test_a_problem_with_one_plan_is_not_measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda d: 1e-3)
    monkeypatch.setattr(tuner, "candidates", lambda problem, target, count, wanted: [])
    monkeypatch.setattr(tuner, "neighbours", lambda problem, target, decision: [])
    tuning = made(clock)
    assert tuning.improve(driver.loops_of(product(), target="avx512", keep=True, until="buffered")) == (False, True)
    assert not clock.tried
    assert not tuning.results
    assert not plans_path()


def test_kept_plans_are_taken_by_programs_compiled_later(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program itself is compiled anew at once; a second process finds it, and others find the plan."""
    graph = product()
    clock = Clock(lambda d: 1e-3 * (0.5 if d.vectors == 1 and d.rows == 2 else 1.0))
    tuning = Tuner(Budget(60.0, clock), clock, clock.start)
    monkeypatch.setattr(tuner, "_tuner", tuning)
    monkeypatch.setattr(tuner, "candidates", lambda problem, target, count, wanted: [Decision(side=wanted.side, rows=2, vectors=1)])
    monkeypatch.setattr(tuner, "neighbours", lambda problem, target, decision: [])
    with flags.tune(60.0):
        program = driver.compile_graph(graph)
    assert "rows=2 vectors=1" in plans_file().read_text(encoding="utf-8")
    module = driver.loops_of(graph, keep=True, plans=plans_path(), until="buffered")
    assert "rows=2 vectors=1" in str(module)
    arrays = [np.random.default_rng(k).standard_normal(t[0], dtype=np.float32) for k, t in enumerate(graph.inputs)]
    np.testing.assert_allclose(program(arrays)[0], np.exp(arrays[0] @ arrays[1]), rtol=1e-3)
    before = driver.stats.disk_hits
    found = driver.compile_graph(graph)
    assert driver.stats.disk_hits == before + 1
    assert found.source == program.source
    with flags.tune(60.0):
        tuning.results.clear()
        driver.compile_graph(graph)
    assert not tuning.results


@pytest.mark.parametrize("graph", [product(), product(17, 200, 3)], ids=["tiles", "narrow"])
def test_trials_run_what_they_say(graph: Graph, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real trials of a few plans, under a clock that stands still but for the budget's."""
    monkeypatch.setattr(tuner, "MOST_CANDIDATES", 3)
    monkeypatch.setattr(tuner, "neighbours", lambda problem, target, decision: [])
    monkeypatch.setattr(trials, "SHORT", 0.0)
    ticks = iter(range(10**6))
    tuning = Tuner(Budget(1e9), lambda: next(ticks) * 1e-6)
    assert tuning.improve(driver.loops_of(graph, keep=True, until="buffered")) == (False, True)
    assert [r.after == r.before for r in tuning.results] == [True]


def test_memory_goes_round_where_it_is_cold() -> None:
    from lamina.lowering.kernel_trial import Argument

    memory = Memory(1000)
    weight, result = Argument(300, float32, "operand", 0), Argument(300, float32, "operand", 1)
    assert (len(memory.copies(weight, True)), len(memory.copies(result, False))) == (4, 1)
    assert np.isfinite(memory.copies(weight, True)[3][:300].view(np.float32)).all()


def test_trials_take_turns_with_the_copies() -> None:
    """Two trials in turn never read the copy the other has just read."""
    from lamina.lowering.kernel_trial import Argument

    called: list[tuple[str, int]] = []

    def library(name: str) -> object:
        def main(table: int) -> None:
            called.append((name, ctypes.cast(table, ctypes.POINTER(ctypes.c_int64))[0]))

        return type("Library", (), {"lamina_main": staticmethod(main)})

    memory = Memory(900)
    both = [memory.trial(name, library(name), [Argument(300, float32, "packed", 1)], lambda a: True) for name in "ab"]  # type: ignore[arg-type]
    for trial in both * 3:
        trial.run(1)
    assert [name for name, _ in called] == list("ababab")
    assert all(a != b for (_, a), (_, b) in itertools.pairwise(called))
    assert len({at for _, at in called}) == 3


def test_without_a_cache_folder_plans_are_the_process_own() -> None:
    with flags.cache("off"):
        keep_plan("a problem", PLAIN)
        assert read_plans(plans_path())["a problem"] == PLAIN
        plans_file().unlink()


def test_a_budget_that_is_none_is_refused() -> None:
    found = lamina("flags", LAMINA_TUNE="soon")
    assert found.status
    assert "LAMINA_TUNE='soon' is not a value of this flag\nhelp: seconds" in found.err
    for text in ("-1", "nan", "inf"):
        with pytest.raises(ValueError, match=text):
            flags.tune.read(text)


@pytest.mark.slow
def test_the_command_reports_what_it_measured(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("import torch\nprint((torch.ones(2, 2) @ torch.ones(2, 2)).sum().item())\n")
    found = lamina("tune", "--tune", "0.5", script, LAMINA_CACHE=str(tmp_path / "cache"))
    assert (found.status, found.out) == (0, "8.0\n")
    assert "0 problems measured in 0.0 of 0.5 s, 0 got another plan" in found.err
