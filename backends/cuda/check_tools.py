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
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from ...dialects.errors import BackendError
from . import nvrtc
from .check_report import Section
from .device import Device

ROOT = Path(__file__).resolve().parents[2]
SANITIZER_PLACES = ("/usr/local/cuda/bin/compute-sanitizer", "/usr/local/cuda/compute-sanitizer/compute-sanitizer")
SANITIZED = ("elementwise", "softmax", "sums", "matmul f32", "matmul bf16", "attention bf16, depth 64", "MLP training step")
"""Programs under compute-sanitizer: one for each way threads share memory."""
PEER_SECONDS, SANITIZER_SECONDS, GRACE_SECONDS = 180, 240, 3
MOST_TOLD = 10
"""Lines of what compute-sanitizer found."""
STEP_TARGETS = ("sm_80", "sm_90a", "sm_90a_wgmma")


@dataclass(frozen=True)
class Ran:
    """A program that ran. output: both streams, together."""

    code: int
    output: str
    timed_out: bool = False


def run(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None, folder: Path | None = None,
    progress: Path | None = None, patience: float = float("inf"),
) -> Ran:  # fmt: skip
    """A command with a time limit; after it, it and all it started are ended. progress: a file that changes at least every `patience` seconds."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True)
        try:
            in_time = _ends(process, seconds, progress, patience)
        finally:
            _end(process)
        output.seek(0)
        text = output.read().decode(errors="replace")
        return Ran(process.returncode if in_time else -9, text, not in_time)


def _ends(process: subprocess.Popen[bytes], seconds: float, progress: Path | None, patience: float) -> bool:
    """Whether a process ends by itself."""
    end, seen, since = time.monotonic() + seconds, None, time.monotonic()
    while time.monotonic() < end:
        try:
            process.wait(min(0.5, max(0.01, end - time.monotonic())))
            return True
        except subprocess.TimeoutExpired:
            now = progress.stat().st_mtime_ns if progress is not None and progress.exists() else None
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > patience:
                return False
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and what it started. It is asked first: what it started itself this way has a group of its own, which it ends."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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


def sanitizer(section: Section, gpus: Callable[[], Any], without: Sequence[str] = ()) -> None:
    """memcheck and racecheck on the programs at their small sizes, all in one process each: to begin one takes longest. without: targets left out."""
    tool = shutil.which("compute-sanitizer") or next((p for p in SANITIZER_PLACES if Path(p).exists()), None)
    gpus()  # says so where there is none
    left_out = [word for arch in without for word in ("--without", arch)]
    if tool is None:
        section.skip("compute-sanitizer was not found (it comes with the CUDA toolkit)")
        return
    section.table("tool", "programs", "verdict")
    inner = [sys.executable, "-m", "lamina.backends.cuda.check", "--alone", "launched", "--only", "|".join(SANITIZED), *left_out]
    for kind in section.each((k, k) for k in ("memcheck", "racecheck")):
        done = run([tool, "--tool", kind, "--error-exitcode", "99", "--print-limit", "5", *inner], SANITIZER_SECONDS)
        found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: [^\n]*", done.output)
        verdict = "no end" if done.timed_out else found[-1] if found else f"ended with {done.code}"
        section.row(kind, ", ".join(SANITIZED), verdict)
        if done.code:
            told = re.findall(r"=========\s+((?:Error|Warning|Invalid|Race|Internal|at |Target)[^\n]*)", done.output)[:MOST_TOLD]
            section.fail(kind, "; ".join([verdict, *told]))


def peers(section: Section, gpus: Callable[[], Any]) -> None:
    """benchmarks/gpu_peers.py, a row at a time: kernels and training steps against PyTorch where it is installed with CUDA."""
    script = ROOT / "benchmarks" / "gpu_peers.py"
    wgmma = any(gpu.device.wgmma for gpu in gpus())
    if not script.exists():
        section.skip("the benchmarks are in the repository only")
        return
    sys.path.insert(0, str(script.parent))
    bench = import_module(script.stem)
    section.table("row", "lamina, ms", "its products by", "PyTorch eager, ms", "torch.compile, ms", "eager / lamina", "compile / lamina", "goal")
    for row in section.each(bench.rows().items(), lambda _: _is_lost()):
        try:
            failed = bench.measure(row, lambda found, name=row.name: section.place(_peers_row(name, found)), wgmma)
        except Exception as error:  # whatever PyTorch or a step says: it belongs into the report
            section.fail(row.name, f"{type(error).__name__}: {error}"[:300])
            continue
        for peer, words in failed.items():
            section.fail(row.name, f"{peer}: {words}") if peer.startswith("lamina") else section.note(f"{row.name}, {peer}: {words}")


def _is_lost() -> bool:
    try:
        return Device().is_lost()
    except BackendError:
        return True


def _peers_row(name: str, found: Mapping[str, Any]) -> list[Any]:
    """What is known of a row so far: it may not have come to all of its peers."""
    ms = found["ms"]
    ways = {way: ms[peer] for peer, way in (("lamina", "mma.sync"), ("lamina, wgmma", "wgmma")) if peer in ms}
    best = min(ways, key=lambda way: ways[way]) if ways else ""
    ours, eager, compiled = ways.get(best), ms.get("eager"), ms.get("compile")
    shares = [theirs / ours if ours and theirs else "" for theirs in (eager, compiled)]
    by = best if len(ways) < 2 else ", ".join(f"{way} ({t:.4g} ms)" for way, t in sorted(ways.items(), key=lambda pair: pair[1]))
    return [name, *(x if x is not None else "" for x in (ours, by, eager, compiled)), *shares, found["goal"]]


def steps(section: Section) -> None:
    """benchmarks/gpu_steps.py: the training steps without a GPU, for several architectures."""
    script = ROOT / "benchmarks" / "gpu_steps.py"
    if not script.exists():
        section.skip("the benchmarks are in the repository only")
        return
    listed = run([sys.executable, str(script), "--list"], 60)
    section.table("step", "target", "launches", "kernels", "GFLOP", "wgmma, %", "mma.sync, %", "fma, %", "16-byte accesses, % of other bytes", "spills", "seconds")
    names = listed.output.splitlines() if not listed.code else []
    for name, arch in section.each((f"{n}, {a}", (n, a)) for n in names for a in STEP_TARGETS):
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
