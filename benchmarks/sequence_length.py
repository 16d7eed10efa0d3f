"""Compile time of an LSTM training step against the length of its sequences, each in a fresh process with an empty cache.

    python benchmarks/sequence_length.py [--lengths 10 40 200] [--kind LSTM]

2 layers of 64, batch 32, Adam. Wall and processor seconds of the first step after the import (the C compiler included in
both), bytes of C, bytes of working memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time


def first_step(kind: str, length: int) -> dict[str, float]:
    """Runs in a process of its own."""
    import lamina as torch
    from lamina.backends import driver

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = getattr(torch.nn, kind)(32, 64, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.randn(length, 32, 32)
    wall, cpu = time.perf_counter(), _processor_seconds()
    loss = model(x)[0].square().mean()
    loss.backward()
    optimizer.step()
    value = loss.item()
    wall, cpu = time.perf_counter() - wall, _processor_seconds() - cpu
    program = max(driver._programs.values(), key=lambda program: len(program.source))
    return {"wall": wall, "cpu": cpu, "bytes": len(program.source), "arena": program.arena_bytes, "loss": value}


def _processor_seconds() -> float:
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def main() -> None:
    """The table, or (--one) one row as JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lengths", nargs="+", type=int, default=[10, 40, 200])
    options.add_argument("--kind", default="LSTM", choices=("RNN", "LSTM", "GRU"))
    options.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one is not None:
        print(json.dumps(first_step(arguments.kind, arguments.one)))
        return
    print(f"{'length':>8} {'wall s':>8} {'cpu s':>8} {'C bytes':>9} {'arena bytes':>12}")
    for length in arguments.lengths:
        command = [sys.executable, __file__, "--kind", arguments.kind, "--one", str(length)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LAMINA_CACHE": "off"})
        row = json.loads(done.stdout)
        print(f"{length:8} {row['wall']:8.2f} {row['cpu']:8.2f} {row['bytes']:9} {row['arena']:12}")


if __name__ == "__main__":
    main()
