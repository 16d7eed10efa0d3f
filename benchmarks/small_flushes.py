"""Programs of many small flushes (a value looked at every few steps) against PyTorch eager.

    python benchmarks/small_flushes.py [part of a name …] [--rounds 15] [--parts]

Programs as people write them, of `small_programs.py`. Processor time of one thread, fastest of interleaved rounds, after as many warm runs as
make every program known; results are compared. --parts: where ours spends a run, in microseconds per flush.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import small_programs
from side_by_side import interleave

WARM = 8
"""Runs before anything is timed: graphs seen once run on the oracle, graphs of several sizes get a program after some."""


def differs(ours: list[float], theirs: list[float]) -> bool:
    return any(abs(a - b) > 1e-3 * max(1.0, abs(b)) for a, b in zip(ours, theirs, strict=True))


def parts_of(run: Callable[[], object], rounds: int) -> dict[str, float]:
    """Microseconds per flush: recording, finding the plan, calling the program; the least of the rounds, and how many flushes there are."""
    from lamina.pyfront import recorder

    least: dict[str, float] = {}
    spent: dict[str, float] = {}

    def clocked(part: str, function: Callable) -> Callable:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent[part] = spent.get(part, 0.0) + time.perf_counter() - start
                spent["flushes"] = spent.get("flushes", 0) + (part == "program")

        return call

    compute, program = recorder._compute, recorder.driver()
    recorder._compute, recorder.state.run = clocked("flush", compute), clocked("program", program)
    try:
        for _ in range(rounds):
            spent.clear()
            clocked("whole", run)()
            count = spent.pop("flushes")
            each = {
                "recording": spent["whole"] - spent["flush"], "plan": spent["flush"] - spent["program"], "program": spent["program"],
            }  # fmt: skip
            for part, seconds in each.items():
                least[part] = min(least.get(part, math.inf), 1e6 * seconds / count)
            least["flushes"] = count
    finally:
        recorder._compute, recorder.state.run = compute, program
    return least


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--parts", action="store_true")
    arguments = options.parse_args()

    import lamina
    import lamina.distributions  # noqa: F401  # read as lamina.distributions
    import torch
    from lamina.backends import driver

    driver.set_num_threads(1)
    torch.set_num_threads(1)
    print(f"{'':28} {'lamina ms':>10} {'torch ms':>10} {'ratio':>7} {'flushes':>8}")
    ratios = []
    for name, make in small_programs.PROGRAMS.items():
        if arguments.names and not any(part in name for part in arguments.names):
            continue
        ours, theirs = make(lamina), make(torch)
        wrong = any([differs(ours(), theirs()) for _ in range(WARM)])
        before = driver.stats.hits
        ours()
        flushes = driver.stats.hits - before
        theirs()
        times = interleave({"lamina": ours, "torch": theirs}, rounds=arguments.rounds, warm=0, least=0.03, clock=time.process_time)
        mine, other = (1e3 * t.fastest for t in times)
        ratios.append(mine / other)
        print(f"{name:28} {mine:10.3f} {other:10.3f} {mine / other:7.2f} {flushes:8d}{'  WRONG' if wrong else ''}", flush=True)
        if arguments.parts:
            found = parts_of(ours, arguments.rounds)
            print(f"{'':28} per flush, µs: " + ", ".join(f"{part} {us:.1f}" for part, us in found.items() if part != "flushes"))
    if ratios:
        print(f"geometric mean {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}")


if __name__ == "__main__":
    main()
