"""Runs a guide program in this process under `lamina run`, or in another one under PyTorch; compares what they print."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = sorted(HERE.glob("programs/*.py"))
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d*)?(?:e[+-]?\d+)?%?")


def expected_file(program: Path) -> Path:
    """Where the recorded output of a program lies."""
    return HERE / "expected" / f"{program.stem}.txt"


@contextlib.contextmanager
def _torch_served_by_lamina() -> Iterator[None]:
    """import_hook.install() for a while: an installed PyTorch is put back afterwards."""
    from lamina.pyfront import import_hook

    def is_torch(name: str) -> bool:
        return name.partition(".")[0] in import_hook.PACKAGES

    kept = {name: module for name, module in sys.modules.items() if is_torch(name)}
    finders = list(sys.meta_path)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if is_torch(name)]:
            del sys.modules[name]
        sys.modules.update(kept)
        sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, import_hook.TorchFinder) or f in finders]


def run_with_lamina(program: Path) -> tuple[int, str, str]:
    """Exit status, output and errors of `lamina run program`, in the current folder."""
    from lamina.pyfront.command.run import run_script

    out, err = io.StringIO(), io.StringIO()
    with _torch_served_by_lamina(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_script(str(program), [])
    return status, out.getvalue(), err.getvalue()


# torchvision's Python part is the oracle, also where its compiled part was built for another PyTorch.
_UNDER_PYTORCH = """
import runpy, sys, types
sys.modules["torchvision._meta_registrations"] = types.ModuleType("torchvision._meta_registrations")
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run_with_pytorch(program: Path, folder: Path) -> str:
    """What the program prints under PyTorch."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_PYTORCH, str(program)], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def disagreements(found: str, expected: str, relative: float = 2e-3, absolute: float = 1e-3) -> list[str]:
    """Lines that differ: text and integers exactly, floating numbers within the tolerance."""
    ours, theirs = found.splitlines(), expected.splitlines()
    wrong = [] if len(ours) == len(theirs) else [f"{len(ours)} lines instead of {len(theirs)}"]
    for number, (a, b) in enumerate(zip(ours, theirs), 1):
        if a != b and not _close(a, b, relative, absolute):
            wrong.append(f"line {number}:\n    found    {a}\n    expected {b}")
    return wrong


def _words(line: str) -> list[str]:
    """What stands around the numbers: numpy fills up numbers that print shorter than their neighbours."""
    return _NUMBER.sub("#", line).replace(" ]", "]").split()


def _close(a: str, b: str, relative: float, absolute: float) -> bool:
    if _words(a) != _words(b):
        return False
    for x, y in zip(_NUMBER.findall(a), _NUMBER.findall(b)):
        exact = not any(c in x + y for c in ".e")
        if x != y and (exact or x[-1:] == "%"):
            return False
        if x != y and abs(float(x) - float(y)) > relative * abs(float(y)) + absolute:
            return False
    return True
