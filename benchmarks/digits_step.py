"""A training step of the digits CNN (guide 004): lamina against PyTorch eager, interleaved in one process.

    python benchmarks/digits_step.py [--batch 64] [--threads 1] [--rounds 15]

Same seed, same batch, plain scripts on both sides; prints times, the ratio, and how far the losses part.
"""

from __future__ import annotations

import argparse
import time
from types import ModuleType

import numpy as np
from models import digits_cnn
from side_by_side import interleave, table


def stepper(torch: ModuleType, images: np.ndarray, labels: np.ndarray, seed: int = 0):
    """A function that makes one training step and returns the loss as a Python float."""
    torch.manual_seed(seed)
    model = digits_cnn(torch)
    model.train()
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    x, y = torch.from_numpy(images.copy()), torch.from_numpy(labels.copy())

    def step() -> float:
        outputs = model(x)
        loss = criterion(outputs, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--rounds", type=int, default=15)
    arguments = options.parse_args()

    import lamina
    import torch

    lamina.set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    generator = np.random.default_rng(0)
    images = generator.standard_normal((arguments.batch, 1, 28, 28), dtype=np.float32)
    labels = generator.integers(0, 10, arguments.batch)

    theirs = stepper(torch, images, labels)
    ours = stepper(lamina, images, labels)
    start = time.perf_counter()
    first = ours()
    print(f"first step of this process: {time.perf_counter() - start:.2f} s, loss {first:.6f} (PyTorch {theirs():.6f})")
    parted = max(abs(ours() - theirs()) for _ in range(20))
    print(f"largest difference of the losses over steps 2..21: {parted:.2e}")
    print(table(interleave({"lamina": ours, "torch eager": theirs}, rounds=arguments.rounds), "lamina"))
    from lamina.backends import driver

    print(f"programs compiled {driver.stats.compiles}, from disk {driver.stats.disk_hits}")


if __name__ == "__main__":
    main()
