"""Records what PyTorch prints for every guide program: `python tests/guides/record.py [NAME ...]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from programs_run import PROGRAMS, expected_file, run_with_pytorch


def main(names: list[str]) -> None:
    """Write tests/guides/expected/*.txt."""
    for program in PROGRAMS:
        if not names or program.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                expected_file(program).write_text(run_with_pytorch(program, Path(folder)), encoding="utf8")


if __name__ == "__main__":
    main(sys.argv[1:])
