"""lamina profile: every kernel call is timed, its work is counted, the trace is Chrome's format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

import lamina
from lamina.backends import driver
from lamina.backends.executable import Quick
from lamina.backends.roof import Roof
from lamina.dialects.types import float32
from lamina.pyfront.command import main
from tests.digits_program import torch_from_lamina
from tests.graphs import Recorder

pytestmark = needs_compiler
RUNS = 3


def test_kernels_are_timed_and_their_work_is_counted(tmp_path: Path) -> None:
    r = Recorder()
    a, b = r.input((33, 20), float32), r.input((20, 16), float32)
    graph = r.graph(r("exp", r("matmul", a, b)))
    with driver.profiled(traced=True) as profiler:
        program = driver.compile_graph(graph)
    arrays = [np.ones(t[0], np.float32) for t in graph.inputs]
    for _ in range(RUNS):
        np.testing.assert_allclose(program(arrays)[0], np.exp(np.full((33, 16), 20.0, np.float32)), rtol=1e-5)
    lines = profiler.lines()
    assert sum(line.operations for line in lines) == 33 * 16 * 20 * 2 + 33 * 16
    assert max(line.bytes for line in lines) >= 4 * (33 * 20 + 20 * 16 + 33 * 16)
    assert [line.calls for line in lines] == [RUNS] * len(lines)
    assert all(0 <= line.fastest <= line.seconds for line in lines), lines
    assert [line.fastest for line in lines] == sorted((line.fastest for line in lines), reverse=True)  # equal numbers of calls
    assert any("contract" in line.what and "over 20" in line.what for line in lines)
    table = profiler.table(Roof(1e11, ((1 << 14, 1e11), (1 << 26, 1e10))))
    assert "GFLOP/s" in table and "%" in table
    count = profiler.write_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert count == RUNS * len(lines) and len(events) == count + RUNS
    assert all(event["ph"] == "X" and event["dur"] >= 0 for event in events)


def test_a_program_that_would_be_called_in_c_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quick, "library", None)
    driver.recording_libraries()
    assert Quick.library is not None
    r = Recorder()
    graph = r.graph(r("exp", r.input((33, 20), float32)))
    with driver.profiled() as profiler:
        program = driver.compile_graph(graph)
    for _ in range(RUNS):
        np.testing.assert_allclose(program([np.ones((33, 20), np.float32)])[0], np.full((33, 20), np.exp(1.0)), rtol=1e-5)
    assert [line.calls for line in profiler.lines()] == [RUNS]


def test_a_loop_is_one_line() -> None:
    with driver.profiled() as profiler:
        layer = lamina.nn.RNN(4, 6)
        y, _ = layer(lamina.ones(5, 3, 4))
        y.sum().item()
    (loop,) = [line for line in profiler.lines() if line.what.startswith("5 steps of ")]
    assert loop.operations >= 5 * 2 * 3 * 6 * 6 and "contract 3x6 over 6" in loop.what and loop.origin.startswith("test_profiler.py:")
    assert loop.seconds > 0


def test_the_least_time_is_the_longer_of_computing_and_moving() -> None:
    roof = Roof(1e9, ((1000, 1e9), (1000000, 1e8)))
    assert roof.seconds(5e9, 10) == 5.0
    assert roof.seconds(0, 1000) == pytest.approx(1e-6)
    assert roof.seconds(0, 1e8) == pytest.approx(1.0)


@pytest.mark.slow
def test_the_command_runs_a_script_and_reports_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text("import torch\nx = torch.ones(50, 50)\nfor _ in range(3):\n    print((x @ x).sum().item())\n")
    with torch_from_lamina():  # the command puts an import hook in place: it must go again
        assert main(["profile", "--trace", str(tmp_path / "t.json"), str(script)]) == 0
    out, err = capsys.readouterr()
    assert out.split() == ["125000.0"] * 3
    assert "train.py:4" in err and "roof of one thread" in err and (tmp_path / "t.json").exists()
