"""A section of the GPU check that compiles what the others launch, side by side on all processors, into the disk cache."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...dialects import flags
from ...dialects.graph import Graph
from ...dialects.target import with_f32
from ..cache import cache_folder
from . import nvrtc
from .check_kernels import prepare
from .check_report import Section, write_whole
from .check_tools import PEER_SECONDS, ROOT, run

STEPS = ROOT / "benchmarks" / "gpu_steps.py"
Job = Callable[[], bool]
"""Compiles something; whether it was not there."""


def jobs_of(wanted: Sequence[tuple[Graph, str]], targets: Sequence[str], steps: bool) -> list[tuple[str, Job]]:
    """What is to be compiled, with a name each: training steps first, which take longest. wanted: programs, each with how it multiplies float32."""
    listed = run([sys.executable, str(STEPS), "--list"], 60) if steps and STEPS.exists() else None
    names = listed.output.splitlines() if listed is not None and not listed.code else []
    training = [(f"{name}, {target}", lambda name=name, target=target: _step(name, target)) for name in names for target in targets]
    programs = [
        (f"program {k}, {target}", lambda graph=graph, f32=f32, target=target: prepare(graph, with_f32(target, f32)))
        for k, (graph, f32) in enumerate(wanted) for target in targets
    ]  # fmt: skip
    return [*training, *programs]


def _step(name: str, target: str) -> bool:
    done = run([sys.executable, str(STEPS), name, "--prepare", "--arch", target], 3 * PEER_SECONDS)
    if done.code:
        raise RuntimeError((done.output.strip().splitlines() or ["no output"])[-1][:300])
    return True


def prepared(section: Section, jobs: Sequence[tuple[str, Job]], worker: Sequence[str]) -> None:
    """Cubins of all programs and training steps in the disk cache: a machine with a GPU that is given it compiles nothing.

    worker: the command that calls `work` on the same jobs in another process, without its folder, the last word.
    """
    section.note(f"the cache: {cache_folder()}")
    if not nvrtc.available():
        section.skip("NVRTC is not installed here")
        return
    section.table("compiled", "processes", "compiled now", "seconds")
    with tempfile.TemporaryDirectory(prefix="lamina-jobs-") as folder:
        start, count = time.perf_counter(), min(len(jobs), max(1, flags.available_processors() - 1))
        workers = [subprocess.Popen([*worker, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(count)]
        try:
            while any(w.poll() is None for w in workers):
                time.sleep(0.2)
                section.keep()  # it is alive
        finally:
            for w in workers:
                w.terminate()
        told = {int(path.stem): json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*.json")}
    for k, (name, _) in enumerate(jobs):
        if k not in told:
            section.fail(name, "its process ended")
        elif told[k]["error"]:
            section.fail(name, told[k]["error"])
    section.row(len(told), count, sum(found["made"] for found in told.values()), time.perf_counter() - start)


def work(jobs: Sequence[tuple[str, Job]], folder: Path) -> None:
    """Does what no other process has begun, until nothing is left. What came of a job is a file of its number."""
    for number, (_, job) in enumerate(jobs):
        try:
            (folder / f"{number}.begun").touch(exist_ok=False)
        except FileExistsError:
            continue
        made, error = False, ""
        try:
            made = job()
        except Exception as problem:  # whatever it is: it belongs into the report
            error = (f"{type(problem).__name__}: {problem}".splitlines() or [""])[0]
        write_whole(folder / f"{number}.json", json.dumps({"made": made, "error": error}))
