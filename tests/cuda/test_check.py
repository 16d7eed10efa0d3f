"""The GPU check: its sections on a driver that runs the kernels on emulated threads, and what is left when one of them fails."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from needs import needs_emulation, needs_nvdisasm, needs_nvrtc

from fake_driver import FakeDriver, install

import lamina
from lamina.backends.cuda import check, check_kernels, check_prepare, check_speed, check_tools, disassembly, nvrtc
from lamina.backends.cuda.check_programs import PROGRAMS
from lamina.backends.cuda.check_report import DeviceLost, Report, Section, write_whole
from lamina.backends.cuda.check_shares import shares, wide_share
from lamina.backends.cuda.device import Device
from lamina.backends.cuda.program import build
from lamina.backends.cuda.runtime import Runtime
from lamina.backends.cuda.units import read_modules
from lamina.dialects import flags
from lamina.dialects.errors import BackendError
from lamina.pyfront import recorder



@pytest.fixture
def gpus(monkeypatch) -> list[Runtime]:
    install(monkeypatch, FakeDriver())
    return [Runtime(Device())]


def section() -> Section:
    return Section("a", "A section")


# Measuring, on the driver that notes every call (its clock counts calls)


@needs_emulation
@pytest.mark.slow
def test_nests_are_held_against_the_copy_rate(gpus, monkeypatch) -> None:
    monkeypatch.setattr(check_speed, "NESTS", check_speed.NESTS[:2])
    made = section()
    check_speed.nests(made, gpus, "small")
    (table,) = made.tables
    assert [row[0] for row in table.rows] == [row.name for row in check_speed.NESTS] and "copy of" in made.notes[0]
    assert all(row[3] > 0 and row[5] > 0 and "0.90" in row[6] for row in table.rows) and not made.failures


@needs_emulation
@pytest.mark.slow
def test_adam_of_many_arrays_is_measured_as_one_launch(gpus, monkeypatch) -> None:
    monkeypatch.setattr(check_speed, "NESTS", check_speed.NESTS[3:])
    made = section()
    check_speed.nests(made, gpus, "small")
    assert made.tables[0].rows[0][2] <= 5  # the update of 24 arrays, and the numbers they share


@pytest.mark.slow
@needs_emulation
def test_replay_counts_the_launches(gpus) -> None:
    made = section()
    check_speed.replay(made, gpus, "small")
    assert made.tables[0].rows[0][1] == 100 and made.tables[0].rows[0][2] > 0


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("measure, count", [(check_speed.products, 7), (check_speed.attention_rows, 4)])
def test_rates(gpus, measure, count: int) -> None:
    made = section()
    measure(made, gpus, "small")
    assert len(made.tables[0].rows) == count and not made.failures
    assert all(isinstance(cell, float) and cell > 0 for row in made.tables[0].rows for cell in row[3:5])


@needs_emulation
def test_programs_are_launched_captured_and_replayed(gpus) -> None:
    made = section()
    check_kernels.launched(made, PROGRAMS[:1], gpus)
    assert made.tables[0].rows[0][:3] == ["elementwise", "sm_90a_p4", 37] and not made.failures


@needs_emulation
def test_a_program_that_fails_on_the_device_is_a_row(monkeypatch) -> None:
    install(monkeypatch, FakeDriver(fails_at="k0"))
    made = section()
    with pytest.raises(DeviceLost, match="elementwise"):  # nothing else can be done in this process
        check_kernels.launched(made, PROGRAMS[:2], [Runtime(Device())])
    assert made.tables[0].rows[0][-1] == "failed" and "unspecified launch failure" in made.failures[0]
    assert made.lost and made.at == [0, "elementwise, sm_90a_p4", "sm_90a_p4"] and len(made.failures) == 1


def test_the_machine(gpus) -> None:
    made = section()
    check_tools.machine(made)
    assert any("Fake GPU, compute capability 9.0, 4 processors" in note for note in made.notes)


# Without a GPU


@pytest.mark.parametrize("name", ["launched", "products", "nests", "attention", "replay", "peers", "sanitizer", "timed"])
def test_a_section_that_needs_a_gpu_says_so(name: str) -> None:
    try:
        Device()
    except BackendError:
        chosen = check.Chosen(check._parser().parse_args(["--only", "elementwise"]))
        made = check.run_alone(name, chosen, None)
        assert made.status == "skipped" and made.why.startswith("no GPU can be used")
    else:
        pytest.skip("this machine has a GPU")


@needs_nvrtc
@pytest.mark.slow
def test_every_measured_program_compiles() -> None:
    made = section()
    check_kernels.compiled(made, check_speed.MEASURED, ["sm_90a"])
    assert len(made.tables[0].rows) == len(check_speed.MEASURED) and not made.failures


# Sections that fail, and the report


def test_what_was_done_before_a_failure_stays(tmp_path, monkeypatch) -> None:
    def breaks(section: Section, chosen: object) -> None:
        section.table("n")
        section.row(1)
        raise ValueError("the third row")

    monkeypatch.setitem(check.PARTS, "nests", check.Part("Broken", breaks, 5))
    made = check.run_alone("nests", SimpleNamespace(), tmp_path / "s.json")
    again = Section.from_json(json.loads((tmp_path / "s.json").read_text()))
    assert made.status == again.status == "stopped" and again.tables[0].rows == [[1]] and "ValueError: the third row" in again.why


def test_a_section_that_takes_its_process_along(tmp_path, monkeypatch, capsys) -> None:
    def run(command: list[str], seconds: float, **rest: object) -> check_tools.Ran:
        into = Path(command[command.index("--into") + 1])
        if "launched" in command:
            half = Section("launched", "Half", why="the process ended")
            half.table("n")
            half.row("first")
            write_whole(into, json.dumps(half.as_json()))
            return check_tools.Ran(-11, "line\nSegmentation fault")
        if "nests" in command:
            return check_tools.Ran(-9, "", True)
        write_whole(into, json.dumps(Section("machine", "Whole", "done").as_json()))
        return check_tools.Ran(0, "")

    monkeypatch.setattr(check_tools, "run", run)
    path = tmp_path / "report.md"
    assert check.main(["--section", "launched", "--section", "nests", "--section", "machine", "--report", str(path)]) == 1
    text, data = path.read_text(), json.loads(path.with_suffix(".json").read_text())
    assert "| first |" in text and "last words: Segmentation fault" in text and "no end after" in text and "## Whole" in text
    assert [s["status"] for s in data] == ["stopped", "stopped", "done"] and data[0]["tables"][0]["rows"] == [["first"]]
    assert "written" in capsys.readouterr().out and not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_a_command_ends_when_its_time_is_over() -> None:
    done = check_tools.run([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"], 2)
    assert done.timed_out and "begun" in done.output


@pytest.mark.slow
def test_a_command_without_progress_ends_and_takes_along_what_it_started(tmp_path) -> None:
    """What a section starts has a process group of its own; it ends with it."""
    pid = tmp_path / "pid"
    inner = f"import os, time, pathlib; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"
    code = (
        "import signal, sys\nfrom lamina.backends.cuda import check_tools\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"check_tools.run([sys.executable, '-c', {inner!r}], 60)"
    )
    done = check_tools.run([sys.executable, "-c", code], 60, progress=pid, patience=6)
    assert done.timed_out
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_section_goes_on_where_an_earlier_process_ended(tmp_path) -> None:
    first = Section("a", "A section", file=tmp_path / "s.json")
    first.table("n")
    first.note("once")
    for item in first.each([("one", 1), ("two", 2), ("three", 3)]):
        if item == 2:
            break  # the process is gone
        first.row(item)
    again = Section.from_json(json.loads((tmp_path / "s.json").read_text()))
    assert again.at == [1, "two", ""]
    again.first = again.at[0] + 1
    again.table("n")
    again.note("once")
    for item in again.each([("one", 1), ("two", 2), ("three", 3)]):
        again.row(item)
    assert [t.rows for t in again.tables] == [[[1], [3]]] and again.notes == ["once"] and again.at is None


def test_another_visit_goes_on_with_the_report(tmp_path, monkeypatch) -> None:
    """One that was asked to end within its second section, another one behind it."""
    path, begun = tmp_path / "r.md", []

    def run(command: list[str], seconds: float, **rest: object) -> check_tools.Ran:
        name, into = (command[command.index(word) + 1] for word in ("--alone", "--into"))
        begun.append(name)
        made = Section(name, name, why="the process ended")
        if Path(into).exists():
            made = Section.from_json(json.loads(Path(into).read_text()))
        made.file = Path(into)
        made.table("n")
        for n in made.each((str(n), n) for n in range(4)):
            if name == "timed" and n == 2 and begun.count("timed") == 1:
                raise SystemExit(143)
            made.row(n)
        made.status = "done"
        made.keep()
        return check_tools.Ran(0, "")

    monkeypatch.setattr(check_tools, "run", run)
    monkeypatch.setattr(check.signal, "signal", lambda *_: None)
    words = ["--section", "launched", "--section", "timed", "--section", "replay", "--report", str(path)]
    with pytest.raises(SystemExit):
        check.main(words)
    rows = [[t["rows"] for t in s["tables"]] for s in json.loads(path.with_suffix(".json").read_text())]
    assert rows == [[[[0], [1], [2], [3]]], [[[0], [1]]]] and "asked to end" in path.read_text()
    assert check.main([*words, "--go-on"]) == 0 and begun == ["launched", "timed", "timed", "replay"]
    made = Report(path).earlier()
    assert [s.tables[0].rows for s in made.values()] == [[[0], [1], [2], [3]]] * 3 and list(made) == ["launched", "timed", "replay"]
    check.main([*words, "--go-on", "--visit", "1"])
    assert begun == ["launched", "timed", "timed", "replay", "prepared"]  # what is compiled is looked for each time
    check.main(words)
    assert len(begun) == 8


def test_what_wastes_too_much_is_left_out(tmp_path, monkeypatch) -> None:
    """Items of one kind that all hang: a few, and the others' come; the sections behind are begun without that kind."""
    commands = []

    def run(command: list[str], seconds: float, **rest: object) -> check_tools.Ran:
        commands.append(command)
        into = Path(command[command.index("--into") + 1])
        made = Section("launched", "L", why="the process ended")
        if into.exists():
            made = Section.from_json(json.loads(into.read_text()))
        made.file = into
        made.table("n")
        items = [(f"{n}, {kind}", (n, kind)) for n in range(20) for kind in ("fine", "hangs")]
        for n, kind in made.each(items, kind=lambda item: item[1]):
            if kind == "hangs" and "launched" in command:
                return check_tools.Ran(-9, "", True)
            made.row(n, kind)
        made.status = "done"
        made.keep()
        return check_tools.Ran(0, "")

    monkeypatch.setattr(check_tools, "run", run)
    options = check._parser().parse_args(["--visit", "10", "--section", "launched", "--section", "timed", "--report", str(tmp_path / "r.md")])
    report = Report(tmp_path / "r.md")
    check._visit(report, options, time.monotonic() + 600)
    launched, timed = (next(s for s in report.sections if s.name == "launched"), commands[-1])
    assert [row[1] for row in launched.tables[0].rows] == ["fine"] * 20 and len(launched.failures) == 3  # of 45 s each
    assert "nothing more of it was tried" in launched.notes[0] and launched.status == "done"
    assert timed[timed.index("--without") + 1] == "hangs" and "timed" in timed


def test_targets_that_are_left_out(monkeypatch) -> None:
    install(monkeypatch, FakeDriver())
    archs = [gpu.device.arch for gpu in check.Chosen(check._parser().parse_args([])).gpus()]
    assert archs == ["sm_90a_p4", "sm_90a_wgmma_p4"]
    left = [word for arch in archs for word in ("--without", arch)]
    assert [g.device.arch for g in check.Chosen(check._parser().parse_args(left[2:])).gpus()] == archs[:1]
    with pytest.raises(BackendError, match="crashed or hung"):
        check.Chosen(check._parser().parse_args(left)).gpus()


@pytest.mark.parametrize("minutes", [0.5, 10])
def test_a_visit_leaves_time_to_all_of_its_sections(minutes: float, monkeypatch, tmp_path) -> None:
    """Sections that take all they may, and compiling that does not end in time: the clock is the test's own."""
    now, given = [0.0], {}

    def in_own_process(name, options, seconds, cut=None):
        if name != "prepared":
            now[0] += seconds
            given[name] = seconds
        return Section(name, name, "done")

    monkeypatch.setattr(check, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(check, "in_own_process", in_own_process)
    report = Report(tmp_path / "r.md")
    check._visit(report, check._parser().parse_args(["--visit", str(minutes)]), 60 * minutes)
    assert now[0] <= 60 * minutes and given["machine"] > 4
    wanted = [name for name, part in check.PARTS.items() if part.least]
    assert (list(given) == wanted) if minutes == 10 else len(given) >= 2
    assert {s.name for s in report.sections} == {*wanted, "prepared"}


def test_jobs_are_done_once_and_failures_are_told(tmp_path) -> None:
    done: list[int] = []

    def fails() -> bool:
        raise ValueError("no\nmore")

    jobs = [("a", lambda: not done.append(0)), ("b", fails), ("c", lambda: bool(done.append(2)))]
    (tmp_path / "0.begun").touch()  # another process has it
    check_prepare.work(jobs, tmp_path)
    check_prepare.work(jobs, tmp_path)
    told = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert done == [2] and told == {"1.json": {"made": False, "error": "ValueError: no"}, "2.json": {"made": False, "error": ""}}


def test_without_nvrtc_nothing_is_compiled(monkeypatch) -> None:
    def absent() -> None:
        raise RuntimeError("no libnvrtc")

    monkeypatch.setattr(nvrtc, "_bindings", lambda: SimpleNamespace(nvrtcVersion=absent))
    made = section()
    check_prepare.prepared(made, [("one", lambda: True)], [sys.executable, "-c", "raise SystemExit(1)"])
    assert made.status == "skipped" and not made.failures
    with pytest.raises(BackendError, match="NVRTC cannot be loaded: no libnvrtc"):
        nvrtc.version()


@needs_nvrtc
def test_jobs_whose_process_ends_are_failures() -> None:
    """Processes that do the first job and end in the second."""
    code = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); (p / '0.json').write_text('{\"made\": true, \"error\": \"\"}')"
    made = section()
    check_prepare.prepared(made, [("one", lambda: True), ("two", lambda: True)], [sys.executable, "-c", code])
    assert made.failures == ["two: its process ended"] and made.tables[0].rows[0][2] == 1


def test_a_row_of_peers_is_told_as_far_as_it_came(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(check_tools.ROOT / "benchmarks"))
    import gpu_peers

    lost: list[bool] = []

    def clock(calls: int) -> float:
        if lost:
            raise BackendError("the device is lost")
        return 2.0

    def breaks(calls: int) -> float:
        lost.append(True)
        raise BackendError("a kernel failed\nsomewhere")

    lines: list[dict] = []
    row = gpu_peers.Row("≥ 1", lambda once: 1, lambda found: lines.append(json.loads(json.dumps(found))))
    row.add("lamina", lambda: clock)
    row.add("lamina, wgmma", lambda: breaks)
    row.in_turn()
    assert lines[0] == {"ms": {"lamina": 2.0}, "failed": {}, "goal": "≥ 1"}
    assert lines[-1]["ms"] == {"lamina": 2.0} and lines[-1]["failed"] == {
        "lamina, wgmma": "BackendError: a kernel failed", "in turn": "BackendError: the device is lost",
    }


def test_a_report_says_what_was_not_done(tmp_path) -> None:
    report = Report(tmp_path / "r.md")
    left = section()
    left.skip("no GPU")
    report.add(left)
    assert not report.failures and "not done: A section (no GPU)" in report.path.read_text()


def test_peers_are_rows_that_stay_as_far_as_they_came(monkeypatch, tmp_path) -> None:
    """One that is whole, one that ends the process behind its first peer, one that raises: another process goes on behind each."""
    names, ended = ("one", "two", "three", "four"), []

    def measure(row: SimpleNamespace, told, wgmma: bool) -> dict[str, str]:
        if row.name == "three":
            raise RuntimeError("boom")
        told({"ms": {"lamina": 2.5}, "failed": {}, "goal": "≥ 1"})
        if row.name == "two" and not ended:
            raise SystemExit
        told({"ms": {"lamina": 2.5, "lamina, wgmma": 2.0, "eager": 3.0, "compile": 1.0}, "failed": {}, "goal": "≥ 1"})
        return {"lamina, wgmma": "bad", "compile": "slow"} if row.name == "four" else {}

    bench = SimpleNamespace(rows=lambda: {name: SimpleNamespace(name=name) for name in names}, measure=measure)
    monkeypatch.setattr(check_tools, "import_module", lambda name: bench)
    monkeypatch.setattr(check_tools, "_is_lost", lambda: False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    made = replace(section(), file=tmp_path / "s.json")
    with pytest.raises(SystemExit):
        check_tools.peers(made, lambda: [])
    made = replace(Section.from_json(json.loads((tmp_path / "s.json").read_text())), first=2)
    ended.append(True)
    check_tools.peers(made, lambda: [])
    whole = [2.0, "wgmma (2 ms), mma.sync (2.5 ms)", 3.0, 1.0, 1.5, 0.5, "≥ 1"]
    assert made.tables[0].rows == [["one", *whole], ["two", 2.5, "mma.sync", "", "", "", "", "≥ 1"], ["four", *whole]]
    assert made.failures == ["three: RuntimeError: boom", "four: lamina, wgmma: bad"] and made.notes == ["four, compile: slow"]


def test_the_sanitizers_verdicts(monkeypatch) -> None:
    commands = []

    def run(command: list[str], seconds: float, *rest: object) -> check_tools.Ran:
        commands.append(command)
        bad = "racecheck" in command
        words = "========= Error: Race reported between Write access at k0+0x40\n" if bad else ""
        return check_tools.Ran(99 if bad else 0, f"{words}========= ERROR SUMMARY: {int(bad)} errors")

    monkeypatch.setattr(check_tools, "run", run)
    monkeypatch.setattr(check_tools.shutil, "which", lambda name: name)
    made = section()
    check_tools.sanitizer(made, lambda: [], ["sm_90a"])
    assert [row[0] for row in made.tables[0].rows] == ["memcheck", "racecheck"] and made.tables[0].rows[0][2] == "ERROR SUMMARY: 0 errors"
    assert made.failures == ["racecheck: ERROR SUMMARY: 1 errors; Error: Race reported between Write access at k0+0x40"]
    chosen = check.Chosen(check._parser().parse_args(commands[0][commands[0].index("--only") :]))
    assert chosen.options.without == ["sm_90a"] and all(any(name in p.name for p in chosen.programs) for name in check_tools.SANITIZED) and len(chosen.programs) < len(PROGRAMS)


# The benchmark's training steps, small, on the emulated GPU


@needs_emulation
@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits_cnn", "gpt2"])
def test_training_steps_of_the_benchmark_run(name: str, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(check_tools.ROOT / "benchmarks"))
    import gpu_peers

    sizes = {"digits_cnn": {"batch": 2}, "gpt2": {"batch": 1, "time": 16, "layers": 1, "width": 48, "words": 40}}[name]
    try:
        with flags.cuda("emulated"):
            step = getattr(gpu_peers, name)(lamina, **sizes)
            for _ in range(2):
                step()
            lamina.cuda.synchronize()
    finally:
        recorder.flush()
        recorder.state.placement = None


SHARES = {
    ("matmul bf16", "sm_90a"): "mma.sync", ("matmul bf16", "sm_90a_wgmma"): "wgmma", ("matmul f32", "sm_90a"): "fma",
    ("attention bf16, depth 64", "sm_90a_wgmma"): "wgmma", ("attention f32 and gradients, depth 64", "sm_90a"): "fma",
}  # fmt: skip


@pytest.mark.parametrize("name, arch", SHARES, ids=str)
def test_shares_of_products(name: str, arch: str) -> None:
    (program,) = [p for p in PROGRAMS if p.name == name]
    n = 1024
    found = shares(program.make(n), arch)
    assert found.of(SHARES[name, arch]) == 1.0
    assert sum(found.flops.values()) >= (program.flops(n) or 1)


@needs_nvrtc
@needs_nvdisasm
def test_widths_of_accesses() -> None:
    (program,) = [p for p in PROGRAMS if p.name == "elementwise"]
    graph = program.make(1 << 10)
    accesses = disassembly.accesses(build(graph, "sm_90a").compiled.cubin)
    (widths,) = accesses.values()
    assert set(widths) == {"LDG.128", "STG.128"}
    moved = shares(graph, "sm_90a").moved
    assert wide_share(moved, accesses) == 1.0 and wide_share(moved, {}) == 0.0 and sum(moved.values()) == 3 * 4 * 64 << 10


@needs_nvrtc
def test_what_was_prepared_is_not_compiled_again(monkeypatch, tmp_path) -> None:
    """The disk cache of a machine without a GPU serves one with a GPU, where there need not be an NVRTC."""
    (program,) = [p for p in PROGRAMS if p.name == "elementwise"]
    graph, loaded = program.make(program.small), []
    with flags.cache(str(tmp_path)):
        assert check_kernels.prepare(graph, "sm_90a_p4") and not check_kernels.prepare(graph, "sm_90a_p4")
        install(monkeypatch, FakeDriver())
        gpu = Runtime(Device())
        monkeypatch.setattr(Device, "build", None)
        monkeypatch.setattr(Device, "kind", "gpu")
        monkeypatch.setattr(Device, "load", lambda self, folder, table: loaded.extend(read_modules(folder)))
        gpu._load(graph)
    assert gpu.compiles == 0 and loaded[0].cubin.startswith(b"\x7fELF")


def test_what_the_sections_run_is_prepared() -> None:
    chosen = check.Chosen(check._parser().parse_args(["--only", "matmul TF32, whole tiles"]))
    (program,) = chosen.programs
    assert chosen.wanted()[:2] == [(program.make(program.small), "tf32"), (program.make(program.large), "tf32")]
    assert all(f32 == "tf32" for _, f32 in chosen.wanted()) and {name.split(", ")[-1] for name, _ in chosen.jobs()} == set(chosen.targets())


@needs_nvrtc
def test_interpreted_programs_are_held_against_numpy() -> None:
    """Architectures of one PTX are one row; a program that is wrong, or breaks a rule, is a failure."""
    made, (program,) = section(), [p for p in PROGRAMS if p.name == "elementwise"]
    check_kernels.interpreted(made, [program], ["sm_80", "sm_90a"])
    assert [row[1] for row in made.tables[0].rows] == ["sm_80, sm_90a"] and not made.failures


@needs_nvrtc
def test_interpreted_programs_that_break_a_rule_are_failures(monkeypatch) -> None:
    (program,) = [p for p in PROGRAMS if p.name == "softmax"]
    real = check_kernels.build

    def without_barriers(graph, arch):
        whole = real(graph, arch)
        return replace(whole, compiled=replace(whole.compiled, ptx=re.sub(r"bar\.sync[^;]*;", "", whole.compiled.ptx)))

    monkeypatch.setattr(check_kernels, "build", without_barriers)
    made = section()
    check_kernels.interpreted(made, [program], ["sm_80"])
    assert any("a race" in str(failure) for failure in made.failures) and made.tables[0].rows[0][4] == "failed"
