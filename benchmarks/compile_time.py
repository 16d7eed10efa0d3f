"""Seconds to the first result, in fresh processes: with an empty cache (cold) and with a filled one (warm).

    python benchmarks/compile_time.py [--rounds 3]

Programs: a training step of the digits CNN (batch 64) and ResNet-18 inference (batch 1, 224 x 224). Counted: the first
call, from recording to the number on the Python side; and inside it, what the driver spent per stage.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np


def digits_step() -> None:
    import lamina
    from digits_step import stepper

    generator = np.random.default_rng(0)
    step = stepper(lamina, generator.standard_normal((64, 1, 28, 28), dtype=np.float32), generator.integers(0, 10, 64))
    timed(step)


def resnet18_inference() -> None:
    import lamina
    from models import resnet18

    model = resnet18(lamina).eval()
    x = lamina.randn(1, 3, 224, 224)

    def call() -> float:
        with lamina.no_grad():
            return model(x).sum().item()

    timed(call)


def timed(call) -> None:
    from lamina.backends import driver

    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    stages = " ".join(f"{k}={v:.2f}" for k, v in driver.stats.seconds.items())
    print(f"{first:.3f} compiled={driver.stats.compiles} disk={driver.stats.disk_hits} {stages}")


PROGRAMS = {"digits_step": digits_step, "resnet18_inference": resnet18_inference}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--program", choices=PROGRAMS)
    arguments = options.parse_args()
    if arguments.program:
        PROGRAMS[arguments.program]()
        return
    for name in PROGRAMS:
        seconds: dict[str, list[float]] = {"cold": [], "warm": []}
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as cache:
                for kind in seconds:
                    command = [sys.executable, __file__, "--program", name]
                    environment = dict(os.environ, LAMINA_CACHE=cache)
                    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
                    seconds[kind].append(float(out.split()[0]))
                    print(f"  {name} {kind}: {out.strip()}")
        for kind, values in seconds.items():
            print(f"{name} {kind}: median {statistics.median(values):.2f} s (min {min(values):.2f}, max {max(values):.2f})")


if __name__ == "__main__":
    main()
