"""`lamina run --nproc-per-node`, `torch.multiprocessing.spawn`, and how processes that fail end the others."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from command_line import ROOT, assert_plain, lamina
from pairs import free_port

PROGRAM = """
import os, sys, time
import torch
import torch.distributed as dist

for _ in range(2):  # twice at the same place
    dist.init_process_group()
    t = torch.ones(3) * dist.get_rank()
    dist.all_reduce(t, op=dist.ReduceOp.AVG)
    dist.barrier()
    dist.destroy_process_group()
dist.init_process_group()
rank = dist.get_rank()
open(f"out{rank}", "w").write(f"{t.tolist()} {sys.argv[1:]} {os.environ['LOCAL_RANK']} {os.environ['WORLD_SIZE']} {dist.is_torchelastic_launched()}")
if "fail" in sys.argv and rank == 1:
    raise ValueError("broken")
if "kill" in sys.argv and rank == 1:
    os.kill(os.getpid(), 9)
if "hang" in sys.argv and rank == 1:
    time.sleep(600)
if "exit" in sys.argv and rank == 1:
    sys.exit(5)
if "hang" in sys.argv:
    sys.exit(6)
dist.barrier()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf8")
    return path


@pytest.mark.slow
def test_processes_find_each_other(program: Path, tmp_path: Path) -> None:
    done = lamina("run", "--nproc-per-node", 2, "--threads", 1, program, "a", "--b", cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert [(tmp_path / f"out{rank}").read_text() for rank in range(2)] == [
        f"[0.5, 0.5, 0.5] ['a', '--b'] {rank} 2 True" for rank in range(2)
    ]


@pytest.mark.parametrize("how, status, text", [("kill", 137, "was killed by signal 9 (SIGKILL)")])
@pytest.mark.slow
def test_one_that_fails_ends_all(program: Path, tmp_path: Path, how: str, status: int, text: str) -> None:
    start = time.monotonic()
    done = lamina("run", "--nproc_per_node=2", program, how, cwd=tmp_path)
    assert done.status == status and "lamina: rank 1 (process" in done.err and f"{text}; the other processes were stopped" in done.err
    assert "Connection closed by peer: the process of rank 1 has ended" in done.err and "program.py" in done.err
    assert_plain(done.err)
    assert time.monotonic() - start < 60


@pytest.mark.slow
@pytest.mark.parametrize("how, status, text", [("fail", 1, "ended with exit status 1"), ("exit", 5, "ended with exit status 5"), ("hang", 6, "rank 0")])
def test_other_ways_to_fail(program: Path, tmp_path: Path, how: str, status: int, text: str) -> None:
    done = lamina("run", "--nproc-per-node", 2, program, how, cwd=tmp_path)
    assert done.status == status and text in done.err


@pytest.mark.slow
def test_two_machines(program: Path, tmp_path: Path) -> None:
    """Two launchers of one process each, as on two machines."""
    from concurrent.futures import ThreadPoolExecutor

    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(
            lambda i: lamina("run", "--nnodes", 2, "--node-rank", i, "--master-port", port, "--nproc-per-node", 1, program, cwd=tmp_path), range(2),
        ))  # fmt: skip
    assert [(one.status, one.err) for one in done] == [(0, ""), (0, "")]
    assert (tmp_path / "out1").read_text().startswith("[0.5, 0.5, 0.5]")


def test_options_that_do_not_fit(program: Path) -> None:
    done = lamina("run", "--nnodes", 2, program)
    assert done.status == 1 and "FileError: several machines need --master-addr and --master-port" in done.err


SPAWNING = """
import sys, time
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def work(rank, path, fails):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    t = torch.ones(2) * (rank + 1)
    dist.all_reduce(t)
    open(f"{path}.{rank}", "w").write(str(t))
    if fails and rank == 1:
        raise ValueError("broken")
    if fails:
        time.sleep(600)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, (sys.argv[1], False), nprocs=2)
    try:
        mp.spawn(work, (sys.argv[1] + "x", True), nprocs=2, start_method="fork")
    except mp.ProcessRaisedException as error:
        print(error.error_index, "Process 1 terminated with the following error" in str(error), "ValueError: broken" in str(error))
"""


@pytest.mark.slow
def test_spawn_under_lamina_run(tmp_path: Path) -> None:
    (tmp_path / "spawning.py").write_text(SPAWNING, encoding="utf8")
    done = lamina("run", "spawning.py", tmp_path / "meet", cwd=tmp_path)
    assert (done.status, done.out) == (0, "1 True True\n"), done.err
    assert [(tmp_path / f"meet.{rank}").read_text() for rank in range(2)] == ["tensor([3., 3.])"] * 2
    assert not (tmp_path / "meet").exists()


@pytest.mark.slow
def test_the_example_in_two_processes_and_in_one(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    script = ROOT / "examples" / "ddp.py"
    for name, options in (("two", ("--nproc-per-node", 2)), ("one", ())):
        done = lamina("run", *options, script, "--epochs", 2, "--losses", f"{name}.txt", "--weights", f"{name}.pt", cwd=tmp_path)
        assert done.status == 0 and "final score: 0.9" in done.out, done.err
    two, one = (np.loadtxt(tmp_path / f"{name}.txt") for name in ("two", "one"))
    np.testing.assert_allclose(two, one, rtol=1e-3)
