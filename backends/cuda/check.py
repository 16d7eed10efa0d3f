"""The GPU check: `python -m lamina.backends.cuda.check --all` compiles, emulates, launches, compares and measures, and writes a report.

Every section runs in a process of its own with a time limit, so none takes another one along: a kernel that fails leaves its
process's device unusable. The section goes on in another process behind what failed, hung or crashed. The report is written again after each. Without a GPU everything but the launch is done, and the
sections that need one say so. In a checkout the tests and PyTorch's side of the measurements run, too.

`--visit 10` is a short visit to a GPU: what needs one, within ten minutes, while all processors compile what comes next. `--go-on` is another one: what the
report has is kept, and what had no time or was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...dialects.errors import BackendError, LaminaError
from ...dialects.graph import Graph
from . import check_answers, check_kernels, check_layouts, check_prepare, check_speed, check_tools, confirmation
from .check_programs import PROGRAMS, CheckProgram
from .check_report import MOST_WASTED, RESTART_SECONDS, DeviceLost, Report, Section, write_whole
from .device import Device, native_arch
from .runtime import Runtime

ARCHITECTURES = ("sm_80", "sm_90a", "sm_90a_wgmma", "sm_100a")


@dataclass(frozen=True)
class Part:
    """A section of the check. run(section, chosen); seconds: its limit; usual: it is also run without --all.

    patience: seconds one item may take; least: what of a visit's time is left to it by those before; 0: it is no part of a visit.
    """

    title: str
    run: Callable[[Section, Chosen], None]
    seconds: int
    usual: bool = False
    patience: float = 90
    least: int = 0


class Chosen:
    """What the command line asks for, and what there is."""

    def __init__(self, options: argparse.Namespace) -> None:
        only = None if options.only is None else options.only.split("|")
        chosen, whole = [p for p in PROGRAMS if only is None or any(text in p.name for text in only)], options.all or options.visit
        self.programs: Sequence[CheckProgram] = chosen if whole or options.only else chosen[:5]
        self.measured = check_speed.MEASURED if whole and options.only is None else ()
        self.architectures: Sequence[str] = options.arch or ARCHITECTURES
        self.options = options

    def targets(self) -> Sequence[str]:
        """What is compiled for: the GPU where there is one."""
        if self.options.arch:
            return self.options.arch
        try:
            return [gpu.device.arch for gpu in self.gpus()]
        except BackendError:
            return ("sm_90a", "sm_90a_wgmma")

    def jobs(self) -> list[tuple[str, check_prepare.Job]]:
        """What the sections that need a GPU want compiled."""
        return check_prepare.jobs_of(self.wanted(), self.targets(), steps=bool(self.measured))

    def wanted(self) -> list[tuple[Graph, str]]:
        """What the sections that need a GPU run there: programs, and how they multiply float32."""
        found = [(p.make(size), p.f32) for p in (*self.programs, *self.measured) for size in (p.small, p.large)]
        found += [(layout.graph(), "tf32") for layout in check_layouts.LAYOUTS]
        found += [(case.graph, "tf32") for case in confirmation.cases()]
        return [*found, *([(check_speed.chained_products(check_speed.KERNELS), "ieee")] if self.measured else [])]

    def gpus(self) -> list[Runtime]:
        """The GPU, and once more with products on warpgroups where it has them, but those left out. BackendError says why there is none."""
        first = Device()
        wide = native_arch(first.compute, wgmma=True) != native_arch(first.compute)
        found = [first, *([Device(wgmma=True)] if wide else [])]
        wanted = [device for device in found if device.arch not in self.options.without]
        if not wanted:
            raise BackendError("no GPU can be used: whatever ran there crashed or hung", help="look at the sections before")
        return [Runtime(device) for device in wanted]


PARTS: dict[str, Part] = {
    "machine": Part("The machine", lambda s, c: check_tools.machine(s), 60, True, least=10),
    "layouts": Part("What the hardware does", lambda s, c: check_layouts.layouts(s, c.gpus()), 180, True, patience=45, least=20),
    "launched": Part("Launched, against numpy", lambda s, c: check_kernels.launched(s, c.programs, c.gpus()), 300, True, patience=45, least=30),
    "products": Part("Products", lambda s, c: check_speed.products(s, c.gpus()), 120, least=15),
    "attention": Part("Attention", lambda s, c: check_speed.attention_rows(s, c.gpus()), 180, least=15),
    "nests": Part("Fused nests against the copy rate", lambda s, c: check_speed.nests(s, c.gpus()), 120, least=15),
    "replay": Part("Launch overhead of a replayed program", lambda s, c: check_speed.replay(s, c.gpus()), 120, least=15),
    "peers": Part("Against PyTorch", lambda s, c: check_tools.peers(s, c.gpus), 2400, patience=check_tools.PEER_SECONDS, least=240),
    "sanitizer": Part("compute-sanitizer", lambda s, c: check_tools.sanitizer(s, c.gpus, c.options.without), 1200, patience=check_tools.SANITIZER_SECONDS + 20, least=60),
    "timed": Part("The programs at large sizes", lambda s, c: check_kernels.timed(s, c.programs, c.gpus()), 300, least=15),
    "prepared": Part("Cubins for a machine with a GPU", lambda s, c: check_prepare.prepared(s, c.jobs(), _command("--worker")(c.options)), 3600),
    "steps": Part("Training steps, compiled", lambda s, c: check_tools.steps(s), 1200, patience=check_tools.PEER_SECONDS + 20),
    "compiled": Part("Compiled at the large size", lambda s, c: check_kernels.compiled(s, [*c.programs, *c.measured], c.architectures), 900, True, patience=300),
    "emulated": Part("Emulated, against numpy", lambda s, c: check_kernels.emulated(s, c.programs, c.architectures), 600, True, patience=300),
    "interpreted": Part("PTX, interpreted by the manual, against numpy", lambda s, c: check_kernels.interpreted(s, c.programs, c.architectures), 2400, patience=600),
    "tests": Part("The test suite of the GPU backend", lambda s, c: check_tools.tests(s), 1500, patience=1500),
}
"""In the order of a short visit to a GPU: what needs it comes first, what is right before what is fast."""

WHILE_COMPILING = ("machine", "layouts", "launched")
"""Sections of a visit that measure nothing: other processors compile meanwhile."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 when everything that could be done here agrees."""
    options = _parser().parse_args(arguments)
    if options.alone is not None or options.worker is not None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it started is ended on the way out
    if options.worker is not None:
        check_prepare.work(Chosen(options).jobs(), options.worker)
        return 0
    if options.alone is not None:
        run_alone(options.alone, Chosen(options), options.into)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what a section has by then goes into the report
    report = Report(Path(options.report), check_answers.text)
    options.begun = report.earlier() if options.go_on else {}
    if options.visit is not None:
        _visit(report, options, time.monotonic() + 60 * options.visit)
    else:
        for name in options.section or [name for name, part in PARTS.items() if options.all or part.usual]:
            report.add(_done(name, options) or in_own_process(name, options, PARTS[name].seconds, report.add))
    print(report.text())
    print(f"written: {report.path} and {report.path.with_suffix('.json')}")
    return 1 if report.failures else 0


def _visit(report: Report, options: argparse.Namespace, end: float) -> None:
    """The sections that need a GPU until a time; what is compiled for them is compiled beside the first ones."""
    names = options.section or [name for name, part in PARTS.items() if part.least]
    for section in [found for name in names if (found := _done(name, options))]:
        report.add(section)
        names = [name for name in names if name != section.name]
    share = min(1.0, 30 * options.visit / max(1, sum(PARTS[name].least for name in names)))  # of a short visit half is left to later sections
    found: list[Section] = []
    compiling = threading.Thread(target=lambda: found.append(in_own_process("prepared", options, end - time.monotonic() - 5)), daemon=True)
    compiling.start()
    for k, name in enumerate(names):
        if name not in WHILE_COMPILING and not found:
            compiling.join(max(0.0, min(0.4 * (end - time.monotonic()), 180)))
        if found and found[0] not in report.sections:
            report.add(found[0])
        left = end - time.monotonic() - share * sum(PARTS[later].least for later in names[k + 1 :])
        if left < 5:
            report.add(Section(name, PARTS[name].title, "skipped", "no time was left"))
            continue
        report.add(in_own_process(name, options, min(left, PARTS[name].seconds), report.add))
        options.without = [kind for kind in {k for s in report.sections for k in s.wasted} if kind and report.wasted(kind) > MOST_WASTED]
    compiling.join()
    if found[0] not in report.sections:
        report.add(found[0])


def _done(name: str, options: argparse.Namespace) -> Section | None:
    """A section an earlier report has whole."""
    found = options.begun.get(name)
    return found if found is not None and found.status == "done" else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lamina.backends.cuda.check", description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every section, every program (default: the first five programs, nothing measured)")
    parser.add_argument("--visit", type=float, metavar="MINUTES", help="what needs a GPU, all of it, within so many minutes")
    parser.add_argument("--only", metavar="TEXT", help="programs whose name contains a text, or one of several: a|b")
    parser.add_argument("--section", action="append", choices=PARTS, help="only these sections")
    parser.add_argument("--report", metavar="FILE", default="cuda-report.md", help="where the report goes; the same as JSON beside it")
    parser.add_argument("--arch", action="append", help="architectures to compile for (default: sm_80, sm_90a, sm_90a_wgmma, sm_100a; sm_90a_p114 for a GPU of 114 processors)")
    parser.add_argument("--without", action="append", default=[], metavar="TARGET", help="a target that is not run")
    parser.add_argument("--go-on", action="store_true", help="keep what the report has whole; sections that were stopped go on where they were")
    parser.set_defaults(begun={})
    parser.add_argument("--alone", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return parser


def _command(*words: str) -> Callable[[argparse.Namespace], list[str]]:
    """This program again, with the same choice of programs."""

    def made(options: argparse.Namespace) -> list[str]:
        command = [sys.executable, "-m", "lamina.backends.cuda.check", *["--all"] * bool(options.all)]
        command += [] if options.visit is None else ["--visit", str(options.visit)]
        command += [] if options.only is None else ["--only", options.only]
        given = (("--arch", options.arch or ()), ("--without", options.without))
        return [*command, *(word for option, values in given for value in values for word in (option, value)), *words]

    return made


def run_alone(name: str, chosen: Any, into: Path | None) -> Section:
    """One section in this process. What it cannot do is in the section, not raised."""
    part = PARTS[name]
    section = Section(name, part.title)
    if into is not None and into.exists():  # begun by an earlier process
        section = Section.from_json(json.loads(into.read_text(encoding="utf-8")))
    section.why, section.file = "the process ended", into
    section.keep()
    start = time.perf_counter()
    try:
        part.run(section, chosen)
        if section.status != "skipped":
            section.status, section.why = "done", ""
    except DeviceLost as lost:
        section.why = f"{lost} left the device without use"
    except LaminaError as error:
        first = str(error).splitlines()[0]
        if first.startswith("no GPU can be used"):
            section.skip(first)
        else:
            section.why = str(error)
    except Exception as error:  # whatever it is: it belongs into the report
        section.why = f"{type(error).__name__}: {error}"
    section.seconds += time.perf_counter() - start
    section.keep()
    return section


def in_own_process(name: str, options: argparse.Namespace, seconds: float, cut: Callable[[Section], None] = lambda section: None) -> Section:
    """One section in a process of its own; what it wrote before it failed or ran out of time stays.

    An item that takes the process along (or longer than it may) is a failure, and another process begins behind it. What an earlier report has of it stands at
    its beginning. cut: gets what there is if this process itself is asked to end.
    """
    part, end = PARTS[name], time.monotonic() + seconds
    print(f"{part.title} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="lamina-check-") as folder:
        into = Path(folder) / "section.json"
        command = _command("--alone", name, "--into", str(into))(options)
        if (earlier := options.begun.get(name)) is not None and earlier.at is not None:
            write_whole(into, json.dumps(replace(earlier, first=earlier.at[0], at=None, lost=False).as_json()))
        while True:
            begun = time.monotonic()
            try:
                done = check_tools.run(command, end - begun, progress=into, patience=part.patience)
            except SystemExit:
                cut(replace(_written(into, name), status="stopped", why="the check was asked to end"))
                raise
            section = _written(into, name)
            if section.status != "stopped":
                return section
            if done.timed_out:
                section.why = f"no end after {time.monotonic() - begun:.0f} s"
            words = [f"last words: {line}" for line in done.output.splitlines()[-5:]]
            if section.at is None or time.monotonic() > end - 1:
                section.why += f", at {section.at[1]}" if section.at is not None else ""
                section.notes += words
                return section
            number, item, kind = section.at
            section.wasted[kind] = section.wasted.get(kind, 0.0) + (part.patience if done.timed_out else RESTART_SECONDS)
            if not section.lost:
                section.fail(item, "; ".join([section.why, *words]))
            section.at, section.first, section.lost = None, number + 1, False
            write_whole(into, json.dumps(section.as_json()))


def _written(into: Path, name: str) -> Section:
    """What a section's process has written."""
    if into.exists():
        return Section.from_json(json.loads(into.read_text(encoding="utf-8")))
    return Section(name, PARTS[name].title, why="the process did not start")


if __name__ == "__main__":
    sys.exit(main())
