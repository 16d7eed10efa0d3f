"""Where a warm step spends its time: the C program, and each part of the Python around it.

    python benchmarks/python_share.py [--row "MLP train"] [--batch 64] [--threads 1] [--rounds 15] [--cpu] [--profile]

The step is that of the digits CNN, or of a row of peers.py.
Issue 2 asks for less than 15% outside C at batch 64 on one thread. A round is ten steps; the table shows medians.
--cpu counts processor time of the one thread instead of wall time: for a machine others are busy on.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import lamina
import numpy as np
from digits_step import stepper
from lamina.backends import driver
from lamina.pyfront import recorder
from lamina.pyfront.optim import Optimizer
from peer_rows import ROWS
from peer_run import prepare

STEPS = 10
WARM = 50  # steps after which everything is called the way it will be


class Stopwatch:
    """Exclusive time per part: entering an inner part stops the clock of the outer one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = {}
        self.running: list[str] = []
        self.since = 0.0

    def enter(self, part: str) -> None:
        now = self.clock()
        self._count(now)
        self.running.append(part)
        self.since = now

    def leave(self) -> None:
        now = self.clock()
        self._count(now)
        self.running.pop()
        self.since = now

    def _count(self, now: float) -> None:
        if self.running:
            part = self.running[-1]
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self.since

    def timed(self, part: str, function: Callable) -> Callable:
        def wrapper(*args: Any, **options: Any) -> Any:
            self.enter(part)
            try:
                return function(*args, **options)
            finally:
                self.leave()

        return wrapper


@contextmanager
def watching(watch: Stopwatch):
    """Clocks at the doors between the parts; everything as it was afterwards."""
    collected = lambda phase, _: watch.enter("garbage collection") if phase == "start" else watch.leave()  # noqa: E731
    before: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, part: str) -> None:
        before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, watch.timed(part, getattr(owner, name)))

    for program in driver._programs.values():
        if getattr(program, "_call", None) is not None:  # a small one, which C calls: with its table filled in
            put(program, "_call", "C program")
        elif hasattr(program, "_main"):  # what is rolled up has a program of its own
            put(program, "_main", "C program")
    put(recorder.state, "run", "driver and executable")
    put(recorder, "_compute", "graph building")
    put(Optimizer, "step", "recording: optimizer")
    put(lamina.Tensor, "backward", "recording: backward")
    gc.callbacks.append(collected)
    try:
        yield
    finally:
        gc.callbacks.remove(collected)
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def rounds(step: Callable[[], float], count: int, clock: Callable[[], float]) -> list[dict[str, float]]:
    """Milliseconds per part and step, one entry per round."""
    found = []
    for _ in range(count):
        watch = Stopwatch(clock)
        with watching(watch):
            for _ in range(STEPS):
                watch.enter("recording: forward, loss, item")
                step()
                watch.leave()
        found.append({part: 1e3 * seconds / STEPS for part, seconds in watch.seconds.items()})
    return found


def profile(step: Callable[[], float]) -> None:
    profiler = cProfile.Profile()
    with profiler:
        for _ in range(50):
            step()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--row", choices=[row.name for row in ROWS], help="a row of peers.py instead of the digits CNN")
    options.add_argument("--batch", type=int, default=64, help="of the digits CNN")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--cpu", action="store_true", help="processor time instead of wall time")
    options.add_argument("--profile", action="store_true", help="the functions that take longest, by cProfile")
    arguments = options.parse_args()

    driver.set_num_threads(arguments.threads)
    if arguments.row is not None:
        row = next(row for row in ROWS if row.name == arguments.row)
        step, _ = prepare(row, "lamina", arguments.threads, None)
    else:
        generator = np.random.default_rng(0)
        images = generator.standard_normal((arguments.batch, 1, 28, 28), dtype=np.float32)
        step = stepper(lamina, images, generator.integers(0, 10, arguments.batch))
    for _ in range(WARM):
        step()
    if arguments.profile:
        profile(step)
    found = rounds(step, arguments.rounds, time.thread_time if arguments.cpu else time.perf_counter)
    parts = sorted({part for one in found for part in one}, key=lambda part: -statistics.median(o.get(part, 0.0) for o in found))
    for part in parts:
        times = [one.get(part, 0.0) for one in found]
        print(f"{part:32} {statistics.median(times):7.3f} ms   (best {min(times):.3f})")
    outside = [sum(one.values()) - one.get("C program", 0.0) for one in found]  # a replayed function calls C past these doors
    shares = [100 * o / sum(one.values()) for o, one in zip(outside, found, strict=True)]
    print(f"{'outside C, all together':32} {statistics.median(outside):7.3f} ms   (best {min(outside):.3f})")
    print(f"{'share of the step outside C':32} {statistics.median(shares):7.1f} %    (best {min(shares):.1f})")


if __name__ == "__main__":
    main()
