"""What the driver did in this process: counts and seconds per stage, and what `LAMINA_SHOW` asks to be printed of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..dialects import flags


@dataclass
class Stats:
    """What the driver did in this process. kernels_found: of compiled programs, those another program had compiled before.
    symbolic: of the compiles, those of programs for more than one size; refused: programs that would not be compiled so.
    seconds: per stage (capture, passes, source, build, load, oracle)."""

    compiles: int = 0
    disk_hits: int = 0
    kernels_found: int = 0
    hits: int = 0
    oracle_runs: int = 0
    symbolic: int = 0
    refused: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def reset(self) -> None:
        """Start counting anew."""
        self.__init__()  # type: ignore[misc]  # the dataclass's own defaults

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


stats = Stats()


def show(artifact: str, text: str) -> None:
    """Print what a run made, if `LAMINA_SHOW` lists this artifact."""
    if artifact in flags.show.value:
        print(text, file=sys.stderr)
