"""all_reduce and a training step of DistributedDataParallel in two processes: lamina beside PyTorch's gloo.

    python benchmarks/distributed.py [--rounds 5] [--sizes 1,4,16,64]

Each round starts two processes of either in turn; a figure is the least of all rounds, in wall time: what two processes wait for is not
processor time. One thread each. PyTorch's column is empty where it is not installed.
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


def all_reduce_times(torch: Any, megabytes: list[int]) -> dict[str, float]:
    """Seconds of one all_reduce of so many MB of float32, the least of several."""
    found = {}
    for size in megabytes:
        tensor = torch.ones(size * 2**18)
        times = []
        for _ in range(5 + 64 // size):
            torch.distributed.barrier()
            start = time.perf_counter()
            torch.distributed.all_reduce(tensor)
            times.append(time.perf_counter() - start)
            tensor = torch.ones(size * 2**18)
        found[f"all_reduce, {size} MB"] = min(times)
    return found


def step_times(torch: Any) -> dict[str, float]:
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
            times = []
            for _ in range(25):
                torch.distributed.barrier()
                start = time.perf_counter()
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()
                times.append(time.perf_counter() - start)
            found[f"step of the {name}, {kind}"] = min(times)
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


def measured(peer: str, sizes: str) -> dict[str, float]:
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
    best: dict[str, dict[str, float]] = {peer: {} for peer in peers}
    for _ in range(options.rounds):
        for peer in peers:
            for name, seconds in measured(peer, options.sizes).items():
                best[peer][name] = min(seconds, best[peer].get(name, seconds))
    print(f"{'two processes, one thread each':<48}" + "".join(f"{peer:>12}" for peer in peers))
    for name in best["lamina"]:
        print(f"{name:<48}" + "".join(f"{best[peer][name] * 1e3:>9.2f} ms" for peer in peers))


if __name__ == "__main__":
    main()
