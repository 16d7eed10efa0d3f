"""A process that knows of no program: what was compiled, seen or found related before is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lamina.backends import driver, known_loops, moving_windows, symbolic
from lamina.dialects import flags
from lamina.pyfront import plan


def forget_programs() -> None:
    """In memory; the disk cache stays. Counts start anew."""
    for known in (
        driver._programs, driver._seen, driver._windowed, known_loops._flat, moving_windows._known, plan._plans,
    ):  # fmt: skip
        known.clear()
    symbolic.forget()
    driver.stats.reset()


@contextmanager
def in_an_empty_cache(folder: Path) -> Iterator[None]:
    """Nothing known of any program, on the disk either."""
    with flags.cache(str(folder / "cache")):
        forget_programs()
        yield
        forget_programs()


@pytest.fixture
def fresh_programs(tmp_path, monkeypatch):
    """An empty cache, nothing known of any program, and every program worth a compile at once."""
    monkeypatch.setattr(driver, "ORACLE_WORK", 0)
    with in_an_empty_cache(tmp_path):
        yield
