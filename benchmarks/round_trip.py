"""How far apart the processors of this machine are: what a figure with two threads depends on, and what a virtual machine may change any time.

    python benchmarks/round_trip.py

Nanoseconds for a word to another processor and back: some 50 where both share a last cache, 200 and more where they do not. Then microseconds to update
800 KB in place, half on each: what only its own processor touches, and what both have read before; a store to a line that a far cache holds, too, waits for it.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from lamina.backends.toolchain import find_compiler


def measured() -> list[float]:
    """The round trip in nanoseconds, and the microseconds of both updates."""
    compiler = find_compiler()
    if compiler is None:
        raise SystemExit("no C compiler")
    source = Path(__file__).with_suffix(".c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "round_trip"
        subprocess.run([*compiler.command, "-O2", "-pthread", str(source), "-o", str(program)], check=True)
        return [float(x) for x in subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()]


def main() -> None:
    """Print them."""
    there_and_back, own, read_by_both = measured()
    print(f"round trip {there_and_back:.0f} ns; 800 KB updated in place: own {own:.1f} us, read by both before {read_by_both:.1f} us")


if __name__ == "__main__":
    main()
