"""Seconds of `import lamina` in fresh processes (median of several), and whether xDSL stayed out.

    python benchmarks/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

CODE = "import time; t = time.perf_counter(); import lamina, sys; print(time.perf_counter() - t, 'xdsl' in sys.modules)"


def main() -> None:
    seconds = []
    for _ in range(9):
        text, xdsl = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout.split()
        seconds.append(float(text))
    print(f"import lamina: median {statistics.median(seconds):.3f} s (min {min(seconds):.3f}, max {max(seconds):.3f}); xdsl imported: {xdsl}")


if __name__ == "__main__":
    main()
