"""Rows of benchmarks/peers.py with the cost model's plans and with measured ones: fastest rounds, and their ratio.

    python benchmarks/tuning.py [ROW ...] [--tune 60] [--processes 3] [--rounds 9] [--folder DIR]

Each side has a cache folder of its own; the second one is tuned first, in a process of its own. Then processes of both take turns, one thread
each, processor time. Ratios below 1: tuning made it faster.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROWS = ("matmul 256", "matmul 512", "matmul 1024", "matmul 2048", "ResNet-50", "MobileNetV2", "MLP train", "GPT train")


def run(row: str, cache: Path, rounds: int, tune: float = 0.0) -> tuple[float, str]:
    """Seconds of the fastest round of a process, and what it says about tuning."""
    environment = os.environ | {"LAMINA_CACHE": str(cache), "LAMINA_TUNE": str(tune), "LAMINA_SHOW": "tune"}
    command = [sys.executable, str(HERE / "peer_run.py"), row, "--peers", "lamina", "--rounds", str(rounds), "--least", "0.15", "--cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{row}: {done.stderr[-1000:]}")
    return min(json.loads(done.stdout.splitlines()[-1])["seconds"]["lamina"]), done.stderr


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("rows", nargs="*", default=list(ROWS))
    options.add_argument("--tune", type=float, default=60.0, help="seconds for each row")
    options.add_argument("--processes", type=int, default=3)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--folder", help="keep the caches here")
    arguments = options.parse_args()
    print(f"{'':20} {'untuned ms':>11} {'tuned ms':>10} {'ratio':>6}  other plans")
    with tempfile.TemporaryDirectory(prefix="lamina-tuning-") as temporary:
        folder = Path(arguments.folder or temporary)
        for row in arguments.rows:
            sides = [folder / row.replace(" ", "-") / side for side in ("untuned", "tuned")]
            for side in sides:
                side.mkdir(parents=True, exist_ok=True)
            _, said = run(row, sides[1], 1, arguments.tune)
            other, same = said.count(" -> "), said.count("as planned")
            turns = [[run(row, side, arguments.rounds)[0] for side in sides] for _ in range(arguments.processes)]
            old, new = (min(times) for times in zip(*turns, strict=True))
            print(f"{row:20} {1e3 * old:11.3f} {1e3 * new:10.3f} {new / old:6.3f} {other:4} of {other + same}", flush=True)


if __name__ == "__main__":
    main()
