"""ResNet-18 inference (batch 1, 224 x 224): lamina on one and on two threads against PyTorch eager, interleaved in one process.

    python benchmarks/inference.py [--rounds 9]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from types import ModuleType

from models import resnet18
from side_by_side import interleave, table


def caller(torch: ModuleType, threads: int) -> Callable[[], float]:
    """One inference on so many threads, to a number on the Python side."""
    torch.manual_seed(0)
    model, x = resnet18(torch).eval(), torch.randn(1, 3, 224, 224)

    def call() -> float:
        torch.set_num_threads(threads)
        with torch.no_grad():
            return model(x).sum().item()

    return call


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=9)
    arguments = options.parse_args()

    import lamina
    import torch

    calls = {f"{name}, {n} threads": caller(m, n) for name, m in (("lamina", lamina), ("torch", torch)) for n in (1, 2)}
    values = {name: call() for name, call in calls.items()}
    print("  ".join(f"{name}: {value:.4f}" for name, value in values.items()))
    print(table(interleave(calls, rounds=arguments.rounds), "lamina, 1 threads"))


if __name__ == "__main__":
    main()
