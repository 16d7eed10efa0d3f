"""The GPU check: `python -m lamina.backends.cuda.check --all` compiles, emulates, launches, compares and measures, and writes a report.

Every section runs in a process of its own with a time limit, so none takes another one along: a kernel that fails leaves its
process's device unusable. The report is written again after each. Without a GPU everything but the launch is done, and the
sections that need one say so. In a checkout the tests and PyTorch's side of the measurements run, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...dialects.errors import LaminaError
from ...dialects.graph import Graph
from . import check_kernels, check_layouts, check_speed, check_tools
from .check_programs import PROGRAMS, CheckProgram
from .check_report import Report, Section
from .device import Device, native_arch
from .runtime import Runtime

ARCHITECTURES = ("sm_80", "sm_90a", "sm_90a_wgmma", "sm_100a")


@dataclass(frozen=True)
class Part:
    """A section of the check. run(section, chosen); seconds: its limit; usual: it is also run without --all."""

    title: str
    run: Callable[[Section, Chosen], None]
    seconds: int
    usual: bool = False


class Chosen:
    """What the command line asks for, and what there is."""

    def __init__(self, options: argparse.Namespace) -> None:
        chosen = [p for p in PROGRAMS if options.only is None or options.only in p.name]
        self.programs: Sequence[CheckProgram] = chosen if options.all or options.only else chosen[:5]
        self.measured = check_speed.MEASURED if options.all and options.only is None else ()
        self.architectures: Sequence[str] = options.arch or ARCHITECTURES
        self.targets: Sequence[str] = options.arch or ("sm_90a", "sm_90a_wgmma")

    def wanted(self) -> list[tuple[Graph, str]]:
        """What the sections that need a GPU run there: programs, and how they multiply float32."""
        found = [(p.make(size), p.f32) for p in (*self.programs, *self.measured) for size in (p.small, p.large)]
        found += [(layout.graph(), "tf32") for layout in check_layouts.LAYOUTS]
        return [*found, *([(check_speed.chained_products(check_speed.KERNELS), "ieee")] if self.measured else [])]

    def gpus(self) -> list[Runtime]:
        """The GPU, and once more with products on warpgroups where it has them. BackendError says why there is none."""
        first = Device()
        wide = native_arch(first.compute, wgmma=True) != native_arch(first.compute)
        return [Runtime(first), *([Runtime(Device(wgmma=True))] if wide else [])]


PARTS: dict[str, Part] = {
    "machine": Part("The machine", lambda s, c: check_tools.machine(s), 60, True),
    "layouts": Part("What the hardware does", lambda s, c: check_layouts.layouts(s, c.gpus()), 180, True),
    "launched": Part("Launched, against numpy", lambda s, c: check_kernels.launched(s, c.programs, c.gpus()), 300, True),
    "products": Part("Products", lambda s, c: check_speed.products(s, c.gpus()), 120),
    "nests": Part("Fused nests against the copy rate", lambda s, c: check_speed.nests(s, c.gpus()), 120),
    "attention": Part("Attention", lambda s, c: check_speed.attention_rows(s, c.gpus()), 180),
    "replay": Part("Launch overhead of a replayed program", lambda s, c: check_speed.replay(s, c.gpus()), 120),
    "peers": Part("Against PyTorch", lambda s, c: check_tools.peers(s, c.gpus), 900),
    "sanitizer": Part("compute-sanitizer", lambda s, c: check_tools.sanitizer(s, c.gpus), 600),
    "timed": Part("The programs at large sizes", lambda s, c: check_kernels.timed(s, c.programs, c.gpus()), 300),
    "prepared": Part("Cubins for a machine with a GPU", lambda s, c: check_tools.prepared(s, c.wanted(), c.targets), 3600),
    "steps": Part("Training steps, compiled", lambda s, c: check_tools.steps(s), 1200),
    "compiled": Part("Compiled at the large size", lambda s, c: check_kernels.compiled(s, [*c.programs, *c.measured], c.architectures), 900, True),
    "emulated": Part("Emulated, against numpy", lambda s, c: check_kernels.emulated(s, c.programs, c.architectures), 600, True),
    "interpreted": Part("PTX, interpreted by the manual, against numpy", lambda s, c: check_kernels.interpreted(s, c.programs, c.architectures), 2400),
    "tests": Part("The test suite of the GPU backend", lambda s, c: check_tools.tests(s), 1500),
}
"""In the order of a short visit to a GPU: what needs it comes first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 when everything that could be done here agrees."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.alone is not None:
        run_alone(options.alone, Chosen(options), options.into)
        return 0
    names = options.section or [name for name, part in PARTS.items() if options.all or part.usual]
    report = Report(Path(options.report))
    for name in names:
        print(f"{PARTS[name].title} ...", file=sys.stderr, flush=True)
        report.add(in_own_process(name, options))
    print(report.text())
    print(f"written: {report.path} and {report.path.with_suffix('.json')}")
    return 1 if report.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lamina.backends.cuda.check", description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every section, every program (default: the first five programs, nothing measured)")
    parser.add_argument("--only", metavar="TEXT", help="programs whose name contains a text")
    parser.add_argument("--section", action="append", choices=PARTS, help="only these sections")
    parser.add_argument("--report", metavar="FILE", default="cuda-report.md", help="where the report goes; the same as JSON beside it")
    parser.add_argument("--arch", action="append", help="architectures to compile for (default: sm_80, sm_90a, sm_90a_wgmma, sm_100a; sm_90a_p114 for a GPU of 114 processors)")
    parser.add_argument("--alone", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    return parser


def run_alone(name: str, chosen: Any, into: Path | None) -> Section:
    """One section in this process. What it cannot do is in the section, not raised."""
    part = PARTS[name]
    section = Section(name, part.title, why="the process ended", file=into)
    section.keep()
    start = time.perf_counter()
    try:
        part.run(section, chosen)
        if section.status != "skipped":
            section.status, section.why = "done", ""
    except LaminaError as error:
        first = str(error).splitlines()[0]
        if first.startswith("no GPU can be used"):
            section.skip(first)
        else:
            section.why = str(error)
    except Exception as error:  # whatever it is: it belongs into the report
        section.why = f"{type(error).__name__}: {error}"
    section.seconds = time.perf_counter() - start
    section.keep()
    return section


def in_own_process(name: str, options: argparse.Namespace) -> Section:
    """One section in a process of its own; what it wrote before it failed or ran out of time stays."""
    with tempfile.TemporaryDirectory(prefix="lamina-check-") as folder:
        into = Path(folder) / "section.json"
        command = [sys.executable, "-m", "lamina.backends.cuda.check", "--alone", name, "--into", str(into)]
        command += ["--all"] * options.all + ["--only", options.only] * (options.only is not None)
        command += [word for arch in options.arch or () for word in ("--arch", arch)]
        limit = PARTS[name].seconds
        done = check_tools.run(command, limit)
        section = Section(name, PARTS[name].title, why="the process did not start")
        if into.exists():
            section = Section.from_json(json.loads(into.read_text(encoding="utf-8")))
        if section.status == "stopped":
            section.why = f"no end after {limit} s" if done.timed_out else section.why
            section.notes += [f"last words: {line}" for line in done.output.splitlines()[-5:]]
        return section


if __name__ == "__main__":
    sys.exit(main())
