"""Times two or more callables in turn, A B A B …, so that a drifting machine drifts for all of them.

Quote medians and the ratio of medians; the ratios pair by pair show how steady the run was.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Times:
    """Seconds per call of every round, in order."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def fastest(self) -> float:
        return min(self.seconds)


def interleave(
    calls: dict[str, Callable[[], object]], rounds: int = 15, warm: int = 3, least: float = 0.05,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Times]:  # fmt: skip
    """Runs each call `warm` times, then `rounds` rounds of all calls in turn; a round repeats a call for at least `least` seconds.

    clock: `time.process_time` counts processor time, which a busy machine disturbs less.
    """
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        for _ in range(warm):
            call()
        took = []
        for _ in range(3):  # one of them may load or compile something
            start = time.perf_counter()
            call()
            took.append(time.perf_counter() - start)
        repeats[name] = max(1, int(least / max(min(took), 1e-7)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            for _ in range(repeats[name]):
                call()
            seconds[name].append((clock() - start) / repeats[name])
    return [Times(name, tuple(values)) for name, values in seconds.items()]


def wait(results: Any) -> None:
    """Results of ours are computed; PyTorch's are."""
    if isinstance(results, (tuple, list)):
        for one in results:
            wait(one)
    elif hasattr(results, "_value"):
        results._value()


def table(results: list[Times], base: str) -> str:
    """Rows of median milliseconds and the ratio base/other, with the spread of the pairwise ratios."""
    ours = next(r for r in results if r.name == base)
    rows = [f"{'':24} {'median ms':>10} {'min':>8} {'max':>8}   {base}/it  (pairs min..max)"]
    for r in results:
        pairs = [a / b for a, b in zip(ours.seconds, r.seconds, strict=True)]
        rows.append(
            f"{r.name:24} {1e3 * r.median:10.3f} {1e3 * min(r.seconds):8.3f} {1e3 * max(r.seconds):8.3f}   "
            f"{ours.median / r.median:.3f}  ({min(pairs):.2f}..{max(pairs):.2f})"
        )
    return "\n".join(rows)
