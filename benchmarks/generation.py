"""Generation, turn by turn, against PyTorch eager: ratios of the first run of a process and of later ones, compiles, agreement.

    python benchmarks/generation.py [part of a name …] [--turns 100] [--rounds 5] [--cache DIR]

One thread, processor milliseconds, what the C compiler takes included; each loop in a process of its own with an empty cache unless
--cache names one. first: the first run against PyTorch's first; warm: the fastest of the later, interleaved runs; compiles: of the first.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile

from generation_loops import LOOPS


def _seconds() -> float:
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def _agree(ours: list, theirs: list) -> bool:
    """Whether tokens are equal, and numbers up to rounding, which a long series adds up."""
    return len(ours) == len(theirs) and all(a == b or type(a) is float and math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-4) for a, b in zip(ours, theirs, strict=True))


def measured(name: str, turns: int, rounds: int) -> dict[str, object]:
    """One loop under both, in this process."""
    import lamina
    import torch
    from lamina.backends import driver

    runs = []
    for framework in (lamina, torch):
        framework.set_num_threads(1)
        framework.manual_seed(1)
        runs.append(LOOPS[name](framework))
    times: list[list[float]] = [[], []]
    same, compiles = True, 0
    for k in range(rounds + 1):
        made = []
        for framework, run, spent in zip((lamina, torch), runs, times, strict=True):
            framework.manual_seed(k)
            start = _seconds()
            made.append(run(turns))
            spent.append(_seconds() - start)
        same = same and _agree(*made)
        compiles = compiles or driver.stats.compiles
    (first, *ours), (other, *theirs) = times
    return {"first": first, "torch first": other, "warm": min(ours), "torch": min(theirs), "compiles": compiles, "later": driver.stats.compiles - compiles, "same": same}


def main() -> None:
    """The table, or (--one) one row as JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", help="parts of names")
    options.add_argument("--turns", type=int, default=100)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--cache", help="a folder to compile into")
    options.add_argument("--one", choices=list(LOOPS), help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one is not None:
        print(json.dumps(measured(arguments.one, arguments.turns, arguments.rounds)))
        return
    print(f"{'loop':18} {'first ms':>9} {'torch':>7} {'warm ms':>8} {'torch':>7} {'ratio':>6} {'compiles':>8} {'later':>6}  numbers")
    for name in LOOPS:
        if arguments.names and not any(part.lower() in name.lower() for part in arguments.names):
            continue
        with tempfile.TemporaryDirectory() as empty:
            command = [sys.executable, __file__, "--one", name, "--turns", str(arguments.turns), "--rounds", str(arguments.rounds)]
            environment = {**os.environ, "LAMINA_CACHE": arguments.cache or empty}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        row = json.loads(done.stdout)
        print(
            f"{name:18} {1e3 * row['first']:9.0f} {1e3 * row['torch first']:7.0f} {1e3 * row['warm']:8.1f} {1e3 * row['torch']:7.1f} "
            f"{row['warm'] / row['torch']:6.2f} {row['compiles']:8} {row['later']:6}  {'equal' if row['same'] else 'DIFFERENT'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
