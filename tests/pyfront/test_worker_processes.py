"""Worker processes: PyTorch's order and random numbers, errors that name the worker, and nothing left behind."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from needs import needs_fork

import lamina
from lamina.pyfront import data as ours

pytestmark = needs_fork


class Numbers(ours.Dataset):
    """Calls `act(i)` for each sample."""

    def __init__(self, act: Any, n: int = 12) -> None:
        self.act, self.n = act, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        return self.act(i)


def alive(pids: set[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            os.kill(pid, 0)
            found.append(pid)
        except ProcessLookupError:
            pass
    return found


def test_samples_come_from_other_processes() -> None:
    pids = {int(p) for batch in ours.DataLoader(Numbers(lambda i: os.getpid()), 3, num_workers=2) for p in batch}
    assert len(pids) == 2 and os.getpid() not in pids
    assert not alive(pids)


def both(make: Any) -> None:
    torch = pytest.importorskip("torch")
    import torch.utils.data as theirs

    results = []
    for lib, module in ((lamina, ours), (torch, theirs)):
        lib.manual_seed(7)
        results.append((make(lib, module), lib.rand(2).tolist()))
    assert results[0] == results[1]


@pytest.mark.torch
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("workers, prefetch", [(1, 1), (3, 2)])
def test_order_and_random_numbers(persistent: bool, workers: int, prefetch: int) -> None:
    def run(lib: Any, module: Any) -> list:
        def act(i: int) -> list:
            info = module.get_worker_info()
            return [i, info.id, info.num_workers, lib.rand(1).item(), random.random(), np.random.rand()]

        loader = module.DataLoader(
            Numbers(act, 11), 2, shuffle=True, num_workers=workers, prefetch_factor=prefetch, collate_fn=list,
            persistent_workers=persistent, worker_init_fn=lambda i: lib.rand(i + 1),
        )  # fmt: skip
        return [list(loader) for _ in range(2)]

    both(run)


@pytest.mark.torch
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.slow
def test_streams(persistent: bool) -> None:
    def run(lib: Any, module: Any) -> list:
        class Stream(module.IterableDataset):
            def __iter__(self) -> Any:
                info = module.get_worker_info()
                return iter(range(10 * info.id, 10 * info.id + 3 * info.id + 2))

        loader = module.DataLoader(Stream(), 2, num_workers=3, persistent_workers=persistent)
        return [[batch.tolist() for batch in loader] for _ in range(2)]

    both(run)


def test_large_batches_and_all_dtypes() -> None:
    arrays = [np.arange(40000).reshape(200, 200).astype(t.numpy) for t in (lamina.float32, lamina.bfloat16, lamina.bool)]
    dataset = Numbers(lambda i: {"t": [lamina.from_numpy(a) if a.dtype.kind != "V" else a for a in arrays[::2]], "i": i, "s": "x"}, 4)
    (batch,) = ours.DataLoader(dataset, 4, num_workers=1)
    assert batch["i"].tolist() == [0, 1, 2, 3] and batch["s"] == ["x"] * 4
    for got, sent in zip(batch["t"], arrays[::2], strict=True):
        np.testing.assert_array_equal(got.numpy(), np.stack([sent] * 4))
    batch["t"][0].add_(1.0)


@pytest.mark.slow
def test_workers_compute_after_the_program_has() -> None:
    big = lamina.arange(300.0 * 300).view(300, 300)
    with lamina.no_grad():
        for _ in range(3):
            expected = (big @ big).sum().item()
    loader = ours.DataLoader(Numbers(lambda i: (big @ big).sum() + i, 4), 1, num_workers=2)
    np.testing.assert_allclose([b.item() for b in loader], [expected + i for i in range(4)], 1e-5)


class Odd(Exception):
    """Takes two arguments."""

    def __init__(self, a: Any, b: Any) -> None:
        super().__init__(a, b)


def test_errors_name_the_worker() -> None:
    def fail(i: int) -> int:
        if i == 5:
            raise KeyError("no such sample")
        return i

    def odd(i: int) -> int:
        raise Odd(1, 2)

    with pytest.raises(KeyError, match=r"worker process 1(.|\n)*no such sample"):
        list(ours.DataLoader(Numbers(fail), 3, num_workers=2))
    with pytest.raises(RuntimeError, match="Odd: Caught Odd in DataLoader worker process 0"):
        list(ours.DataLoader(Numbers(odd), 3, num_workers=2))
    with pytest.raises(ZeroDivisionError, match="worker process"):
        list(ours.DataLoader(Numbers(fail), 3, num_workers=2, worker_init_fn=lambda i: 1 / 0))
    with pytest.raises(Exception, match="worker process 0"):
        list(ours.DataLoader(Numbers(lambda i: lambda: i), 3, num_workers=1, collate_fn=list))


def test_a_dying_worker_is_named() -> None:
    def die(i: int) -> int:
        if i == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly: worker 1, .*SIGKILL"):
        list(ours.DataLoader(Numbers(die), 3, num_workers=2))
    with pytest.raises(RuntimeError, match="exit status 3"):
        list(ours.DataLoader(Numbers(lambda i: os._exit(3)), 3, num_workers=1))


@pytest.mark.slow
def test_timeout() -> None:
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="timed out after 0.2 seconds"):
        for _ in ours.DataLoader(Numbers(lambda i: time.sleep(1.0)), 1, num_workers=1, timeout=0.2):
            pass
    assert time.monotonic() - start < 20


@pytest.mark.slow
def test_leaving_early_leaves_no_process() -> None:
    loader = ours.DataLoader(Numbers(lambda i: os.getpid()), 2, num_workers=2, persistent_workers=True)
    first = {int(p) for p in next(iter(loader))}
    again = {int(p) for batch in loader for p in batch}
    assert first <= again and len(alive(again)) == 2  # they persist
    del loader
    gc.collect()
    assert not alive(again)
    for batch in ours.DataLoader(Numbers(lambda i: os.getpid()), 2, num_workers=2):
        pids = {int(p) for p in batch}
        break
    gc.collect()
    assert not alive(pids)


SCRIPT = """
import os, sys, time
from lamina.pyfront.data import DataLoader, Dataset
class Slow(Dataset):
    def __len__(self): return 100
    def __getitem__(self, i):
        os.write(1, f"{os.getpid()}\\n".encode())
        time.sleep(0.2)
        return i
for batch in DataLoader(Slow(), 1, num_workers=2):
    pass
"""


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.slow
def test_ctrl_c_leaves_no_process(with_signal: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    assert program.stdout is not None
    pids = {int(program.stdout.readline()) for _ in range(6)}
    program.send_signal(with_signal)
    program.wait(20)
    assert program.returncode != 0 and os.getpid() not in pids
    until = time.monotonic() + 10
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pids)
