"""SyncBatchNorm on two processes computes what a batch norm computes of both batches in one."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "guides")]

import pytest
from command_line import lamina
from pairs import run_pair
from programs_run import disagreements

PROGRAM = """
import os, torch, torch.nn as nn, torch.distributed as dist
together = "RANK" in os.environ
if together:
    dist.init_process_group("gloo")
rank, size = (dist.get_rank(), 2) if together else (0, 1)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4, affine=False, momentum=None), nn.Linear(4, 1))
if together:
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert type(net[1]) is nn.SyncBatchNorm and net[1].affine and not net[5].affine
    model = nn.parallel.DistributedDataParallel(net)
else:
    model = net
optimizer = torch.optim.SGD(model.parameters(), 0.2)
x, y = torch.randn(7, 2, 6, 6), torch.randn(7, 1)
rows = slice(0, 7) if not together else slice(0, 3) if rank == 0 else slice(3, 7)
for step in range(4):
    loss = ((model(x[rows]) - y[rows]) ** 2).sum() / 7 * size  # ranks with other numbers of rows: sums, not means
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print([f"{t.double().sum().item():.4f}" for t in net.state_dict().values()])
net.eval()
print(f"{net(x).sum().item():.4f}")
"""


@pytest.mark.slow
def test_two_processes_and_one(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf8")
    monkeypatch.delenv("RANK", raising=False)
    alone = lamina("run", "program.py", cwd=tmp_path)
    assert alone.status == 0, alone.err
    for outcome in run_pair(tmp_path / "program.py", folder=tmp_path):
        assert outcome.status == 0, outcome.err
        assert not disagreements(outcome.out, alone.out, 1e-3, 2e-4), (outcome.out, alone.out)
