"""Tuning (LAMINA_TUNE): the contractions of a program that cost most are timed under their best few plans, winners are kept.

What is kept says which plan a problem gets on this machine (`tuned_plans.py`); programs compiled from then on take it. The cost
model's choice stays where no other is clearly faster: by more than its own times differ, in most of the pairs of a second measurement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..dialects import flags
from ..dialects.target import Target, native_target
from ..lowering.contraction_candidates import candidates, neighbours
from ..lowering.contraction_decision import FREE, Decision
from ..lowering.known_plans import read_plans
from .cache import key_of, note, noted
from .trials import Memory, Trial, build, rounds_of
from .tuned_plans import keep_plan, plans_path

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

    from ..dialects.graph import Graph
    from ..lowering.kernel_trial import Argument, Subject

MOST_CANDIDATES = 8
GAIN = 0.03
"""How much faster a plan must be: below that it is noise, or not worth another plan than everybody has."""
PAIRS = 0.75
"""Of the pairs of a duel that have to go to the winner."""
LEAST_SHARE = 0.005
"""Of the estimated cost of all contractions of a program, below which one is not tried."""
ROUNDS = (8, 16, 32)
"""Of all plans, of the three best of them, of the duel."""


class Result(NamedTuple):
    """What became of one problem. seconds: of a call, with the plan before and with the one kept; 0 where there is one plan only."""

    origin: str
    problem: str
    before: Decision
    after: Decision
    seconds: tuple[float, float]

    def __str__(self) -> str:
        old, new = (1e3 * s for s in self.seconds)
        what = f"{old:.3f} -> {new:.3f} ms  {self.after}" if self.after != self.before else f"{old:.3f} ms  as planned"
        return f"{self.origin:24} {self.problem.partition(': ')[2]}\n{'':24} {what}"


@dataclass
class Budget:
    """Seconds for all tuning of a process; the clock runs while something is `running`."""

    seconds: float
    clock: Callable[[], float] = time.perf_counter
    _spent: float = 0.0
    _since: float | None = None

    @property
    def left(self) -> float:
        """What may still be used."""
        return self.seconds - self._spent - (0.0 if self._since is None else self.clock() - self._since)

    def is_left(self) -> bool:
        """Whether anything is."""
        return self.left > 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of a block."""
        self._since = self.clock()
        try:
            yield
        finally:
            self._spent += self.clock() - self._since
            self._since = None


Start = Callable[["Subject", Sequence[Decision], Memory], list[tuple[Decision, Trial]]]


def started(subject: Subject, decisions: Sequence[Decision], memory: Memory) -> list[tuple[Decision, Trial]]:
    """Trials of a kernel under these plans, as far as it can have them."""
    from ..lowering.kernel_trial import alone
    from ..lowering.loops_to_c import emit_c

    made = [(d, program) for d in decisions if (program := alone(subject, d)) is not None]
    libraries = build([emit_c(module).text for _, (module, _) in made])

    def cold(argument: Argument) -> bool:
        return argument.what == "packed" or (argument.what == "operand" and subject.outside[argument.number])

    trials = [memory.trial(str(d), library, arguments, cold) for (d, (_, arguments)), library in zip(made, libraries, strict=True)]
    return [(d, trial) for (d, _), trial in zip(made, trials, strict=True)]


@dataclass
class Tuner:
    """Tunes programs until the budget is spent. timer: seconds a trial takes, processor time of this thread. start: makes trials."""

    budget: Budget
    timer: Callable[[], float] = time.thread_time
    start: Start = started
    target: Target = field(default_factory=native_target)
    results: list[Result] = field(default_factory=list)

    def improve(self, module: ModuleOp) -> tuple[bool, bool]:
        """Look for plans for a buffered program. Whether any was found, and whether everything was looked at."""
        from ..lowering.kernel_trial import subjects, traffic

        found = False
        known = read_plans(plans_path())
        around = min(traffic(module), 2 * self.target.l3_bytes)
        every = subjects(module, self.target)
        whole = sum(s.cost for s in every)
        for subject in every:
            if subject.key in known or subject.cost < LEAST_SHARE * whole:
                continue
            result = self.search(subject, Memory(around))
            if result is None:
                return found, False
            if not result.seconds[0]:
                continue
            keep_plan(subject.key, result.after)
            self.results.append(result)
            found |= result.after != result.before
        return found, True

    def search(self, subject: Subject, memory: Memory) -> Result | None:
        """The fastest of the plans of a kernel: register tiles first, then what concerns memory. None when time was up before."""
        problem, target, best = subject.problem, subject.target, subject.decision
        wanted = FREE if subject.packed_operand is None else Decision(side=best.side)
        before, share = 0.0, 1.0
        for decisions in (
            lambda: candidates(problem, target, MOST_CANDIDATES, wanted),
            lambda: neighbours(problem, target, best),
        ):
            tried = self.contest(subject, best, [d for d in decisions() if d != best], memory)
            if tried is None:
                return None
            best, seconds = tried
            before = before or seconds[0]
            share *= seconds[1] / seconds[0] if seconds[0] else 1.0  # each contest compares its own times
        return Result(subject.origin, subject.key, subject.decision, best, (before, share * before))

    def contest(
        self, subject: Subject, champion: Decision, others: Sequence[Decision], memory: Memory
    ) -> tuple[Decision, tuple[float, float]] | None:
        """The champion, or who beats it clearly; seconds of the champion and of the winner, 0 where nothing had to be measured. None
        when time was up before.
        """
        if not self.budget.is_left():
            return None
        if not others:
            return champion, (0.0, 0.0)
        (_, base), *rest = self.start(subject, [champion, *others], memory)
        times = self.fastest([base, *(trial for _, trial in rest)], ROUNDS[0])
        if not times:
            return None
        first = sorted(range(len(rest)), key=lambda k: times[1 + k])[:3]
        if not first or times[1 + first[0]] > (1 - GAIN) * times[0]:
            return champion, (times[0], times[0])
        again = self.fastest([rest[k][1] for k in first], ROUNDS[1])
        if not again:
            return None
        decision, trial = rest[first[again.index(min(again))]]
        pairs = list(rounds_of([base, trial], ROUNDS[2], self.timer, self.budget.is_left))
        if not pairs:
            return None
        old, new = (min(times) for times in zip(*pairs, strict=True))
        won = sum(b < a for a, b in pairs) >= PAIRS * len(pairs) and new < (1 - GAIN) * old
        return (decision, (old, new)) if won else (champion, (old, old))

    def fastest(self, trials: Sequence[Trial], rounds: int) -> list[float]:
        """Seconds of the fastest measurement of each; [] where there was no time for any."""
        return [min(times) for times in zip(*rounds_of(trials, rounds, self.timer, self.budget.is_left), strict=True)]


    def report(self) -> str:
        """Every problem that was looked at, and what that took."""
        found = sum(r.after != r.before for r in self.results)
        used = self.budget.seconds - max(0.0, self.budget.left)
        lines = [f"{len(self.results)} problems measured in {used:.1f} of {self.budget.seconds:g} s, {found} got another plan"]
        return "\n".join([*lines, *map(str, self.results)])


_tuner: Tuner | None = None


def tuner() -> Tuner:
    """This process's, with the budget of the flag when it was first asked for."""
    global _tuner
    if _tuner is None:
        _tuner = Tuner(Budget(flags.tune.value))
    return _tuner


def finds_better(graph: Graph, key: str) -> bool:
    """Look for plans for the program with this key; whether it is worth compiling anew. A program that was looked at whole is not
    looked at again."""
    from .emission import keeps, loops_of
    from .stats import show, stats

    done, tuning = key_of("tuned", key), tuner()
    if noted(done) is not None or not tuning.budget.is_left():
        return False
    known = len(tuning.results)
    with stats.timed("tune"), tuning.budget.running():
        found, complete = tuning.improve(loops_of(graph, keep=keeps(graph), plans=plans_path(), until="buffered"))
    for result in tuning.results[known:]:
        show("tune", str(result))
    if complete:
        note(done, "")
    return found
