"""How far the losses of examples/digits.py lie from PyTorch's over the first steps, and PyTorch's from its own without oneDNN.

    python benchmarks/loss_curve.py [--seeds 7] [--steps 50]

Each run is a process of its own: the script under `lamina run`, under PyTorch (one thread), and under PyTorch with oneDNN off.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "digits.py"
WITHOUT_ONEDNN = "import runpy, sys, torch; torch.backends.mkldnn.enabled = False; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
WAYS = {
    "lamina": [sys.executable, "-m", "lamina", "run", str(SCRIPT)],
    "torch": [sys.executable, str(SCRIPT)],
    "torch without oneDNN": [sys.executable, "-c", WITHOUT_ONEDNN, str(SCRIPT)],
}


def losses(way: str, seed: int, steps: int) -> list[float]:
    """The first losses of a run; an epoch of the script has 23 steps."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "losses.txt"
        options = ["--seed", str(seed), "--epochs", str(-(-steps // 23)), "--losses", str(written)]
        command = [*WAYS[way], *options, "--weights", str(Path(folder) / "weights.pt")]
        subprocess.run(command, env=dict(os.environ, OMP_NUM_THREADS="1"), capture_output=True, check=True)
        return [float(line) for line in written.read_text().splitlines()][:steps]


def apart(a: list[float], b: list[float]) -> float:
    """The largest difference."""
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, nargs="+", default=[7])
    options.add_argument("--steps", type=int, default=50)
    arguments = options.parse_args()
    print("seed   lamina - torch   torch without oneDNN - torch")
    for seed in arguments.seeds:
        ours, theirs, other = (losses(way, seed, arguments.steps) for way in WAYS)
        print(f"{seed:4}   {apart(ours, theirs):14.1e}   {apart(other, theirs):28.1e}", flush=True)


if __name__ == "__main__":
    main()
