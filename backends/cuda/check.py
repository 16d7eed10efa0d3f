"""The GPU check: `python -m lamina.backends.cuda.check --all` compiles, emulates, launches and compares, and writes a report.

Without a GPU everything but the launch is done: PTX and cubin for several architectures with registers and spills, and the
kernels' results on emulated threads against numpy. With one, the same programs are launched, compared and timed.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...dialects.errors import BackendError, LaminaError
from ...dialects.graph import Graph
from ...dialects.target import GPU_TARGETS
from ...lowering.capture import capture
from ..emulation import emulate
from ..oracle import evaluate
from .check_programs import PROGRAMS, CheckProgram, arrays_for, bytes_moved
from .device import Device, native_arch
from .program import build, cuda_source
from .runtime import Runtime

ARCHITECTURES = ("sm_80", "sm_90a", "sm_90a_wgmma", "sm_100a")
TOLERANCE = {"float32": 2e-5, "float64": 1e-12, "bfloat16": 2e-2, "float16": 3e-3}
SEEDS = (0, 1, 7)
WARM, ROUNDS = 3, 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 when everything that could be done here agrees."""
    options = argparse.ArgumentParser(prog="python -m lamina.backends.cuda.check", description=__doc__.splitlines()[0])
    options.add_argument("--all", action="store_true", help="every program (default: the first five)")
    options.add_argument("--only", metavar="TEXT", help="programs whose name contains a text")
    options.add_argument("--report", metavar="FILE", default="cuda-report.md", help="where the report goes")
    options.add_argument("--arch", action="append", help="architectures to compile for (default: sm_80, sm_90a, sm_90a_wgmma, sm_100a)")
    chosen = options.parse_args(arguments)
    programs = [p for p in PROGRAMS if chosen.only is None or chosen.only in p.name]
    report = Check(chosen.arch or ARCHITECTURES).run(programs if chosen.all or chosen.only else programs[:5])
    Path(chosen.report).write_text(report.text(), encoding="utf-8")
    print(report.text())
    print(f"written: {chosen.report}")
    return 1 if report.failures else 0


class Report:
    """Tables and failures, as Markdown."""

    def __init__(self) -> None:
        self.lines: list[str] = ["# lamina on NVIDIA GPUs", ""]
        self.failures: list[str] = []

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.lines += [f"## {title}", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        self.lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
        self.lines.append("")

    def fail(self, program: str, what: str) -> None:
        self.failures.append(f"{program}: {what}")

    def text(self) -> str:
        """The whole report."""
        verdict = [f"- {failure}" for failure in self.failures] or ["Everything that could be done here agrees."]
        return "\n".join([*self.lines, "## Result", "", *verdict]) + "\n"


class Check:
    """What is done with every program."""

    def __init__(self, architectures: Sequence[str]) -> None:
        self.architectures = architectures
        self.report = Report()
        self.runtimes: list[Runtime] = []
        self.why = ""
        try:
            self.runtimes.append(Runtime(Device()))
            if native_arch(self.runtimes[0].device.compute, wgmma=True) != self.runtimes[0].device.arch:
                self.runtimes.append(Runtime(Device(wgmma=True)))
        except LaminaError as error:
            self.why = str(error).splitlines()[0]

    def run(self, programs: Sequence[CheckProgram]) -> Report:
        """The report on some programs."""
        where = f"not launched: {self.why}"
        if self.runtimes:
            where = f"{self.runtimes[0].device.name} (compute capability {self.runtimes[0].device.compute / 10})"
        self.report.lines += [f"- GPU: {where}", f"- host: {platform.machine()}, Python {platform.python_version()}", ""]
        head = ["program", "architecture", "kernels", "most registers", "spills", "tensor-core PTX", "seconds"]
        self.report.table("Compiled at the large size", head, [row for p in programs for row in self._compiled(p)])
        if emulate.available():
            rows = [self._emulated(p) for p in programs]
            self.report.table("Emulated, against numpy", ["program", "size", "thread orders", "largest error"], rows)
        else:
            self.report.lines += ["No g++ here: the emulation did not run.", ""]
        for gpu in self.runtimes:
            rows = [self._launched(p, gpu) for p in programs]
            head = ["program", "small: largest error", "large size", "ms", "GB/s", "TFLOP/s"]
            self.report.table(f"Launched ({gpu.device.arch})", head, rows)
        return self.report

    def _compiled(self, program: CheckProgram) -> list[list[object]]:
        rows: list[list[object]] = []
        for arch in self.architectures:
            start = time.perf_counter()
            try:
                compiled = build(program.make(program.large), arch).compiled
            except LaminaError as error:
                self.report.fail(program.name, f"{arch}: {error}")
                rows.append([program.name, arch, "failed", "", "", "", ""])
                continue
            spills = sum(u.spill_stores + u.spill_loads for u in compiled.usage)
            if spills:
                self.report.fail(program.name, f"{arch}: {spills} bytes of spills")
            if warnings := re.findall(r"C75\d\d|warning[^\n]*", compiled.log):
                self.report.fail(program.name, f"{arch}: ptxas says {warnings[0]}")
            registers = max((u.registers for u in compiled.usage), default=0)
            tensor = len(re.findall(r"w?gmma\.mma_async|mma\.sync", compiled.ptx))
            rows.append([program.name, arch, len(compiled.usage), registers, spills, tensor, f"{time.perf_counter() - start:.2f}"])
        return rows

    def _emulated(self, program: CheckProgram) -> list[object]:
        graph = program.make(program.small)
        arrays = arrays_for(graph)
        try:
            arch = next((a for a in self.architectures if GPU_TARGETS[a].wgmma), self.architectures[-1])
            emulation = emulate.Emulation(cuda_source(graph, arch))
            want = evaluate(capture(graph), arrays)
            worst = max(largest_error(graph, emulation(arrays, seed), want) for seed in SEEDS)
        except LaminaError as error:
            self.report.fail(program.name, f"emulated: {error}")
            return [program.name, program.small, len(SEEDS), "failed"]
        self._judge(program, worst, "emulated")
        return [program.name, program.small, len(SEEDS), f"{worst:.2g}"]

    def _launched(self, program: CheckProgram, gpu: Runtime) -> list[object]:
        row: list[object] = [program.name]
        try:
            graph = program.make(program.small)
            arrays = arrays_for(graph)
            worst = largest_error(graph, self._on_device(gpu, graph, arrays)[0], evaluate(capture(graph), arrays))
            self._judge(program, worst, "launched")
            large = program.make(program.large)
            _, milliseconds = self._on_device(gpu, large, arrays_for(large), timed=True)
        except LaminaError as error:
            self.report.fail(program.name, f"launched: {error}")
            return [program.name, "failed", program.large, "", "", ""]
        flops = program.flops(program.large)
        rate = f"{flops / milliseconds / 1e9:.1f}" if flops else ""
        return [*row, f"{worst:.2g}", program.large, f"{milliseconds:.3f}", f"{bytes_moved(large) / milliseconds / 1e6:.0f}", rate]

    def _on_device(
        self, gpu: Runtime, graph: Graph, arrays: Sequence[np.ndarray], timed: bool = False
    ) -> tuple[list[np.ndarray], float]:
        """The outputs, and the median time of one run of all launches measured with events."""
        placed = [gpu.upload(a) for a in arrays]
        outputs = [gpu.download(a) for a in gpu.run(graph, placed)]
        if not timed:
            return outputs, 0.0
        start, end, times = gpu.device.new_event(), gpu.device.new_event(), []
        for _ in range(WARM + ROUNDS):
            gpu.device.record(start)
            gpu.run(graph, placed)
            gpu.device.record(end)
            gpu.device.wait(end)
            times.append(gpu.device.milliseconds(start, end))
        return outputs, float(np.median(times[WARM:]))

    def _judge(self, program: CheckProgram, worst: float, how: str) -> None:
        if not worst <= 1:
            self.report.fail(program.name, f"{how}: {worst:.2g} times the tolerance")


def largest_error(graph: Graph, got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """The largest difference over all outputs, in multiples of the tolerance of its dtype (integers must be equal)."""
    worst = 0.0
    for value, a, b in zip(graph.outputs, got, want, strict=True):
        dtype = graph.types[value][1]
        if not dtype.is_floating_point:
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        if not np.array_equal(np.isfinite(x), np.isfinite(y)):
            return float("inf")
        scale = max(1.0, float(np.abs(y[np.isfinite(y)]).max(initial=0.0)))
        error = float(np.abs(x - y)[np.isfinite(y)].max(initial=0.0))
        worst = max(worst, error / scale / TOLERANCE[dtype.name])
    return worst


if __name__ == "__main__":
    sys.exit(main())
