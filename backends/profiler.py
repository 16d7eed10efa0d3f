"""Profiler: the time of every kernel call of every program, beside the user's line, and how near the machine's roof it is."""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..dialects import flags
from .executable import Executable
from .roof import Roof, roof

_MOST_EVENTS = 200_000


class Line(NamedTuple):
    """One kernel call of one program, over all its runs."""

    program: int
    kernel: str
    origin: str
    what: str
    bytes: int
    operations: int
    calls: int
    seconds: float
    fastest: float

    @property
    def undisturbed(self) -> float:
        """Seconds of all calls if each had been as fast as the fastest: what else the machine does counts once or not at all."""
        return self.calls * self.fastest

    def of_roof(self, roof: Roof, threads: int) -> float:
        """The share of the roof it reaches when it is fastest."""
        return roof.seconds(self.operations, self.bytes) / threads / max(self.fastest, 1e-9)


@dataclass
class _Watched:
    """A program with the clock its kernels write."""

    costs: list[Sequence[Any]]
    clock: np.ndarray
    total: np.ndarray
    fastest: np.ndarray
    steps: int = 0
    seconds: float = 0.0


@dataclass
class Profiler:
    """What `driver.profiled` gives. traced: keep every event for a trace file."""

    traced: bool = False
    programs: list[_Watched] = field(default_factory=list)
    events: list[tuple[int, int, np.ndarray]] = field(default_factory=list)  # program, start, times of its kernels
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self._kept = 0

    def watch(self, program: Executable, costs: list[Sequence[Any]]) -> None:
        """Time this program's kernels from now on."""
        clock = np.ctypeslib.as_array((ctypes.c_int64 * (len(costs) + 1)).in_dll(program._dll, f"{program.entry}_clock"))
        number, main = len(self.programs), program._main
        watched = _Watched(costs, clock, np.zeros(len(costs), np.int64), np.full(len(costs), 1 << 62, np.int64))
        self.programs.append(watched)

        def timed(table: int) -> int:
            start = time.perf_counter()
            status = main(table)
            watched.seconds += time.perf_counter() - start
            watched.steps += 1
            taken = np.diff(clock)
            watched.total += taken
            np.minimum(watched.fastest, taken, out=watched.fastest)
            if self.traced and self._kept < _MOST_EVENTS:
                self._kept += len(taken)
                self.events.append((number, int(clock[0]), clock.copy()))
            return status

        program._main = timed
        program._is_small = False  # what is called in C passes by the clock

    def lines(self) -> list[Line]:
        """Every kernel call, the one that would take longest undisturbed first."""
        found = [
            Line(n, kernel, origin, what, int(bytes), int(operations), p.steps, 1e-9 * float(p.total[k]), 1e-9 * float(p.fastest[k]))
            for n, p in enumerate(self.programs)
            if p.steps
            for k, (kernel, origin, bytes, operations, what) in enumerate(p.costs)
        ]
        return sorted(found, key=lambda line: -line.undisturbed)

    def report(self, most: int = 40) -> str:
        """The table against this machine's roof."""
        from .stats import stats

        compiling = sum(stats.seconds.get(stage, 0.0) for stage in ("capture", "passes", "source", "build", "load"))
        return self.table(roof(), most, compiling)

    def table(self, roof: Roof | None, most: int = 40, compiling: float = 0.0) -> str:
        """The kernels by the time of their fastest call, which %, GFLOP/s, GB/s and the roof are of, too. ms: of all calls together.

        compiling: seconds the driver spent on making programs.
        """
        whole = time.perf_counter() - self.started
        lines, threads = self.lines(), flags.threads.value
        kernels, undisturbed = (sum(getattr(line, name) for line in lines) for name in ("seconds", "undisturbed"))
        text = [f"{whole:.3f} s: {kernels:.3f} s in kernels, {compiling:.3f} s compiling, {whole - kernels - compiling:.3f} s elsewhere"]
        if roof is not None:
            speeds = ", ".join(f"{speed / 1e9:.0f} GB/s to {size >> 10} KiB" for size, speed in roof.bandwidths)
            text.append(f"roof of one thread: {roof.operations / 1e9:.0f} GFLOP/s; {speeds}; {threads} threads")
        text.append(f"{'ms':>10} {'fastest, us':>11} {'%':>6} {'calls':>7} {'GFLOP/s':>8} {'GB/s':>7} {'roof':>5}  {'line':24} kernel")
        for line in lines[:most]:
            share = f"{100 * line.of_roof(roof, threads):4.0f}%" if roof is not None and line.fastest else "    -"
            per = max(line.fastest, 1e-9)
            text.append(
                f"{1e3 * line.seconds:10.3f} {1e6 * line.fastest:11.1f} {100 * line.undisturbed / max(undisturbed, 1e-12):6.2f} {line.calls:7} "
                f"{line.operations / per / 1e9:8.1f} {line.bytes / per / 1e9:7.1f} {share}  {line.origin:24} "
                f"{line.program}.{line.kernel} {line.what}"
            )
        if len(lines) > most:
            rest, left = (sum(getattr(line, name) for line in lines[most:]) for name in ("seconds", "undisturbed"))
            text.append(f"{1e3 * rest:10.3f} {'':11} {100 * left / max(undisturbed, 1e-12):6.2f}  {len(lines) - most} more")
        return "\n".join(text)

    def write_trace(self, path: str | Path) -> int:
        """Chrome's trace format (chrome://tracing, Perfetto); the number of kernel events. Whole or not at all."""
        process, events = os.getpid(), []
        for number, _, clock in self.events:
            costs = self.programs[number].costs
            first = 1e-3 * float(clock[0])
            common = {"ph": "X", "pid": process, "tid": 0}
            events.append({"name": f"program {number}", "cat": "program", "ts": first, "dur": 1e-3 * float(clock[-1] - clock[0]), **common})
            for k, (kernel, origin, bytes, operations, what) in enumerate(costs):
                facts = {"kernel": kernel, "bytes": bytes, "operations": operations}
                when = {"ts": 1e-3 * float(clock[k]), "dur": 1e-3 * float(clock[k + 1] - clock[k])}
                events.append({"name": f"{origin or kernel} {what}", "cat": "kernel", "args": facts, **when, **common})
        building = Path(f"{path}.{process}.part")
        building.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}), encoding="utf-8")
        os.replace(building, path)
        return len(events) - len(self.events)
