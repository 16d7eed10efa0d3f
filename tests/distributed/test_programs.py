"""Programs on two processes print what PyTorch's gloo prints: recorded, and compared with PyTorch itself by the slow tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "guides")]

from command_line import lamina
from needs import needs_emulation
from pairs import HERE, PROGRAMS, expected_file, joined, run_pair
from programs_run import disagreements


@pytest.mark.parametrize("program", [p if p.stem == "messages" else pytest.param(p, marks=pytest.mark.slow) for p in PROGRAMS], ids=lambda p: p.stem)
@pytest.mark.slow
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
    for _ in range(3):  # PyTorch's own processes sometimes abort or time out on a busy machine
        outcomes = run_pair(program, folder=tmp_path, under="torch")
        if not any(outcome.status for outcome in outcomes):
            break
    wrong = disagreements(expected_file(program).read_text(encoding="utf8"), joined(outcomes), 1e-4, 1e-5)
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_two_processes_train_as_one_does_on_whole_batches(tmp_path: Path) -> None:
    done = lamina("run", HERE / "programs" / "data_parallel.py", "alone", cwd=tmp_path)
    assert done.status == 0, done.err
    alone = done.out.splitlines()
    together = expected_file(HERE / "programs" / "data_parallel.py").read_text(encoding="utf8").splitlines()[1 : 1 + len(alone)]
    assert len(alone) == 4
    assert not disagreements("\n".join(together), "\n".join(alone), 1e-4, 1e-5)


ON_GPUS = """
import torch, torch.distributed as dist, torch.nn as nn
dist.init_process_group(backend="nccl", init_method="env://")
rank = torch.distributed.get_rank()
torch.cuda.set_device(0)
t = torch.ones(3, device="cuda") * (rank + 1)
dist.all_reduce(t)
print(dist.get_backend(), t.tolist(), t.device)
model = nn.Linear(4, 2).cuda(0)
model = nn.parallel.DistributedDataParallel(model, device_ids=[0])
model(torch.ones(1, 4, device="cuda") * (rank + 1)).sum().backward()
print(model.module.weight.grad.tolist(), model.module.weight.grad.device)
"""


@pytest.mark.slow
@needs_emulation
def test_tensors_of_gpus_go_by_way_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CUDA", "emulated")
    (tmp_path / "program.py").write_text(ON_GPUS, encoding="utf8")
    for outcome in run_pair(tmp_path / "program.py", folder=tmp_path, timeout=400):
        assert outcome.status == 0, outcome.err
        assert outcome.out.splitlines() == ["nccl [3.0, 3.0, 3.0] cuda:0", "[[1.5, 1.5, 1.5, 1.5], [1.5, 1.5, 1.5, 1.5]] cuda:0"]
