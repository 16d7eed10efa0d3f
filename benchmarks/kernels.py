"""Single kernels and blocks through the public frontend, against PyTorch eager in turn.

    python benchmarks/kernels.py [part of a name ...] [--threads 1] [--rounds 9] [--cpu] [--list]

Both sides run the same plain code on the same numbers, and the results are compared before anything is timed (16-bit gradients with
PyTorch's in float64: it sums some of them in 16 bits). Ratios below 1
mean that lamina is faster; its time includes recording the call and finding the program in the cache. The last ratio is that of
the fastest rounds, which a busy machine disturbs least. At the end: its geometric mean, and the rows above 1.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
from everyday_cases import EVERYDAY_CASES
from kernel_cases import CASES, Body, Case
from narrow_cases import NARROW_CASES
from side_by_side import Times, interleave
from survey_cases import SURVEY_CASES


def compared(ours: object, theirs: object) -> float:
    """The largest difference of two tuples of tensors, relative to the largest value of each."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        x, y = (t.detach().double().numpy() for t in (a, b))
        if not x.size:
            continue
        worst = max(worst, float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30)))
    return worst


def stepper(make: Callable[[ModuleType, np.random.Generator], Body], torch: ModuleType, wait: object):
    """A function that runs the case once, to the end."""
    torch.manual_seed(0)
    body = make(torch, np.random.default_rng(0))

    def step() -> object:
        results = body()
        wait(results)
        return results

    return step


def measure(case: Case, rounds: int, clock: Callable[[], float]) -> tuple[Times, Times, float, float]:
    """Our times, PyTorch's, the largest difference of results, and the seconds of our first two calls."""
    import lamina
    import torch

    def ready(results: tuple) -> None:
        for tensor in results:
            tensor._value()

    theirs = stepper(case.make, torch, lambda results: None)
    expected = theirs if case.exact is None else stepper(case.exact, torch, lambda results: None)
    ours = stepper(case.make, lamina, ready)
    start = time.perf_counter()
    difference = compared(ours(), expected())
    ours()
    first = time.perf_counter() - start
    mine, other = interleave({"lamina": ours, "torch": theirs}, rounds=rounds, warm=2, least=0.03, clock=clock)
    return mine, other, difference, first


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("parts", nargs="*")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--cpu", action="store_true", help="processor time instead of wall time")
    options.add_argument("--list", action="store_true")
    arguments = options.parse_args()
    chosen = [c for c in (*CASES, *NARROW_CASES, *SURVEY_CASES, *EVERYDAY_CASES) if not arguments.parts or any(part in c.name for part in arguments.parts)]
    if arguments.list:
        print("\n".join(case.name for case in chosen))
        return

    import torch
    from lamina.backends import driver

    driver.set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    print(f"{'':34} {'lamina ms':>10} {'torch ms':>10} {'ratio':>7} {'fastest':>8} {'difference':>11} {'first s':>8}")
    ratios = {}
    for case in chosen:
        mine, other, difference, first = measure(case, arguments.rounds, time.process_time if arguments.cpu else time.perf_counter)
        least = ratios[case.name] = min(mine.seconds) / min(other.seconds)
        wrong = "" if difference < case.tolerance else "  WRONG"
        print(
            f"{case.name:34} {1e3 * mine.median:10.3f} {1e3 * other.median:10.3f} {mine.median / other.median:7.2f} {least:8.2f} "
            f"{difference:11.1e} {first:8.2f}{wrong}",
            flush=True,
        )
    if ratios:
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        print(f"geometric mean {mean:.3f}; above 1: " + (", ".join(f"{n} {r:.2f}" for n, r in ratios.items() if r > 1) or "none"))


if __name__ == "__main__":
    main()
