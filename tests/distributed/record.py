"""Records what PyTorch prints for every program here: `python tests/distributed/record.py [NAME ...]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pairs import PROGRAMS, expected_file, joined, run_pair


def main(names: list[str]) -> None:
    """Write tests/distributed/expected/*.txt."""
    for program in PROGRAMS:
        if not names or program.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                outcomes = run_pair(program, folder=Path(folder), under="torch")
            for outcome in outcomes:
                if outcome.status:
                    raise SystemExit(f"{program.stem} failed under PyTorch:\n{outcome.err}")
            expected_file(program).write_text(joined(outcomes), encoding="utf8")


if __name__ == "__main__":
    main(sys.argv[1:])
