"""all_reduce and a training step of DistributedDataParallel in two processes: lamina beside PyTorch's gloo.

    python benchmarks/distributed.py [--rounds 5] [--sizes 1,4,16,64]

Each round starts two processes of either in turn; a figure is the least of all rounds, on rank 0: processor time of the whole process, and wall time, which
on a busy machine is mostly that of waiting for the other process to be let in. One thread each. PyTorch's columns are missing where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

PEERS = ("lamina", "torch")


Times = dict[str, tuple[float, float]]


class Clock:
    """The least processor and wall seconds of what is timed."""

    def __init__(self) -> None:
        self.least = float("inf"), float("inf")

    def __enter__(self) -> None:
        self.start = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        now = time.process_time(), time.perf_counter()
        self.least = tuple(min(best, b - a) for best, a, b in zip(self.least, self.start, now, strict=True))


def all_reduce_times(torch: Any, megabytes: list[int]) -> Times:
    """Seconds of one all_reduce of so many MB of float32."""
    found = {}
    for size in megabytes:
        tensor = torch.ones(size * 2**18)
        clock = Clock()
        for _ in range(5 + 64 // size):
            torch.distributed.barrier()
            with clock:
                torch.distributed.all_reduce(tensor)
            tensor = torch.ones(size * 2**18)
        found[f"all_reduce, {size} MB"] = clock.least
    return found


def step_times(torch: Any) -> Times:
    """Seconds of one training step: a perceptron of 4.2 million parameters, a small CNN with batch norms."""
    nn = torch.nn
    wide = nn.Sequential(nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10))
    layers: list[Any] = [nn.Conv2d(3, 32, 3, padding=1)]
    for _ in range(4):
        layers += [nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    cnn = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    cases = {"perceptron, batch 64": (wide, torch.randn(64, 784)), "CNN with batch norms, batch 16": (cnn, torch.randn(16, 3, 32, 32))}
    found = {}
    for name, (module, x) in cases.items():
        y = torch.randint(0, 10, (len(x),))
        for kind, model in (("alone", module), ("DDP", torch.nn.parallel.DistributedDataParallel(module))):
            optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
            clock = Clock()
            for _ in range(25):
                torch.distributed.barrier()
                with clock:
                    loss = nn.functional.cross_entropy(model(x), y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    loss.item()
            found[f"step of the {name}, {kind}"] = clock.least
    return found


def work(peer: str, sizes: list[int]) -> None:
    """What one of the two processes does; rank 0 prints what it measured."""
    if peer == "lamina":
        import lamina as torch
    else:
        import torch
        import torch.distributed
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    found = {**all_reduce_times(torch, sizes), **step_times(torch)}
    if torch.distributed.get_rank() == 0:
        print(json.dumps(found))
    torch.distributed.destroy_process_group()


def measured(peer: str, sizes: str) -> Times:
    """One run of two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--worker", peer, "--sizes", sizes]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "LAMINA_THREADS": "1"}
    pair = [subprocess.Popen(command, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True) for rank in range(2)]
    out = [process.communicate(timeout=600)[0] for process in pair]
    if any(process.returncode for process in pair):
        raise SystemExit(f"{peer} failed")
    return json.loads(out[0].splitlines()[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="1,4,16,64")
    parser.add_argument("--worker", choices=PEERS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, [int(size) for size in options.sizes.split(",")])
        return
    peers = [peer for peer in PEERS if peer == "lamina" or importlib.util.find_spec("torch")]
    best: dict[str, Times] = {peer: {} for peer in peers}
    for _ in range(options.rounds):
        for peer in peers:
            for name, seconds in measured(peer, options.sizes).items():
                best[peer][name] = tuple(map(min, seconds, best[peer].get(name, seconds)))
    columns = [(peer, kind) for kind in (0, 1) for peer in peers]
    print(f"{'two processes, one thread each; ms':<50}" + "".join(f"{f'{peer} ' + ('processor', 'wall')[kind]:>18}" for peer, kind in columns))
    for name in best["lamina"]:
        print(f"{name:<50}" + "".join(f"{best[peer][name][kind] * 1e3:>18.2f}" for peer, kind in columns))


if __name__ == "__main__":
    main()
