"""Sections of the GPU check that run other programs: what machine this is, the test suite, compute-sanitizer, PyTorch's side."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ...dialects.errors import BackendError
from ...dialects.graph import Graph
from ...dialects.target import with_f32
from ..cache import cache_folder
from . import nvrtc
from .check_kernels import prepare
from .check_report import Section
from .device import Device

ROOT = Path(__file__).resolve().parents[2]
SANITIZER_PLACES = ("/usr/local/cuda/bin/compute-sanitizer", "/usr/local/cuda/compute-sanitizer/compute-sanitizer")
SANITIZED = ("elementwise", "softmax", "sums", "matmul f32", "matmul bf16", "attention bf16, depth 64", "MLP training step")
"""Programs under compute-sanitizer: one for each way threads share memory."""
PEER_SECONDS = 180
STEP_TARGETS = ("sm_80", "sm_90a", "sm_90a_wgmma")


@dataclass(frozen=True)
class Ran:
    """A program that ran. output: both streams, together."""

    code: int
    output: str
    timed_out: bool = False


def run(command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Ran:
    """A command with a time limit; after it, it and all it started are ended."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment, cwd=folder,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
        return Ran(process.returncode, output)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return Ran(-9, output, True)


def machine(section: Section) -> None:
    """What everything else was done on."""
    notes = section.notes
    notes.append(f"host: {platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    found = nvrtc.version() if nvrtc.available() else None
    notes.append(f"NVRTC: {found or 'not there: pip install lamina[cuda]'}")
    for package in ("cuda-bindings", "torch", "numpy"):
        try:
            notes.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            notes.append(f"{package}: not installed")
    try:
        device = Device()
    except BackendError as error:
        notes.append(f"GPU: none ({str(error).splitlines()[0]}); what needs one is not done")
        return
    notes.append(f"GPU: {device.name}, compute capability {device.compute / 10}, {device.processors} processors, {device.total_bytes >> 20} MiB")
    if shutil.which("nvidia-smi"):
        asked = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu"
        told = run(["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"], 20)
        notes.append(f"nvidia-smi ({asked}): {told.output.strip()}")


def tests(section: Section) -> None:
    """tests/cuda and the frontend's GPU tests, where this is a checkout."""
    if not (ROOT / "tests" / "cuda").is_dir():
        section.skip("the tests are in the repository only")
        return
    places = ["tests/cuda", "tests/pyfront/test_cuda.py"]
    done = run([sys.executable, "-m", "pytest", *places, "-q", "-p", "no:cacheprovider"], 1400, folder=ROOT)
    lines = done.output.strip().splitlines()
    section.notes += [lines[-1] if lines else "no output"]
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            section.fail("pytest", line)
        elif line.startswith("SKIPPED"):
            section.notes.append(line)
    if done.timed_out or done.code and not section.failures:
        section.fail("pytest", f"ended with {done.code}")


def sanitizer(section: Section, gpus: Callable[[], Any]) -> None:
    """memcheck and racecheck on the programs at their small sizes."""
    tool = shutil.which("compute-sanitizer") or next((p for p in SANITIZER_PLACES if Path(p).exists()), None)
    gpus()  # says so where there is none
    if tool is None:
        section.skip("compute-sanitizer was not found (it comes with the CUDA toolkit)")
        return
    section.table("tool", "program", "verdict")
    for kind in ("memcheck", "racecheck"):
        for program in SANITIZED:
            inner = [sys.executable, "-m", "lamina.backends.cuda.check", "--alone", "launched", "--only", program]
            done = run([tool, "--tool", kind, "--error-exitcode", "99", "--print-limit", "5", *inner], 90)
            found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: [^\n]*", done.output)
            verdict = "no end" if done.timed_out else found[-1] if found else f"ended with {done.code}"
            section.row(kind, program, verdict)
            if done.code:
                section.fail(f"{kind}, {program}", verdict)


def peers(section: Section, gpus: Callable[[], Any]) -> None:
    """benchmarks/gpu_peers.py, a row at a time: kernels and training steps against PyTorch where it is installed with CUDA."""
    script = ROOT / "benchmarks" / "gpu_peers.py"
    gpus()
    if not script.exists():
        section.skip("the benchmarks are in the repository only")
        return
    listed = run([sys.executable, str(script), "--list"], 60)
    section.table("row", "lamina, ms", "PyTorch eager, ms", "torch.compile, ms", "eager / lamina", "compile / lamina", "goal")
    for name in listed.output.splitlines() if not listed.code else []:
        done = run([sys.executable, str(script), name], PEER_SECONDS)
        lines = [line for line in done.output.splitlines() if line.startswith("{")]
        if not lines:
            words = "no end" if done.timed_out else (done.output.strip().splitlines() or ["no output"])[-1]
            section.fail(name, words[:300])
            continue
        found = json.loads(lines[-1])
        for peer, words in found["failed"].items():
            section.fail(name, f"{peer}: {words}") if peer == "lamina" else section.notes.append(f"{name}, {peer}: {words}")
        ms = found["ms"]
        ours, eager, compiled = (ms.get(peer) for peer in ("lamina", "eager", "compile"))
        shares = [theirs / ours if ours and theirs else "" for theirs in (eager, compiled)]
        section.row(name, *(x if x is not None else "" for x in (ours, eager, compiled)), *shares, found["goal"])
    if listed.code:
        section.fail("benchmarks/gpu_peers.py", (listed.output.strip().splitlines() or ["no output"])[-1])


def steps(section: Section) -> None:
    """benchmarks/gpu_steps.py: the training steps without a GPU, for several architectures."""
    script = ROOT / "benchmarks" / "gpu_steps.py"
    if not script.exists():
        section.skip("the benchmarks are in the repository only")
        return
    listed = run([sys.executable, str(script), "--list"], 60)
    section.table("step", "target", "launches", "kernels", "GFLOP", "wgmma, %", "mma.sync, %", "fma, %", "16-byte accesses, % of other bytes", "spills", "seconds")
    for name in listed.output.splitlines() if not listed.code else []:
        for arch in STEP_TARGETS:
            done = run([sys.executable, str(script), name, "--arch", arch], PEER_SECONDS)
            lines = [line for line in done.output.splitlines() if line.startswith("{")]
            if not lines:
                section.fail(f"{name}, {arch}", "no end" if done.timed_out else (done.output.strip().splitlines() or ["no output"])[-1][:300])
                continue
            found = json.loads(lines[-1])
            shares = [f"{100 * found['shares'][way]:.1f}" for way in ("wgmma", "mma.sync", "fma")]
            wide = f"{100 * found['wide']:.1f}" if "wide" in found else ""
            told = [found.get(key, "") for key in ("spills", "seconds")]
            section.row(name, arch, found.get("launches", ""), found.get("kernels", ""), found["gflop"], *shares, wide, *told)
            if found.get("spills"):
                section.fail(f"{name}, {arch}", f"{found['spills']} bytes of spills")
    if listed.code:
        section.fail("benchmarks/gpu_steps.py", (listed.output.strip().splitlines() or ["no output"])[-1])


def prepared(section: Section, wanted: Sequence[tuple[Graph, str]], targets: Sequence[str]) -> None:
    """Cubins of all programs and training steps in the disk cache: a machine with a GPU that is given the cache compiles nothing.

    wanted: programs, each with how it multiplies float32.
    """
    section.notes.append(f"the cache: {cache_folder()}")
    section.table("target", "programs", "compiled now", "seconds")
    for target in targets:
        start = time.perf_counter()
        made = sum(prepare(graph, with_f32(target, f32)) for graph, f32 in wanted)
        section.row(target, len(wanted), made, time.perf_counter() - start)
    script = ROOT / "benchmarks" / "gpu_steps.py"
    for target in targets if script.exists() else ():
        done = run([sys.executable, str(script), "--prepare", "--arch", target], 6 * PEER_SECONDS)
        if done.code:
            section.fail(f"training steps, {target}", (done.output.strip().splitlines() or ["no output"])[-1][:300])
