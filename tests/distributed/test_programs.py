"""Programs on two processes print what PyTorch's gloo prints: recorded, and compared with PyTorch itself by the slow tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "guides")]

from command_line import lamina
from pairs import HERE, PROGRAMS, expected_file, joined, run_pair
from programs_run import disagreements


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_prints_what_pytorch_prints(program: Path, tmp_path: Path) -> None:
    outcomes = run_pair(program, folder=tmp_path)
    assert [outcome.status for outcome in outcomes] == [0, 0], "\n".join(outcome.err for outcome in outcomes)
    wrong = disagreements(joined(outcomes), expected_file(program).read_text(encoding="utf8"), 1e-4, 1e-5)
    assert not wrong, "\n".join(wrong)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_recorded_output_is_pytorchs(program: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    outcomes = run_pair(program, folder=tmp_path, under="torch")
    wrong = disagreements(expected_file(program).read_text(encoding="utf8"), joined(outcomes), 1e-4, 1e-5)
    assert not wrong, "\n".join(wrong)


def test_two_processes_train_as_one_does_on_whole_batches(tmp_path: Path) -> None:
    done = lamina("run", HERE / "programs" / "data_parallel.py", "alone", cwd=tmp_path)
    assert done.status == 0, done.err
    alone = done.out.splitlines()
    together = expected_file(HERE / "programs" / "data_parallel.py").read_text(encoding="utf8").splitlines()[1 : 1 + len(alone)]
    assert len(alone) == 4
    assert not disagreements("\n".join(together), "\n".join(alone), 1e-4, 1e-5)
