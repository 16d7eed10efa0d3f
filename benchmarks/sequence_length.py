"""Compile time of a recurrent training step against the length of its sequences, each in a fresh process with an empty cache.

    python benchmarks/sequence_length.py [--lengths 10 40 200] [--kind LSTM]

2 layers of 64, batch 32, Adam. Kinds: layers (RNN, LSTM, GRU), their cells in a Python loop over time (RNNCell, LSTMCell, GRUCell), a
network written by hand (hand). Wall and processor seconds of the first step after the import (the C compiler included in both),
processor milliseconds of the fastest of five later ones, bytes of C, bytes of working memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

KINDS = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "hand")


class Loop:
    """Two cells called step by step."""

    def __init__(self, torch: Any, kind: str) -> None:
        self.torch, self.kind = torch, kind
        self.cells = [self._cell(32), self._cell(64)]

    def _cell(self, size: int) -> Any:
        if self.kind != "hand":
            return getattr(self.torch.nn, self.kind)(size, 64)
        nn = self.torch.nn
        return nn.ModuleList([nn.Linear(size, 64), nn.Linear(64, 64)])

    def parameters(self) -> list[Any]:
        return [p for cell in self.cells for p in cell.parameters()]

    def __call__(self, x: Any) -> tuple[Any]:
        states = [None, None] if self.kind != "hand" else [self.torch.zeros(32, 64)] * 2
        outputs = []
        for part in x:
            for k, cell in enumerate(self.cells):
                states[k] = self._step(cell, part, states[k])
                part = states[k][0] if self.kind == "LSTMCell" else states[k]
            outputs.append(part)
        return (self.torch.stack(outputs),)

    def _step(self, cell: Any, x: Any, state: Any) -> Any:
        return self.torch.tanh(cell[0](x) + cell[1](state)) if self.kind == "hand" else cell(x, state)


def first_step(kind: str, length: int) -> dict[str, float]:
    """Runs in a process of its own."""
    import lamina as torch
    from lamina.backends import driver

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Loop(torch, kind) if kind == "hand" or kind.endswith("Cell") else getattr(torch.nn, kind)(32, 64, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = torch.randn(length, 32, 32)
    times = []
    for _ in range(6):
        wall, cpu = time.perf_counter(), _processor_seconds()
        optimizer.zero_grad()
        loss = model(x)[0].square().mean()
        loss.backward()
        optimizer.step()
        loss.item()
        times.append((_processor_seconds() - cpu, time.perf_counter() - wall))
    (cpu, wall), later = times[0], min(times[1:])[0]
    program = max(driver._programs.values(), key=lambda program: len(program.source))
    return {"wall": wall, "cpu": cpu, "later": 1e3 * later, "bytes": len(program.source), "arena": program.arena_bytes}


def _processor_seconds() -> float:
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def main() -> None:
    """The table, or (--one) one row as JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lengths", nargs="+", type=int, default=[10, 40, 200])
    options.add_argument("--kind", default="LSTM", choices=KINDS)
    options.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one is not None:
        print(json.dumps(first_step(arguments.kind, arguments.one)))
        return
    print(f"{'length':>8} {'wall s':>8} {'cpu s':>8} {'later ms':>9} {'C bytes':>9} {'arena bytes':>12}")
    for length in arguments.lengths:
        command = [sys.executable, __file__, "--kind", arguments.kind, "--one", str(length)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LAMINA_CACHE": "off"})
        row = json.loads(done.stdout)
        print(f"{length:8} {row['wall']:8.2f} {row['cpu']:8.2f} {row['later']:9.1f} {row['bytes']:9} {row['arena']:12}")


if __name__ == "__main__":
    main()
