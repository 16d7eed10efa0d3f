"""Runs a program in two processes, under lamina or under PyTorch, and gives what each of them printed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PROGRAMS = sorted(HERE.glob("programs/*.py"))


class Outcome(NamedTuple):
    """What one process did."""

    status: int
    out: str
    err: str


def free_port() -> int:
    """A port of this machine nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_pair(program: Path, *arguments: object, folder: Path, under: str = "lamina", timeout: float = 120) -> list[Outcome]:
    """The program in two processes that find each other by the usual variables."""
    command = [sys.executable, *(["-m", "lamina", "run"] if under == "lamina" else ["-W", "ignore"]), str(program), *map(str, arguments)]
    shared = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "LAMINA_THREADS": "1",
    }  # fmt: skip
    running = [
        subprocess.Popen(
            command, cwd=folder, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        texts = [process.communicate(timeout=timeout) for process in running]
    finally:
        for process in running:
            process.kill()
    return [Outcome(process.returncode, *text) for process, text in zip(running, texts, strict=True)]


def expected_file(program: Path) -> Path:
    """Where the recorded output of a program lies."""
    return HERE / "expected" / f"{program.stem}.txt"


def joined(outcomes: list[Outcome]) -> str:
    """What all processes printed, rank by rank."""
    return "".join(f"rank {rank}\n{outcome.out}" for rank, outcome in enumerate(outcomes))
