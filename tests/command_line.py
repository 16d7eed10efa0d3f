"""The command line as a user has it: one process per command, or many commands in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits.py"


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


def lamina(*arguments: object, cwd: Path | None = None, **environment: str) -> Outcome:
    """`lamina ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "lamina", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=600, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def python(text: str, *arguments: object, cwd: Path | None = None, **environment: str) -> Outcome:
    """A Python program in a process of its own."""
    command = [sys.executable, "-c", text, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=600, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


_MANY = """
import contextlib, io, json, sys
from lamina.pyfront.command import main
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def many(commands: Sequence[Sequence[object]], cwd: Path, environment: Mapping[str, str] | None = None) -> list[Outcome]:
    """Commands one after the other in one process, to pay its start once."""
    done = subprocess.run(
        [sys.executable, "-c", _MANY], input=json.dumps([[str(a) for a in c] for c in commands]), capture_output=True,
        text=True, cwd=cwd, env=os.environ | dict(environment or {}), timeout=600, check=False,
    )  # fmt: skip
    outcomes = [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(commands), done.stderr
    return outcomes


def assert_plain(err: str) -> None:
    """An error names no file of lamina, shows no traceback of its inside, and says what to do next."""
    for room in ("pyfront", "backends", "lowering", "passes"):
        assert f"{os.sep}{room}{os.sep}" not in err, err
    assert "inside lamina" not in err, err
    assert "During handling" not in err and "direct cause" not in err, err
