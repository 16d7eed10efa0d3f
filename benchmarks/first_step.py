"""Seconds of the first step after `import lamina`, with an empty cache and with a filled one.

    python benchmarks/first_step.py [ROW ...] [--rounds 3]

Rows are those of `peers.py`, each step in a process of its own; what is printed is the median of the rounds. Wall time is what somebody
waits; processor seconds say the same on a busy machine, and come apart into this process (Python, and the step itself) and the C compiler,
which works while Python does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS = ("CNN train", "ResNet-50")
FIELDS = {"wall": "first", "own": "first_own", "compiler": "first_compiler"}


def first_step(row: str, cache: str) -> dict[str, float]:
    """One process that takes a row's first steps. Bytecode is kept, as it is for anybody who runs a script twice."""
    script = str(Path(__file__).parent / "peer_run.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"LAMINA_CACHE": cache}
    done = subprocess.run([sys.executable, script, row, "--alone", "lamina"], env=environment, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    return {name: measured[field] for name, field in FIELDS.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("rows", nargs="*", default=ROWS)
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first_step(arguments.rows[0], folder)  # writes bytecode
    print(f"{'first step, seconds':20}  {'cache':7} {'wall':>7} {'own':>7} {'compiler':>9}   (own, compiler: of the processor)")
    for row in arguments.rows:
        rounds: dict[str, list[dict[str, float]]] = {"empty": [], "filled": []}
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                for cache in rounds:
                    rounds[cache].append(first_step(row, folder))
        for cache, measured in rounds.items():
            wall, own, compiler = (statistics.median(m[name] for m in measured) for name in FIELDS)
            print(f"{row:20}  {cache:7} {wall:7.2f} {own:7.2f} {compiler:9.2f}")


if __name__ == "__main__":
    main()
