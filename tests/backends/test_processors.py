"""How many threads a program gets by default: no more than the container may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamina.dialects.flags import available_processors

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(root: Path, groups: str, files: dict[str, str]) -> str:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.mark.parametrize(
    ("groups", "files", "most"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {"sys/fs/cgroup/a/cpu.max": "100000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 1),
        ("0::/gone\n", {"sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1),
        ("4:cpu,cpuacct:/j\n0::/\n", {f"sys/fs/cgroup/cpu/j/cpu.cfs_{k}_us": v for k, v in (("quota", "20000"), ("period", "100000"))}, 1),
        ("4:cpu:/j\n", {f"sys/fs/cgroup/cpu/j/cpu.cfs_{k}_us": v for k, v in (("quota", "-1"), ("period", "100000"))}, None),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "rubbish"}, None),
    ],
)
def test_a_quota_bounds_the_threads(tmp_path: Path, groups: str, files: dict[str, str], most: int | None) -> None:
    assert available_processors(machine(tmp_path, groups, files)) == (HERE if most is None else min(HERE, most))


def test_without_control_groups_all_processors_count(tmp_path: Path) -> None:
    assert available_processors(str(tmp_path)) == HERE
