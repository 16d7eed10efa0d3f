"""torch.utils.benchmark: how long a statement takes, measured so that what is pending counts where it was asked for."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import recorder

__all__ = ["Compare", "Measurement", "TaskSpec", "Timer", "timer"]


def timer() -> float:
    """Seconds, once everything recorded so far is computed."""
    recorder.flush()
    return timeit.default_timer()


def _unit(seconds: float) -> tuple[str, float]:
    for name, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return name, size
    return "ns", 1e-9


@dataclass(frozen=True)
class TaskSpec:
    """What was measured, in the user's words."""

    stmt: str
    setup: str = "pass"
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """One line for it."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        return self.stmt if "\n" not in self.stmt else "multi-line code snippet"


@dataclass
class Measurement:
    """Times of one statement. raw_times: of ``number_per_run`` runs each, in seconds."""

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = field(default=None)

    @property
    def times(self) -> list[float]:
        """Of one run each."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def mean(self) -> float:
        """The mean."""
        return statistics.fmean(self.times)

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.times)

    @property
    def iqr(self) -> float:
        """Between the first and the third quarter."""
        if len(self.times) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.times, n=4, method="inclusive")
        return high - low

    def __getattr__(self, name: str) -> Any:
        if name in ("stmt", "setup", "label", "sub_label", "description", "env", "num_threads", "title"):
            return getattr(self.task_spec, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """One of those of the same statement."""
        found: dict[TaskSpec, Measurement] = {}
        for m in measurements:
            known = found.get(m.task_spec)
            times = [t / m.number_per_run for t in m.raw_times]
            found[m.task_spec] = Measurement(1, [*(known.times if known else []), *times], m.task_spec)
        return list(found.values())

    def __repr__(self) -> str:
        (name, size), runs = _unit(self.median), len(self.raw_times)
        lines = [f"<{__name__}.{type(self).__name__} object at {hex(id(self))}>", self.task_spec.title]
        if self.task_spec.setup != "pass":
            lines.append(f"setup: {self.task_spec.setup}")
        lines.append(f"  {'Median: ' if runs > 1 else ''}{self.median / size:.2f} {name}")
        if runs > 1:
            lines.append(f"  IQR:    {self.iqr / size:.2f} {name}")
        threads = self.task_spec.num_threads
        lines.append(f"  {runs} measurement{'s' * (runs > 1)}, {self.number_per_run} runs {'per measurement, ' if runs > 1 else ', '}{threads} thread{'s' * (threads > 1)}")
        return "\n".join(lines)


class Timer:
    """A statement, or a function named in one, that is run again and again."""

    def __init__(
        self, stmt: str = "pass", setup: str = "pass", global_setup: str = "", timer: Callable[[], float] = timer, globals: dict[str, Any] | None = None,
        label: str | None = None, sub_label: str | None = None, description: str | None = None, env: str | None = None, num_threads: int = 1,
        language: Any = "py",
    ) -> None:  # fmt: skip
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        self._task_spec = TaskSpec(stmt, setup, global_setup, label, sub_label, description, env, num_threads)
        self._clock = timer
        self._timer = timeit.Timer(stmt, setup, timer=timer, globals=dict(globals or {}))

    def _once(self, number: int) -> float:
        from .public import get_num_threads, set_num_threads

        before = get_num_threads()
        set_num_threads(self._task_spec.num_threads)
        try:
            return max(self._timer.timeit(number), 1e-9)
        finally:
            set_num_threads(before)

    def timeit(self, number: int = 1000000) -> Measurement:
        """So many runs, measured once, after some that do not count."""
        self._once(max(int(number // 100), 2))
        return Measurement(number, [self._once(number)], self._task_spec)

    def _enough(self, min_run_time: float) -> int:
        """Runs of a hundredth of the time: a number the clock does not matter for."""
        number = 1
        while True:
            taken = self._once(number)
            if taken >= min_run_time / 100 or number >= 1_000_000_000:
                return number
            number *= 10

    def blocked_autorange(self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2) -> Measurement:
        """Blocks of as many runs as it takes for the clock not to matter, until the time is over."""
        number, times = self._enough(min_run_time), []
        while sum(times) < min_run_time:
            times.append(self._once(number))
            if callback is not None:
                callback(number, times[-1])
        return Measurement(number, times, self._task_spec)

    def adaptive_autorange(
        self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0, callback: Callable[[int, float], Any] | None = None
    ) -> Measurement:
        """Blocks of runs until their quartiles are near each other, or the time is over."""
        number, times = self._enough(min_run_time), []
        while sum(times) < max_run_time:
            times.append(self._once(number))
            if callback is not None:
                callback(number, times[-1])
            so_far = Measurement(number, times, self._task_spec)
            if sum(times) >= min_run_time and len(times) > 3 and so_far.iqr < threshold * so_far.median:
                break
        return Measurement(number, times, self._task_spec)


class Compare:
    """Measurements as a table: a row per statement and number of threads, a column per description."""

    def __init__(self, results: Sequence[Measurement]) -> None:
        self._results = list(results)

    def extend_results(self, results: Sequence[Measurement]) -> None:
        """More of them."""
        self._results += results

    def trim_significant_figures(self) -> None:
        """Times are written with four digits as it is."""

    def colorize(self, rowwise: bool = False) -> None:
        """Tables have no colours."""

    highlight_warnings = trim_significant_figures

    def print(self) -> None:
        """The table on the standard output."""
        print(str(self))

    def __str__(self) -> str:
        merged = Measurement.merge(self._results)
        columns = list(dict.fromkeys([m.task_spec.description or "" for m in merged]))
        rows = list(dict.fromkeys([(m.task_spec.num_threads, m.task_spec.sub_label or m.task_spec.stmt) for m in merged]))
        name, size = _unit(min([m.median for m in merged], default=1.0))
        cells = {(m.task_spec.num_threads, m.task_spec.sub_label or m.task_spec.stmt, m.task_spec.description or ""): m.median / size for m in merged}
        width = max([len(row) for _, row in rows], default=0)
        lines = [" ".join([f"{'':{width}}", *[f"|  {c:>10}" for c in columns]])]
        for threads, row in rows:
            found = [cells.get((threads, row, c)) for c in columns]
            lines.append(" ".join([f"{row:{width}}", *[f"|  {'' if t is None else f'{t:.4g}':>10}" for t in found]]) + f"   {threads} thread{'s' * (threads > 1)}")
        return "\n".join([*lines, "", f"Times are in {name}."])
